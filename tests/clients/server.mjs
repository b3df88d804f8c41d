// Starts the built Loudhailer with the apps these tests need, and ends it.
//
// As a program it lends a server to any command, here the Python tests:
//
//     node server.mjs [--tls] python -m unittest
//
// The command finds the server in LOUDHAILER_HOST, LOUDHAILER_PORT and the credentials beside them. With --tls it is one node, the port is
// the one with TLS, LOUDHAILER_TLS is "true", and the environment names the certificate authority to trust.

import { execFile } from "node:child_process";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Authority } from "./authority.mjs";
import { startCluster } from "./cluster.mjs";
import { Program, run } from "./program.mjs";

/** The apps of the test configuration. Each is there for one limit. */
export const apps = {
  main: {
    id: "1001",
    key: "main-key",
    secret: "main-secret",
    client_events: true,
    watchlists: true,
    channels: [
      { pattern: "*replayed*", replay_events: 5 },
      { pattern: "private-single-*", single_session: "replace" },
      { pattern: "presence-single-*", single_session: "replace" },
    ],
  },
  second: { id: "1002", key: "second-key", secret: "second-secret", client_events: true },
  crowded: { id: "1005", key: "crowded-key", secret: "crowded-secret", max_connections: 1 },
  fenced: {
    id: "1006",
    key: "fenced-key",
    secret: "fenced-secret",
    allowed_origins: ["*.example.com"],
  },
  counting: { id: "1009", key: "counting-key", secret: "counting-secret", subscription_counts: true },
  compressing: { id: "1011", key: "compressing-key", secret: "compressing-secret", client_events: true, compression: true },
  ruled: {
    id: "1010",
    key: "ruled-key",
    secret: "ruled-secret",
    channels: [{ pattern: "private-outman-user-*", single_session: "replace" }],
  },
  busy: { id: "1020", key: "busy-key", secret: "busy-secret", name: "Busy", max_batch_events: 100 },
};

const builtBinary = fileURLToPath(new URL("../../target/release/loudhailer", import.meta.url));

/** The binary under test: LOUDHAILER_BIN, or what `cargo build --release` makes. */
async function binary() {
  const file = path.resolve(process.env.LOUDHAILER_BIN ?? builtBinary);
  await access(file).catch(() => {
    throw new Error(`no server at ${file}: run \`cargo build --release\` or set LOUDHAILER_BIN`);
  });
  return file;
}

/** The version of the binary under test, such as `0.1.0`. */
export async function serverVersion() {
  const { stdout } = await promisify(execFile)(await binary(), ["--version"]);
  return stdout.trim().split(" ")[1];
}

/** JSON's strings, numbers and booleans are TOML's too. */
function tomlValue(value) {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{ ${Object.entries(value).map(([key, inner]) => `${key} = ${tomlValue(inner)}`).join(", ")} }`;
}

function tomlTable(heading, table) {
  const lines = Object.entries(table).map(([key, value]) => `${key} = ${tomlValue(value)}`);
  return [heading, ...lines, ""].join("\n");
}

function configText({ server, websocket, redis, admin, database, only = apps }) {
  return [
    tomlTable("[server]", { host: "127.0.0.1", port: 0, drain_window_s: 1, ...server }),
    tomlTable("[websocket]", { ...websocket }),
    tomlTable("[admin]", { port: 0, ...admin }),
    tomlTable("[redis]", { ...redis }),
    tomlTable("[log]", { level: "warn" }),
    ...(database ? [tomlTable("[database]", database)] : Object.values(only).map((app) => tomlTable("[[apps]]", app))),
  ].join("\n");
}

/** The environment without what would configure the server: the test's own variables are for the tests. */
function serverEnvironment() {
  const foreign = /^(LOUDHAILER|PUSHER|SOKETI|REVERB)_/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}

/** A running server: `host`, `port`, `tlsPort` if it has one, `admin` (the address of its admin listener), and `stop`, `kill` to end it. */
export class Server {
  #program;
  #directory;
  #ended;

  constructor(program, directory) {
    this.#program = program;
    this.#directory = directory;
    this.admin = program.ready[1];
    const [, host, port] = program.said(/^Listening on http:\/\/(.+):(\d+)$/);
    this.host = host;
    this.port = Number(port);
    const tls = program.said(/^Listening on https:\/\/.+:(\d+)$/);
    this.tlsPort = tls && Number(tls[1]);
  }

  /** Asks the server to stop and checks that it ends well. One that was ended before is left alone. */
  stop() {
    this.#ended ??= this.#stop();
    return this.#ended;
  }

  /** Ends the server without warning, as a crash does. */
  kill() {
    this.#ended ??= this.#kill();
    return this.#ended;
  }

  async #stop() {
    const { code, signal } = await this.#program.end("SIGTERM");
    await rm(this.#directory, { recursive: true });
    const { log } = this.#program;
    if (code !== 0) throw new Error(`the server ended with ${signal ?? code}\n${log}`);
    if (/panicked at/.test(log)) throw new Error(`the server panicked\n${log}`);
  }

  async #kill() {
    await this.#program.end("SIGKILL");
    await rm(this.#directory, { recursive: true });
  }
}

/**
 * Starts one node; `options.server`, `.websocket`, `.redis` and `.admin` are laid over the test configuration; `options.only` replaces
 * its apps, and `options.database` takes their place.
 */
export async function startNode(options) {
  const file = await binary();
  const directory = await mkdtemp(path.join(tmpdir(), "loudhailer-"));
  const config = path.join(directory, "loudhailer.toml");
  await writeFile(config, configText(options));
  const program = await Program.start(file, ["--config", config], {
    env: serverEnvironment(),
    ready: /^Admin on (http:\S+)$/,
  });
  return new Server(program, directory);
}

const clusterRedis = process.env.LOUDHAILER_CLUSTER_REDIS;

/** Whether the servers are clusters, on the Redis in LOUDHAILER_CLUSTER_REDIS. */
export const clustered = clusterRedis !== undefined;

/** Starts a server, which may be a whole cluster. Its options are those of a node. */
export function startServer(options = {}) {
  return clustered ? startCluster(startNode, clusterRedis, options) : startNode(options);
}

/** Has the command use TLS, and trust the authority. */
function encrypted(authority, server) {
  return {
    ...authority.environment,
    LOUDHAILER_HOST: "localhost",
    LOUDHAILER_PORT: String(server.tlsPort),
    LOUDHAILER_TLS: "true",
    LOUDHAILER_TLS_CERT: authority.cert,
    LOUDHAILER_TLS_KEY: authority.key,
  };
}

/** Runs a command beside a server and returns its exit status. */
async function lendTo(command, args, authority) {
  const server = await (authority ? startNode({ server: { tls: authority.settings } }) : startServer());
  const status = await run(command, args, {
    ...process.env,
    LOUDHAILER_HOST: server.host,
    LOUDHAILER_PORT: String(server.port),
    ...(authority && encrypted(authority, server)),
    LOUDHAILER_APP_ID: apps.main.id,
    LOUDHAILER_APP_KEY: apps.main.key,
    LOUDHAILER_APP_SECRET: apps.main.secret,
    // Of a cluster there are several, and none speaks for all.
    ...(server.admin && { LOUDHAILER_ADMIN: server.admin }),
  });
  await server.stop();
  return status;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const isEncrypted = process.argv[2] === "--tls";
  const [command, ...args] = process.argv.slice(isEncrypted ? 3 : 2);
  if (!command) {
    console.error("usage: node server.mjs [--tls] COMMAND [ARGUMENT…]");
    process.exit(2);
  }
  const authority = isEncrypted ? await Authority.create() : undefined;
  const status = await lendTo(command, args, authority);
  await authority?.close();
  process.exit(status);
}
