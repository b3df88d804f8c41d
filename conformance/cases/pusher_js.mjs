// pusher-js of each major version, unchanged.

import assert from "node:assert/strict";
import nacl from "tweetnacl";
import { connect, open, sealer } from "../clients/connect.mjs";
import { startRelay } from "../clients/relay.mjs";
import { PUSHER_JS } from "../clients/versions.mjs";
import { Area } from "../kit/area.mjs";
import {
  AUTHORIZING,
  CACHE,
  ENCRYPTED,
  EVENTS,
  FALLBACKS,
  JS_CONNECTION,
  JS_PROTOCOL,
  JS_URLS,
  PRESENCE,
  PUBLIC,
  SERVER_TO_USER,
  TERMINATING,
  USER_AUTHENTICATION,
  WATCHLIST,
} from "../kit/sources.mjs";
import { succeeded } from "../kit/trial.mjs";

export const area = new Area("pusher-js", "pusher-js");

const FORGER = (t) => ({ ...t.app, secret: "not-the-secret" });

/** A signed-in client of `id`. */
async function signedIn(t, Client, user) {
  const client = await connect(t, Client, { user });
  client.pusher.signin();
  await client.until(() => client.pusher.user.serverToUserChannel?.subscribed || undefined, "the sign-in");
  return client;
}

/** What an event of the user's object brings. */
const heardBy = (source, event) => new Promise((resolve) => source.bind(event, resolve));

// Each: name, sentence, source, the first major version that can, the case, more options.
const features = [
  [
    "connect",
    "connects",
    JS_PROTOCOL("pusher:connection_established with an activity timeout connects"),
    3,
    async (t, Client) => {
      const client = await connect(t, Client);
      assert.match(client.socketId, /^\d+\.\d+$/);
      assert.deepEqual(client.states, ["connecting", "connected"]);
      assert.deepEqual(client.errors, []);
    },
  ],
  [
    "public",
    "gets events of a public channel",
    PUBLIC("Public channels should be used for publicly accessible data"),
    3,
    async (t, Client) => {
      const channel = t.name("news");
      const client = await connect(t, Client);
      await client.subscribe(channel);
      await t.publish(channel, "story", { title: "héllo ✨", list: [1, null] });
      assert.deepEqual((await client.hears(channel, "story")).data, { title: "héllo ✨", list: [1, null] });
    },
  ],
  [
    "unsubscribe",
    "gets no events after an unsubscribe",
    PUBLIC("You can subscribe and unsubscribe from channels at any time."),
    3,
    async (t, Client) => {
      const [left, kept] = [t.name("left"), t.name("kept")];
      const client = await connect(t, Client);
      await client.subscribe(left);
      await client.subscribe(kept);
      client.pusher.unsubscribe(left);
      client.pusher.send_event("pusher:ping", {});
      await client.receives("pusher:pong");
      await t.publish([left, kept], "story");
      await client.hears(kept, "story");
      assert.equal(client.receivedOn(left).includes("story"), false);
    },
  ],
  [
    "unsubscribe-early",
    "ends unsubscribed when it leaves before the confirmation",
    PUBLIC("There's no need to wait for the Channels to finish connecting first."),
    3,
    async (t, Client) => {
      const channel = t.name("early");
      const client = await connect(t, Client);
      client.request(channel);
      client.pusher.unsubscribe(channel);
      await t.eventually(async () => assert.equal((await t.read(`/channels/${channel}`)).occupied, false));
      await client.subscribe(channel);
      await t.publish(channel, "story");
      await client.hears(channel, "story");
    },
  ],
  [
    "private",
    "is authorized on a private channel",
    AUTHORIZING("if the connection provides an authorization token signed by your server"),
    3,
    async (t, Client) => {
      const channel = t.name("private-room");
      const client = await connect(t, Client, { user: "ann" });
      await client.subscribe(channel);
      await t.publish(channel, "note", { n: 1 });
      await client.hears(channel, "note");
    },
  ],
  [
    "refused",
    "keeps its other channels when one is refused",
    EVENTS("It is triggered when an authorization request for a **private** or **presence** channels fails."),
    3,
    async (t, Client) => {
      const channel = t.name("open");
      const client = await connect(t, Client, { user: "eve", signer: FORGER(t) });
      await client.subscribe(channel);
      client.request(t.name("private-forged"));
      await client.until(
        () => client.errors[0] ?? client.events.find(({ event }) => event === "pusher:subscription_error"),
        "a refusal",
      );
      await t.publish(channel, "story");
      await client.hears(channel, "story");
      assert.equal(client.state, "connected");
    },
  ],
  [
    "presence",
    "sees members come and go",
    PRESENCE("expose the additional feature of an **awareness of who is subscribed to that channel**"),
    3,
    async (t, Client) => {
      const channel = t.name("presence-room");
      const [ann, bob] = [await connect(t, Client, { user: "ann" }), await connect(t, Client, { user: "bob" })];
      const room = await ann.subscribe(channel);
      assert.deepEqual(room.members.me, { id: "ann", info: { name: "Ann" } });
      const bobs = await bob.subscribe(channel);
      assert.equal((await ann.hears(channel, "pusher:member_added")).data.id, "bob");
      assert.deepEqual([room.members.count, bobs.members.count], [2, 2]);
      bob.disconnect();
      await ann.hears(channel, "pusher:member_removed");
      assert.equal(room.members.count, 1);
    },
  ],
  [
    "client-events",
    "sends and receives client events",
    EVENTS("They can go directly via the socket to all the other clients connected to the channel."),
    3,
    async (t, Client) => {
      const channel = t.name("presence-whisper");
      const [ann, bob] = [await connect(t, Client, { user: "ann" }), await connect(t, Client, { user: "bob" })];
      const room = await ann.subscribe(channel);
      await bob.subscribe(channel);
      room.trigger("client-typing", { on: true });
      assert.deepEqual((await bob.hears(channel, "client-typing")).data, { on: true });
      assert.equal(bob.messages.find(({ event }) => event === "client-typing").user_id ?? "ann", "ann");
    },
    { needs: ["client events"] },
  ],
  [
    "unknown-key",
    "does not retry when its key is unknown",
    JS_PROTOCOL("codes from 4000 to 4099 are refused: no reconnection"),
    3,
    async (t, Client) => {
      const client = await open(t, Client, { app: { ...t.app, key: "no-such-key" } });
      await client.isTold(4001);
      await client.reaches("disconnected");
      assert.deepEqual([client.states, client.pauses], [["connecting", "disconnected"], []]);
    },
  ],
  [
    "ping",
    "pings when nothing arrives, and is answered",
    JS_CONNECTION("after the activity timeout it sends pusher:ping"),
    3,
    async (t, Client) => {
      const client = await connect(t, Client, { activityTimeout: 100, activity_timeout: 100 });
      await client.receives("pusher:pong");
      assert.equal(client.state, "connected");
    },
  ],
  [
    "reconnect",
    "reconnects with its channels after a lost connection",
    JS_CONNECTION("a closed connection is retried after one second"),
    3,
    async (t, Client) => {
      const relay = await startRelay(t.host.options);
      t.closing(() => relay.close());
      const channel = t.name("private-room");
      const client = await connect(t, Client, { user: "ann", relay });
      await client.subscribe(channel);
      const before = client.socketId;
      relay.lose();
      await client.reachesAgain("connected", 2);
      await client.hears(channel, "pusher:subscription_succeeded", 2);
      assert.notEqual(client.socketId, before);
      await t.publish(channel, "story");
      await client.hears(channel, "story");
    },
    { needs: ["no TLS"], seconds: 5 },
  ],
  [
    "cache",
    "gets a cache miss, and the event that comes later",
    CACHE("In addition to the webhook event, the client can also use the event binding feature"),
    3,
    async (t, Client) => {
      const channel = t.name("cache-prices");
      const early = await connect(t, Client);
      await early.subscribe(channel);
      await early.hears(channel, "pusher:cache_miss");
      await t.publish(channel, "price", { cents: 5 });
      const late = await connect(t, Client);
      await late.subscribe(channel);
      assert.deepEqual((await late.hears(channel, "price")).data, { cents: 5 });
    },
    { needs: ["cache channels"] },
  ],
  [
    "path",
    "connects with a wsPath that ends in a slash",
    JS_URLS("the path is wsPath, then /app/KEY; a wsPath may end in a slash"),
    4,
    async (t, Client) => {
      const client = await connect(t, Client, { wsPath: `${t.host.prefix}/` });
      await client.subscribe(t.name("slash"));
    },
  ],
  [
    "encrypted",
    "opens encrypted events",
    ENCRYPTED("This happens automatically and if you are using a supported library you do not need to do anything."),
    5,
    async (t, Client) => {
      const channel = t.name("private-encrypted-room");
      const client = await connect(t, Client, { user: "ann", nacl });
      await client.subscribe(channel);
      await sealer(t).trigger(channel, "secret", { text: "for your eyes ✨" });
      assert.deepEqual((await client.hears(channel, "secret")).data, { text: "for your eyes ✨" });
    },
    { needs: ["no prefix"] },
  ],
  ...["xhr_streaming", "xhr_polling"].map((transport) => [
    transport.replace("_", "-"),
    `works over ${transport}`,
    FALLBACKS("HTTP streaming and polling are the two forms of HTTP fallbacks supported by the latest version of"),
    3,
    async (t, Client) => {
      const channel = t.name("private-room");
      const client = await connect(t, Client, { user: "ann", enabledTransports: [transport] });
      assert.equal(client.pusher.connection.connection.transport.name, transport);
      await client.subscribe(channel);
      await t.publish(channel, "story", { n: 1 });
      await client.hears(channel, "story");
    },
    { needs: ["fallbacks"] },
  ]),
  [
    "signin",
    "signs in and gets events for its user",
    SERVER_TO_USER("your application server is able to send events to users knowing their user id"),
    7,
    async (t, Client) => {
      const id = t.name("ann");
      const client = await signedIn(t, Client, { id, user_info: { name: "Ann" } });
      assert.deepEqual(client.pusher.user.user_data, { id, user_info: { name: "Ann" } });
      const heard = heardBy(client.pusher.user, "invoice.paid");
      await t.publish([`#server-to-user-${id}`], "invoice.paid", { id: 9 });
      assert.deepEqual(await heard, { id: 9 });
    },
    { needs: ["sign-in"] },
  ],
  [
    "signin-refused",
    "stays connected when its sign-in is refused",
    USER_AUTHENTICATION("In case of error, the client receives a `pusher:error` event."),
    7,
    async (t, Client) => {
      const client = await connect(t, Client, { user: { id: t.name("eve") }, signer: FORGER(t) });
      client.pusher.signin();
      await client.receives("pusher:error");
      client.pusher.send_event("pusher:ping", {});
      await client.receives("pusher:pong");
      assert.equal(client.state, "connected");
    },
    { needs: ["sign-in"] },
  ],
  [
    "signin-presence",
    "joins a presence channel by its sign-in alone",
    AUTHORIZING("providing the user object in presence channel authorization is optional"),
    7,
    async (t, Client) => {
      const id = t.name("ann");
      const client = await signedIn(t, Client, { id, user_info: { name: "Ann" } });
      const room = await client.subscribe(t.name("presence-users"));
      assert.deepEqual(room.members.me, { id, info: { name: "Ann" } });
    },
    { needs: ["sign-in"] },
  ],
  [
    "terminated",
    "does not retry when its user's connections are terminated",
    TERMINATING("this only terminates the user's active connections"),
    7,
    async (t, Client) => {
      const id = t.name("ann");
      const client = await signedIn(t, Client, { id });
      succeeded(await t.post(`/users/${id}/terminate_connections`, {}));
      await client.reaches("disconnected");
      assert.deepEqual(client.pauses, []);
    },
    { needs: ["sign-in"] },
  ],
  [
    "watchlist",
    "is notified when a user of its watchlist comes online",
    WATCHLIST("you can use `pusher.user.watchlist.bind()` to bind to Watchlist events"),
    7,
    async (t, Client) => {
      const bob = t.name("bob");
      const client = await connect(t, Client, { user: { id: t.name("ann"), watchlist: [bob] } });
      const [offline, online] = ["offline", "online"].map((name) => heardBy(client.pusher.user.watchlist, name));
      client.pusher.signin();
      assert.deepEqual((await offline).user_ids, [bob]);
      await t.user({ id: bob });
      assert.deepEqual((await online).user_ids, [bob]);
    },
    { needs: ["sign-in", "watchlists"] },
  ],
  [
    "subscription-count",
    "gets the number of subscriptions of a channel",
    EVENTS("Provides the number of connections that are currently subscribed to a channel."),
    7,
    async (t, Client) => {
      const channel = t.name("counted");
      const client = await connect(t, Client);
      const subscribed = await client.subscribe(channel);
      await t.subscriber(channel);
      await client.until(() => (subscribed.subscriptionCount === 2 ? true : undefined), "a count of 2");
      await client.hears(channel, "pusher:subscription_count");
    },
    { needs: ["subscription counts"] },
  ],
];

for (const { version, major, Client } of PUSHER_JS) {
  for (const [name, what, source, since, run, options] of features) {
    if (major < since) continue;
    const client = { library: "pusher-js", version, feature: name };
    area.case(`${version}.${name}`, `pusher-js ${version} ${what}`, source, (t) => run(t, Client), {
      ...options,
      client,
      needs: [...(options?.needs ?? []), ...(major < 4 ? ["no prefix"] : [])],
    });
  }
}
