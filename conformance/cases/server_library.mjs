// The official server library for Node, old and new, unchanged.

import assert from "node:assert/strict";
import { sealer, serverLibrary } from "../clients/connect.mjs";
import { SERVER } from "../clients/versions.mjs";
import { Area } from "../kit/area.mjs";
import { NODE_AUTH, NODE_SERVER, NODE_WEBHOOK, REST, SERVER_TO_USER, TERMINATING } from "../kit/sources.mjs";

export const area = new Area("server-library", "The server library for Node", { needs: ["no prefix"] });

/** A method that calls back with an error, the request and the response, as one that promises the response. */
const promising =
  (method) =>
  (...values) =>
    new Promise((resolve, reject) =>
      method(...values, (error, request, response) => (error ? reject(error) : resolve(response))),
    );

/** One library of any version, with promises: versions before 3 call back. */
class Backend {
  constructor(t, { Client, major }, options) {
    this.library = serverLibrary(t, { Client, ...options });
    const bound = (method) => this.library[method].bind(this.library);
    const method = (name) => (major < 3 ? promising(bound(name)) : bound(name));
    [this.trigger, this.triggerBatch, this.get] = ["trigger", "triggerBatch", "get"].map(method);
    // Version 5 takes an object of parameters.
    this.excluding = major < 5 ? (socketId) => socketId : (socketId) => ({ socket_id: socketId });
    this.authorize = (...values) => this.library[major < 5 ? "authenticate" : "authorizeChannel"](...values);
  }
}

/** The body of an answer, whose form depends on the version. */
async function bodyOf(answer) {
  return typeof answer.json === "function" ? answer.json() : JSON.parse(answer.body);
}

const statusOf = (error) => error.status ?? error.statusCode;

const features = [
  [
    "trigger",
    "publishes an event",
    NODE_SERVER("trigger posts name, data and channels to /events"),
    1,
    async (t, backend) => {
      const channel = t.name("news");
      const socket = await t.subscriber(channel);
      await backend.trigger(channel, "story", { title: "héllo ✨" });
      assert.deepEqual((await socket.hears("story", channel)).data, { title: "héllo ✨" });
    },
  ],
  [
    "trigger-many",
    "publishes to several channels",
    NODE_SERVER("trigger takes an array of channels"),
    1,
    async (t, backend) => {
      const channels = [t.name("a"), t.name("b")];
      const socket = await t.subscriber(...channels);
      await backend.trigger(channels, "story", 7);
      for (const channel of channels) assert.equal((await socket.hears("story", channel)).data, 7);
    },
  ],
  [
    "exclude",
    "excludes a connection",
    NODE_SERVER("trigger takes a socket id"),
    1,
    async (t, backend) => {
      const channel = t.name("others");
      const [sender, other] = [await t.subscriber(channel), await t.subscriber(channel)];
      await backend.trigger(channel, "edited", {}, backend.excluding(sender.socketId));
      await other.hears("edited", channel);
      await t.mark(channel, sender);
      assert.equal(sender.all("edited").length, 0);
    },
  ],
  [
    "batch",
    "publishes a batch",
    NODE_SERVER("triggerBatch posts to /batch_events"),
    1,
    async (t, backend) => {
      const channel = t.name("batch");
      const socket = await t.subscriber(channel);
      await backend.triggerBatch([1, 2, 3].map((n) => ({ channel, name: "story", data: { n } })));
      await socket.hears("story", channel, 3);
      assert.deepEqual(
        socket.all("story").map(({ data }) => data.n),
        [1, 2, 3],
      );
    },
  ],
  [
    "get",
    "queries channels",
    REST("Allows fetching a hash of occupied channels"),
    1,
    async (t, backend) => {
      const channel = t.name("presence-asked");
      await t.join(channel, "ann");
      const answer = await backend.get({ path: "/channels", params: { filter_by_prefix: channel, info: "user_count" } });
      assert.equal((await bodyOf(answer)).channels?.[channel]?.user_count, 1);
    },
  ],
  [
    "authorize",
    "authorizes private and presence channels",
    NODE_AUTH("the signature is over socket id, channel and data"),
    1,
    async (t, backend) => {
      const socket = await t.connect();
      const [room, hall] = [t.name("private-room"), t.name("presence-hall")];
      socket.send("pusher:subscribe", { channel: room, ...backend.authorize(socket.socketId, room) });
      socket.send("pusher:subscribe", {
        channel: hall,
        ...backend.authorize(socket.socketId, hall, { user_id: "ann", user_info: { a: "é" } }),
      });
      for (const channel of [room, hall]) await socket.hears("pusher_internal:subscription_succeeded", channel);
    },
  ],
  [
    "refused",
    "gets 401 with a wrong secret",
    REST("Authentication error: response body will contain an explanation"),
    1,
    async (t, _, library) => {
      const forger = new Backend(t, library, { app: { ...t.app, secret: "not-the-secret" } });
      const error = await forger.trigger(t.name("news"), "story", {}).then(
        () => undefined,
        (refusal) => refusal,
      );
      assert.equal(statusOf(error ?? {}), 401);
    },
  ],
  [
    "webhook",
    "accepts a webhook as genuine",
    NODE_WEBHOOK("Content-Type, key and signature are checked"),
    1,
    async (t, backend) => {
      const channel = t.name("hooked");
      await t.subscriber(channel);
      await t.webhook(channel, ([first]) => first, "webhook");
      const [{ headers, body }] = t.receiver.about(channel);
      const webhook = backend.library.webhook({ headers, rawBody: body });
      assert.ok(webhook.isValid(), "not genuine");
      assert.ok(webhook.getEvents().some((event) => event.channel === channel));
      assert.ok(Math.abs(webhook.getTime().getTime() - Date.now()) < 60_000);
    },
    { needs: ["webhooks"] },
  ],
  [
    "info",
    "gets counts with an event",
    NODE_SERVER("trigger takes info among its parameters"),
    5,
    async (t, backend) => {
      const channel = t.name("presence-info");
      await t.join(channel, "ann");
      const answer = await backend.trigger([channel], "story", {}, { info: "user_count" });
      assert.equal((await answer.json()).channels?.[channel]?.user_count, 1);
    },
  ],
  [
    "encrypted",
    "publishes sealed events",
    NODE_SERVER("events of encrypted channels are sealed before they are sent"),
    5,
    async (t) => {
      const channel = t.name("private-encrypted-room");
      const socket = await t.subscriber(channel);
      await sealer(t).trigger(channel, "secret", { text: "for your eyes" });
      assert.deepEqual(Object.keys((await socket.hears("secret", channel)).data).sort(), ["ciphertext", "nonce"]);
    },
  ],
  [
    "authenticate-user",
    "authenticates a user",
    NODE_AUTH("the signature is over socket id, user and user_data"),
    5,
    async (t, backend) => {
      const socket = await t.connect();
      socket.send("pusher:signin", backend.library.authenticateUser(socket.socketId, { id: t.name("ann") }));
      await socket.hears("pusher:signin_success");
    },
    { needs: ["sign-in"] },
  ],
  [
    "send-to-user",
    "sends an event to a user",
    SERVER_TO_USER("pusher.sendToUser"),
    5,
    async (t, backend) => {
      const id = t.name("ann");
      const socket = await t.user({ id });
      await t.subscribe(socket, `#server-to-user-${id}`);
      await backend.library.sendToUser(id, "invoice.paid", { id: 9 });
      assert.deepEqual((await socket.hears("invoice.paid", `#server-to-user-${id}`)).data, { id: 9 });
    },
    { needs: ["sign-in"] },
  ],
  [
    "terminate",
    "terminates a user's connections",
    TERMINATING("pusher.terminateUserConnections"),
    5,
    async (t, backend) => {
      const id = t.name("a@b");
      const socket = await t.user({ id });
      await backend.library.terminateUserConnections(id);
      await socket.closes();
    },
    { needs: ["sign-in"] },
  ],
];

for (const library of SERVER) {
  for (const [name, what, source, since, run, options] of features) {
    if (library.major < since) continue;
    const client = { library: "pusher", version: library.version, feature: name };
    area.case(
      `${library.version}.${name}`,
      `pusher ${library.version} ${what}`,
      source,
      (t) => run(t, new Backend(t, library), library),
      { ...options, client },
    );
  }
}
