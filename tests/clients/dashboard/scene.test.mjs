// The scene that the project began with, watched live: one account logs in with two browsers at examples/single_login.
//
// EXAMPLE_URL names the running example, EXAMPLE_ADMIN_URL the admin listener of its server; `node example.mjs` sets both.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startOperator } from "./dashboard.mjs";

const { EXAMPLE_URL, EXAMPLE_ADMIN_URL } = process.env;
const EVENT = "App\\Events\\UserAuthenticatedEvent";

const operator = await startOperator();
after(() => operator.close());

async function logIn(page) {
  await page.goto(new URL("/login", EXAMPLE_URL).href);
  await page.getByLabel("Email").fill("outman@example.com");
  await page.getByLabel("Password").fill("outman-password");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.locator('#state[data-state="listening"]').waitFor();
}

test("a login elsewhere is watched live, from the connections to the event and who got it", { skip: !EXAMPLE_URL && "needs examples/single_login" }, async () => {
  const dashboard = await operator.dashboard(EXAMPLE_ADMIN_URL, { hash: "#/feed" });
  const [older, newer] = [await operator.page(), await operator.page()];
  await logIn(older);
  await dashboard.row("Connected", "pusher-js");
  await dashboard.row("Subscribed", "outman-user-1");
  // The first login told nobody, for nobody listened yet.
  await dashboard.row("API message", EVENT, 0);
  await logIn(newer);
  await older.getByRole("heading", { name: "This account logged in elsewhere" }).waitFor();
  const told = await dashboard.row("API message", EVENT, 1);
  await told.click();
  await dashboard.panel.getByText('"outman@example.com"').waitFor();
  await dashboard.panel.getByText("1 socket", { exact: true }).waitFor();
  await dashboard.row("Disconnected");
  const connected = await dashboard.rows("Connected", "pusher-js").count();
  assert.ok(connected >= 2, `${connected} connections`);
  assert.deepEqual(dashboard.complaints, []);
});
