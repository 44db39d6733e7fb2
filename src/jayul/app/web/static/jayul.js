// What the pages do beyond htmx: the token with each request, the banner when the page server is gone, shortcuts.
"use strict";
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF"] = document.querySelector("meta[name=csrf]").content;
});
const lost = () => document.getElementById("lost");
const meta = (name) => document.querySelector(`meta[name=${name}]`);
// A page server that was started anew knows nobody: the page says so, and does not pretend that its buttons work.
const ask = async () => {
  let now;
  try {
    now = await (await fetch("/api/v1/session")).json();
  } catch {
    return; // it is not there yet
  }
  const gone = now.name !== meta("person").content;
  document.getElementById("gone").hidden = !gone;
  if (gone) lost().hidden = true;
  else meta("csrf").content = now.csrf;
};
const gone = () => {
  if (lost().hidden) {
    lost().querySelector("time").textContent = new Date().toLocaleTimeString(document.documentElement.lang);
    lost().hidden = false;
    document.body.classList.add("is-lost");
  }
};
document.addEventListener("htmx:sseError", (event) => {
  gone();
  if (event.detail?.source?.readyState === EventSource.CLOSED) ask(); // it answers, but not with a stream
});
const back = () => {
  if (document.body.classList.contains("is-lost")) {
    lost().hidden = true;
    document.body.classList.remove("is-lost");
    ask();
  }
};
// A connection may stand and carry nothing: the server says something every ten seconds, if only that it is there.
const SILENT = 25_000;
const AWAY = 60_000; // a page that nobody has looked at for so long gives its connection back: a browser has six for one address
let heard = Date.now();
let stream = null;
let left = null;
const hear = () => {
  heard = Date.now();
  back();
};
document.addEventListener("htmx:sseOpen", (event) => {
  if (event.detail?.source && event.detail.source !== stream) {
    stream = event.detail.source;
    stream.addEventListener("beat", hear);
  }
  hear();
});
document.addEventListener("htmx:sseMessage", hear);
setInterval(() => {
  if (stream?.readyState === EventSource.OPEN && Date.now() - heard > SILENT) gone();
}, 5_000);
document.addEventListener("visibilitychange", () => {
  clearTimeout(left);
  if (document.hidden) left = setTimeout(() => stream?.close(), AWAY);
  else if (stream?.readyState === EventSource.CLOSED) location.reload();
});
// What a person did and did not arrive is said where the answer would be.
for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(name, (event) => {
    const said = document.createElement("p");
    said.className = "said trouble";
    said.textContent = document.body.dataset.unsent;
    event.detail.target?.replaceChildren(said);
  });
}
// The next tick sweeps away neither what a person has typed nor the button that is being pressed. A syllable that is being
// composed, and a press, hold the tick back until they are over.
let pressed = null;
let composing = false;
let held = null;
let typed = new Map();
const fields = (target) => target.querySelectorAll("input[id]:not([type=hidden]), textarea[id]");
const about = (field) => field.form?.elements.ask?.value;
const keep = (target) => {
  typed = new Map([...fields(target)].map((one) => [one.id, [one.value, about(one), one.selectionStart, one.selectionEnd]]));
};
const give = (target) => {
  for (const one of fields(target)) {
    const [value, subject, start, end] = typed.get(one.id) ?? [""];
    if (value && subject === about(one)) {
      one.value = value;
      if (one === document.activeElement) one.setSelectionRange(start, end);
    }
  }
};
document.addEventListener("htmx:sseBeforeMessage", (event) => {
  if ((pressed && event.target.contains(pressed)) || (composing && event.target.contains(document.activeElement))) {
    held = [event.target, event.detail.data];
    event.preventDefault();
  } else {
    held = null;
    keep(event.target);
  }
});
document.addEventListener("htmx:sseMessage", (event) => give(event.target));
const release = () => {
  if (!held) return;
  const [target, data] = held;
  held = null;
  keep(target);
  htmx.swap(target, data, { swapStyle: "innerHTML" });
  give(target);
};
document.addEventListener("pointerdown", (event) => (pressed = event.target), true);
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, () => setTimeout(() => ((pressed = null), release())), true); // the click comes first
}
document.addEventListener("compositionstart", () => (composing = true), true);
document.addEventListener("compositionend", () => setTimeout(() => ((composing = false), release())), true);
// A refusal of the server is shown where the answer would be.
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([401, 403, 409, 429].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
