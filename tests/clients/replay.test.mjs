// Replay on subscribe through pusher-js: a page that comes late hears the last events as if it had been there.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { clustered } from "./server.mjs";
import { openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

const numbers = (client, name) => client.heardOn(name).map(([, data]) => data.number);

async function publish(name, from, to, options) {
  for (let number = from; number <= to; number += 1) await world.publish(name, "step", { number }, options);
}

describe("a channel that shows its past", () => {
  for (const kind of ["", "private-", "presence-"]) {
    test(`gives a late subscriber of a ${kind || "public "}channel the last events, in order, then the live ones`, async () => {
      const name = world.channel(`${kind}replayed`);
      await publish(name, 1, 8);
      const client = await world.connect({ user: "ann" });
      await client.subscribe(name);
      await publish(name, 9, 9);
      await world.publish(name, "marker", { number: 0 });
      await client.hears(name, "marker");
      const heard = numbers(client, name).slice(0, -1);
      // In a cluster, some of what was published may still be on its way to the client's node: then it comes live.
      assert.ok(clustered ? heard[0] <= 4 : heard[0] === 4, `the last five at least: ${heard}`);
      assert.deepEqual(heard, Array.from(heard, (_, at) => heard[0] + at), "without a gap, each once");
      assert.equal(heard.at(-1), 9);
      assert.equal(client.receivedOn(name)[0], "pusher_internal:subscription_succeeded");
    });
  }

  test("does not give a sender back what left it out", async () => {
    const name = world.channel("replayed-excluded");
    const sender = await world.connect();
    await publish(name, 1, 2, { socket_id: sender.socketId });
    await publish(name, 3, 3);
    await sender.subscribe(name);
    await sender.hears(name, "step");
    await world.publish(name, "marker", { number: 0 });
    await sender.hears(name, "marker");
    assert.deepEqual(numbers(sender, name), [3, 0]);
  });

  test("misses and repeats nothing while a publisher is at it", async () => {
    const name = world.channel("replayed-busy");
    const publishing = publish(name, 1, 60);
    const clients = [];
    for (let count = 0; count < 10; count += 1) {
      const client = await world.connect();
      await client.subscribe(name);
      clients.push(client);
    }
    await publishing;
    await world.publish(name, "marker", { number: 61 });
    for (const client of clients) {
      await client.hears(name, "marker");
      const heard = numbers(client, name);
      assert.deepEqual(heard, Array.from(heard, (_, at) => heard[0] + at), "without a gap, each once");
    }
  });
});
