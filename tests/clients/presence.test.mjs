// Presence channels through pusher-js: who is there, and each coming and going told exactly once.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

const JOINED = "pusher:member_added";
const LEFT = "pusher:member_removed";

/** The members as the channel object shows them to an application: `{ id: info }`. */
function membersOf(channel) {
  const seen = {};
  channel.members.each(({ id, info }) => {
    seen[id] = info;
  });
  assert.equal(channel.members.count, Object.keys(seen).length);
  return seen;
}

/** The comings and goings that crossed the wire, whether or not pusher-js passed them on. */
function comingsAndGoings(client, name) {
  return client.receivedOn(name).filter((event) => event.startsWith("pusher_internal:member_"));
}

describe("a member", () => {
  test("finds itself among the members", async () => {
    const name = world.channel("presence-self");
    const ann = await world.connect({ user: "ann" });
    const room = await ann.subscribe(name);
    assert.deepEqual(membersOf(room), { ann: { name: "Ann" } });
    assert.deepEqual(room.members.me, { id: "ann", info: { name: "Ann" } });
    assert.deepEqual(ann.heardOn(name), []);
  });

  test("finds those who were there before and hears of those who come", async () => {
    const name = world.channel("presence-two");
    const [ann, bob] = await Promise.all([world.connect({ user: "ann" }), world.connect({ user: "bob" })]);
    const annsRoom = await ann.subscribe(name);
    const bobsRoom = await bob.subscribe(name);
    const { data } = await ann.hears(name, JOINED);
    assert.deepEqual(data, { id: "bob", info: { name: "Bob" } });
    const both = { ann: { name: "Ann" }, bob: { name: "Bob" } };
    assert.deepEqual(membersOf(annsRoom), both);
    assert.deepEqual(membersOf(bobsRoom), both);
    assert.equal(bobsRoom.members.me.id, "bob");
  });

  test("hears events published to the channel", async () => {
    const name = world.channel("presence-events");
    const ann = await world.connect({ user: "ann" });
    await ann.subscribe(name);
    await world.publish(name, "story", { n: 1 });
    await ann.hears(name, "story");
    assert.deepEqual(ann.heardOn(name), [["story", { n: 1 }]]);
  });

  test("may have a number as id; it becomes a string", async () => {
    const name = world.channel("presence-number");
    const ann = await world.connect({ user: "ann" });
    await ann.subscribe(name);
    const seven = await world.connect({ user: { user_id: 7, user_info: { name: "Seven" } } });
    const room = await seven.subscribe(name);
    assert.deepEqual((await ann.hears(name, JOINED)).data, { id: "7", info: { name: "Seven" } });
    assert.deepEqual(membersOf(room), { 7: { name: "Seven" }, ann: { name: "Ann" } });
  });

  test("without user_info is there all the same", async () => {
    const name = world.channel("presence-bare");
    const bare = await world.connect({ user: { user_id: "bare" } });
    const room = await bare.subscribe(name);
    assert.deepEqual(membersOf(room), { bare: null });
  });

  test("keeps every letter of its name and info", async () => {
    const name = world.channel("presence-letters");
    const member = { user_id: "zoë 👩‍🚀", user_info: { name: "Zoë \\ \" 山", nested: { a: [1, null] } } };
    const ann = await world.connect({ user: "ann" });
    await ann.subscribe(name);
    const zoe = await world.connect({ user: member });
    await zoe.subscribe(name);
    const { data } = await ann.hears(name, JOINED);
    assert.deepEqual(data, { id: member.user_id, info: member.user_info });
  });
});

describe("two tabs of one user", () => {
  test("are announced once when the first comes, and once when the last goes", async () => {
    const [name, aside] = [world.channel("presence-tabs"), world.channel("aside")];
    const bob = await world.connect({ user: "bob" });
    const bobsRoom = await bob.subscribe(name);
    const tabs = [await world.connect({ user: "ann" }), await world.connect({ user: "ann" })];

    const firstRoom = await tabs[0].subscribe(name);
    const secondRoom = await tabs[1].subscribe(name);
    await world.publish(name, "marker-both");
    await bob.hears(name, "marker-both");
    assert.deepEqual(comingsAndGoings(bob, name), ["pusher_internal:member_added"]);
    const both = { ann: { name: "Ann" }, bob: { name: "Bob" } };
    for (const room of [firstRoom, secondRoom, bobsRoom]) assert.deepEqual(membersOf(room), both);
    assert.deepEqual(comingsAndGoings(tabs[0], name), [], "the first tab hears nothing of the second");

    tabs[0].pusher.unsubscribe(name);
    await tabs[0].subscribe(aside);
    await world.publish(name, "marker-one");
    await bob.hears(name, "marker-one");
    assert.deepEqual(comingsAndGoings(bob, name), ["pusher_internal:member_added"]);

    tabs[1].pusher.unsubscribe(name);
    await bob.hears(name, LEFT);
    await world.publish(name, "marker-none");
    await bob.hears(name, "marker-none");
    assert.deepEqual(comingsAndGoings(bob, name), [
      "pusher_internal:member_added",
      "pusher_internal:member_removed",
    ]);
    assert.deepEqual(membersOf(bobsRoom), { bob: { name: "Bob" } });
  });

  test("count as one user and two subscriptions", async () => {
    const name = world.channel("presence-counted");
    for (let tab = 0; tab < 2; tab += 1) {
      const ann = await world.connect({ user: "ann" });
      await ann.subscribe(name);
    }
    const info = { info: "user_count,subscription_count" };
    const answer = await world.publish(name, "story", {}, info);
    assert.deepEqual(answer, { channels: { [name]: { user_count: 1, subscription_count: 2 } } });
  });
});

describe("a going", () => {
  test("by a closed connection is told to those who stay, once", async () => {
    const name = world.channel("presence-closed");
    const [ann, bob] = await Promise.all([world.connect({ user: "ann" }), world.connect({ user: "bob" })]);
    const room = await ann.subscribe(name);
    await bob.subscribe(name);
    bob.disconnect();
    assert.deepEqual((await ann.hears(name, LEFT)).data, { id: "bob", info: { name: "Bob" } });
    await world.publish(name, "marker");
    await ann.hears(name, "marker");
    assert.deepEqual(comingsAndGoings(ann, name), [
      "pusher_internal:member_added",
      "pusher_internal:member_removed",
    ]);
    assert.deepEqual(membersOf(room), { ann: { name: "Ann" } });
  });

  test("of two who leave at once adds up for a third", async () => {
    const name = world.channel("presence-many");
    const ann = await world.connect({ user: "ann" });
    const room = await ann.subscribe(name);
    const guests = await Promise.all(
      Array.from({ length: 10 }, (_, index) => world.connect({ user: `guest${index}` })),
    );
    await Promise.all(guests.map((guest) => guest.subscribe(name)));
    await ann.hears(name, JOINED, guests.length);
    for (const guest of guests) guest.disconnect();
    await ann.hears(name, LEFT, guests.length);
    assert.deepEqual(membersOf(room), { ann: { name: "Ann" } });
    assert.equal(comingsAndGoings(ann, name).length, 2 * guests.length);
  });
});

describe("a presence channel", () => {
  test("stays shut to whom the endpoint refuses", async () => {
    const client = await world.connect();
    assert.equal((await client.isRefused(world.channel("presence-shut"))).status, 403);
  });

  test("that is full refuses one more user and admits another tab", { skip: needsOwnServer }, async () => {
    const name = world.channel("presence-full");
    const app = world.apps.cosy;
    for (const user of ["ann", "bob"]) {
      const client = await world.connect({ app, user });
      await client.subscribe(name);
    }
    const cid = await world.connect({ app, user: "cid" });
    const refusal = await cid.isRefused(name);
    assert.equal(refusal.type, "LimitReached");
    assert.equal(refusal.status, 4100);
    assert.equal(cid.state, "connected");
    const tab = await world.connect({ app, user: "ann" });
    assert.equal((await tab.subscribe(name)).members.count, 2);
  });

  test("refuses a user_info of more than a kilobyte", { skip: needsOwnServer }, async () => {
    const name = world.channel("presence-large");
    const large = { user_id: "large", user_info: { about: "x".repeat(2000) } };
    const client = await world.connect({ user: large });
    const refusal = await client.isRefused(name);
    assert.equal(refusal.type, "LimitReached");
    assert.equal(refusal.status, 4301);
  });
});
