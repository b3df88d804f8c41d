// How a line of the feed, a transport, a limit and a reason are said to people.

import { bytes, count, millis, plural } from "./dom.js";

const CLIENTS = { js: "pusher-js" };
const TRANSPORTS = { websocket: "WebSocket", xhr_streaming: "xhr_streaming", xhr_polling: "xhr_polling" };
const CLOSES = { none: "the connection broke", 1000: "closed by the client", 1001: "the page was left", 1006: "the connection broke" };
const OUTCOMES = { delivered: "delivered", retry: "will be tried again", given_up: "given up" };

export const transportName = (transport) => TRANSPORTS[transport] ?? transport;

/** A client library with its version; undefined if it did not say. */
export function clientName({ client, client_version, version }) {
  if (!client) return undefined;
  return [CLIENTS[client] ?? client, client_version ?? version].filter(Boolean).join(" ");
}

/** The channel, or channels, or else the socket that a line is about. */
export function whereOf(line) {
  if (line.channels) return line.channels.length > 1 ? `${line.channels[0]} and ${line.channels.length - 1} more` : (line.channels[0] ?? "");
  if (line.type === "webhook" || line.type === "webhooks_dropped") return hostOf(line.url);
  return line.channel ?? line.socket_id ?? "";
}

function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return url ?? "";
  }
}

const sum = (counts) => Object.values(counts ?? {}).reduce((total, count) => total + count, 0);

/** Dropped events, one kind a line. */
const numbersOf = (counts) => counts && Object.entries(counts).map(([kind, number]) => `${kind} ${count(number)}`).join("\n");

/** A line in two parts: what happened, and what stands beside it in a quieter colour. */
export function whatOf(line) {
  switch (line.type) {
    case "connected":
      return [clientName(line) ?? "unnamed client", [transportName(line.transport), line.address].filter(Boolean).join(" · ")];
    case "disconnected":
      return [[line.code, line.reason || CLOSES[line.code ?? "none"]].filter(Boolean).join(" "), ""];
    case "subscribed":
      return [line.user_id === undefined ? "" : `user ${line.user_id}`, line.socket_id];
    case "unsubscribed":
      return ["", line.socket_id];
    case "api_message":
    case "peer_event":
    case "client_event":
      return [line.event, (line.data ?? "").slice(0, 300)];
    case "member_added":
    case "member_removed":
      return [`user ${line.user_id}`, ""];
    case "webhook":
      return [line.error ?? `${line.status ?? "no answer"}${line.outcome === "delivered" ? "" : `, ${OUTCOMES[line.outcome] ?? line.outcome}`}`, `${(line.events ?? []).join(", ")} in ${millis(line.took_ms ?? 0)}`];
    case "webhooks_dropped":
      return [`${plural(sum(line.overflow) + sum(line.expired), "event was", "events were")} dropped`, Object.keys({ ...line.overflow, ...line.expired }).join(", ")];
    case "dropped":
      return [`${plural(line.count, "line was", "lines were")} dropped`, "this page was too slow for them"];
    default:
      return [[line.code, line.message].filter(Boolean).join(" "), ""];
  }
}

/** How many sockets got it; undefined if the line is not about a delivery. */
export const deliveredOf = (line) => line.delivered;

/** Whether the line tells of something that went wrong or reached nobody. */
export function toneOf(line) {
  if (line.type === "error" || line.type === "webhooks_dropped" || line.outcome === "given_up") return "bad";
  if (line.type === "dropped" || line.type === "gap" || line.outcome === "retry" || (line.delivered === 0 && !line.elsewhere)) return "warn";
  return "";
}

/** What to look at when an event reached nobody. */
export function hintFor(why) {
  const reason = (why ?? "").toLowerCase();
  if (reason.includes("excluded")) return "The publisher left this socket out by socket_id (toOthers), and nobody else listens.";
  if (reason.includes("other nodes")) return "The event went to the other nodes, which deliver it to their subscribers.";
  if (reason.includes("slow")) return "A client that reads too slowly is closed with 4100; it comes back by itself.";
  if (reason.includes("nobody"))
    return "Compare the name letter by letter with the page's: the prefix (private-, presence-) is part of it, and an app's channels are its own. Is the client connected to this app?";
  return "";
}

/** The lines of the opened line's list. */
export function factsOf(line) {
  return [
    ["App", line.app],
    ["Channels", line.channels?.join("\n")],
    ["Channel", line.channel],
    ["Socket", line.socket_id],
    ["User", line.user_id],
    ["Event", line.event],
    ["Delivered to", line.delivered === undefined ? undefined : plural(line.delivered, "socket")],
    ["On other nodes", line.elsewhere === undefined ? undefined : plural(line.elsewhere, "subscription")],
    ["From node", line.node],
    ["All but", line.excluded],
    ["Size", line.size === undefined ? undefined : bytes(line.size)],
    ["Code", line.code],
    ["Reason", line.reason],
    ["Message", line.message],
    ["To be signed", line.to_sign],
    ["Key", line.key],
    ["Client", clientName(line)],
    ["Protocol", line.protocol],
    ["Transport", line.transport && transportName(line.transport)],
    ["Address", line.address],
    ["Origin", line.origin],
    ["URL", line.url],
    ["Events", line.events?.join(", ")],
    ["Status", line.status],
    ["Error", line.error],
    ["Attempt", line.attempt],
    ["Took", line.took_ms === undefined ? undefined : millis(line.took_ms)],
    ["Outcome", line.outcome && (OUTCOMES[line.outcome] ?? line.outcome)],
    ["No room for", numbersOf(line.overflow)],
    ["Became too old", numbersOf(line.expired)],
    ["Lines", line.count === undefined ? undefined : count(line.count)],
    ["Request", line.request_id],
  ];
}

/** The name of a key of the configuration, and its value with a unit. */
export function limitOf(key, value) {
  const name = key.replace(/^max_/, "").replace(/_bytes$|_s$/, "").replaceAll("_", " ");
  const label = name[0].toUpperCase() + name.slice(1);
  if (value === null || value === undefined) return [label, "no limit"];
  if (typeof value === "boolean") return [label, value ? "on" : "off"];
  if (Array.isArray(value)) return [label, value.length ? value.join(", ") : "any"];
  if (typeof value !== "number") return [label, String(value)];
  if (key.endsWith("_bytes")) return [label, bytes(value)];
  return [label, key.endsWith("_s") ? `${count(value)} s` : count(value)];
}
