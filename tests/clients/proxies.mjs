// nginx, HAProxy and Caddy with the configurations in config/, before the nodes of a test.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./cluster.mjs";

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
events {
  # The default of 512 is half as many clients.
  worker_connections 4096;
}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${directory}/${kind};`).join("\n  ")}
  include ${directory}/nginx.conf;
}
`;

/** How each program is asked to check a configuration, and to run with it in the foreground. */
export const proxies = {
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

export const isInstalled = (name) => execute(programOf(name), [name === "caddy" ? "version" : "-v"]).then(() => true, () => false);

function tryConnect(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** The proxy of this name before the nodes: its `port`, and `stop`. */
export async function startProxy(name, nodes) {
  const { file, forTrial, prepare, check, run } = proxies[name];
  const directory = await mkdtemp(path.join(tmpdir(), `loudhailer-${name}-`));
  const port = await freePort();
  let text = await readFile(new URL(`../../config/${file}`, import.meta.url), "utf8");
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
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
    process.off("exit", take);
    await rm(directory, { recursive: true });
  };
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await tryConnect(port))) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`${name} does not listen\n${log}`);
    await sleep(20);
  }
  return { port, stop };
}
