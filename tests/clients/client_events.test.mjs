// Client events ("whispers") through pusher-js: from one member straight to the others.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

const EVENTS_PER_SECOND = 10;

/** Two connected members of one channel. */
async function twoMembers(name, app = world.apps.main) {
  const [ann, bob] = await Promise.all(["ann", "bob"].map((user) => world.connect({ app, user })));
  const annsRoom = await ann.subscribe(name);
  const bobsRoom = await bob.subscribe(name);
  return { ann, bob, annsRoom, bobsRoom };
}

describe("a client event", () => {
  test("on a private channel reaches the others and not its sender", async () => {
    const name = world.channel("private-whisper");
    const { ann, bob, annsRoom, bobsRoom } = await twoMembers(name);
    annsRoom.trigger("client-typing", { by: "ann" });
    await bob.hears(name, "client-typing");
    bobsRoom.trigger("client-marker", {});
    await ann.hears(name, "client-marker");
    assert.deepEqual(bob.heardOn(name), [["client-typing", { by: "ann" }]]);
    assert.deepEqual(ann.heardOn(name), [["client-marker", {}]]);
  });

  test("on a private channel carries no user id", async () => {
    const name = world.channel("private-anonymous");
    const { bob, annsRoom } = await twoMembers(name);
    annsRoom.trigger("client-typing", {});
    assert.equal((await bob.receives("client-typing")).user_id, undefined);
  });

  test("on a presence channel carries the id of the member who sent it", async () => {
    const name = world.channel("presence-whisper");
    const { bobsRoom, annsRoom } = await twoMembers(name);
    const heard = new Promise((resolve) => {
      bobsRoom.bind("client-typing", (data, metadata) => resolve({ data, metadata }));
    });
    annsRoom.trigger("client-typing", { on: true });
    assert.deepEqual(await heard, { data: { on: true }, metadata: { user_id: "ann" } });
  });

  test("arrives with the data it was given, whatever its kind", async () => {
    const name = world.channel("private-kinds");
    const { bob, annsRoom } = await twoMembers(name);
    const kinds = [{ a: [1] }, [1, 2], "words 👩‍🚀", 7, true, null];
    kinds.forEach((data, index) => annsRoom.trigger(`client-${index}`, data));
    await bob.hears(name, `client-${kinds.length - 1}`);
    assert.deepEqual(bob.heardOn(name).map(([, data]) => data), kinds);
  });

  test("stays within its app", { skip: needsOwnServer }, async () => {
    const name = world.channel("private-two-apps");
    const { annsRoom, bob } = await twoMembers(name);
    const stranger = await world.connect({ app: world.apps.second, user: "stranger" });
    await stranger.subscribe(name);
    annsRoom.trigger("client-typing", {});
    await bob.hears(name, "client-typing");
    await world.publisherOf(world.apps.second).trigger(name, "marker", {});
    await stranger.hears(name, "marker");
    assert.deepEqual(stranger.heardOn(name), [["marker", {}]]);
  });
});

describe("refused with 4301 is a client event", () => {
  test("on a public channel", async () => {
    const name = world.channel("public-whisper");
    const [ann, bob] = await Promise.all([world.connect(), world.connect()]);
    const room = await ann.subscribe(name);
    await bob.subscribe(name);
    room.trigger("client-typing", {});
    await ann.isTold(4301);
    await world.publish(name, "marker");
    await bob.hears(name, "marker");
    assert.deepEqual(bob.heardOn(name), [["marker", {}]]);
    assert.equal(ann.state, "connected");
  });

  test("on a channel the sender has not joined", async () => {
    const name = world.channel("private-outsider");
    const [ann, bob] = await Promise.all([world.connect({ user: "ann" }), world.connect({ user: "bob" })]);
    await bob.subscribe(name);
    ann.pusher.send_event("client-typing", {}, name);
    await ann.isTold(4301);
    await world.publish(name, "marker");
    await bob.hears(name, "marker");
    assert.deepEqual(bob.heardOn(name), [["marker", {}]]);
  });

  test("in an app that has not allowed them", { skip: needsOwnServer }, async () => {
    const name = world.channel("private-quiet");
    const app = world.apps.quiet;
    const { ann, bob, annsRoom } = await twoMembers(name, app);
    annsRoom.trigger("client-typing", {});
    await ann.isTold(4301);
    await world.publisherOf(app).trigger(name, "marker", {});
    await bob.hears(name, "marker");
    assert.deepEqual(bob.heardOn(name), [["marker", {}]]);
  });

  test("whose name does not begin with client-", async () => {
    const name = world.channel("private-unprefixed");
    const { ann, bob } = await twoMembers(name);
    ann.pusher.send_event("typing", {}, name);
    await ann.isTold(4301);
    await world.publish(name, "marker");
    await bob.hears(name, "marker");
    assert.deepEqual(bob.heardOn(name), [["marker", {}]]);
  });

  test("beyond ten in one second", { skip: needsOwnServer }, async () => {
    const name = world.channel("private-flood");
    const { ann, bob, annsRoom } = await twoMembers(name);
    for (let number = 0; number < 3 * EVENTS_PER_SECOND; number += 1) {
      annsRoom.trigger("client-tick", { number });
    }
    await ann.isTold(4301);
    await bob.hears(name, "client-tick", EVENTS_PER_SECOND);
    const heard = bob.heardOn(name).map(([, { number }]) => number);
    assert.deepEqual(heard.slice(0, EVENTS_PER_SECOND), Array.from({ length: EVENTS_PER_SECOND }, (_, n) => n));
    assert.equal(ann.state, "connected");
  });
});
