// pusher-js in Node without WebSockets: xhr_streaming and xhr_polling, for everything that a WebSocket is used for.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { STREAM_CHARACTERS, fallbackOptions, numbersTo, publishNumbered, transports } from "./fallback.mjs";
import { connectUser, signInUser } from "./user.mjs";
import { needsOneNode, needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

let crowding;

/** Takes the only place of an app, once for all tests. */
function crowd() {
  crowding ??= world.connect({ app: world.apps.crowded });
  return crowding;
}

for (const transport of transports) {
  describe(transport, () => {
    const options = fallbackOptions(world, transport);
    const connect = (more) => world.connect({ ...options, ...more });
    const channel = (name) => world.channel(`${name}-${transport}`);

    test("connects, and that is the transport", async () => {
      const client = await connect();
      assert.match(client.socketId, /^\d+\.\d+$/);
      assert.equal(client.pusher.connection.connection.transport.name, transport);
    });

    // Issue #13, row 5.
    test("connects with an httpPath that ends in a slash", async () => {
      const client = await connect({ httpPath: "/pusher/" });
      await client.subscribe(channel("slash"));
    });

    test("hears public, private and cache channels", async () => {
      const client = await connect({ user: "ann" });
      for (const name of [channel("news"), channel("private-news"), channel("cache-news")]) {
        await client.subscribe(name);
        await world.publish(name, "story", { n: 1, note: "héllo ✨ \u2028" });
        assert.deepEqual((await client.hears(name, "story")).data, { n: 1, note: "héllo ✨ \u2028" });
      }
      const later = await connect();
      await later.subscribe(channel("cache-news"));
      await later.hears(channel("cache-news"), "story");
      const cold = channel("cache-cold");
      await later.subscribe(cold);
      await later.hears(cold, "pusher:cache_miss");
    });

    test("is a member among members", async () => {
      const name = channel("presence-room");
      const bob = await world.connect({ user: "bob" });
      await bob.subscribe(name);
      const ann = await connect({ user: "ann" });
      const room = await ann.subscribe(name);
      assert.equal(room.members.count, 2);
      assert.equal((await bob.hears(name, "pusher:member_added")).data.id, "ann");
      bob.disconnect();
      assert.equal((await ann.hears(name, "pusher:member_removed")).data.id, "bob");
    });

    test("sends client events and hears those of others", async () => {
      const name = channel("private-chat");
      const [ann, bob] = [await connect({ user: "ann" }), await world.connect({ user: "bob" })];
      const rooms = [await ann.subscribe(name), await bob.subscribe(name)];
      rooms[0].trigger("client-typing", { by: "ann" });
      assert.deepEqual((await bob.hears(name, "client-typing")).data, { by: "ann" });
      rooms[1].trigger("client-typing", { by: "bob" });
      await ann.hears(name, "client-typing");
      assert.deepEqual(ann.heardOn(name), [["client-typing", { by: "bob" }]]);
    });

    test("signs in and hears what is for the user", async () => {
      const ann = channel("ann");
      const client = await signInUser(world, { id: ann }, options);
      await world.publisher.sendToUser(ann, "mine", { n: 1 });
      assert.deepEqual(await client.hears("mine"), { n: 1 });
      const other = await connectUser(world, { id: channel("bob") }, options);
      other.listener.pusher.send_event("pusher:subscribe", { auth: "", channel: `#server-to-user-${ann}` });
      assert.equal((await other.listener.receives("pusher:subscription_error")).data.status, 401);
      assert.equal((await world.publisher.terminateUserConnections(ann)).status, 200);
      await client.listener.reaches("disconnected");
      await client.listener.isTold(4009);
    });

    test("loses nothing of many events, in order, through several responses", async () => {
      const names = [channel("news"), channel("private-news"), channel("presence-news")];
      const client = await connect({ user: "ann" });
      for (const name of names) await client.subscribe(name);
      const { socketId } = client;
      const count = 600;
      const padding = "é✨".repeat(1_000);
      const characters = await publishNumbered(world.publisher, names, { from: 0, count, padding });
      assert.ok(characters > 4 * STREAM_CHARACTERS, `only ${characters}`);
      await client.hears(names[(count - 1) % names.length], "numbered", count / names.length);
      const numbered = client.events.filter(({ event }) => event === "numbered");
      assert.deepEqual(numbered.map(({ data }) => data.n), numbersTo(count));
      assert.equal(client.socketId, socketId, "it is still the same connection");
      assert.deepEqual(client.states, ["connecting", "connected"]);
    });

    test("keeps the order of what it sends", async () => {
      const name = channel("ordered");
      const client = await connect();
      // Each of these is a request of its own; the last decides.
      for (let round = 0; round < 5; round += 1) {
        await client.subscribe(name);
        client.pusher.unsubscribe(name);
      }
      const last = await client.subscribe(name);
      await world.publish(name, "marker");
      await client.hears(name, "marker");
      assert.equal(last.subscribed, true);
    });

    test("with an unknown key is told 4001 and stays disconnected", async () => {
      const client = await world.client({ ...options, app: { ...world.apps.main, key: "no-such-key" } });
      await client.isTold(4001);
      await client.reaches("disconnected");
    });

    test("over the connections of its app is told 4004", { skip: needsOneNode }, async () => {
      await crowd();
      const client = await world.client({ ...options, app: world.apps.crowded });
      await client.isTold(4004);
      await client.reaches("disconnected");
    });

    test("is told 4200 when the server stops", { skip: needsOwnServer }, async () => {
      const own = await openWorld();
      const client = await own.connect(fallbackOptions(own, transport));
      const told = client.isTold(4200);
      // The client has just asked for more; when this is answered, that has arrived too.
      await own.publisher.get({ path: "/channels" });
      await own.server.stop();
      await told;
      await own.close();
    });
  });
}

test("a streaming client that aborts has left its presence channel about ten seconds later", async () => {
  const name = world.channel("presence-aborted");
  const bob = await world.connect({ user: "bob" });
  const room = await bob.subscribe(name);
  const left = new Promise((resolve) => room.bind("pusher:member_removed", resolve));
  const ann = await world.connect({ user: "ann", ...fallbackOptions(world, "xhr_streaming") });
  await ann.subscribe(name);
  const began = performance.now();
  ann.disconnect();
  assert.equal((await left).id, "ann");
  const seconds = (performance.now() - began) / 1000;
  assert.ok(seconds > 8 && seconds < 15, `after ${seconds} s`);
});
