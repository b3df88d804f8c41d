// Webhooks, received by a Node server and judged by npm's `pusher`.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { Awaited } from "./listener.mjs";
import { app, startWebhookServer } from "./webhook_server.mjs";
import { needsOwnServer, World } from "./world.mjs";

/** A backend that keeps the requests it got. `status` is what it answers. */
async function startBackend() {
  const backend = { requests: [], status: 200 };
  const awaited = new Awaited();
  const server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    const rawBody = Buffer.concat(chunks).toString("utf8");
    backend.requests.push({ headers: request.headers, rawBody, status: backend.status });
    response.writeHead(backend.status).end();
    awaited.look();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  backend.close = () => server.close();
  backend.url = `http://127.0.0.1:${server.address().port}/webhooks`;

  /** The events of all requests that were taken, each request valid in the eyes of `publisher`. */
  backend.events = (publisher) =>
    backend.requests
      .filter(({ status }) => status === 200)
      .flatMap((request) => {
        const webhook = publisher.webhook(request);
        assert.ok(webhook.isValid(), request.rawBody);
        assert.ok(Math.abs(webhook.getTime().getTime() - Date.now()) < 60_000, request.rawBody);
        return webhook.getEvents();
      });
  const describe = () => `the requests so far: ${JSON.stringify(backend.requests)}`;
  /** Waits for so many events. */
  backend.heard = (publisher, count) =>
    awaited.until(() => {
      const events = backend.events(publisher);
      return events.length >= count ? events : undefined;
    }, describe);
  /** Waits for so many requests. */
  backend.asked = (count) => awaited.until(() => backend.requests[count - 1], describe);
  return backend;
}

async function open(t, options) {
  const backend = await startBackend();
  let world;
  t.after(async () => {
    // The server first: it has more to tell when its clients go.
    await world?.close();
    backend.close();
  });
  world = new World(await startWebhookServer(backend.url, options), { main: app });
  return { backend, world };
}

describe("npm's pusher", { skip: needsOwnServer }, () => {
  test("finds all seven events genuine", async (t) => {
    const { backend, world } = await open(t);
    const client = await world.connect({ user: "ann" });
    await client.subscribe("presence-room");
    await backend.heard(world.publisher, 2);
    client.pusher.channel("presence-room").trigger("client-typing", { on: true });
    await backend.heard(world.publisher, 3);
    await client.subscribe("cache-news");
    await backend.heard(world.publisher, 6);
    client.pusher.unsubscribe("presence-room");
    const events = await backend.heard(world.publisher, 8);
    const room = { channel: "presence-room" };
    const news = { channel: "cache-news" };
    assert.deepEqual(events.slice(0, 3), [
      { name: "channel_occupied", ...room },
      { name: "member_added", ...room, user_id: "ann" },
      {
        name: "client_event",
        ...room,
        event: "client-typing",
        data: '{"on":true}',
        socket_id: client.socketId,
        user_id: "ann",
      },
    ]);
    const byName = (a, b) => a.name.localeCompare(b.name);
    assert.deepEqual(events.slice(3, 6).sort(byName), [
      { name: "cache_miss", ...news },
      { name: "channel_occupied", ...news },
      { name: "subscription_count", ...news, subscription_count: 1 },
    ]);
    assert.deepEqual(events.slice(6), [
      { name: "member_removed", ...room, user_id: "ann" },
      { name: "channel_vacated", ...room },
    ]);
  });

  test("finds a batch genuine", async (t) => {
    const { backend, world } = await open(t, { webhook_batching: true });
    const client = await world.connect();
    const names = Array.from({ length: 30 }, (_, number) => `room-${number}`);
    await Promise.all(names.map((name) => client.subscribe(name)));
    const events = await backend.heard(world.publisher, 60);
    const occupied = events.filter(({ name }) => name === "channel_occupied");
    assert.deepEqual(occupied.map(({ channel }) => channel).sort(), names.sort());
    assert.ok(backend.requests.length < 60, `${backend.requests.length} requests`);
  });

  test("gets what it refused again, unchanged", async (t) => {
    const { backend, world } = await open(t);
    backend.status = 500;
    const client = await world.connect();
    await client.subscribe("news");
    const refused = await backend.asked(2);
    backend.status = 200;
    await backend.heard(world.publisher, 2);
    const taken = backend.requests.filter(({ status }) => status === 200);
    assert.ok(taken.some(({ rawBody }) => rawBody === refused.rawBody), JSON.stringify(backend.requests));
  });

  test("does not take a webhook for genuine that has another secret", async (t) => {
    const { backend, world } = await open(t);
    const client = await world.connect();
    await client.subscribe("news");
    await backend.heard(world.publisher, 1);
    const stranger = world.publisherOf({ ...app, secret: "another" });
    assert.equal(stranger.webhook(backend.requests[0]).isValid(), false);
  });
});
