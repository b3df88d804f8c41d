// End-to-end encrypted channels: private channels whose data the host cannot read.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import nacl from "tweetnacl";
import { Area } from "../kit/area.mjs";
import { ENCRYPTED, JS_ENCRYPTED, PROTOCOL } from "../kit/sources.mjs";

export const area = new Area("encrypted", "Channels: encrypted");

const SAME = ENCRYPTED("Encrypted channel subscriptions must be authenticated in the exact same way as private channels.");
const SEALED = PROTOCOL("A string which encodes a JSON object with the following two keys");

/** A sealed payload as server libraries send it. */
function seal(key, text) {
  const nonce = randomBytes(24);
  const ciphertext = nacl.secretbox(Buffer.from(text), nonce, key);
  return JSON.stringify({ nonce: nonce.toString("base64"), ciphertext: Buffer.from(ciphertext).toString("base64") });
}

function open(key, { nonce, ciphertext }) {
  const opened = nacl.secretbox.open(Buffer.from(ciphertext, "base64"), Buffer.from(nonce, "base64"), key);
  return opened && Buffer.from(opened).toString();
}

area.case("authorized", "a signed subscription succeeds", SAME, (t) => t.subscriber(t.name("private-encrypted-room")));

area.case("refused", "an unsigned subscription is refused", SAME, async (t) => {
  const channel = t.name("private-encrypted-room");
  const socket = await t.connect();
  socket.send("pusher:subscribe", { channel, auth: "" });
  await socket.settle();
  assert.equal(socket.all("pusher_internal:subscription_succeeded", channel).length, 0);
});

area.case("untouched", "sealed data arrives byte for byte", SEALED, async (t) => {
  const channel = t.name("private-encrypted-wire");
  const socket = await t.subscriber(channel);
  const data = seal(randomBytes(32), "for your eyes");
  await t.publish(channel, "secret", data);
  assert.equal((await socket.hears("secret", channel)).raw.data, data);
});

area.case(
  "opens",
  "sealed data can be opened by its subscriber",
  ENCRYPTED("Only authorized subscribers have access to the channel specific decryption key"),
  async (t) => {
    const channel = t.name("private-encrypted-opens");
    const socket = await t.subscriber(channel);
    const key = randomBytes(32);
    await t.publish(channel, "secret", seal(key, "for your eyes ✨"));
    assert.equal(open(key, (await socket.hears("secret", channel)).data), "for your eyes ✨");
  },
);

area.case("plain-names", "channel and event names are not encrypted", ENCRYPTED("Event names are not encrypted."), async (t) => {
  const channel = t.name("private-encrypted-names");
  const socket = await t.subscriber(channel);
  await t.publish(channel, "secret", seal(randomBytes(32), "x"));
  const { raw } = await socket.hears("secret", channel);
  assert.deepEqual(Object.keys(raw).sort(), ["channel", "data", "event"]);
});

area.case(
  "batch",
  "sealed events of a batch arrive in order",
  ENCRYPTED("Publishes to encrypted channels should be made individually"),
  async (t) => {
    const channel = t.name("private-encrypted-batch");
    const socket = await t.subscriber(channel);
    const key = randomBytes(32);
    await t.publishInOrder(...[1, 2, 3].map((n) => [channel, "secret", seal(key, String(n))]));
    await socket.hears("secret", channel, 3);
    assert.deepEqual(
      socket.all("secret").map(({ data }) => open(key, data)),
      ["1", "2", "3"],
    );
  },
);

area.case(
  "cached",
  "an encrypted cache channel sends the sealed event to later subscribers",
  ENCRYPTED("the `data` field of events published to end-to-end encrypted channels is encrypted"),
  async (t) => {
    const channel = t.name("private-encrypted-cache-room");
    const key = randomBytes(32);
    await t.publish(channel, "secret", seal(key, "kept"));
    const socket = await t.subscriber(channel);
    assert.equal(open(key, (await socket.hears("secret", channel)).data), "kept");
  },
  { needs: ["cache channels"] },
);

area.case(
  "encrypted-inside",
  "a name with private-encrypted- in its middle is a public channel",
  ENCRYPTED("Encrypted channels must be prefixed with `private-encrypted-`."),
  async (t) => {
    const channel = t.name("my-private-encrypted-x");
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel });
    await socket.hears("pusher_internal:subscription_succeeded", channel);
  },
);

area.case(
  "confirmation-clear",
  "pusher: events on an encrypted channel are not encrypted",
  JS_ENCRYPTED("events that begin with pusher: or pusher_internal: are handled unencrypted"),
  async (t) => {
    const channel = t.name("private-encrypted-clear");
    const socket = await t.connect();
    const { data } = await t.subscribe(socket, channel);
    assert.equal(data?.ciphertext, undefined);
  },
);

area.silent(
  "client-event",
  "What does a client event on an encrypted channel get, which the protocol does not prohibit?",
  async (t) => {
    const channel = t.name("private-encrypted-whisper");
    const [ann, bob] = [await t.subscriber(channel), await t.subscriber(channel)];
    ann.send("client-typing", {}, channel);
    await ann.settle();
    await t.mark(channel, bob);
    if (bob.all("client-typing").length) return "it is relayed";
    return ann.errors.length ? `pusher:error ${ann.errors[0].code}` : "silence";
  },
  { needs: ["client events"] },
);
area.silent("several", "May one event go to several encrypted channels?", async (t) => {
  const channels = [t.name("private-encrypted-a"), t.name("private-encrypted-b")];
  return `HTTP ${(await t.post("/events", { name: "secret", channels, data: "{}" })).status}`;
});
