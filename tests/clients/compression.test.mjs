// permessage-deflate: pusher-js in Chromium, which negotiates it by itself, and npm's `ws`, which refuses what is not exact.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import WebSocket from "ws";
import { openBrowser } from "./browser.mjs";
import { openWorld } from "./world.mjs";

const world = await openWorld();
const browser = await openBrowser(world);
after(async () => {
  await browser.close();
  await world.close();
});

const rows = Array.from({ length: 60 }, (_, id) => ({ id, state: "shipped", at: `2026-03-${id % 28}`, note: "é✨" }));

function publisher() {
  return world.publisherOf(world.apps.compressing);
}

/** The extensions that the page's socket agreed upon. */
const extensions = () => connection.connection.transport.socket.extensions;

test("Chromium negotiates compression where the app has it, and nowhere else", async () => {
  const [page, plain] = await Promise.all([
    browser.connect({ key: world.apps.compressing.key }),
    browser.connect({}),
  ]);
  assert.match(await page.run(extensions), /^permessage-deflate/);
  assert.equal(await plain.run(extensions), "");
});

test("long and short events arrive alike, with compression and without", async () => {
  const name = world.channel("compressed");
  const page = await browser.connect({ key: world.apps.compressing.key });
  const node = await world.connect({ app: world.apps.compressing });
  await page.run((channel) => {
    const listened = echo.channel(channel);
    listened.listen(".told", (data) => hear(data.number, data.rows));
    return subscribed(listened);
  }, name);
  await node.subscribe(name);
  const expected = [rows, [], rows, rows, []].map((rows, number) => [number, rows]);
  for (const [number, rows] of expected) await publisher().trigger(name, "told", { number, rows });
  await page.hears(expected.length - 1);
  assert.deepEqual(await page.heard(), expected);
  await node.hears(name, "told");
});

describe("npm's ws", () => {
  for (const [name, perMessageDeflate] of Object.entries({
    "as it is": true,
    "without context takeover": { serverNoContextTakeover: true, clientNoContextTakeover: true },
    "with a small window of its own": { clientMaxWindowBits: 10 },
    "with everything compressed": { threshold: 0 },
    "with a full window of the server's": { serverMaxWindowBits: 15 },
  })) {
    test(`${name} agrees, and reads and is read`, async () => {
      const { host, port } = world.server;
      const url = `ws://${host}:${port}/app/${world.apps.compressing.key}?protocol=7`;
      const socket = new WebSocket(url, { perMessageDeflate });
      const channel = world.channel("ws");
      const messages = [];
      socket.on("message", (text) => messages.push(JSON.parse(text)));
      await once(socket, "open");
      assert.match(socket.extensions, /^permessage-deflate/);
      const padding = "x".repeat(2000);
      socket.send(JSON.stringify({ event: "pusher:subscribe", data: { channel, padding } }), { compress: true });
      while (!messages.some(({ event }) => event === "pusher_internal:subscription_succeeded")) await once(socket, "message");
      for (const data of [rows, "short", rows]) await publisher().trigger(channel, "told", data);
      const told = () => messages.filter(({ event }) => event === "told");
      while (told().length < 3) await once(socket, "message");
      assert.deepEqual(told().map(({ data }) => data), [JSON.stringify(rows), "short", JSON.stringify(rows)]);
      socket.close();
      await once(socket, "close");
    });
  }

  test("is declined a smaller window of the server's", async () => {
    const { host, port } = world.server;
    const url = `ws://${host}:${port}/app/${world.apps.compressing.key}?protocol=7`;
    const socket = new WebSocket(url, { perMessageDeflate: { serverMaxWindowBits: 10 } });
    await once(socket, "open");
    assert.equal(socket.extensions, "");
    socket.close();
    await once(socket, "close");
  });
});
