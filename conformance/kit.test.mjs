// The kit against hosts that are none: it must come to its end, say what failed, and leave with status 1.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const KIT = fileURLToPath(new URL("conformance.mjs", import.meta.url));
const APP = ["--app-id", "1", "--key", "key", "--secret", "secret"];

/** Runs the kit; returns its status, what it printed and its results. */
async function kit(...options) {
  const directory = await mkdtemp(path.join(tmpdir(), "conformance-"));
  const json = path.join(directory, "results.json");
  const child = spawn(process.execPath, [KIT, ...options, "--json", json], { stdio: ["ignore", "pipe", "pipe"] });
  const texts = [child.stdout, child.stderr].map((stream) => stream.toArray());
  const [status] = await once(child, "exit");
  const [printed, complained] = (await Promise.all(texts)).map((chunks) => Buffer.concat(chunks).toString());
  const results = await readFile(json, "utf8").then(JSON.parse, () => undefined);
  await rm(directory, { recursive: true });
  return { status, printed, complained, results };
}

async function listening(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}

/** Messages that no host should send, each to one connection in turn. */
const NONSENSE = [
  "",
  "hello",
  "null",
  "[]",
  '{"event":7}',
  '{"event":"pusher:connection_established"}',
  '{"event":"pusher:connection_established","data":"{}"}',
  '{"event":"pusher:connection_established","data":"null"}',
  '{"event":"pusher:error","data":{"code":null,"message":null}}',
  '{"event":"pusher:error","data":null}',
  '{"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{"}',
];
const ESTABLISHED = '{"event":"pusher:connection_established","data":"{\\"socket_id\\":\\"1.1\\",\\"activity_timeout\\":120}"}';

/** A host that answers requests with broken JSON, and WebSockets with nonsense, at once or after the handshake. */
function nonsenseHost() {
  let count = 0;
  const server = createHttpServer((request, response) => response.end("{"));
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    count += 1;
    if (count % 2) socket.send(ESTABLISHED);
    const message = NONSENSE[count % NONSENSE.length];
    socket.on("message", () => socket.send(message));
    socket.on("error", () => {});
    socket.send(message);
    socket.send(Buffer.from([0, 1, 2]));
  });
  return server;
}

const hosts = {
  "closes every connection": () => createServer((socket) => socket.destroy()),
  "never answers": () => createServer((socket) => socket.on("error", () => {})),
  "answers with bytes that are no HTTP": () => createServer((socket) => socket.on("error", () => {}).end("\u0000\u0001\r\n\r\n")),
  "answers with nonsense": nonsenseHost,
};

describe("a host that", { concurrency: true }, () => {
  for (const [what, start] of Object.entries(hosts)) {
    test(`${what} fails every case and does not harm the kit`, async (t) => {
      const server = start();
      const port = await listening(server);
      t.after(() => server.close());
      const { status, complained, results } = await kit("--port", String(port), ...APP, "--timeout", "1", "--concurrency", "64");
      assert.equal(status, 1, complained.slice(-2000));
      assert.deepEqual(results.strays, []);
      assert.equal(
        results.cases.length,
        Object.values(results.totals).reduce((sum, count) => sum + count),
      );
      assert.ok(results.totals.failed > 400, JSON.stringify(results.totals));
    });
  }
});

test("without a host the status is 3", async () => {
  const server = createServer();
  const port = await listening(server);
  server.close();
  assert.equal((await kit("--port", String(port), ...APP)).status, 3);
});

for (const [what, options] of [
  ["an unknown option", ["--colour", "blue"]],
  ["no app", ["--port", "6001"]],
  ["a pattern that fits nothing", [...APP, "--only", "no-such-area"]],
  ["a feature that is none", [...APP, "--without", "warmth"]],
  ["a port that is none", [...APP, "--port", "http"]],
]) {
  test(`with ${what} the status is 2`, async () => {
    const { status, complained } = await kit(...options);
    assert.equal(status, 2);
    assert.match(complained, /--help/);
  });
}

test("the list names each case with its source", async () => {
  const { status, printed } = await kit("--list", "--only", "legacy");
  assert.equal(status, 0);
  assert.match(printed, /legacy\.stats: .*\n +docs: https:/);
});
