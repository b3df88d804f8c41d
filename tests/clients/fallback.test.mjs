// pusher-js in Node by xhr_streaming and xhr_polling: much traffic, a limit of the app, and a server that stops.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { STREAM_CHARACTERS, fallbackOptions, numbersTo, publishNumbered, transports } from "./fallback.mjs";
import { needsOneNode, openWorld } from "./world.mjs";

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

    test("over the connections of its app is told 4004", { skip: needsOneNode }, async () => {
      await crowd();
      const client = await world.client({ ...options, app: world.apps.crowded });
      await client.isTold(4004);
      await client.reaches("disconnected");
    });

    test("is told 4200 when the server stops", async () => {
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
