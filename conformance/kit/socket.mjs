// One raw connection to the host that remembers what it received. It is no client library: it sends what a case says.

import WebSocket from "ws";
import { Awaited, brief } from "./waiting.mjs";

/** Messages that are kept of one connection. */
const FRAMES_MAX = 20_000;

/** A message as it came: `event`, `channel`, `data` (decoded once if it is a string of JSON), `raw` (the envelope), `text`. */
function parse(text) {
  try {
    const raw = JSON.parse(text);
    return { event: raw?.event, channel: raw?.channel, data: decoded(raw?.data), raw, text };
  } catch {
    return { raw: undefined, text };
  }
}

function decoded(data) {
  if (typeof data !== "string") return data;
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

export class Socket {
  frames = [];
  /** `{ code, reason }` once the connection has ended. */
  ended = undefined;
  /** Why there was no WebSocket: an error whose `status` is the HTTP status, if there was one. */
  failure = undefined;
  pongs = [];
  #awaited;
  #ws;

  constructor(url, { subprotocols = [], headers = {}, patience }) {
    this.#awaited = new Awaited(patience);
    this.#ws = new WebSocket(url, subprotocols, { headers, perMessageDeflate: false, skipUTF8Validation: true });
    this.#ws.on("message", (data, isBinary) =>
      this.#keep(isBinary ? { raw: undefined, text: `${data.length} binary bytes` } : parse(data.toString())),
    );
    this.#ws.on("pong", (payload) => this.#note(() => this.pongs.push(payload.toString())));
    this.#ws.on("unexpected-response", (request, response) => {
      const failure = new Error(`the upgrade got HTTP ${response.statusCode}`);
      failure.status = response.statusCode;
      this.#note(() => (this.failure = failure));
      request.destroy();
    });
    this.#ws.on("error", (error) => this.#note(() => (this.failure ??= error)));
    this.#ws.on("close", (code, reason) => this.#note(() => (this.ended = { code, reason: reason.toString() })));
  }

  #keep(frame) {
    this.#note(() => {
      if (this.frames.length < FRAMES_MAX) this.frames.push(frame);
    });
  }

  #note(change) {
    change();
    this.#awaited.look();
  }

  /** The sub-protocol that the host selected; empty when none. */
  get subprotocol() {
    return this.#ws.protocol;
  }

  get isOpen() {
    return this.#ws.readyState === WebSocket.OPEN;
  }

  /** Waits for something that `find` sees in this connection. */
  until(find, what) {
    return this.#awaited.until(find, () => `no ${what}; ${this.story()}`);
  }

  /** What happened so far, for messages. */
  story() {
    const events = this.frames.slice(-8).map(({ text }) => brief(text, 160));
    const end = this.ended ? `, closed with ${this.ended.code} ${this.ended.reason}` : "";
    const failure = this.failure ? `, failed: ${this.failure.message}` : "";
    return `received ${events.length ? events.join(" ") : "nothing"}${failure}${end}`;
  }

  /** Waits for the handshake's first message to confirm the connection. */
  async established() {
    await this.until(() => this.frames[0] ?? this.ended ?? this.failure, "first message");
    const [first] = this.frames;
    if (first?.event !== "pusher:connection_established") throw new Error(`the connection was not established: ${this.story()}`);
    this.socketId = first.data?.socket_id;
    return this;
  }

  /** Waits until the connection has ended; returns `{ code, reason }`. */
  async closes() {
    await this.until(() => this.ended ?? (this.failure && !this.isOpen ? this.failure : undefined), "close");
    if (!this.ended) throw this.failure;
    return this.ended;
  }

  sendText(text) {
    // A case looks at what comes back; a connection that has closed meanwhile is seen there.
    if (this.isOpen) this.#ws.send(text);
  }

  send(event, data, channel) {
    this.sendText(JSON.stringify({ event, data, channel }));
  }

  sendBinary(bytes) {
    if (this.isOpen) this.#ws.send(bytes, { binary: true });
  }

  /** Sends text in several frames. */
  sendFragments(...parts) {
    parts.forEach((part, index) => this.#ws.send(part, { fin: index === parts.length - 1 }));
  }

  /** Writes bytes below WebSocket's framing. */
  write(bytes) {
    this.#ws._socket.write(Buffer.from(bytes));
  }

  ping(payload = "") {
    this.#ws.ping(payload);
  }

  close(code, reason) {
    this.#ws.close(code, reason);
  }

  /** Ends the connection as a lost network does. */
  terminate() {
    this.#ws.terminate();
  }

  /** The messages of an event, in order; `channel` is left out for any. */
  all(event, channel) {
    return this.frames.filter((each) => each.event === event && (channel === undefined || each.channel === channel));
  }

  /** Waits for the `count`-th message of an event. */
  hears(event, channel, count = 1) {
    const what = `${event}${channel ? ` on ${channel}` : ""}${count > 1 ? `, ${count} times` : ""}`;
    return this.until(() => this.all(event, channel)[count - 1] ?? (this.ended ? null : undefined), what).then((frame) => {
      if (!frame) throw new Error(`no ${what}; ${this.story()}`);
      return frame;
    });
  }

  /** The names of the events that came on a channel, in order, without the counts, which a host may send at any time. */
  on(channel) {
    return this.frames
      .filter((each) => each.channel === channel && each.event !== "pusher_internal:subscription_count")
      .map(({ event }) => event);
  }

  /** The `data` of the errors that came. */
  get errors() {
    return this.all("pusher:error").map(({ data }) => data);
  }

  /** Makes sure that everything sent before was handled: asks and waits for the answer. */
  async settle() {
    const count = this.all("pusher:pong").length + 1;
    this.send("pusher:ping", {});
    await this.hears("pusher:pong", undefined, count);
  }
}
