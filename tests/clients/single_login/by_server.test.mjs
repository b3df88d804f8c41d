// The example app with real browsers, in its second mode: the server tells the older session's pages and closes their connections.
//
// EXAMPLE_SERVER_URL names a running examples/single_login with LOGIN_MODE=server.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { forEachTest, grace, listens, logIn, openBrowser, openLoggedIn, outman, save } from "./pages.mjs";

const { EXAMPLE_SERVER_URL = "http://127.0.0.1:8000" } = process.env;
forEachTest(EXAMPLE_SERVER_URL);

const isConnected = (page) => page.evaluate(() => window.Echo.connector.pusher.connection.state === "connected");

/** The page was told, and the server has closed its connection, after which pusher-js stays away. */
async function isLetGo(page) {
  await page.getByRole("heading", { name: "This account logged in elsewhere" }).waitFor();
  await page.getByText("The server closed this connection (4009).").waitFor();
  await page.locator('#state[data-state="disconnected"]').waitFor();
}

/** Opens another tab of the page's browser. */
async function openTab(page) {
  const tab = await page.context().newPage();
  await tab.goto(EXAMPLE_SERVER_URL);
  await listens(tab);
  return tab;
}

describe("a second login, when the server lets one session listen", () => {
  test("ends the older browser, told and closed; the newer one stays", async () => {
    const older = await openLoggedIn(outman);
    const newer = await openLoggedIn(outman);
    await isLetGo(older);
    await save(older, "single-login-server-older.png");
    await older.waitForURL("**/login?reason=elsewhere");
    assert.ok(await isConnected(newer));
    assert.deepEqual(await newer.locator("#heard li").allTextContents(), ["Nothing yet."]);
    await newer.reload();
    await listens(newer);
  });

  test("leaves the tabs of one browser alone, and ends them together", async () => {
    const tab = await openLoggedIn(outman);
    const other = await openTab(tab);
    const page = await openLoggedIn(grace);
    for (const each of [tab, other]) {
      await each.locator("#here").getByText("Grace").waitFor();
      assert.ok(await isConnected(each));
      assert.deepEqual(await each.locator("#heard li").allTextContents(), ["Nothing yet."]);
    }
    await save(other, "single-login-server-tab.png");
    const newer = await openBrowser();
    await logIn(newer, outman);
    await Promise.all([isLetGo(tab), isLetGo(other)]);
    await listens(newer);
    assert.ok(await isConnected(page), "of another account is nothing to the page");
  });

  test("ends a page that does not listen to reason", async () => {
    const older = await openLoggedIn(outman);
    await older.evaluate(() => window.Echo.private("outman-user-1").stopListening(".session.replaced"));
    await openLoggedIn(outman);
    await older.getByText("The server closed this connection (4009).").waitFor();
    assert.equal(await older.locator("dialog[open]").count(), 0);
    await older.goto(EXAMPLE_SERVER_URL);
    assert.equal(new URL(older.url()).pathname, "/login", "the older session is over");
  });
});
