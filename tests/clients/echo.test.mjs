// Laravel Echo on pusher-js in Chromium: what a page of a Laravel application does, unchanged.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { openBrowser } from "./browser.mjs";
import { openWorld } from "./world.mjs";

const world = await openWorld();
const browser = await openBrowser(world);
after(async () => {
  await browser.close();
  await world.close();
});

describe("a page", () => {
  test("connects and has a socket id", async () => {
    const page = await browser.connect();
    assert.match(await page.run(() => echo.socketId()), /^\d+\.\d+$/);
    assert.equal(await page.run(() => echo.connectionStatus()), "connected");
    await page.close();
  });

  test("connects as well with the options of Laravel's reverb broadcaster", async () => {
    const page = await browser.connect({ broadcaster: "reverb" });
    await page.close();
  });

  test("with an unknown key is told 4001 and stays disconnected", async () => {
    const page = await browser.open({ key: "no-such-key" });
    await page.reaches("disconnected");
    assert.deepEqual((await page.errors()).map(({ code }) => code), [4001]);
    await page.close();
  });

  test("from an origin the app does not allow is told 4009", async () => {
    const page = await browser.open({ key: world.apps.fenced.key });
    await page.reaches("disconnected");
    assert.deepEqual((await page.errors()).map(({ code }) => code), [4009]);
    await page.close();
  });

  test("from an origin the app allows connects", async () => {
    const page = await browser.connect({ key: world.apps.fenced.key, host: "shop.example.com" });
    await page.close();
  });

  test("that is reloaded connects anew and hears again", async () => {
    const name = world.channel("reloaded");
    const page = await browser.connect();
    const listen = (channel) => {
      echo.channel(channel).listen("OrderShipped", (order) => hear("OrderShipped", order));
      return subscribed(echo.channel(channel));
    };
    await page.run(listen, name);
    const before = await page.run(() => echo.socketId());
    await page.reload();
    await page.run(listen, name);
    assert.notEqual(await page.run(() => echo.socketId()), before);
    await world.publish(name, "App\\Events\\OrderShipped", { id: 1 });
    await page.hears("OrderShipped");
    assert.deepEqual(await page.heard(), [["OrderShipped", { id: 1 }]]);
    await page.close();
  });
});

describe("Echo.channel", () => {
  test("hears events by their class and by their own name", async () => {
    const name = world.channel("orders");
    const page = await browser.connect();
    await page.run((channel) => {
      echo
        .channel(channel)
        .listen("OrderShipped", (order) => hear("OrderShipped", order))
        .listen("Billing.InvoicePaid", (invoice) => hear("InvoicePaid", invoice))
        .listen(".order.closed", (order) => hear("order.closed", order));
      return subscribed(echo.channel(channel));
    }, name);
    await world.publish(name, "App\\Events\\OrderShipped", { id: 1, note: "héllo ✨" });
    await world.publish(name, "App\\Events\\Billing\\InvoicePaid", { id: 2 });
    await world.publish(name, "order.closed", { id: 3 });
    await page.hears("order.closed");
    assert.deepEqual(await page.heard(), [
      ["OrderShipped", { id: 1, note: "héllo ✨" }],
      ["InvoicePaid", { id: 2 }],
      ["order.closed", { id: 3 }],
    ]);
    await page.close();
  });

  test("leaves out the page whose socket id the backend excludes, as toOthers() does", async () => {
    const name = world.channel("to-others");
    const pages = await Promise.all([browser.connect(), browser.connect()]);
    for (const page of pages) {
      await page.run((channel) => {
        echo.channel(channel).listen(".edited", () => hear("edited")).listen(".marker", () => hear("marker"));
        return subscribed(echo.channel(channel));
      }, name);
    }
    await world.publish(name, "edited", {}, { socket_id: await pages[0].run(() => echo.socketId()) });
    await world.publish(name, "marker");
    for (const page of pages) await page.hears("marker");
    assert.deepEqual(await pages[0].heard(), [["marker"]]);
    assert.deepEqual(await pages[1].heard(), [["edited"], ["marker"]]);
    await Promise.all(pages.map((page) => page.close()));
  });

  test("hears nothing more of a channel after leave", async () => {
    const [left, kept] = [world.channel("left"), world.channel("kept")];
    const page = await browser.connect();
    await page.run(async ([leaving, staying]) => {
      echo.channel(leaving).listen(".story", () => hear("left"));
      await subscribed(echo.channel(leaving));
      echo.leave(leaving);
      echo.channel(staying).listen(".story", () => hear("kept"));
      await subscribed(echo.channel(staying));
      connection.bind("message", ({ channel }) => channel === leaving && hear("left, on the wire"));
    }, [left, kept]);
    await world.publish([left, kept], "story");
    await page.hears("kept");
    assert.deepEqual(await page.heard(), [["kept"]]);
    await page.close();
  });
});

describe("Echo.private", () => {
  test("hears events and whispers", async () => {
    const name = world.channel("chat");
    const [ann, bob] = await Promise.all(["ann", "bob"].map((user) => browser.connect({ user })));
    for (const page of [ann, bob]) {
      await page.run((channel) => {
        echo
          .private(channel)
          .listen("MessageSent", (message) => hear("MessageSent", message))
          .listenForWhisper("typing", (whisper) => hear("typing", whisper));
        return subscribed(echo.private(channel));
      }, name);
    }
    await ann.run((channel) => echo.private(channel).whisper("typing", { name: "ann" }) && undefined, name);
    await bob.hears("typing");
    await world.publish(`private-${name}`, "App\\Events\\MessageSent", { text: "hi" });
    for (const page of [ann, bob]) await page.hears("MessageSent");
    assert.deepEqual(await ann.heard(), [["MessageSent", { text: "hi" }]]);
    assert.deepEqual(await bob.heard(), [["typing", { name: "ann" }], ["MessageSent", { text: "hi" }]]);
    await Promise.all([ann.close(), bob.close()]);
  });

  test("tells .error when the endpoint refuses", async () => {
    const page = await browser.connect();
    await page.run((channel) => {
      echo.private(channel).error(({ type, status }) => hear("error", { type, status }));
    }, world.channel("shut"));
    await page.hears("error");
    assert.deepEqual(await page.heard(), [["error", { type: "AuthError", status: 403 }]]);
    await page.close();
  });

  test("tells .error when the server refuses the signature", async () => {
    // The endpoint signs for the main app, the page is a client of another.
    const page = await browser.connect({ user: "ann", key: world.apps.second.key });
    await page.run((channel) => {
      echo.private(channel).error((error) => hear("error", error));
    }, world.channel("forged"));
    await page.hears("error");
    const [[, error]] = await page.heard();
    assert.equal(error.type, "AuthError");
    assert.equal(error.status, 401);
    await page.close();
  });
});

describe("Echo.encryptedPrivate", () => {
  test("opens what npm's pusher has sealed, with pusher-js/with-encryption", async () => {
    const name = world.channel("vault");
    const page = await browser.connect({ user: "ann" });
    await page.run((channel) => {
      const vault = echo.encryptedPrivate(channel).listen("Secret", (secret) => hear("Secret", secret));
      connection.bind("message", ({ event, data }) => event.endsWith("Secret") && hear("wire", Object.keys(data)));
      return subscribed(vault);
    }, name);
    await world.publish(`private-encrypted-${name}`, "App\\Events\\Secret", { text: "hush 🤫" });
    await page.hears("Secret");
    const heard = new Map(await page.heard());
    assert.deepEqual(heard.get("Secret"), { text: "hush 🤫" });
    assert.deepEqual(heard.get("wire").sort(), ["ciphertext", "nonce"]);
    await page.close();
  });
});

describe("Echo.join", () => {
  const join = (channel) => {
    echo
      .join(channel)
      .here((members) => hear("here", members.map(({ name }) => name).sort()))
      .joining(({ name }) => hear("joining", name))
      .leaving(({ name }) => hear("leaving", name))
      .listen(".marker", () => hear("marker"))
      .listenForWhisper("typing", (whisper) => hear("typing", whisper));
    return subscribed(echo.join(channel));
  };

  test("tells who is here, who joins and who leaves", async () => {
    const name = world.channel("lobby");
    const ann = await browser.connect({ user: "ann" });
    await ann.run(join, name);
    const bob = await browser.connect({ user: "bob" });
    await bob.run(join, name);
    await ann.hears("joining");
    await bob.run((channel) => echo.leave(channel), name);
    await ann.hears("leaving");
    assert.deepEqual(await ann.heard(), [["here", ["ann"]], ["joining", "bob"], ["leaving", "bob"]]);
    assert.deepEqual(await bob.heard(), [["here", ["ann", "bob"]]]);
    await Promise.all([ann.close(), bob.close()]);
  });

  test("tells of a user with two tabs once, and of a closed last tab", async () => {
    const name = world.channel("tabs");
    const ann = await browser.connect({ user: "ann" });
    await ann.run(join, name);
    const tabs = await Promise.all(["bob", "bob"].map((user) => browser.connect({ user })));
    for (const tab of tabs) await tab.run(join, name);
    await tabs[0].close();
    await world.publish(`presence-${name}`, "marker");
    await ann.hears("marker");
    await tabs[1].close();
    await ann.hears("leaving");
    assert.deepEqual(await ann.heard(), [["here", ["ann"]], ["joining", "bob"], ["marker"], ["leaving", "bob"]]);
    await ann.close();
  });

  test("tells of a member who reloads the page that it left and joined", async () => {
    const name = world.channel("reloading");
    const ann = await browser.connect({ user: "ann" });
    await ann.run(join, name);
    const bob = await browser.connect({ user: "bob" });
    await bob.run(join, name);
    await bob.reload();
    await ann.hears("leaving");
    await bob.run(join, name);
    await world.publish(`presence-${name}`, "marker");
    await ann.hears("marker");
    assert.deepEqual(await ann.heard(), [
      ["here", ["ann"]],
      ["joining", "bob"],
      ["leaving", "bob"],
      ["joining", "bob"],
      ["marker"],
    ]);
    await Promise.all([ann.close(), bob.close()]);
  });

  test("carries whispers to the others only", async () => {
    const name = world.channel("whispers");
    const [ann, bob] = await Promise.all(["ann", "bob"].map((user) => browser.connect({ user })));
    for (const page of [ann, bob]) await page.run(join, name);
    await ann.run((channel) => echo.join(channel).whisper("typing", { on: true }) && undefined, name);
    await bob.hears("typing");
    await world.publish(`presence-${name}`, "marker");
    for (const page of [ann, bob]) await page.hears("marker");
    assert.deepEqual((await ann.heard()).filter(([what]) => what === "typing"), []);
    assert.deepEqual((await bob.heard()).filter(([what]) => what === "typing"), [["typing", { on: true }]]);
    await Promise.all([ann.close(), bob.close()]);
  });
});
