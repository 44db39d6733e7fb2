// Replay: pages are fetched at a tick and put in place; while it plays, the server says which tick is next.
"use strict";
(() => {
  let source = null;
  let busy = false;
  let wanted = null;
  let dragging = false;
  const bar = () => document.getElementById("replay");
  const at = (tick, speed) => {
    const url = new URL(location.href); // with all that the page has put there
    url.searchParams.delete("speed");
    url.searchParams.set("tick", tick);
    if (speed) url.searchParams.set("speed", speed);
    return url;
  };
  const typing = () => {
    const here = document.activeElement;
    return here && here.closest("#main") && here.matches("input, select, textarea");
  };

  async function load(url, { push = false } = {}) {
    if (busy) {
      wanted = [url, { push }];
      return;
    }
    busy = true;
    try {
      let answer = await fetch(url, { headers: { accept: "text/html" } });
      while (answer.status === 202 && !wanted) { // that tick is still being made
        await new Promise((go) => setTimeout(go, Jayul.RETRY));
        if (!wanted) answer = await fetch(url, { headers: { accept: "text/html" } });
      }
      if (answer.status !== 202) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("replay");
        if (!answer.ok || !fresh) {
          location.assign(url);
          return;
        }
        place(page, fresh);
        history[push ? "pushState" : "replaceState"](null, "", url);
      }
    } catch {
      stop(); // no connection: the page's banner says so
      document.dispatchEvent(new CustomEvent("htmx:sseError"));
    } finally {
      busy = false;
    }
    if (wanted) {
      const [next, how] = wanted;
      wanted = null;
      await load(next, how);
    }
  }

  function place(page, fresh) {
    const focus = document.activeElement?.id;
    if (document.getElementById("trends")) {
      document.dispatchEvent(new CustomEvent("jayul:tick", { detail: fresh.dataset.tick }));
    } else if (!typing()) {
      const main = document.getElementById("main");
      main.replaceChildren(...page.getElementById("main").childNodes);
      if (window.htmx) window.htmx.process(main);
    }
    if (!dragging) {
      bar().replaceWith(document.adoptNode(fresh));
      if (focus && focus.startsWith("replay-")) document.getElementById(focus)?.focus();
    } else {
      document.getElementById("replay-at").textContent = fresh.querySelector("#replay-at").textContent;
    }
    for (const link of page.querySelectorAll("nav.pages a")) {
      const here = document.querySelector(`nav.pages a[data-page="${link.dataset.page}"]`);
      if (here) here.href = link.getAttribute("href");
    }
    play();
  }

  function stop() {
    if (source) source.close();
    source = null;
  }

  function play() {
    const speed = Number(bar().dataset.speed);
    if (!speed) return stop();
    if (source && source.speed === speed) return;
    stop();
    source = new EventSource(`${bar().dataset.stream}?tick=${bar().dataset.tick}&speed=${speed}`);
    source.speed = speed;
    source.addEventListener("at", (event) => load(at(event.data, speed)));
    source.addEventListener("end", (event) => {
      stop();
      load(at(event.data, 0));
    });
    const mine = source;
    Jayul.watch(source, () => {
      if (source !== mine) return;
      source = null;
      play(); // from the tick that is shown
    }, "at", "end");
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#replay a[data-go]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    stop();
    const to = new URL(link.href).searchParams;
    load(at(to.get("tick"), "play" in link.dataset ? document.getElementById("replay-speed").value : to.get("speed")), { push: true });
  });
  document.addEventListener("click", (event) => {
    const live = event.target.closest("#replay-live");
    if (!live) return;
    const url = new URL(location.href);
    url.searchParams.delete("tick");
    url.searchParams.delete("speed");
    live.href = url;
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "replay-slider") return;
    stop();
    dragging = true;
    load(at(event.target.value, 0));
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "replay-slider") {
      dragging = false;
      load(at(event.target.value, 0));
    } else if (event.target.id === "replay-speed" && Number(bar().dataset.speed)) {
      stop();
      load(at(bar().dataset.tick, event.target.value));
    }
  });
  document.addEventListener("submit", (event) => {
    if (event.target.closest("#replay")) event.preventDefault();
  });
  window.addEventListener("popstate", () => (new URL(location.href).searchParams.has("tick") ? load(location.href) : location.reload()));
  play();
})();
