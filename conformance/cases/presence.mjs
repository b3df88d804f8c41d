// Presence channels: the member list and its changes.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { AUTHORIZING, CHANNELS, JS_MEMBERS, PRESENCE, PROTOCOL, SIGNATURES } from "../kit/sources.mjs";
import { channelAuth } from "../kit/signing.mjs";

export const area = new Area("presence", "Channels: presence");

const ADDED = "pusher_internal:member_added";
const REMOVED = "pusher_internal:member_removed";

const HASH = PROTOCOL('{ "presence": { "ids": Array, "hash": Hash, "count": Integer } }');
const UNIQUE = PROTOCOL("An array of unique user identifiers who are subscribe to the channel.");
const FIRST_TAB = PRESENCE("in this case the events will only be triggered when the first tab is opened");
const LAST_TAB = PRESENCE("in this case the events will only be triggered when the last one is closed");
const TRIGGERED = PROTOCOL(
  "When a user subscribes to a presence channel the `pusher_internal:member_added` is triggered on the channel.",
);
const LEAVING = PROTOCOL(
  "When a user unsubscribes from a presence channel by either actually unsubscribing or their WebSocket connection closing",
);
const LIMITS = PRESENCE("100 members maximum, 1KB limit for user object, and maximum 128 characters for user id");

const rosterOf = ({ data }) => data.presence;
const changes = (socket, channel) => socket.on(channel).filter((event) => event.startsWith("pusher_internal:member_"));
const join = async (t, channel, member) => {
  const socket = await t.connect();
  return { socket, roster: rosterOf(await t.subscribe(socket, channel, { member })) };
};

// --- The list ----------------------------------------------------------------------------------------------

area.case("self", "a member finds itself in the list", HASH, async (t) => {
  const { roster } = await join(t, t.name("presence-self"), "ann");
  assert.deepEqual(roster, { ids: ["ann"], hash: { ann: { name: "Ann" } }, count: 1 });
});

area.case(
  "data-is-text",
  "the member list is a string that contains JSON",
  PROTOCOL("Where the `data` field is a JSON-encoded hash of following format"),
  async (t) => {
    const socket = await t.connect();
    const { raw } = await t.subscribe(socket, t.name("presence-text"), { member: "ann" });
    assert.equal(typeof raw.data, "string");
  },
);

area.case("others", "a member finds those who joined before", HASH, async (t) => {
  const channel = t.name("presence-others");
  await join(t, channel, "ann");
  const { roster } = await join(t, channel, "bob");
  assert.deepEqual([roster.ids.toSorted(), roster.count], [["ann", "bob"], 2]);
  assert.deepEqual(roster.hash, { ann: { name: "Ann" }, bob: { name: "Bob" } });
});

area.case("unique", "two connections of one user are one entry in the list", UNIQUE, async (t) => {
  const channel = t.name("presence-unique");
  await join(t, channel, "ann");
  const { roster } = await join(t, channel, "ann");
  assert.deepEqual([roster.ids, roster.count], [["ann"], 1]);
});

area.case("ids-in-hash", "the hash has every id of the list", JS_MEMBERS("the members are read from hash alone"), async (t) => {
  const channel = t.name("presence-bare");
  await join(t, channel, { user_id: "bare" });
  const { roster } = await join(t, channel, "ann");
  assert.deepEqual(Object.keys(roster.hash).sort(), ["ann", "bare"]);
});

area.case("after-leaving", "a user who has left is not in the list", HASH, async (t) => {
  const channel = t.name("presence-left");
  const [ann, bob] = [await t.join(channel, "ann"), await t.join(channel, "bob")];
  ann.close();
  await bob.hears(REMOVED, channel);
  const { roster } = await join(t, channel, "cid");
  assert.deepEqual(roster.ids.toSorted(), ["bob", "cid"]);
});

const infos = [
  ["object", { name: 'Zoë \\ " 山', nested: { a: [1, null] } }],
  ["text", "words"],
  ["array", [1, 2]],
  ["number", 7],
  ["true", true],
];
for (const [name, info] of infos) {
  area.case(
    `info-${name}`,
    `user_info may be ${JSON.stringify(info)}`,
    PRESENCE("An object that can have any number of properties on it."),
    async (t) => {
      const channel = t.name("presence-info");
      const watcher = await t.join(channel, "watcher");
      const { roster } = await join(t, channel, { user_id: "zoe", user_info: info });
      assert.deepEqual(roster.hash.zoe, info);
      assert.deepEqual((await watcher.hears(ADDED, channel)).data.user_info, info);
    },
  );
}

const ids = [
  ["number", 7, "7", PRESENCE("If you use a numeric user id, remember that the maximum size integer")],
  [
    "large-number",
    9007199254740991,
    "9007199254740991",
    PRESENCE("the maximum size integer that is representable in JavaScript is 2^53"),
  ],
  ["unicode", "zoë 👩‍🚀", "zoë 👩‍🚀", PROTOCOL("The ID of a user who has just subscribed to the presence channel.")],
  ["email", "a.b+c@d.example", "a.b+c@d.example", PROTOCOL("The ID of a user who has just subscribed to the presence channel.")],
  ["longest", "u".repeat(128), "u".repeat(128), LIMITS],
];
for (const [name, id, text, source] of ids) {
  area.case(
    `id-${name}`,
    `an id may ${text.length > 50 ? `have ${text.length} characters` : `be ${JSON.stringify(id)}`}, and is sent as a string`,
    source,
    async (t) => {
      const channel = t.name("presence-ids");
      const watcher = await t.join(channel, "watcher");
      const { roster } = await join(t, channel, { user_id: id });
      assert.ok(roster.ids.includes(text), JSON.stringify(roster.ids));
      assert.equal((await watcher.hears(ADDED, channel)).data.user_id, text);
    },
  );
}

// --- Coming and going --------------------------------------------------------------------------------------

area.case("added", "a new member is announced to those present", TRIGGERED, async (t) => {
  const channel = t.name("presence-added");
  const ann = await t.join(channel, "ann");
  await t.join(channel, "bob");
  assert.deepEqual((await ann.hears(ADDED, channel)).data, { user_id: "bob", user_info: { name: "Bob" } });
});

area.case("added-is-text", "the data of a change is a string", TRIGGERED, async (t) => {
  const channel = t.name("presence-added");
  const ann = await t.join(channel, "ann");
  await t.join(channel, "bob");
  assert.equal(typeof (await ann.hears(ADDED, channel)).raw.data, "string");
});

area.case("added-not-self", "a new member is not announced to itself", TRIGGERED, async (t) => {
  const channel = t.name("presence-added");
  const ann = await t.join(channel, "ann");
  await t.mark(channel, ann);
  assert.deepEqual(changes(ann, channel), []);
});

area.case("second-connection", "a second connection of a user is not announced", FIRST_TAB, async (t) => {
  const channel = t.name("presence-tabs");
  const [bob, first] = [await t.join(channel, "bob"), await t.join(channel, "ann")];
  await t.join(channel, "ann");
  await t.mark(channel, bob, first);
  assert.deepEqual(changes(bob, channel), [ADDED]);
  assert.deepEqual(changes(first, channel), []);
});

const leavings = [
  ["unsubscribe", "unsubscribes", (socket, channel) => socket.send("pusher:unsubscribe", { channel })],
  ["close", "closes", (socket) => socket.close(1000)],
  ["lost", "is lost", (socket) => socket.terminate()],
];
for (const [name, what, leave] of leavings) {
  area.case(`removed-by-${name}`, `a member whose connection ${what} is announced as removed`, LEAVING, async (t) => {
    const channel = t.name("presence-left");
    const [ann, bob] = [await t.join(channel, "ann"), await t.join(channel, "bob")];
    leave(bob, channel);
    assert.deepEqual((await ann.hears(REMOVED, channel)).data, { user_id: "bob" });
    await t.mark(channel, ann);
    assert.deepEqual(changes(ann, channel), [ADDED, REMOVED]);
  });
}

area.case("removed-not-self", "a member who unsubscribes gets no announcement of it", LEAVING, async (t) => {
  const channel = t.name("presence-left");
  const [ann, bob] = [await t.join(channel, "ann"), await t.join(channel, "bob")];
  bob.send("pusher:unsubscribe", { channel });
  await ann.hears(REMOVED, channel);
  await bob.settle();
  assert.deepEqual(changes(bob, channel), []);
});

area.case("one-of-two", "the loss of one of a user's two connections is not announced", LAST_TAB, async (t) => {
  const channel = t.name("presence-tabs");
  const [bob, first] = [await t.join(channel, "bob"), await t.join(channel, "ann")];
  await t.join(channel, "ann");
  first.send("pusher:unsubscribe", { channel });
  await first.settle();
  await t.mark(channel, bob);
  assert.deepEqual(changes(bob, channel), [ADDED]);
});

area.case("last-of-two", "a member is removed when the last connection closes", LAST_TAB, async (t) => {
  const channel = t.name("presence-tabs");
  const bob = await t.join(channel, "bob");
  const tabs = [await t.join(channel, "ann"), await t.join(channel, "ann")];
  for (const tab of tabs) tab.close();
  await bob.hears(REMOVED, channel);
  await t.mark(channel, bob);
  assert.deepEqual(changes(bob, channel), [ADDED, REMOVED]);
});

area.case("return", "a member who returns is announced again", TRIGGERED, async (t) => {
  const channel = t.name("presence-return");
  const [ann, bob] = [await t.join(channel, "ann"), await t.join(channel, "bob")];
  bob.send("pusher:unsubscribe", { channel });
  await ann.hears(REMOVED, channel);
  await t.subscribe(bob, channel, { member: "bob" });
  await ann.hears(ADDED, channel, 2);
});

area.case("many-add-up", "when ten users join and leave at once, each change is announced once", TRIGGERED, async (t) => {
  const channel = t.name("presence-many");
  const ann = await t.join(channel, "ann");
  const guests = await Promise.all(Array.from({ length: 10 }, (_, n) => t.join(channel, `guest${n}`)));
  await ann.hears(ADDED, channel, guests.length);
  for (const guest of guests) guest.close();
  await ann.hears(REMOVED, channel, guests.length);
  await t.mark(channel, ann);
  assert.equal(changes(ann, channel).length, 2 * guests.length);
});

area.case("list-and-changes", "the list and later changes are consistent while others join", HASH, async (t) => {
  const channel = t.name("presence-busy");
  const coming = Promise.all(Array.from({ length: 10 }, (_, n) => t.join(channel, `guest${n}`)));
  const { socket, roster } = await join(t, channel, "ann");
  await coming;
  const known = () => new Set([...roster.ids, ...socket.all(ADDED, channel).map(({ data }) => data.user_id)]);
  await socket.until(() => (known().size === 11 ? true : undefined), "eleven members");
  assert.equal(roster.ids.length + socket.all(ADDED, channel).length, 11, "a member was announced twice");
});

area.case("events", "a member gets the channel's events", CHANNELS("are an extension of private channels"), async (t) => {
  const channel = t.name("presence-events");
  const ann = await t.join(channel, "ann");
  await t.publish(channel, "story", { n: 1 });
  assert.deepEqual((await ann.hears("story", channel)).raw, { event: "story", channel, data: '{"n":1}' });
});

// --- What is refused ---------------------------------------------------------------------------------------

const refusals = [
  [
    "no-channel-data",
    "without channel_data and without a sign-in",
    undefined,
    AUTHORIZING("the JSON response must also have a `channel_data` property"),
  ],
  ["no-user-id", "without user_id", "{}", PROTOCOL("The ID of a user who has just subscribed")],
  ["no-json", "whose channel_data is no JSON", "ann", PROTOCOL("should be encoded as a string and assigned to this property")],
  ["array", "whose channel_data is an array", "[]", PROTOCOL("should be encoded as a string and assigned to this property")],
  ["empty-id", "with an empty user_id", '{"user_id":""}', PROTOCOL("The ID of a user who has just subscribed")],
  ["null-id", "with a user_id of null", '{"user_id":null}', PROTOCOL("The ID of a user who has just subscribed")],
  ["object-id", "with a user_id that is an object", '{"user_id":{}}', PROTOCOL("The ID of a user who has just subscribed")],
  ["long-id", "with a user_id of 129 characters", JSON.stringify({ user_id: "u".repeat(129) }), LIMITS],
  ["large-info", "with a user object of 2 KB", JSON.stringify({ user_id: "ann", user_info: "x".repeat(2048) }), LIMITS],
];
for (const [name, what, channelData, source] of refusals) {
  area.case(`refused-${name}`, `a member ${what} is refused`, source, async (t) => {
    const channel = t.name("presence-shut");
    const socket = await t.connect();
    socket.send("pusher:subscribe", t.subscription(socket, channel, { channelData }));
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  });
}

area.case(
  "refused-forged",
  "another secret's signature is refused",
  SIGNATURES("generated by signing a string with your Channels secret"),
  async (t) => {
    const channel = t.name("presence-shut");
    const socket = await t.connect();
    const channelData = '{"user_id":"eve"}';
    const auth = channelAuth({ ...t.app, secret: "not-the-secret" }, socket.socketId, channel, channelData);
    socket.send("pusher:subscribe", { channel, auth, channel_data: channelData });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  },
);

area.case(
  "refused-other-data",
  "channel_data that was changed after the signature is refused",
  SIGNATURES("must contain the exact same JSON-encoded string"),
  async (t) => {
    const channel = t.name("presence-shut");
    const socket = await t.connect();
    const auth = channelAuth(t.app, socket.socketId, channel, '{"user_id":"eve"}');
    socket.send("pusher:subscribe", { channel, auth, channel_data: '{"user_id":"ann"}' });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  },
);

area.case("refused-not-announced", "a refused member is not announced", TRIGGERED, async (t) => {
  const channel = t.name("presence-shut");
  const ann = await t.join(channel, "ann");
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel, auth: "x:y", channel_data: '{"user_id":"eve"}' });
  await socket.settle();
  await t.mark(channel, ann);
  assert.deepEqual(changes(ann, channel), []);
});

// --- With a sign-in ----------------------------------------------------------------------------------------

const OPTIONAL = AUTHORIZING(
  "providing the user object in presence channel authorization is optional, if the user is already signed-in",
);

area.case(
  "signed-in",
  "a signed-in user needs no channel_data",
  OPTIONAL,
  async (t) => {
    const channel = t.name("presence-users");
    const id = t.name("ann");
    const socket = await t.user({ id, user_info: { name: "Ann" } });
    const roster = rosterOf(await t.subscribe(socket, channel));
    assert.deepEqual(roster.hash, { [id]: { name: "Ann" } });
  },
  { needs: ["sign-in"] },
);

area.case(
  "signed-in-overridden",
  "channel_data overrides the signed-in user",
  PRESENCE("which will override the user object coming from User Authentication"),
  async (t) => {
    const channel = t.name("presence-users");
    const socket = await t.user({ id: t.name("ann") });
    const roster = rosterOf(await t.subscribe(socket, channel, { member: "other" }));
    assert.deepEqual(roster.ids, ["other"]);
  },
  { needs: ["sign-in"] },
);

area.case(
  "hundred",
  "a channel may have a hundred members",
  LIMITS,
  async (t) => {
    const channel = t.name("presence-hundred");
    const sockets = await t.connectMany(100);
    await Promise.all(sockets.map((socket, n) => t.subscribe(socket, channel, { member: { user_id: `u${n}` } })));
    assert.equal((await t.read(`/channels/${channel}`, { info: "user_count" })).user_count, 100);
  },
  { seconds: 10 },
);

area.case(
  "hundred-and-one",
  "the hundred-and-first member is refused",
  LIMITS,
  async (t) => {
    const channel = t.name("presence-full");
    const sockets = await t.connectMany(101);
    const last = sockets.pop();
    await Promise.all(sockets.map((socket, n) => t.subscribe(socket, channel, { member: { user_id: `u${n}` } })));
    last.send("pusher:subscribe", t.subscription(last, channel, { member: { user_id: "one-more" } }));
    await last.settle();
    assert.equal(last.all("pusher_internal:subscription_succeeded", channel).length, 0);
  },
  { seconds: 10 },
);

// --- Where the documentation is silent ---------------------------------------------------------------------

area.silent("no-info", "How is a member without user_info listed?", async (t) => {
  const { roster } = await join(t, t.name("presence-bare"), { user_id: "bare" });
  return JSON.stringify(roster.hash);
});
area.silent("other-info", "Whose user_info counts when a user's second connection has another?", async (t) => {
  const channel = t.name("presence-two");
  await join(t, channel, { user_id: "ann", user_info: "first" });
  const { roster } = await join(t, channel, { user_id: "ann", user_info: "second" });
  return roster.hash.ann === "first" ? "the first" : "the second";
});
area.silent(
  "full-second-connection",
  "May a member of a full channel have a second connection?",
  async (t) => {
    const channel = t.name("presence-full");
    const sockets = await t.connectMany(101);
    const last = sockets.pop();
    await Promise.all(sockets.map((socket, n) => t.subscribe(socket, channel, { member: { user_id: `u${n}` } })));
    last.send("pusher:subscribe", t.subscription(last, channel, { member: { user_id: "u0" } }));
    await last.settle();
    return last.all("pusher_internal:subscription_succeeded", channel).length ? "yes" : "no";
  },
  { seconds: 10 },
);
