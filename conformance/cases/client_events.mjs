// Client events: from one subscriber straight to the others.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { EVENTS, JS_PROTOCOL, PROTOCOL, client } from "../kit/sources.mjs";

export const area = new Area("client-events", "Client events", { needs: ["client events"] });

const NOT_SENDER = EVENTS("Client events are not delivered to the originator of the event.");
const SUBSCRIBED = EVENTS("The user must be subscribed to the channel that the event is being triggered on");
const ONLY = EVENTS("Client events can only be triggered on");
const PREFIX = EVENTS("Events with any other prefix will be rejected by the Channels server");
const USER_ID = PROTOCOL("The `user_id` key is only present if this is a client event on a");
const ANY = PROTOCOL("although it is possible to send any type of payload, for example a simple string");
const DATA_TEXT = PROTOCOL('{ "event": String, "channel": String, "data": String, "user_id"?: String }');
const RATE = EVENTS(
  "Publish no more than 10 messages per second per client (connection). Any events triggered above this rate limit will be rejected by our API.",
);
const PER_SECOND = 10;

/** Subscribers of one channel: `ann` sends. */
async function pair(t, stem) {
  const channel = t.name(stem);
  const enter = (user) => (channel.startsWith("presence-") ? t.join(channel, user) : t.subscriber(channel));
  return { channel, ann: await enter("ann"), bob: await enter("bob") };
}

for (const stem of ["private-whisper", "presence-whisper"]) {
  area.case(
    `${stem.split("-")[0]}-reaches`,
    `an event on a ${stem.split("-")[0]} channel reaches the others`,
    ONLY,
    async (t) => {
      const { channel, ann, bob } = await pair(t, stem);
      ann.send("client-typing", { on: true }, channel);
      assert.deepEqual((await bob.hears("client-typing", channel)).data, { on: true });
    },
  );

  area.case(
    `${stem.split("-")[0]}-not-sender`,
    `an event on a ${stem.split("-")[0]} channel does not come back to its sender`,
    NOT_SENDER,
    async (t) => {
      const { channel, ann, bob } = await pair(t, stem);
      ann.send("client-typing", {}, channel);
      await bob.hears("client-typing", channel);
      await t.mark(channel, ann);
      assert.equal(ann.all("client-typing").length, 0);
    },
  );
}

area.case("no-user-id", "an event on a private channel has no user_id", USER_ID, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-anonymous");
  ann.send("client-typing", {}, channel);
  assert.deepEqual(Object.keys((await bob.hears("client-typing", channel)).raw).sort(), ["channel", "data", "event"]);
});

area.case("user-id", "an event on a presence channel has the sender's user_id", USER_ID, async (t) => {
  const { channel, ann, bob } = await pair(t, "presence-signed");
  ann.send("client-typing", {}, channel);
  assert.equal((await bob.hears("client-typing", channel)).raw.user_id, "ann");
});

area.case("user-id-number", "the user_id of a member with a numeric id is a string", USER_ID, async (t) => {
  const channel = t.name("presence-number");
  const [seven, bob] = [await t.join(channel, { user_id: 7 }), await t.join(channel, "bob")];
  seven.send("client-typing", {}, channel);
  assert.equal((await bob.hears("client-typing", channel)).raw.user_id, "7");
});

area.case(
  "user-id-forged",
  "a user_id that the sender writes is not relayed on a presence channel",
  EVENTS("You should trust the `user_id` from the `metadata` object"),
  async (t) => {
    const { channel, ann, bob } = await pair(t, "presence-forged");
    ann.sendText(JSON.stringify({ event: "client-typing", channel, data: {}, user_id: "eve" }));
    assert.equal((await bob.hears("client-typing", channel)).raw.user_id, "ann");
  },
);

area.case(
  "user-id-forged-private",
  "a user_id that the sender writes is not relayed on a private channel",
  USER_ID,
  async (t) => {
    const { channel, ann, bob } = await pair(t, "private-forged");
    ann.sendText(JSON.stringify({ event: "client-typing", channel, data: {}, user_id: "eve" }));
    assert.equal((await bob.hears("client-typing", channel)).raw.user_id, undefined);
  },
);

area.case("extra-keys", "other keys of the message are not relayed", DATA_TEXT, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-extra");
  ann.sendText(JSON.stringify({ event: "client-typing", channel, data: {}, colour: "blue", socket_id: "1.1" }));
  assert.deepEqual(Object.keys((await bob.hears("client-typing", channel)).raw).sort(), ["channel", "data", "event"]);
});

const kinds = [
  ["object", { a: [1] }],
  ["array", [1, 2]],
  ["number", 7],
  ["true", true],
  ["text", "words 👩‍🚀"],
  ["empty-text", ""],
];
for (const [name, data] of kinds) {
  area.case(`data-${name}`, `data of ${JSON.stringify(data)} arrives unchanged`, ANY, async (t) => {
    const { channel, ann, bob } = await pair(t, "private-kinds");
    ann.send("client-kind", data, channel);
    assert.deepEqual((await bob.hears("client-kind", channel)).data, data);
  });
}

area.case("data-is-text", "data is relayed as a string, which native clients expect", DATA_TEXT, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-text");
  ann.send("client-kind", { a: 1 }, channel);
  assert.equal((await bob.hears("client-kind", channel)).raw.data, '{"a":1}');
});

area.case(
  "data-text-as-is",
  "data that is a string is relayed unchanged",
  JS_PROTOCOL("data that is text is parsed once"),
  async (t) => {
    const { channel, ann, bob } = await pair(t, "private-text");
    ann.send("client-kind", '{"a" : 1}', channel);
    assert.equal((await bob.hears("client-kind", channel)).raw.data, '{"a" : 1}');
  },
);

for (const [name, text] of [
  ["none", "{}"],
  ["null", '{"data":null}'],
]) {
  area.case(
    `data-${name}`,
    `an event ${name === "none" ? "without data" : "with data of null"} is relayed with the key data`,
    client("pusher/pusher-websocket-java PusherEvent.java")("getData() reads the key data"),
    async (t) => {
      const { channel, ann, bob } = await pair(t, "private-none");
      ann.sendText(JSON.stringify({ event: "client-kind", channel, ...JSON.parse(text) }));
      const { raw } = await bob.hears("client-kind", channel);
      assert.ok("data" in raw, JSON.stringify(raw));
      assert.notEqual(raw.data, "null");
    },
  );
}

area.case(
  "order",
  "one sender's events arrive in order",
  EVENTS("They can go directly via the socket to all the other clients connected to the channel."),
  async (t) => {
    const { channel, ann, bob } = await pair(t, "private-order");
    for (let n = 0; n < 8; n += 1) ann.send("client-tick", n, channel);
    await bob.hears("client-tick", channel, 8);
    assert.deepEqual(
      bob.all("client-tick").map(({ data }) => data),
      [0, 1, 2, 3, 4, 5, 6, 7],
    );
  },
);

area.case(
  "many-receivers",
  "an event reaches each of many subscribers once",
  EVENTS("They can go directly via the socket to all the other clients connected to the channel."),
  async (t) => {
    const channel = t.name("private-many");
    const [ann, ...others] = await Promise.all(Array.from({ length: 10 }, () => t.subscriber(channel)));
    ann.send("client-typing", {}, channel);
    await Promise.all(others.map((socket) => socket.hears("client-typing", channel)));
    await t.mark(channel, ...others);
    for (const socket of others) assert.equal(socket.all("client-typing").length, 1);
  },
);

area.case(
  "ten-kilobytes",
  "data may have 10,000 bytes",
  PROTOCOL("It is strongly recommended that this be a hash of key/value pairs"),
  async (t) => {
    const { channel, ann, bob } = await pair(t, "private-large");
    ann.send("client-large", "x".repeat(10_000), channel);
    assert.equal((await bob.hears("client-large", channel)).data.length, 10_000);
  },
);

// --- What is refused ---------------------------------------------------------------------------------------

area.case("public", "an event on a public channel is not relayed", ONLY, async (t) => {
  const channel = t.name("public-whisper");
  const [ann, bob] = [await t.subscriber(channel), await t.subscriber(channel)];
  ann.send("client-typing", {}, channel);
  await ann.settle();
  await t.mark(channel, bob);
  assert.equal(bob.all("client-typing").length, 0);
});

area.case("not-subscribed", "an event from a connection that is not subscribed is not relayed", SUBSCRIBED, async (t) => {
  const channel = t.name("private-outsider");
  const [stranger, bob] = [await t.connect(), await t.subscriber(channel)];
  stranger.send("client-typing", {}, channel);
  await stranger.settle();
  await t.mark(channel, bob);
  assert.equal(bob.all("client-typing").length, 0);
});

area.case("unsubscribed", "an event from a connection that has unsubscribed is not relayed", SUBSCRIBED, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-left");
  ann.send("pusher:unsubscribe", { channel });
  ann.send("client-typing", {}, channel);
  await ann.settle();
  await t.mark(channel, bob);
  assert.equal(bob.all("client-typing").length, 0);
});

for (const event of ["typing", "Client-typing", "client", "clienttyping", "pusher:typing", ""]) {
  area.case(
    `prefix-${event.replace(":", "-") || "empty"}`,
    `an event ${event ? `called ${event}` : "with an empty name"} is not relayed`,
    PREFIX,
    async (t) => {
      const { channel, ann, bob } = await pair(t, "private-prefix");
      ann.send(event, {}, channel);
      await ann.settle();
      await t.mark(channel, bob);
      assert.equal(bob.on(channel).length, 2, `received ${bob.on(channel)}`);
    },
  );
}

area.case(
  "refused-error",
  "the sender of a refused event gets pusher:error",
  EVENTS(
    "Events with any other prefix will be rejected by the Channels server, as will events sent to channels to which the client is not subscribed.",
  ),
  async (t) => {
    const stranger = await t.connect();
    stranger.send("client-typing", {}, t.name("private-outsider"));
    assert.equal(typeof (await stranger.hears("pusher:error")).data.message, "string");
  },
);

area.case(
  "refused-stays",
  "a refused event does not end the connection",
  EVENTS("will be rejected by the Channels server"),
  async (t) => {
    const stranger = await t.connect();
    stranger.send("client-typing", {}, t.name("private-outsider"));
    await stranger.settle();
  },
);

// --- The rate limit ----------------------------------------------------------------------------------------

area.case("rate-ten", "ten events in a second are relayed", RATE, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-ten");
  for (let n = 0; n < PER_SECOND; n += 1) ann.send("client-tick", n, channel);
  await bob.hears("client-tick", channel, PER_SECOND);
});

area.case(
  "rate-limit",
  "events above the limit are rejected with 4301",
  PROTOCOL("`4301`: Client event rejected due to rate limit"),
  async (t) => {
    const { channel, ann, bob } = await pair(t, "private-flood");
    for (let n = 0; n < 5 * PER_SECOND; n += 1) ann.send("client-tick", n, channel);
    await ann.until(() => ann.errors.find(({ code }) => code === 4301), "error 4301");
    await ann.settle();
    await t.mark(channel, bob);
    const relayed = bob.all("client-tick").length;
    assert.ok(relayed >= PER_SECOND && relayed < 3 * PER_SECOND, `${relayed} of 50 were relayed`);
  },
);

area.case("rate-stays", "a sender above the limit stays connected", PROTOCOL("Any other type of error."), async (t) => {
  const { channel, ann } = await pair(t, "private-flood");
  for (let n = 0; n < 5 * PER_SECOND; n += 1) ann.send("client-tick", n, channel);
  await ann.settle();
});

area.case("rate-per-connection", "the limit counts per connection", RATE, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-flood");
  for (let n = 0; n < 5 * PER_SECOND; n += 1) ann.send("client-tick", n, channel);
  await ann.settle();
  bob.send("client-calm", {}, channel);
  await ann.hears("client-calm", channel);
});

area.case("rate-recovers", "a sender may send again a second later", RATE, async (t) => {
  const { channel, ann, bob } = await pair(t, "private-recovers");
  for (let n = 0; n < 2 * PER_SECOND; n += 1) ann.send("client-tick", n, channel);
  await ann.settle();
  await t.pause(1_500);
  ann.send("client-later", {}, channel);
  await bob.hears("client-later", channel);
});

area.silent("refusal-code", "Which error does an event from a connection that is not subscribed get?", async (t) => {
  const stranger = await t.connect();
  stranger.send("client-typing", {}, t.name("private-outsider"));
  await stranger.settle();
  return stranger.errors.length
    ? JSON.stringify(stranger.errors[0]).replace(/private-outsider-\w+/g, "CHANNEL")
    : "there is none";
});
area.silent("large", "What does an event with 20 KB of data get?", async (t) => {
  const { channel, ann, bob } = await pair(t, "private-large");
  ann.send("client-large", "x".repeat(20_480), channel);
  ann.send("pusher:ping", {});
  await ann.until(() => ann.all("pusher:pong")[0] ?? ann.ended, "answer");
  if (ann.ended) return `closed with ${ann.ended.code}`;
  await t.mark(channel, bob);
  return bob.all("client-large").length ? "it is relayed" : ann.errors.length ? `pusher:error ${ann.errors[0].code}` : "silence";
});
area.silent("long-name", "What does an event whose name has 201 characters get?", async (t) => {
  const { channel, ann, bob } = await pair(t, "private-name");
  ann.send("client-".padEnd(201, "x"), {}, channel);
  await ann.settle();
  await t.mark(channel, bob);
  return bob.on(channel).length > 2 ? "it is relayed" : ann.errors.length ? `pusher:error ${ann.errors[0].code}` : "silence";
});
