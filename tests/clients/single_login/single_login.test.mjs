// The example app with real browsers, in its first mode: the older page hears of a login and leaves, the newer one stays.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { forEachTest, grace, listens, logIn, openBrowser, openLoggedIn, outman, save } from "./pages.mjs";

const { EXAMPLE_URL = "http://127.0.0.1:8000" } = process.env;
forEachTest(EXAMPLE_URL);

/** Logs outman in by `fetch` from the page itself, with the header that Echo gives to axios or without. */
function logInByFetch(page, withSocketId) {
  const login = async ([user, withSocketId]) => {
    const headers = withSocketId ? { "X-Socket-ID": window.Echo.socketId() } : {};
    const answer = await fetch("/login", { method: "POST", headers, body: new URLSearchParams(user) });
    return answer.ok;
  };
  return page.evaluate(login, [outman, withSocketId]);
}

/** The logins the page hears of, up to and including one of grace, which ends the wait. */
async function announcedUntilGrace(page, act) {
  await page.evaluate(async () => {
    window.announced = [];
    const note = ({ user }) => window.announced.push(user.name);
    window.Echo.channel("outman-user-1").listen("UserAuthenticatedEvent", note);
    await new Promise((resolve) => {
      window.Echo.channel("outman-user-2").listen("UserAuthenticatedEvent", note).subscribed(resolve);
    });
  });
  await act();
  await logIn(await openBrowser(), grace);
  await page.waitForFunction(() => window.announced.includes("Grace"));
  return page.evaluate(() => window.announced);
}

describe("a login of the same account", () => {
  test("is heard by the older page, which says so and leaves; the newer page stays", async () => {
    const older = await openLoggedIn(outman);
    const newer = await openBrowser();
    const { clickedAt, answeredAt } = await logIn(newer, outman);

    await older.getByRole("heading", { name: "This account logged in elsewhere" }).waitFor();
    await save(older, "single-login-older.png");
    await older.waitForFunction(() => window.shownAt);
    const shownAt = await older.evaluate(() => window.shownAt);
    console.log(`heard after ${Math.round(shownAt - answeredAt)} ms`);
    console.log(`  the message was on the older page ${Math.round(shownAt - clickedAt)} ms after the click`);
    assert.ok(shownAt - answeredAt < 1000, "within a blink");

    await older.waitForURL("**/login?reason=elsewhere");
    await older.getByText("this account logged in elsewhere").waitFor();
    await older.goto(EXAMPLE_URL);
    assert.equal(new URL(older.url()).pathname, "/login", "the older session is over");

    await listens(newer);
    assert.deepEqual(await newer.locator("#heard li").allTextContents(), ["Nothing yet."]);
    await save(newer, "single-login-newer.png");
    await newer.reload();
    assert.equal(new URL(newer.url()).pathname, "/", "the newer session is valid");
  });

  test("of another account is nothing to the page", async () => {
    const page = await openLoggedIn(grace);
    const other = await openLoggedIn(outman);
    await page.locator("#here").getByText("Outman").waitFor();
    await other.locator("#here").getByText("Grace").waitFor();
    assert.deepEqual(await page.locator("#heard li").allTextContents(), ["Nothing yet."]);
    assert.equal(new URL(page.url()).pathname, "/");
  });
});

describe("a login by a page that already listens", () => {
  test("is not announced to that page if the request names its socket", async () => {
    const page = await openLoggedIn(outman);
    const announced = await announcedUntilGrace(page, async () => {
      assert.ok(await logInByFetch(page, true));
    });
    assert.deepEqual(announced, ["Grace"]);
  });

  test("is announced to it otherwise, and it stays because its session is valid", async () => {
    const page = await openLoggedIn(outman);
    const announced = await announcedUntilGrace(page, async () => {
      assert.ok(await logInByFetch(page, false));
    });
    assert.deepEqual(announced, ["Outman", "Grace"]);
    await page.getByText("Outman logged in. This session is still valid.").waitFor();
    assert.equal(await page.locator("dialog[open]").count(), 0);
    assert.equal(new URL(page.url()).pathname, "/");
  });
});
