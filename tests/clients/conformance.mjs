// The kit of conformance/ against the built server: on one node, on three, and on three behind nginx without and with a prefix.
//
//     node conformance.mjs [--record] [KIT-OPTION…]
//
// --record keeps the results in conformance/runs, for docs/compatibility.md.

import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startCluster, startRedis } from "./cluster.mjs";
import { run } from "./program.mjs";
import { startProxy } from "./proxies.mjs";
import { startNode } from "./server.mjs";

const fileOf = (name) => fileURLToPath(new URL(`../../conformance/${name}`, import.meta.url));
const PREFIX = "/sockets";

/** The apps of a server: one with everything switched on, another, and a disabled one. */
function appsOf(receiver) {
  return {
    main: {
      id: "1001",
      key: "app-key",
      secret: "app-secret",
      client_events: true,
      watchlists: true,
      subscription_counts: true,
      webhooks: [{ url: `http://${receiver}/` }],
    },
    other: { id: "1002", key: "other-key", secret: "other-secret", client_events: true },
    disabled: { id: "1003", key: "disabled-key", secret: "disabled-secret", enabled: false },
  };
}

/** What the kit is run against. `start` returns the port, options for the kit, and what ends it. */
const setups = [
  {
    name: "one node",
    async start(options) {
      const server = await startNode(options);
      return { port: server.port, stop: () => server.stop() };
    },
  },
  {
    name: "three nodes",
    async start(options, redis) {
      const cluster = await startCluster(startNode, redis, options);
      return { port: cluster.port, stop: () => cluster.stop() };
    },
  },
  {
    name: "three nodes behind nginx",
    start: startBehindNginx,
    arguments: ["--proxied"],
  },
  {
    name: "three nodes behind nginx, with a path prefix",
    start: (options, redis) => startBehindNginx({ ...options, server: { path_prefix: PREFIX } }, redis),
    arguments: ["--proxied", "--path", PREFIX],
  },
];

async function startBehindNginx(options, redis) {
  const cluster = await startCluster(startNode, redis, options);
  const proxy = await startProxy("nginx", cluster.nodes);
  const stop = async () => {
    await proxy.stop();
    await cluster.stop();
  };
  return { port: proxy.port, stop };
}

const appText = ({ id, key, secret }) => `${id}:${key}:${secret}`;

/** Runs the kit in one set-up and returns its exit status. */
async function runSetup(setup, redis, record, kitOptions) {
  const receiver = `127.0.0.1:${await freePort()}`;
  const apps = appsOf(receiver);
  const started = await setup.start({ only: apps }, redis);
  const directory = await mkdtemp(path.join(tmpdir(), "loudhailer-conformance-"));
  const json = path.join(directory, `${randomBytes(4).toString("hex")}.json`);
  const { main, other, disabled } = apps;
  const status = await run(
    process.execPath,
    [
      fileOf("conformance.mjs"),
      ...["--port", String(started.port), "--app-id", main.id, "--key", main.key, "--secret", main.secret],
      ...["--other-app", appText(other), "--disabled-app", appText(disabled), "--webhooks", receiver],
      ...["--name", `Loudhailer, ${setup.name}`, "--again", "--json", json],
      ...(setup.arguments ?? []),
      ...kitOptions,
    ],
    process.env,
  );
  await started.stop();
  const kept = record ? await run(process.execPath, [fileOf("compatibility.mjs"), "add", json], process.env) : 0;
  await rm(directory, { recursive: true });
  return status || kept;
}

const [first, ...rest] = process.argv.slice(2);
const record = first === "--record";
const kitOptions = record || first === undefined ? rest : [first, ...rest];
const redis = await startRedis();
let failed = 0;
for (const setup of setups) {
  console.log(`\n--- ${setup.name}\n`);
  failed += (await runSetup(setup, redis.url, record, kitOptions)) === 0 ? 0 : 1;
}
await redis.stop();
process.exit(failed === 0 ? 0 : 1);
