// The options by which client libraries reach the host of a trial, and an application's backend for them.

import Publisher from "pusher";
import { asMember } from "../kit/member.mjs";
import { startAuthServer, tokenOf } from "./auth_server.mjs";
import { Listener } from "./listener.mjs";

const MASTER_KEY = Buffer.alloc(32, "conformance").toString("base64");

/** The official server library for an app of the host; `Client` is another version's class. */
export function serverLibrary(t, { Client = Publisher, app = t.app, ...options } = {}) {
  const { tls, host, port } = t.host.api;
  return new Client({ appId: app.id, key: app.key, secret: app.secret, host, port: String(port), useTLS: tls, ...options });
}

const endpoints = new Map();

/** The URL of an endpoint that signs for an app. It serves all trials, and ends with the kit. */
function endpointOf(t, app) {
  const name = `${app.key}:${app.secret}`;
  if (!endpoints.has(name))
    endpoints.set(name, startAuthServer(serverLibrary(t, { app, encryptionMasterKeyBase64: MASTER_KEY })));
  return endpoints.get(name).then(({ url }) => url);
}

/** A server library that seals events for encrypted channels with the key that the endpoint gives away. */
export function sealer(t) {
  return serverLibrary(t, { encryptionMasterKeyBase64: MASTER_KEY });
}

/** The options of pusher-js for the host. `user` may be absent: the endpoint then says 403. `signer` is the app that signs. */
async function optionsOf(t, { user, signer = t.app, relay, ...options } = {}) {
  const { tls, host, port } = t.host.options;
  const { host: httpHost, port: httpPort, path: httpPath } = t.host.fallback;
  const endpoint = await endpointOf(t, signer);
  const headers = user ? { Authorization: `Bearer ${tokenOf(asMember(user))}` } : {};
  const signed = { endpoint, transport: "ajax", headers };
  return {
    cluster: "mt1",
    wsHost: relay ? "127.0.0.1" : host,
    wsPort: relay?.port ?? port,
    wssPort: port,
    ...(t.host.prefix ? { wsPath: t.host.prefix } : {}),
    httpHost,
    httpPort,
    httpsPort: httpPort,
    httpPath,
    forceTLS: tls,
    enabledTransports: ["ws", "wss"],
    channelAuthorization: signed,
    userAuthentication: signed,
    // What versions before 7.1 call it, and before 5 and 6 use.
    authEndpoint: endpoint,
    authTransport: "ajax",
    auth: { headers },
    encrypted: tls,
    disableStats: true,
    ...options,
  };
}

/** A pusher-js client that has begun to connect. */
export async function open(t, Client, { app = t.app, ...options } = {}) {
  const listener = new Listener(app.key, await optionsOf(t, options), { Client, patience: t.patience });
  t.closing(() => listener.disconnect());
  return listener;
}

/** A connected pusher-js client. */
export async function connect(t, Client, options) {
  const listener = await open(t, Client, options);
  await listener.reaches("connected");
  return listener;
}
