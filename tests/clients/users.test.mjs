// Users through pusher-js: signing in, what is sent to one user, who is online, and the backend that ends connections.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, describe, test } from "node:test";
import { connectUser, signInUser } from "./user.mjs";
import { needsOwnServer, openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

let users = 0;

/** The id of a user whom no other test knows. */
function newId(name) {
  users += 1;
  return world.channel(`${name}-${users}`);
}

/** A customHandler that signs `userData` as it is, which npm's `pusher` would refuse to. */
function signedByHand(userData) {
  const { key, secret } = world.apps.main;
  return {
    customHandler({ socketId }, callback) {
      const signature = createHmac("sha256", secret).update(`${socketId}::user::${userData}`).digest("hex");
      callback(null, { auth: `${key}:${signature}`, user_data: userData });
    },
  };
}

function send(client, event, data) {
  client.listener.pusher.send_event(event, data);
}

describe("signin", () => {
  test("makes pusher-js a user with all that the backend says of him", async () => {
    const ann = { id: newId("ann"), user_info: { name: "Änn ✨" }, more: [1, null, "\\"] };
    const client = await connectUser(world, ann);
    assert.deepEqual(await client.signIn(), ann);
    const { data } = await client.listener.receives("pusher:signin_success");
    assert.equal(data.user_data, JSON.stringify(ann), "byte for byte what the backend signed");
  });

  test("with another secret's signature is refused, and the connection stays", async () => {
    const wrong = world.publisherOf({ ...world.apps.main, secret: "wrong" });
    const client = await connectUser(world, { id: newId("ann") }, { signer: wrong });
    client.askSignIn();
    const { message } = await client.listener.isTold(null);
    assert.doesNotMatch(message, /[0-9a-f]{64}/, "and not what would be right");
    assert.equal(client.listener.state, "connected");
    assert.equal(client.listener.pusher.user.user_data, null);
  });

  test("that the endpoint refuses is an error in the application, and nothing reaches the server", async () => {
    const listener = await world.connect({
      userAuthentication: { endpoint: await world.authEndpoint(), transport: "ajax" },
    });
    const refused = new Promise((resolve) => listener.pusher.user.bind("pusher:signin_error", resolve));
    listener.pusher.signin();
    assert.equal((await refused).status, 403);
    assert.deepEqual(listener.errors, []);
  });

  for (const [what, userData] of [
    ["a number as id", '{"id":7}'],
    ["an empty id", '{"id":""}'],
    ["no id", '{"user_info":{}}'],
    ["no JSON", "ann"],
    ["an array", '["ann"]'],
    ["a watchlist that is no list", '{"id":"ann","watchlist":"bob"}'],
  ]) {
    test(`with ${what} is refused`, async () => {
      const listener = await world.connect({ userAuthentication: signedByHand(userData) });
      listener.pusher.signin();
      await listener.isTold(null);
      assert.equal(listener.state, "connected");
      assert.equal(listener.messages.some(({ event }) => event === "pusher:signin_success"), false);
    });
  }

  test("a second time is fine as the same user and refused as another", async () => {
    const [ann, bob] = [newId("ann"), newId("bob")];
    const client = await signInUser(world, { id: ann });
    const again = world.publisher.authenticateUser(client.listener.socketId, { id: ann, user_info: 2 });
    send(client, "pusher:signin", again);
    const other = world.publisher.authenticateUser(client.listener.socketId, { id: bob });
    send(client, "pusher:signin", other);
    await client.listener.isTold(null);
    const successes = client.listener.messages.filter(({ event }) => event === "pusher:signin_success");
    assert.deepEqual(
      successes.map(({ data }) => JSON.parse(data.user_data)),
      [{ id: ann }, { id: ann, user_info: 2 }],
    );
    await world.publisher.sendToUser(ann, "still", {});
    await client.hears("still");
  });

  test("happens anew by itself after a reconnection", async () => {
    const ann = newId("ann");
    const client = await signInUser(world, { id: ann });
    const before = client.listener.socketId;
    client.listener.disconnect();
    await client.listener.reaches("disconnected");
    client.listener.pusher.connect();
    await client.listener.reachesAgain("connected", 2);
    await client.signIn();
    assert.notEqual(client.listener.socketId, before);
    await world.publisher.sendToUser(ann, "welcome-back", {});
    await client.hears("welcome-back");
  });
});

// Issue #13, row 4. npm's library puts the id into the path of terminate_connections as it is.
describe("an id of an identity provider", () => {
  for (const kind of ["e:1", "auth0|5", "a b", "a/b", "zoë", "a.b+c@d.example"]) {
    test(`such as ${kind} is signed in, sent to, watched, a member and terminated`, async () => {
      const [id, watcherId, room] = [newId(kind), newId("watcher"), world.channel(`presence-${users}`)];
      const watcher = await signInUser(world, { id: watcherId, watchlist: [id] });
      assert.deepEqual(await watcher.hears("offline"), [id]);
      const client = await signInUser(world, { id });
      assert.equal(client.listener.pusher.user.serverToUserChannel.name, `#server-to-user-${id}`);
      assert.deepEqual(await watcher.hears("online"), [id]);
      await world.publisher.sendToUser(id, "invoice.paid", { id: 9 });
      assert.deepEqual(await client.hears("invoice.paid"), { id: 9 });
      const channel = await client.listener.subscribe(room);
      assert.equal(channel.members.me.id, id);
      await world.publisher.terminateUserConnections(id);
      await client.listener.isTold(4009);
      await client.listener.reaches("disconnected");
    });
  }
});

describe("sendToUser", () => {
  test("reaches each of the user's connections and nobody else", async () => {
    const [ann, bob] = [newId("ann"), newId("bob")];
    const tabs = await Promise.all([signInUser(world, { id: ann }), signInUser(world, { id: ann })]);
    const other = await signInUser(world, { id: bob });
    await world.publisher.sendToUser(ann, "invoice.paid", { id: 9, note: "héllo ✨" });
    await world.publisher.sendToUser(bob, "marker", {});
    for (const tab of tabs) {
      assert.deepEqual(await tab.hears("invoice.paid"), { id: 9, note: "héllo ✨" });
    }
    await other.hears("marker");
    assert.deepEqual(other.heard, [["marker", {}]]);
  });

  test("cannot be listened to by another user, nor by a client that is nobody", async () => {
    const [ann, bob] = [newId("ann"), newId("bob")];
    const victim = await signInUser(world, { id: ann });
    const clients = [
      await signInUser(world, { id: bob }),
      await connectUser(world, { id: ann }),
    ];
    for (const client of clients) {
      // pusher-js itself would not subscribe to such a name.
      send(client, "pusher:subscribe", { auth: "", channel: `#server-to-user-${ann}` });
      const refusal = await client.listener.receives("pusher:subscription_error");
      assert.equal(refusal.data.status, 401);
    }
    await world.publisher.sendToUser(ann, "secret", {});
    await victim.hears("secret");
    const aside = world.channel("aside");
    for (const { listener } of clients) {
      await listener.subscribe(aside);
      await world.publish(aside, "marker");
      await listener.hears(aside, "marker");
      assert.equal(JSON.stringify(listener.messages).includes("secret"), false);
    }
  });
});

describe("a presence channel joined by sign-in alone", () => {
  test("has the signed-in user as its member", async () => {
    const name = world.channel("presence-users");
    const [ann, bob] = [newId("ann"), newId("bob")];
    const watcher = await world.connect({ user: "watcher" });
    await watcher.subscribe(name);
    const client = await signInUser(world, { id: ann, user_info: { name: "Ann" } });
    const room = await client.listener.subscribe(name);
    assert.deepEqual(room.members.me, { id: ann, info: { name: "Ann" } });
    const { data } = await watcher.hears(name, "pusher:member_added");
    assert.deepEqual(data, { id: ann, info: { name: "Ann" } });
    const bare = await signInUser(world, { id: bob });
    assert.equal((await bare.listener.subscribe(name)).members.me.info, null);
    client.close();
    assert.equal((await watcher.hears(name, "pusher:member_removed")).data.id, ann);
  });

  test("is asked for by pusher-js only once the sign-in is done", async () => {
    const name = world.channel("presence-at-once");
    const ann = newId("ann");
    const client = await connectUser(world, { id: ann });
    client.askSignIn();
    const room = await client.listener.subscribe(name);
    assert.equal(room.members.me.id, ann);
  });
});

describe("the watchlist", { skip: needsOwnServer }, () => {
  test("tells who is there and who is not, then each coming and going", async () => {
    const [ann, bob, cid] = [newId("ann"), newId("bob"), newId("cid")];
    const bobs = await signInUser(world, { id: bob });
    const watcher = await signInUser(world, { id: ann, watchlist: [bob, cid] });
    assert.deepEqual(await watcher.hears("online"), [bob]);
    assert.deepEqual(await watcher.hears("offline"), [cid]);
    const cids = await signInUser(world, { id: cid });
    assert.deepEqual(await watcher.hears("online", 2), [cid]);
    bobs.close();
    assert.deepEqual(await watcher.hears("offline", 2), [bob]);
    cids.close();
    assert.deepEqual(await watcher.hears("offline", 3), [cid]);
  });

  test("says nothing of a user who is back within three seconds", async () => {
    const [ann, bob, cid] = [newId("ann"), newId("bob"), newId("cid")];
    const before = await signInUser(world, { id: bob });
    const watcher = await signInUser(world, { id: ann, watchlist: [bob, cid] });
    await watcher.hears("offline");
    before.close();
    await signInUser(world, { id: bob });
    // Who goes now is told of after bob would have been.
    (await signInUser(world, { id: cid })).close();
    assert.deepEqual(await watcher.hears("offline", 2), [cid]);
    assert.deepEqual(watcher.heard, [["online", [bob]], ["offline", [cid]], ["online", [cid]], ["offline", [cid]]]);
  });

  test("says nothing of a second tab", async () => {
    const [ann, bob] = [newId("ann"), newId("bob")];
    const watcher = await signInUser(world, { id: ann, watchlist: [bob] });
    const tabs = [await signInUser(world, { id: bob }), await signInUser(world, { id: bob })];
    tabs[0].close();
    tabs[1].close();
    await watcher.hears("offline", 2);
    assert.deepEqual(watcher.heard, [["offline", [bob]], ["online", [bob]], ["offline", [bob]]]);
  });

  test("of more than a hundred is kept to the first hundred, with 4302", async () => {
    const run = newId("many");
    const ids = Array.from({ length: 101 }, (_, index) => `${run}-${100 - index}`);
    const watcher = await signInUser(world, { id: newId("ann"), watchlist: ids });
    assert.deepEqual(await watcher.hears("offline"), ids.slice(0, 100).toSorted());
    await watcher.listener.isTold(4302);
    assert.equal(watcher.listener.state, "connected");
    const order = watcher.listener.messages.map(({ event }) => event);
    assert.ok(order.indexOf("pusher:signin_success") < order.indexOf("pusher_internal:watchlist_events"));
    await signInUser(world, { id: ids[100] });
    await signInUser(world, { id: ids[99] });
    assert.deepEqual(await watcher.hears("online"), [ids[99]]);
  });
});

describe("terminateUserConnections", () => {
  test("ends the user's connections for good, and no others", async () => {
    const [ann, bob] = [newId("ann"), newId("bob")];
    const name = world.channel("presence-terminated");
    const tabs = await Promise.all([signInUser(world, { id: ann }), signInUser(world, { id: ann })]);
    const other = await signInUser(world, { id: bob });
    const member = await world.connect({ user: { user_id: ann } });
    await member.subscribe(name);
    assert.equal((await world.publisher.terminateUserConnections(ann)).status, 200);
    for (const { listener } of tabs) {
      await listener.reaches("disconnected");
      await listener.isTold(4009);
      assert.deepEqual(listener.pauses, [], "it does not try again by itself");
    }
    await world.publish(name, "marker");
    await member.hears(name, "marker");
    await world.publisher.sendToUser(bob, "marker", {});
    await other.hears("marker");
  });

  test("of a user who is not there is fine", async () => {
    assert.equal((await world.publisher.terminateUserConnections(newId("nobody"))).status, 200);
  });
});

describe("subscription_count", { skip: needsOwnServer }, () => {
  const counts = (client, name) =>
    client.heardOn(name).filter(([event]) => event === "pusher:subscription_count").map(([, data]) => data.subscription_count);

  test("is told to all who are subscribed, the new one too", async () => {
    const name = world.channel("counted");
    const app = world.apps.counting;
    const first = await world.connect({ app });
    const channel = await first.subscribe(name);
    await first.hears(name, "pusher:subscription_count");
    const second = await world.connect({ app });
    await second.subscribe(name);
    await second.hears(name, "pusher:subscription_count");
    await first.hears(name, "pusher:subscription_count", 2);
    assert.equal(channel.subscriptionCount, 2);
    second.disconnect();
    await first.hears(name, "pusher:subscription_count", 3);
    assert.equal(channel.subscriptionCount, 1);
    assert.deepEqual([counts(first, name), counts(second, name)], [[1, 2, 1], [2]]);
  });
});
