// Subscription counts, as a channel's subscribers get them.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { EVENTS, JS_CHANNEL } from "../kit/sources.mjs";

export const area = new Area("counts", "Subscription counts", { needs: ["subscription counts"] });

const COUNT = "pusher_internal:subscription_count";
const BROADCAST = EVENTS(
  "Pusher broadcasts the event to all clients connected to a channel whenever a new client subscribes or unsubscribes.",
);
const NOT_PRESENCE = EVENTS("This Subscription Count event is available for all channel types except Presence channels.");
const LARGE = EVENTS(
  "On channels with more than 100 connected clients, the event is sent every 5 seconds as long as there is activity",
);

const counts = (socket, channel) => socket.all(COUNT, channel).map(({ data }) => data.subscription_count);
const hears = (socket, channel, count) =>
  socket.until(() => (counts(socket, channel).includes(count) ? count : undefined), `count of ${count}`);

area.case("self", "a new subscriber gets the count after the confirmation", BROADCAST, async (t) => {
  const channel = t.name("counted");
  const socket = await t.subscriber(channel);
  await hears(socket, channel, 1);
  const own = socket.frames.filter((each) => each.channel === channel).map(({ event }) => event);
  assert.deepEqual(own, ["pusher_internal:subscription_succeeded", COUNT]);
});

area.case(
  "form",
  "the count is a number, in data that is a string",
  JS_CHANNEL("it reads data.subscription_count"),
  async (t) => {
    const channel = t.name("counted");
    const socket = await t.subscriber(channel);
    const { raw } = await socket.hears(COUNT, channel);
    assert.equal(raw.data, '{"subscription_count":1}');
  },
);

area.case("comes", "all subscribers get the new count when one subscribes", BROADCAST, async (t) => {
  const channel = t.name("counted");
  const [first, second] = [await t.subscriber(channel), await t.subscriber(channel)];
  await Promise.all([hears(first, channel, 2), hears(second, channel, 2)]);
});

for (const [name, leave] of [
  ["unsubscribe", (socket, channel) => socket.send("pusher:unsubscribe", { channel })],
  ["close", (socket) => socket.close()],
]) {
  area.case(
    `goes-by-${name}`,
    `the remaining subscribers get the new count after an ${name === "close" ? "end of a connection" : name}`,
    BROADCAST,
    async (t) => {
      const channel = t.name("counted");
      const [first, second] = [await t.subscriber(channel), await t.subscriber(channel)];
      await hears(first, channel, 2);
      leave(second, channel);
      await first.until(() => (counts(first, channel).at(-1) === 1 ? true : undefined), "count of 1 again");
    },
  );
}

for (const kind of ["private-", "private-encrypted-", "cache-"]) {
  area.case(`on-${kind.slice(0, -1)}`, `a ${kind} channel is counted`, NOT_PRESENCE, async (t) => {
    const channel = t.name(`${kind}counted`);
    await hears(await t.subscriber(channel), channel, 1);
  });
}

area.case("not-presence", "a presence channel is not counted", NOT_PRESENCE, async (t) => {
  const channel = t.name("presence-counted");
  const socket = await t.join(channel, "ann");
  await t.mark(channel, socket);
  assert.deepEqual(counts(socket, channel), []);
});

area.case(
  "connections",
  "connections are counted, not users",
  EVENTS("Provides the number of connections that are currently subscribed to a channel."),
  async (t) => {
    const channel = t.name("private-counted");
    const sockets = [await t.subscriber(channel), await t.subscriber(channel), await t.subscriber(channel)];
    await hears(sockets[0], channel, 3);
  },
);

for (const protocol of [5, 6]) {
  area.case(`protocol-${protocol}`, `counts work on protocol ${protocol}`, BROADCAST, async (t) => {
    const channel = t.name("counted");
    const socket = await t.connect({ protocol });
    await t.subscribe(socket, channel);
    await hears(socket, channel, 1);
  });
}

area.case(
  "large",
  "a channel with more than a hundred subscribers gets a count at most every five seconds",
  LARGE,
  async (t) => {
    const channel = t.name("large");
    const first = await t.subscriber(channel);
    const others = await t.connectMany(119);
    await Promise.all(others.map((socket) => t.subscribe(socket, channel)));
    await hears(first, channel, 120);
    const above = counts(first, channel).filter((count) => count > 101);
    assert.ok(above.length <= 3, `counts ${above}`);
  },
  { seconds: 15 },
);
