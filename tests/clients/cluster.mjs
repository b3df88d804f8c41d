// Three nodes on one Redis behind one port, so that each connection of a test reaches a node by chance.
//
// As a program it lends a Redis to any command; the servers that the tests then start are clusters:
//
//     node cluster.mjs node --test *.test.mjs
//
// The command finds the Redis in LOUDHAILER_CLUSTER_REDIS.

import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Program, run } from "./program.mjs";

const NODES = 3;

/** A port that nobody listens on at this moment. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A `redis-server` of our own that keeps nothing on disk: its `url`, and `stop`. */
export async function startRedis() {
  const directory = await mkdtemp(path.join(tmpdir(), "loudhailer-redis-"));
  const port = await freePort();
  const settings = { port, bind: "127.0.0.1", dir: directory, save: "", appendonly: "no" };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const program = await Program.start(process.env.REDIS_SERVER ?? "redis-server", args, {
    env: { PATH: process.env.PATH },
    ready: /Ready to accept connections/,
  });
  return {
    url: `redis://127.0.0.1:${port}`,
    async stop() {
      await program.end("SIGTERM");
      await rm(directory, { recursive: true });
    },
  };
}

/** What stands before the nodes: each connection goes to one of them by chance, or to the next if that one refuses. */
class Relay {
  #nodes;
  #sockets = new Set();
  #server = createServer((downstream) => this.#accept(downstream));

  constructor(nodes) {
    this.#nodes = nodes;
  }

  async listen(port) {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    return this.#server.address().port;
  }

  async close() {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(downstream) {
    this.#keep(downstream);
    downstream.pause();
    this.#carry(downstream, this.#inSomeOrder());
  }

  /** The nodes in turn, from one that is left to chance. */
  #inSomeOrder() {
    const first = randomInt(this.#nodes.length);
    return [...this.#nodes.slice(first), ...this.#nodes.slice(0, first)];
  }

  #carry(downstream, [node, ...others]) {
    if (!node || downstream.destroyed) {
      downstream.destroy();
      return;
    }
    const onward = connect(node.port, node.host);
    const tryAnother = () => this.#carry(downstream, others);
    onward.once("error", tryAnother);
    onward.once("connect", () => {
      onward.off("error", tryAnother);
      this.#keep(onward);
      onward.on("error", () => downstream.destroy());
      downstream.on("error", () => onward.destroy());
      downstream.on("close", () => onward.destroy());
      onward.on("close", () => downstream.end());
      downstream.pipe(onward);
      onward.pipe(downstream);
    });
  }

  #keep(socket) {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    // Without this an error before the other side is there would end the process.
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }
}

/** Running nodes that look like one server: `host` and `port` of the relay, `stop`, `kill`. */
export class Cluster {
  #startNode;
  #relay;
  #ended;

  constructor(startNode, nodes, relay, port) {
    this.#startNode = startNode;
    this.#relay = relay;
    this.nodes = nodes;
    this.host = "127.0.0.1";
    this.port = port;
  }

  /** Stops one node as an operator does and starts another in its place. */
  async restart(index) {
    await this.nodes[index].stop();
    this.nodes[index] = await this.#startNode();
  }

  /** Asks all nodes to stop and checks that they end well. */
  stop() {
    return this.#end((node) => node.stop());
  }

  /** Ends all nodes without warning. */
  kill() {
    return this.#end((node) => node.kill());
  }

  #end(endNode) {
    this.#ended ??= Promise.all(this.nodes.map(endNode)).finally(() => this.#relay.close());
    return this.#ended;
  }
}

/**
 * Starts a cluster of its own on the Redis at `url`. `startNode` starts one node with options like these;
 * `options.server.port` is where the relay listens.
 */
export async function startCluster(startNode, url, { server: { port = 0, ...server } = {}, ...options } = {}) {
  const redis = { url, key_prefix: `test-${randomBytes(4).toString("hex")}` };
  const start = () => startNode({ ...options, server, redis });
  const nodes = await Promise.all(Array.from({ length: NODES }, start));
  const relay = new Relay(nodes);
  return new Cluster(start, nodes, relay, await relay.listen(port));
}

/** Runs a command beside a Redis and returns its exit status. */
async function lendTo(command, args) {
  const redis = await startRedis();
  const status = await run(command, args, { ...process.env, LOUDHAILER_CLUSTER_REDIS: redis.url });
  await redis.stop();
  return status;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [command, ...args] = process.argv.slice(2);
  if (!command) {
    console.error("usage: node cluster.mjs COMMAND [ARGUMENT…]");
    process.exit(2);
  }
  process.exit(await lendTo(command, args));
}
