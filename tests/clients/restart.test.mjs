// A server that ends, and what the connected pusher-js clients do about it.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { PUSHER_JS } from "../../conformance/clients/versions.mjs";
import { startBalancer } from "./balancer.mjs";
import { World } from "./world.mjs";
import { apps, startServer } from "./server.mjs";

const PAUSE_AFTER_A_LOSS_MS = 1_000;

/** A server and what stands around it, closed when the test `t` is over. */
async function open(t, options) {
  const world = new World(await startServer(options), apps);
  t.after(() => world.close());
  return world;
}

describe("a client returns by itself", { concurrency: 2 }, () => {
  for (const { version, major, Client } of PUSHER_JS) {
    test(`at once and to the next server when it is told 4200: pusher-js ${version}`, async (t) => {
      const [old, world] = [await open(t), await open(t)];
      const balancer = await startBalancer(old.server);
      t.after(() => balancer.close());
      const client = await old.connect({ Client, user: "ann", wsPort: balancer.port });
      const names = ["news", "private-room", "presence-room"];
      for (const name of names) await client.subscribe(name);
      const before = client.socketId;

      balancer.upstream = world.server;
      const stopped = old.server.stop();
      await client.isTold(4200);
      const told = performance.now();
      await client.reachesAgain("connecting", 2);
      const pause = performance.now() - told;
      // Version 3 rests as after a loss.
      assert.ok(major === 3 || pause < PAUSE_AFTER_A_LOSS_MS, `the next attempt came after ${pause} ms`);
      await client.reachesAgain("connected", 2);
      assert.notEqual(client.socketId, before);
      for (const name of names) {
        await client.hears(name, "pusher:subscription_succeeded", 2);
        await world.publish(name, "story", { name });
        await client.hears(name, "story");
        assert.deepEqual(client.heardOn(name), [["story", { name }]]);
      }
      await stopped;
    });
  }

  test("after a crash, as soon as the server is back on its port", async (t) => {
    const crashed = await open(t);
    const client = await crashed.connect({ user: "ann" });
    await client.subscribe("presence-room");
    await crashed.server.kill();
    const world = await open(t, { server: { port: crashed.server.port } });
    await client.reachesAgain("connected", 2);
    const { data: members } = await client.hears("presence-room", "pusher:subscription_succeeded", 2);
    assert.equal(members.count, 1);
    await world.publish("presence-room", "story");
    await client.hears("presence-room", "story");
  });
});

describe("a server that is asked to stop", () => {
  test("tells every client 4200 and ends with status 0", async (t) => {
    const world = await open(t);
    const clients = await Promise.all(Array.from({ length: 20 }, () => world.connect()));
    const stopped = world.server.stop();
    await Promise.all(clients.map((client) => client.isTold(4200)));
    await stopped;
  });

  test("frees its port for the next one, to which its clients return", async (t) => {
    const stopping = await open(t);
    const client = await stopping.connect();
    await client.subscribe("news");
    await stopping.server.stop();
    const world = await open(t, { server: { port: stopping.server.port } });
    // The client's immediate attempt may have found the port closed, and pusher-js would now rest for
    // 15 s: the application asks it to try.
    client.disconnect();
    client.pusher.connect();
    await client.reachesAgain("connected", 2);
    await client.hears("news", "pusher:subscription_succeeded", 2);
    await world.publish("news", "story");
    await client.hears("news", "story");
  });
});
