// What the pages do beyond htmx: the token with each request, the banner when the page server is gone, shortcuts.
"use strict";
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF"] = document.querySelector("meta[name=csrf]").content;
});
const lost = () => document.getElementById("lost");
document.addEventListener("htmx:sseError", () => {
  if (lost().hidden) {
    lost().querySelector("time").textContent = new Date().toLocaleTimeString(document.documentElement.lang);
    lost().hidden = false;
    document.body.classList.add("is-lost");
  }
});
const back = () => {
  if (!lost().hidden) {
    lost().hidden = true;
    document.body.classList.remove("is-lost");
  }
};
document.addEventListener("htmx:sseOpen", back);
document.addEventListener("htmx:sseMessage", back);
// What a person is typing must not be swept away by the next tick.
document.addEventListener("htmx:sseBeforeMessage", (event) => {
  const at = document.activeElement;
  if (at && at.matches("input[name=reason], textarea") && event.target.contains(at) && at.value) event.preventDefault();
});
// A refusal of the server is shown where the answer would be.
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([401, 403, 409, 429].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
