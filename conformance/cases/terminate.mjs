// POST /users/ID/terminate_connections.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { JS_PROTOCOL, NODE_SERVER, PROTOCOL, REST, TERMINATING, client } from "../kit/sources.mjs";
import { succeeded } from "../kit/trial.mjs";

export const area = new Area("terminate", "HTTP API: terminating users' connections", { needs: ["sign-in"] });

const ALL = REST("Terminates all connections established by the given user.");

const terminate = (t, id, options = {}) => t.post(`/users/${id}/terminate_connections`, {}, options);

area.case(
  "answer",
  "the answer is an empty JSON hash, also for a user who is not there",
  REST("User's connections will be terminated. Response is an empty JSON hash."),
  async (t) => {
    assert.deepEqual(succeeded(await terminate(t, t.name("nobody"))), {});
  },
);

area.case("all", "all connections of the user are closed", ALL, async (t) => {
  const id = t.name("ann");
  const sockets = [await t.user({ id }), await t.user({ id })];
  succeeded(await terminate(t, id));
  await Promise.all(sockets.map((socket) => socket.closes()));
});

area.case("others-stay", "connections of other users stay open", ALL, async (t) => {
  const [ann, bob] = [t.name("ann"), t.name("bob")];
  const [gone, stays] = [await t.user({ id: ann }), await t.user({ id: bob })];
  succeeded(await terminate(t, ann));
  await gone.closes();
  await stays.settle();
});

area.case(
  "members-stay",
  "a presence member who is not signed in stays connected",
  TERMINATING(
    "Connections for users subscribed to presence channels but that have not been authenticated via this flow will not be terminated.",
  ),
  async (t) => {
    const id = t.name("ann");
    const member = await t.join(t.name("presence-room"), { user_id: id });
    const signedIn = await t.user({ id });
    succeeded(await terminate(t, id));
    await signedIn.closes();
    await member.settle();
  },
);

area.case(
  "code",
  "the close code is one after which clients do not reconnect by themselves",
  JS_PROTOCOL("codes from 4000 to 4099 are refused: no reconnection"),
  async (t) => {
    const id = t.name("ann");
    const socket = await t.user({ id });
    succeeded(await terminate(t, id));
    const { code } = await socket.closes();
    assert.ok(code >= 4000 && code <= 4099, `closed with ${code}`);
  },
);

area.case("reason", "the close has a reason", PROTOCOL("in which case a close code and reason will be sent"), async (t) => {
  const id = t.name("ann");
  const socket = await t.user({ id });
  succeeded(await terminate(t, id));
  assert.ok((await socket.closes()).reason.length > 0, "the reason is empty");
});

area.case(
  "protocol-5",
  "below protocol 6 an error precedes the close",
  PROTOCOL("a `pusher:error` event is also sent before the connection is closed (regardless of the WebSocket draft)"),
  async (t) => {
    const id = t.name("ann");
    const socket = await t.user({ id }, { protocol: 5 });
    succeeded(await terminate(t, id));
    const { code } = await socket.closes();
    assert.deepEqual(
      socket.errors.map((error) => error.code),
      [code],
    );
  },
);

area.case(
  "may-return",
  "the user can connect again",
  TERMINATING("if nothing else is done, the user will be able to reconnect"),
  async (t) => {
    const id = t.name("ann");
    const socket = await t.user({ id });
    succeeded(await terminate(t, id));
    await socket.closes();
    const again = await t.user({ id });
    await again.settle();
  },
);

const ids = [
  ["plain", "7", NODE_SERVER("the id stands in the path as it is")],
  ["every-character", "a_b-c=d@e,f.g;h", NODE_SERVER("the id stands in the path as it is")],
];
for (const [name, stem, source] of ids) {
  area.case(`id-${name}`, `connections of a user with an id such as ${stem} are closed`, source, async (t) => {
    const id = t.name(stem);
    const socket = await t.user({ id });
    succeeded(await terminate(t, id));
    await socket.closes();
  });
}

const escaped = [
  [
    "path-as-sent",
    "signed as it is sent",
    REST("The request path (e.g., `/some/resource`)"),
    (id) => `/users/${encodeURIComponent(id)}/terminate_connections`,
  ],
  [
    "path-decoded",
    "signed unescaped",
    NODE_SERVER("the path is signed as it is, and escaped by the URL that is sent"),
    (id) => `/users/${id}/terminate_connections`,
  ],
];
for (const [name, what, source, signedPath] of escaped) {
  area.case(name, `a percent-encoded id may be ${what}`, source, async (t) => {
    const id = t.name("a@b");
    const socket = await t.user({ id });
    const path = `/apps/${t.app.id}/users/${encodeURIComponent(id)}/terminate_connections`;
    succeeded(await t.post("", {}, { wholePath: path, signed: { path: `/apps/${t.app.id}${signedPath(id)}` } }));
    await socket.closes();
  });
}

area.case(
  "without-app-id",
  "a path without /apps/ID is served for the app of auth_key",
  client("pusher/pusher-http-python pusher/pusher_client.py")(
    "the path of terminate_user_connections is /users/ID/terminate_connections",
  ),
  async (t) => {
    const id = t.name("ann");
    const socket = await t.user({ id });
    succeeded(await t.post("", {}, { wholePath: `/users/${id}/terminate_connections` }));
    await socket.closes();
  },
);
