// Public and private channels through pusher-js: who hears an event, in which order, unchanged.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

const EVENTS_PER_BATCH = 10;

describe("a public channel", () => {
  test("brings an event to its subscriber", async () => {
    const name = world.channel("news");
    const client = await world.connect();
    await client.subscribe(name);
    await world.publish(name, "story", { title: "Rain" });
    await client.hears(name, "story");
    assert.deepEqual(client.heardOn(name), [["story", { title: "Rain" }]]);
  });

  test("brings an event to each of its subscribers once and to no one else", async () => {
    const [name, elsewhere] = [world.channel("shared"), world.channel("elsewhere")];
    const clients = await Promise.all([1, 2, 3].map(() => world.connect()));
    const stranger = await world.connect();
    await Promise.all(clients.map((client) => client.subscribe(name)));
    await stranger.subscribe(elsewhere);
    await world.publish(name, "story", 1);
    await world.publish([name, elsewhere], "marker", 2);
    for (const client of clients) {
      await client.hears(name, "marker");
      assert.deepEqual(client.heardOn(name), [["story", 1], ["marker", 2]]);
    }
    await stranger.hears(elsewhere, "marker");
    assert.deepEqual(stranger.events.filter(({ channel }) => channel === name), []);
    assert.deepEqual(stranger.receivedOn(name), []);
  });

  test("does not carry the events of another app's channel of the same name", { skip: needsOwnServer }, async () => {
    const name = world.channel("same-name");
    const client = await world.connect();
    await client.subscribe(name);
    await world.publisherOf(world.apps.second).trigger(name, "foreign", {});
    await world.publish(name, "marker");
    await client.hears(name, "marker");
    assert.deepEqual(client.heardOn(name), [["marker", {}]]);
  });

  test("leaves out the connection whose socket id is given", async () => {
    const name = world.channel("others");
    const [sender, other] = await Promise.all([world.connect(), world.connect()]);
    await Promise.all([sender.subscribe(name), other.subscribe(name)]);
    await world.publish(name, "edited", {}, { socket_id: sender.socketId });
    await world.publish(name, "marker");
    await Promise.all([sender.hears(name, "marker"), other.hears(name, "marker")]);
    assert.deepEqual(sender.heardOn(name), [["marker", {}]]);
    assert.deepEqual(other.heardOn(name), [["edited", {}], ["marker", {}]]);
  });

  test("that was left sends nothing more", async () => {
    const [left, kept, later] = ["left", "kept", "later"].map((name) => world.channel(name));
    const client = await world.connect();
    await client.subscribe(left);
    await client.subscribe(kept);
    client.pusher.unsubscribe(left);
    // The server answers no unsubscribe; this confirmation comes after it has been obeyed.
    await client.subscribe(later);
    await world.publish([left, kept], "story");
    await client.hears(kept, "story");
    assert.deepEqual(client.receivedOn(left), ["pusher_internal:subscription_succeeded"]);
  });

  test("that was left can be joined again", async () => {
    const name = world.channel("again");
    const client = await world.connect();
    await client.subscribe(name);
    client.pusher.unsubscribe(name);
    await client.subscribe(name);
    await world.publish(name, "story");
    await client.hears(name, "story");
    assert.deepEqual(client.heardOn(name), [["story", {}]]);
  });
});

describe("what is published", () => {
  const cases = {
    "an object": { a: [1, null, true], nested: { b: "c" } },
    "a string": "plain words, no JSON",
    "a number": 42,
    "an array": [1, "two", { three: 3 }],
    "an empty string": "",
    "emoji, right-to-left text and characters beyond the BMP": { text: "héllo 👩‍🚀 مرحبا 𝒳 \u2028 \u0000 \\ \"" },
    "ten kilobytes": "x".repeat(10_240),
  };
  for (const [what, data] of Object.entries(cases)) {
    test(`arrives as it was: ${what}`, async () => {
      const name = world.channel("verbatim");
      const client = await world.connect();
      await client.subscribe(name);
      await world.publish(name, "story", data);
      assert.deepEqual((await client.hears(name, "story")).data, data);
    });
  }

  const names = [
    "App\\Events\\OrderShipped",
    "order.shipped",
    "événement ✨",
    'quotes " and \\ backslashes',
    "n".repeat(200),
  ];
  for (const event of names) {
    test(`may be called ${event.length > 40 ? `${event.slice(0, 8)}… (${event.length} letters)` : event}`, async () => {
      const name = world.channel("names");
      const client = await world.connect();
      await client.subscribe(name);
      await world.publish(name, event, { ok: true });
      await client.hears(name, event);
      assert.deepEqual(client.heardOn(name), [[event, { ok: true }]]);
    });
  }

  test("may go to a channel whose name has 200 characters of every allowed kind", async () => {
    const start = world.channel("AZaz09_-=@,.;");
    const name = start.padEnd(200, "x");
    const client = await world.connect();
    await client.subscribe(name);
    await world.publish(name, "story");
    await client.hears(name, "story");
  });

  test("to a hundred channels in one request arrives on each", async () => {
    const names = Array.from({ length: 100 }, (_, index) => world.channel(`hundred-${index}`));
    const client = await world.connect();
    await Promise.all(names.map((name) => client.subscribe(name)));
    await world.publish(names, "story", { to: "all" });
    await Promise.all(names.map((name) => client.hears(name, "story")));
    for (const name of names) {
      assert.deepEqual(client.heardOn(name), [["story", { to: "all" }]]);
    }
  });

  test("in a batch arrives in the order of the batch", async () => {
    const name = world.channel("batch");
    const client = await world.connect();
    await client.subscribe(name);
    const batch = Array.from({ length: EVENTS_PER_BATCH }, (_, index) => ({
      channel: name,
      name: `event-${index}`,
      data: { index },
    }));
    await world.publisher.triggerBatch(batch);
    await client.hears(name, `event-${EVENTS_PER_BATCH - 1}`);
    const expected = Array.from({ length: EVENTS_PER_BATCH }, (_, index) => [`event-${index}`, { index }]);
    assert.deepEqual(client.heardOn(name), expected);
  });

  test("a thousand times in a hurry arrives complete and in order", async () => {
    const name = world.channel("thousand");
    const clients = await Promise.all([1, 2, 3].map(() => world.connect()));
    await Promise.all(clients.map((client) => client.subscribe(name)));
    const numbers = Array.from({ length: 1000 }, (_, index) => index);
    for (let first = 0; first < numbers.length; first += EVENTS_PER_BATCH) {
      const batch = numbers
        .slice(first, first + EVENTS_PER_BATCH)
        .map((number) => ({ channel: name, name: "tick", data: String(number) }));
      await world.publisher.triggerBatch(batch);
    }
    for (const client of clients) {
      await client.hears(name, "tick", numbers.length);
      assert.deepEqual(client.heardOn(name).map(([, number]) => number), numbers);
    }
  });
});

describe("a private channel", () => {
  test("opens to whom the application's endpoint lets in", async () => {
    const name = world.channel("private-room");
    const client = await world.connect({ user: "ann" });
    await client.subscribe(name);
    await world.publish(name, "note", { text: "hush" });
    await client.hears(name, "note");
    assert.deepEqual(client.heardOn(name), [["note", { text: "hush" }]]);
  });

  test("stays shut to whom the endpoint refuses", async () => {
    const name = world.channel("private-shut");
    const client = await world.connect();
    const refusal = await client.isRefused(name);
    assert.equal(refusal.type, "AuthError");
    assert.equal(refusal.status, 403);
  });

  test("stays shut to a wrong signature, and the connection stays open", async () => {
    const [name, open] = [world.channel("private-forged"), world.channel("open")];
    const forger = world.publisherOf({ ...world.apps.main, secret: "not-the-secret" });
    const client = await world.connect({ user: "eve", signer: forger });
    const refusal = await client.isRefused(name);
    assert.equal(refusal.type, "AuthError");
    assert.equal(refusal.status, 401);
    const { message } = await client.isTold(null);
    assert.doesNotMatch(message, /[0-9a-f]{64}/, "the expected signature is not given away");
    await client.subscribe(open);
    await world.publish([name, open], "story");
    await client.hears(open, "story");
    assert.deepEqual(client.receivedOn(name), ["pusher:subscription_error"]);
    assert.equal(client.state, "connected");
  });

  test("stays shut to a signature with another app's key", { skip: needsOwnServer }, async () => {
    const name = world.channel("private-other-app");
    const client = await world.connect({ user: "eve", signer: world.publisherOf(world.apps.second) });
    assert.equal((await client.isRefused(name)).status, 401);
  });

  test("of a name that no channel may have is refused", async () => {
    const client = await world.connect();
    const name = `${world.channel("news")}/$`;
    const refusal = await client.isRefused(name);
    assert.equal(refusal.type, "InvalidChannel");
    assert.equal(refusal.status, 400);
    await client.isTold(null);
    assert.equal(client.state, "connected");
  });
});
