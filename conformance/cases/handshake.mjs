// Connecting: the upgrade, the first message, and which connections a host refuses.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Area } from "../kit/area.mjs";
import { exchange } from "../kit/raw.mjs";
import { JS_PROTOCOL, JS_URLS, NODE_SERVER, PROTOCOL, SWIFT, client, rfc6455 } from "../kit/sources.mjs";

export const area = new Area("handshake", "WebSocket: connecting");

const ESTABLISHED = PROTOCOL(
  "When the client has connected to the Channel service a `pusher:connection_established` event is triggered.",
);
const CLOSED = PROTOCOL("in which case a close code and reason will be sent");
const LEGACY = PROTOCOL(
  "a `pusher:error` event is also sent before the connection is closed (regardless of the WebSocket draft)",
);
const PARAMETERS = PROTOCOL("The following query parameters should be supplied");

// --- The first message -------------------------------------------------------------------------------------

area.case("established", "the first message confirms the connection", ESTABLISHED, (t) => t.connect());

area.case(
  "data-is-text",
  "its data is a string that contains JSON",
  PROTOCOL("Where the `data` field is a JSON-encoded hash of following format"),
  async (t) => {
    const socket = await t.connect();
    assert.equal(typeof socket.frames[0].raw.data, "string");
    assert.equal(typeof socket.frames[0].data, "object");
  },
);

area.case(
  "socket-id",
  "the socket id is two numbers with a dot",
  NODE_SERVER("a socket id must match ^\\d+\\.\\d+$"),
  async (t) => {
    assert.match((await t.connect()).socketId, /^\d+\.\d+$/);
  },
);

area.case(
  "socket-id-unique",
  "connections have different socket ids",
  PROTOCOL("A unique identifier for the connected client"),
  async (t) => {
    const sockets = await t.connectMany(10);
    assert.equal(new Set(sockets.map(({ socketId }) => socketId)).size, 10);
  },
);

area.case(
  "activity-timeout",
  "the activity timeout is a number of seconds above 0",
  JS_PROTOCOL("without activity_timeout the handshake fails"),
  async (t) => {
    const { activity_timeout: timeout } = (await t.connect()).frames[0].data;
    assert.ok(Number.isInteger(timeout) && timeout > 0, `activity_timeout is ${timeout}`);
  },
);

area.case(
  "no-channel",
  "the confirmation names no channel",
  PROTOCOL('{ "event": "pusher:connection_established", "data": String }'),
  async (t) => {
    assert.equal((await t.connect()).frames[0].raw.channel, undefined);
  },
);

area.case("nothing-else", "no other message follows by itself", ESTABLISHED, async (t) => {
  const socket = await t.connect();
  await socket.settle();
  assert.deepEqual(
    socket.frames.map(({ event }) => event),
    ["pusher:connection_established", "pusher:pong"],
  );
});

// --- Versions and parameters -------------------------------------------------------------------------------

for (const protocol of [5, 6, 7]) {
  area.case(`protocol-${protocol}`, `protocol ${protocol} is served`, PROTOCOL("The protocol version to use."), (t) =>
    t.connect({ protocol }),
  );
}

for (const [protocol, why] of [
  ["1", "is no longer supported"],
  ["2", "is no longer supported"],
  ["3", "is no longer supported"],
  ["99", "does not exist"],
  ["x", "is not a number"],
]) {
  area.case(
    `protocol-${protocol}`,
    `protocol ${protocol}, which ${why}, is closed with 4007`,
    PROTOCOL(
      /\d$/.test(protocol) && protocol !== "99"
        ? "Protocols 1, 2, and 3 are no longer supported."
        : "`4007`: Unsupported protocol version",
    ),
    async (t) => {
      assert.equal((await t.open({ protocol }).closes()).code, 4007);
    },
  );
}

const queries = [
  [
    "official-example",
    "client=js&version=7.0.3&protocol=5",
    PROTOCOL("ws://ws-ap1.pusher.com:80/app/APP_KEY?client=js&version=7.0.3&protocol=5"),
  ],
  ["pusher-js", "protocol=7&client=js&version=8.6.0&flash=false", JS_URLS("the query ends with flash=false")],
  ["no-client", "protocol=7", PARAMETERS],
  ["unknown-parameter", "protocol=7&client=js&version=8.6.0&colour=blue", PARAMETERS],
  [
    "swift",
    "client=pusher-websocket-swift&version=10.1.5&protocol=7",
    SWIFT("Extensions/URL+Pusher.swift")("the query of the URL has client, version and protocol"),
  ],
  [
    "java",
    "client=java-client&protocol=5&version=2.4.4",
    client("pusher/pusher-websocket-java PusherOptions.java")("URI_SUFFIX has client, protocol=5 and version"),
  ],
  [
    "dotnet",
    "protocol=5&client=pusher-dotnet-client&version=2.1.0",
    client("pusher/pusher-websocket-dotnet PusherClient/Pusher.cs")("the URL has protocol=5, client and version"),
  ],
];
for (const [name, query, source] of queries) {
  area.case(`query-${name}`, `a connection with ?${query} is served`, source, (t) => t.connect({ query }));
}

// --- Refusals --------------------------------------------------------------------------------

const unknown = (t) => ({ ...t.app, key: "no-such-key" });

area.case("unknown-key", "an unknown key is closed with 4001", PROTOCOL("`4001`: Application does not exist"), async (t) => {
  assert.equal((await t.open({ app: unknown(t) }).closes()).code, 4001);
});

area.case("unknown-key-reason", "a close has a reason", CLOSED, async (t) => {
  assert.ok((await t.open({ app: unknown(t) }).closes()).reason.length > 0, "the reason is empty");
});

area.case("unknown-key-upgraded", "a refusal comes after the upgrade, so that a browser can read its code", CLOSED, async (t) => {
  const socket = t.open({ app: unknown(t) });
  await socket.closes();
  assert.equal(socket.failure, undefined);
});

area.case("unknown-key-established", "a refused connection is never confirmed", ESTABLISHED, async (t) => {
  const socket = t.open({ app: unknown(t) });
  await socket.closes();
  assert.deepEqual([socket.failure, socket.all("pusher:connection_established")], [undefined, []]);
});

area.case("refusal-protocol-5", "below protocol 6 an error with the code precedes the close", LEGACY, async (t) => {
  const socket = t.open({ app: unknown(t), protocol: 5 });
  const { code } = await socket.closes();
  assert.deepEqual(
    socket.errors.map((error) => error.code),
    [code],
  );
});

for (const protocol of [6, 7]) {
  area.case(
    `refusal-protocol-${protocol}`,
    `on protocol ${protocol} the close is not announced by an error`,
    PROTOCOL(
      "When the server closes connections due to an error, a `pusher:error` event is only sent if and old WebSocket draft is in use",
    ),
    async (t) => {
      const socket = t.open({ app: unknown(t), protocol });
      const { code } = await socket.closes();
      assert.ok(code >= 4000, `closed with ${code}`);
      assert.deepEqual(socket.errors, []);
    },
  );
}

area.case("unknown-path", "an unknown path is closed with 4005", PROTOCOL("`4005`: Path not found"), async (t) => {
  assert.equal((await t.open({ path: `${t.host.prefix}/no/such/path` }).closes()).code, 4005);
});

area.case(
  "disabled-app",
  "a disabled app is closed with 4003",
  PROTOCOL("`4003`: Application disabled"),
  async (t) => {
    assert.equal((await t.open({ app: t.host.apps["disabled-app"] }).closes()).code, 4003);
  },
  { needs: ["disabled-app"] },
);

// --- Paths and sub-protocols -------------------------------------------------------------------------------

const SLASH = JS_URLS("the path is wsPath, then /app/KEY; a wsPath may end in a slash");
area.case("double-slash", "a path that begins with two slashes is served", SLASH, (t) =>
  t.connect({ path: `${t.host.prefix}//app/${t.app.key}` }),
);
area.case("slash-at-end", "a path that ends in a slash is served", SLASH, (t) =>
  t.connect({ path: `${t.host.prefix}/app/${t.app.key}/` }),
);

const OFFER = SWIFT("PusherSwift.swift")("the socket offers the sub-protocol pusher-channels-protocol-7");
for (const [name, offer, query] of [
  ["7", ["pusher-channels-protocol-7"], "protocol=7"],
  ["7-alone", ["pusher-channels-protocol-7"], ""],
  ["5", ["pusher-channels-protocol-5"], "protocol=5"],
]) {
  area.case(
    `subprotocol-${name}`,
    `an offered sub-protocol ${offer[0]} is selected${query ? "" : ", also without a version in the query"}`,
    OFFER,
    async (t) => {
      const socket = await t.connect({ subprotocols: offer, query: query || "client=x" });
      assert.equal(socket.subprotocol, offer[0]);
    },
  );
}

area.case(
  "no-subprotocol",
  "no sub-protocol is selected when none is offered",
  rfc6455("§4.2.2")("the server must not send back a value that the client did not offer"),
  async (t) => {
    assert.equal((await t.connect()).subprotocol, "");
  },
);

// --- The upgrade itself ------------------------------------------------------------------------------------

const KEY = randomBytes(16).toString("base64");
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const HEADERS = ["Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Key: ${KEY}`, "Sec-WebSocket-Version: 13"];

/** An upgrade by hand: `line` is the request line's ends, `headers` replace the usual ones. */
function upgrade(t, { method = "GET", version = "HTTP/1.1", headers = HEADERS } = {}) {
  const { host, port, tls } = t.host.options;
  const target = `${t.host.prefix}/app/${t.app.key}?protocol=7&client=raw&version=1`;
  const lines = [`${method} ${target} ${version}`, `Host: ${host}:${port}`, ...headers, "", ""];
  return exchange({ host, port, tls }, lines.join("\r\n"), t.patience());
}

const without = (name) => HEADERS.filter((header) => !header.startsWith(name));

area.case(
  "accept",
  "the upgrade has the right Sec-WebSocket-Accept",
  rfc6455("§4.2.2")("the value of Sec-WebSocket-Accept is derived from the key"),
  async (t) => {
    const { status, head } = await upgrade(t);
    assert.equal(status, 101);
    assert.ok(head.includes(ACCEPT), "Sec-WebSocket-Accept is missing or wrong");
  },
);

area.case(
  "header-case",
  "names and values of headers may be in any case",
  rfc6455("§4.2.1")("an Upgrade header with the value websocket, compared without case"),
  async (t) => {
    const headers = ["upgrade: WebSocket", "connection: upgrade", `sec-websocket-key: ${KEY}`, "sec-websocket-version: 13"];
    assert.equal((await upgrade(t, { headers })).status, 101);
  },
);

area.case(
  "connection-list",
  "Connection may be a list, as Firefox sends it",
  rfc6455("§4.2.1")("a Connection header that includes the token Upgrade"),
  async (t) => {
    assert.equal((await upgrade(t, { headers: [...without("Connection"), "Connection: keep-alive, Upgrade"] })).status, 101);
  },
);

const refusals = [
  [
    "version-8",
    "a WebSocket version other than 13",
    "§4.2.2",
    { headers: [...without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"] },
  ],
  ["no-version", "an upgrade without a WebSocket version", "§4.2.1", { headers: without("Sec-WebSocket-Version") }],
  ["no-key", "an upgrade without a key", "§4.2.1", { headers: without("Sec-WebSocket-Key") }],
  ["two-keys", "an upgrade with two keys", "§11.3.1", { headers: [...HEADERS, `Sec-WebSocket-Key: ${KEY.replace(/^./, "A")}`] }],
  ["post", "an upgrade by POST", "§4.2.1", { method: "POST", headers: [...HEADERS, "Content-Length: 0"] }],
  ["http-1-0", "an upgrade by HTTP/1.0", "§4.2.1", { version: "HTTP/1.0" }],
];
for (const [name, what, section, options] of refusals) {
  area.case(
    `upgrade-${name}`,
    `${what} is refused`,
    rfc6455(section)("a handshake that is not as described gets an HTTP error, such as 400"),
    async (t) => {
      const { status } = await upgrade(t, options);
      assert.ok(status >= 400, `HTTP ${status}`);
    },
    { needs: name === "http-1-0" ? ["no proxy"] : [] },
  );
}

area.case(
  "plain-get",
  "a GET without an upgrade is refused",
  rfc6455("§4.2.1")("the requirements of a client's opening handshake"),
  async (t) => {
    const { status } = await upgrade(t, { headers: ["Connection: close"] });
    assert.ok(status >= 400, `HTTP ${status}`);
  },
);

// --- Where the documentation is silent ---------------------------------------------------------------------

const outcome = async (socket) => {
  await socket.until(() => socket.frames[0] ?? socket.ended ?? socket.failure, "answer");
  if (socket.frames[0]?.event === "pusher:connection_established") return "served";
  await socket.until(() => socket.ended ?? socket.failure, "end");
  return socket.ended?.code && !socket.failure
    ? `closed with ${socket.ended.code} ${socket.ended.reason}`
    : String(socket.failure?.message);
};
area.silent("no-protocol", "What does a connection without a protocol get (1 or 4008 in the documentation)?", (t) =>
  outcome(t.open({ query: "client=js&version=8.6.0" })),
);
area.silent("protocol-4", "What does protocol 4 get, which is not among those no longer supported?", (t) =>
  outcome(t.open({ protocol: 4 })),
);
area.silent("bad-version", "What does a malformed client version get (4006)?", (t) =>
  outcome(t.open({ query: "protocol=7&client=js&version=!!" })),
);
area.silent("foreign-origin", "What does a page from another origin get?", (t) =>
  outcome(t.open({ headers: { Origin: "https://elsewhere.example" } })),
);
area.silent("subscribe-early", "What happens to a subscribe that is sent before the confirmation?", async (t) => {
  const socket = t.open();
  const channel = t.name("early");
  await socket.until(() => socket.isOpen || undefined, "open connection");
  socket.send("pusher:subscribe", { channel });
  await socket.established();
  await socket.settle();
  return socket.on(channel).length ? "it succeeds" : "it is ignored";
});
area.silent(
  "activity-timeout-value",
  "Which activity timeout does the host send?",
  async (t) => `${(await t.connect()).frames[0].data.activity_timeout} s`,
);
area.silent("compression", "Is permessage-deflate accepted when it is offered?", async (t) => {
  const { head } = await upgrade(t, {
    headers: [...HEADERS, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"],
  });
  return head.match(/sec-websocket-extensions: *([^\r]*)/i)?.[1] ?? "no";
});
