// Connecting with pusher-js: what the server says first, whom it turns away and with which code.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { needsOneNode, needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

describe("a connection", () => {
  test("is given a socket id of two numbers", async () => {
    const client = await world.connect();
    assert.match(client.socketId, /^\d+\.\d+$/);
    assert.ok(client.socketId.length <= 21, client.socketId);
  });

  test("is given another socket id than its neighbour and than itself before", async () => {
    const [one, two] = await Promise.all([world.connect(), world.connect()]);
    const before = one.socketId;
    one.disconnect();
    one.pusher.connect();
    await one.reaches("connected");
    assert.equal(new Set([before, one.socketId, two.socketId]).size, 3);
  });

  test("is told an activity timeout in whole seconds", async () => {
    const client = await world.connect({ activityTimeout: 3_600_000 });
    const { activityTimeout } = client.pusher.connection;
    assert.ok(activityTimeout > 0 && activityTimeout < 3_600_000, String(activityTimeout));
    assert.equal(activityTimeout % 1000, 0);
  });

  test("that falls silent asks with pusher:ping and is answered", async () => {
    const client = await world.connect({ activityTimeout: 50 });
    await client.receives("pusher:pong");
    assert.equal(client.state, "connected");
  });

  test("needs no list of transports", async () => {
    const client = await world.connect({ enabledTransports: undefined });
    assert.deepEqual(client.states, ["connecting", "connected"]);
  });

  test("ended by the application is not opened again", async () => {
    const client = await world.connect();
    client.disconnect();
    assert.equal(client.state, "disconnected");
    assert.deepEqual(client.errors, []);
  });
});

/** The client was turned away for good: told why, and it did not try again. */
function assertTurnedAway(client) {
  assert.equal(client.state, "disconnected");
  assert.deepEqual(client.states, ["connecting", "disconnected"]);
  assert.deepEqual(client.pauses, []);
}

describe("turned away for good is", () => {
  test("a client with an unknown key: 4001", async () => {
    const client = await world.client({ app: { ...world.apps.main, key: "no-such-key" } });
    const { message } = await client.isTold(4001);
    assert.equal(typeof message, "string");
    await client.reaches("disconnected");
    assertTurnedAway(client);
  });

  test("a client of a disabled app: 4003", { skip: needsOwnServer }, async () => {
    const client = await world.client({ app: world.apps.disabled });
    await client.isTold(4003);
    await client.reaches("disconnected");
    assertTurnedAway(client);
  });

  test("a client over the connections of its app: 4004", { skip: needsOneNode }, async () => {
    const first = await world.connect({ app: world.apps.crowded });
    const second = await world.client({ app: world.apps.crowded });
    await second.isTold(4004);
    await second.reaches("disconnected");
    assertTurnedAway(second);
    assert.equal(first.state, "connected");
  });

  test("each client once: the error is not said twice", async () => {
    const client = await world.client({ app: { ...world.apps.main, key: "no-such-key" } });
    await client.reaches("disconnected");
    assert.equal(client.errors.length, 1);
  });
});

test("a full server sends a client away to try again, an unknown key for good", { skip: needsOneNode }, async (t) => {
  const small = await openWorld({ server: { max_connections: 1 } });
  t.after(() => small.close());
  const first = await small.connect();
  const unknown = await small.client({ app: { ...small.apps.main, key: "no-such-key" } });
  await unknown.reaches("disconnected");
  const second = await small.client();
  await second.isTold(4100);
  first.disconnect();
  await second.reaches("connected");
  assert.ok(second.pauses.length >= 1);
  // The second client has waited and tried anew in this time; the unknown one has not stirred.
  assertTurnedAway(unknown);
});

test("a server under a path prefix is reached with wsPath and without", { skip: needsOwnServer }, async (t) => {
  const prefixed = await openWorld({ server: { path_prefix: "/ws" } });
  t.after(() => prefixed.close());
  for (const wsPath of ["/ws", undefined]) {
    const client = await prefixed.connect({ wsPath });
    await client.subscribe("news");
  }
});
