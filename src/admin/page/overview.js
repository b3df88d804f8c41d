// The overview: charts, nodes and apps; and the view of the apps with their limits.

import { recolour, drawCharts, startCharts } from "./charts.js";
import { $, appLabel, compact, count, duration, facts, h, plural, setText } from "./dom.js";
import { link } from "./panel.js";
import { onState, serverState } from "./server_state.js";
import { limitOf } from "./words.js";

let shown = "";

export function start() {
  startCharts();
  onState((state) => state && draw());
  document.addEventListener("themechange", recolour);
}

export function show() {
  shown = "overview";
  draw();
}

export function hide() {
  shown = "";
}

/** The view of the apps. */
export const appsView = {
  start() {},
  show() {
    shown = "apps";
    draw();
  },
  hide,
};

function draw() {
  const state = serverState();
  if (!state || !shown) return;
  if (shown === "apps") drawApps(state);
  else {
    drawLead(state);
    drawCharts();
    drawNodes(state);
    drawAppTable(state);
  }
}

function drawLead(state) {
  const parts = [`Up for ${duration(state.uptime_s)}`, `clients at ${state.public}`, state.engine === "redis" ? `cluster on Redis${state.engine_ready ? "" : ", out of reach"}` : "one node, alone"];
  setText($("overview-lead"), parts.join(" · "));
}

/** Replaces the rows only if they say something else, so that a focus or a selection in them survives. */
function setRows(body, rows) {
  const key = JSON.stringify(rows.map((row) => row.key));
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  body.replaceChildren(...rows.map((row) => row.make()));
}

function drawNodes(state) {
  const most = Math.max(1, ...state.cluster.map((node) => node.connections));
  const rows = state.cluster.map((node) => ({
    key: [node.node, node.this, node.connections, most],
    make() {
      const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("i"));
      bar.firstChild.style.width = `${(node.connections / most) * 100}%`;
      const name = h("th", { scope: "row" }, h("span", { class: "mono" }, node.node), node.this && h("span", { class: "tag" }, "this node"));
      return h("tr", {}, name, h("td", { class: "num" }, bar, h("span", { class: "amount" }, count(node.connections))));
    },
  }));
  setRows($("nodes").tBodies[0], rows);
  const many = state.cluster.length > 1;
  setText($("nodes-hint"), many ? "The feed, connections, messages and the apps' figures are this node's; the lists of channels and members are the cluster's." : "");
}

function drawAppTable(state) {
  const rows = state.apps.map((app) => ({
    key: [app.id, app.name, app.enabled, app.connections, app.channels],
    make: () =>
      h("tr", {},
        h("th", { scope: "row" }, h("a", { href: link("channels", app.id) }, appLabel(app)), !app.enabled && h("span", { class: "tag warn" }, "disabled")),
        h("td", { class: "num" }, count(app.connections)),
        h("td", { class: "num" }, count(app.channels)),
      ),
  }));
  setRows($("overview-apps").tBodies[0], rows);
}

const SHOWN_ELSEWHERE = new Set(["id", "key", "name", "enabled", "client_events"]);

function drawApps(state) {
  setText($("apps-lead"), `${plural(state.apps.length, "app")}. Secrets are never shown.`);
  const rows = state.apps.map((app) => ({ key: app, make: () => appCard(app) }));
  setRows($("apps"), rows);
}

function appCard(app) {
  const limits = Object.entries(app.limits ?? {}).filter(([key]) => !SHOWN_ELSEWHERE.has(key));
  const tags = [h("span", { class: app.enabled ? "tag good" : "tag warn" }, app.enabled ? "enabled" : "disabled"), h("span", { class: "tag" }, app.client_events ? "client events" : "no client events")];
  return h("article", { class: "card app" },
    h("header", {}, h("h2", {}, app.name || `App ${app.id}`), h("p", {}, tags)),
    h("dl", { class: "figures" },
      h("div", {}, h("dt", {}, "Connections"), h("dd", {}, compact(app.connections))),
      h("div", {}, h("dt", {}, "Channels"), h("dd", {}, compact(app.channels))),
    ),
    h("dl", { class: "facts" }, facts([["Id", app.id], ["Key", app.key], ...limits.map(([key, value]) => limitOf(key, value))])),
    h("p", { class: "ways" },
      h("a", { class: "button", href: link("channels", app.id) }, "Channels"),
      h("a", { class: "button", href: `#/connections?${new URLSearchParams({ app: app.id })}` }, "Connections"),
      h("a", { class: "button", href: `#/feed?${new URLSearchParams({ app: app.id })}` }, "Feed"),
      h("a", { class: "button", href: `#/send?${new URLSearchParams({ app: app.id })}` }, "Send event"),
    ),
  );
}
