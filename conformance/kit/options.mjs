// The command line.

import { parseArgs } from "node:util";
import { FEATURES } from "./probes.mjs";

export const USAGE = `usage: npx ./conformance --app-id ID --key KEY --secret SECRET [OPTION…]

Runs conformance cases against a host that speaks the Pusher Channels protocol.

The host
  --host HOST             where it is (127.0.0.1)
  --port PORT             its port (6001; 443 with --tls)
  --tls                   use https and wss
  --path PREFIX           a prefix of all its paths, such as /ws
  --proxied               a proxy stands before it, which makes requests of its own
  --api-host, --api-port  where the HTTP API is, if elsewhere
  --http-host, --http-port, --http-path
                          where the HTTP fallbacks are, if elsewhere; the path is PREFIX/pusher

The app
  --app-id ID, --key KEY, --secret SECRET
                          the app; or PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET in the environment.
                          It should have every feature switched on: client events, watchlist events, subscription counts,
                          and webhooks of all kinds without batches
  --other-app ID:KEY:SECRET     another app of the host, for cases about two apps
  --disabled-app ID:KEY:SECRET  an app that is disabled
  --webhooks HOST:PORT    where the kit listens for webhooks; the host is to post the app's webhooks to http://HOST:PORT/

The cases
  --only PATTERN          an area, a case, or a pattern with * (may be repeated)
  --without FEATURE       leave out what needs a feature: ${FEATURES.join(", ")} (may be repeated)
  --timeout SECONDS       the deadline of a case (10)
  --concurrency N         cases at once (8)
  --again                 run the cases that failed, and then those that note, once more, one at a time
  --list                  list the cases and their sources; run nothing

The report
  --json FILE             write the results as JSON
  --markdown FILE         write the results as Markdown
  --name TEXT             what to call the host in the report
  --note TEXT             a remark for the report, such as how the host is configured (may be repeated)

The status is 0 when all cases that ran passed, 1 when one failed or a feature is absent, 2 for a wrong option, and 3 when the
host cannot be reached.
`;

/** A wrong option; its message is for the person at the terminal. */
export class UsageError extends Error {}

const text = { type: "string" };
const list = { type: "string", multiple: true, default: [] };
const flag = { type: "boolean", default: false };
const OPTIONS = {
  host: { ...text, default: "127.0.0.1" },
  port: text,
  tls: flag,
  proxied: flag,
  path: { ...text, default: "" },
  "api-host": text,
  "api-port": text,
  "http-host": text,
  "http-port": text,
  "http-path": text,
  "app-id": text,
  key: text,
  secret: text,
  "other-app": text,
  "disabled-app": text,
  webhooks: text,
  only: list,
  without: list,
  timeout: { ...text, default: "10" },
  concurrency: { ...text, default: "8" },
  again: flag,
  list: flag,
  json: text,
  markdown: text,
  name: text,
  note: list,
  help: { ...flag, short: "h" },
};

function numberOf(values, name, { min, max }) {
  const value = Number(values[name]);
  if (!Number.isFinite(value) || value < min || value > max)
    throw new UsageError(`--${name} is a number from ${min} to ${max}, not ${values[name]}`);
  return value;
}

const portOf = (values, name) => numberOf(values, name, { min: 1, max: 65_535 });

function appOf(values, name) {
  if (values[name] === undefined) return undefined;
  const [id, key, secret] = values[name].split(":");
  if (!id || !key || !secret) throw new UsageError(`--${name} is ID:KEY:SECRET`);
  return { id, key, secret };
}

function mainApp(values) {
  const named = (option, variable) => {
    const value = values[option] ?? process.env[variable];
    if (!value) throw new UsageError(`--${option} is missing`);
    return value;
  };
  return {
    id: named("app-id", "PUSHER_APP_ID"),
    key: named("key", "PUSHER_APP_KEY"),
    secret: named("secret", "PUSHER_APP_SECRET"),
  };
}

function receiverOf(values) {
  if (values.webhooks === undefined) return undefined;
  const [, host, port] = values.webhooks.match(/^(.+):(\d+)$/) ?? [];
  if (!host) throw new UsageError("--webhooks is HOST:PORT");
  return { host, port: Number(port) };
}

/** The path without slashes that mean nothing: `/ws`, or an empty text. */
function prefixOf(path) {
  const segments = path.split("/").filter(Boolean);
  return segments.length ? `/${segments.join("/")}` : "";
}

function read(args) {
  try {
    return parseArgs({ args, options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw new UsageError(error.message);
  }
}

/** The options of a command line; throws UsageError. */
export function parseOptions(args) {
  const values = read(args);
  if (values.help) return { help: true };
  const chosen = { only: values.only, list: values.list };
  if (values.list) return chosen;
  for (const feature of values.without) {
    if (!FEATURES.includes(feature)) throw new UsageError(`--without knows ${FEATURES.join(", ")}; not ${feature}`);
  }
  values.port ??= values.tls ? "443" : "6001";
  values["api-port"] ??= values.port;
  values["http-port"] ??= values.port;
  const path = prefixOf(values.path);
  return {
    ...chosen,
    host: values.host,
    port: portOf(values, "port"),
    tls: values.tls,
    proxied: values.proxied,
    path,
    apiHost: values["api-host"] ?? values.host,
    apiPort: portOf(values, "api-port"),
    httpHost: values["http-host"] ?? values.host,
    httpPort: portOf(values, "http-port"),
    httpPath: prefixOf(values["http-path"] ?? `${path}/pusher`),
    app: mainApp(values),
    otherApp: appOf(values, "other-app"),
    disabledApp: appOf(values, "disabled-app"),
    webhooks: receiverOf(values),
    without: values.without,
    again: values.again,
    timeoutMs: 1000 * numberOf(values, "timeout", { min: 1, max: 600 }),
    concurrency: Math.floor(numberOf(values, "concurrency", { min: 1, max: 64 })),
    json: values.json,
    markdown: values.markdown,
    name: values.name ?? `${values.host}:${values.port}${path}`,
    notes: values.note,
  };
}
