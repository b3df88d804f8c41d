// Laravel Echo, unchanged, on pusher-js in Node.

import assert from "node:assert/strict";
import nacl from "tweetnacl";
import { connect, sealer } from "../clients/connect.mjs";
import { ECHO, PUSHER_JS } from "../clients/versions.mjs";
import { Area } from "../kit/area.mjs";
import { client as clientSource } from "../kit/sources.mjs";

export const area = new Area("echo", "Laravel Echo");

const FORMATTER = clientSource("laravel/echo src/util/event-formatter.ts");
const CHANNEL = clientSource("laravel/echo src/channel/pusher-channel.ts");
const PRIVATE = clientSource("laravel/echo src/channel/pusher-private-channel.ts");
const PRESENCE = clientSource("laravel/echo src/channel/pusher-presence-channel.ts");
const ENCRYPTED = clientSource("laravel/echo src/channel/pusher-encrypted-private-channel.ts");
const CONNECTOR = clientSource("laravel/echo src/connector/pusher-connector.ts");

const { Client: PusherJs } = PUSHER_JS.at(-1);

/** An Echo on a connected pusher-js; `broadcaster` is that of its options. */
async function page(t, Echo, { broadcaster = "pusher", ...options } = {}) {
  const listener = await connect(t, PusherJs, options);
  const echo = new Echo({ broadcaster, key: t.app.key, client: listener.pusher, cluster: "mt1" });
  return { listener, echo };
}

/** A promise of what a listener is called with, and the listener. */
function call() {
  const listened = {};
  listened.heard = new Promise((resolve) => (listened.listener = (...values) => resolve(values[0])));
  return listened;
}

const subscribed = (channel) => new Promise((resolve) => channel.subscribed(resolve));

const features = [
  [
    "class-name",
    "gets an event by its class",
    FORMATTER("a name is App\\Events\\ and the name, with backslashes for dots"),
    async (t, Echo) => {
      const { echo } = await page(t, Echo);
      const name = t.name("orders");
      const { heard, listener } = call();
      const channel = echo.channel(name).listen("OrderShipped", listener);
      await subscribed(channel);
      await t.publish(name, "App\\Events\\OrderShipped", { id: 1, note: "héllo ✨" });
      assert.deepEqual(await heard, { id: 1, note: "héllo ✨" });
    },
  ],
  [
    "own-name",
    "gets an event by a custom name",
    FORMATTER("a name that begins with a dot or a backslash is used as it is"),
    async (t, Echo) => {
      const { echo } = await page(t, Echo);
      const name = t.name("orders");
      const { heard, listener } = call();
      const channel = echo.channel(name).listen(".order.closed", listener);
      await subscribed(channel);
      await t.publish(name, "order.closed", { id: 3 });
      assert.deepEqual(await heard, { id: 3 });
    },
  ],
  [
    "private",
    "gets events of a private channel",
    PRIVATE("the channel's name begins with private-"),
    async (t, Echo) => {
      const { echo } = await page(t, Echo, { user: "ann" });
      const name = t.name("room");
      const { heard, listener } = call();
      const channel = echo.private(name).listen(".note", listener);
      await subscribed(channel);
      await t.publish(`private-${name}`, "note", { n: 1 });
      assert.deepEqual(await heard, { n: 1 });
    },
  ],
  [
    "encrypted",
    "opens an encrypted channel",
    ENCRYPTED("the channel's name begins with private-encrypted-"),
    async (t, Echo) => {
      const { echo } = await page(t, Echo, { user: "ann", nacl });
      const name = t.name("room");
      const { heard, listener } = call();
      const channel = echo.encryptedPrivate(name).listen(".note", listener);
      await subscribed(channel);
      await sealer(t).trigger(`private-encrypted-${name}`, "note", { n: 1 });
      assert.deepEqual(await heard, { n: 1 });
    },
    { needs: ["no prefix"] },
  ],
  [
    "presence",
    "reports members who are here, join and leave",
    PRESENCE("here, joining and leaving are called with members' info"),
    async (t, Echo) => {
      const name = t.name("room");
      const { echo } = await page(t, Echo, { user: "ann" });
      const [here, joining, leaving] = [call(), call(), call()];
      echo.join(name).here(here.listener).joining(joining.listener).leaving(leaving.listener);
      assert.deepEqual(await here.heard, [{ name: "Ann" }]);
      const bob = await t.join(`presence-${name}`, "bob");
      assert.deepEqual(await joining.heard, { name: "Bob" });
      bob.close();
      assert.deepEqual(await leaving.heard, { name: "Bob" });
    },
  ],
  [
    "whisper",
    "sends and receives whispers",
    PRIVATE("whisper triggers client- and the name"),
    async (t, Echo) => {
      const name = t.name("room");
      const { echo } = await page(t, Echo, { user: "ann" });
      const { heard, listener } = call();
      const channel = echo.private(name).listenForWhisper("typing", listener);
      await subscribed(channel);
      const bob = await t.subscriber(`private-${name}`);
      channel.whisper("typing", { by: "ann" });
      assert.deepEqual((await bob.hears("client-typing", `private-${name}`)).data, { by: "ann" });
      bob.send("client-typing", { by: "bob" }, `private-${name}`);
      assert.deepEqual(await heard, { by: "bob" });
    },
    { needs: ["client events"] },
  ],
  [
    "refused-by-backend",
    "calls .error() when the backend refuses",
    CHANNEL("error() listens to pusher:subscription_error"),
    async (t, Echo) => {
      const { echo } = await page(t, Echo);
      const { heard, listener } = call();
      echo.private(t.name("room")).error(listener);
      assert.equal((await heard).status, 403);
    },
  ],
  [
    "notification",
    "gets a notification",
    CHANNEL("notification() listens to Illuminate\\Notifications\\Events\\BroadcastNotificationCreated"),
    async (t, Echo) => {
      const name = t.name("App.Models.User.1");
      const { echo } = await page(t, Echo, { user: "ann" });
      const { heard, listener } = call();
      const channel = echo.private(name).notification(listener);
      await subscribed(channel);
      await t.publish(`private-${name}`, "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated", { id: 7 });
      assert.deepEqual(await heard, { id: 7 });
    },
  ],
  [
    "to-others",
    "has the socket id that toOthers() excludes",
    CONNECTOR("socketId() is that of the connection"),
    async (t, Echo) => {
      const name = t.name("orders");
      const { echo, listener } = await page(t, Echo);
      await subscribed(echo.channel(name));
      await t.publishInOrder([name, "edited", {}, { socket_id: echo.socketId() }], [name, "marker"]);
      await listener.receives("marker");
      assert.deepEqual(listener.receivedOn(name).slice(-1), ["marker"]);
      assert.equal(listener.receivedOn(name).includes("edited"), false);
    },
  ],
  [
    "leave",
    "leaves a channel in all its kinds",
    CONNECTOR("leave() unsubscribes the channel and its private, encrypted and presence variants"),
    async (t, Echo) => {
      const name = t.name("orders");
      const { echo } = await page(t, Echo, { user: "ann" });
      await Promise.all([subscribed(echo.channel(name)), subscribed(echo.private(name))]);
      echo.leave(name);
      for (const each of [name, `private-${name}`]) {
        await t.eventually(async () => assert.equal((await t.read(`/channels/${each}`)).occupied, false));
      }
    },
  ],
  [
    "reverb",
    "works with the broadcaster reverb",
    clientSource("laravel/echo src/echo.ts")("the broadcaster reverb is the Pusher connector"),
    async (t, Echo) => {
      const { echo } = await page(t, Echo, { broadcaster: "reverb" });
      const name = t.name("orders");
      const { heard, listener } = call();
      const channel = echo.channel(name).listen("OrderShipped", listener);
      await subscribed(channel);
      await t.publish(name, "App\\Events\\OrderShipped", { id: 1 });
      assert.deepEqual(await heard, { id: 1 });
    },
  ],
];

for (const { version, Client } of ECHO) {
  for (const [name, what, source, run, options] of features) {
    const client = { library: "laravel-echo", version, feature: name };
    area.case(`${version}.${name}`, `Laravel Echo ${version} ${what}`, source, (t) => run(t, Client), { ...options, client });
  }
}
