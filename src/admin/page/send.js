// The event creator: a form whose payload is checked as it is typed, and what came of each event sent.

import { get, path, post, query } from "./api.js";
import { $, bytes, chooseApp, clock, fillApps, h, plural, setText, whenQuiet } from "./dom.js";
import { formatJson, payload } from "./json_view.js";
import { link } from "./panel.js";
import { appOf, isCluster, onState } from "./server_state.js";
import { hintFor } from "./words.js";

const RESULTS_MAX = 20;
const SUGGESTED = 100;
/** The names in the field: separated by spaces, and users' own channels last, because an id may contain spaces. */
const NAMES = /#server-to-user-.*?(?=\s+#server-to-user-|$)|\S+/g;
const FIELDS = ["channels", "name", "data", "socket_id"];

const form = () => $("send-form").elements;

export function start() {
  $("send-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("send-form").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send();
  });
  const checked = whenQuiet(checkData, 150);
  form().data.addEventListener("input", checked);
  for (const radio of form().form) radio.addEventListener("change", checkData);
  $("send-format").addEventListener("click", () => {
    const formatted = formatJson(form().data.value);
    if (formatted !== undefined) form().data.value = formatted;
    checkData();
  });
  const suggest = whenQuiet(suggestChannels);
  form().channels.addEventListener("focus", suggest);
  form().channels.addEventListener("input", suggest);
  form().app.addEventListener("change", () => {
    suggest();
    checkData();
  });
  onState((state) => state && fillApps(form().app, state.apps));
}

/** Fills the form from the address, where the address says something. */
export function show(parameters) {
  if (parameters.has("app")) chooseApp(form().app, parameters.get("app"));
  for (const name of FIELDS) if (parameters.has(name)) form()[name].value = parameters.get(name);
  if (parameters.has("data")) {
    const isJson = formatJson(parameters.get("data")) !== undefined;
    form().form.value = isJson ? "json" : "text";
  }
  checkData();
}

export function hide() {}

/** Where in the text JSON fails, in words of the browser, with line and column where they can be known. */
function fault(text) {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    const position = /position (\d+)/.exec(error.message)?.[1];
    const words = error.message.replace(/^JSON\.parse: /, "").replace(/ in JSON at position.*$| at line \d+ column.*$|, "?\.\.\..*is not valid JSON$|, ".*is not valid JSON$/s, "");
    if (position === undefined) return words;
    const before = text.slice(0, Number(position)).split("\n");
    return `${words}, line ${before.length}, column ${before.at(-1).length + 1}`;
  }
}

/** Says what is wrong with the data, or its size. Returns whether it can be sent. */
function checkData() {
  const { data } = form();
  const isJson = form().form.value === "json";
  const wrong = isJson ? (data.value.trim() ? fault(data.value) : "empty is not JSON; an empty object is {}") : undefined;
  const size = new TextEncoder().encode(data.value).length;
  const limit = appOf(form().app.value)?.limits?.max_event_data_bytes;
  const tooLarge = limit !== undefined && size > limit;
  const hint = $("send-data-hint");
  data.setAttribute("aria-invalid", String(Boolean(wrong) || tooLarge));
  hint.dataset.tone = wrong || tooLarge ? "bad" : "";
  if (wrong) setText(hint, `Not JSON: ${wrong}`);
  else setText(hint, `${isJson ? "Valid JSON" : "Text, sent as it is"}, ${bytes(size)}${limit === undefined ? "" : ` of ${bytes(limit)}`}${tooLarge ? ": too large for this app" : ""}`);
  $("send-format").hidden = !isJson;
  $("send-format").disabled = Boolean(wrong);
  return !wrong;
}

async function suggestChannels() {
  const app = form().app.value;
  if (!app) return;
  const parts = form().channels.value.split(/\s+/);
  const last = parts.pop();
  try {
    const { channels } = await get(query(path("apps", app, "channels"), { prefix: last, limit: SUGGESTED }));
    const before = parts.length ? `${parts.join(" ")} ` : "";
    $("send-channels").replaceChildren(...channels.map(({ name }) => h("option", { value: before + name })));
  } catch {
    // Suggestions may stay away; the name can be typed.
  }
}

function firstFault() {
  const fields = form();
  if (!fields.channels.value.trim()) return [fields.channels, "Name a channel."];
  if (!fields.name.value.trim()) return [fields.name, "Name the event."];
  if (!checkData()) return [fields.data, "The data is not JSON. Choose Text to send it as it is."];
  return undefined;
}

async function send() {
  const error = $("send-error");
  error.hidden = true;
  const wrong = firstFault();
  if (wrong) {
    wrong[0].focus();
    refuse(wrong[1]);
    return;
  }
  const fields = form();
  const app = fields.app.value;
  const event = { name: fields.name.value.trim(), channels: fields.channels.value.trim().match(NAMES), data: fields.data.value };
  if (fields.socket_id.value.trim()) event.socket_id = fields.socket_id.value.trim();
  const button = $("send-form").querySelector("[type=submit]");
  button.disabled = true;
  try {
    const result = await post(path("apps", app, "events"), event);
    showResult(app, event, result, isCluster() ? await subscriptionsOf(app, event.channels) : new Map());
  } catch (failure) {
    refuse(`${failure.message[0].toUpperCase()}${failure.message.slice(1)}.`);
  } finally {
    button.disabled = false;
  }
}

function refuse(text) {
  setText($("send-error"), text);
  $("send-error").hidden = false;
}

/** Deliveries are counted on this node only; how many listen on all nodes can be asked. */
async function subscriptionsOf(app, names) {
  const ask = async (name) => [name, (await get(path("apps", app, "channels", name)).catch(() => ({ subscriptions: 0 }))).subscriptions];
  return new Map(await Promise.all(names.map(ask)));
}

function showResult(app, event, result, everywhere) {
  const others = [...everywhere.values()].some((subscriptions) => subscriptions > 0);
  const reached = result.delivered > 0 || others;
  const here = everywhere.size ? " on this node" : "";
  const title = reached ? `Delivered to ${plural(result.delivered, "socket")}${here}` : "Reached nobody";
  const whys = [...new Set(result.channels.map(({ why }) => why).filter(Boolean))];
  const again = h("button", { type: "button", class: "quiet small", onclick: () => fill(app, event) }, "Use again");
  const card = h("article", { class: "card result", dataset: { tone: reached ? "good" : "warn" } },
    h("header", {}, h("h3", {}, title), h("span", { class: "hint" }, clock(Date.now())), again),
    h("p", { class: "mono event" }, event.name),
    h("ul", { class: "outcomes" }, result.channels.map((channel) => outcome(app, channel, everywhere.get(channel.name)))),
    !reached && whys.map(hintFor).filter(Boolean).map((hint) => h("p", { class: "hint" }, hint)),
    h("details", {}, h("summary", {}, `Data, ${bytes(new TextEncoder().encode(event.data).length)}`), payload(event.data)),
  );
  const host = $("results");
  host.querySelector(".empty-note")?.remove();
  host.prepend(card);
  card.scrollIntoView({ block: "nearest" });
  while (host.children.length > RESULTS_MAX) host.lastChild.remove();
  setText($("send-status"), `${title}${whys.length ? `: ${whys.join(", ")}` : ""}`);
}

function outcome(app, { name, delivered, why }, everywhere) {
  const said = [why ?? plural(delivered, "socket"), everywhere && `${plural(everywhere, "subscription")} on all nodes`];
  return h("li", {}, h("a", { class: "mono", href: link("channels", app, name) }, name), h("span", { class: "hint" }, said.filter(Boolean).join(" · ")));
}

function fill(app, event) {
  chooseApp(form().app, app);
  form().channels.value = event.channels.join(" ");
  form().name.value = event.name;
  form().data.value = event.data;
  form().socket_id.value = event.socket_id ?? "";
  form().form.value = formatJson(event.data) === undefined ? "text" : "json";
  checkData();
  form().name.focus();
}
