// The next tick sweeps away neither what a person has typed nor where the focus is, nor the button that is being pressed. A
// syllable that is being composed, and a press, hold the tick back until they are over. A button that a tick brought under the
// pointer does not take a click that was meant for what stood there before.
"use strict";
(() => {
  const SETTLED = 600; // ms until a button that came under the pointer by itself can be clicked
  const WANTED = "a[href], button, input, select, textarea, summary, [tabindex]";
  let pressed = null;
  let composing = false;
  let held = null;
  let kept = null;
  let pointer = null;
  let strange = { until: 0, buttons: [] }; // those that are not yet to be clicked
  const fields = (target) => target.querySelectorAll("input[id]:not([type=hidden]), textarea[id]");
  const about = (field) => field?.form?.elements.ask?.value ?? "";
  const name = (one) => one && [one.tagName, one.id, one.getAttribute("href") ?? "", one.getAttribute("aria-label") ?? "", about(one)].join(" ");
  const row = (one) => one.closest("tr[id], article[id], section[id]");
  const under = () => (pointer ? document.elementFromPoint(...pointer)?.closest("main button") : null);
  const focused = () => (document.activeElement === document.body ? null : document.activeElement);
  const rolls = (target) => target.querySelectorAll(".scroll");

  function keep(target) {
    const here = target.contains(focused()) ? focused() : null;
    kept = {
      typed: new Map([...fields(target)].map((one) => [one.id, [one.value, about(one), one.selectionStart, one.selectionEnd]])),
      open: [...target.querySelectorAll("details[id][open]")].map((one) => one.id),
      rolled: [...rolls(target)].map((one) => [one.scrollLeft, one.scrollTop]),
      here: here && [name(here), row(here)?.id, [...target.querySelectorAll(WANTED)].filter((one) => name(one) === name(here)).indexOf(here)],
      under: name(under()),
    };
  }

  function give(target) {
    if (!kept) return;
    for (const one of fields(target)) {
      const [value, subject, start, end] = kept.typed.get(one.id) ?? [""];
      if (value && subject === about(one)) {
        one.value = value;
        if (one === document.activeElement) one.setSelectionRange(start, end);
      }
    }
    for (const id of kept.open) document.getElementById(id)?.setAttribute("open", "");
    rolls(target).forEach((one, i) => one.scrollTo(...(kept.rolled[i] ?? [0, 0])));
    if (kept.here && !focused()) refocus(target, ...kept.here);
    const came = [[under(), kept.under], [kept.here && focused()?.closest("button"), kept.here?.[0]]];
    const buttons = came.filter(([one, before]) => one && name(one) !== before).map(([one]) => name(one));
    if (buttons.length) strange = { until: Date.now() + SETTLED, buttons };
    kept = null;
  }

  // The same thing again; if it is gone, its row; if that is gone, the list.
  function refocus(target, wanted, id, place) {
    const same = [...target.querySelectorAll(WANTED)].filter((one) => name(one) === wanted);
    const line = id && document.getElementById(id);
    (same[place] ?? same.at(-1) ?? line?.querySelector(WANTED) ?? target.querySelector(".scroll[tabindex]"))?.focus({ preventScroll: true });
  }

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
  document.addEventListener("pointermove", (event) => {
    pointer = [event.clientX, event.clientY];
    if (!strange.buttons.includes(name(event.target.closest?.("main button")))) strange.until = 0; // who goes away and comes back means it
  }, { passive: true, capture: true });
  document.addEventListener("pointerdown", (event) => ((pressed = event.target), (pointer = [event.clientX, event.clientY])), true);
  for (const over of ["pointerup", "pointercancel"]) {
    document.addEventListener(over, () => setTimeout(() => ((pressed = null), release())), true); // the click comes first
  }
  document.addEventListener("pointerleave", () => (pointer = null));
  document.addEventListener("compositionstart", () => (composing = true), true);
  document.addEventListener("compositionend", () => setTimeout(() => ((composing = false), release())), true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("main button");
    if (!button || Date.now() > strange.until || !strange.buttons.includes(name(button))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const said = Object.assign(document.createElement("p"), { className: "said trouble", textContent: document.body.dataset.moved });
    document.querySelector(button.form?.getAttribute("hx-target"))?.replaceChildren(said);
  }, true);
})();
