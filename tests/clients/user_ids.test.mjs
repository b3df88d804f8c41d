// Ids of identity providers, which Pusher's documentation advises against and applications have: through pusher-js and npm's `pusher`.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { signInUser } from "./user.mjs";
import { openWorld } from "./world.mjs";

const world = await openWorld();
after(() => world.close());

// Issue #13, row 4. npm's library puts the id into the path of terminate_connections as it is.
for (const kind of ["e:1", "auth0|5", "a b", "a/b", "zoë", "a.b+c@d.example"]) {
  test(`an id such as ${kind} is signed in, sent to, watched, a member and terminated`, async () => {
    const [id, watcherId, room] = [world.channel(kind), world.channel(`watcher of ${kind}`), world.channel("presence-users")];
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
