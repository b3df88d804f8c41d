// The framing of WebSockets, pings and what may be sent at all.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { JS_CONNECTION, PROTOCOL, WATCHLIST, client, rfc6455 } from "../kit/sources.mjs";
import { userAuth } from "../kit/signing.mjs";

export const area = new Area("frames", "WebSocket: frames and pings");

const BOTH = PROTOCOL("Pusher Channels supports both protocol level ping-pong, and an emulated one");

// --- Pings -------------------------------------------------------------------------------------------------

const pings = [
  ["object", '{"event":"pusher:ping","data":{}}', JS_CONNECTION("it sends pusher:ping with an empty object")],
  [
    "no-data",
    '{"event": "pusher:ping"}',
    client("pusher/pusher-websocket-java WebSocketConnection.java")("PING_EVENT_SERIALIZED has no data"),
  ],
  ["text", '{"event":"pusher:ping","data":"{}"}', PROTOCOL("(both have empty data)")],
  ["empty-text", '{"event":"pusher:ping","data":""}', PROTOCOL("(both have empty data)")],
  ["null", '{"event":"pusher:ping","data":null}', BOTH],
];
for (const [name, text, source] of pings) {
  area.case(`ping-${name}`, `pusher:ping is answered with pusher:pong: ${text}`, source, async (t) => {
    const socket = await t.connect();
    socket.sendText(text);
    await socket.hears("pusher:pong");
  });
}

area.case("pong-data", "pusher:pong has empty data", PROTOCOL("both have empty data"), async (t) => {
  const socket = await t.connect();
  socket.send("pusher:ping", {});
  const { data } = await socket.hears("pusher:pong");
  assert.ok(
    data === undefined || data === "" || (typeof data === "object" && Object.keys(data ?? {}).length === 0),
    `data is ${JSON.stringify(data)}`,
  );
});

area.case("control-ping", "a ping of the WebSocket protocol is answered with its payload", BOTH, async (t) => {
  const socket = await t.connect();
  socket.ping("hello");
  await socket.until(() => socket.pongs[0], "pong");
  assert.equal(socket.pongs[0], "hello");
});

area.case(
  "control-ping-longest",
  "a ping may carry 125 bytes",
  rfc6455("§5.5")("control frames have a payload of at most 125 bytes"),
  async (t) => {
    const socket = await t.connect();
    socket.ping("p".repeat(125));
    await socket.until(() => socket.pongs[0], "pong");
    assert.equal(socket.pongs[0].length, 125);
  },
);

area.case(
  "pong-unasked",
  "an unsolicited pusher:pong is accepted",
  PROTOCOL("Essentially any messages received from the other party are considered to mean that the connection is alive."),
  async (t) => {
    const socket = await t.connect();
    socket.send("pusher:pong", {});
    await socket.settle();
    assert.deepEqual(socket.errors, []);
  },
);

area.case("ping-many", "each of a hundred pings is answered", BOTH, async (t) => {
  const socket = await t.connect();
  for (let count = 0; count < 100; count += 1) socket.send("pusher:ping", {});
  await socket.hears("pusher:pong", undefined, 100);
});

// --- Frames ------------------------------------------------------------------------------------------------

const PING = '{"event":"pusher:ping","data":{}}';

area.case(
  "fragments",
  "a message may arrive in fragments",
  rfc6455("§5.4")("a message can be split over several frames"),
  async (t) => {
    const socket = await t.connect();
    socket.sendFragments(PING.slice(0, 5), PING.slice(5, 9), PING.slice(9));
    await socket.hears("pusher:pong");
  },
);

area.case(
  "control-between-fragments",
  "a ping may arrive between fragments",
  rfc6455("§5.4")("control frames may be injected in the middle of a fragmented message"),
  async (t) => {
    const socket = await t.connect();
    socket.write(frame({ opcode: 1, fin: false, payload: PING.slice(0, 5) }));
    socket.ping("between");
    socket.write(frame({ opcode: 0, payload: PING.slice(5) }));
    await socket.hears("pusher:pong");
    assert.deepEqual(socket.pongs, ["between"]);
  },
);

area.case(
  "slow-bytes",
  "a frame may arrive byte by byte",
  rfc6455("§5")("frames are independent of the packets that carry them"),
  async (t) => {
    const socket = await t.connect();
    for (const byte of frame({ opcode: 1, payload: PING })) {
      socket.write([byte]);
      await t.pause(1);
    }
    await socket.hears("pusher:pong");
  },
);

area.case(
  "several-at-once",
  "several frames may arrive in one packet",
  rfc6455("§5")("frames are independent of the packets that carry them"),
  async (t) => {
    const socket = await t.connect();
    socket.write(Buffer.concat([1, 2, 3].map(() => frame({ opcode: 1, payload: PING }))));
    await socket.hears("pusher:pong", undefined, 3);
  },
);

area.case(
  "close-answered",
  "a close is answered with its code",
  rfc6455("§5.5.1")("an endpoint that receives a Close frame sends one in response, with the status code it received"),
  async (t) => {
    const socket = await t.connect();
    socket.close(1000, "bye");
    assert.equal((await socket.closes()).code, 1000);
  },
);

/** A masked frame as a client sends it. */
function frame({ opcode, fin = true, rsv = 0, payload = "", masked = true }) {
  const bytes = Buffer.from(payload);
  const first = (fin ? 0x80 : 0) | rsv | opcode;
  const length = bytes.length < 126 ? [bytes.length] : [126, bytes.length >> 8, bytes.length & 0xff];
  if (!masked) return Buffer.from([first, ...length, ...bytes]);
  const mask = [1, 2, 3, 4];
  return Buffer.from([
    first,
    length[0] | 0x80,
    ...length.slice(1),
    ...mask,
    ...bytes.map((byte, index) => byte ^ mask[index % 4]),
  ]);
}

const violations = [
  ["unmasked", "a frame without a mask", "§5.1", [1002], frame({ opcode: 1, payload: PING, masked: false })],
  ["rsv1", "a reserved bit without an extension", "§5.2", [1002], frame({ opcode: 1, rsv: 0x40, payload: PING })],
  ["rsv3", "the third reserved bit", "§5.2", [1002], frame({ opcode: 1, rsv: 0x10, payload: PING })],
  ["reserved-opcode", "a reserved opcode", "§5.2", [1002], frame({ opcode: 3, payload: PING })],
  ["long-control", "a ping of more than 125 bytes", "§5.5", [1002], frame({ opcode: 9, payload: "p".repeat(126) })],
  ["fragmented-control", "a ping in fragments", "§5.5", [1002], frame({ opcode: 9, fin: false, payload: "p" })],
  ["stray-continuation", "a continuation frame without a start", "§5.4", [1002], frame({ opcode: 0, payload: "x" })],
  ["invalid-utf8", "invalid UTF-8", "§8.1", [1007], frame({ opcode: 1, payload: Buffer.from([0x22, 0xc3, 0x28, 0x22]) })],
  ["close-one-byte", "a close with one byte", "§5.5.1", [1002], frame({ opcode: 8, payload: "x" })],
];
for (const [name, what, section, codes, bytes] of violations) {
  area.case(
    name,
    `${what} ends the connection with ${codes.join(" or ")}`,
    rfc6455(section)("the connection must be failed"),
    async (t) => {
      const socket = await t.connect();
      socket.write(bytes);
      const { code } = await socket.closes();
      // A host may also drop the connection without a close frame, which a client sees as 1006.
      assert.ok([...codes, 1006].includes(code), `closed with ${code}`);
    },
  );
}

// --- Sizes -------------------------------------------------------------------------------------------------

area.case(
  "ten-kilobytes",
  "a client may send a message of 10 KB",
  PROTOCOL("It is strongly recommended that this be a hash of key/value pairs"),
  async (t) => {
    const socket = await t.connect();
    socket.send("pusher:ping", { padding: "x".repeat(10_240) });
    await socket.hears("pusher:pong");
  },
);

area.case(
  "long-sign-in",
  "a sign-in may carry a watchlist of a hundred long ids",
  WATCHLIST("A Watchlist is an array of user IDs"),
  async (t) => {
    const socket = await t.connect();
    const watchlist = Array.from({ length: 100 }, (_, index) => `${index}`.padEnd(120, "x"));
    const userData = JSON.stringify({ id: t.name("ann"), watchlist });
    socket.send("pusher:signin", { auth: userAuth(t.app, socket.socketId, userData), user_data: userData });
    await socket.hears("pusher:signin_success");
  },
  { needs: ["sign-in"] },
);

// --- Where the documentation is silent ---------------------------------------------------------------------

const aftermath = async (t, socket) => {
  socket.send("pusher:ping", {});
  await socket.until(() => socket.all("pusher:pong")[0] ?? socket.ended, "answer");
  if (socket.ended) return `closed with ${socket.ended.code} ${socket.ended.reason}`;
  return socket.errors.length
    ? `pusher:error ${JSON.stringify(socket.errors[0])}, and the connection goes on`
    : "the connection goes on";
};
area.silent("binary", "What does a binary frame get, which is not supported?", async (t) => {
  const socket = await t.connect();
  socket.sendBinary(Buffer.from(PING));
  return aftermath(t, socket);
});
for (const [name, size] of [
  ["100-kb", 100 << 10],
  ["1-mb", 1 << 20],
]) {
  area.silent(`message-${name}`, `What does a message of ${name.replace("-", " ").toUpperCase()} get?`, async (t) => {
    const socket = await t.connect();
    socket.send("pusher:pong", { padding: "x".repeat(size) });
    return aftermath(t, socket);
  });
}
