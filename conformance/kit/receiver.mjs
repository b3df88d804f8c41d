// The receiver of webhooks. The host must be configured to post to it.

import { once } from "node:events";
import { createServer } from "node:http";
import { Awaited } from "./waiting.mjs";

/** Requests that are kept. */
const REQUESTS_MAX = 50_000;
const BODY_MAX = 4 << 20;
/** Webhooks about what has gone come three seconds late. */
const QUIET_MS = 3_500;
const DRAIN_MAX_MS = 10_000;

export class Receiver {
  /** Each request that was answered with 200: `{ headers, body, json, at }`. */
  requests = [];
  /** Requests that were refused on purpose. */
  refused = [];
  #refusals = new Map();
  #awaited = new Set();
  #server = createServer((request, response) => this.#take(request, response));

  async listen({ host, port }) {
    this.#server.listen(port, host);
    await once(this.#server, "listening");
  }

  /** Takes what a host still sends: one whose endpoint is gone would pause before the next run. */
  async drain() {
    const ends = Date.now() + DRAIN_MAX_MS;
    let count;
    do {
      count = this.requests.length;
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    } while (this.requests.length > count && Date.now() < ends);
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Answers the next `times` requests about a channel with 500. */
  refuse(channel, times) {
    this.#refusals.set(channel, times);
  }

  async #take(request, response) {
    const chunks = [];
    let size = 0;
    request.on("error", () => {});
    for await (const chunk of request) {
      size += chunk.length;
      if (size <= BODY_MAX) chunks.push(chunk);
    }
    const body = Buffer.concat(chunks).toString();
    const kept = { headers: request.headers, method: request.method, body, json: parsed(body), at: Date.now() };
    const refusing = [...this.#refusals].find(([channel, times]) => times > 0 && body.includes(JSON.stringify(channel)));
    if (refusing) {
      this.#refusals.set(refusing[0], refusing[1] - 1);
      this.refused.push(kept);
    } else if (this.requests.length < REQUESTS_MAX) this.requests.push(kept);
    response.writeHead(refusing ? 500 : 200).end();
    for (const awaited of this.#awaited) awaited.look();
  }

  /** The requests that have events of a channel. */
  about(channel, requests = this.requests) {
    return requests.filter(({ json }) => eventsOf(json).some((event) => event?.channel === channel));
  }

  /** The events of a channel, in order of arrival. */
  events(channel) {
    return this.requests.flatMap(({ json }) => eventsOf(json)).filter((event) => event?.channel === channel);
  }

  /** Waits for something that `find` sees in what was received. */
  async until(find, describe, patience) {
    const awaited = new Awaited(patience);
    this.#awaited.add(awaited);
    try {
      return await awaited.until(find, describe);
    } finally {
      this.#awaited.delete(awaited);
    }
  }
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

const eventsOf = (json) => (Array.isArray(json?.events) ? json.events : []);
