// The overview: charts, nodes and apps.

import { recolour, drawCharts, startCharts } from "./charts.js";
import { $, appLabel, count, duration, h, setText } from "./dom.js";
import { link } from "./panel.js";
import { onState, serverState } from "./server_state.js";

let shown = false;

export function start() {
  startCharts();
  onState((state) => state && draw());
  document.addEventListener("themechange", recolour);
}

export function show() {
  shown = true;
  draw();
}

export function hide() {
  shown = false;
}

function draw() {
  const state = serverState();
  if (!state || !shown) return;
  drawLead(state);
  drawCharts();
  drawNodes(state);
  drawAppTable(state);
}

function drawLead(state) {
  const parts = [`Up for ${duration(state.uptime_s)}`, `clients at ${state.public}`, state.engine === "redis" ? `cluster on Redis${state.engine_ready ? "" : ", out of reach"}` : "one node, alone"];
  if (state.tls) parts.push(certificates(state.tls));
  setText($("overview-lead"), parts.join(" · "));
}

/** The certificate that expires first, why a change was refused, and which orders fail. */
function certificates({ certificates: all, error, acme = [] }) {
  const parts = [validity(all)];
  if (error) parts.push(`the last change was refused: ${error}`);
  for (const name of acme.filter((it) => it.error)) parts.push(`no new certificate for ${name.name}: ${name.error}`);
  return parts.join("; ");
}

function validity(all) {
  if (!all.length) return "no TLS certificate yet";
  const days = Math.min(...all.map((certificate) => certificate.days_left));
  return days < 0 ? "a TLS certificate has expired" : `TLS certificate valid for ${count(days)} days`;
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
