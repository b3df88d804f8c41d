// What the tests of the HTTP fallback transports share: options, and traffic that shows whether anything was lost.

/** The transports by which pusher-js does without WebSockets. */
export const transports = ["xhr_streaming", "xhr_polling"];

/** After so many characters pusher-js drops a streaming response and asks for a new one. */
export const STREAM_CHARACTERS = 262_144;

/** The options an application adds to reach the host by `transport` alone. */
export function fallbackOptions({ server }, transport) {
  return { httpHost: server.host, httpPort: server.port, httpsPort: server.port, enabledTransports: [transport] };
}

const BATCH = 10;

/** Publishes `count` numbered events, each with `padding`, to the channels in turn; returns the characters of their data. */
export async function publishNumbered(publisher, channels, { from, count, padding }) {
  let characters = 0;
  for (let first = from; first < from + count; first += BATCH) {
    const batch = [];
    for (let n = first; n < Math.min(first + BATCH, from + count); n += 1) {
      const data = JSON.stringify({ n, padding });
      characters += data.length;
      batch.push({ channel: channels[n % channels.length], name: "numbered", data });
    }
    await publisher.triggerBatch(batch);
  }
  return characters;
}

/** The numbers from 0 to `count`. */
export function numbersTo(count) {
  return Array.from({ length: count }, (_, n) => n);
}
