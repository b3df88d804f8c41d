// The dashboard in Chromium, as an operator sees it: by the names and roles of its parts.

import { launchChromium } from "../browser.mjs";

const PATIENCE_MS = 15_000;
const WIDE = { width: 1280, height: 800 };

/** A phone's screen. */
export const PHONE = { width: 390, height: 844 };

/** Views by the names in the navigation. */
export const VIEWS = ["Overview", "Live feed", "Channels", "Connections", "Apps", "Send event"];

/** One open dashboard. */
export class Dashboard {
  /** Whatever the page complained of: errors of its scripts, and what its policy refused. */
  complaints = [];

  constructor(page, admin) {
    this.page = page;
    this.admin = admin;
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !/Failed to load resource|WebSocket connection/.test(message.text())) this.complaints.push(message.text());
    });
  }

  /** Opens the page at an address of its own, such as `#/feed`. */
  async open(hash = "#/") {
    await this.page.goto(new URL(hash, this.admin).href);
  }

  /** Waits until the feed is connected. */
  async isLive() {
    await this.page.locator('#link[data-state="live"]').waitFor();
  }

  /** Opens a view by its link. */
  async view(name) {
    await this.page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
    await this.page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  }

  /** The rows of the feed with all of these texts; a number is that of the sockets that got the event. */
  rows(...wanted) {
    const cell = (delivered) => this.page.locator(".delivered", { hasText: new RegExp(`^${delivered}$`) });
    const filterOf = (each) => (typeof each === "number" ? { has: cell(each) } : { hasText: each });
    return wanted.reduce((found, each) => found.filter(filterOf(each)), this.page.locator(".feed-row:visible"));
  }

  /** Waits for a row of the feed with all of these texts, and returns it. */
  async row(...wanted) {
    const row = this.rows(...wanted).first();
    await row.waitFor().catch(async (cause) => {
      const shown = await this.rows().allInnerTexts();
      throw new Error(`waited in vain for a row with ${wanted.join(", ")}; there are:\n${shown.join("\n")}`, { cause });
    });
    return row;
  }

  /** The panel that shows what was opened. */
  get panel() {
    return this.page.getByRole("complementary");
  }

  close() {
    return this.page.context().close();
  }
}

/** Chromium, and the dashboards opened in it. */
export class Operator {
  constructor(chromium) {
    this.chromium = chromium;
  }

  /** A page in a profile of its own. */
  async page({ theme = "light", viewport = WIDE, ...options } = {}) {
    const context = await this.chromium.newContext({ colorScheme: theme, viewport, ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    return context.newPage();
  }

  /** The dashboard of the server whose admin listener is at `admin`, connected to the feed. */
  async dashboard(admin, { hash, ...options } = {}) {
    const dashboard = new Dashboard(await this.page(options), admin);
    await dashboard.open(hash);
    await dashboard.isLive();
    return dashboard;
  }

  close() {
    return this.chromium.close();
  }
}

export async function startOperator() {
  return new Operator(await launchChromium());
}
