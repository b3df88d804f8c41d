// The example app with real browsers: the older page hears of a login and leaves, the newer one stays.
//
// EXAMPLE_URL names a running examples/single_login (default http://127.0.0.1:8000).
// With SCREENSHOTS=DIR the two pages of the scene are saved there.

import assert from "node:assert/strict";
import path from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { chromium } from "playwright-core";

const EXAMPLE_URL = process.env.EXAMPLE_URL ?? "http://127.0.0.1:8000";
const PATIENCE_MS = 15_000;
const outman = { email: "outman@example.com", password: "outman-password" };
const grace = { email: "grace@example.com", password: "grace-password" };

let browser;
let contexts = [];

before(async () => {
  await fetch(new URL("/login", EXAMPLE_URL)).catch((cause) => {
    throw new Error(`no example at ${EXAMPLE_URL}: start examples/single_login or set EXAMPLE_URL`, { cause });
  });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    chromiumSandbox: false,
    args: [
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});

after(() => browser?.close());

beforeEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  contexts = [];
});

/** A page of a browser that knows nothing of the others: a context has its own cookies. */
async function openBrowser() {
  const context = await browser.newContext({ viewport: { width: 960, height: 640 } });
  context.setDefaultTimeout(PATIENCE_MS);
  await context.addInitScript(noteWhenShown);
  contexts.push(context);
  return context.newPage();
}

/** Runs in the page: notes the time of the first frame that shows the message. */
function noteWhenShown() {
  new MutationObserver(() => {
    if (window.shownAt === undefined && document.querySelector("dialog[open]")) {
      window.shownAt = null;
      requestAnimationFrame(() => (window.shownAt = Date.now()));
    }
  }).observe(document, { subtree: true, attributeFilter: ["open"] });
}

/** Logs in through the form; gives the times of the click and of the login's answer, in Unix ms. */
async function logIn(page, { email, password }) {
  await page.goto(new URL("/login", EXAMPLE_URL).href);
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  const isLogin = (request) => request.method() === "POST" && new URL(request.url()).pathname === "/login";
  const answered = page.waitForResponse((response) => isLogin(response.request()));
  await page.getByRole("button", { name: "Log in" }).click();
  const response = await answered;
  assert.equal(response.status(), 303);
  const { startTime, responseStart } = response.request().timing();
  return { clickedAt: startTime, answeredAt: startTime + responseStart };
}

/** Waits until the page is subscribed to its user's channel. */
async function listens(page) {
  await page.locator('#state[data-state="listening"]').waitFor();
}

async function openLoggedIn(user) {
  const page = await openBrowser();
  await logIn(page, user);
  await listens(page);
  return page;
}

async function save(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: path.join(process.env.SCREENSHOTS, name) });
}

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
