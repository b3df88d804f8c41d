// The view of an app's channels, and the panel with one channel's members, last event and sockets.

import { get, path, query } from "./api.js";
import { $, chooseApp, count, duration, facts, fillApps, h, plural, setText, whenQuiet } from "./dom.js";
import { copyButton, formatJson, payload } from "./json_view.js";
import { LiveView, drawEmpty } from "./live_view.js";
import { hidePanel, link, panelHead, panelMessage, visitPanel } from "./panel.js";
import { onState } from "./server_state.js";
import { Table } from "./table.js";

const LIMIT = 200;
const MEMBERS_SHOWN = 500;

let table;
let opened;
let drawnFor;

const form = () => $("channels-filters").elements;
const view = new LiveView(ask, (failure) => drawEmpty($("channels-empty"), `${failure.message}.`));

export function start() {
  table = new Table(
    $("channels-table"),
    [
      { name: "Channel", text: (channel) => channel.name, href: (channel) => link("channels", form().app.value, channel.name), mono: true },
      { name: "Kind", text: kindOf, optional: 1 },
      { name: "Subscriptions", text: (channel) => count(channel.subscriptions), value: (channel) => channel.subscriptions, num: true },
      { name: "Users", text: (channel) => channel.users === undefined ? "" : count(channel.users), value: (channel) => channel.users ?? -1, num: true },
    ],
    { sort: "Channel", keyOf: (channel) => channel.name },
  );
  $("channels-filters").addEventListener("submit", (event) => event.preventDefault());
  form().prefix.addEventListener("input", whenQuiet(() => view.refresh()));
  form().app.addEventListener("change", () => (location.hash = link("channels", form().app.value)));
  onState((state) => state && fillApps(form().app, state.apps));
}

const kindOf = (channel) => (channel.cache ? `${channel.kind}, cache` : channel.kind);

/** Shows the app and channel of the address. */
export function show(parameters, [app, name]) {
  if (app) chooseApp(form().app, app);
  if (parameters.has("prefix")) form().prefix.value = parameters.get("prefix");
  opened = name;
  drawnFor = undefined;
  table.open(name);
  const panel = $("channels-detail");
  if (name) {
    visitPanel(panel, panelHead(name, h("span", { class: "badge" }, "Channel"), close), h("div", { class: "detail-body" }));
    panelMessage(panel, "Asking the server");
  } else hidePanel(panel);
  view.show();
}

export function hide() {
  view.hide();
  hidePanel($("channels-detail"));
}

export function close() {
  const name = opened;
  location.hash = link("channels", form().app.value);
  requestAnimationFrame(() => table.focus(name));
}

async function ask(wanted) {
  const app = form().app.value || form().app.dataset.wanted;
  if (!app) return;
  const [list] = await Promise.all([get(query(path("apps", app, "channels"), { prefix: form().prefix.value.trim(), limit: LIMIT })), opened && askOne(app, opened, wanted)]);
  if (!wanted()) return;
  table.show(list.channels);
  setText($("channels-counts"), list.channels.length < list.total ? `${count(list.channels.length)} of ${plural(list.total, "channel")}; narrow it by the name` : plural(list.total, "channel"));
  drawEmpty($("channels-empty"), list.channels.length ? "" : form().prefix.value ? "No occupied channel begins like that." : "No channel is occupied. A channel is here as long as somebody is subscribed to it.");
}

async function askOne(app, name, wanted) {
  const panel = $("channels-detail");
  try {
    const channel = await get(path("apps", app, "channels", name));
    const key = JSON.stringify(channel);
    if (!wanted() || opened !== name || drawnFor === key) return;
    // While something in the panel has the focus, it is not drawn under the reader's hands.
    if (drawnFor && panel.querySelector(".detail-body")?.contains(document.activeElement)) return;
    drawnFor = key;
    panel.querySelector(".detail-body").replaceChildren(...channelBody(app, channel));
  } catch (failure) {
    if (!wanted() || opened !== name) return;
    drawnFor = undefined;
    panelMessage(panel, failure.status === 404 ? "Nobody is subscribed to it now." : `${failure.message}.`);
  }
}

function channelBody(app, channel) {
  return [
    h("dl", { class: "figures" },
      h("div", {}, h("dt", {}, "Subscriptions"), h("dd", {}, count(channel.subscriptions))),
      channel.users !== undefined && h("div", {}, h("dt", {}, "Users"), h("dd", {}, count(channel.users))),
    ),
    channel.members?.length && members(channel.members),
    channel.cached && cached(channel.cached),
    channel.sockets?.length && sockets(channel.sockets),
    h("p", { class: "ways" },
      h("a", { class: "button", href: `#/send?${new URLSearchParams({ app, channels: channel.name })}` }, "Send an event to it"),
      h("a", { class: "button", href: `#/feed?${new URLSearchParams({ app, channel: channel.name })}` }, "Watch it"),
    ),
  ].filter(Boolean);
}

function members(list) {
  const row = (member) => h("li", {}, h("b", {}, member.user_id), member.user_info !== undefined && h("code", {}, JSON.stringify(member.user_info)));
  return h("section", {}, h("h3", {}, "Members"), h("ul", { class: "people" }, list.slice(0, MEMBERS_SHOWN).map(row)), list.length > MEMBERS_SHOWN && h("p", { class: "hint" }, `and ${count(list.length - MEMBERS_SHOWN)} more`));
}

function cached({ event, data, ttl_s }) {
  const head = h("div", { class: "field-line" }, h("h3", {}, "Cached event"), copyButton(formatJson(data) ?? data));
  return h("section", {}, head, h("dl", { class: "facts" }, facts([["Event", event], ["Kept for", duration(ttl_s)]])), payload(data));
}

function sockets(list) {
  const row = (socket) => h("li", {}, h("a", { href: link("connections", socket), class: "mono" }, socket));
  return h("section", {}, h("h3", {}, "Sockets on this node"), h("ul", { class: "sockets" }, list.map(row)));
}
