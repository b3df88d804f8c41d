// The live feed: what it shows of real clients, filters and pause, also under load, and that it comes back by itself.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { openWorld } from "../world.mjs";
import { startOperator } from "./dashboard.mjs";

const EVENTS_PER_SECOND = 1_000;
const BATCH = 50;

const world = await openWorld();
const operator = await startOperator();
after(async () => {
  await operator.close();
  await world.close();
});

const openFeed = (options) => operator.dashboard(world.server.admin, { hash: "#/feed", ...options });

describe("the feed shows", () => {
  test("a client's life, line by line", async () => {
    const feed = await openFeed();
    const lobby = world.channel("presence-lobby");
    const ann = await world.connect({ user: "ann" });
    const joined = await ann.subscribe(lobby);
    const bob = await world.connect({ user: "bob" });
    await bob.subscribe(lobby);
    await world.publish(lobby, "greeted", { by: "ann" });
    joined.trigger("client-typing", { at: 1 });
    await feed.row("Client event", "client-typing", lobby, 1);
    bob.disconnect();

    await feed.row("Connected", ann.socketId, "pusher-js");
    await feed.row("Subscribed", lobby, "user ann");
    await feed.row("Member added", lobby, "user ann");
    await feed.row("API message", "greeted", lobby, 2);
    await feed.row("Disconnected");
    await feed.row("Member removed", lobby, "user bob");
    assert.deepEqual(feed.complaints, []);
    await feed.close();
  });

  test("a payload, formatted, when its row is opened with the keyboard, and why it reached nobody", async () => {
    const feed = await openFeed();
    const channel = world.channel("deserted");
    await world.publish(channel, "cried", { deep: { down: [1, 12345678901] } });
    const row = await feed.row("API message", channel);
    await row.focus();
    await feed.page.keyboard.press("Enter");
    await feed.panel.getByText("Reached nobody").waitFor();
    assert.equal(await feed.panel.locator("pre").innerText(), '{\n  "deep": {\n    "down": [\n      1,\n      12345678901\n    ]\n  }\n}');
    await feed.page.keyboard.press("Escape");
    await feed.panel.waitFor({ state: "hidden" });
    assert.ok(await row.evaluate((element) => element === document.activeElement), "the row has the focus again");
    await feed.close();
  });

  test("markup in names and payloads as the text that it is", async () => {
    const feed = await openFeed();
    const markup = '<img src=x onerror="window.pwned = true">';
    await world.publish(world.channel("markup"), markup, { markup });
    const row = await feed.row("API message", markup);
    await row.click();
    await feed.panel.getByRole("heading", { name: markup }).waitFor();
    assert.equal(await feed.page.locator("main img").count(), 0);
    assert.equal(await feed.page.evaluate(() => window.pwned), undefined);
    assert.deepEqual(feed.complaints, []);
    await feed.close();
  });

  test("how many lines the server dropped", async () => {
    const feed = await openFeed();
    await feed.page.evaluate(async () => {
      const { takeMessage } = await import("/assets/feed.js");
      takeMessage(JSON.stringify({ type: "dropped", count: 1234, time_ms: Date.now() }));
    });
    await feed.row("Dropped", "1,234 lines were dropped");
    await feed.page.getByText("1,234 dropped").waitFor();
    await feed.close();
  });
});

test("of very many lines the newest are kept, and only those in sight are drawn", async () => {
  const feed = await openFeed();
  await feed.page.evaluate(async () => {
    const { takeMessage } = await import("/assets/feed.js");
    const line = { type: "unsubscribed", app: "1001", channel: "left", time_ms: Date.now() };
    for (let at = 1; at <= 12_500; at += 1) takeMessage(JSON.stringify({ ...line, socket_id: `1.${at}` }));
  });
  await feed.row("1.12500");
  await feed.page.getByText(/^1[01],\d{3} lines · the newest of 12,5/).waitFor();
  assert.ok((await feed.page.locator(".feed-row").count()) < 100);
  await feed.rows().first().focus();
  await feed.page.keyboard.press("End");
  await feed.page.getByRole("button", { name: "Back to the newest" }).click();
  await feed.row("1.12500");
  assert.deepEqual(feed.complaints, []);
  await feed.close();
});

/** Publishes `perSecond` events until it is stopped; gives the number of those that were taken. */
function startLoad(perSecond) {
  const publisher = world.publisherOf(world.apps.busy);
  const channel = world.channel("load");
  let sent = 0;
  let running = true;
  const batch = () => Array.from({ length: BATCH }, (_, at) => ({ channel, name: at % 10 ? "tick" : "tock", data: { at: sent + at } }));
  const finished = (async () => {
    const began = Date.now();
    while (running) {
      const due = ((Date.now() - began) / 1000) * perSecond;
      if (sent > due) await new Promise((resolve) => setTimeout(resolve, 5));
      else {
        await publisher.triggerBatch(batch());
        sent += BATCH;
      }
    }
    return { sent, seconds: (Date.now() - began) / 1000 };
  })();
  return {
    async stop() {
      running = false;
      return finished;
    },
  };
}

/** Runs `act` and returns the times between the frames meanwhile, in ms, the shortest first. */
async function framesDuring(page, act) {
  await page.evaluate(() => {
    window.frameTimes = [];
    let last = performance.now();
    const next = (now) => {
      window.frameTimes?.push(now - last);
      last = now;
      if (window.frameTimes) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  await act();
  const times = await page.evaluate(() => {
    const { frameTimes } = window;
    window.frameTimes = undefined;
    return frameTimes;
  });
  return times.sort((one, other) => one - other);
}

const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];

describe(`under ${EVENTS_PER_SECOND} events per second`, () => {
  test("the page filters, pauses and stays responsive", async () => {
    const feed = await openFeed();
    const { page } = feed;
    const load = startLoad(EVENTS_PER_SECOND);
    const counts = page.locator("#feed-counts");
    const shows = (pattern) => counts.filter({ hasText: pattern }).waitFor();
    const measure = async (what, act) => {
      const times = await framesDuring(page, act);
      const [median, most, worst] = [0.5, 0.95, 1].map((part) => quantile(times, part).toFixed(1));
      console.log(`${what}: ${times.length} frames, median ${median} ms, 95 % within ${most} ms, longest ${worst} ms`);
      assert.ok(quantile(times, 0.5) < 250, "the page can be used");
    };

    await measure("live", () => shows(/^[3-9],\d{3} lines/));
    await measure("filtered", async () => {
      await page.getByRole("searchbox", { name: "Search" }).fill("tock");
      await shows(/^[\d,]+ of [\d,]+ lines/);
      await feed.row("tock");
      assert.equal(await feed.rows("tick").count(), 0);
    });
    await measure("paused", async () => {
      await page.getByRole("button", { name: "Pause" }).click();
      const first = await feed.rows().first().innerText();
      await shows(/paused, [1-9],?\d{3,} waiting/);
      assert.equal(await feed.rows().first().innerText(), first, "nothing moves");
    });
    await measure("resumed", async () => {
      await page.getByRole("button", { name: "Resume" }).click();
      await shows(/\/s/);
      await page.getByRole("searchbox", { name: "Search" }).fill("");
    });
    assert.ok((await page.locator(".feed-row").count()) < 100, "only the rows in sight exist");

    const { sent, seconds } = await load.stop();
    console.log(`${sent} events in ${seconds.toFixed(1)} s; the feed says: ${await counts.innerText()}`);
    await page.getByRole("button", { name: "Clear" }).click();
    await feed.close();
  });
});

describe("the page", () => {
  test("comes back by itself when the server does, and says that lines are missing", async () => {
    const first = await startServer();
    const port = Number(new URL(first.admin).port);
    const feed = await operator.dashboard(first.admin, { hash: "#/feed" });
    await first.kill();
    await feed.page.getByText("Reconnecting").waitFor();
    const second = await startServer({ admin: { port } });
    await feed.isLive();
    await feed.row("Gap");
    await feed.close();
    await second.stop();
  });
});
