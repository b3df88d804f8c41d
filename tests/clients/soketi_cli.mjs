// The command line and the doctor against soketi from npm.
//
//     LOUDHAILER_BIN=../../target/debug/loudhailer node soketi_cli.mjs

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { apps, receiverAddress } from "./kit.mjs";
import { startSoketi } from "./soketi_server.mjs";

const execute = promisify(execFile);
const { id, key, secret } = apps.main;
const MASTER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const soketi = await startSoketi(await receiverAddress());
const env = {
  PUSHER_APP_ID: id,
  PUSHER_APP_KEY: key,
  PUSHER_APP_SECRET: secret,
  PUSHER_HOST: "127.0.0.1",
  PUSHER_PORT: String(soketi.port),
  PUSHER_SCHEME: "http",
  PUSHER_ENCRYPTION_MASTER_KEY_BASE64: MASTER_KEY,
};

/** What a command prints, line by line. */
async function cli(...args) {
  const { stdout } = await execute(process.env.LOUDHAILER_BIN, args, { env });
  return stdout.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** A `subscribe`: `next` gives the next line with this event, `ended` its status. */
function subscribe(...args) {
  const child = spawn(process.env.LOUDHAILER_BIN, ["subscribe", ...args], { env, stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (event) => {
    for (;;) {
      const { value, done } = await lines.next();
      assert(!done, `${args}: ended before ${event}`);
      const line = JSON.parse(value);
      if (line.event === event) return line;
    }
  };
  return { next, ended: once(child, "exit") };
}

async function trial() {
  const steps = await cli("doctor", "--json");
  const last = steps.at(-1);
  assert.deepEqual([last.wrong, last.warnings], [[], []], JSON.stringify(steps, null, 2));

  for (const channel of ["orders", "private-orders", "presence-orders", "private-encrypted-orders", "cache-orders"]) {
    const subscribed = subscribe(channel, "--count", "1");
    await subscribed.next("pusher_internal:subscription_succeeded");
    await cli("trigger", channel, "shipped", '{"id":42}');
    const { data } = await subscribed.next("shipped");
    assert.deepEqual(data, { id: 42 }, channel);
    assert.equal((await subscribed.ended)[0], 0);
  }

  const ann = subscribe("presence-room", "--user-id", "ann", "--user-info", '{"name":"Ann"}');
  await ann.next("pusher_internal:subscription_succeeded");
  assert.deepEqual(await cli("users", "presence-room"), [{ id: "ann" }]);
  const [room] = await cli("channels", "--prefix", "presence-");
  assert.equal(room.channel, "presence-room");
  const [channel] = await cli("channel", "presence-room", "--info", "user_count");
  assert.equal(channel.user_count, 1);
  await cli("terminate", "ann");
  assert.equal((await ann.ended)[0], 1);

  for (const way of [["--kind", "public"], ["--kind", "presence"], ["--kind", "private", "--client-events"]]) {
    const report = (await cli("bench", "--subscribers", "10", "--duration", "1", ...way)).at(-1);
    assert.ok(report.ok, JSON.stringify(report, null, 2));
    assert.equal(report.deliveries.delivered, 10);
  }
}

await trial().finally(() => soketi.stop());
console.log("The command line and the doctor work with soketi.");
