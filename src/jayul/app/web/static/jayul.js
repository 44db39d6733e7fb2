// What the pages do beyond htmx: the token with each request, the banner when the page server is gone, shortcuts.
"use strict";
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF"] = document.querySelector("meta[name=csrf]").content;
});
const lost = () => document.getElementById("lost");
const meta = (name) => document.querySelector(`meta[name=${name}]`);
// A page server that was started anew knows nobody: the page says so, and does not pretend that its buttons work. Says whether it answers.
const ask = async () => {
  let now;
  try {
    now = await (await fetch("/api/v1/session", { signal: AbortSignal.timeout(4_000) })).json();
  } catch {
    return false; // it is not there yet
  }
  const gone = now.name !== meta("person").content;
  document.getElementById("gone").hidden = !gone;
  if (gone) lost().hidden = true;
  else meta("csrf").content = now.csrf;
  return true;
};
const gone = () => {
  if (lost().hidden) {
    lost().querySelector("time").textContent = new Date().toLocaleTimeString(document.documentElement.lang);
    lost().hidden = false;
    document.body.classList.add("is-lost");
  }
};
const back = () => {
  if (document.body.classList.contains("is-lost")) {
    lost().hidden = true;
    document.body.classList.remove("is-lost");
    ask();
  }
};
// A connection may stand and carry nothing: the server says something every ten seconds, if only that it is there. One that has
// been silent for longer is begun anew, as is one that was given back while nobody looked (a browser has six for one address).
const SILENT = 25_000;
const AWAY = 60_000;
const RETRY = 1_000; // ms until a stream that the server ended is asked for again
let stream = null; // the page's stream: its source, when it was heard last, how it is begun anew, whether it was given back
let left = null;
const began = Date.now();
const anew = () => {
  stream.source.expected = true; // no banner for a connection that is closed here
  stream.source.close();
  stream.begin();
};
const failed = (source) => {
  if (source?.expected) return;
  gone();
  if (source?.readyState === EventSource.CLOSED) ask(); // it answers, but not with a stream
};
// Watch a stream of server-sent events that brings events of these kinds.
const watch = (source, begin, ...kinds) => {
  const mine = (stream = { source, begin, heard: Date.now(), given: false });
  const hear = () => {
    mine.heard = Date.now();
    back();
  };
  for (const kind of ["open", "beat", ...kinds]) source.addEventListener(kind, hear);
  source.addEventListener("error", () => failed(source));
  return hear;
};
document.addEventListener("htmx:sseError", (event) => failed(event.detail?.source));
document.addEventListener("htmx:sseOpen", (event) => {
  const source = event.detail?.source;
  if (!source || source === stream?.source) return back();
  const place = event.target;
  const begin = () => [place, ...place.querySelectorAll("[sse-swap]")].forEach((one) => htmx.trigger(one, "htmx:afterProcessNode"));
  watch(source, begin)(); // htmx begins it anew as when it saw the element first
});
document.addEventListener("htmx:sseMessage", () => {
  if (stream) stream.heard = Date.now();
  back();
});
setInterval(async () => {
  const silent = () => stream
    ? stream.source.readyState !== EventSource.CLOSED && Date.now() - stream.heard > SILENT
    : !document.hidden && document.querySelector("[sse-connect]") && Date.now() - began > SILENT; // it never opened
  if (!silent()) return;
  gone();
  if ((await ask()) && silent()) stream ? anew() : location.reload();
}, 5_000);
document.addEventListener("visibilitychange", () => {
  clearTimeout(left);
  if (document.hidden) {
    left = setTimeout(() => {
      if (!stream) return;
      stream.given = true;
      stream.source.close();
    }, AWAY);
  } else if (stream?.given) {
    stream.given = false;
    anew();
  }
});
window.Jayul = { watch, RETRY };
// Language, looks and signing in lead back to where the address bar is by then.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href*='?then=']");
  if (link) link.search = `?${new URLSearchParams({ then: location.pathname + location.search })}`;
}, true);
// What a person did and did not arrive is said where the answer would be.
for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(name, (event) => {
    const said = document.createElement("p");
    said.className = "said trouble";
    said.textContent = (event.detail.elt?.dataset.unsent ? event.detail.elt : document.body).dataset.unsent;
    event.detail.target?.replaceChildren(said);
  });
}
// What is said lies over the page, so that nothing moves under the pointer: Escape or a click takes it away, and time, if all is well.
const heard = (said) => said.querySelector(".said:not(.trouble)") && setTimeout((was) => was.remove(), 20_000, said.firstElementChild);
document.addEventListener("htmx:afterSwap", (event) => event.target.classList?.contains("heard") && heard(event.target));
document.addEventListener("htmx:load", (event) => event.detail.elt?.matches?.(".said.done") && setTimeout(() => event.detail.elt.remove(), 20_000));
const unsay = (within) => within.querySelectorAll(".heard .said").forEach((one) => one.remove());
document.addEventListener("keydown", (event) => event.key === "Escape" && unsay(document));
document.addEventListener("click", (event) => event.target.closest(".heard .said")?.remove());
// A refusal of the server is shown where the answer would be.
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([400, 401, 403, 404, 409, 413, 429, 503].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
