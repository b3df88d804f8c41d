// End-to-end encrypted channels: npm's `pusher` seals, the client opens, the server cannot look in.
//
// pusher-js/with-encryption is a build for browsers (echo.test.mjs runs it in Chromium). Here the Node
// build is given the same tweetnacl that build carries inside.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import nacl from "tweetnacl";
import { openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

test("an encrypted event is opened by its subscriber", async () => {
  const name = world.channel("private-encrypted-room");
  const client = await world.connect({ user: "ann", nacl });
  await client.subscribe(name);
  await world.publish(name, "secret", { text: "for your eyes ✨" });
  await client.hears(name, "secret");
  assert.deepEqual(client.heardOn(name), [["secret", { text: "for your eyes ✨" }]]);
});

test("on the wire there is only nonce and ciphertext", async () => {
  const name = world.channel("private-encrypted-wire");
  const client = await world.connect({ user: "ann", nacl });
  await client.subscribe(name);
  await world.publish(name, "secret", { text: "for your eyes" });
  const { data } = await client.receives("secret");
  assert.deepEqual(Object.keys(data).sort(), ["ciphertext", "nonce"]);
  assert.doesNotMatch(JSON.stringify(data), /eyes/);
});

test("encrypted events of a batch arrive in order", async () => {
  const name = world.channel("private-encrypted-batch");
  const client = await world.connect({ user: "ann", nacl });
  await client.subscribe(name);
  await world.publisher.triggerBatch([1, 2, 3].map((n) => ({ channel: name, name: `secret-${n}`, data: { n } })));
  await client.hears(name, "secret-3");
  assert.deepEqual(client.heardOn(name), [1, 2, 3].map((n) => [`secret-${n}`, { n }]));
});

test("an encrypted cache channel replays the sealed event", async () => {
  const name = world.channel("private-encrypted-cache-room");
  await world.publish(name, "secret", { kept: true });
  const client = await world.connect({ user: "ann", nacl });
  await client.subscribe(name);
  assert.deepEqual((await client.hears(name, "secret")).data, { kept: true });
});

test("an encrypted channel stays shut to whom the endpoint refuses", async () => {
  const client = await world.connect({ nacl });
  assert.equal((await client.isRefused(world.channel("private-encrypted-shut"))).status, 403);
});

test("a client event on an encrypted channel is refused with 4301", async () => {
  const name = world.channel("private-encrypted-whisper");
  const [ann, bob] = await Promise.all(["ann", "bob"].map((user) => world.connect({ user, nacl })));
  await Promise.all([ann.subscribe(name), bob.subscribe(name)]);
  ann.pusher.send_event("client-typing", {}, name);
  await ann.isTold(4301);
  await world.publish(name, "marker", {});
  await bob.hears(name, "marker");
  assert.deepEqual(bob.receivedOn(name), ["pusher_internal:subscription_succeeded", "marker"]);
});
