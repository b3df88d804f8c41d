// Malformed messages, and subscriptions that are refused.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { EVENTS, PROTOCOL, client, hosted } from "../kit/sources.mjs";

export const area = new Area("errors", "WebSocket: errors of an open connection");

const INVALID = PROTOCOL(
  "An error may be sent from Pusher Channels in response to invalid authentication, an invalid command, etc.",
);
const OPEN = PROTOCOL("Indicates an error resulting in the connection being closed by Pusher Channels");
const EXISTING = hosted("pusher/pusher-js#45", "Existing subscription to channel …");
const NO_CURRENT = hosted(
  "pusher/pusher-websocket-swift#106",
  "No current subscription to channel …, or subscription in progress",
);
const NULL_CODE = hosted("pusher/pusher-websocket-java#205", '{"event":"pusher:error","data":{"code":null,"message":"…"}}');

/** No error of an open connection has a code that closes connections. */
function assertNoClosingCode(socket) {
  for (const { code } of socket.errors)
    assert.ok(!(code >= 4000 && code <= 4299), `an error of an open connection has the code ${code}`);
}

const nonsense = [
  ["no-json", "text that is not JSON", "hello"],
  ["empty", "an empty text", ""],
  ["number", "a number", "7"],
  ["null", "null", "null"],
  ["array", "an array", "[]"],
  ["text", "a JSON string", '"pusher:ping"'],
  ["no-event", "an object without event", '{"data":{}}'],
  ["event-number", "an event that is a number", '{"event":7,"data":{}}'],
  ["event-null", "an event that is null", '{"event":null}'],
  ["unknown-pusher-event", "an unknown pusher: event", '{"event":"pusher:no_such_thing","data":{}}'],
  [
    "internal-event",
    "an event that only hosts send",
    '{"event":"pusher_internal:member_added","channel":"presence-x","data":"{}"}',
  ],
  ["subscribe-no-data", "a subscribe without data", '{"event":"pusher:subscribe"}'],
  ["subscribe-text", "a subscribe whose data is a string", '{"event":"pusher:subscribe","data":"news"}'],
  ["subscribe-no-channel", "a subscribe without channel", '{"event":"pusher:subscribe","data":{}}'],
  ["subscribe-channel-number", "a subscribe whose channel is a number", '{"event":"pusher:subscribe","data":{"channel":7}}'],
  ["subscribe-empty-channel", "a subscribe to a channel without a name", '{"event":"pusher:subscribe","data":{"channel":""}}'],
  ["unsubscribe-no-channel", "an unsubscribe without channel", '{"event":"pusher:unsubscribe","data":{}}'],
  ["signin-no-data", "a sign-in without data", '{"event":"pusher:signin"}'],
  ["deep", "a deeply nested message", `{"event":"pusher:ping","data":${"[".repeat(5000)}${"]".repeat(5000)}}`],
];
for (const [name, what, text] of nonsense) {
  area.case(`alive-after-${name}`, `${what} does not end the connection`, INVALID, async (t) => {
    const socket = await t.connect();
    socket.sendText(text);
    await socket.settle();
    assertNoClosingCode(socket);
  });
}

area.case(
  "error-is-object",
  "the data of an error is an object with a message",
  PROTOCOL('{ "event": "pusher:error", "data": { "message": String, "code": Integer } }'),
  async (t) => {
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel: t.name("private-unsigned"), auth: "" });
    const { raw } = await socket.hears("pusher:error");
    assert.equal(typeof raw.data, "object");
    assert.equal(typeof raw.data.message, "string");
  },
);

area.case("error-code", "an error on a connection that stays open has no closing code (4000–4299)", OPEN, async (t) => {
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel: t.name("private-unsigned"), auth: "" });
  socket.send("pusher:signin", { auth: "x:y", user_data: "{}" });
  await socket.hears("pusher:error");
  await socket.settle();
  assertNoClosingCode(socket);
});

area.case("error-code-null", "the code of a refused subscription is null or left out", NULL_CODE, async (t) => {
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel: t.name("private-unsigned"), auth: "" });
  assert.equal((await socket.hears("pusher:error")).data.code ?? null, null);
});

const later = [
  [
    "subscription",
    "a subscription that is refused",
    (t, socket) => socket.send("pusher:subscribe", { channel: t.name("private-unsigned"), auth: "" }),
  ],
  [
    "client-event",
    "a client event that is refused",
    (t, socket) => socket.send("client-typing", {}, t.name("private-elsewhere")),
  ],
  ["nonsense", "a malformed message", (t, socket) => socket.sendText("{")],
];
for (const [name, what, send] of later) {
  area.case(
    `channels-after-${name}`,
    `${what} leaves the other channels alone`,
    client("PyPI Pysher pysher/connection.py")("errors with codes from 4000 to 4099 disconnect for good"),
    async (t) => {
      const channel = t.name("kept");
      const socket = await t.subscriber(channel);
      send(t, socket);
      await t.mark(channel, socket);
      assertNoClosingCode(socket);
    },
  );
}

// --- Twice, and never --------------------------------------------------------------------------------------

area.case("twice", "a second subscribe to a channel is an error", EXISTING, async (t) => {
  const channel = t.name("twice");
  const socket = await t.subscriber(channel);
  socket.send("pusher:subscribe", { channel });
  const { data } = await socket.hears("pusher:error");
  assert.match(data.message, /existing subscription/i);
});

for (const kind of ["", "private-", "presence-"]) {
  area.case(
    `twice-confirmed-once${kind && `-${kind.slice(0, -1)}`}`,
    `a second subscribe to a ${kind.slice(0, -1) || "public"} channel is not confirmed again`,
    EXISTING,
    async (t) => {
      const channel = t.name(`${kind}twice`);
      const member = kind === "presence-" ? "ann" : undefined;
      const socket = await t.connect();
      await t.subscribe(socket, channel, { member });
      socket.send("pusher:subscribe", t.subscription(socket, channel, { member }));
      await socket.settle();
      assert.deepEqual(socket.on(channel).filter((event) => event === "pusher_internal:subscription_succeeded").length, 1);
    },
  );
}

area.case("twice-at-once", "a second subscribe while the first is under way is not confirmed either", EXISTING, async (t) => {
  const channel = t.name("twice");
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel });
  socket.send("pusher:subscribe", { channel });
  await socket.hears("pusher_internal:subscription_succeeded", channel);
  await socket.settle();
  assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 1);
});

area.case("twice-delivered-once", "events arrive once after a second subscribe", EXISTING, async (t) => {
  const channel = t.name("twice");
  const socket = await t.subscriber(channel);
  socket.send("pusher:subscribe", { channel });
  await t.publishInOrder([channel, "story"], [channel, "marker"]);
  await socket.hears("marker", channel);
  assert.equal(socket.all("story").length, 1);
});

area.case("stray-unsubscribe", "an unsubscribe without a subscription is an error", NO_CURRENT, async (t) => {
  const socket = await t.connect();
  socket.send("pusher:unsubscribe", { channel: t.name("never") });
  const { data } = await socket.hears("pusher:error");
  assert.match(data.message, /no current subscription/i);
});

area.case(
  "stray-unsubscribe-harmless",
  "a stray unsubscribe changes no other subscription",
  PROTOCOL("Unsubscribing works in the same way as subscribing to a channel"),
  async (t) => {
    const channel = t.name("kept");
    const socket = await t.subscriber(channel);
    socket.send("pusher:unsubscribe", { channel: t.name("never") });
    await t.mark(channel, socket);
  },
);

area.case(
  "not-relayed",
  "an event that is not a client event is never relayed",
  EVENTS("Events with any other prefix will be rejected by the Channels server"),
  async (t) => {
    const channel = t.name("private-names");
    const [sender, other] = [await t.subscriber(channel), await t.subscriber(channel)];
    for (const event of ["story", "pusher:story", "pusher_internal:story", "Client-story"]) sender.send(event, {}, channel);
    await sender.settle();
    await t.mark(channel, other);
    assert.deepEqual(other.on(channel).length, 2, `received ${other.on(channel)}`);
  },
);

area.silent("unsubscribe-answer", "Is an unsubscribe confirmed?", async (t) => {
  const channel = t.name("left");
  const socket = await t.subscriber(channel);
  const before = socket.frames.length;
  socket.send("pusher:unsubscribe", { channel });
  await socket.settle();
  return (
    socket.frames
      .slice(before)
      .map(({ event }) => event)
      .filter((event) => event !== "pusher:pong")
      .join(", ") || "no"
  );
});
area.silent("nonsense-answer", "What does a message that is not JSON get?", async (t) => {
  const socket = await t.connect();
  socket.sendText("hello");
  await socket.settle();
  return socket.errors.length ? JSON.stringify(socket.errors[0]) : "silence";
});
