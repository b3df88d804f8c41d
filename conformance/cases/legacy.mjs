// The endpoints that Pusher's documentation calls deprecated.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { LEGACY } from "../kit/sources.mjs";
import { refused } from "../kit/trial.mjs";

export const area = new Area("legacy", "HTTP API: deprecated endpoints");

const QUERY = LEGACY("parameters must be submitted in the query string");
const STATS = LEGACY("Whether or not there are currently any subscribers to this channel");

const send = (t, channel, params, body = '{"n":1}') => t.ask("POST", `/channels/${channel}/events`, { params, body });

area.case("event", "an event posted to a channel gets 202 and arrives", LEGACY("Successful response (202)"), async (t) => {
  const channel = t.name("legacy");
  const socket = await t.subscriber(channel);
  refused(await send(t, channel, { name: "story" }), 202);
  assert.equal((await socket.hears("story", channel)).raw.data, '{"n":1}');
});

area.case(
  "event-no-json",
  "data that is not JSON arrives unchanged",
  LEGACY("The API does not check that the received data is valid JSON."),
  async (t) => {
    const channel = t.name("legacy");
    const socket = await t.subscriber(channel);
    refused(await send(t, channel, { name: "story" }, "plain words"), 202);
    assert.equal((await socket.hears("story", channel)).raw.data, "plain words");
  },
);

area.case(
  "event-excludes",
  "socket_id in the query excludes a connection",
  LEGACY("Excludes the event from being sent to a specific connection"),
  async (t) => {
    const channel = t.name("legacy");
    const [sender, other] = [await t.subscriber(channel), await t.subscriber(channel)];
    refused(await send(t, channel, { name: "edited", socket_id: sender.socketId }), 202);
    await other.hears("edited", channel);
    await t.mark(channel, sender);
    assert.equal(sender.all("edited").length, 0);
  },
);

area.case("event-no-name", "an event without name gets 400", LEGACY("Event name (required)"), async (t) => {
  refused(await send(t, t.name("legacy"), {}), 400);
});

area.case("event-name-in-body", "a name in the body is ignored", QUERY, async (t) => {
  refused(await send(t, t.name("legacy"), {}, '{"name":"story"}'), 400);
});

area.case("stats", "channel stats report whether the channel is occupied", STATS, async (t) => {
  const channel = t.name("stats");
  assert.equal((await t.read(`/channels/${channel}/stats`)).occupied, false);
  await t.subscriber(channel);
  assert.equal((await t.read(`/channels/${channel}/stats`)).occupied, true);
});

area.case(
  "stats-users",
  "stats of a presence channel count its users",
  LEGACY("Number of distinct users currently subscribed to this channel"),
  async (t) => {
    const channel = t.name("presence-stats");
    for (const user of ["ann", "ann", "bob"]) await t.join(channel, user);
    assert.equal((await t.read(`/channels/${channel}/stats`)).user_count, 2);
  },
);
