// POST /batch_events: several events in one request.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { CACHE, EXCLUDING, HTTP_API, REST } from "../kit/sources.mjs";
import { refused, succeeded } from "../kit/trial.mjs";

export const area = new Area("batch", "HTTP API: batches");

const EVENTS_MAX = 10;
const TEN = REST("Triggers multiple events in a single call (up to 10 per call on the multi-tenant clusters).");
const INDEX = REST(
  "The attributes at index `i` will correspond to the channel that event at index `i` in the request body was published to.",
);
const REQUIRED = REST("Channel name (required)");
const BAD = REST("Error: details in response body");

const item = (channel, more = {}) => ({ name: "story", channel, data: "{}", ...more });
const send = (t, batch) => t.post("/batch_events", { batch });

area.case("empty-answer", "a batch is answered with an empty JSON hash", REST("Response is an empty JSON hash."), async (t) => {
  assert.deepEqual(succeeded(await send(t, [item(t.name("batch"))])), {});
});

area.case("ten", "a batch may have ten events", TEN, async (t) => {
  const channel = t.name("ten");
  const socket = await t.subscriber(channel);
  succeeded(
    await send(
      t,
      Array.from({ length: EVENTS_MAX }, (_, n) => item(channel, { name: `story-${n}` })),
    ),
  );
  await socket.hears("story-9", channel);
});

area.case("order", "the events of a batch arrive in its order", HTTP_API("supports batches"), async (t) => {
  const channel = t.name("order");
  const socket = await t.subscriber(channel);
  const names = Array.from({ length: EVENTS_MAX }, (_, n) => `story-${n}`);
  succeeded(
    await send(
      t,
      names.map((name) => item(channel, { name })),
    ),
  );
  await socket.hears(names.at(-1), channel);
  assert.deepEqual(socket.on(channel).slice(-EVENTS_MAX), names);
});

area.case(
  "channels",
  "the events of a batch go to their own channels",
  HTTP_API("publish many non-identical events"),
  async (t) => {
    const [one, two] = [t.name("one"), t.name("two")];
    const socket = await t.subscriber(one, two);
    succeeded(await send(t, [item(one, { name: "first" }), item(two, { name: "second" })]));
    await Promise.all([socket.hears("first", one), socket.hears("second", two)]);
    assert.deepEqual([socket.all("first").length, socket.all("second").length], [1, 1]);
  },
);

area.case(
  "excludes",
  "each event of a batch excludes the connection it names",
  EXCLUDING("will be excluded from receiving the event"),
  async (t) => {
    const channel = t.name("others");
    const [ann, bob] = [await t.subscriber(channel), await t.subscriber(channel)];
    const events = [
      ["not-for-ann", ann],
      ["not-for-bob", bob],
    ].map(([name, socket]) => item(channel, { name, socket_id: socket.socketId }));
    succeeded(await send(t, [...events, item(channel, { name: "marker" })]));
    await Promise.all([ann.hears("marker", channel), bob.hears("marker", channel)]);
    assert.deepEqual(ann.on(channel).slice(-2), ["not-for-bob", "marker"]);
    assert.deepEqual(bob.on(channel).slice(-2), ["not-for-ann", "marker"]);
  },
);

area.case("info", "attributes are returned at the index of their event", INDEX, async (t) => {
  const [room, news] = [t.name("presence-batch"), t.name("batch")];
  await t.join(room, "ann");
  const { batch } = succeeded(await send(t, [item(room, { info: "user_count" }), item(news)]));
  assert.deepEqual([batch?.length, batch?.[0].user_count, batch?.[1].user_count], [2, 1, undefined]);
});

area.case(
  "info-subscriptions",
  "info=subscription_count is returned for an event of a batch",
  INDEX,
  async (t) => {
    const channel = t.name("counted");
    await t.subscriber(channel);
    const { batch } = succeeded(await send(t, [item(t.name("other")), item(channel, { info: "subscription_count" })]));
    assert.deepEqual([batch?.length, batch?.[1].subscription_count], [2, 1]);
  },
  { needs: ["subscription counts"] },
);

area.case(
  "last-cached",
  "the last event of a batch is the one that a cache channel keeps",
  CACHE("A cache channel remembers the last triggered event"),
  async (t) => {
    const channel = t.name("cache-batch");
    await t.publishInOrder([channel, "price", { cents: 1 }], [channel, "price", { cents: 2 }]);
    const socket = await t.subscriber(channel);
    assert.deepEqual((await socket.hears("price", channel)).data, { cents: 2 });
  },
  { needs: ["cache channels"] },
);

area.case("eleven", "a batch of eleven events gets 400", TEN, async (t) => {
  refused(
    await send(
      t,
      Array.from({ length: EVENTS_MAX + 1 }, () => item(t.name("eleven"))),
    ),
    400,
  );
});

area.case("too-large", "a batch with data of more than 10 KB gets 413", REST("you will receive a 413 error code"), async (t) => {
  const channel = t.name("large");
  refused(await send(t, [item(channel), item(channel, { data: "x".repeat(10_241) })]), 413);
});

const badItems = [
  ["no-name", "without name", { name: undefined }, REST("Event name (required)")],
  ["no-data", "without data", { data: undefined }, REST("Event data (required)")],
  ["no-channel", "without channel", { channel: undefined }, REQUIRED],
  [
    "bad-channel",
    "for a channel with a space",
    { channel: "no spaces" },
    HTTP_API("can only contain characters which are alphanumeric"),
  ],
  ["empty-name", "with an empty name", { name: "" }, REST("Event name (required)")],
];
for (const [name, what, change, source] of badItems) {
  area.case(`bad-${name}`, `a batch with an event ${what} gets 400`, source, async (t) => {
    const channel = t.name("bad");
    refused(await send(t, [item(channel), item(channel, change)]), 400);
  });
}

const badBodies = [
  ["no-batch", "without batch", {}],
  ["batch-object", "whose batch is an object", { batch: {} }],
  ["batch-text", "whose batch contains a string", { batch: ["story"] }],
  ["array", "that is an array", []],
];
for (const [name, what, body] of badBodies) {
  area.case(`body-${name}`, `a body ${what} gets 400`, BAD, async (t) => {
    refused(await t.post("/batch_events", body), 400);
  });
}

area.silent("empty", "What does an empty batch get?", async (t) => {
  const answer = await send(t, []);
  return `HTTP ${answer.status} ${answer.text.slice(0, 60)}`;
});

area.silent("part-refused", "Is a part of a batch published when another part is refused?", async (t) => {
  const channel = t.name("part");
  const socket = await t.subscriber(channel);
  const answer = await send(t, [item(channel), item(channel, { name: undefined })]);
  await t.mark(channel, socket);
  return `HTTP ${answer.status}, ${socket.all("story").length} of 1 published`;
});
