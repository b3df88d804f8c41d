// Chromium with pages that use Laravel Echo and pusher-js as they come from npm.

import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";
import { answerAuth, listen, tokenOf } from "../../conformance/clients/auth_server.mjs";

const PATIENCE_MS = 8_000;

const files = {
  "/": ["./pages/echo.html", "text/html; charset=utf-8"],
  "/pusher.js": ["./node_modules/pusher-js/dist/web/pusher-with-encryption.min.js", "text/javascript"],
  "/echo.js": ["./node_modules/laravel-echo/dist/echo.js", "text/javascript"],
};

/** The application: its page, its scripts, and /broadcasting/auth; over https with the certificate of `authority`. */
export async function startApplication(publisher, authority) {
  const pair = authority && { cert: await readFile(authority.cert), key: await readFile(authority.key) };
  return listen(async (request, response) => {
    const { pathname } = new URL(request.url, "http://application");
    if (pathname === "/broadcasting/auth") {
      await answerAuth(publisher, request, response);
      return;
    }
    const file = files[pathname];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    const [name, type] = file;
    response.writeHead(200, { "Content-Type": type }).end(await readFile(new URL(name, import.meta.url)));
  }, pair);
}

/** `home` is the home directory of another user of the machine, with other authorities. */
export function launchChromium(home = process.env.HOME) {
  return chromium.launch({
    env: { ...process.env, HOME: home },
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
      // Pages may stand under any name of example.com, to have an origin of that name.
      "--host-resolver-rules=MAP *.example.com 127.0.0.1",
    ],
  });
}

/** One open page. Functions given to `run` see `echo`, `hear` and `subscribed` of pages/echo.html. */
export class EchoPage {
  constructor(page) {
    this.page = page;
  }

  /** Runs `body` in the page and returns its result. */
  run(body, argument) {
    return this.page.evaluate(body, argument);
  }

  /** Waits for the page's pusher-js to be in this state. */
  async reaches(state) {
    await this.page.waitForFunction((wanted) => window.connection?.state === wanted, state, {
      timeout: PATIENCE_MS,
    });
  }

  /** Waits until the page has heard `what`. */
  async hears(what) {
    const find = (wanted) => window.heard.some(([each]) => each === wanted);
    await this.page.waitForFunction(find, what, { timeout: PATIENCE_MS }).catch(async (error) => {
      throw new Error(`waited in vain for ${what}; heard ${JSON.stringify(await this.heard())}`, { cause: error });
    });
  }

  /** All that the page has heard, in order. */
  heard() {
    return this.page.evaluate(() => window.heard);
  }

  /** The `{ code, message }` of the connection's errors. */
  errors() {
    return this.page.evaluate(() => window.errors);
  }

  /** Loads the page anew, as the reload key does. */
  async reload() {
    await this.page.reload();
    await this.reaches("connected");
  }

  /** Closes the page and forgets its user, as the last window of a profile does. */
  close() {
    return this.page.context().close();
  }
}

export class Browser {
  constructor(world, application, chromiumProcess) {
    this.world = world;
    this.application = application;
    this.chromium = chromiumProcess;
  }

  /** Opens the application's page, for a signed-in `user` if given, on `host`, with more Echo options. */
  async open({ user, host = "127.0.0.1", ...options } = {}) {
    const member = user && { user_id: user, user_info: { name: user } };
    const echoOptions = {
      ...this.world.clientOptions(),
      key: this.world.apps.main.key,
      bearerToken: member && tokenOf(member),
      ...options,
    };
    const address = new URL(this.application.url);
    address.hostname = host;
    address.searchParams.set("options", JSON.stringify(echoOptions));
    const context = await this.chromium.newContext();
    const page = await context.newPage();
    await page.goto(address.href);
    return new EchoPage(page);
  }

  /** Opens the page and waits for its connection. */
  async connect(options) {
    const page = await this.open(options);
    await page.reaches("connected");
    return page;
  }

  async close() {
    await this.chromium.close();
    await this.application.close();
  }
}

/** Starts Chromium and the application whose endpoint signs for the world's app. */
export async function openBrowser(world) {
  const application = await startApplication(world.publisher);
  return new Browser(world, application, await launchChromium());
}
