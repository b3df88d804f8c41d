// pusher-js and npm's pusher over TLS, unchanged: Node is told of the test's own certificate by its environment.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { freePort } from "./cluster.mjs";
import { apps, startNode } from "./server.mjs";

const fileOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const strict = { ...apps.second, tls_only: true };

let directory;
let server;
let tlsPort;
let cert;

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "loudhailer-tls-"));
  const key = path.join(directory, "key.pem");
  cert = path.join(directory, "cert.pem");
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert];
  await promisify(execFile)("openssl", request);
  tlsPort = await freePort();
  server = await startNode({ server: { tls: { cert, key, port: tlsPort } }, only: { main: apps.main, strict } });
});

after(async () => {
  await server?.stop();
  await rm(directory, { recursive: true });
});

/** The environment of a program that trusts the certificate. */
function environment(app, more) {
  return {
    ...process.env,
    NODE_EXTRA_CA_CERTS: cert,
    LOUDHAILER_HOST: "localhost",
    LOUDHAILER_PORT: String(server.port),
    LOUDHAILER_WSS_PORT: String(tlsPort),
    LOUDHAILER_APP_ID: app.id,
    LOUDHAILER_APP_KEY: app.key,
    LOUDHAILER_APP_SECRET: app.secret,
    ...more,
  };
}

/** pusher-js in a process of its own; gives what it hears, line by line. */
function subscriber(app, channel, tls, t) {
  const program = spawn(process.execPath, [fileOf("subscriber.mjs"), channel], { env: environment(app, { LOUDHAILER_TLS: String(tls) }), stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => program.kill());
  const lines = readline.createInterface({ input: program.stdout })[Symbol.asyncIterator]();
  return {
    async hears(event) {
      for (;;) {
        const { value } = await lines.next();
        assert.ok(value, `pusher-js ended before it heard ${event}`);
        const heard = JSON.parse(value);
        if (heard.event === event) return heard;
      }
    },
  };
}

/** npm's pusher over https. */
function publish(app, channel, data) {
  const text = `
    import Pusher from "pusher";
    const { LOUDHAILER_HOST: host, LOUDHAILER_WSS_PORT: port, LOUDHAILER_APP_ID: appId, LOUDHAILER_APP_KEY: key, LOUDHAILER_APP_SECRET: secret } = process.env;
    await new Pusher({ appId, key, secret, host, port, useTLS: true }).trigger(${JSON.stringify(channel)}, "paid", ${JSON.stringify(data)});
  `;
  const options = { env: environment(app), cwd: fileOf(".") };
  return promisify(execFile)(process.execPath, ["--input-type=module", "-e", text], options);
}

test("pusher-js with forceTLS hears over wss what npm's pusher publishes over https", async (t) => {
  const client = subscriber(apps.main, "orders", true, t);
  await client.hears("pusher:subscription_succeeded");
  await publish(apps.main, "orders", { amount: 7 });
  assert.deepEqual((await client.hears("paid")).data, { amount: 7 });
});

test("pusher-js that began without TLS at an app that wants it goes on with TLS by itself", async (t) => {
  const client = subscriber(strict, "orders", false, t);
  await client.hears("pusher:subscription_succeeded");
  await publish(strict, "orders", { amount: 8 });
  assert.deepEqual((await client.hears("paid")).data, { amount: 8 });
});
