// npm's pusher-client, whose messages differ from those of pusher-js.

import assert from "node:assert/strict";
import { PUSHER_CLIENT } from "../clients/versions.mjs";
import { Area } from "../kit/area.mjs";
import { client as clientSource, hosted } from "../kit/sources.mjs";
import { Awaited, brief } from "../kit/waiting.mjs";

export const area = new Area("pusher-client", "npm's pusher-client", { needs: ["no prefix"] });

const CONNECTION = clientSource("npm pusher-client 1.1.0 lib/connection.js");
const CHANNELS = clientSource("npm pusher-client 1.1.0 lib/channels");

/** A connected client that records what it receives. */
class NodeClient {
  messages = [];
  #awaited;

  static async connect(t, { app = t.app, ...options } = {}) {
    const { Client } = PUSHER_CLIENT;
    // It prints every error that it hands to the application.
    Client.warn = () => {};
    const { tls, host, port } = t.host.options;
    const client = new NodeClient();
    client.#awaited = new Awaited(t.patience);
    client.pusher = new Client(app.key, { host, wsPort: port, wssPort: port, encrypted: tls, secret: app.secret, ...options });
    t.closing(() => client.pusher.disconnect());
    client.pusher.connection.on("message", (message) => {
      client.messages.push(message);
      client.#awaited.look();
    });
    client.pusher.connection.on("connected", () => client.#awaited.look());
    client.pusher.connection.on("error", () => {});
    await client.until(() => (client.pusher.connection.state === "connected" ? true : undefined), "connection");
    return client;
  }

  until(find, what) {
    return this.#awaited.until(find, () => `no ${what}; heard ${brief(this.messages)}`);
  }

  /** Waits for an event on a channel. */
  hears(event, channel) {
    return this.until(() => this.all(event, channel)[0], `${event} on ${channel}`);
  }

  all(event, channel) {
    return this.messages.filter((each) => each.event === event && (channel === undefined || each.channel === channel));
  }
}

const SUCCEEDED = "pusher_internal:subscription_succeeded";

const features = [
  [
    "public",
    "gets events of a public channel",
    CONNECTION("the URL has client=node-client, version and protocol"),
    async (t) => {
      const channel = t.name("news");
      const client = await NodeClient.connect(t);
      client.pusher.subscribe(channel);
      await client.hears(SUCCEEDED, channel);
      await t.publish(channel, "story", { n: 1 });
      await client.hears("story", channel);
    },
  ],
  [
    "private",
    "signs a private channel itself",
    CHANNELS("auth is signed with the secret of its options"),
    async (t) => {
      const channel = t.name("private-room");
      const client = await NodeClient.connect(t);
      client.pusher.subscribe(channel);
      await client.hears(SUCCEEDED, channel);
    },
  ],
  [
    "refused",
    "keeps its other channels when one is refused",
    CHANNELS("auth is signed with the secret of its options"),
    async (t) => {
      const [open, shut] = [t.name("open"), t.name("private-shut")];
      const client = await NodeClient.connect(t, { secret: "not-the-secret" });
      client.pusher.subscribe(open);
      client.pusher.subscribe(shut);
      await client.hears(SUCCEEDED, open);
      await client.until(() => client.all("pusher:error")[0] ?? client.all("pusher:subscription_error")[0], "refusal");
      await t.publish(open, "story");
      await client.hears("story", open);
      assert.equal(client.pusher.connection.state, "connected");
    },
  ],
  [
    "twice",
    "gets only an error for a second subscription",
    hosted("pusher/pusher-js#45", "Existing subscription to channel …"),
    async (t) => {
      const channel = t.name("twice");
      const client = await NodeClient.connect(t);
      client.pusher.subscribe(channel);
      client.pusher.subscribe(channel);
      await client.until(() => client.all("pusher:error")[0], "error");
      await client.hears(SUCCEEDED, channel);
      await t.publish(channel, "story");
      await client.hears("story", channel);
      assert.deepEqual([client.all(SUCCEEDED, channel).length, client.all("story", channel).length], [1, 1]);
    },
  ],
  [
    "leaves-early",
    "ends unsubscribed when it leaves before the confirmation",
    CHANNELS("a channel is forgotten as the unsubscribe is sent"),
    async (t) => {
      const [left, kept] = [t.name("left"), t.name("kept")];
      const client = await NodeClient.connect(t);
      client.pusher.subscribe(left);
      client.pusher.unsubscribe(left);
      client.pusher.subscribe(kept);
      await client.hears(SUCCEEDED, kept);
      await t.publish([left, kept], "story");
      await client.hears("story", kept);
      assert.equal(client.all("story", left).length, 0);
    },
  ],
];

for (const [name, what, source, run] of features) {
  const client = { library: "pusher-client", version: PUSHER_CLIENT.version, feature: name };
  area.case(name, `pusher-client ${PUSHER_CLIENT.version} ${what}`, source, run, { client });
}
