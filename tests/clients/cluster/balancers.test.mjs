// The load balancers' configurations in config/, each with the real program in front of three nodes.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isInstalled, proxies, startProxy } from "../proxies.mjs";
import { openWorld } from "../world.mjs";

for (const name of Object.keys(proxies)) {
  const skip = name === "caddy" && !(await isInstalled(name)) && "caddy is not installed";
  describe(`${name} before three nodes`, { skip }, () => {
    test("carries every transport and finds another node when one stops", async (t) => {
      const world = await openWorld();
      t.after(() => world.close());
      const { port, stop } = await startProxy(name, world.server.nodes);
      t.after(stop);
      const through = { wsPort: port, httpHost: "127.0.0.1", httpPort: port };
      const transports = ["ws", "ws", "ws", "ws", "ws", "ws", "xhr_streaming", "xhr_polling"];
      const enter = async (transport, index) => {
        const client = await world.connect({ user: `user${index}`, ...through, enabledTransports: [transport] });
        const room = await client.subscribe("presence-room");
        return { client, room };
      };
      const entered = await Promise.all(transports.map(enter));
      const clients = entered.map(({ client }) => client);
      const publisher = world.publisherOf(world.apps.main, { port: String(port), agent: undefined });
      const allHear = async (event) => {
        await publisher.trigger("presence-room", event, {});
        await Promise.all(clients.map((client) => client.hears("presence-room", event)));
      };
      await allHear("first");

      const before = clients.map((client) => client.socketId);
      await world.server.nodes[0].stop();
      await Promise.all(clients.map((client) => client.reaches("connected")));
      const moved = clients.filter((client, index) => client.socketId !== before[index]);
      await Promise.all(moved.map((client) => client.hears("presence-room", "pusher:subscription_succeeded", 2)));
      await allHear("second");
      t.diagnostic(`${moved.length} of ${clients.length} clients moved`);
      const answer = await publisher.get({ path: "/channels/presence-room", params: { info: "user_count" } });
      assert.deepEqual(await answer.json(), { occupied: true, user_count: clients.length });
    });
  });
}
