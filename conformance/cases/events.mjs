// POST /events: what is published, and what is refused.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { ENCRYPTED, EVENTS, EXCLUDING, HTTP_API, NODE_SERVER, PROTOCOL, REST, client } from "../kit/sources.mjs";
import { refused, succeeded } from "../kit/trial.mjs";

export const area = new Area("events", "HTTP API: events");

const EMPTY = REST("Response is an empty JSON hash.");
const TEN_KB = REST("If you attempt to POST an event with a larger data parameter, you will receive a 413 error code");
const BAD = REST("Error: details in response body");
const SIZE_MAX = 10_240;

area.case("empty-answer", "an event is answered with an empty JSON hash", EMPTY, async (t) => {
  assert.deepEqual(await t.publish(t.name("news"), "story"), {});
});

area.case(
  "json-answer",
  "the answer is declared as JSON",
  REST("The body will contain a JSON hash of response data"),
  async (t) => {
    const answer = await t.post("/events", { name: "story", channel: t.name("news"), data: "{}" });
    assert.match(String(answer.headers["content-type"]), /^application\/json/);
  },
);

area.case("nobody-there", "an event for a channel without subscribers succeeds", EMPTY, async (t) => {
  succeeded(await t.post("/events", { name: "story", channels: [t.name("empty")], data: "{}" }));
});

area.case(
  "one-channel",
  "the channel parameter names one channel",
  REST("Channel name if publishing to a single channel (can be used instead of channels)"),
  async (t) => {
    const channel = t.name("single");
    const socket = await t.subscriber(channel);
    await t.publish(channel, "story", { n: 1 });
    assert.deepEqual((await socket.hears("story", channel)).data, { n: 1 });
  },
);

area.case(
  "many-channels",
  "the channels parameter names several channels, and each gets the event",
  REST("Array of one or more channel names"),
  async (t) => {
    const channels = [t.name("a"), t.name("b"), t.name("c")];
    const socket = await t.subscriber(...channels);
    await t.publish(channels, "story");
    for (const channel of channels) await socket.hears("story", channel);
  },
);

area.case("hundred-channels", "an event may go to 100 channels", REST("limited to 100 channels"), async (t) => {
  const stem = t.name("hundred");
  const channels = Array.from({ length: 100 }, (_, index) => `${stem}-${index}`);
  const socket = await t.subscriber(channels[0], channels[99]);
  await t.publish(channels, "story");
  await Promise.all([socket.hears("story", channels[0]), socket.hears("story", channels[99])]);
});

area.case(
  "body-of-query",
  "the parameters may be in the query",
  REST("parameters MAY be submitted in the query string"),
  async (t) => {
    const channels = [t.name("query-a"), t.name("query-b")];
    const socket = await t.subscriber(...channels);
    const params = [["name", "story"], ["data", '{"n":1}'], ...channels.map((channel) => ["channels[]", channel])];
    succeeded(await t.ask("POST", "/events", { params }));
    for (const channel of channels) assert.deepEqual((await socket.hears("story", channel)).data, { n: 1 });
  },
);

area.case(
  "data-is-text",
  "JSON data arrives as the exact string that was sent",
  client("pusher/pusher-websocket-java PusherEvent.java")("getData() returns the data as a string"),
  async (t) => {
    const channel = t.name("text");
    const socket = await t.subscriber(channel);
    const data = '{ "b" : 1,\t"a": [1.0, 2e3] }';
    await t.publish(channel, "story", data);
    assert.equal((await socket.hears("story", channel)).raw.data, data);
  },
);

// --- Names -------------------------------------------------------------------------------------------------

const names = [
  ["simple", "message-created", EVENTS("For example, message-created, todo-finished")],
  [
    "backslash",
    "App\\Events\\OrderShipped",
    client("laravel/framework src/Illuminate/Broadcasting/BroadcastEvent.php")("the name of an event is its class"),
  ],
  ["dot", "order.shipped", client("laravel/echo src/util/event-formatter.ts")("a name that begins with a dot is used as it is")],
  ["space", "order was shipped", NODE_SERVER("an event's name is a string of at most 200 characters")],
  ["unicode", "événement ✨", NODE_SERVER("an event's name is a string of at most 200 characters")],
  ["quotes", 'quotes " and \\ backslashes', NODE_SERVER("an event's name is a string of at most 200 characters")],
  ["longest", "n".repeat(200), NODE_SERVER("an event's name is a string of at most 200 characters")],
];
for (const [name, event, source] of names) {
  area.case(
    `name-${name}`,
    event.length > 50 ? `an event name may have ${event.length} characters` : `an event may be called ${event}`,
    source,
    async (t) => {
      const channel = t.name("names");
      const socket = await t.subscriber(channel);
      await t.publish(channel, event, { ok: true });
      assert.deepEqual((await socket.hears(event, channel)).data, { ok: true });
    },
  );
}

// --- Data --------------------------------------------------------------------------------------------------

const DATA = REST("Event data (required) - limited to 10KB");
const ANY = PROTOCOL("although it is possible to send any type of payload, for example a simple string");
const kinds = [
  ["words", "plain words, no JSON", ANY],
  ["empty", "", ANY],
  ["number", "42", ANY],
  ["array", '[1,"two",{"three":3}]', ANY],
  ["null", "null", ANY],
  ["nested", '{"a":{"b":[{"c":null}]}}', ANY],
  ["unicode", '{"text":"héllo 👩‍🚀 مرحبا 𝒳"}', ANY],
  ["separators", '{"text":"\u2028\u2029"}', ANY],
  ["control-characters", '{"text":"\\u0000\\u001f\\t"}', ANY],
  ["raw-control-characters", "tab\there\nand a line", ANY],
  ["html", "<script>alert('&amp;')</script>", ANY],
  ["ten-kilobytes", "x".repeat(SIZE_MAX), DATA],
];
for (const [name, data, source] of kinds) {
  area.case(`data-${name}`, `data arrives unchanged: ${name.replaceAll("-", " ")}`, source, async (t) => {
    const channel = t.name("verbatim");
    const socket = await t.subscriber(channel);
    await t.publish(channel, "story", data);
    assert.equal((await socket.hears("story", channel)).raw.data, data);
  });
}

// --- Excluding ---------------------------------------------------------------------------------------------

const EXCLUDED = EXCLUDING("the Channels connection (client) with that socket_id will be excluded from receiving the event");

area.case("excludes", "the connection named by socket_id does not get the event", EXCLUDED, async (t) => {
  const channel = t.name("others");
  const [sender, other] = [await t.subscriber(channel), await t.subscriber(channel)];
  await t.publishInOrder([channel, "edited", {}, { socket_id: sender.socketId }], [channel, "marker"]);
  await Promise.all([sender.hears("marker", channel), other.hears("edited", channel)]);
  assert.equal(sender.all("edited").length, 0);
});

area.case("excludes-everywhere", "socket_id excludes the connection on all channels of the event", EXCLUDED, async (t) => {
  const channels = [t.name("a"), t.name("b")];
  const [sender, other] = [await t.subscriber(...channels), await t.subscriber(...channels)];
  await t.publish(channels, "edited", {}, { socket_id: sender.socketId });
  for (const channel of channels) await other.hears("edited", channel);
  await t.mark(channels[0], sender);
  assert.equal(sender.all("edited").length, 0);
});

area.case(
  "excludes-nobody",
  "an unknown socket_id changes nothing",
  EXCLUDING("The socket_id parameter is an optional parameter"),
  async (t) => {
    const channel = t.name("others");
    const socket = await t.subscriber(channel);
    await t.publish(channel, "edited", {}, { socket_id: "1.1" });
    await socket.hears("edited", channel);
  },
);

// --- info --------------------------------------------------------------------------------------------------

const INFO = REST("If the info parameter is sent, then it returns a hash of unique channels that were triggered to");

area.case("info-users", "info=user_count returns the number of users of a presence channel", INFO, async (t) => {
  const channel = t.name("presence-info");
  for (const user of ["ann", "ann", "bob"]) await t.join(channel, user);
  const { channels } = await t.publish([channel], "story", {}, { info: "user_count" });
  assert.equal(channels?.[channel]?.user_count, 2);
});

area.case(
  "info-subscriptions",
  "info=subscription_count returns the number of connections to a channel",
  INFO,
  async (t) => {
    const channel = t.name("info");
    for (let count = 0; count < 3; count += 1) await t.subscriber(channel);
    const { channels } = await t.publish([channel], "story", {}, { info: "subscription_count" });
    assert.equal(channels?.[channel]?.subscription_count, 3);
  },
  { needs: ["subscription counts"] },
);

area.case(
  "info-mixed",
  "info that does not apply to a channel is left out there",
  REST("The hash maps from channel name to a hash of attributes for that channel (may be empty)."),
  async (t) => {
    const [room, news] = [t.name("presence-mixed"), t.name("mixed")];
    await t.join(room, "ann");
    const { channels } = await t.publish([room, news], "story", {}, { info: "user_count" });
    assert.deepEqual(
      [channels?.[room]?.user_count, typeof channels?.[news], channels?.[news]?.user_count],
      [1, "object", undefined],
    );
  },
);

area.case("info-unoccupied", "info of a presence channel without members is 0", INFO, async (t) => {
  const channel = t.name("presence-void");
  const { channels } = await t.publish([channel], "story", {}, { info: "user_count" });
  assert.equal(channels?.[channel]?.user_count, 0);
});

// --- What is refused ---------------------------------------------------------------------------------------

area.case("too-large", "data of more than 10 KB gets 413", TEN_KB, async (t) => {
  refused(await t.post("/events", { name: "story", channel: t.name("large"), data: "x".repeat(SIZE_MAX + 1) }), 413);
});

area.case("too-large-unicode", "the size of data is measured in bytes", TEN_KB, async (t) => {
  refused(await t.post("/events", { name: "story", channel: t.name("large"), data: "é".repeat(SIZE_MAX / 2 + 1) }), 413);
});

area.case("too-large-not-sent", "data that is too large is not delivered", TEN_KB, async (t) => {
  const channel = t.name("large");
  const socket = await t.subscriber(channel);
  await t.post("/events", { name: "large", channel, data: "x".repeat(SIZE_MAX + 1) });
  await t.mark(channel, socket);
  assert.equal(socket.all("large").length, 0);
});

const CHARSET = HTTP_API("can only contain characters which are alphanumeric");
const badEvents = [
  ["no-name", "without name", { name: undefined }, REST("Event name (required)")],
  ["empty-name", "with an empty name", { name: "" }, REST("Event name (required)")],
  ["number-name", "whose name is a number", { name: 7 }, REST("Event name (required)")],
  ["no-data", "without data", { data: undefined }, REST("Event data (required)")],
  ["no-channel", "without channel", { channel: undefined }, REST("Array of one or more channel names")],
  [
    "no-channels",
    "with an empty list of channels",
    { channel: undefined, channels: [] },
    REST("Array of one or more channel names"),
  ],
  [
    "101-channels",
    "for 101 channels",
    (t) => ({ channel: undefined, channels: Array.from({ length: 101 }, (_, n) => `${t.name("c")}${n}`) }),
    REST("limited to 100 channels"),
  ],
  [
    "channels-text",
    "whose channels field is a string",
    { channel: undefined, channels: "news" },
    REST("Array of one or more channel names"),
  ],
  ["space-in-channel", "for a channel with a space", { channel: "no spaces" }, CHARSET],
  ["slash-in-channel", "for a channel with a slash", { channel: "no/slash" }, CHARSET],
  ["colon-in-channel", "for a channel with a colon", { channel: "no:colon" }, CHARSET],
  ["unicode-channel", "for a channel with é", { channel: "café" }, CHARSET],
  ["empty-channel", "for a channel without a name", { channel: "" }, CHARSET],
  [
    "long-channel",
    "for a channel of 201 characters",
    { channel: "c".repeat(201) },
    NODE_SERVER("Channel name too long: more than 200 characters"),
  ],
  [
    "bad-socket-id",
    "with a malformed socket_id",
    { socket_id: "everyone" },
    NODE_SERVER("Invalid socket id: it is checked against two numbers with a dot"),
  ],
  [
    "pusher-name",
    "whose name begins with pusher:",
    { name: "pusher:story" },
    ENCRYPTED("only Pusher can publish events with the prefix `pusher:`"),
  ],
  [
    "long-name",
    "with a name of 201 characters",
    { name: "n".repeat(201) },
    NODE_SERVER("Too long event name: more than 200 characters"),
  ],
];
for (const [name, what, change, source] of badEvents) {
  area.case(`bad-${name}`, `an event ${what} gets 400`, source, async (t) => {
    const more = typeof change === "function" ? change(t) : change;
    refused(await t.post("/events", { name: "story", channel: t.name("bad"), data: "{}", ...more }), 400);
  });
}

const badBodies = [
  ["no-json", "text that is not JSON", "story"],
  ["cut-json", "truncated JSON", '{"name":"story",'],
  ["array", "a JSON array", "[]"],
  ["text", "a JSON string", '"story"'],
  ["null", "JSON's null", "null"],
];
for (const [name, what, body] of badBodies) {
  area.case(`body-${name}`, `a body of ${what} gets 400`, BAD, async (t) => {
    refused(await t.post("/events", body), 400);
  });
}

area.case("explained", "the body of a 400 says what is wrong", BAD, async (t) => {
  const answer = refused(await t.post("/events", { channel: t.name("bad"), data: "{}" }), 400);
  assert.ok(answer.text.trim().length > 0, "the body is empty");
});

// --- Where the documentation is silent ---------------------------------------------------------------------

const heardOf = async (t, more) => {
  const channel = t.name("silent");
  const socket = await t.subscriber(channel);
  const event = { name: "story", channel, data: "{}", ...more(channel) };
  const answer = await t.post("/events", event);
  if (answer.status !== 200) return `HTTP ${answer.status}`;
  await t.mark(channel, socket);
  const heard = socket.all(event.name, channel);
  return `HTTP 200, ${heard.length} delivered${heard.length ? `, data ${heard[0].text.match(/"data":(.{0,40})/)?.[1] ?? "left out"}` : ""}`;
};
area.silent("untyped-object", "What happens to data that is an object instead of a string?", (t) =>
  heardOf(t, () => ({ data: { a: 1 } })),
);
area.silent("untyped-number", "What happens to data that is a number?", (t) => heardOf(t, () => ({ data: 7 })));
area.silent("untyped-null", "What happens to data that is null?", (t) => heardOf(t, () => ({ data: null })));
area.silent("same-channel-twice", "How often is an event delivered to a channel that it names twice?", (t) =>
  heardOf(t, (channel) => ({ channel: undefined, channels: [channel, channel] })),
);
area.silent("channel-and-channels", "Which counts when both channel and channels are given?", async (t) => {
  const [one, many] = [t.name("one"), t.name("many")];
  const socket = await t.subscriber(one, many);
  const answer = await t.post("/events", { name: "story", channel: one, channels: [many], data: "{}" });
  if (answer.status !== 200) return `HTTP ${answer.status}`;
  await t.mark(one, socket);
  await t.mark(many, socket);
  return (
    socket
      .all("story")
      .map(({ channel }) => (channel === one ? "channel" : "channels"))
      .join(" and ") || "neither"
  );
});
area.silent("unknown-info", "What does an unknown info attribute get?", async (t) => {
  const answer = await t.post("/events", { name: "story", channel: t.name("x"), data: "{}", info: "shoe_size" });
  return `HTTP ${answer.status} ${answer.text.slice(0, 60)}`;
});
area.silent("client-name", "May the API publish an event whose name begins with client-?", (t) =>
  heardOf(t, () => ({ name: "client-story" })),
);
area.silent(
  "channel-200",
  "May a channel's name have 200 characters, where the documentation says 164 and the libraries 200?",
  async (t) => {
    const channel = t.name("long").padEnd(200, "x");
    const answer = await t.post("/events", { name: "story", channel, data: "{}" });
    return `HTTP ${answer.status}`;
  },
);
area.silent("no-type", "What does a POST without a Content-Type get?", async (t) => {
  const answer = await t.post(
    "/events",
    { name: "story", channel: t.name("x"), data: "{}" },
    { headers: { "Content-Type": "" } },
  );
  return `HTTP ${answer.status}`;
});
