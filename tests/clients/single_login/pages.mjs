// What the tests of the example share: Chromium, and people who log in.
//
// With SCREENSHOTS=DIR the pages of the scenes are saved there.

import assert from "node:assert/strict";
import path from "node:path";
import { after, before, beforeEach } from "node:test";
import { launchChromium } from "../browser.mjs";

const PATIENCE_MS = 15_000;
export const outman = { email: "outman@example.com", password: "outman-password" };
export const grace = { email: "grace@example.com", password: "grace-password" };

let browser;
let contexts = [];
let address;

/** Starts Chromium for this file's tests of the example at `url`; each begins with no browser open. */
export function forEachTest(url) {
  before(async () => {
    address = url;
    await fetch(new URL("/login", url)).catch((cause) => {
      throw new Error(`no example at ${url}: start examples/single_login or name another`, { cause });
    });
    browser = await launchChromium();
  });

  after(() => browser?.close());

  beforeEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
  });
}

/** A page of a browser that knows nothing of the others: a context has its own cookies. */
export async function openBrowser() {
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
export async function logIn(page, { email, password }) {
  await page.goto(new URL("/login", address).href);
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
export async function listens(page) {
  await page.locator('#state[data-state="listening"]').waitFor();
}

export async function openLoggedIn(user) {
  const page = await openBrowser();
  await logIn(page, user);
  await listens(page);
  return page;
}

export async function save(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: path.join(process.env.SCREENSHOTS, name) });
}
