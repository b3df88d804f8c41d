// The page's dialog with fields: it stays open, with the reason, while the server refuses what was entered.

import { $, h, setText } from "./dom.js";

/**
 * Asks for values and hands them to `act`. Resolves to what `act` gives, or to undefined if the question was cancelled. A field is
 * `{ name, label, hint?, value?, kind? }`; `kind` is `text`, `checkbox` or `area`.
 */
export function ask({ title, text, fields, yes, act }) {
  const [dialog, form, error] = [$("ask"), $("ask-form"), $("ask-error")];
  setText($("ask-title"), title);
  setText($("ask-text"), text);
  setText($("ask-yes"), yes);
  error.hidden = true;
  $("ask-fields").replaceChildren(...fields.map(fieldOf));
  dialog.showModal();
  return new Promise((resolve) => {
    let result;
    const submit = async (event) => {
      if (event.submitter?.value === "no") return;
      event.preventDefault();
      error.hidden = true;
      $("ask-yes").disabled = true;
      try {
        result = await act(Object.fromEntries(fields.map((field) => [field.name, valueOf(form.elements[field.name])])));
        dialog.close();
      } catch (failure) {
        setText(error, `${failure.message}.`);
        error.hidden = false;
      } finally {
        $("ask-yes").disabled = false;
      }
    };
    form.addEventListener("submit", submit);
    dialog.addEventListener(
      "close",
      () => {
        form.removeEventListener("submit", submit);
        resolve(result);
      },
      { once: true },
    );
  });
}

function fieldOf({ name, label, hint, value, kind = "text" }) {
  const words = [label, hint && h("small", {}, ` ${hint}`)];
  if (kind === "checkbox") return h("label", { class: "check" }, h("input", { type: "checkbox", name, checked: Boolean(value) }), h("span", {}, words));
  const input = kind === "area" ? h("textarea", { name, rows: 14, spellcheck: false }, value ?? "") : h("input", { name, autocomplete: "off", spellcheck: false, value: value ?? "" });
  return h("label", { class: "field" }, h("span", {}, words), input);
}

const valueOf = (input) => (input.type === "checkbox" ? input.checked : input.value.trim());
