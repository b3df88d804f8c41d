// What every test stands on: a built server with the apps of server.mjs, clients of it, a publisher, an authorisation endpoint.

import { Agent } from "node:http";
import { randomBytes } from "node:crypto";
import Publisher from "pusher";
import { startAuthServer, tokenOf } from "../../conformance/clients/auth_server.mjs";
import { Listener } from "../../conformance/clients/listener.mjs";
import { asMember } from "../../conformance/kit/member.mjs";
import { clustered, apps as testApps, startServer } from "./server.mjs";

/** For `skip`: the reason not to run a test of a limit that each node keeps for itself. */
export const needsOneNode = clustered && "a limit of one node (the servers are clusters)";

const MASTER_KEY = Buffer.alloc(32, "loudhailer").toString("base64");

export class World {
  #listeners = [];
  #authServers = new Map();
  // One connection, so that in a cluster what is published goes to one node, which keeps its order.
  #agent = new Agent({ keepAlive: true, maxSockets: clustered ? 1 : Infinity });
  #run = randomBytes(4).toString("hex");

  constructor(server, apps) {
    this.server = server;
    this.apps = apps;
    this.publisher = this.publisherOf(apps.main);
  }

  /** The name of a channel that no other test and no other run uses. */
  channel(name) {
    return `${name}-${this.#run}`;
  }

  /** npm's `pusher` for an app, signing with its secret unless told otherwise. */
  publisherOf(app, options = {}) {
    const settings = {
      appId: app.id,
      key: app.key,
      secret: app.secret,
      host: this.server.host,
      port: String(this.server.port),
      useTLS: false,
      agent: this.#agent,
      encryptionMasterKeyBase64: MASTER_KEY,
      ...options,
    };
    const publisher = new Publisher(settings);
    if (clustered) {
      // Each question has a connection of its own, and so may be answered by any node.
      const asking = new Publisher({ ...settings, agent: new Agent() });
      publisher.get = (request) => asking.get(request);
    }
    return publisher;
  }

  /** The options an application gives to pusher-js to reach the host. */
  clientOptions(options = {}) {
    const { host, port } = this.server;
    return {
      cluster: "mt1",
      wsHost: host,
      wsPort: port,
      wssPort: port,
      forceTLS: false,
      enabledTransports: ["ws", "wss"],
      ...options,
    };
  }

  /** The endpoint that signs subscriptions for the app of `publisher`. */
  async authEndpoint(publisher = this.publisher) {
    if (!this.#authServers.has(publisher)) {
      this.#authServers.set(publisher, startAuthServer(publisher));
    }
    return `${(await this.#authServers.get(publisher)).url}/broadcasting/auth`;
  }

  /** A pusher-js client that has begun to connect. `user` may be absent: the endpoint then says 403. `Client` is another version's class. */
  async client({ app = this.apps.main, user, signer, Client, ...options } = {}) {
    const endpoint = await this.authEndpoint(signer ?? this.#signerOf(app));
    const headers = user ? { Authorization: `Bearer ${tokenOf(asMember(user))}` } : {};
    const channelAuthorization = { endpoint, transport: "ajax", headers };
    // What versions before 7.1 call it.
    const legacy = Client && { authEndpoint: endpoint, authTransport: "ajax", auth: { headers } };
    const listener = new Listener(app.key, this.clientOptions({ channelAuthorization, ...legacy, ...options }), { Client });
    this.#listeners.push(listener);
    return listener;
  }

  #signers = new Map();

  #signerOf(app) {
    if (app === this.apps.main) return this.publisher;
    if (!this.#signers.has(app)) this.#signers.set(app, this.publisherOf(app));
    return this.#signers.get(app);
  }

  /** A connected pusher-js client. */
  async connect(options) {
    const listener = await this.client(options);
    await listener.reaches("connected");
    return listener;
  }

  /** Publishes through the HTTP API and returns the decoded answer. */
  async publish(channels, event, data = {}, params = undefined) {
    const answer = await this.publisher.trigger(channels, event, data, params);
    return answer.json();
  }

  async close() {
    for (const listener of this.#listeners) listener.disconnect();
    for (const authServer of this.#authServers.values()) await (await authServer).close();
    this.#agent.destroy();
    await this.server.stop();
  }
}

/** Opens the world for one test file; `options` are those of `startServer`. */
export async function openWorld(options = {}) {
  return new World(await startServer(options), testApps);
}
