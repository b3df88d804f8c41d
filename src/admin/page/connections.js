// The view of this node's connections, and the panel that inspects one and can disconnect it.

import { get, path, query, remove } from "./api.js";
import { $, bytes, chooseApp, confirm, count, duration, facts, fillApps, h, moment, plural, setText, whenQuiet } from "./dom.js";
import { LiveView, drawEmpty } from "./live_view.js";
import { hidePanel, link, panelHead, panelMessage, visitPanel } from "./panel.js";
import { isCluster, onState } from "./server_state.js";
import { Table } from "./table.js";
import { clientName, transportName } from "./words.js";

const LIMIT = 200;

let table;
let opened;
let drawnFor;
let offset = 0;

const form = () => $("connections-filters").elements;
const view = new LiveView(ask, (failure) => drawEmpty($("connections-empty"), `${failure.message}.`));
const age = (connection) => duration(Math.max(0, (Date.now() - connection.connected_ms) / 1000));

export function start() {
  table = new Table(
    $("connections-table"),
    [
      { name: "Socket", text: (one) => one.socket_id, href: (one) => link("connections", one.socket_id), mono: true },
      { name: "User", text: (one) => one.user_id },
      { name: "App", text: (one) => one.app, optional: 3 },
      { name: "Channels", text: (one) => count(one.channels), num: true, optional: 1 },
      { name: "Client", text: clientName, optional: 2 },
      { name: "Transport", text: (one) => transportName(one.transport), optional: 3 },
      { name: "Address", text: (one) => one.address, optional: 2 },
      { name: "Age", text: age, num: true },
      { name: "Backlog", text: (one) => bytes(one.backlog_bytes), num: true, optional: 1 },
    ],
    { sort: "Age", keyOf: (one) => one.socket_id, onSort: fromTheFirst },
  );
  $("connections-filters").addEventListener("submit", (event) => event.preventDefault());
  $("connections-filters").addEventListener("input", whenQuiet(fromTheFirst));
  $("connections-previous").addEventListener("click", () => turn(-LIMIT));
  $("connections-next").addEventListener("click", () => turn(LIMIT));
  onState((state) => state && fillApps(form().app, state.apps, "All apps"));
}

function turn(by) {
  offset = Math.max(0, offset + by);
  view.refresh();
}

function fromTheFirst() {
  offset = 0;
  view.refresh();
}

/** Shows the list, and the connection of the address. */
export function show(parameters, [socketId]) {
  for (const name of ["search", "user", "channel"]) if (parameters.has(name)) form()[name].value = parameters.get(name);
  if (parameters.has("app")) chooseApp(form().app, parameters.get("app"));
  opened = socketId;
  drawnFor = undefined;
  table.open(socketId);
  const panel = $("connections-detail");
  if (socketId) {
    visitPanel(panel, panelHead(socketId, h("span", { class: "badge" }, "Connection"), close), h("div", { class: "detail-body" }));
    panelMessage(panel, "Asking the server");
  } else hidePanel(panel);
  view.show();
}

export function hide() {
  view.hide();
  hidePanel($("connections-detail"));
}

export function close() {
  const socketId = opened;
  location.hash = link("connections");
  requestAnimationFrame(() => table.focus(socketId));
}

async function ask(wanted) {
  const value = (name) => form()[name].value.trim();
  const filter = { app: form().app.value, channel: value("channel"), user: value("user"), search: value("search") };
  const { name, descending } = table.sorted;
  const page = { sort: name.toLowerCase(), order: descending ? "desc" : "asc", offset, limit: LIMIT };
  const [list] = await Promise.all([get(query("api/connections", { ...filter, ...page })), opened && askOne(opened, wanted)]);
  if (!wanted()) return;
  table.show(list.connections);
  const many = isCluster() ? " on this node" : "";
  const shown = list.connections.length;
  if (!shown && list.total && offset) return turn(-LIMIT);
  setText($("connections-counts"), shown < list.total ? `${count(offset + 1)} to ${count(offset + shown)} of ${plural(list.total, "connection")}${many}` : `${plural(list.total, "connection")}${many}`);
  $("connections-pages").hidden = shown === list.total;
  $("connections-previous").disabled = offset === 0;
  $("connections-next").disabled = offset + shown >= list.total;
  const filtered = Object.values(filter).some(Boolean);
  drawEmpty($("connections-empty"), shown ? "" : filtered ? "No connection passes the filter." : "Nobody is connected.");
}

async function askOne(socketId, wanted) {
  const panel = $("connections-detail");
  try {
    const connection = await get(path("connections", socketId));
    if (!wanted() || opened !== socketId) return;
    drawConnection(panel, connection);
  } catch (failure) {
    if (!wanted() || opened !== socketId) return;
    drawnFor = undefined;
    panelMessage(panel, failure.status === 404 ? "This connection is gone." : `${failure.message}.`);
  }
}

/** Draws anew only what has changed in kind; age and backlog, which always change, are written in place. */
function drawConnection(panel, connection) {
  const { backlog_bytes, connected_ms: _, ...lasting } = connection;
  const key = JSON.stringify(lasting);
  if (drawnFor !== key) {
    drawnFor = key;
    panel.querySelector(".detail-body").replaceChildren(...connectionBody(connection));
  }
  const [ageText, backlogText] = panel.querySelectorAll(".figures dd");
  setText(ageText, age(connection));
  setText(backlogText, bytes(backlog_bytes));
}

function connectionBody(one) {
  const pairs = [
    ["App", one.app],
    ["User", one.user_id],
    ["Client", clientName(one) ?? "unnamed"],
    ["Transport", transportName(one.transport)],
    ["Protocol", one.protocol],
    ["Address", one.address],
    ["Origin", one.origin],
    ["Since", moment(one.connected_ms)],
  ];
  const channel = (name) => h("li", {}, h("a", { href: link("channels", one.app, name), class: "mono" }, name));
  return [
    h("dl", { class: "figures" }, h("div", {}, h("dt", {}, "Age"), h("dd", {})), h("div", {}, h("dt", {}, "Backlog"), h("dd", {}))),
    h("dl", { class: "facts" }, facts(pairs)),
    h("section", {}, h("h3", {}, "Channels"), one.channels.length ? h("ul", { class: "sockets" }, one.channels.map(channel)) : h("p", { class: "hint" }, "Not subscribed to any.")),
    h("p", { class: "ways" },
      h("a", { class: "button", href: `#/feed?${new URLSearchParams({ search: one.socket_id })}` }, "Its lines in the feed"),
      h("button", { type: "button", class: "danger", onclick: () => disconnect(one) }, "Disconnect"),
    ),
  ];
}

async function disconnect({ socket_id }) {
  const sure = await confirm({
    title: `Disconnect ${socket_id}?`,
    text: "The client is closed with 4009. Pusher's libraries do not come back by themselves after that.",
    yes: "Disconnect",
  });
  if (!sure) return;
  const panel = $("connections-detail");
  try {
    await remove(path("connections", socket_id));
    panelMessage(panel, "Disconnected.");
  } catch (failure) {
    panelMessage(panel, failure.status === 404 ? "This connection was gone already." : `${failure.message}.`);
  }
  drawnFor = undefined;
  opened = undefined;
  panel.querySelector(".close")?.focus();
  view.refresh();
}
