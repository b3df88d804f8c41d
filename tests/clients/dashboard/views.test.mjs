// Apps, channels, connections and the event creator, with real clients on the other side; and the token.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { openBrowser } from "../browser.mjs";
import { startServer } from "../server.mjs";
import { signInUser } from "../user.mjs";
import { openWorld } from "../world.mjs";
import { Dashboard, startOperator } from "./dashboard.mjs";

const world = await openWorld();
const browser = await openBrowser(world);
const operator = await startOperator();
after(async () => {
  await operator.close();
  await browser.close();
  await world.close();
});

const { main } = world.apps;
const open = (hash) => operator.dashboard(world.server.admin, { hash });

/** Fills the event creator and sends. */
async function send({ page }, { channels, event, data }) {
  const form = page.locator("#send-form");
  await form.getByLabel("App").selectOption(main.id);
  await form.getByLabel("Channels").fill(channels);
  await form.getByLabel("Event").fill(event);
  await form.getByLabel("Data", { exact: true }).fill(data);
  await form.getByRole("button", { name: "Send event" }).click();
}

describe("the event creator", () => {
  test("sends an event that arrives in a page with pusher-js, and says how many got it", async () => {
    const channel = world.channel("news");
    const reader = await browser.connect();
    await reader.run((name) => {
      window.echo.channel(name).listen(".published", (data) => window.hear("published", data));
      return window.subscribed(window.echo.channel(name));
    }, channel);
    const dashboard = await open("#/send");
    await send(dashboard, { channels: channel, event: "published", data: '{"title":"Made by hand"}' });
    await reader.hears("published");
    assert.deepEqual(await reader.heard(), [["published", { title: "Made by hand" }]]);
    await dashboard.page.getByRole("heading", { name: "Delivered to 1 socket" }).waitFor();
    await reader.close();
    await dashboard.close();
  });

  test("says of each channel why its event reached nobody", async () => {
    const only = world.channel("only");
    const client = await world.connect();
    await client.subscribe(only);
    const dashboard = await open("#/send");
    await dashboard.page.getByLabel("All but this socket").fill(client.socketId);
    await send(dashboard, { channels: `${only} ${world.channel("nowhere")}`, event: "e", data: "{}" });
    await dashboard.page.getByRole("heading", { name: "Reached nobody" }).waitFor();
    const outcomes = await dashboard.page.locator(".outcomes li").allInnerTexts();
    assert.match(outcomes[0], /excluded/);
    assert.match(outcomes[1], /subscribed/);
    await dashboard.close();
  });

  // Issue #13, row 4.
  test("takes a user's channel with spaces in its id for one name, and shows it", async () => {
    const [news, id] = [world.channel("news"), `a/b "c" ${world.channel("d")}`];
    const user = await signInUser(world, { id });
    await user.listener.subscribe(news);
    const dashboard = await open("#/send");
    await send(dashboard, { channels: `${news} #server-to-user-${id}`, event: "invoice", data: '{"n":9}' });
    assert.deepEqual(await user.hears("invoice"), { n: 9 });
    await dashboard.page.getByRole("heading", { name: "Delivered to 2 sockets" }).waitFor();
    await dashboard.page.locator(".outcomes").getByRole("link", { name: `#server-to-user-${id}` }).click();
    await dashboard.page.locator("#channels-detail").getByRole("link", { name: user.listener.socketId }).click();
    await dashboard.page.locator("#connections-detail").getByText(id, { exact: true }).waitFor();
    user.close();
    await dashboard.close();
  });

  test("does not send what is not JSON, and says where it fails", async () => {
    const dashboard = await open("#/send");
    await send(dashboard, { channels: "c", event: "e", data: '{"a": 1,\n  oops}' });
    await dashboard.page.getByText("Not JSON:").waitFor();
    await dashboard.page.getByText("line 2").waitFor();
    assert.equal(await dashboard.page.getByLabel("Data", { exact: true }).getAttribute("aria-invalid"), "true");
    assert.equal(await dashboard.page.locator(".result").count(), 0);
    await dashboard.page.getByRole("radio", { name: "Text" }).check();
    await dashboard.page.getByText("Text, sent as it is").waitFor();
    await dashboard.page.locator("#send-form").getByRole("button", { name: "Send event" }).click();
    await dashboard.page.locator(".result").waitFor();
    await dashboard.close();
  });
});

describe("the connections", () => {
  test("are found and inspected, and one is disconnected after a question", async () => {
    const channel = world.channel("presence-room");
    const client = await browser.connect({ user: "cleo" });
    await client.run((name) => window.subscribed(window.echo.join(name.replace("presence-", ""))), channel);
    const socketId = await client.run(() => window.echo.socketId());
    const other = await world.connect();
    const dashboard = await open("#/connections");
    const { page, panel } = dashboard;
    const list = page.getByRole("table", { name: "Connections" });
    await page.locator("#connections-filters").getByLabel("Search").fill(socketId);
    await list.getByRole("link", { name: other.socketId }).waitFor({ state: "detached" });
    await list.getByRole("link", { name: socketId }).click();
    for (const shown of [channel, "pusher-js", "WebSocket", "127.0.0.1"]) await panel.getByText(shown).first().waitFor();

    await panel.getByRole("button", { name: "Disconnect" }).click();
    const question = page.getByRole("dialog");
    await question.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await client.run(() => window.connection.state), "connected", "a question may be answered with no");
    await panel.getByRole("button", { name: "Disconnect" }).click();
    await question.getByRole("button", { name: "Disconnect" }).click();
    await client.reaches("disconnected");
    assert.equal((await client.errors())[0].code, 4009);
    await panel.getByText("Disconnected.").waitFor();
    await list.getByRole("link", { name: socketId }).waitFor({ state: "detached" });
    assert.equal(other.state, "connected");
    await client.close();
    await dashboard.close();
  });
});

describe("the channels", () => {
  test("are listed with their counts; one shows its members and its cached event", async () => {
    const room = world.channel("presence-cache-room");
    for (const user of ["dora", "emil"]) await (await world.connect({ user })).subscribe(room);
    await world.publish(room, "said", { words: "hello" });
    const dashboard = await open(`#/channels/${main.id}`);
    const { page, panel } = dashboard;
    await page.getByLabel("Name begins with").fill("presence-cache");
    const list = page.getByRole("table", { name: "Channels" });
    await list.getByRole("row", { name: `${room} presence, cache 2 2` }).waitFor();
    await list.getByRole("link", { name: room }).click();
    await panel.getByText("dora", { exact: true }).waitFor();
    await panel.getByText('{"name":"Emil"}').waitFor();
    await panel.getByText('"hello"').waitFor();
    await page.keyboard.press("Escape");
    await panel.waitFor({ state: "hidden" });
    await page.waitForFunction((name) => document.activeElement.textContent === name, room);
    await dashboard.close();
  });
});

test("the overview and the apps show figures and limits, and no secret is anywhere in the page's traffic", async () => {
  const dashboard = new Dashboard(await operator.page(), world.server.admin);
  const { page } = dashboard;
  const bodies = [];
  page.on("response", (response) => bodies.push(response.text().catch(() => "")));
  await dashboard.open();
  await dashboard.isLive();
  await page.getByRole("img", { name: /^Connections over time\. Now: This node \d+/ }).waitFor();
  await page.getByRole("table", { name: "Nodes" }).getByText("this node").waitFor();
  await dashboard.view("Apps");
  await page.locator("#apps-table").getByRole("link", { name: "Busy" }).click();
  await dashboard.panel.getByText("Batch events").waitFor();
  for (const view of ["Channels", "Connections", "Live feed", "Send event"]) await dashboard.view(view);
  const traffic = (await Promise.all(bodies)).join("\n");
  for (const { secret } of Object.values(world.apps)) assert.ok(!traffic.includes(secret), "no secret");
  assert.ok(traffic.includes(main.key), "the traffic was read");
  assert.deepEqual(dashboard.complaints, []);
  await dashboard.close();
});

test("a server that wants a token gets it from a prompt, once, and nothing is shown before", async () => {
  const server = await startServer({ admin: { token: "let-me-in-please-1234" } });
  const dashboard = new Dashboard(await operator.page(), server.admin);
  const { page } = dashboard;
  await dashboard.open();
  const prompt = page.getByRole("dialog");
  await prompt.getByLabel("Token").fill("not-it");
  await prompt.getByRole("button").click();
  await prompt.getByText("That is not the token.").waitFor();
  assert.equal(await page.getByRole("heading", { level: 1 }).count(), 0);
  await prompt.getByLabel("Token").fill("let-me-in-please-1234");
  await prompt.getByRole("button").click();
  await dashboard.isLive();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await page.reload();
  await dashboard.isLive();
  await page.getByRole("button", { name: "Sign out" }).click();
  await prompt.getByLabel("Token").waitFor();
  await dashboard.close();
  await server.stop();
});
