// pusher-js in Node and npm's pusher over TLS, unchanged: Node is told of the tests' authority by its environment. And clients of one version
// of TLS alone: openssl s_client and Python's ssl.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { after, before, test } from "node:test";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Authority } from "./authority.mjs";
import { apps, startNode } from "./server.mjs";

const fileOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const strict = { ...apps.second, tls_only: true };

let authority;
let server;

before(async () => {
  authority = await Authority.create();
  server = await startNode({ server: { tls: authority.settings }, only: { main: apps.main, strict } });
});

after(async () => {
  await server?.stop();
  await authority?.close();
});

/** The environment of a program that trusts the authority. */
function environment(app, more) {
  return {
    ...process.env,
    ...authority.environment,
    LOUDHAILER_HOST: "localhost",
    LOUDHAILER_PORT: String(server.port),
    LOUDHAILER_WSS_PORT: String(server.tlsPort),
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

/** Runs a part of a program with npm's pusher over https, and gives the JSON that it prints. */
async function withPusher(app, part) {
  const text = `
    import Pusher from "pusher";
    const { LOUDHAILER_HOST: host, LOUDHAILER_WSS_PORT: port, LOUDHAILER_APP_ID: appId, LOUDHAILER_APP_KEY: key, LOUDHAILER_APP_SECRET: secret } = process.env;
    const pusher = new Pusher({ appId, key, secret, host, port, useTLS: true });
    ${part}
  `;
  const options = { env: environment(app), cwd: fileOf(".") };
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", text], options);
  return stdout && JSON.parse(stdout);
}

/** npm's pusher over https. */
function publish(app, channel, data) {
  return withPusher(app, `await pusher.trigger(${JSON.stringify(channel)}, "paid", ${JSON.stringify(data)});`);
}

test("pusher-js with forceTLS hears over wss what npm's pusher publishes over https", async (t) => {
  const client = subscriber(apps.main, "orders", true, t);
  await client.hears("pusher:subscription_succeeded");
  await publish(apps.main, "orders", { amount: 7 });
  assert.deepEqual((await client.hears("paid")).data, { amount: 7 });
});

test("npm's pusher triggers batches and asks for channels and users over https", async (t) => {
  const client = subscriber(apps.main, "batched", true, t);
  await client.hears("pusher:subscription_succeeded");
  const told = await withPusher(apps.main, `
    await pusher.triggerBatch([{ channel: "batched", name: "first", data: { n: 1 } }, { channel: "batched", name: "second", data: { n: 2 } }]);
    const get = async (path) => (await pusher.get({ path })).json();
    const status = async (path) => (await pusher.get({ path }).catch((error) => error)).status;
    const channels = await get("/channels");
    const one = await get("/channels/batched");
    console.log(JSON.stringify({ all: channels.channels, one, users: await status("/channels/batched/users") }));
  `);
  for (const [event, n] of [["first", 1], ["second", 2]]) assert.deepEqual((await client.hears(event)).data, { n });
  assert.deepEqual(told, { all: { batched: {} }, one: { occupied: true }, users: 400 });
});

test("pusher-js that began without TLS at an app that wants it goes on with TLS by itself", async (t) => {
  const client = subscriber(strict, "orders", false, t);
  await client.hears("pusher:subscription_succeeded");
  await publish(strict, "orders", { amount: 8 });
  assert.deepEqual((await client.hears("paid")).data, { amount: 8 });
});

/** Says hello with Python's ssl in one version alone, opens a WebSocket and prints the version and the greeting. */
const PYTHON = `
import socket, ssl, sys
port, version, key = int(sys.argv[1]), getattr(ssl.TLSVersion, sys.argv[2]), sys.argv[3]
context = ssl.create_default_context()
context.minimum_version = context.maximum_version = version
with context.wrap_socket(socket.create_connection(("localhost", port), 8), server_hostname="localhost") as tls:
    tls.sendall(f"GET /app/{key}?protocol=7 HTTP/1.1\\r\\nHost: localhost\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n".encode())
    came = b""
    while b"connection_established" not in came:
        part = tls.recv(4096)
        assert part, came
        came += part
    print(tls.version())
`;

for (const [version, asPython] of [["TLSv1.2", "TLSv1_2"], ["TLSv1.3", "TLSv1_3"]]) {
  test(`Python's ssl opens a WebSocket in ${version} alone`, async () => {
    const args = ["-c", PYTHON, String(server.tlsPort), asPython, apps.main.key];
    const { stdout } = await promisify(execFile)("python3", args, { env: environment(apps.main) });
    assert.equal(stdout.trim(), version);
  });

  test(`openssl s_client verifies the certificate and asks in ${version} alone`, async () => {
    const option = `-${version.replace("TLSv", "tls").replace(".", "_")}`;
    const where = ["-connect", `localhost:${server.tlsPort}`, "-servername", "localhost", "-verify_hostname", "localhost"];
    const trust = ["-CAfile", authority.file, "-verify_return_error"];
    const asked = promisify(execFile)("openssl", ["s_client", option, "-ign_eof", ...where, ...trust]);
    asked.child.stdin.end("GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const { stdout } = await asked;
    assert.match(stdout, /HTTP\/1\.1 200 OK/);
    assert.ok(stdout.includes(`New, ${version}, Cipher is`), stdout);
    assert.match(stdout, /Verify return code: 0 \(ok\)/);
  });
}
