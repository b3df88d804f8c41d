// Elements and the way figures are written. Text from outside enters the page only as text nodes.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** An element. In `properties`, `class`, `role` and names with a dash are attributes, `on…` are listeners. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else if (key === "class" || key === "role" || key === "scope" || key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** One of the symbols at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Sets the text only if it differs, so that nothing is laid out or announced anew. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Rows of a `<dl>`: pairs of a term and a text or element; pairs without a value are left out. */
export function facts(pairs) {
  return pairs
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)));
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (number) => whole.format(number);
export const compact = (number) => (Math.abs(number) < 10_000 ? whole.format(Math.round(number)) : short.format(number));
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Milliseconds with as many digits as mean something. */
export function millis(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms >= 10 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

export function bytes(size) {
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${(size / 1024).toFixed(size < 10_240 ? 1 : 0)} KiB`;
  return `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

/** How long something lasts, in its two largest units. */
export function duration(seconds) {
  const parts = [[Math.floor(seconds / 86_400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"], [Math.floor(seconds) % 60, "s"]];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}

const two = (number) => String(number).padStart(2, "0");

/** The time of day to the millisecond. */
export function clock(ms) {
  const time = new Date(ms);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** The day, and the time of day to the millisecond. */
export const moment = (ms) => `${new Date(ms).toLocaleDateString("en-GB", { dateStyle: "medium" })}, ${clock(ms)}`;

/** Runs `act` when `element` has been left alone for a moment. */
export function whenQuiet(act, ms = 200) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, ms);
  };
}

/** Keeps a `<select>` of apps up to date without losing its choice. */
export function fillApps(select, apps, all) {
  const wanted = [...(all ? [["", all]] : []), ...apps.map((app) => [app.id, appLabel(app)])];
  const present = [...select.options].map((option) => [option.value, option.textContent]);
  if (JSON.stringify(wanted) === JSON.stringify(present)) return;
  const chosen = select.value || select.dataset.wanted || "";
  select.replaceChildren(...wanted.map(([value, text]) => h("option", { value }, text)));
  if (wanted.some(([value]) => value === chosen)) select.value = chosen;
}

/** Chooses an app, also one that the list does not have yet. */
export function chooseApp(select, id) {
  select.dataset.wanted = id;
  select.value = id;
}

export const appLabel = (app) => (app.name ? `${app.name} (${app.id})` : app.id);

/** Asks with the page's dialog; resolves to whether the answer was yes. */
export function confirm({ title, text, yes }) {
  const dialog = $("confirm");
  setText($("confirm-title"), title);
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
