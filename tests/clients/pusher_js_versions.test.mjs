// pusher-js of every major version that its users still have, unchanged, in Node.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, describe, test } from "node:test";
import { startBalancer } from "./balancer.mjs";
import { apps, startServer } from "./server.mjs";
import { needsOneNode, needsOwnServer, openWorld, World } from "./world.mjs";

const require = createRequire(import.meta.url);
const world = await openWorld();
after(() => world.close());

const PACKAGES = ["pusher-js-3/node", "pusher-js-4", "pusher-js-5", "pusher-js-6", "pusher-js-7", "pusher-js"];

/** Whether nobody is subscribed to the channel. */
async function isVacant(name) {
  const response = await world.publisher.get({ path: `/channels/${name}` });
  return !(await response.json()).occupied;
}

for (const name of PACKAGES) {
  const Client = require(name);
  const { version } = require(`${name.replace("/node", "")}/package.json`);
  const connect = (user, options) => world.connect({ Client, user, ...options });
  const channel = (kind) => world.channel(`${kind}-v${version.replaceAll(".", "-")}`);

  describe(`pusher-js ${version}`, () => {
    test("hears public, private and presence channels, and whispers", async () => {
      const [ann, bob] = await Promise.all([connect("ann"), connect("bob")]);
      for (const kind of ["news", "private-news"]) {
        await ann.subscribe(channel(kind));
        await world.publish(channel(kind), "story", { kind });
        assert.deepEqual((await ann.hears(channel(kind), "story")).data, { kind });
      }
      const room = channel("presence-room");
      const annsRoom = await ann.subscribe(room);
      const bobsRoom = await bob.subscribe(room);
      await ann.hears(room, "pusher:member_added");
      assert.equal(annsRoom.members.count, 2);
      assert.equal(bobsRoom.members.me.id, "bob");
      bobsRoom.trigger("client-typing", { on: true });
      assert.deepEqual((await ann.hears(room, "client-typing")).data, { on: true });
      bob.disconnect();
      await ann.hears(room, "pusher:member_removed");
    });

    // Issue #13, row 1.
    test("keeps its other channels when one is refused", async () => {
      const forger = world.publisherOf({ ...world.apps.main, secret: "not-the-secret" });
      const client = await connect("eve", { signer: forger });
      const open = channel("open");
      await client.subscribe(open);
      await client.isRefused(channel("private-forged"));
      await client.isTold(null);
      await world.publish(open, "story");
      await client.hears(open, "story");
      assert.deepEqual(client.states.slice(-1), ["connected"]);
    });

    // Issue #13, row 3.
    test("ends unsubscribed when it leaves a channel before the confirmation", async () => {
      const client = await connect("ann");
      const [left, kept] = [channel("left-early"), channel("kept")];
      client.request(left);
      client.pusher.unsubscribe(left);
      await client.subscribe(kept);
      // It unsubscribes when the confirmation has come; what it says next is answered after that.
      client.pusher.send_event("pusher:ping", {});
      await client.receives("pusher:pong");
      assert.ok(await isVacant(left));
      await client.subscribe(left);
      await world.publish(left, "story");
      await client.hears(left, "story");
    });

    test("of an unknown key is told 4001 and stays away", { skip: needsOwnServer }, async () => {
      const client = await world.client({ Client, app: { ...world.apps.main, key: "nobody" } });
      await client.isTold(4001);
      await client.reaches("disconnected");
    });

    test("goes on at the next server, with its channels, when it is told 4200", { skip: needsOneNode }, async (t) => {
      const open = async () => {
        const opened = new World(await startServer(), apps);
        t.after(() => opened.close());
        return opened;
      };
      const [first, second] = [await open(), await open()];
      const balancer = await startBalancer(first.server);
      t.after(() => balancer.close());
      const client = await first.connect({ Client, user: "ann", wsPort: balancer.port });
      await client.subscribe("private-room");
      balancer.upstream = second.server;
      const stopped = first.server.stop();
      await client.isTold(4200);
      await client.reachesAgain("connected", 2);
      await client.hears("private-room", "pusher:subscription_succeeded", 2);
      await second.publish("private-room", "story");
      await client.hears("private-room", "story");
      await stopped;
    });

    // Issue #13, row 5. Versions before 4 have no wsPath.
    test("connects with a wsPath that ends in a slash", { skip: version.startsWith("3.") && "it has no wsPath" }, async () => {
      const client = await connect("ann", { wsPath: "/" });
      await client.subscribe(channel("slash"));
    });

    const signsIn = typeof Client.prototype.signin === "function";
    test("signs in", { skip: !signsIn && "it cannot" }, async () => {
      const client = await connect("ann", {
        userAuthentication: {
          customHandler: ({ socketId }, callback) => callback(null, world.publisher.authenticateUser(socketId, { id: channel("ann") })),
        },
      });
      client.pusher.signin();
      await client.receives("pusher:signin_success");
      const heard = new Promise((resolve) => client.pusher.user.bind("invoice.paid", resolve));
      // Of the user's own channel, the only one.
      await client.receives("pusher_internal:subscription_succeeded");
      await world.publisher.sendToUser(channel("ann"), "invoice.paid", { id: 9 });
      assert.deepEqual(await heard, { id: 9 });
    });
  });
}
