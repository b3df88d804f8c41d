// Apps made, changed and removed by an operator, on a server whose apps are in a database; and one whose apps are in its file.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../server.mjs";
import { startOperator } from "./dashboard.mjs";

const directory = await mkdtemp(path.join(tmpdir(), "dashboard-apps-"));
const server = await startServer({ database: { url: `sqlite://${path.join(directory, "apps.db")}`, poll_s: 1 } });
const operator = await startOperator();
after(async () => {
  await operator.close();
  await server.stop();
  await rm(directory, { recursive: true });
});

/** Whether the key opens a connection. */
async function connects(key) {
  const socket = new WebSocket(`ws://${server.host}:${server.port}/app/${key}?protocol=7`);
  const greeted = await Promise.race([once(socket, "message").then(() => true), once(socket, "close").then(() => false)]);
  socket.close();
  return greeted;
}

/** What the dialog says that shows a secret, which is closed. */
async function credentials({ page }) {
  const dialog = page.getByRole("dialog", { name: "The credentials" });
  await dialog.waitFor();
  const [id, key, secret] = await dialog.locator("dd").allInnerTexts();
  await dialog.getByRole("button").click();
  return { id, key, secret };
}

/** Answers the dialog that asks whether the operator is sure. */
async function confirm({ page }, name) {
  await page.getByRole("dialog").getByRole("button", { name }).click();
}

test("an app is made, its secret is shown once, its keys are rotated, and it is changed, disabled and removed", async () => {
  const dashboard = await operator.dashboard(server.admin, { hash: "#/apps" });
  const { page, panel } = dashboard;
  const dialog = page.getByRole("dialog");
  await page.getByText("There are no apps.").waitFor();
  await page.getByRole("button", { name: "New app" }).click();
  await dialog.getByLabel("Name").fill("Shop");
  await dialog.getByLabel("Id").fill("not an id");
  await dialog.getByRole("button", { name: "Create app" }).click();
  await dialog.getByText(/id may hold only letters/).waitFor();
  await dialog.getByLabel("Id").fill("7");
  await dialog.getByRole("button", { name: "Create app" }).click();
  const first = await credentials(dashboard);
  assert.equal(first.id, "7");
  assert.ok(await connects(first.key));
  await panel.getByText(first.key).waitFor();
  assert.ok(!(await page.content()).includes(first.secret), "the secret is gone from the page");

  await panel.getByRole("button", { name: "New key" }).click();
  await dialog.getByLabel("Label").fill("October");
  await dialog.getByRole("button", { name: "Make key" }).click();
  const second = await credentials(dashboard);
  assert.notEqual(second.secret, first.secret);
  assert.ok((await connects(first.key)) && (await connects(second.key)));
  const row = (key) => panel.locator(".keys li").filter({ hasText: key });
  await row(second.key).getByText("October").waitFor();
  await row(first.key).getByRole("button", { name: "Disable" }).click();
  await confirm(dashboard, "Disable key");
  await row(first.key).getByText("disabled").waitFor();
  assert.ok(!(await connects(first.key)) && (await connects(second.key)));
  await row(first.key).getByRole("button", { name: "Remove" }).click();
  await confirm(dashboard, "Remove key");
  await row(first.key).waitFor({ state: "detached" });

  await panel.getByRole("button", { name: "Change settings" }).click();
  const settings = dialog.getByLabel("Settings as JSON");
  const json = JSON.parse(await settings.inputValue());
  await settings.fill(JSON.stringify({ ...json, name: "Store", max_connections: 0 }));
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText(/max_connections must be at least 1/).waitFor();
  await settings.fill(JSON.stringify({ ...json, name: "Store", max_connections: 1 }));
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.locator("#apps-table").getByRole("link", { name: "Store" }).waitFor();

  await panel.getByRole("button", { name: "Disable app" }).click();
  await confirm(dashboard, "Disable app");
  await panel.getByRole("button", { name: "Enable app" }).waitFor();
  assert.ok(!(await connects(second.key)));
  await panel.getByRole("button", { name: "Remove app" }).click();
  await confirm(dashboard, "Remove app");
  await page.getByText("There are no apps.").waitFor();
  assert.deepEqual(dashboard.complaints, []);
  await dashboard.close();
});

test("apps of a file are shown, and the page says where to change them", async () => {
  const file = await startServer();
  const dashboard = await operator.dashboard(file.admin, { hash: "#/apps" });
  const { page, panel } = dashboard;
  await page.getByText(/They are those of .*loudhailer\.toml: change them there/).waitFor();
  await page.getByRole("searchbox", { name: "Search" }).fill("Busy");
  await page.getByText(/^1 app\./).waitFor();
  await page.locator("#apps-table").getByRole("link", { name: "Busy" }).click();
  await panel.getByText("busy-key").waitFor();
  assert.equal(await page.getByRole("button", { name: "New app" }).count(), 0);
  assert.equal(await panel.getByRole("button", { name: /Disable|Remove|New key|Change/ }).count(), 0);
  assert.deepEqual(dashboard.complaints, []);
  await dashboard.close();
  await file.stop();
});
