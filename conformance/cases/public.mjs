// Public channels: subscribing, what is delivered, in which order, and names.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { AUTHORIZING, CHANNELS, JS_CHANNEL, NODE_SERVER, PRIVATE, PROTOCOL, PUBLIC, REST, client } from "../kit/sources.mjs";

export const area = new Area("public", "Channels: public");

const CONFIRMED = PROTOCOL("Added a confirmation message after subscribing to public and private channels");
const ALL = CHANNELS("all events published to a channel are sent to all subscribers");
const NAMES = CHANNELS("Channel names should only include lower and uppercase letters, numbers and the following punctuation");
const UNSUBSCRIBE = PROTOCOL(
  "The `pusher:unsubscribe` event is generated on the client and sent to Pusher Channels when a client wishes to unsubscribe from a channel.",
);

area.case("confirmed", "a subscription is confirmed", CONFIRMED, async (t) => {
  await t.subscriber(t.name("news"));
});

area.case(
  "confirmation-data",
  "the data of the confirmation is a string",
  PROTOCOL("tries to send the `data` field as a string"),
  async (t) => {
    const socket = await t.connect();
    const { raw } = await t.subscribe(socket, t.name("news"));
    assert.equal(typeof raw.data, "string");
  },
);

const shapes = [
  ["pusher-js", (channel) => ({ auth: "", channel }), JS_CHANNEL("a public channel is subscribed with an empty auth")],
  [
    "java",
    (channel) => ({ channel }),
    client("pusher/pusher-websocket-java SubscribeMessage.java")(
      "channels that need no authorization are subscribed by their name alone",
    ),
  ],
  ["nulls", (channel) => ({ channel, auth: null, channel_data: null }), PROTOCOL("data.auth (String) [optional]")],
];
for (const [name, data, source] of shapes) {
  area.case(`subscribe-${name}`, `a subscribe of the form ${JSON.stringify(data("news"))} succeeds`, source, async (t) => {
    const channel = t.name("news");
    const socket = await t.connect();
    socket.send("pusher:subscribe", data(channel));
    await socket.hears("pusher_internal:subscription_succeeded", channel);
  });
}

area.case("before-events", "no event of a channel precedes its confirmation", CONFIRMED, async (t) => {
  const channel = t.name("busy");
  const socket = await t.connect();
  const publishing = Promise.all([1, 2, 3, 4, 5].map((n) => t.publish(channel, `story-${n}`)));
  await t.subscribe(socket, channel);
  await publishing;
  await t.mark(channel, socket);
  assert.equal(socket.on(channel)[0], "pusher_internal:subscription_succeeded");
});

// --- Delivery ----------------------------------------------------------------------------------------------

area.case(
  "envelope",
  "an event has the keys event, channel and data, and data is a string",
  PROTOCOL('{ "event": String, "channel": String, "data": String, "user_id"?: String }'),
  async (t) => {
    const channel = t.name("news");
    const socket = await t.subscriber(channel);
    await t.publish(channel, "story", { n: 1 });
    const { raw } = await socket.hears("story", channel);
    assert.deepEqual(raw, { event: "story", channel, data: '{"n":1}' });
  },
);

area.case("all-subscribers", "an event reaches each subscriber once", ALL, async (t) => {
  const channel = t.name("shared");
  const sockets = await Promise.all([1, 2, 3, 4, 5].map(() => t.subscriber(channel)));
  await t.publishInOrder([channel, "story"], [channel, "marker"]);
  for (const socket of sockets) {
    await socket.hears("marker", channel);
    assert.deepEqual(socket.on(channel), ["pusher_internal:subscription_succeeded", "story", "marker"]);
  }
});

area.case("nobody-else", "an event reaches only subscribers", ALL, async (t) => {
  const [channel, elsewhere] = [t.name("here"), t.name("elsewhere")];
  const [stranger, bystander] = [await t.connect(), await t.subscriber(elsewhere)];
  await t.publish(channel, "story");
  await t.mark(elsewhere, bystander);
  await stranger.settle();
  assert.deepEqual([stranger.all("story"), bystander.all("story")], [[], []]);
});

area.case("names-are-exact", "channel names are compared as a whole and with their case", NAMES, async (t) => {
  const channel = t.name("exact");
  const [longer, upper] = [await t.subscriber(`${channel}-more`), await t.subscriber(channel.toUpperCase())];
  await t.publish(channel, "story");
  await t.mark(`${channel}-more`, longer);
  await t.mark(channel.toUpperCase(), upper);
  assert.deepEqual([longer.all("story"), upper.all("story")], [[], []]);
});

area.case(
  "other-app",
  "an event of another app's channel of the same name is not delivered",
  REST("Triggers an event on one or more channels."),
  async (t) => {
    const channel = t.name("same-name");
    const other = t.host.apps["other-app"];
    const [ours, theirs] = [await t.subscriber(channel), await t.connect({ app: other })];
    await t.subscribe(theirs, channel);
    const answer = await t.post("/events", { name: "theirs", channel, data: "{}" }, { app: other });
    assert.equal(answer.status, 200);
    await theirs.hears("theirs", channel);
    await t.mark(channel, ours);
    assert.equal(ours.all("theirs").length, 0);
  },
  { needs: ["other-app"] },
);

/** Publishes `count` numbered events, ten to a request. */
async function publishNumbered(t, channel, count) {
  for (let first = 0; first < count; first += 10) {
    await t.publishInOrder(...Array.from({ length: 10 }, (_, n) => [channel, "tick", String(first + n)]));
  }
}

const numbersOn = (socket) => socket.all("tick").map(({ data }) => data);

area.case(
  "complete",
  "each of a hundred events arrives once, and those of one request in order",
  REST("Triggers multiple events in a single call"),
  async (t) => {
    const channel = t.name("complete");
    const socket = await t.subscriber(channel);
    await publishNumbered(t, channel, 100);
    await socket.hears("tick", channel, 100);
    const numbers = numbersOn(socket);
    assert.deepEqual(
      numbers.toSorted((a, b) => a - b),
      Array.from({ length: 100 }, (_, n) => n),
    );
    for (let request = 0; request < 10; request += 1) {
      const own = numbers.filter((n) => Math.floor(n / 10) === request);
      assert.deepEqual(
        own,
        own.toSorted((a, b) => a - b),
      );
    }
  },
);

area.case(
  "many-channels",
  "a connection may have a hundred channels",
  CHANNELS("each client can choose which channels it subscribes to"),
  async (t) => {
    const channels = Array.from({ length: 100 }, (_, n) => t.name(`many-${n}`));
    const socket = await t.connect();
    for (const channel of channels) socket.send("pusher:subscribe", { channel });
    await socket.hears("pusher_internal:subscription_succeeded", undefined, channels.length);
    await t.publish(channels, "story");
    await socket.hears("story", undefined, channels.length);
  },
);

// --- Leaving -----------------------------------------------------------------------------------------------

area.case("left", "no events arrive after an unsubscribe", UNSUBSCRIBE, async (t) => {
  const [left, kept] = [t.name("left"), t.name("kept")];
  const socket = await t.subscriber(left, kept);
  socket.send("pusher:unsubscribe", { channel: left });
  await socket.settle();
  await t.publish([left, kept], "story");
  await socket.hears("story", kept);
  assert.equal(socket.all("story", left).length, 0);
});

area.case("left-others-stay", "other subscribers still get events after one unsubscribes", UNSUBSCRIBE, async (t) => {
  const channel = t.name("left");
  const [leaving, staying] = [await t.subscriber(channel), await t.subscriber(channel)];
  leaving.send("pusher:unsubscribe", { channel });
  await leaving.settle();
  await t.publish(channel, "story");
  await staying.hears("story", channel);
});

area.case(
  "again",
  "a channel can be subscribed again after an unsubscribe",
  PUBLIC("You can subscribe and unsubscribe from channels at any time."),
  async (t) => {
    const channel = t.name("again");
    const socket = await t.subscriber(channel);
    socket.send("pusher:unsubscribe", { channel });
    await t.subscribe(socket, channel);
    await t.publishInOrder([channel, "story"], [channel, "marker"]);
    await socket.hears("marker", channel);
    assert.equal(socket.all("story").length, 1);
  },
);

area.case(
  "left-at-once",
  "a subscribe, an unsubscribe and a subscribe at once end subscribed",
  PUBLIC("You can subscribe and unsubscribe from channels at any time."),
  async (t) => {
    const channel = t.name("hasty");
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel });
    socket.send("pusher:unsubscribe", { channel });
    socket.send("pusher:subscribe", { channel });
    await socket.hears("pusher_internal:subscription_succeeded", channel);
    await t.publish(channel, "story");
    await socket.hears("story", channel);
  },
);

// --- Names -------------------------------------------------------------------------------------------------

const good = [
  ["letters-and-digits", "abcXYZ019"],
  ["punctuation", "a_b-c=d@e,f.g;h"],
  ["first-punctuation", "=@,.;x"],
  ["private-inside", "my-private-x"],
  ["presence-inside", "my-presence-x"],
  ["privately", "privatelyx"],
  ["private-upper-case", "Private-x"],
];
for (const [name, stem] of good) {
  const source = /private|presence/i.test(stem) ? PRIVATE("Private channels must be prefixed with `private-`.") : NAMES;
  area.case(`name-${name}`, `${stem} is the name of a public channel`, source, async (t) => {
    const channel = t.name(stem);
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel });
    await socket.hears("pusher_internal:subscription_succeeded", channel);
    await t.publish(channel, "story");
    await socket.hears("story", channel);
  });
}

area.case(
  "name-164",
  "a name may have 164 characters",
  CHANNELS("Channel names may contain a maximum of 164 characters."),
  async (t) => {
    await t.subscriber(t.name("long").padEnd(164, "x"));
  },
);

const bad = [
  ["space", "no spaces"],
  ["slash", "no/slash"],
  ["colon", "no:colon"],
  ["dollar", "no$dollar"],
  ["unicode", "café"],
  ["line-break", "no\nline"],
  ["hash", "#mine"],
];
for (const [name, stem] of bad) {
  const source = name === "hash" ? CHANNELS("`#` is a reserved character for internal use by Pusher Channels.") : NAMES;
  area.case(`bad-name-${name}`, `${JSON.stringify(stem)} is not a valid channel name`, source, async (t) => {
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel: stem, auth: "" });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded").length, 0);
  });
}

area.case(
  "bad-name-201",
  "a name of 201 characters is refused",
  NODE_SERVER("Channel name too long: more than 200 characters"),
  async (t) => {
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel: "x".repeat(201) });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded").length, 0);
  },
);

area.case(
  "no-auth-needed",
  "a public channel needs no authorization, whatever auth says",
  AUTHORIZING("Pusher Channels will only allow a connection to subscribe to a"),
  async (t) => {
    const channel = t.name("open");
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel, auth: "nonsense" });
    await socket.hears("pusher_internal:subscription_succeeded", channel);
  },
);

area.silent("order", "Do events of successive requests arrive in order?", async (t) => {
  const channel = t.name("order");
  const socket = await t.subscriber(channel);
  await publishNumbered(t, channel, 100);
  await socket.hears("tick", channel, 100);
  const numbers = numbersOn(socket);
  return numbers.every((n, index) => n === index) ? "yes" : "not all of them";
});
area.silent("bad-name-answer", "What does a name with a space get?", async (t) => {
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel: "no spaces" });
  await socket.settle();
  return (
    socket.frames
      .slice(1)
      .map(({ text }) => text)
      .filter((text) => !text.includes("pusher:pong"))
      .join(" ") || "silence"
  );
});
area.silent("name-200", "May a name have 200 characters, where the documentation says 164 and the libraries 200?", async (t) => {
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel: t.name("long").padEnd(200, "x") });
  await socket.settle();
  return socket.all("pusher_internal:subscription_succeeded").length ? "yes" : "no";
});
