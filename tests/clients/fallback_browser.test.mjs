// pusher-js in Chromium without WebSockets, from a page of another origin, so that the browser asks before each request.
//
// LOUDHAILER_TRAFFIC_SECONDS says how long the traffic lasts, by each transport.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { after, describe, test } from "node:test";
import { openBrowser } from "./browser.mjs";
import { STREAM_CHARACTERS, fallbackOptions, numbersTo, publishNumbered, transports } from "./fallback.mjs";
import { signInUser } from "./user.mjs";
import { tokenOf } from "../../conformance/clients/auth_server.mjs";
import { openWorld } from "./world.mjs";

const TRAFFIC_SECONDS = Number(process.env.LOUDHAILER_TRAFFIC_SECONDS ?? 8);
const EVENTS_A_ROUND = 30;
const FALLBACK_PATIENCE_MS = 20_000;

const world = await openWorld();
const browser = await openBrowser(world);
after(async () => {
  await browser.close();
  await world.close();
});

/** Has the page listen to numbered events and to whispers; its states are kept. */
function listen([plain, secret, room]) {
  window.numbers = [];
  window.whispers = [];
  window.states = [];
  connection.bind("state_change", ({ current }) => window.states.push(current));
  const channels = [echo.channel(plain), echo.private(secret), echo.join(room)];
  for (const channel of channels) channel.listen(".numbered", ({ n }) => window.numbers.push(n));
  channels[1].listenForWhisper("typing", ({ n }) => window.whispers.push(n));
  return Promise.all(channels.map(subscribed));
}

/** The channels' names as Echo has them, and as the server has them. */
function channelsOf(name) {
  const bare = [name("plain"), name("secret"), name("room")];
  return { bare, full: [bare[0], `private-${bare[1]}`, `presence-${bare[2]}`] };
}

async function waitFor(page, find, argument, timeout = 15_000) {
  await page.page.waitForFunction(find, argument, { timeout });
}

for (const transport of transports) {
  test(`${transport} loses nothing in ${TRAFFIC_SECONDS} s of traffic`, async () => {
    const { bare, full } = channelsOf((name) => world.channel(`${name}-${transport}`));
    const options = { user: "ann", ...fallbackOptions(world, transport) };
    const page = await browser.connect(options);
    const bob = await world.connect({ user: "bob" });
    await page.run(listen, bare);
    const room = await bob.subscribe(full[1]);
    const whispers = [];
    room.bind("client-typing", ({ n }) => whispers.push(n));
    const socketId = await page.run(() => echo.socketId());

    const until = performance.now() + TRAFFIC_SECONDS * 1000;
    const padding = "é✨".repeat(1_500);
    let [count, rounds, characters] = [0, 0, 0];
    while (performance.now() < until) {
      characters += await publishNumbered(world.publisher, full, { from: count, count: EVENTS_A_ROUND, padding });
      count += EVENTS_A_ROUND;
      room.trigger("client-typing", { n: rounds });
      await page.run(([name, n]) => echo.private(name).whisper("typing", { n }), [bare[1], rounds]);
      rounds += 1;
      // A round at a time, and at most eight a second: client events have their rate.
      await waitFor(page, (wanted) => window.numbers.length >= wanted, count);
      await waitFor(page, (wanted) => window.whispers.length >= wanted, rounds);
      await new Promise((resolve) => setTimeout(resolve, 125));
    }

    assert.deepEqual(await page.run(() => window.numbers), numbersTo(count));
    assert.deepEqual(await page.run(() => window.whispers), numbersTo(rounds));
    await room.pusher.unsubscribe(full[1]);
    assert.deepEqual(whispers, numbersTo(rounds));
    assert.equal(await page.run(() => echo.socketId()), socketId);
    assert.deepEqual(await page.run(() => window.states), [], "it was connected all the time");
    assert.deepEqual(await page.errors(), []);
    assert.ok(characters > 3 * STREAM_CHARACTERS, `only ${characters} characters`);
    console.log(`${transport}: ${count} events, ${rounds} whispers each way, ${Math.round(characters / STREAM_CHARACTERS)} times the switch`);
    await page.close();
  });

  test(`${transport} with an unknown key is told 4001 and stays disconnected`, async () => {
    const page = await browser.open({ ...fallbackOptions(world, transport), key: "no-such-key" });
    await page.reaches("disconnected");
    assert.deepEqual((await page.errors()).map(({ code }) => code), [4001]);
    await page.close();
  });
}

/** An HTTP proxy before the server that lets no WebSocket through. */
async function startBlockingProxy({ host, port }) {
  let refused = 0;
  const sockets = new Set();
  const proxy = createServer((asked, answered) => {
    const { method, url: path, headers } = asked;
    const onward = request({ host, port, method, path, headers }, (answer) => {
      answered.writeHead(answer.statusCode, answer.headers);
      answer.pipe(answered);
    });
    onward.on("error", () => answered.destroy());
    answered.on("close", () => onward.destroy());
    asked.pipe(onward);
  });
  proxy.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // A browser goes away when it likes.
    socket.on("error", () => {});
  });
  proxy.on("upgrade", (_, socket) => {
    refused += 1;
    socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    port: proxy.address().port,
    refused: () => refused,
    async close() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, "close");
    },
  };
}

test("where WebSockets are blocked, pusher-js falls back by itself", async () => {
  const proxy = await startBlockingProxy(world.server);
  const { port } = proxy;
  const hosts = { httpHost: "127.0.0.1", httpPort: port, httpsPort: port, wsHost: "127.0.0.1", wsPort: port, wssPort: port };
  const page = await browser.open({ user: "ann", ...hosts, enabledTransports: undefined });
  await waitFor(page, () => window.connection?.state === "connected", undefined, FALLBACK_PATIENCE_MS);
  assert.ok(proxy.refused() > 0, "it tried WebSockets first");
  assert.equal(await page.run(() => connection.connection.transport.name), "xhr_streaming");
  const { bare, full } = channelsOf((name) => world.channel(`${name}-blocked`));
  await page.run(listen, bare);
  await publishNumbered(world.publisher, full, { from: 0, count: 300, padding: "x".repeat(3_000) });
  await waitFor(page, () => window.numbers.length >= 300);
  assert.deepEqual(await page.run(() => window.numbers), numbersTo(300));
  assert.deepEqual(await page.run(() => window.states), []);
  await page.close();
  await proxy.close();
});

describe("a page that signs in", () => {
  const signIn = () => {
    const { user } = echo.connector.pusher;
    for (const event of ["online", "offline"]) user.watchlist.bind(event, ({ user_ids: ids }) => hear(event, ids));
    user.bind_global((event, data) => hear(event, data));
    echo.connector.pusher.signin();
  };

  test("hears what is for its user, and of those it watches in another browser", async () => {
    const [ann, bob] = [world.channel("ann"), world.channel("bob")];
    const open = (user, more) => {
      const headers = { Authorization: `Bearer ${tokenOf(user)}` };
      const userAuthentication = { endpoint: "/broadcasting/auth", transport: "ajax", headers };
      return browser.connect({ userAuthentication, ...more });
    };
    const watcher = await open({ id: ann, watchlist: [bob] });
    await watcher.run(signIn);
    await watcher.hears("offline");
    const bobs = await open({ id: bob }, fallbackOptions(world, "xhr_streaming"));
    await bobs.run(signIn);
    await watcher.hears("online");
    await world.publisher.sendToUser(ann, "invoice.paid", { id: 9 });
    await watcher.hears("invoice.paid");
    const again = await signInUser(world, { id: bob });
    await bobs.close();
    await world.publisher.terminateUserConnections(ann);
    await watcher.reaches("disconnected");
    assert.deepEqual(await watcher.heard(), [["offline", [bob]], ["online", [bob]], ["invoice.paid", { id: 9 }]]);
    again.close();
    await watcher.close();
  });
});
