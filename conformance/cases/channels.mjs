// What the HTTP API tells about channels and their users.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { CACHE, NODE_SERVER, PHP_SERVER, REST } from "../kit/sources.mjs";
import { refused } from "../kit/trial.mjs";

export const area = new Area("channels", "HTTP API: channels and users");

const OCCUPIED = REST("Allows fetching a hash of occupied channels (optionally filtered by prefix)");
const ATTRIBUTES = REST("If this parameter is missing, an empty hash of attributes will be returned for each channel.");
const LIMITED = REST("and the request is not limited to presence channels, the API will return an error (400 code)");
const ALWAYS = REST("The occupied status is always reported, as well as any requested attributes.");
const UNAVAILABLE = REST("Requesting an attribute which is not available for the requested channel will return an error");
const DISTINCT = REST("a single user may be subscribed many times, but will only count as one");
const USERS = REST("Returns an array of subscribed users IDs.");
const PRESENCE_ONLY = REST("If you send this request to any other type of channel, you will get a 400 HTTP code.");

const list = async (t, prefix, more = {}) => (await t.read("/channels", { filter_by_prefix: prefix, ...more })).channels;

area.case(
  "none",
  "no occupied channel is an empty hash, not an array",
  PHP_SERVER("getChannels() calls get_object_vars on channels"),
  async (t) => {
    const { channels } = await t.read("/channels", { filter_by_prefix: t.name("nobody") });
    assert.deepEqual(channels, {});
    assert.ok(!Array.isArray(channels), "an array");
  },
);

area.case("listed", "a channel is listed while someone is subscribed", OCCUPIED, async (t) => {
  const channel = t.name("listed");
  assert.deepEqual(await list(t, channel), {});
  await t.subscriber(channel);
  assert.deepEqual(Object.keys(await list(t, channel)), [channel]);
});

area.case("without-filter", "without a filter all occupied channels are listed", OCCUPIED, async (t) => {
  const channels = [t.name("a"), t.name("private-b"), t.name("presence-c")];
  await t.subscriber(...channels.slice(0, 2));
  await t.join(channels[2], "ann");
  const answer = await t.read("/channels");
  for (const channel of channels) assert.ok(channel in answer.channels, `${channel} is missing`);
});

area.case("empty-attributes", "without info each channel has an empty hash", ATTRIBUTES, async (t) => {
  const channel = t.name("bare");
  await t.subscriber(channel);
  assert.deepEqual((await list(t, channel))[channel], {});
});

area.case(
  "unlisted-after-unsubscribe",
  "a channel is no longer listed when the last subscriber has unsubscribed",
  OCCUPIED,
  async (t) => {
    const channel = t.name("left");
    const socket = await t.subscriber(channel);
    socket.send("pusher:unsubscribe", { channel });
    await socket.settle();
    await t.eventually(async () => assert.deepEqual(await list(t, channel), {}));
  },
);

area.case("unlisted-after-close", "a channel is no longer listed when the last connection has ended", OCCUPIED, async (t) => {
  const channel = t.name("closed");
  const socket = await t.subscriber(channel);
  socket.close();
  await t.eventually(async () => assert.deepEqual(await list(t, channel), {}));
});

area.case(
  "filter",
  "filter_by_prefix selects by the beginning of the name",
  REST("Filter the returned channels by a specific prefix."),
  async (t) => {
    const stem = t.name("stem");
    await t.subscriber(`${stem}-one`, `${stem}-two`, `other-${stem}`);
    assert.deepEqual(Object.keys(await list(t, stem)).sort(), [`${stem}-one`, `${stem}-two`]);
  },
);

area.case("user-count", "info=user_count counts the users of presence channels", DISTINCT, async (t) => {
  const stem = t.name("presence-many");
  for (const user of ["ann", "ann", "bob"]) await t.join(`${stem}-one`, user);
  await t.join(`${stem}-two`, "ann");
  const channels = await list(t, stem, { info: "user_count" });
  assert.deepEqual([channels[`${stem}-one`]?.user_count, channels[`${stem}-two`]?.user_count], [2, 1]);
});

area.case("user-count-unlimited", "info=user_count without a filter gets 400", LIMITED, async (t) => {
  refused(await t.get("/channels", { info: "user_count" }), 400);
});

area.case("user-count-other-filter", "info=user_count with a filter for other channels gets 400", LIMITED, async (t) => {
  refused(await t.get("/channels", { info: "user_count", filter_by_prefix: "private-" }), 400);
});

for (const kind of ["private-", "presence-", "private-encrypted-", "cache-"]) {
  area.case(`listed-${kind}channel`, `a ${kind} channel is listed like any other`, OCCUPIED, async (t) => {
    const channel = t.name(`${kind}kind`);
    await (kind === "presence-" ? t.join(channel, "ann") : t.subscriber(channel));
    assert.deepEqual(Object.keys(await list(t, channel)), [channel]);
  });
}

// --- One channel -------------------------------------------------------------------------------------------

area.case("unoccupied", "a channel without subscribers is not occupied", ALWAYS, async (t) => {
  assert.equal((await t.read(`/channels/${t.name("void")}`)).occupied, false);
});

area.case("occupied", "a channel with a subscriber is occupied", ALWAYS, async (t) => {
  const channel = t.name("here");
  await t.subscriber(channel);
  assert.equal((await t.read(`/channels/${channel}`)).occupied, true);
});

area.case("vacated", "a channel without remaining subscribers is not occupied", ALWAYS, async (t) => {
  const channel = t.name("gone");
  const socket = await t.subscriber(channel);
  socket.close();
  await t.eventually(async () => assert.equal((await t.read(`/channels/${channel}`)).occupied, false));
});

area.case("one-user-count", "user_count of a channel counts distinct users", DISTINCT, async (t) => {
  const channel = t.name("presence-one");
  for (const user of ["ann", "ann", "bob"]) await t.join(channel, user);
  const answer = await t.read(`/channels/${channel}`, { info: "user_count" });
  assert.deepEqual([answer.occupied, answer.user_count], [true, 2]);
});

area.case(
  "one-subscription-count",
  "subscription_count of a channel counts connections",
  REST("Number of **connections** currently subscribed to this channel."),
  async (t) => {
    const channel = t.name("counted");
    for (let count = 0; count < 3; count += 1) await t.subscriber(channel);
    assert.equal((await t.read(`/channels/${channel}`, { info: "subscription_count" })).subscription_count, 3);
  },
  { needs: ["subscription counts"] },
);

area.case(
  "several-attributes",
  "info may ask for several attributes",
  REST("A comma-separated list of attributes which should be returned for the channel."),
  async (t) => {
    const channel = t.name("presence-cache-both");
    await t.publish(channel, "price", { cents: 1 });
    await t.join(channel, "ann");
    const answer = await t.read(`/channels/${channel}`, { info: "user_count,cache" });
    assert.deepEqual([answer.user_count, answer.cache?.data], [1, '{"cents":1}']);
  },
  { needs: ["cache channels"] },
);

area.case(
  "cache",
  "info=cache returns the cached data and its time to live",
  CACHE("The response contains the data as well as the remaining time to live of the cached message."),
  async (t) => {
    const channel = t.name("cache-asked");
    await t.publish(channel, "price", { cents: 7 });
    const { cache } = await t.read(`/channels/${channel}`, { info: "cache" });
    assert.equal(cache?.data, '{"cents":7}');
    assert.ok(cache.ttl > 0 && cache.ttl <= 1800, `the time to live is ${cache.ttl}`);
  },
  { needs: ["cache channels"] },
);

area.case(
  "cache-empty",
  "info=cache of an empty channel is null",
  REST("or null in case the cache is empty"),
  async (t) => {
    assert.equal((await t.read(`/channels/${t.name("cache-void")}`, { info: "cache" })).cache, null);
  },
  { needs: ["cache channels"] },
);

const unavailable = [
  ["user-count-of-public", "user_count of a public channel", "plain", "user_count"],
  ["user-count-of-private", "user_count of a private channel", "private-plain", "user_count"],
  ["cache-of-public", "cache of a channel that has none", "plain", "cache"],
];
for (const [name, what, stem, info] of unavailable) {
  area.case(name, `${what} gets 400`, UNAVAILABLE, async (t) => {
    refused(await t.get(`/channels/${t.name(stem)}`, { info }), 400);
  });
}

area.case(
  "every-character",
  "a channel whose name has every allowed character can be queried",
  NODE_SERVER("the path of a GET holds the name as it is"),
  async (t) => {
    const channel = t.name("AZaz09_-=@,.;");
    await t.subscriber(channel);
    assert.equal((await t.read(`/channels/${channel}`)).occupied, true);
  },
);

area.case(
  "escaped-name",
  "a channel name may be percent-encoded in the path and in the signature",
  REST("The request path (e.g., `/some/resource`)"),
  async (t) => {
    const channel = t.name("a=b@c,d;e");
    await t.subscriber(channel);
    assert.equal((await t.read(`/channels/${encodeURIComponent(channel)}`)).occupied, true);
  },
);

// --- Users -------------------------------------------------------------------------------------------------

area.case("users", "each user of a presence channel is listed once", USERS, async (t) => {
  const channel = t.name("presence-users");
  for (const user of ["ann", "ann", "bob"]) await t.join(channel, user);
  const { users } = await t.read(`/channels/${channel}/users`);
  assert.deepEqual(users.map(({ id }) => id).sort(), ["ann", "bob"]);
});

area.case("users-are-text", "user ids are strings", REST('{ "users": [{ "id": "1" }, { "id": "2" }] }'), async (t) => {
  const channel = t.name("presence-numbers");
  await t.join(channel, { user_id: 7 });
  assert.deepEqual((await t.read(`/channels/${channel}/users`)).users, [{ id: "7" }]);
});

area.case("users-none", "a presence channel without members has no users", USERS, async (t) => {
  assert.deepEqual((await t.read(`/channels/${t.name("presence-void")}/users`)).users, []);
});

area.case("users-after-leaving", "a user who has left is no longer listed", USERS, async (t) => {
  const channel = t.name("presence-leaving");
  const ann = await t.join(channel, "ann");
  await t.join(channel, "bob");
  ann.close();
  await t.eventually(async () => assert.deepEqual((await t.read(`/channels/${channel}/users`)).users, [{ id: "bob" }]));
});

for (const stem of ["plain", "private-plain"]) {
  area.case(
    `users-of-${stem}`,
    `the users of a ${stem.startsWith("private") ? "private" : "public"} channel get 400`,
    PRESENCE_ONLY,
    async (t) => {
      refused(await t.get(`/channels/${t.name(stem)}/users`), 400);
    },
  );
}

// --- Where the documentation is silent ---------------------------------------------------------------------

area.silent(
  "unknown-info",
  "What does an unknown attribute get?",
  async (t) => `HTTP ${(await t.get(`/channels/${t.name("x")}`, { info: "shoe_size" })).status}`,
);
area.silent(
  "presence-subscription-count",
  "Has a presence channel a subscription_count, which one table excludes and an example shows?",
  async (t) => {
    const channel = t.name("presence-counted");
    await t.join(channel, "ann");
    const answer = await t.get(`/channels/${channel}`, { info: "subscription_count" });
    return `HTTP ${answer.status} ${answer.text.slice(0, 80)}`;
  },
);
area.silent("list-subscription-count", "Does the list of channels have subscription_count?", async (t) => {
  const channel = t.name("counted");
  await t.subscriber(channel);
  const answer = await t.get("/channels", { filter_by_prefix: channel, info: "subscription_count" });
  return `HTTP ${answer.status} ${answer.text.slice(0, 80)}`;
});
area.silent(
  "user-channels-listed",
  "Are channels of users (#server-to-user-…) listed?",
  async (t) => {
    const id = t.name("ann");
    const socket = await t.user({ id });
    await t.subscribe(socket, `#server-to-user-${id}`);
    const answer = await t.read("/channels");
    return `#server-to-user-${id}` in answer.channels ? "yes" : "no";
  },
  { needs: ["sign-in"] },
);
area.silent("with-user-info", "Does with_user_info=1 return the members' user_info?", async (t) => {
  const channel = t.name("presence-info");
  await t.join(channel, "ann");
  return (await t.get(`/channels/${channel}/users`, { with_user_info: "1" })).text.includes("Ann") ? "yes" : "no";
});
