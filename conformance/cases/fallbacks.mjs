// The HTTP fallbacks of pusher-js: xhr_streaming and xhr_polling.

import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";
import { Area } from "../kit/area.mjs";
import { request } from "../kit/http.mjs";
import { channelAuth } from "../kit/signing.mjs";
import { FALLBACKS, JS_HTTP_POLLING, JS_HTTP_SOCKET, JS_HTTP_STREAMING, PROTOCOL, client } from "../kit/sources.mjs";
import { Awaited, brief } from "../kit/waiting.mjs";

export const area = new Area("fallbacks", "HTTP fallbacks", { needs: ["fallbacks"] });

const EXIST = FALLBACKS("HTTP streaming and polling are the two forms of HTTP fallbacks supported by the latest version of");
const CHUNKS = JS_HTTP_SOCKET("a chunk begins with o, a, m, h or c");
const XHR = client("pusher/pusher-js 8.6.0 src/runtimes/isomorphic/http/http_xhr_request.ts")(
  "every request has Content-Type: application/json; chunks are split at line breaks",
);

/** A session as pusher-js keeps one: what came, and requests to receive and to send. */
class Session {
  lines = [];
  ended = false;
  #t;
  #kind;
  #base;
  #count = 0;
  #awaited;
  #request;

  constructor(t, kind, { key = t.app.key } = {}) {
    this.#t = t;
    this.#kind = kind;
    this.#awaited = new Awaited(t.patience);
    this.#base = `${t.host.fallback.path}/app/${key}/${Math.floor(Math.random() * 1000)}/${t.name()}`;
    t.closing(() => this.#request?.destroy());
  }

  #path(action, more = "") {
    this.#count += 1;
    return `${this.#base}/${action}?${more}t=${Date.now()}&n=${this.#count}`;
  }

  #where(path) {
    const { tls, host, port } = this.#t.host.fallback;
    return { tls, host, port, method: "POST", path, headers: { "Content-Type": "application/json", "Content-Length": 0 } };
  }

  /** Asks for what there is: by one request that goes on, or by one after the other. */
  receive() {
    const { tls, ...where } = this.#where(this.#path(this.#kind, "protocol=7&client=js&version=8.6.0&"));
    this.#request = (tls ? https : http).request({ ...where, agent: false }, (response) => {
      this.status = response.statusCode;
      this.headers = response.headers;
      let rest = "";
      response.setEncoding("utf8");
      response.on("data", (text) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        this.#note(() => this.lines.push(...lines));
      });
      response.on("error", () => this.#note(() => (this.ended = true)));
      response.on("end", () => {
        this.#note(() => (this.ended = this.#kind === "xhr_streaming" || this.closed !== undefined));
        if (this.#kind === "xhr" && !this.ended && response.statusCode === 200) this.receive();
      });
    });
    this.#request.on("error", () => this.#note(() => (this.ended = true)));
    this.#request.end();
    return this;
  }

  #note(change) {
    change();
    this.#awaited.look();
  }

  /** Stops receiving, as a page that is left does. */
  abort() {
    this.#request.destroy();
  }

  until(find, what) {
    return this.#awaited.until(
      find,
      () => `no ${what}; received HTTP ${this.status ?? "nothing"} ${brief(this.lines.slice(-5))}`,
    );
  }

  /** Sends messages, and returns the answer. */
  send(...messages) {
    const body = JSON.stringify(messages.map((message) => JSON.stringify(message)));
    return this.post("xhr_send", body);
  }

  post(action, body) {
    const { headers, ...where } = this.#where(this.#path(action));
    return request({ ...where, headers: { "Content-Type": headers["Content-Type"] }, body, ms: this.#t.patience() });
  }

  /** The messages that came, decoded. */
  get frames() {
    return this.lines.flatMap(messagesOf).map((text) => {
      const raw = JSON.parse(text);
      return { event: raw.event, channel: raw.channel, data: decoded(raw.data) };
    });
  }

  /** `[code, reason]` of the close that came. */
  get closed() {
    const line = this.lines.find((each) => each.startsWith("c"));
    return line && JSON.parse(line.slice(1));
  }

  hears(event, channel) {
    const find = () => this.frames.find((each) => each.event === event && (channel === undefined || each.channel === channel));
    return this.until(find, `${event}${channel ? ` on ${channel}` : ""}`);
  }

  async established() {
    this.socketId = (await this.hears("pusher:connection_established")).data.socket_id;
    return this;
  }

  async subscribe(channel, data = {}) {
    await this.send({ event: "pusher:subscribe", data: { channel, ...data } });
    await this.hears("pusher_internal:subscription_succeeded", channel);
  }
}

function messagesOf(line) {
  if (line.startsWith("a")) return JSON.parse(line.slice(1));
  return line.startsWith("m") ? [JSON.parse(line.slice(1))] : [];
}

function decoded(data) {
  try {
    return typeof data === "string" ? JSON.parse(data) : data;
  } catch {
    return data;
  }
}

const opened = (t, kind, options) => new Session(t, kind, options).receive();

for (const [kind, transport, SOURCE] of [
  ["xhr_streaming", "streaming", JS_HTTP_STREAMING],
  ["xhr", "polling", JS_HTTP_POLLING],
]) {
  const connect = (t) => opened(t, kind).established();

  area.case(`${transport}-connects`, `a connection by ${transport} is established`, EXIST, async (t) => {
    assert.match((await connect(t)).socketId, /^\d+\.\d+$/);
  });

  area.case(`${transport}-opens`, `${transport} opens with o and HTTP 200`, CHUNKS, async (t) => {
    const session = await connect(t);
    assert.equal(session.status, 200);
    assert.match(session.lines.filter((line) => !/^h+$/.test(line))[0], /^o/);
  });

  area.case(`${transport}-hears`, `events arrive by ${transport}`, SOURCE("messages are read from the answer"), async (t) => {
    const channel = t.name("news");
    const session = await connect(t);
    await session.subscribe(channel);
    await t.publish(channel, "story", { note: "héllo ✨ \u2028" });
    assert.deepEqual((await session.hears("story", channel)).data, { note: "héllo ✨ \u2028" });
  });

  area.case(`${transport}-private`, `private channels are authorized by ${transport}`, EXIST, async (t) => {
    const channel = t.name("private-news");
    const session = await connect(t);
    await session.subscribe(channel, { auth: channelAuth(t.app, session.socketId, channel) });
  });

  area.case(
    `${transport}-refused`,
    `a wrong signature is refused by ${transport}`,
    PROTOCOL("in response to invalid authentication"),
    async (t) => {
      const session = await connect(t);
      await session.send({ event: "pusher:subscribe", data: { channel: t.name("private-shut"), auth: "x:y" } });
      await session.hears("pusher:error");
    },
  );

  area.case(`${transport}-unknown-key`, `an unknown key gets c[4001,…] by ${transport}, with HTTP 200`, CHUNKS, async (t) => {
    const session = opened(t, kind, { key: "no-such-key" });
    const [code] = await session.until(() => session.closed, "close");
    assert.deepEqual([code, session.status], [4001, 200]);
  });

  area.case(
    `${transport}-ping`,
    `pusher:ping is answered over ${transport}`,
    PROTOCOL("it will respond to a `pusher:ping` event with a `pusher:pong` event"),
    async (t) => {
      const session = await connect(t);
      await session.send({ event: "pusher:ping", data: {} });
      await session.hears("pusher:pong");
    },
  );

  area.case(
    `${transport}-heartbeat`,
    `an empty list of messages gets a chunk by ${transport}`,
    SOURCE("after the activity timeout it sends [] and waits for any chunk"),
    async (t) => {
      const session = await connect(t);
      const before = session.lines.length;
      const answer = await session.post("xhr_send", "[]");
      assert.ok(answer.status < 300, `HTTP ${answer.status}`);
      await session.until(() => session.lines[before], "chunk");
      assert.ok(!session.lines[before].startsWith("h"), "h, which pusher-js answers with [] for ever");
    },
  );

  area.case(
    `${transport}-several`,
    `several messages in one request are all handled by ${transport}`,
    SOURCE("messages are sent as an array of texts"),
    async (t) => {
      const channels = [t.name("a"), t.name("b")];
      const session = await connect(t);
      await session.send(...channels.map((channel) => ({ event: "pusher:subscribe", data: { channel } })));
      for (const channel of channels) await session.hears("pusher_internal:subscription_succeeded", channel);
    },
  );

  area.case(`${transport}-excludes`, `a ${transport} connection can be excluded from an event`, EXIST, async (t) => {
    const channel = t.name("others");
    const session = await connect(t);
    await session.subscribe(channel);
    await t.publishInOrder([channel, "edited", {}, { socket_id: session.socketId }], [channel, "marker"]);
    await session.hears("marker", channel);
    assert.equal(
      session.frames.some(({ event }) => event === "edited"),
      false,
    );
  });

  area.case(
    `${transport}-complete`,
    `each of two hundred events arrives once over ${transport}`,
    SOURCE("messages are read from the answer"),
    async (t) => {
      const channel = t.name("many");
      const session = await connect(t);
      await session.subscribe(channel);
      for (let first = 0; first < 200; first += 10) {
        await t.publishInOrder(...Array.from({ length: 10 }, (_, n) => [channel, "tick", String(first + n)]));
      }
      const ticks = () => session.frames.filter(({ event }) => event === "tick").map(({ data }) => data);
      await session.until(() => (ticks().length === 200 ? true : undefined), "200 events");
      assert.deepEqual(
        ticks().toSorted((a, b) => a - b),
        Array.from({ length: 200 }, (_, n) => n),
      );
    },
  );

  area.case(
    `${transport}-one-open`,
    `o comes once in a session by ${transport}`,
    client("pusher/pusher-js 8.6.0 src/core/http/http_socket.ts")("a second o closes the connection: Server lost session"),
    async (t) => {
      const channel = t.name("once");
      const session = await connect(t);
      await session.subscribe(channel);
      await t.publish(channel, "story");
      await session.hears("story", channel);
      assert.equal(session.lines.filter((line) => line.startsWith("o")).length, 1);
    },
  );

  area.case(
    `${transport}-slash`,
    `a path with two slashes is served by ${transport}`,
    client("pusher/pusher-js 8.6.0 src/core/http/http_socket.ts")(
      "the path is httpPath, then /app/KEY; an httpPath may end in a slash",
    ),
    async (t) => {
      const { tls, host, port, path } = t.host.fallback;
      const answer = await request({
        tls,
        host,
        port,
        method: "POST",
        path: `${path}//app/${t.app.key}/1/${t.name()}/xhr?protocol=7&client=js&version=8.6.0&t=1&n=1`,
        ms: t.patience(),
      });
      assert.match(answer.text, /^(h+\n)?o/);
    },
  );
}

area.case(
  "streaming-goes-on",
  "a streaming response continues after an event",
  JS_HTTP_STREAMING("any end of the answer ends the connection"),
  async (t) => {
    const channel = t.name("goes-on");
    const session = await opened(t, "xhr_streaming").established();
    await session.subscribe(channel);
    for (const event of ["first", "second", "third"]) {
      await t.publish(channel, event);
      await session.hears(event, channel);
    }
    assert.equal(session.ended, false);
  },
);

area.case("streaming-unbuffered", "a streaming response may not be stored by proxies", EXIST, async (t) => {
  const session = await opened(t, "xhr_streaming").established();
  assert.match(String(session.headers["cache-control"]), /no-(store|cache)/);
});

area.case(
  "member-leaves",
  "a presence member whose session was aborted is removed in time",
  PROTOCOL("by either actually unsubscribing or their WebSocket connection closing"),
  async (t) => {
    const channel = t.name("presence-aborted");
    const bob = await t.join(channel, "bob");
    const session = await opened(t, "xhr_streaming").established();
    const channelData = '{"user_id":"ann"}';
    await session.subscribe(channel, {
      auth: channelAuth(t.app, session.socketId, channel, channelData),
      channel_data: channelData,
    });
    session.abort();
    await bob.hears("pusher_internal:member_removed", channel);
  },
  { seconds: 30 },
);

area.case(
  "unknown-session",
  "messages for an unknown session are refused",
  JS_HTTP_SOCKET("a session begins with a request to receive"),
  async (t) => {
    const answer = await new Session(t, "xhr").send({ event: "pusher:ping", data: {} });
    assert.ok(answer.status >= 400, `HTTP ${answer.status}`);
  },
);

area.case("preflight", "a browser's preflight request is answered", XHR, async (t) => {
  const { tls, host, port, path } = t.host.fallback;
  const headers = {
    Origin: "https://page.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
  };
  const answer = await request({
    tls,
    host,
    port,
    method: "OPTIONS",
    path: `${path}/app/${t.app.key}/1/${t.name()}/xhr_send?t=1&n=1`,
    headers,
    ms: t.patience(),
  });
  assert.ok(answer.status < 300, `HTTP ${answer.status}`);
  assert.ok(
    ["*", "https://page.example"].includes(answer.headers["access-control-allow-origin"]),
    "no Access-Control-Allow-Origin",
  );
  assert.match(String(answer.headers["access-control-allow-headers"]), /content-type|\*/i);
});

area.case("cors", "a page from another origin may read a response", XHR, async (t) => {
  const { tls, host, port, path } = t.host.fallback;
  const answer = await request({
    tls,
    host,
    port,
    method: "POST",
    path: `${path}/app/${t.app.key}/1/${t.name()}/xhr?protocol=7&client=js&version=8.6.0&t=1&n=1`,
    headers: { Origin: "https://page.example" },
    ms: t.patience(),
  });
  assert.ok(
    ["*", "https://page.example"].includes(answer.headers["access-control-allow-origin"]),
    "no Access-Control-Allow-Origin",
  );
});

area.silent("sockjs", "Is the sockjs transport of old browsers served?", async (t) => {
  const { tls, host, port, path } = t.host.fallback;
  const answer = await request({ tls, host, port, method: "GET", path: `${path}/info`, ms: t.patience() });
  return answer.status === 200 ? "yes" : `no: HTTP ${answer.status}`;
});
