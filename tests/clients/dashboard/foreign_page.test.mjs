// Pages of other origins, in an operator's own browser: whatever they try, the admin listener gives them nothing.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { listen } from "../../../conformance/clients/auth_server.mjs";
import { openWorld } from "../world.mjs";
import { startOperator } from "./dashboard.mjs";

const TOKEN = "a-token-for-the-operator-0123456789";

const open = await openWorld();
const guarded = await openWorld({ admin: { token: TOKEN } });
const operator = await startOperator();
const stranger = await listen(async (_, response) => {
  response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>Elsewhere</title>");
});
after(async () => {
  await stranger.close();
  await operator.close();
  await guarded.close();
  await open.close();
});

/** Runs in the page: everything that a page can send elsewhere. Returns what came of each. */
async function attack({ admin, app, channel, socketId }) {
  const event = JSON.stringify({ name: "forged", channels: [channel], data: "" });
  const events = `${admin}/api/apps/${app}/events`;
  const read = (url, options) =>
    fetch(url, { credentials: "include", ...options }).then(
      (response) => (response.type === "opaque" ? "opaque" : `answer ${response.status}`),
      () => "nothing",
    );
  const element = (name, attributes, parent = document.body) =>
    new Promise((resolve) => {
      const made = document.createElement(name);
      made.addEventListener("load", () => resolve("loaded"));
      made.addEventListener("error", () => resolve("nothing"));
      parent.append(Object.assign(made, attributes));
    });
  const socket = () =>
    new Promise((resolve) => {
      const made = new WebSocket(`${admin.replace("http", "ws")}/feed`);
      made.addEventListener("open", () => resolve("open"));
      made.addEventListener("error", () => resolve("nothing"));
    });
  const submitted = () => {
    const frame = document.createElement("iframe");
    frame.name = "target";
    document.body.append(frame);
    // Not the empty document's: that was loaded with the line above.
    const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
    const form = Object.assign(document.createElement("form"), {
      action: events, method: "post", target: "target", enctype: "text/plain",
    });
    // A body that is JSON all the same.
    form.append(Object.assign(document.createElement("input"), { name: `${event.slice(0, -1)},"x":"`, value: '"}' }));
    document.body.append(form);
    form.submit();
    return loaded;
  };
  const json = { "Content-Type": "application/json" };
  const outcomes = {
    state: await read(`${admin}/api/state`),
    metrics: await read(`${admin}/metrics`),
    page: await read(`${admin}/`),
    post: await read(events, { method: "POST", headers: json, body: event }),
    disconnect: await read(`${admin}/api/connections/${socketId}`, { method: "DELETE" }),
    socket: await socket(),
    image: await element("img", { src: `${admin}/api/state` }),
    script: await element("script", { src: `${admin}/assets/main.js` }),
  };
  // The answers to these are for nobody; what they do is seen elsewhere.
  await read(events, { method: "POST", mode: "no-cors", body: event });
  await read(`${admin}/api/state`, { mode: "no-cors" });
  await submitted();
  return outcomes;
}

/** Has a page of this host try everything, in the browser profile of `context`. */
async function isFended(world, context, host, test) {
  const channel = world.channel("watched");
  const client = await world.connect();
  await client.subscribe(channel);
  const page = await context.newPage();
  const asked = [];
  page.on("request", (request) => {
    if (request.url().startsWith(world.server.admin)) asked.push(request.method());
  });
  await page.goto(`http://${host}:${stranger.port}/`);
  const target = { admin: world.server.admin, app: world.apps.main.id, channel, socketId: client.socketId };
  const outcomes = await page.evaluate(attack, target);
  for (const [what, outcome] of Object.entries(outcomes)) assert.equal(outcome, "nothing", `${test}: ${what}`);
  assert.ok(asked.length >= 10, `${test} has asked: ${asked}`);
  await world.publish(channel, "marker");
  await client.hears(channel, "marker");
  assert.deepEqual(client.events.filter(({ event }) => event === "forged"), [], test);
  assert.equal(client.state, "connected");
  await page.close();
}

for (const host of ["127.0.0.1", "localhost", "evil.example.com"]) {
  test(`a page on ${host} gets nothing without a token to guard it`, async () => {
    const context = await operator.chromium.newContext();
    await isFended(open, context, host, host);
    await context.close();
  });

  test(`a page on ${host} gets nothing in the browser of an operator who is logged in`, async () => {
    const context = await operator.chromium.newContext();
    const own = await context.newPage();
    await own.goto(guarded.server.admin);
    const begun = await own.evaluate(async (token) => {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch("/session", { method: "POST", headers, body: JSON.stringify({ token }) });
      return answer.status;
    }, TOKEN);
    assert.equal(begun, 204);
    await isFended(guarded, context, host, host);
    const state = () => fetch("/api/state").then((answer) => answer.status);
    assert.equal(await own.evaluate(state), 200, "the operator's own page is let in");
    await context.close();
  });
}

test("the dashboard's own page gets what the others tried to", async () => {
  const context = await operator.chromium.newContext();
  const page = await context.newPage();
  await page.goto(open.server.admin);
  const channel = open.channel("own");
  const client = await open.connect();
  await client.subscribe(channel);
  // Nobody's, so that the client is there to hear of the event.
  const target = { admin: open.server.admin, app: open.apps.main.id, channel, socketId: "1.2" };
  const { state, metrics, post, disconnect, socket, script } = await page.evaluate(attack, target);
  assert.deepEqual([state, metrics, post, disconnect], ["answer 200", "answer 200", "answer 200", "answer 404"]);
  assert.deepEqual([socket, script], ["open", "loaded"]);
  await client.hears(channel, "forged");
  await context.close();
});

test("a name that was made to lead here gets nothing", async () => {
  const context = await operator.chromium.newContext();
  const page = await context.newPage();
  const { port } = new URL(open.server.admin);
  const answer = await page.goto(`http://rebound.example.com:${port}/`);
  assert.equal(answer.status(), 403);
  const state = await page.evaluate(() => fetch("/api/state").then((response) => response.status));
  assert.equal(state, 403);
  await context.close();
});
