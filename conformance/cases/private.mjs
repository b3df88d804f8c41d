// Private channels: authorization of subscriptions.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { AUTHORIZING, NODE_AUTH, PRIVATE, PROTOCOL, SIGNATURES, SWIFT, client, hosted } from "../kit/sources.mjs";
import { channelAuth, hmac } from "../kit/signing.mjs";

export const area = new Area("private", "Channels: private");

const SIGNED = AUTHORIZING("if the connection provides an authorization token signed by your server");
const FORMAT = SIGNATURES("auth strings have the following format");
const STAYS = hosted(
  "pusher/pusher-websocket-java#205",
  "a refused subscription is answered with pusher:error, and the connection stays",
);

area.case("authorized", "a signed subscription succeeds", SIGNED, (t) => t.subscriber(t.name("private-room")));

area.case(
  "events",
  "events on a private channel arrive",
  PRIVATE("Private channels should be used when access to the channel needs to be restricted in some way."),
  async (t) => {
    const channel = t.name("private-room");
    const socket = await t.subscriber(channel);
    await t.publish(channel, "note", { text: "hush" });
    assert.deepEqual((await socket.hears("note", channel)).data, { text: "hush" });
  },
);

area.case(
  "channel-data",
  "channel_data that is signed is accepted on a private channel",
  NODE_AUTH("channel_data is part of the string to sign on any channel"),
  async (t) => {
    const channel = t.name("private-data");
    const socket = await t.connect();
    await t.subscribe(socket, channel, { member: "ann" });
  },
);

for (const [name, signed, what] of [
  ["two-parts", (id, channel) => `${id}:${channel}`, "left out of the signature"],
  ["three-parts", (id, channel) => `${id}:${channel}:`, "part of the signature"],
]) {
  area.case(
    `empty-channel-data-${name}`,
    `empty channel_data may be ${what}`,
    client("pusher/pusher-http-ruby lib/pusher/channel.rb")(
      "the parts that are not nil are joined with colons, also an empty one",
    ),
    async (t) => {
      const channel = t.name("private-empty");
      const socket = await t.connect();
      const auth = `${t.app.key}:${hmac(t.app.secret, signed(socket.socketId, channel))}`;
      socket.send("pusher:subscribe", { channel, auth, channel_data: "" });
      await socket.hears("pusher_internal:subscription_succeeded", channel);
    },
  );
}

area.case(
  "lower-case-key",
  "the key in auth may be in lower case",
  SWIFT("Services/PusherConnection.swift")("the inline authorizer lower-cases key and signature"),
  async (t) => {
    const channel = t.name("private-swift");
    const socket = await t.connect();
    const auth = channelAuth(t.app, socket.socketId, channel).toLowerCase();
    socket.send("pusher:subscribe", { channel, auth });
    await socket.hears("pusher_internal:subscription_succeeded", channel);
  },
);

// --- What is refused ---------------------------------------------------------------------------------------

const OTHER_ID = "1.1";
const forgeries = [
  [
    "no-auth",
    "a subscription without auth",
    () => undefined,
    PROTOCOL("If the channel is a presence or private channel then the subscription needs to be authorized."),
  ],
  ["empty-auth", "an empty auth", () => "", FORMAT],
  ["null-auth", "an auth of null", () => null, FORMAT],
  ["object-auth", "an auth that is an object", () => ({ auth: "x" }), FORMAT],
  ["number-auth", "an auth that is a number", () => 7, FORMAT],
  ["words", "an auth of plain words", () => "let me in", FORMAT],
  ["no-colon", "a signature without key", (t, socket, channel) => hmac(t.app.secret, `${socket.socketId}:${channel}`), FORMAT],
  ["key-alone", "a key without signature", (t) => `${t.app.key}:`, FORMAT],
  [
    "wrong-secret",
    "another secret's signature",
    (t, socket, channel) => channelAuth({ ...t.app, secret: "not-the-secret" }, socket.socketId, channel),
    SIGNED,
  ],
  [
    "wrong-key",
    "another key",
    (t, socket, channel) => channelAuth({ ...t.app, key: "no-such-key" }, socket.socketId, channel),
    SIGNATURES("composed of the application key and the authentication signature separated by a colon"),
  ],
  [
    "other-channel",
    "a signature of another channel",
    (t, socket) => channelAuth(t.app, socket.socketId, "private-other"),
    SIGNED,
  ],
  ["other-socket", "a signature of another connection", (t, socket, channel) => channelAuth(t.app, OTHER_ID, channel), SIGNED],
  [
    "prefix",
    "a signature of a prefix of the channel name",
    (t, socket, channel) => channelAuth(t.app, socket.socketId, channel.slice(0, -1)),
    SIGNED,
  ],
  [
    "user-signature",
    "a signature of a sign-in",
    (t, socket) => `${t.app.key}:${hmac(t.app.secret, `${socket.socketId}::user::{}`)}`,
    SIGNED,
  ],
  [
    "cut",
    "a signature without its last digit",
    (t, socket, channel) => channelAuth(t.app, socket.socketId, channel).slice(0, -1),
    SIGNED,
  ],
];
for (const [name, what, authOf, source] of forgeries) {
  area.case(`refused-${name}`, `${what} is refused`, source, async (t) => {
    const channel = t.name("private-shut");
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel, auth: authOf(t, socket, channel) });
    await socket.until(
      () => socket.all("pusher:error")[0] ?? socket.all("pusher:subscription_error")[0] ?? socket.ended,
      "refusal",
    );
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  });
}

area.case(
  "refused-other-app",
  "another app's signature is refused",
  SIGNED,
  async (t) => {
    const channel = t.name("private-shut");
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel, auth: channelAuth(t.host.apps["other-app"], socket.socketId, channel) });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  },
  { needs: ["other-app"] },
);

area.case(
  "refused-unsigned-channel-data",
  "channel_data that is not signed is refused",
  SIGNATURES("must contain the exact same JSON-encoded string that was used to build the `auth` string"),
  async (t) => {
    const channel = t.name("private-shut");
    const socket = await t.connect();
    socket.send("pusher:subscribe", {
      channel,
      auth: channelAuth(t.app, socket.socketId, channel),
      channel_data: '{"user_id":"eve"}',
    });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  },
);

const shut = async (t, socket, channel) => {
  socket.send("pusher:subscribe", {
    channel,
    auth: channelAuth({ ...t.app, secret: "not-the-secret" }, socket.socketId, channel),
  });
  await socket.settle();
};

area.case(
  "refused-error",
  "a refusal is a pusher:error",
  PROTOCOL("An error may be sent from Pusher Channels in response to invalid authentication"),
  async (t) => {
    const socket = await t.connect();
    await shut(t, socket, t.name("private-shut"));
    assert.equal(typeof socket.errors[0]?.message, "string");
  },
);

area.case("refused-stays", "a refusal leaves the connection open", STAYS, async (t) => {
  const socket = await t.connect();
  await shut(t, socket, t.name("private-shut"));
  await socket.settle();
});

area.case("refused-nothing", "no events arrive after a refused subscription", SIGNED, async (t) => {
  const [channel, open] = [t.name("private-shut"), t.name("open")];
  const socket = await t.subscriber(open);
  await shut(t, socket, channel);
  await t.publish([channel, open], "story");
  await socket.hears("story", open);
  assert.equal(socket.all("story", channel).length, 0);
});

area.case("refused-not-given-away", "a refusal does not reveal the expected signature", SIGNED, async (t) => {
  const channel = t.name("private-shut");
  const socket = await t.connect();
  await shut(t, socket, channel);
  const [, right] = channelAuth(t.app, socket.socketId, channel).split(":");
  assert.ok(!socket.frames.some(({ text }) => text.includes(right)), "the right signature is in an answer");
});

area.case("refused-then-right", "a right signature after a wrong one succeeds", SIGNED, async (t) => {
  const channel = t.name("private-second-try");
  const socket = await t.connect();
  await shut(t, socket, channel);
  await t.subscribe(socket, channel);
});

area.case("refused-not-occupied", "a refused subscription does not occupy the channel", SIGNED, async (t) => {
  const channel = t.name("private-shut");
  const socket = await t.connect();
  await shut(t, socket, channel);
  assert.equal((await t.read(`/channels/${channel}`)).occupied, false);
});

area.case(
  "reconnected",
  "a signature of a closed connection is refused",
  SIGNATURES("The signature is a HMAC SHA256 hex digest."),
  async (t) => {
    const channel = t.name("private-again");
    const before = await t.connect();
    const auth = channelAuth(t.app, before.socketId, channel);
    before.close();
    await before.closes();
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel, auth });
    await socket.settle();
    assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
  },
);

area.silent("upper-case-hex", "What does a signature in upper-case hex get?", async (t) => {
  const channel = t.name("private-upper");
  const socket = await t.connect();
  const [key, signature] = channelAuth(t.app, socket.socketId, channel).split(":");
  socket.send("pusher:subscribe", { channel, auth: `${key}:${signature.toUpperCase()}` });
  await socket.settle();
  return socket.all("pusher_internal:subscription_succeeded", channel).length ? "accepted" : "refused";
});
area.silent("refusal", "What does a wrong signature get?", async (t) => {
  const channel = t.name("private-shut");
  const socket = await t.connect();
  await shut(t, socket, channel);
  return (
    socket.frames
      .slice(1)
      .map(({ text }) => text.replaceAll(channel, "CHANNEL"))
      .filter((text) => !text.includes("pusher:pong"))
      .join(" ") || "silence"
  );
});
