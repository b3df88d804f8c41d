// Cache channels through pusher-js: the last event waits for whoever comes later.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

const MISS = "pusher:cache_miss";

for (const kind of ["cache-", "private-cache-", "presence-cache-"]) {
  describe(`a channel that begins with ${kind}`, () => {
    test("gives a late subscriber the last event", async () => {
      const name = world.channel(`${kind}late`);
      await world.publish(name, "price", { cents: 100 });
      await world.publish(name, "price", { cents: 200 });
      const client = await world.connect({ user: "ann" });
      await client.subscribe(name);
      await client.hears(name, "price");
      await world.publish(name, "marker");
      await client.hears(name, "marker");
      assert.deepEqual(client.heardOn(name), [["price", { cents: 200 }], ["marker", {}]]);
    });

    test("confirms the subscription before it gives the event", async () => {
      const name = world.channel(`${kind}order`);
      await world.publish(name, "price", { cents: 1 });
      const client = await world.connect({ user: "ann" });
      await client.subscribe(name);
      await client.hears(name, "price");
      assert.deepEqual(client.receivedOn(name), ["pusher_internal:subscription_succeeded", "price"]);
    });

    test("tells of a miss when there is nothing yet", async () => {
      const name = world.channel(`${kind}empty`);
      const client = await world.connect({ user: "ann" });
      await client.subscribe(name);
      await client.hears(name, MISS);
      await world.publish(name, "price", { cents: 5 });
      await client.hears(name, "price");
      assert.deepEqual(client.heardOn(name).map(([event]) => event), [MISS, "price"]);
    });
  });
}

test("an event that left its sender out is kept all the same", async () => {
  const name = world.channel("cache-excluded");
  const sender = await world.connect();
  await sender.subscribe(name);
  await sender.hears(name, MISS);
  await world.publish(name, "price", { cents: 3 }, { socket_id: sender.socketId });
  const late = await world.connect();
  await late.subscribe(name);
  assert.deepEqual((await late.hears(name, "price")).data, { cents: 3 });
});

test("the last event of a batch is the one that is kept", async () => {
  const name = world.channel("cache-batch");
  await world.publisher.triggerBatch([
    { channel: name, name: "price", data: { cents: 1 } },
    { channel: name, name: "price", data: { cents: 2 } },
  ]);
  const client = await world.connect();
  await client.subscribe(name);
  assert.deepEqual((await client.hears(name, "price")).data, { cents: 2 });
});

test("what clients whisper is not kept", async () => {
  const name = world.channel("private-cache-whisper");
  const [ann, bob] = await Promise.all([world.connect({ user: "ann" }), world.connect({ user: "bob" })]);
  await bob.subscribe(name);
  const room = await ann.subscribe(name);
  room.trigger("client-typing", {});
  await bob.hears(name, "client-typing");
  const cid = await world.connect({ user: "cid" });
  await cid.subscribe(name);
  await cid.hears(name, MISS);
  assert.deepEqual(cid.heardOn(name).map(([event]) => event), [MISS]);
});

test("a name with cache- in its middle is an ordinary channel", async () => {
  const name = world.channel("my-cache-x");
  await world.publish(name, "price");
  const client = await world.connect();
  await client.subscribe(name);
  await world.publish(name, "marker");
  await client.hears(name, "marker");
  assert.deepEqual(client.heardOn(name), [["marker", {}]]);
});

test("what is kept is forgotten after its time", { skip: needsOwnServer }, async () => {
  const name = world.channel("cache-short");
  const publisher = world.publisherOf(world.apps.forgetful);
  const cached = async () => {
    const answer = await publisher.get({ path: `/channels/${name}`, params: { info: "cache" } });
    return (await answer.json()).cache;
  };
  await publisher.trigger(name, "price", { cents: 9 });
  assert.equal((await cached()).data, JSON.stringify({ cents: 9 }));
  // The app keeps an event for one second; each look is a whole request, so this ends.
  const deadline = Date.now() + 5_000;
  while ((await cached()) !== null) assert.ok(Date.now() < deadline, "the event is still there");
  const client = await world.connect({ app: world.apps.forgetful });
  await client.subscribe(name);
  await client.hears(name, MISS);
  assert.deepEqual(client.heardOn(name).map(([event]) => event), [MISS]);
});
