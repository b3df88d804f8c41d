// Webhooks, received by the kit.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { hmac } from "../kit/signing.mjs";
import { NODE_WEBHOOK, PHP_SERVER, WEBHOOKS } from "../kit/sources.mjs";

export const area = new Area("webhooks", "Webhooks", { needs: ["webhooks"] });

const FORMAT = WEBHOOKS("The POST request payload (body) contains a JSON document.");
const DELAY = WEBHOOKS("There is a delay of up to three seconds between a client disconnecting and");
const RETRY = WEBHOOKS(
  "If a non 2XX status code is returned, Channels will retry sending the webhook, with exponential backoff, for 5 minutes.",
);
/** Allowance for the delay of three seconds. */
const DELAYED = { seconds: 6 };

const named = (name) => (events) => events.find((event) => event.name === name);
const names = (t, channel) => t.receiver.events(channel).map(({ name }) => name);

/** Waits for the first request about a channel. */
async function firstRequest(t) {
  const channel = t.name("hooked");
  await t.subscriber(channel);
  await t.webhook(channel, ([first]) => first, "webhook");
  return { channel, request: t.receiver.about(channel)[0] };
}

// --- The request -------------------------------------------------------------------------------------------

area.case(
  "post",
  "a webhook is a POST",
  WEBHOOKS("A webhook is sent as a HTTP POST request to the url which you specify."),
  async (t) => {
    assert.equal((await firstRequest(t)).request.method, "POST");
  },
);

area.case(
  "content-type",
  "its Content-Type is exactly application/json",
  NODE_WEBHOOK("the header must equal application/json"),
  async (t) => {
    assert.equal((await firstRequest(t)).request.headers["content-type"], "application/json");
  },
);

area.case(
  "key",
  "X-Pusher-Key is the app's key",
  WEBHOOKS("The oldest active token will be used, identified by this key."),
  async (t) => {
    assert.equal((await firstRequest(t)).request.headers["x-pusher-key"], t.app.key);
  },
);

area.case(
  "signature",
  "X-Pusher-Signature signs the body",
  WEBHOOKS("A HMAC SHA256 hex digest formed by signing the POST payload (body) with the token's secret."),
  async (t) => {
    const { request } = await firstRequest(t);
    assert.equal(request.headers["x-pusher-signature"], hmac(t.app.secret, request.body));
  },
);

area.case(
  "time",
  "time_ms is when the webhook was created",
  WEBHOOKS("provides the unix timestamp in milliseconds when the webhook was created"),
  async (t) => {
    const { request } = await firstRequest(t);
    assert.ok(Math.abs(request.json.time_ms - request.at) < 60_000, `time_ms is ${request.json.time_ms}`);
  },
);

area.case(
  "one-event",
  "without batches a webhook has one event",
  WEBHOOKS("The `events` key contains one event only."),
  async (t) => {
    const { request } = await firstRequest(t);
    assert.equal(request.json.events.length, 1);
  },
);

area.case(
  "every-event-has-channel",
  "every event names its channel",
  PHP_SERVER("webhook() reads the key channel of every event"),
  async (t) => {
    await firstRequest(t);
    const without = t.receiver.requests
      .flatMap(({ json }) => json?.events ?? [])
      .filter(({ channel }) => typeof channel !== "string");
    assert.deepEqual(without, []);
  },
);

area.case(
  "scalars",
  "the values of an event are strings and numbers",
  WEBHOOKS('{ "name": "event_name", "some": "data" }'),
  async (t) => {
    await firstRequest(t);
    const values = t.receiver.requests.flatMap(({ json }) => json?.events ?? []).flatMap((event) => Object.values(event));
    assert.deepEqual(
      values.filter((value) => !["string", "number"].includes(typeof value)),
      [],
    );
  },
);

/** Refuses the first webhook about a channel; returns it once an event of its name was sent again. */
async function retried(t) {
  const channel = t.name("retried");
  t.receiver.refuse(channel, 1);
  await t.subscriber(channel);
  const refused = () => t.receiver.about(channel, t.receiver.refused)[0];
  const again = (events) => refused() && events.find(({ name }) => name === refused().json.events[0].name);
  await t.webhook(channel, again, "second attempt");
  return { channel, refused: refused() };
}

area.case("retry", "a webhook that gets 500 is sent again", RETRY, (t) => retried(t), { seconds: 20 });

area.case(
  "retry-same-body",
  "what is sent again has the same body",
  RETRY,
  async (t) => {
    const { channel, refused } = await retried(t);
    assert.ok(
      t.receiver.about(channel).some(({ body }) => body === refused.body),
      "the body has changed",
    );
  },
  { seconds: 20 },
);

// --- Channels ----------------------------------------------------------------------------------------------

area.case("occupied", "channel_occupied is sent for a channel's first subscriber", FORMAT, async (t) => {
  const channel = t.name("hooked");
  await t.subscriber(channel);
  assert.deepEqual(await t.webhook(channel, named("channel_occupied"), "channel_occupied"), {
    name: "channel_occupied",
    channel,
  });
});

area.case(
  "occupied-once",
  "a second subscriber causes no webhook",
  WEBHOOKS("Channels will send a `channel_occupied` event whenever any channel becomes occupied"),
  async (t) => {
    const channel = t.name("hooked");
    await t.subscriber(channel);
    await t.webhook(channel, named("channel_occupied"), "channel_occupied");
    await t.subscriber(channel);
    await firstRequest(t);
    assert.equal(names(t, channel).filter((name) => name === "channel_occupied").length, 1);
  },
);

for (const [name, leave] of [
  ["unsubscribe", (socket, channel) => socket.send("pusher:unsubscribe", { channel })],
  ["close", (socket) => socket.close()],
]) {
  area.case(
    `vacated-by-${name}`,
    `channel_vacated is sent after the last ${name}`,
    WEBHOOKS("Channels will send a `channel_vacated` event whenever any channel becomes vacated"),
    async (t) => {
      const channel = t.name("hooked");
      const socket = await t.subscriber(channel);
      leave(socket, channel);
      assert.deepEqual(await t.webhook(channel, named("channel_vacated"), "channel_vacated"), {
        name: "channel_vacated",
        channel,
      });
    },
    DELAYED,
  );
}

area.case(
  "not-vacated",
  "a channel with one subscriber left is not vacated",
  WEBHOOKS("(i.e. there are no subscribers)"),
  async (t) => {
    const channel = t.name("hooked");
    const [first] = [await t.subscriber(channel), await t.subscriber(channel)];
    first.close();
    await t.pause(4_000);
    assert.equal(names(t, channel).includes("channel_vacated"), false);
  },
  DELAYED,
);

area.case(
  "brief-absence",
  "a subscriber that returns within the delay causes no webhook",
  WEBHOOKS("If the client reconnects within this delay, no webhooks will be sent."),
  async (t) => {
    const channel = t.name("hooked");
    const before = await t.subscriber(channel);
    await t.webhook(channel, named("channel_occupied"), "channel_occupied");
    before.close();
    await before.closes();
    await t.subscriber(channel);
    await t.pause(4_000);
    const occupancy = names(t, channel).filter((name) => /occupied|vacated/.test(name));
    assert.deepEqual(occupancy, ["channel_occupied"]);
  },
  DELAYED,
);

// --- Presence ----------------------------------------------------------------------------------------------

area.case(
  "member-added",
  "member_added is sent for a user's first connection",
  WEBHOOKS("Channels will send a `member_added` event whenever a new user subscribes to a presence channel."),
  async (t) => {
    const channel = t.name("presence-hooked");
    await t.join(channel, "ann");
    assert.deepEqual(await t.webhook(channel, named("member_added"), "member_added"), {
      name: "member_added",
      channel,
      user_id: "ann",
    });
  },
);

area.case(
  "member-added-once",
  "a user's second connection causes no webhook",
  WEBHOOKS("Channels will send a `member_added` event whenever a new user subscribes to a presence channel."),
  async (t) => {
    const channel = t.name("presence-hooked");
    await t.join(channel, "ann");
    await t.join(channel, "ann");
    await t.join(channel, "bob");
    await t.webhook(channel, (events) => events.find(({ user_id: id }) => id === "bob"), "member_added of bob");
    assert.equal(t.receiver.events(channel).filter(({ user_id: id }) => id === "ann").length, 1);
  },
);

area.case(
  "member-removed",
  "member_removed is sent when the last connection closes",
  WEBHOOKS("Channels will send a `member_removed` event whenever a user unsubscribes from a presence channel."),
  async (t) => {
    const channel = t.name("presence-hooked");
    const ann = await t.join(channel, "ann");
    ann.close();
    assert.deepEqual(await t.webhook(channel, named("member_removed"), "member_removed"), {
      name: "member_removed",
      channel,
      user_id: "ann",
    });
  },
  DELAYED,
);

area.case(
  "member-brief-absence",
  "a member who returns within the delay causes no webhook",
  DELAY,
  async (t) => {
    const channel = t.name("presence-hooked");
    await t.join(channel, "bob");
    const before = await t.join(channel, "ann");
    before.close();
    await before.closes();
    await t.join(channel, "ann");
    await t.pause(4_000);
    assert.deepEqual(
      t.receiver
        .events(channel)
        .filter(({ user_id: id }) => id === "ann")
        .map(({ name }) => name),
      ["member_added"],
    );
  },
  DELAYED,
);

// --- Other events ------------------------------------------------------------------------------------------

for (const stem of ["private-hooked", "presence-hooked"]) {
  const kind = stem.split("-")[0];
  area.case(
    `client-event-${kind}`,
    `client_event reports a client event on a ${kind} channel`,
    WEBHOOKS("Channels will send a `client_event` event whenever a"),
    async (t) => {
      const channel = t.name(stem);
      const socket = kind === "presence" ? await t.join(channel, "ann") : await t.subscriber(channel);
      socket.send("client-typing", { on: true }, channel);
      const user = kind === "presence" ? { user_id: "ann" } : {};
      const { data, ...rest } = await t.webhook(channel, named("client_event"), "client_event");
      assert.deepEqual(rest, { name: "client_event", channel, event: "client-typing", socket_id: socket.socketId, ...user });
      assert.deepEqual(typeof data === "string" ? JSON.parse(data) : data, { on: true });
    },
    { needs: ["client events"] },
  );
}

area.case(
  "client-event-refused",
  "a refused client event causes no webhook",
  WEBHOOKS("Channels will send a `client_event` event whenever a"),
  async (t) => {
    const channel = t.name("hooked");
    const socket = await t.subscriber(channel);
    socket.send("client-typing", {}, channel);
    await socket.settle();
    await firstRequest(t);
    assert.equal(names(t, channel).includes("client_event"), false);
  },
  { needs: ["client events"] },
);

area.case(
  "cache-miss",
  "cache_miss reports a subscriber of an empty cache channel",
  WEBHOOKS("whenever one or more than one client subscribe to an empty cache channel"),
  async (t) => {
    const channel = t.name("cache-hooked");
    await t.subscriber(channel);
    assert.deepEqual(await t.webhook(channel, named("cache_miss"), "cache_miss"), { name: "cache_miss", channel });
  },
  { needs: ["cache channels"] },
);

area.case(
  "no-cache-miss",
  "a cache channel with an event causes no cache_miss",
  WEBHOOKS("the cached message has expired or no message has been triggered yet"),
  async (t) => {
    const channel = t.name("cache-hooked");
    await t.publish(channel, "price", {});
    await t.subscriber(channel);
    await t.webhook(channel, named("channel_occupied"), "channel_occupied");
    await firstRequest(t);
    assert.equal(names(t, channel).includes("cache_miss"), false);
  },
  { needs: ["cache channels"] },
);

area.case(
  "subscription-count",
  "subscription_count reports each change of a channel's connections",
  WEBHOOKS("Channels will send a `subscription_count` webhook whenever a new client subscribes or unsubscribes to a channel."),
  async (t) => {
    const channel = t.name("hooked");
    await t.subscriber(channel);
    await t.subscriber(channel);
    const counted = (events) => events.find((event) => event.name === "subscription_count" && event.subscription_count === 2);
    assert.deepEqual(await t.webhook(channel, counted, "count of 2"), {
      name: "subscription_count",
      channel,
      subscription_count: 2,
    });
  },
  { needs: ["subscription counts"] },
);

area.case(
  "no-presence-count",
  "a presence channel has no subscription_count",
  WEBHOOKS("the event will be broadcast on all channel types except Presence channels"),
  async (t) => {
    const channel = t.name("presence-hooked");
    await t.join(channel, "ann");
    await t.webhook(channel, named("member_added"), "member_added");
    await firstRequest(t);
    assert.equal(names(t, channel).includes("subscription_count"), false);
  },
  { needs: ["subscription counts"] },
);

area.silent("order", "Does channel_occupied come before member_added?", async (t) => {
  const channel = t.name("presence-hooked");
  await t.join(channel, "ann");
  await t.webhook(channel, named("member_added"), "member_added");
  await t.webhook(channel, named("channel_occupied"), "channel_occupied");
  return names(t, channel).indexOf("channel_occupied") < names(t, channel).indexOf("member_added") ? "yes" : "no";
});
area.silent(
  "user-channel",
  "Does the channel of a user cause channel_occupied?",
  async (t) => {
    const id = t.name("ann");
    const socket = await t.user({ id });
    await t.subscribe(socket, `#server-to-user-${id}`);
    await firstRequest(t);
    return names(t, `#server-to-user-${id}`).join(", ") || "no";
  },
  { needs: ["sign-in"] },
);
