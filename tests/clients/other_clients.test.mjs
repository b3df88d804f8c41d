// Clients beside pusher-js that npm has: `pusher-client`, and `ws` with the sub-protocol that PusherSwift offers.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import PusherClient from "pusher-client";
import WebSocket from "ws";
import { Awaited } from "./listener.mjs";
import { openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

const { key, secret } = world.apps.main;
const { host, port, tls } = world.server;

// It prints every error that it hands to the application.
PusherClient.warn = () => {};

/** A connected `pusher-client` that remembers what it was told. */
class NodeClient {
  messages = [];
  #awaited = new Awaited();

  static async connect(t, options) {
    const client = new NodeClient();
    client.pusher = new PusherClient(key, { host, wsPort: port, wssPort: port, encrypted: tls ?? false, secret, ...options });
    t.after(() => client.pusher.disconnect());
    client.pusher.connection.on("message", (message) => {
      client.messages.push(message);
      client.#awaited.look();
    });
    await once(client.pusher.connection, "connected");
    return client;
  }

  /** Waits for the `count`-th message for which `test` is true. */
  hears(test, count = 1) {
    const find = () => this.messages.filter(test)[count - 1];
    return this.#awaited.until(find, () => `waited in vain; heard ${JSON.stringify(this.messages)}`);
  }

  errors() {
    return this.messages.filter(({ event }) => event === "pusher:error").map(({ data }) => data);
  }
}

const on = (channel, event) => (message) => message.channel === channel && message.event === event;

describe("npm's pusher-client", () => {
  // It sends a subscribe for each call.
  test("is told of a second subscription by an error alone", async (t) => {
    const client = await NodeClient.connect(t);
    const name = world.channel("pc-twice");
    client.pusher.subscribe(name);
    client.pusher.subscribe(name);
    await client.hears(({ event }) => event === "pusher:error");
    await client.hears(on(name, "pusher_internal:subscription_succeeded"));
    await world.publish(name, "story");
    await client.hears(on(name, "story"));
    assert.deepEqual(client.errors(), [{ code: null, message: `Existing subscription to channel ${name}` }]);
    assert.equal(client.messages.filter(on(name, "pusher_internal:subscription_succeeded")).length, 1);
    assert.equal(client.messages.filter(on(name, "story")).length, 1);
  });

  // It forgets the channel as it sends the unsubscribe, and sends one for any name.
  test("ends unsubscribed when it leaves early, and hears of a stray unsubscribe", async (t) => {
    const client = await NodeClient.connect(t);
    const [left, kept, never] = [world.channel("pc-left"), world.channel("pc-kept"), world.channel("pc-never")];
    client.pusher.subscribe(left);
    client.pusher.unsubscribe(left);
    client.pusher.unsubscribe(never);
    client.pusher.subscribe(kept);
    await client.hears(on(kept, "pusher_internal:subscription_succeeded"));
    await world.publish([left, kept], "story");
    await client.hears(on(kept, "story"));
    assert.deepEqual(client.messages.filter(on(left, "story")), []);
    const message = `No current subscription to channel ${never}, or subscription in progress`;
    assert.deepEqual(client.errors(), [{ code: null, message }]);
  });

  test("keeps its other channels when one is refused", async (t) => {
    const client = await NodeClient.connect(t, { secret: "not-the-secret" });
    const [open, shut] = [world.channel("pc-open"), world.channel("private-pc-shut")];
    client.pusher.subscribe(open);
    client.pusher.subscribe(shut);
    await client.hears(on(open, "pusher_internal:subscription_succeeded"));
    await client.hears(on(shut, "pusher:subscription_error"));
    await world.publish(open, "story");
    await client.hears(on(open, "story"));
    assert.equal(client.pusher.connection.state, "connected");
  });
});

describe("a WebSocket client that offers Pusher's sub-protocol", () => {
  const url = (query) => `${tls ? "wss" : "ws"}://${host}:${port}/app/${key}${query}`;

  for (const [offers, query] of [
    [["pusher-channels-protocol-7"], "?protocol=7"],
    [["pusher-channels-protocol-7"], ""],
    [["pusher-channels-protocol-6", "pusher-channels-protocol-5"], ""],
  ]) {
    test(`connects with ${offers} and ${query || "no version in its query"}`, async () => {
      const socket = new WebSocket(url(query), offers);
      const [data] = await once(socket, "message");
      assert.equal(JSON.parse(data).event, "pusher:connection_established");
      assert.equal(socket.protocol, offers[0]);
      socket.close();
      await once(socket, "close");
    });
  }
});
