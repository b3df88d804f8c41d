// One run of one case: what it opens is closed with it, its names are its own, and it has a deadline.

import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";
import { randomBytes } from "node:crypto";
import { request } from "./http.mjs";
import { asMember } from "./member.mjs";
import { channelAuth, signedPairs, userAuth } from "./signing.mjs";
import { Socket } from "./socket.mjs";
import { brief } from "./waiting.mjs";

/** What a wait leaves of the deadline, so that its own message comes first. */
const MARGIN_MS = 200;

const RUN = randomBytes(3).toString("hex");
let names = 0;

export class Trial {
  #deadline;
  #closers = [];
  #agent;

  constructor(host, receiver, deadlineMs) {
    this.host = host;
    this.app = host.app;
    this.receiver = receiver;
    this.#deadline = performance.now() + deadlineMs;
    const { Agent } = host.api.tls ? https : http;
    // One connection, so that a host of several nodes keeps the order of what is published.
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }

  /** Milliseconds that a wait may still take. */
  patience = () => Math.max(1, this.#deadline - performance.now() - MARGIN_MS);

  /** Ends something with the trial. */
  closing(close) {
    this.#closers.push(close);
  }

  close() {
    for (const close of this.#closers) {
      try {
        close();
      } catch {
        // What a case leaves open may be in any state.
      }
    }
    this.#agent.destroy();
  }

  /** A name that no other case and no other run uses, such as of a channel or a user. */
  name(stem = "") {
    names += 1;
    return `${stem}${stem && !stem.endsWith("-") ? "-" : ""}${RUN}${names.toString(36)}`;
  }

  // --- Connections ---------------------------------------------------------------------------------------

  /** Begins a connection. `path` replaces `/app/KEY`, `query` is the query's text. */
  open({ app = this.app, protocol = 7, path, query, subprotocols, headers } = {}) {
    const way = path ?? `${this.host.prefix}/app/${app.key}`;
    const url = this.host.socketUrl(way, query ?? `protocol=${protocol}&client=conformance&version=1.0.0`);
    const socket = new Socket(url, { subprotocols, headers, patience: this.patience });
    this.closing(() => socket.terminate());
    return socket;
  }

  /** An established connection. */
  connect(options) {
    return this.open(options).established();
  }

  /** So many established connections. */
  connectMany(count, options) {
    return Promise.all(Array.from({ length: count }, () => this.connect(options)));
  }

  /** The data of a subscribe: signed when the channel asks for it. */
  subscription(socket, channel, { app = this.app, member, channelData = member && JSON.stringify(asMember(member)) } = {}) {
    const isOpen = !/^(private|presence)-/.test(channel);
    if (isOpen) return { channel, auth: "" };
    return { channel, auth: channelAuth(app, socket.socketId, channel, channelData), channel_data: channelData };
  }

  /** Subscribes and waits for the confirmation, which it returns. */
  async subscribe(socket, channel, options) {
    const before = socket.all("pusher_internal:subscription_succeeded", channel).length;
    socket.send("pusher:subscribe", this.subscription(socket, channel, options));
    return socket.hears("pusher_internal:subscription_succeeded", channel, before + 1);
  }

  /** A connection that is subscribed to each of the channels. */
  async subscriber(...channels) {
    const socket = await this.connect();
    for (const channel of channels) await this.subscribe(socket, channel);
    return socket;
  }

  /** A connection of a member of a presence channel. */
  async join(channel, member, options = {}) {
    const socket = await this.connect(options);
    await this.subscribe(socket, channel, { member, ...options });
    return socket;
  }

  /** Signs in and waits for the confirmation. `user` is `{ id, user_info, watchlist }`. */
  async signIn(socket, user) {
    const userData = typeof user === "string" ? user : JSON.stringify(user);
    socket.send("pusher:signin", { auth: userAuth(this.app, socket.socketId, userData), user_data: userData });
    await socket.hears("pusher:signin_success");
    return socket;
  }

  /** A connection that is signed in. */
  async user(user, options) {
    return this.signIn(await this.connect(options), user);
  }

  // --- The HTTP API --------------------------------------------------------------------------------------

  /**
   * Sends a signed request to `/apps/ID` and `path`. Options of signedPairs spoil it; `sent` are other query pairs than the signed
   * ones, `encode` writes a value into the query, `order` rearranges the pairs, `wholePath` is what is sent and signed instead.
   */
  async ask(method, path, options = {}) {
    const { app = this.app, params = [], sent, body, headers, encode = encodeURIComponent, order = (pairs) => pairs } = options;
    const whole = options.wholePath ?? `/apps/${app.id}${path}`;
    const pairs = signedPairs(app, { ...options, method, path: whole, params: Object.entries(params).map(pairOf) });
    const query = order(sent ? [...sent, ...pairs.filter(([name]) => name.startsWith("auth_") || name === "body_md5")] : pairs);
    const text = query.map(([name, value]) => `${encode(name)}=${encode(value)}`).join("&");
    return request({
      ...this.host.api,
      method,
      path: `${this.host.prefix}${options.sentPath ?? whole}?${text}`,
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body,
      // Each question has a connection of its own, and so may be answered by any node.
      agent: method === "POST" ? this.#agent : undefined,
      ms: this.patience(),
    });
  }

  /** POSTs a value as JSON, or text as it is. */
  post(path, value, options = {}) {
    return this.ask("POST", path, { ...options, body: typeof value === "string" ? value : JSON.stringify(value) });
  }

  get(path, params = {}, options = {}) {
    return this.ask("GET", path, { ...options, params });
  }

  /** A GET that must succeed; returns the decoded answer. */
  async read(path, params, options) {
    return succeeded(await this.get(path, params, options));
  }

  /** Publishes and returns the decoded answer. `data` that is no string is sent as JSON. */
  async publish(channels, name, data = {}, more = {}) {
    const where = Array.isArray(channels) ? { channels } : { channel: channels };
    return succeeded(await this.post("/events", { name, ...where, data: text(data), ...more }));
  }

  /** Publishes events in one request, in order: each `[channel, name, data, more]`. */
  async publishInOrder(...events) {
    const batch = events.map(([channel, name, data = {}, more = {}]) => ({ channel, name, data: text(data), ...more }));
    return succeeded(await this.post("/batch_events", { batch }));
  }

  /** Publishes an event that ends what a case listens to, and waits until each socket heard it. */
  async mark(channel, ...sockets) {
    const name = this.name("marker");
    await this.publish(channel, name);
    await Promise.all(sockets.map((socket) => socket.hears(name, channel)));
    return name;
  }

  // --- Looks ---------------------------------------------------------------------------------------------

  /** Asks again until `check` no longer throws: for what a host may say late. */
  async eventually(check) {
    for (;;) {
      try {
        return await check();
      } catch (error) {
        if (this.patience() <= 100) throw error;
      }
      await this.pause(50);
    }
  }

  /** Lets time pass. For what a case must see not happen within a documented time. */
  pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, Math.min(ms, this.patience())));
  }

  /** Waits for the webhook events of a channel until `find` sees what it looks for. */
  webhook(channel, find, what) {
    const describe = () => `no ${what}; received ${brief(this.receiver.events(channel))}`;
    return this.receiver.until(() => find(this.receiver.events(channel)), describe, this.patience);
  }
}

const pairOf = ([name, value]) => (Array.isArray(value) ? value : [name, String(value)]);
const text = (data) => (typeof data === "string" ? data : JSON.stringify(data));

/** Asserts 200 and a JSON object; returns it. */
export function succeeded(answer) {
  assert.equal(answer.status, 200, `expected 200, got ${answer}`);
  assert.ok(
    answer.json !== null && typeof answer.json === "object" && !Array.isArray(answer.json),
    `expected a JSON object, got ${answer}`,
  );
  return answer.json;
}

/** Asserts an HTTP status. */
export function refused(answer, ...statuses) {
  assert.ok(statuses.includes(answer.status), `expected ${statuses.join(" or ")}, got ${answer}`);
  return answer;
}
