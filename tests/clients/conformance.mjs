// The kit of conformance/ against the built server: on one node, on one with TLS, on three, and on three behind nginx without and with a
// prefix.
//
//     node conformance.mjs [--record] [KIT-OPTION…]
//
// --record keeps the results in conformance/runs, for docs/compatibility.md.

import { Authority } from "./authority.mjs";
import { startCluster, startRedis } from "./cluster.mjs";
import { apps, kitArguments, receiverAddress, runKit } from "./kit.mjs";
import { startProxy } from "./proxies.mjs";
import { serverVersion, startNode } from "./server.mjs";

const PREFIX = "/sockets";

/** The kit's apps, with what Loudhailer has to switch on for them. */
function configured(receiver) {
  const features = { client_events: true, watchlists: true, subscription_counts: true };
  return {
    main: { ...apps.main, ...features, webhooks: [{ url: `http://${receiver}/` }] },
    other: { ...apps.other, client_events: true },
    disabled: { ...apps.disabled, enabled: false },
  };
}

/** What the kit is run against. `start` returns the port, what the kit's environment needs, and what ends it. */
const setups = [
  {
    name: "one node",
    start: startNode,
    options: [],
  },
  {
    name: "one node with TLS",
    start: startWithTls,
    options: ["--tls", "--host", "localhost"],
  },
  {
    name: "three nodes",
    start: (options, redis) => startCluster(startNode, redis, options),
    options: [],
  },
  {
    name: "three nodes behind nginx",
    start: startBehindNginx,
    options: ["--proxied"],
  },
  {
    name: "three nodes behind nginx, with a path prefix",
    start: (options, redis) => startBehindNginx({ ...options, server: { path_prefix: PREFIX } }, redis),
    options: ["--proxied", "--path", PREFIX],
  },
];

async function startWithTls(options) {
  const authority = await Authority.create();
  const server = await startNode({ ...options, server: { tls: authority.settings } });
  const stop = async () => {
    await server.stop();
    await authority.close();
  };
  return { port: server.tlsPort, environment: authority.environment, stop };
}

async function startBehindNginx(options, redis) {
  const cluster = await startCluster(startNode, redis, options);
  const proxy = await startProxy("nginx", cluster.nodes);
  const stop = async () => {
    await proxy.stop();
    await cluster.stop();
  };
  return { port: proxy.port, stop };
}

/** Runs the kit in one set-up and returns its exit status. */
async function runSetup({ name, start, options }, redis, given) {
  const receiver = await receiverAddress();
  const started = await start({ only: configured(receiver) }, redis);
  const status = await runKit({
    name: `Loudhailer, ${name}`,
    notes: [await serverVersion()],
    port: started.port,
    environment: started.environment,
    receiver,
    record: given.record,
    options: [...options, ...given.options],
  });
  await started.stop();
  return status;
}

const given = kitArguments(process.argv.slice(2));
const redis = await startRedis();
let failed = 0;
for (const setup of setups) {
  console.log(`\n--- ${setup.name}\n`);
  failed += (await runSetup(setup, redis.url, given)) === 0 ? 0 : 1;
}
await redis.stop();
process.exit(failed === 0 ? 0 : 1);
