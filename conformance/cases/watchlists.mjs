// Watchlists: which users of a list are online.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { JS_WATCHLIST, PROTOCOL, WATCHLIST } from "../kit/sources.mjs";

export const area = new Area("watchlists", "Users: watchlists", { needs: ["sign-in", "watchlists"] });

const EVENTS = "pusher_internal:watchlist_events";
const CURRENT = WATCHLIST(
  "Once the user is authenticated, they will receive events indicating the current online status of peers in their `watchlist`.",
);
const CHANGES = WATCHLIST(
  "The user will continue to receive events for any further changes to the online status of users in the `watchlist`.",
);
const ONLINE = WATCHLIST("A user is considered `online` if that user is authenticated on at least one connection.");
const OFFLINE = WATCHLIST("If a user is not authenticated on any connections, the user is considered `offline`.");
const LIMIT = PROTOCOL("the first 100 user IDs will be accepted and the sign-in operation will succeed");
/** How long a host may wait before it reports a user as offline. */
const AWAY_S = 5;

/** The notifications of a connection, in order: `["online", ids]`. */
const notified = (socket) =>
  socket.all(EVENTS).flatMap(({ data }) => data.events.map(({ name, user_ids: ids }) => [name, ids.toSorted()]));

/** Waits for the `count`-th notification of this name about this user. */
const hears = (socket, name, id, count = 1) =>
  socket.until(() => notified(socket).filter(([each, ids]) => each === name && ids.includes(id))[count - 1], `${name} of ${id}`);

area.case("current-online", "a watcher is notified which users are online", CURRENT, async (t) => {
  const bob = t.name("bob");
  await t.user({ id: bob });
  await hears(await t.user({ id: t.name("ann"), watchlist: [bob] }), "online", bob);
});

area.case("current-offline", "a watcher is notified which users are offline", CURRENT, async (t) => {
  const bob = t.name("bob");
  await hears(await t.user({ id: t.name("ann"), watchlist: [bob] }), "offline", bob);
});

area.case(
  "form",
  "the events are an array of name and user_ids, in data that is a string",
  JS_WATCHLIST("it reads data.events, and of each name and user_ids"),
  async (t) => {
    const bob = t.name("bob");
    const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
    const { raw, data } = await watcher.hears(EVENTS);
    assert.equal(typeof raw.data, "string");
    assert.equal(raw.channel, undefined);
    assert.deepEqual(data, { events: [{ name: "offline", user_ids: [bob] }] });
  },
);

area.case("after-success", "the success of the sign-in precedes the events", CURRENT, async (t) => {
  const watcher = await t.user({ id: t.name("ann"), watchlist: [t.name("bob")] });
  await watcher.hears(EVENTS);
  const order = watcher.frames.map(({ event }) => event);
  assert.ok(order.indexOf("pusher:signin_success") < order.indexOf(EVENTS), order.join());
});

area.case("comes", "a watcher is notified when a user comes online", CHANGES, async (t) => {
  const bob = t.name("bob");
  const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
  await hears(watcher, "offline", bob);
  await t.user({ id: bob });
  await hears(watcher, "online", bob);
});

area.case(
  "goes",
  "a watcher is notified when a user goes offline",
  CHANGES,
  async (t) => {
    const bob = t.name("bob");
    const bobs = await t.user({ id: bob });
    const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
    await hears(watcher, "online", bob);
    bobs.close();
    await hears(watcher, "offline", bob);
  },
  { seconds: AWAY_S },
);

area.case("second-connection", "a user's second connection causes no notification", ONLINE, async (t) => {
  const bob = t.name("bob");
  const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
  await t.user({ id: bob });
  await hears(watcher, "online", bob);
  await t.user({ id: bob });
  await t.pause(1_000);
  await watcher.settle();
  assert.equal(notified(watcher).filter(([name]) => name === "online").length, 1);
});

area.case(
  "one-of-two",
  "a user with one remaining connection is online",
  OFFLINE,
  async (t) => {
    const bob = t.name("bob");
    const [first] = [await t.user({ id: bob }), await t.user({ id: bob })];
    const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
    await hears(watcher, "online", bob);
    first.close();
    await t.pause(4_000);
    await watcher.settle();
    assert.equal(notified(watcher).filter(([name]) => name === "offline").length, 0);
  },
  { seconds: AWAY_S },
);

area.case(
  "without-own-list",
  "a user without a watchlist is watched",
  WATCHLIST("Providing a `watchlist` for a user is optional."),
  async (t) => {
    const bob = t.name("bob");
    const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
    await hears(watcher, "offline", bob);
    await t.user({ id: bob });
    await hears(watcher, "online", bob);
  },
);

area.case("each-other", "two users may watch each other", CHANGES, async (t) => {
  const [ann, bob] = [t.name("ann"), t.name("bob")];
  const anns = await t.user({ id: ann, watchlist: [bob] });
  await hears(anns, "offline", bob);
  const bobs = await t.user({ id: bob, watchlist: [ann] });
  await hears(bobs, "online", ann);
  await hears(anns, "online", bob);
});

area.case(
  "only-the-watched",
  "a watcher is notified of no other users",
  WATCHLIST("A Watchlist is an array of user IDs which represent the circle of interest for the user"),
  async (t) => {
    const bob = t.name("bob");
    const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
    await hears(watcher, "offline", bob);
    await t.user({ id: t.name("stranger") });
    await t.user({ id: bob });
    await hears(watcher, "online", bob);
    assert.deepEqual([...new Set(notified(watcher).flatMap(([, ids]) => ids))], [bob]);
  },
);

for (const protocol of [5, 6]) {
  area.case(`protocol-${protocol}`, `watchlists work on protocol ${protocol}`, CURRENT, async (t) => {
    const bob = t.name("bob");
    await hears(await t.user({ id: t.name("ann"), watchlist: [bob] }, { protocol }), "offline", bob);
  });
}

const many = (t) => {
  const stem = t.name("many");
  return Array.from({ length: 101 }, (_, n) => `${stem}-${n}`);
};

area.case("over-limit", "a watchlist of 101 is an error 4302, and the sign-in succeeds", LIMIT, async (t) => {
  const watcher = await t.user({ id: t.name("ann"), watchlist: many(t) });
  await watcher.until(() => watcher.errors.find(({ code }) => code === 4302), "error 4302");
  await watcher.settle();
});

area.case("over-limit-first", "the first hundred of 101 users are watched", LIMIT, async (t) => {
  const watchlist = many(t);
  const watcher = await t.user({ id: t.name("ann"), watchlist });
  await hears(watcher, "offline", watchlist[99]);
  const ids = notified(watcher).flatMap(([, each]) => each);
  assert.deepEqual([ids.length, ids.includes(watchlist[100])], [100, false]);
});

area.silent(
  "brief-absence",
  "Is a watcher notified of a user who returns within a second?",
  async (t) => {
    const bob = t.name("bob");
    const before = await t.user({ id: bob });
    const watcher = await t.user({ id: t.name("ann"), watchlist: [bob] });
    await hears(watcher, "online", bob);
    before.close();
    await before.closes();
    await t.user({ id: bob });
    await t.pause(4_000);
    const after = notified(watcher)
      .slice(1)
      .map(([name]) => name);
    return after.length ? `yes: ${after.join(", ")}` : "no";
  },
  { seconds: AWAY_S },
);
area.silent("self", "May a user be on the user's own watchlist?", async (t) => {
  const ann = t.name("ann");
  const watcher = await t.user({ id: ann, watchlist: [ann] });
  await watcher.settle();
  return (
    notified(watcher)
      .map(([name]) => name)
      .join(", ") || "silence"
  );
});
