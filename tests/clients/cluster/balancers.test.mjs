// The load balancers' configurations in config/, each with the real program in front of three nodes.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "../cluster.mjs";
import { openWorld } from "../world.mjs";

const execute = promisify(execFile);
const START_TIMEOUT_MS = 10_000;
/** The ports in the files: of the balancer, and of the nodes. */
const PUBLIC_PORT = "8080";
const NODE_PORTS = ["6001", "6002", "6003"];

/** nginx's own file, around the one that is tried. */
const nginxMain = (directory) => `
daemon off;
pid ${directory}/nginx.pid;
error_log stderr notice;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${directory}/${kind};`).join("\n  ")}
  include ${directory}/nginx.conf;
}
`;

/** How each program is asked to check a configuration, and to run with it in the foreground. */
const balancers = {
  nginx: {
    file: "nginx.conf",
    async prepare(directory) {
      await writeFile(path.join(directory, "main.conf"), nginxMain(directory));
    },
    check: (directory) => ["-t", "-p", directory, "-c", `${directory}/main.conf`],
    run: (directory) => ["-p", directory, "-c", `${directory}/main.conf`],
  },
  haproxy: {
    file: "haproxy.cfg",
    // The limit of open files may be low here.
    forTrial: (text) => text.replace(/maxconn \d+/, "maxconn 100"),
    check: (directory) => ["-c", "-f", `${directory}/haproxy.cfg`],
    run: (directory) => ["-db", "-f", `${directory}/haproxy.cfg`],
  },
  caddy: {
    file: "Caddyfile",
    // Its admin port is always the same, and may be taken.
    forTrial: (text) => `{\n\tadmin off\n}\n${text}`,
    check: (directory) => ["validate", "--adapter", "caddyfile", "--config", `${directory}/Caddyfile`],
    run: (directory) => ["run", "--adapter", "caddyfile", "--config", `${directory}/Caddyfile`],
  },
};

/** Where Debian installs them; nothing else is run. */
const programOf = (name) => process.env[`${name.toUpperCase()}_PROGRAM`] ?? `/usr/${name === "caddy" ? "bin" : "sbin"}/${name}`;

const isInstalled = (name) => execute(programOf(name), [name === "caddy" ? "version" : "-v"]).then(() => true, () => false);

function tryConnect(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** The balancer of this name before the nodes; ended after the test `t`. Returns its port. */
async function startBalancer(t, name, nodes) {
  const { file, forTrial, prepare, check, run } = balancers[name];
  const directory = await mkdtemp(path.join(tmpdir(), `loudhailer-${name}-`));
  const port = await freePort();
  let text = await readFile(new URL(`../../../config/${file}`, import.meta.url), "utf8");
  text = text.replaceAll(PUBLIC_PORT, String(port));
  NODE_PORTS.forEach((old, index) => {
    text = text.replaceAll(`127.0.0.1:${old}`, `127.0.0.1:${nodes[index].port}`);
  });
  await writeFile(path.join(directory, file), forTrial?.(text) ?? text);
  await prepare?.(directory);
  await execute(programOf(name), check(directory));

  const child = spawn(programOf(name), run(directory), { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => {
    log += data;
  });
  const exited = once(child, "exit");
  const take = () => child.kill("SIGKILL");
  process.once("exit", take);
  t.after(async () => {
    child.kill("SIGTERM");
    await exited;
    process.off("exit", take);
    await rm(directory, { recursive: true });
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await tryConnect(port))) {
    assert.ok(child.exitCode === null && performance.now() < deadline, `${name} does not listen\n${log}`);
    await sleep(20);
  }
  return port;
}

for (const name of Object.keys(balancers)) {
  const skip = name === "caddy" && !(await isInstalled(name)) && "caddy is not installed";
  describe(`${name} before three nodes`, { skip }, () => {
    test("carries every transport and finds another node when one stops", async (t) => {
      const world = await openWorld();
      t.after(() => world.close());
      const port = await startBalancer(t, name, world.server.nodes);
      const through = { wsPort: port, httpHost: "127.0.0.1", httpPort: port };
      const transports = ["ws", "ws", "ws", "ws", "ws", "ws", "xhr_streaming", "xhr_polling"];
      const enter = async (transport, index) => {
        const client = await world.connect({ user: `user${index}`, ...through, enabledTransports: [transport] });
        const room = await client.subscribe("presence-room");
        return { client, room };
      };
      const entered = await Promise.all(transports.map(enter));
      const clients = entered.map(({ client }) => client);
      const publisher = world.publisherOf(world.apps.main, { port: String(port), agent: undefined });
      const allHear = async (event) => {
        await publisher.trigger("presence-room", event, {});
        await Promise.all(clients.map((client) => client.hears("presence-room", event)));
      };
      await allHear("first");

      const before = clients.map((client) => client.socketId);
      await world.server.nodes[0].stop();
      await Promise.all(clients.map((client) => client.reaches("connected")));
      const moved = clients.filter((client, index) => client.socketId !== before[index]);
      await Promise.all(moved.map((client) => client.hears("presence-room", "pusher:subscription_succeeded", 2)));
      await allHear("second");
      t.diagnostic(`${moved.length} of ${clients.length} clients moved`);
      const answer = await publisher.get({ path: "/channels/presence-room", params: { info: "user_count" } });
      assert.deepEqual(await answer.json(), { occupied: true, user_count: clients.length });
    });
  });
}
