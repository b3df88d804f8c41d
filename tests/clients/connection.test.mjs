// Connecting with pusher-js to servers of other configurations: limits of connections, and a path prefix.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { needsOneNode, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

/** The client was turned away for good: told why, and it did not try again. */
function assertTurnedAway(client) {
  assert.equal(client.state, "disconnected");
  assert.deepEqual(client.states, ["connecting", "disconnected"]);
  assert.deepEqual(client.pauses, []);
}

test("a client over the connections of its app is turned away for good: 4004", { skip: needsOneNode }, async () => {
  const first = await world.connect({ app: world.apps.crowded });
  const second = await world.client({ app: world.apps.crowded });
  await second.isTold(4004);
  await second.reaches("disconnected");
  assertTurnedAway(second);
  assert.equal(first.state, "connected");
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

test("a server under a path prefix is reached with wsPath and without", async (t) => {
  const prefixed = await openWorld({ server: { path_prefix: "/ws" } });
  t.after(() => prefixed.close());
  for (const wsPath of ["/ws", undefined]) {
    const client = await prefixed.connect({ wsPath });
    await client.subscribe("news");
  }
});
