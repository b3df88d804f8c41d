// axe-core on every view, light and dark, wide and on a phone; the theme; no view is wider than the phone.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { openWorld } from "../world.mjs";
import { PHONE, VIEWS, startOperator } from "./dashboard.mjs";

const world = await openWorld();
const operator = await startOperator();
const axe = await readFile(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const lobby = world.channel("presence-lobby");
let client;

before(async () => {
  client = await world.connect({ user: "ann" });
  await client.subscribe(lobby);
});

after(async () => {
  await operator.close();
  await world.close();
});

/** Fails on serious and critical faults; says what and where. */
async function hasNoFault({ page }, where) {
  if (!(await page.evaluate(() => Boolean(window.axe)))) await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  const faults = violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${where}: ${id} at ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
  assert.deepEqual(faults, []);
  const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(wide <= screen, `${where} is ${wide} wide on a screen of ${screen}`);
}

/** What can be opened within a view. */
const within = {
  async "Live feed"(dashboard) {
    await world.publish(world.channel("nobody"), "unheard", { a: [1, "two", null] });
    await (await dashboard.row("unheard")).click();
    await dashboard.panel.getByText("Reached nobody").waitFor();
  },
  async Channels(dashboard) {
    await dashboard.page.locator("#channels-table").getByRole("link", { name: lobby }).click();
    await dashboard.panel.getByText("Members").waitFor();
  },
  async Connections(dashboard) {
    await dashboard.page.locator("#connections-table").getByRole("link", { name: client.socketId }).click();
    await dashboard.panel.getByRole("button", { name: "Disconnect" }).click();
    await dashboard.page.getByRole("dialog").waitFor();
    await hasNoFault(dashboard, "the question");
    await dashboard.page.keyboard.press("Escape");
  },
  async Apps(dashboard) {
    await dashboard.page.locator("#apps-table").getByRole("link", { name: "Busy" }).click();
    await dashboard.panel.getByText("busy-key").waitFor();
  },
  async "Send event"({ page }) {
    const form = page.locator("#send-form");
    await form.getByLabel("Channels").fill(`${lobby} nobody`);
    await form.getByLabel("Event").fill("greeted");
    await form.getByRole("button", { name: "Send event" }).click();
    await page.locator(".result").waitFor();
  },
};

for (const theme of ["light", "dark"]) {
  for (const [screen, viewport] of [["a wide screen", undefined], ["a phone", PHONE]]) {
    test(`axe finds no serious fault on any view, ${theme}, on ${screen}`, async () => {
      const dashboard = await operator.dashboard(world.server.admin, { theme, viewport });
      for (const view of VIEWS) {
        await dashboard.view(view);
        if (view === "Channels") await dashboard.page.locator("#channels-filters").getByLabel("App").selectOption(world.apps.main.id);
        await hasNoFault(dashboard, view);
        if (!within[view]) continue;
        await within[view](dashboard);
        await hasNoFault(dashboard, `${view}, opened`);
        const close = dashboard.panel.getByRole("button", { name: "Close" });
        if (await close.isVisible()) await close.click();
      }
      assert.deepEqual(dashboard.complaints, []);
      await dashboard.close();
    });
  }
}

describe("the theme", () => {
  test("is the system's until one is chosen, and the choice is kept", async () => {
    const dashboard = await operator.dashboard(world.server.admin, { theme: "dark" });
    const { page } = dashboard;
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await ground();
    await page.getByRole("button", { name: "Theme: system" }).click();
    await page.getByRole("button", { name: "Theme: light" }).waitFor();
    const light = await ground();
    assert.notEqual(light, dark);
    await page.reload();
    await dashboard.isLive();
    assert.equal(await ground(), light);
    await page.getByRole("button", { name: "Theme: light" }).click();
    assert.equal(await ground(), dark);
    await dashboard.close();
  });
});
