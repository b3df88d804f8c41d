// pusher-js and Laravel Echo in Chromium over wss and https. Chromium trusts the tests' authority by the NSS database of a home directory
// of its own, so that it checks the certificate as it checks any other; `--ignore-certificate-errors-spki-list` would skip the check.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Agent } from "node:https";
import { after, describe, test } from "node:test";
import { Authority } from "./authority.mjs";
import { Browser, launchChromium, startApplication } from "./browser.mjs";
import { numbersTo, publishNumbered, transports } from "./fallback.mjs";
import { apps, startNode } from "./server.mjs";
import { World } from "./world.mjs";

const EVENTS = 300;

const authority = await Authority.create();
const strict = { ...apps.second, tls_only: true };
const startWith = (tls) => startNode({ server: { tls: { ...authority.settings, ...tls } }, only: { main: apps.main, strict } });
const server = await startWith({});
const world = new World(server, apps);
const chromium = await launchChromium(await authority.home());
const sealedPages = new Browser(world, await startApplication(world.publisher, authority), chromium);
const plainPages = new Browser(world, await startApplication(world.publisher), chromium);
const agent = new Agent({ ca: await readFile(authority.file), keepAlive: true });
after(async () => {
  agent.destroy();
  await sealedPages.close();
  await plainPages.close();
  await world.close();
  await authority.close();
});

/** npm's pusher over https. */
function publisherOf(app) {
  return world.publisherOf(app, { host: "localhost", port: String(server.tlsPort), useTLS: true, agent });
}

/** The options by which a page finds both ports of a server, and may use these transports. */
function reach({ port, tlsPort }, enabledTransports) {
  const hosts = { wsHost: "localhost", httpHost: "localhost" };
  return { ...hosts, wsPort: port, httpPort: port, wssPort: tlsPort, httpsPort: tlsPort, enabledTransports };
}

/** Has the page listen to channels of all kinds, and keep what it hears and the states of its connection. */
function listen([plain, room, vault]) {
  window.numbers = [];
  window.states = [];
  connection.bind("state_change", ({ current }) => window.states.push(current));
  const channels = [echo.channel(plain), echo.join(room), echo.encryptedPrivate(vault).listen(".secret", ({ text }) => hear("secret", text))];
  for (const channel of channels) channel.listen(".numbered", ({ n }) => window.numbers.push(n));
  channels[1].listenForWhisper("typing", (whisper) => hear("typing", whisper));
  return Promise.all(channels.map(subscribed));
}

/** The channels' names as Echo has them, and as the server has them. */
function channelsOf(name) {
  const bare = ["plain", "room", "vault"].map((kind) => world.channel(`${name}-${kind}`));
  return { bare, full: [bare[0], `presence-${bare[1]}`], vault: `private-encrypted-${bare[2]}` };
}

/** Whether the page's connection is encrypted, and by which transport it is. */
const transportOf = (page) => page.run(() => {
  const { transport } = connection.connection;
  return [transport.name, transport.options.useTLS];
});

describe("a page over https", () => {
  for (const transport of ["ws", ...transports]) {
    test(`hears and whispers by ${transport} with TLS, and loses nothing`, async () => {
      const { bare, full, vault } = channelsOf(`sealed-${transport}`);
      const options = { host: "localhost", forceTLS: true, ...reach(server, [transport]) };
      const [ann, bob] = await Promise.all(["ann", "bob"].map((user) => sealedPages.connect({ user, ...options })));
      for (const page of [ann, bob]) await page.run(listen, bare);
      assert.deepEqual(await transportOf(ann), [transport, true]);
      await bob.run((room) => echo.join(room).whisper("typing", { n: 7 }) && undefined, bare[1]);
      await ann.hears("typing");
      const publisher = publisherOf(apps.main);
      await publishNumbered(publisher, full, { from: 0, count: EVENTS, padding: "x".repeat(3_000) });
      await publisher.trigger(vault, "secret", { text: "hush" });
      for (const page of [ann, bob]) await page.hears("secret");
      for (const page of [ann, bob]) {
        await page.page.waitForFunction((count) => window.numbers.length >= count, EVENTS);
        assert.deepEqual(await page.run(() => window.numbers), numbersTo(EVENTS));
        assert.deepEqual(await page.run(() => window.states), [], "it was connected all the time");
        assert.deepEqual(await page.errors(), []);
        await page.close();
      }
    });
  }

  test("uses TLS without being asked to, as pusher-js does on such a page", async () => {
    const page = await sealedPages.connect({ host: "localhost", forceTLS: false, ...reach(server) });
    assert.deepEqual(await transportOf(page), ["ws", true]);
    await page.close();
  });

  test("does not open in a browser that does not know the authority", async () => {
    const unaware = await launchChromium();
    const { application } = sealedPages;
    await assert.rejects(new Browser(world, application, unaware).open({ host: "localhost" }), /ERR_CERT_AUTHORITY_INVALID/);
    await unaware.close();
  });
});

describe("a page over http whose pusher-js begins without TLS", () => {
  for (const transport of ["ws", ...transports]) {
    test(`goes on with TLS by ${transport} where its app is tls_only`, async () => {
      const page = await plainPages.connect({ key: strict.key, forceTLS: false, ...reach(server, [transport]) });
      assert.deepEqual(await transportOf(page), [transport, true]);
      assert.deepEqual((await page.errors()).map(({ code }) => code), [4000]);
      const name = world.channel(`strict-${transport}`);
      await page.run((channel) => subscribed(echo.channel(channel).listen(".paid", (paid) => hear("paid", paid))), name);
      await publisherOf(strict).trigger(name, "paid", { amount: 8 });
      await page.hears("paid");
      assert.deepEqual(await page.heard(), [["paid", { amount: 8 }]]);
      await page.close();
    });
  }

  test("goes on with TLS where the plain port only redirects", async () => {
    const redirecting = await startWith({ plain: "redirect" });
    const page = await plainPages.connect({ forceTLS: false, ...reach(redirecting) });
    assert.deepEqual(await transportOf(page), ["ws", true]);
    await page.close();
    await redirecting.stop();
  });
});
