// The HTTP API through npm's `pusher`: what it publishes, what it asks, and how it is refused.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());
const { publisher } = world;

/** The decoded answer to a GET. */
async function ask(path, params, from = publisher) {
  const answer = await from.get({ path, params });
  assert.equal(answer.status, 200);
  return answer.json();
}

/** A subscribed client for each `[user, channel]`. */
async function occupy(...pairs) {
  for (const [user, channel] of pairs) {
    const client = await world.connect({ user });
    await client.subscribe(channel);
  }
}

/** Asserts that a request is refused with `status` and a JSON body that says why; returns the text. */
async function assertRefused(request, status) {
  const error = await request.then(
    (answer) => assert.fail(`expected ${status}, got ${answer.status}`),
    (refusal) => refusal,
  );
  assert.equal(error.name, "PusherRequestError", String(error));
  assert.equal(error.status, status, error.body);
  const body = JSON.parse(error.body);
  assert.equal(body.code, status);
  assert.ok(body.error.length > 0);
  return body.error;
}

describe("trigger", () => {
  test("is answered with 200 and an empty object", async () => {
    const answer = await publisher.trigger(world.channel("nobody-here"), "story", {});
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), {});
  });

  test("with info tells who was reached on each channel", async () => {
    const [news, room] = [world.channel("news"), world.channel("presence-room")];
    await occupy(["ann", news], ["ann", room], ["ann", room], ["bob", room]);
    const answer = await world.publish([news, room], "story", {}, { info: "user_count,subscription_count" });
    assert.deepEqual(answer, {
      channels: {
        [news]: { subscription_count: 1 },
        [room]: { subscription_count: 3, user_count: 2 },
      },
    });
  });
});

describe("triggerBatch", () => {
  test("is answered with 200 and an empty object", async () => {
    const answer = await publisher.triggerBatch([{ channel: world.channel("batch"), name: "story", data: "1" }]);
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), {});
  });

  test("leaves out the connection that each event names", async () => {
    const name = world.channel("batch-others");
    const [ann, bob] = await Promise.all([world.connect(), world.connect()]);
    await Promise.all([ann.subscribe(name), bob.subscribe(name)]);
    await publisher.triggerBatch([
      { channel: name, name: "not-for-ann", data: {}, socket_id: ann.socketId },
      { channel: name, name: "not-for-bob", data: {}, socket_id: bob.socketId },
      { channel: name, name: "marker", data: {} },
    ]);
    await Promise.all([ann.hears(name, "marker"), bob.hears(name, "marker")]);
    assert.deepEqual(ann.heardOn(name).map(([event]) => event), ["not-for-bob", "marker"]);
    assert.deepEqual(bob.heardOn(name).map(([event]) => event), ["not-for-ann", "marker"]);
  });

  test("with info answers one object for each event, in order", async () => {
    const [news, room] = [world.channel("batch-news"), world.channel("presence-batch")];
    await occupy(["ann", news], ["ann", room]);
    const answer = await publisher.triggerBatch([
      { channel: room, name: "story", data: {}, info: "user_count" },
      { channel: news, name: "story", data: {} },
      { channel: news, name: "story", data: {}, info: "subscription_count" },
    ]);
    assert.deepEqual(await answer.json(), { batch: [{ user_count: 1 }, {}, { subscription_count: 1 }] });
  });
});

describe("the channels", () => {
  test("are listed when someone is there, and only then", async () => {
    const name = world.channel("listed");
    assert.equal((await ask("/channels")).channels[name], undefined);
    await occupy(["ann", name]);
    assert.deepEqual((await ask("/channels")).channels[name], {});
  });

  test("of an app without subscribers are an empty object", { skip: needsOwnServer }, async () => {
    assert.deepEqual(await ask("/channels", undefined, world.publisherOf(world.apps.second)), { channels: {} });
  });

  test("can be filtered by prefix and counted", async () => {
    const [one, two] = [world.channel("presence-count-one"), world.channel("presence-count-two")];
    await occupy(["ann", one], ["bob", one], ["ann", two], [undefined, world.channel("count-other")]);
    const params = { filter_by_prefix: "presence-count-", info: "user_count" };
    assert.deepEqual(await ask("/channels", params), {
      channels: { [one]: { user_count: 2 }, [two]: { user_count: 1 } },
    });
  });

  test("are not counted in users unless the filter asks for presence channels", async () => {
    await assertRefused(publisher.get({ path: "/channels", params: { info: "user_count" } }), 400);
  });
});

describe("a channel", () => {
  test("that nobody has joined is not occupied", async () => {
    assert.deepEqual(await ask(`/channels/${world.channel("unheard-of")}`), { occupied: false });
  });

  test("tells its subscriptions and users", async () => {
    const name = world.channel("presence-asked");
    await occupy(["ann", name], ["ann", name], ["bob", name]);
    assert.deepEqual(await ask(`/channels/${name}`, { info: "user_count,subscription_count" }), {
      occupied: true,
      subscription_count: 3,
      user_count: 2,
    });
  });

  test("of the cache kind tells what it keeps", async () => {
    const name = world.channel("cache-asked");
    await publisher.trigger(name, "price", { cents: 7 });
    const { cache } = await ask(`/channels/${name}`, { info: "cache" });
    assert.equal(cache.data, JSON.stringify({ cents: 7 }));
    assert.ok(cache.ttl > 0, String(cache.ttl));
  });

  test("of the cache kind that keeps nothing says null", async () => {
    const name = world.channel("cache-nothing");
    assert.deepEqual(await ask(`/channels/${name}`, { info: "cache" }), { occupied: false, cache: null });
  });

  test("that is not a presence channel has no user count", async () => {
    const path = `/channels/${world.channel("plain")}`;
    await assertRefused(publisher.get({ path, params: { info: "user_count" } }), 400);
  });
});

describe("the users", () => {
  test("of a presence channel are named once each", async () => {
    const name = world.channel("presence-users");
    await occupy(["ann", name], ["ann", name], ["bob", name]);
    const { users } = await ask(`/channels/${name}/users`);
    assert.deepEqual(users.map(({ id }) => id).sort(), ["ann", "bob"]);
  });

  test("of an empty presence channel are none", async () => {
    assert.deepEqual(await ask(`/channels/${world.channel("presence-none")}/users`), { users: [] });
  });

  test("of any other channel cannot be asked for", async () => {
    await assertRefused(publisher.get({ path: `/channels/${world.channel("plain")}/users` }), 400);
  });
});

describe("terminateUserConnections", () => {
  test("is answered with 200 and leaves a member alone who is not signed in", async () => {
    const name = world.channel("presence-terminated");
    const ann = await world.connect({ user: "ann" });
    await ann.subscribe(name);
    const answer = await publisher.terminateUserConnections("ann");
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), {});
    await world.publish(name, "marker");
    await ann.hears(name, "marker");
    assert.equal(ann.state, "connected");
  });

  test("takes an id with characters that a URL must escape", async () => {
    assert.equal((await publisher.terminateUserConnections("ann@example.com,1")).status, 200);
    assert.equal((await publisher.terminateUserConnections("ann with spaces")).status, 200);
  });
});

describe("refused is", () => {
  const channel = world.channel("refused");
  const events = (body) => publisher.post({ path: "/events", body: { name: "story", data: "{}", channel, ...body } });

  test("an event of more than ten kilobytes: 413, with limit and size", async () => {
    const text = await assertRefused(publisher.trigger(channel, "story", "x".repeat(10_241)), 413);
    assert.match(text, /10240|10,240/);
    assert.match(text, /10241|10,241/);
  });

  test("a batch with one event of more than ten kilobytes: 413, and nothing of it arrives", async () => {
    const name = world.channel("refused-batch");
    const client = await world.connect();
    await client.subscribe(name);
    const batch = [
      { channel: name, name: "story", data: "1" },
      { channel: name, name: "story", data: "x".repeat(10_241) },
    ];
    await assertRefused(publisher.triggerBatch(batch), 413);
    await world.publish(name, "marker");
    await client.hears(name, "marker");
    assert.deepEqual(client.heardOn(name), [["marker", {}]]);
  });

  test("a batch of more than ten events: 400", async () => {
    const batch = Array.from({ length: 11 }, () => ({ channel, name: "story", data: "1" }));
    await assertRefused(publisher.triggerBatch(batch), 400);
  });

  test("an event for more than a hundred channels: 400", async () => {
    const channels = Array.from({ length: 101 }, (_, index) => `${channel}-${index}`);
    await assertRefused(events({ channel: undefined, channels }), 400);
  });

  const malformed = {
    "an event without name": { name: undefined },
    "an event with an empty name": { name: "" },
    "an event with a name of 201 letters": { name: "n".repeat(201) },
    "an event with a name that is Pusher's own": { name: "pusher:story" },
    "an event without data": { data: undefined },
    "an event without channel": { channel: undefined },
    "an event for a channel no one may have": { channel: "no spaces" },
    "an event that leaves out what is no socket id": { socket_id: "everyone" },
    "an event that asks for an unknown attribute": { info: "shoe_size" },
  };
  for (const [what, body] of Object.entries(malformed)) {
    test(`${what}: 400`, () => assertRefused(events(body), 400));
  }

  test("a wrong secret: 401", async () => {
    const forger = world.publisherOf({ ...world.apps.main, secret: "not-the-secret" });
    await assertRefused(forger.trigger(channel, "story", {}), 401);
  });

  test("a wrong key: 401", async () => {
    const forger = world.publisherOf({ ...world.apps.main, key: "not-the-key" });
    await assertRefused(forger.trigger(channel, "story", {}), 401);
  });

  test("another app's key: 401", { skip: needsOwnServer }, async () => {
    const { main, second } = world.apps;
    await assertRefused(world.publisherOf({ ...second, id: main.id }).trigger(channel, "story", {}), 401);
  });

  test("a disabled app: 403", { skip: needsOwnServer }, async () => {
    await assertRefused(world.publisherOf(world.apps.disabled).trigger(channel, "story", {}), 403);
  });

  test("an unknown app: 404", async () => {
    await assertRefused(world.publisherOf({ ...world.apps.main, id: "999999" }).trigger(channel, "story", {}), 404);
  });

  test("a path that does not exist: 404", async () => {
    await assertRefused(publisher.get({ path: "/no-such-thing" }), 404);
  });

  test("a GET of the events: 405", async () => {
    await assertRefused(publisher.get({ path: "/events" }), 405);
  });
});
