// An act that was taken leaves nothing typed behind for the next one: the text fields of a form with data-once are emptied. What was
// chosen (the tag, the policy) stays.
"use strict";
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest?.("form[data-once]");
  const { status } = event.detail.xhr;
  if (!form || status < 200 || status >= 300) return;
  for (const field of form.querySelectorAll("input:not([type=hidden], [type=checkbox], [type=radio]), textarea")) field.value = field.defaultValue;
});
