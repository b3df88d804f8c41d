// What the server says of itself, asked for every two seconds, and the samples that the charts are made of.

import { get } from "./api.js";

const EVERY_MS = 2_000;
const SAMPLES_MAX = 450;

const listeners = new Set();
const samples = [];
let latest;
let previous;

/** The newest state; undefined before the first. */
export const serverState = () => latest;

/** Samples of the last quarter of an hour, the oldest first. */
export const history = () => samples;

/** Calls `listener` with each state, or with a failure as its second argument. */
export function onState(listener) {
  listeners.add(listener);
  if (latest) listener(latest);
}

/** Whether there are other nodes; what is counted by delivery is counted on this one. */
export const isCluster = () => latest?.cluster.length > 1;

export function appOf(id) {
  return latest?.apps.find((app) => app.id === id);
}

/** Asks once; rejects if there is no answer. */
export async function askState() {
  const state = await get("api/state");
  take(state, Date.now());
  return state;
}

/** Asks for ever. */
export async function followState() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    try {
      await askState();
    } catch (failure) {
      for (const listener of listeners) listener(undefined, failure);
    }
  }
}

function take(state, now) {
  latest = state;
  // Two answers close to each other give no rate worth drawing.
  if (!previous || now - previous.now >= EVERY_MS / 2) {
    samples.push(sample(state, now, previous));
    if (samples.length > SAMPLES_MAX) samples.shift();
    previous = { state, now };
  }
  for (const listener of listeners) listener(state);
}

/** Rates are differences of totals; a server that began anew has no rate yet. */
function sample(state, now, before) {
  const seconds = before && (now - before.now) / 1000;
  const rate = (name) => {
    if (!before || state.uptime_s < before.state.uptime_s) return null;
    const grown = state[name] - before.state[name];
    return grown < 0 || seconds <= 0 ? null : grown / seconds;
  };
  return {
    time: now / 1000,
    here: state.connections,
    everywhere: state.cluster.length > 1 ? sum(state.cluster) : null,
    fromClients: rate("messages_received"),
    fromApi: rate("api_messages"),
    sent: rate("messages_sent"),
    p50: state.publish_latency_ms?.p50 ?? null,
    p99: state.publish_latency_ms?.p99 ?? null,
  };
}

const sum = (parts) => parts.reduce((total, { connections }) => total + connections, 0);
