// The panel at the side of a list, which covers narrow pages: what it shows, and where the focus goes.

import { h, icon, setText } from "./dom.js";

const narrow = matchMedia("(max-width: 820px)");

/** An address of this page: `link("channels", app, name)`. */
export const link = (view, ...parts) => `#/${[view, ...parts.map(encodeURIComponent)].join("/")}`;

/** The head of a panel, with the button that closes it. */
export function panelHead(title, kind, close) {
  const button = h("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: close }, icon("close"));
  return h("header", { class: "detail-head" }, h("div", {}, kind, h("h2", {}, title)), button);
}

/** Shows `text` in place of a panel's body. */
export function panelMessage(panel, text) {
  const body = panel.querySelector(".detail-body");
  body.replaceChildren(h("p", { class: "hint" }));
  setText(body.firstChild, text);
}

/** Shows the panel. Where it covers the page, it takes the focus, and what it covers can't be reached. */
export function openPanel(panel, ...children) {
  panel.replaceChildren(...children);
  panel.hidden = false;
  setInert(panel, narrow.matches);
  if (narrow.matches) panel.querySelector(".close").focus();
}

/** Shows the panel and goes there to read it. */
export function visitPanel(panel, ...children) {
  openPanel(panel, ...children);
  if (!narrow.matches) panel.focus({ preventScroll: true });
}

export function hidePanel(panel) {
  if (panel.hidden) return;
  panel.hidden = true;
  panel.replaceChildren();
  leavePanel(panel);
}

/** What the panel covers can be reached again, while another view is shown. */
export const leavePanel = (panel) => setInert(panel, false);

/** Every element that is beside the panel, or beside an element that holds it, is inert while it is covered. */
function setInert(panel, covers) {
  for (let inner = panel; inner !== document.body; inner = inner.parentElement) {
    for (const each of inner.parentElement.children) {
      if (each !== inner && !each.matches("dialog, script")) each.inert = covers;
    }
  }
}

narrow.addEventListener("change", () => {
  const open = document.querySelector(".view:not([hidden]) .detail:not([hidden])");
  if (open) setInert(open, narrow.matches);
});
