// Users with Laravel Echo and pusher-js in Chromium: signing in, what is for one user, who is online, and one session at a time.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { tokenOf } from "../../conformance/clients/auth_server.mjs";
import { openBrowser } from "./browser.mjs";
import { openWorld } from "./world.mjs";

const world = await openWorld();
const browser = await openBrowser(world);
after(async () => {
  await browser.close();
  await world.close();
});

/** A page of a browser of its own that can sign in as `user` (`{ id, user_info, watchlist }`). */
function openFor(user, options) {
  const headers = { Authorization: `Bearer ${tokenOf(user)}` };
  const userAuthentication = { endpoint: "/broadcasting/auth", transport: "ajax", headers };
  return browser.connect({ userAuthentication, bearerToken: tokenOf(user), ...options });
}

/** In the page: signs in, and notes what the user is told. */
function signIn() {
  const { pusher } = echo.connector;
  for (const event of ["online", "offline"]) pusher.user.watchlist.bind(event, ({ user_ids: ids }) => hear(event, ids));
  pusher.user.bind("invoice.paid", (invoice) => hear("invoice.paid", invoice));
  pusher.signin();
}

async function openSignedIn(user) {
  const page = await openFor(user);
  await page.run(signIn);
  await page.page.waitForFunction(() => echo.connector.pusher.user.serverToUserChannel?.subscribed);
  return page;
}

/** The page was closed with 4009 and stays away. pusher-js tells its application of the close frame twice. */
async function isEnded(page) {
  await page.reaches("disconnected");
  const codes = (await page.errors()).map(({ code }) => code);
  assert.ok(codes.length > 0 && codes.every((code) => code === 4009), `${codes}`);
}

describe("a page that signs in", () => {
  test("hears what is for its user, as another user's page does not", async () => {
    const [ann, bob] = [world.channel("ann"), world.channel("bob")];
    const [page, other] = await Promise.all([openSignedIn({ id: ann }), openSignedIn({ id: bob })]);
    await world.publisher.sendToUser(ann, "invoice.paid", { id: 9 });
    await world.publisher.sendToUser(bob, "invoice.paid", { id: 10 });
    for (const [each, id] of [[page, 9], [other, 10]]) {
      await each.hears("invoice.paid");
      assert.deepEqual(await each.heard(), [["invoice.paid", { id }]]);
      await each.close();
    }
  });

  test("hears of those it watches in other browsers", async () => {
    const [ann, bob] = [world.channel("ann-w"), world.channel("bob-w")];
    const watcher = await openSignedIn({ id: ann, watchlist: [bob] });
    await watcher.hears("offline");
    const watched = await openSignedIn({ id: bob });
    await watcher.hears("online");
    await watched.close();
    await watcher.page.waitForFunction(() => window.heard.length === 3, undefined, { timeout: 15_000 });
    assert.deepEqual(await watcher.heard(), [["offline", [bob]], ["online", [bob]], ["offline", [bob]]]);
    await watcher.close();
  });

  test("is ended for good by terminateUserConnections", async () => {
    const [ann, bob] = [world.channel("ann-t"), world.channel("bob-t")];
    const [page, other] = await Promise.all([openSignedIn({ id: ann }), openSignedIn({ id: bob })]);
    await world.publisher.terminateUserConnections(ann);
    await isEnded(page);
    await world.publisher.sendToUser(bob, "invoice.paid", {});
    await other.hears("invoice.paid");
    await Promise.all([page.close(), other.close()]);
  });

  test("is a member of a presence channel by that alone", async () => {
    const room = world.channel("by-signin");
    const ann = { id: world.channel("ann-p"), user_info: { name: "Ann" } };
    const watcher = await browser.connect({ user: "watcher" });
    await watcher.run((name) => {
      echo.join(name).joining((member) => hear("joining", member));
      return subscribed(echo.join(name));
    }, room);
    const page = await openSignedIn(ann);
    await page.run((name) => {
      echo.join(name).here((members) => hear("here", members.map(({ name }) => name).toSorted()));
      return subscribed(echo.join(name));
    }, room);
    await page.hears("here");
    assert.deepEqual(await page.heard(), [["here", ["Ann", "watcher"]]]);
    await watcher.hears("joining");
    assert.deepEqual(await watcher.heard(), [["joining", { name: "Ann" }]]);
    await Promise.all([page.close(), watcher.close()]);
  });
});

test("a page is told how many listen to its channel", async () => {
  const name = world.channel("counted");
  const listen = (channel) => {
    echo.channel(channel).subscription.bind("pusher:subscription_count", () => {
      hear(String(echo.channel(channel).subscription.subscriptionCount));
    });
    return subscribed(echo.channel(channel));
  };
  const pages = [];
  for (let count = 0; count < 2; count += 1) {
    const page = await browser.connect({ key: world.apps.counting.key });
    await page.run(listen, name);
    pages.push(page);
  }
  await pages[0].hears("2");
  await pages[1].close();
  await pages[0].page.waitForFunction(() => window.heard.at(-1)[0] === "1");
  assert.deepEqual(await pages[0].heard(), [["1"], ["2"], ["1"]]);
  await pages[0].close();
});

describe("a channel of one session", () => {
  const listen = ([kind, channel]) => {
    echo[kind](channel).listen(".session.replaced", () => hear("replaced")).listen(".marker", () => hear("marker"));
    return subscribed(echo[kind](channel));
  };

  async function isLetGo(page) {
    await page.hears("replaced");
    await isEnded(page);
    await page.close();
  }

  test("lets the newest page of Echo.private stay", async () => {
    const name = world.channel("single");
    const [older, newer] = await Promise.all([browser.connect({ user: "ann" }), browser.connect({ user: "ann" })]);
    await older.run(listen, ["private", name]);
    await newer.run(listen, ["private", name]);
    await isLetGo(older);
    await world.publish(`private-${name}`, "marker");
    await newer.hears("marker");
    assert.deepEqual(await newer.heard(), [["marker"]]);
    await newer.close();
  });

  test("lets the tabs of one login live together in Echo.join", async () => {
    const name = world.channel("single");
    const open = async (session) => {
      const member = { user_id: "ann", user_info: { session_id: session } };
      const page = await browser.connect({ bearerToken: tokenOf(member) });
      await page.run(listen, ["join", name]);
      return page;
    };
    const tabs = [await open("laptop"), await open("laptop")];
    await world.publish(`presence-${name}`, "marker");
    for (const tab of tabs) {
      await tab.hears("marker");
      assert.deepEqual(await tab.heard(), [["marker"]]);
    }
    const phone = await open("phone");
    await Promise.all(tabs.map(isLetGo));
    await world.publish(`presence-${name}`, "marker");
    await phone.hears("marker");
    assert.deepEqual(await phone.heard(), [["marker"]]);
    await phone.close();
  });
});

test("a page that comes late is shown the past of a channel that keeps it", async () => {
  const name = world.channel("replayed-page");
  for (let n = 1; n <= 7; n += 1) await world.publish(name, "step", { n });
  const page = await browser.connect();
  await page.run((channel) => {
    echo.channel(channel).listen(".step", ({ n }) => hear(`step ${n}`));
    return subscribed(echo.channel(channel));
  }, name);
  await world.publish(name, "step", { n: 8 });
  await page.hears("step 8");
  const heard = (await page.heard()).map(([step]) => step);
  assert.deepEqual(heard.slice(-6), [3, 4, 5, 6, 7, 8].map((n) => `step ${n}`));
  await page.close();
});
