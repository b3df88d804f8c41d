// Cache channels: the last event is sent to later subscribers.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { CACHE, EVENTS } from "../kit/sources.mjs";

export const area = new Area("cache", "Channels: cache", { needs: ["cache channels"] });

const MISS = "pusher:cache_miss";
const SUCCEEDED = "pusher_internal:subscription_succeeded";
const FIRST = CACHE("if a cached value exists, it's sent to the client as the first event on that channel");
const MISSED = EVENTS("you can bind to the `pusher:cache_miss` event to let the client know if there is no cached message");
const CLIENT_EVENTS = CACHE("but we do not cache client events");

/** A subscriber of any kind of channel. */
const enter = (t, channel) => (channel.startsWith("presence-") ? t.join(channel, t.name("member")) : t.subscriber(channel));

for (const kind of ["cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-"]) {
  const short = kind.slice(0, -1);
  area.case(
    `${short}-last`,
    `a late subscriber of a ${kind} channel gets the last event`,
    CACHE("A cache channel remembers the last triggered event, and sends this as the first event to new subscribers."),
    async (t) => {
      const channel = t.name(kind);
      await t.publish(channel, "price", { cents: 1 });
      await t.publish(channel, "price", { cents: 2 });
      const socket = await enter(t, channel);
      await socket.hears("price", channel);
      await t.mark(channel, socket);
      assert.deepEqual(
        socket.all("price", channel).map(({ raw }) => raw.data),
        ['{"cents":2}'],
      );
    },
  );

  area.case(
    `${short}-after-confirmation`,
    `the confirmation of a ${kind} channel precedes the cached event`,
    FIRST,
    async (t) => {
      const channel = t.name(kind);
      await t.publish(channel, "price", { cents: 1 });
      const socket = await enter(t, channel);
      await socket.hears("price", channel);
      assert.deepEqual(socket.on(channel).slice(0, 2), [SUCCEEDED, "price"]);
    },
  );

  area.case(`${short}-miss`, `a ${kind} channel without an event sends pusher:cache_miss`, MISSED, async (t) => {
    const channel = t.name(kind);
    const socket = await enter(t, channel);
    await socket.hears(MISS, channel);
    assert.deepEqual(socket.on(channel).slice(0, 2), [SUCCEEDED, MISS]);
  });

  area.case(`${short}-no-miss`, `a ${kind} channel with an event sends no pusher:cache_miss`, MISSED, async (t) => {
    const channel = t.name(kind);
    await t.publish(channel, "price", { cents: 1 });
    const socket = await enter(t, channel);
    await socket.hears("price", channel);
    await t.mark(channel, socket);
    assert.equal(socket.all(MISS, channel).length, 0);
  });
}

area.case(
  "name-and-data",
  "the cached event has its own name and data",
  CACHE("When an event is triggered on a cache channel, Pusher Channels caches this event."),
  async (t) => {
    const channel = t.name("cache-names");
    await t.publish(channel, "price-changed", '{"cents" : 1}');
    const socket = await t.subscriber(channel);
    assert.deepEqual((await socket.hears("price-changed", channel)).raw, {
      event: "price-changed",
      channel,
      data: '{"cents" : 1}',
    });
  },
);

area.case(
  "without-subscribers",
  "an event is cached while nobody is subscribed",
  CACHE("This behavior helps developers provide the initial state without adding additional logic to fetch it from elsewhere."),
  async (t) => {
    const channel = t.name("cache-alone");
    await t.publish(channel, "price", { cents: 1 });
    const socket = await t.subscriber(channel);
    await socket.hears("price", channel);
  },
);

area.case(
  "after-vacated",
  "an event stays cached after the last subscriber has left",
  CACHE("If you do not publish any event, the cached event expires after TTL has elapsed."),
  async (t) => {
    const channel = t.name("cache-vacated");
    const first = await t.subscriber(channel);
    await t.publish(channel, "price", { cents: 1 });
    await first.hears("price", channel);
    first.close();
    await first.closes();
    const second = await t.subscriber(channel);
    await second.hears("price", channel);
  },
);

area.case(
  "excluded-sender",
  "an event that excludes a connection is cached as well",
  CACHE("A cache channel remembers the last triggered event"),
  async (t) => {
    const channel = t.name("cache-excluded");
    const sender = await t.subscriber(channel);
    await t.publish(channel, "price", { cents: 3 }, { socket_id: sender.socketId });
    const late = await t.subscriber(channel);
    await late.hears("price", channel);
  },
);

area.case(
  "miss-each",
  "each subscriber of an empty channel gets pusher:cache_miss",
  CACHE("the client can also use the event binding feature to subscribe to `pusher:cache_miss` event"),
  async (t) => {
    const channel = t.name("cache-empty");
    for (let count = 0; count < 2; count += 1) await (await t.subscriber(channel)).hears(MISS, channel);
  },
);

area.case(
  "filled-after-miss",
  "an event after a miss reaches the subscribers and is cached",
  CACHE("It will re-populate the cache."),
  async (t) => {
    const channel = t.name("cache-filled");
    const early = await t.subscriber(channel);
    await early.hears(MISS, channel);
    await t.publish(channel, "price", { cents: 5 });
    await early.hears("price", channel);
    await (await t.subscriber(channel)).hears("price", channel);
  },
);

area.case("again", "a subscriber that returns gets the cached event again", FIRST, async (t) => {
  const channel = t.name("cache-again");
  const socket = await t.subscriber(channel);
  await t.publish(channel, "price", { cents: 1 });
  await socket.hears("price", channel);
  socket.send("pusher:unsubscribe", { channel });
  await t.subscribe(socket, channel);
  await socket.hears("price", channel, 2);
});

area.case(
  "client-events",
  "client events are relayed and not cached",
  CLIENT_EVENTS,
  async (t) => {
    const channel = t.name("private-cache-whisper");
    const [ann, bob] = [await t.subscriber(channel), await t.subscriber(channel)];
    ann.send("client-typing", {}, channel);
    await bob.hears("client-typing", channel);
    const late = await t.subscriber(channel);
    await late.hears(MISS, channel);
    assert.equal(late.all("client-typing").length, 0);
  },
  { needs: ["client events"] },
);

area.case(
  "refused-gets-nothing",
  "a refused subscriber does not get the cached event",
  CACHE("Private cache channel subscriptions must be authorized."),
  async (t) => {
    const channel = t.name("private-cache-shut");
    await t.publish(channel, "price", { cents: 1 });
    const socket = await t.connect();
    socket.send("pusher:subscribe", { channel, auth: "" });
    await socket.settle();
    assert.equal(socket.all("price").length, 0);
  },
);

for (const stem of ["my-cache-x", "cached-x", "private-my-cache-x"]) {
  area.case(
    `no-cache-${stem}`,
    `${stem} is not a cache channel`,
    CACHE("Cache channels must be prefixed with `cache-` ."),
    async (t) => {
      const channel = t.name(stem);
      await t.publish(channel, "price", { cents: 1 });
      const socket = await t.subscriber(channel);
      await t.mark(channel, socket);
      assert.equal(socket.on(channel).length, 2, `received ${socket.on(channel)}`);
    },
  );
}

area.silent("time-to-live", "How long is an event cached, where the documentation says up to 30 minutes?", async (t) => {
  const channel = t.name("cache-ttl");
  await t.publish(channel, "price", { cents: 1 });
  const { cache } = (await t.get(`/channels/${channel}`, { info: "cache" })).json ?? {};
  return cache?.ttl === undefined ? "not reported" : `${cache.ttl} s`;
});
