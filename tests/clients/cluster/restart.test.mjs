// Nodes of a cluster that go while pusher-js clients are connected and events flow.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { clustered } from "../server.mjs";
import { openWorld } from "../world.mjs";

const NEWS = "news";
const ROOM = "presence-room";
const SUCCEEDED = "pusher:subscription_succeeded";
const LEFT = "pusher:member_removed";
/** Events that were answered so long before a client lost its node must have arrived. */
const WAY_MAX_MS = 1_000;
const EVENT_INTERVAL_MS = 10;
const EVENTS_BETWEEN_RESTARTS = 50;
/** A dead node's members are gone by then. */
const GONE_WITHIN_MS = 10_000;

before(() => assert.ok(clustered, "LOUDHAILER_CLUSTER_REDIS is not set: run `node cluster.mjs node --test …`"));

/** Publishes numbers to both channels until it is stopped, each request to a node by chance. */
class Publishing {
  /** By number: when its request began and when it was answered. Without an answer nobody knows whether it was sent. */
  numbers = [];
  #stopped = false;

  constructor(world) {
    // Without an agent each request is a connection of its own.
    this.publisher = world.publisherOf(world.apps.main, { agent: undefined });
    this.finished = this.#publish();
  }

  async #publish() {
    while (!this.#stopped) {
      const entry = { began: performance.now() };
      const number = this.numbers.push(entry) - 1;
      await this.publisher.trigger([NEWS, ROOM], "tick", number).then(
        () => {
          entry.answered = performance.now();
        },
        // The node went while it had the request.
        (error) => assert.equal(error.status, undefined, `refused: ${error.body}`),
      );
      // Only so much that the clients, all in this process, keep up.
      await sleep(EVENT_INTERVAL_MS);
    }
  }

  /** Waits until so many more events have been sent. */
  async more(count) {
    const enough = this.numbers.length + count;
    while (this.numbers.length < enough) await sleep(EVENT_INTERVAL_MS);
  }

  async stop() {
    this.#stopped = true;
    await this.finished;
  }
}

/** What one client heard on one channel, from one confirmation of the subscription to the loss of the connection. */
class Stay {
  heard = [];
  began = performance.now();
  ended = Infinity;
}

/** Records the stays of a client on both channels. */
function watch(client) {
  const stays = { [NEWS]: [], [ROOM]: [] };
  for (const name of [NEWS, ROOM]) {
    const channel = client.pusher.channel(name);
    channel.bind(SUCCEEDED, () => stays[name].push(new Stay()));
    channel.bind("tick", (number) => stays[name].at(-1).heard.push(number));
  }
  client.pusher.connection.bind("state_change", ({ previous }) => {
    if (previous !== "connected") return;
    for (const list of Object.values(stays)) if (list.length > 0) list.at(-1).ended = performance.now();
  });
  return stays;
}

/** Asserts that nothing is missing from a stay, and nothing came twice. */
function assertWhole({ heard, began, ended }, published) {
  const seen = new Set(heard);
  assert.equal(seen.size, heard.length, "an event came twice");
  const missing = published.flatMap((entry, number) => {
    const due = entry.began > began && entry.answered < ended - WAY_MAX_MS;
    return due && !seen.has(number) ? [number] : [];
  });
  assert.deepEqual(missing, [], `lost between ${began} and ${ended}`);
}

/** The user ids that a client sees in the room. */
function membersOf(client) {
  const ids = [];
  client.pusher.channel(ROOM).members.each(({ id }) => ids.push(id));
  return ids.sort();
}

/** Waits until every client and every node see these users, by looking; each look is a whole request. */
async function untilAllSee(users, { world, clients, within }) {
  const deadline = performance.now() + within;
  const expected = JSON.stringify(users.toSorted());
  for (;;) {
    const answer = await (await world.publisher.get({ path: `/channels/${ROOM}/users` })).json();
    const views = [answer.users.map(({ id }) => id).sort(), ...clients.map(membersOf)];
    if (views.every((view) => JSON.stringify(view) === expected)) return;
    assert.ok(performance.now() < deadline, `expected ${expected}, seen ${JSON.stringify(views)}`);
  }
}

/** Clients of these users, subscribed to both channels and watched. */
async function enter(world, users, options = {}) {
  const clients = await Promise.all(users.map((user) => world.connect({ user, ...options })));
  for (const client of clients) {
    client.request(NEWS);
    client.request(ROOM);
    client.stays = watch(client);
  }
  const entering = clients.flatMap((client) => [client.hears(NEWS, SUCCEEDED), client.hears(ROOM, SUCCEEDED)]);
  await Promise.all(entering);
  return clients;
}

/** Publishes one more event and waits until all clients have it: whatever else there was is there too. */
async function allHearMarker(world, clients) {
  await world.publish([NEWS, ROOM], "marker");
  await Promise.all(clients.flatMap((client) => [client.hears(NEWS, "marker"), client.hears(ROOM, "marker")]));
}

const names = (prefix, count) => Array.from({ length: count }, (_, index) => `${prefix}${index}`);
const connectionsOf = (client) => client.states.filter((state) => state === "connected").length;

describe("a rolling restart of all nodes while events flow", () => {
  test("brings every client back, loses nothing and leaves the members right", async (t) => {
    const world = await openWorld();
    t.after(() => world.close());
    const users = names("user", 30);
    const clients = await enter(world, users);
    const before = clients.map((client) => client.socketId);
    const publishing = new Publishing(world);
    t.after(() => publishing.stop());

    await publishing.more(EVENTS_BETWEEN_RESTARTS);
    for (let node = 0; node < world.server.nodes.length; node += 1) {
      await world.server.restart(node);
      await Promise.all(clients.map((client) => client.reaches("connected")));
      await publishing.more(EVENTS_BETWEEN_RESTARTS);
    }
    await untilAllSee(users, { world, clients, within: GONE_WITHIN_MS });
    await publishing.stop();
    await allHearMarker(world, clients);

    const answered = publishing.numbers.filter((entry) => entry.answered !== undefined);
    const connections = clients.map(connectionsOf);
    const returns = connections.reduce((sum, count) => sum + count - 1, 0);
    t.diagnostic(`${answered.length} of ${publishing.numbers.length} events were answered; clients returned ${returns} times`);
    clients.forEach((client, index) => {
      assert.notEqual(client.socketId, before[index], "its node was restarted");
      for (const stays of Object.values(client.stays)) {
        assert.equal(stays.length, connections[index], "each connection led to a subscription");
        for (const stay of stays) assertWhole(stay, publishing.numbers);
      }
    });
  });
});

describe("a node that is killed", () => {
  test("has its members removed within ten seconds, each told once, but not those who come back", async (t) => {
    const world = await openWorld();
    t.after(() => world.close());
    const [doomed, other] = world.server.nodes;
    const lost = await enter(world, names("lost", 10), { wsPort: doomed.port });
    const [returning] = await enter(world, ["returning"]);
    const [watcher] = await enter(world, ["watcher"], { wsPort: other.port });
    // Who is lost does not come back.
    for (const client of lost) client.pusher.connection.bind("connecting", () => client.disconnect());

    const began = performance.now();
    await doomed.kill();
    await Promise.all(lost.map((client) => client.reaches("disconnected")));
    await untilAllSee(["returning", "watcher"], { world, clients: [watcher], within: GONE_WITHIN_MS });
    t.diagnostic(`the members were gone after ${Math.round(performance.now() - began)} ms`);
    await returning.reaches("connected");
    await allHearMarker(world, [watcher, returning]);
    const goings = watcher.heardOn(ROOM).filter(([event]) => event === LEFT);
    const gone = goings.map(([, { id }]) => id).filter((id) => id !== "returning");
    assert.deepEqual(gone.sort(), names("lost", 10));
  });
});
