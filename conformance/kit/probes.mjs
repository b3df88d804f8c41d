// Whether a host has a feature at all. A host may lack what Pusher lets an app switch off; its cases are then absent, not failed.

import assert from "node:assert/strict";
import { request } from "./http.mjs";

/** How long a probe may take, in milliseconds. */
export const PROBE_MS = 6_000;
/** A host that found no receiver before may pause before it tries again. */
export const WEBHOOK_PROBE_MS = 60_000;

const subscribed = (t, channel, options) =>
  t.connect().then(async (socket) => (await t.subscribe(socket, channel, options), socket));

export const PROBES = {
  "client events": async (t) => {
    const channel = t.name("private-probe");
    const [sender, receiver] = [await subscribed(t, channel), await subscribed(t, channel)];
    sender.send("client-probe", {}, channel);
    await receiver.hears("client-probe", channel);
  },
  "cache channels": async (t) => {
    const socket = await subscribed(t, t.name("cache-probe"));
    await socket.hears("pusher:cache_miss");
  },
  "sign-in": (t) => t.user({ id: t.name("probe") }),
  watchlists: async (t) => {
    const socket = await t.user({ id: t.name("probe"), watchlist: [t.name("watched")] });
    await socket.hears("pusher_internal:watchlist_events");
  },
  "subscription counts": async (t) => {
    const channel = t.name("probe");
    const socket = await subscribed(t, channel);
    await socket.hears("pusher_internal:subscription_count", channel);
  },
  fallbacks: async (t) => {
    const { tls, host, port, path } = t.host.fallback;
    const name = `${path}/app/${t.app.key}/1/${t.name()}/xhr?protocol=7&client=js&version=8.6.0&t=1&n=1`;
    const answer = await request({ tls, host, port, method: "POST", path: name, ms: PROBE_MS });
    assert.equal(answer.status, 200);
    assert.match(answer.text, /^(h+\n)?o/);
  },
  webhooks: async (t) => {
    const channel = t.name("probe");
    await subscribed(t, channel);
    await t.webhook(channel, ([first]) => first, "webhook");
  },
};

/** The names by which `--without` knows the features. */
export const FEATURES = Object.keys(PROBES);
