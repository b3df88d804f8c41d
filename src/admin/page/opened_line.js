// A line of the feed in full: its facts, its payload, why it reached nobody, and where to go from it.

import { facts, h, moment } from "./dom.js";
import { copyButton, formatJson, payload } from "./json_view.js";
import { typeLabel } from "./lines.js";
import { link, panelHead } from "./panel.js";
import { isCluster } from "./server_state.js";
import { factsOf, hintFor, whereOf } from "./words.js";

/** The children of the panel. */
export function openedLine(line, close) {
  const badge = h("span", { class: "badge", dataset: { type: line.type } }, typeLabel(line.type));
  const time = h("p", { class: "hint" }, moment(line.time_ms));
  return [
    panelHead(line.event ?? (whereOf(line) || typeLabel(line.type)), badge, close),
    h("div", { class: "detail-body" }, time, reachedNobody(line), dataOf(line), h("dl", { class: "facts" }, facts(factsOf(line))), ways(line)),
  ];
}

function reachedNobody(line) {
  if (line.delivered !== 0) return undefined;
  const where = isCluster() ? " on this node" : "";
  if (line.type === "client_event") return note(`Reached nobody else${where}.`, "A client's event goes to the other subscribers of the channel.");
  return note(`Reached nobody${where}${line.why ? `: ${line.why}` : ""}.`, hintFor(line.why));
}

function note(title, text) {
  return h("div", { class: "note" }, h("strong", {}, title), text && h("p", {}, text));
}

function dataOf(line) {
  if (line.data === undefined || line.data === null) return undefined;
  const text = typeof line.data === "string" ? line.data : JSON.stringify(line.data);
  const head = h("div", { class: "field-line" }, h("h3", {}, "Data"), copyButton(formatJson(text) ?? text));
  return h("section", {}, head, payload(text));
}

/** Links to what the line is about. */
function ways(line) {
  const links = [];
  const channels = line.channels ?? (line.channel ? [line.channel] : []);
  if (line.socket_id && line.type !== "disconnected") links.push([link("connections", line.socket_id), "Inspect the connection"]);
  if (line.app && channels.length === 1) links.push([link("channels", line.app, channels[0]), "Show the channel"]);
  if (line.type === "api_message" || line.type === "client_event") links.push([resendLink(line, channels), "Edit and send again"]);
  return links.length ? h("p", { class: "ways" }, links.map(([href, text]) => h("a", { href, class: "button" }, text))) : undefined;
}

function resendLink(line, channels) {
  const parameters = new URLSearchParams({ app: line.app, channels: channels.join(" "), name: line.event });
  if (typeof line.data === "string" && line.data.length < 4000) parameters.set("data", line.data);
  return `#/send?${parameters}`;
}
