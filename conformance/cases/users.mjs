// Signing in, and what is sent to one user.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { AUTHENTICATING, JS_USER, PROTOCOL, SERVER_TO_USER, SIGNATURES, USER_AUTHENTICATION, hosted } from "../kit/sources.mjs";
import { channelAuth, userAuth } from "../kit/signing.mjs";

export const area = new Area("users", "Users: sign-in and events for a user", { needs: ["sign-in"] });

const RESULT = PROTOCOL("A `pusher:signin` event will result in either a `pusher:signin_success` or a `pusher:error` event");
const AT_LEAST = PROTOCOL("It must contain at least an `id` field as a `String` containing the user ID.");
const DIFFERENT = PROTOCOL("It fails if the connection is already associated with a different user id.");
const SEND = SERVER_TO_USER(
  "your application server is able to send events to users knowing their user id without them having to subscribe to channels in advance",
);
const OWN = JS_USER("after the sign-in it subscribes to #server-to-user- and the id");

const own = (id) => `#server-to-user-${id}`;

/** A signed-in connection that is subscribed to its user's channel, as pusher-js does. */
async function listener(t, id, options) {
  const socket = await t.user({ id }, options);
  await t.subscribe(socket, own(id));
  return socket;
}

// --- Sign-in -----------------------------------------------------------------------------------------------

area.case("success", "a signed sign-in succeeds", RESULT, (t) => t.user({ id: t.name("ann") }));

area.case(
  "user-data",
  "pusher:signin_success has user_data as the exact string that was signed",
  JS_USER("user_data is parsed as JSON, so it must be text"),
  async (t) => {
    const socket = await t.connect();
    const userData = `{ "id" : ${JSON.stringify(t.name("ann"))}, "user_info": {"name":"Änn ✨"}, "more":[1,null,"\\\\"] }`;
    await t.signIn(socket, userData);
    assert.equal((await socket.hears("pusher:signin_success")).data.user_data, userData);
  },
);

area.case(
  "no-channel",
  "pusher:signin_success names no channel",
  PROTOCOL('{ "event": "pusher:signin_success", "data": { "user_data": String } }'),
  async (t) => {
    const socket = await t.user({ id: t.name("ann") });
    assert.equal((await socket.hears("pusher:signin_success")).raw.channel, undefined);
  },
);

for (const protocol of [5, 6]) {
  area.case(`protocol-${protocol}`, `a sign-in works on protocol ${protocol}`, RESULT, (t) =>
    t.user({ id: t.name("ann") }, { protocol }),
  );
}

const optional = [
  [
    "user-info",
    { user_info: { name: "Ann" } },
    "`user_info` (optional) in which you can provide more information about the user.",
  ],
  ["watchlist", { watchlist: ["bob", "cid"] }, "`watchlist` (optional) which is an array of user IDs."],
  ["empty-watchlist", { watchlist: [] }, "`watchlist` (optional) which is an array of user IDs."],
  ["extra", { name: "Phil Leggetter", twitter: "@leggetter" }, "A JSON-encoded hash generated at the application server."],
];
for (const [name, more, quote] of optional) {
  area.case(
    `with-${name}`,
    `a sign-in may have ${name === "empty-watchlist" ? "an empty watchlist" : Object.keys(more).join(" and ")}`,
    PROTOCOL(quote),
    (t) => t.user({ id: t.name("ann"), ...more }),
  );
}

area.case(
  "ids-documented",
  "an id has letters, digits and _ - = @ , . ;",
  AUTHENTICATING("User `id` values should only include lower and uppercase letters, numbers and the following punctuation"),
  async (t) => {
    const id = t.name("aZ09_-=@,.;x");
    const socket = await listener(t, id);
    await t.publish(own(id), "invoice");
    await socket.hears("invoice", own(id));
  },
);

area.case("twice-same", "a second sign-in as the same user succeeds", DIFFERENT, async (t) => {
  const id = t.name("ann");
  const socket = await t.user({ id });
  const userData = JSON.stringify({ id, user_info: 2 });
  socket.send("pusher:signin", { auth: userAuth(t.app, socket.socketId, userData), user_data: userData });
  await socket.hears("pusher:signin_success", undefined, 2);
});

area.case("twice-other", "a second sign-in as another user fails", DIFFERENT, async (t) => {
  const socket = await t.user({ id: t.name("ann") });
  const userData = JSON.stringify({ id: t.name("bob") });
  socket.send("pusher:signin", { auth: userAuth(t.app, socket.socketId, userData), user_data: userData });
  await socket.hears("pusher:error");
  assert.equal(socket.all("pusher:signin_success").length, 1);
});

// --- What is refused ---------------------------------------------------------------------------------------

const FAILED = USER_AUTHENTICATION("In case of error, the client receives a `pusher:error` event.");
const OPEN = hosted("pusher/pusher-websocket-java#205", "errors of an open connection have the code null");
const EXACT = SIGNATURES("It should be exactly the same as the one included in the authentication signature");

const userData = (t) => JSON.stringify({ id: t.name("ann") });
const forgeries = [
  ["no-auth", "without auth", (t) => ({ user_data: userData(t) }), SIGNATURES("auth strings have the following format")],
  ["no-user-data", "without user_data", (t, socket) => ({ auth: userAuth(t.app, socket.socketId, "") }), AT_LEAST],
  [
    "wrong-secret",
    "with another secret's signature",
    (t, socket, data = userData(t)) => ({
      auth: userAuth({ ...t.app, secret: "not-the-secret" }, socket.socketId, data),
      user_data: data,
    }),
    SIGNATURES("This is generated by signing a string with your Channels secret."),
  ],
  [
    "wrong-key",
    "with another key",
    (t, socket, data = userData(t)) => ({
      auth: userAuth({ ...t.app, key: "no-such-key" }, socket.socketId, data),
      user_data: data,
    }),
    SIGNATURES("composed of the application key and the authentication signature separated by a colon"),
  ],
  [
    "other-socket",
    "with another connection's signature",
    (t, socket, data = userData(t)) => ({ auth: userAuth(t.app, "1.1", data), user_data: data }),
    EXACT,
  ],
  [
    "other-data",
    "with the signature of other user_data",
    (t, socket) => ({ auth: userAuth(t.app, socket.socketId, userData(t)), user_data: userData(t) }),
    EXACT,
  ],
  [
    "channel-signature",
    "with the signature of a channel",
    (t, socket, data = userData(t)) => ({ auth: channelAuth(t.app, socket.socketId, "private-x"), user_data: data }),
    EXACT,
  ],
  ...[
    ["number-id", "with a number as id", '{"id":7}'],
    ["empty-id", "with an empty id", '{"id":""}'],
    ["no-id", "without id", '{"user_info":{}}'],
    ["no-json", "whose user_data is not JSON", "ann"],
    ["array", "whose user_data is an array", '["ann"]'],
  ].map(([name, what, data]) => [
    name,
    what,
    (t, socket) => ({ auth: userAuth(t.app, socket.socketId, data), user_data: data }),
    AT_LEAST,
  ]),
];
for (const [name, what, dataOf, source] of forgeries) {
  area.case(`refused-${name}`, `a sign-in ${what} is refused`, source, async (t) => {
    const socket = await t.connect();
    socket.send("pusher:signin", dataOf(t, socket));
    await socket.until(() => socket.all("pusher:error")[0] ?? socket.all("pusher:signin_success")[0] ?? socket.ended, "answer");
    assert.equal(socket.all("pusher:signin_success").length, 0);
  });
}

const refuse = async (t) => {
  const socket = await t.connect();
  const data = userData(t);
  socket.send("pusher:signin", {
    auth: userAuth({ ...t.app, secret: "not-the-secret" }, socket.socketId, data),
    user_data: data,
  });
  return { socket, data };
};

area.case("refused-error", "a refusal is a pusher:error that says why", FAILED, async (t) => {
  const { socket } = await refuse(t);
  assert.ok((await socket.hears("pusher:error")).data.message.length > 0, "the message is empty");
});

area.case("refused-stays", "a refusal leaves the connection open", OPEN, async (t) => {
  const { socket } = await refuse(t);
  await socket.settle();
});

area.case("refused-not-given-away", "a refusal does not reveal the expected signature", FAILED, async (t) => {
  const { socket, data } = await refuse(t);
  await socket.settle();
  const [, right] = userAuth(t.app, socket.socketId, data).split(":");
  assert.ok(!socket.frames.some(({ text }) => text.includes(right)), "the right signature is in an answer");
});

area.case("refused-then-right", "a right sign-in after a refused one succeeds", RESULT, async (t) => {
  const { socket } = await refuse(t);
  await t.signIn(socket, { id: t.name("ann") });
});

// --- Events for a user -------------------------------------------------------------------------------------

area.case("own-channel", "a signed-in user may subscribe to the user's own channel", OWN, async (t) => {
  await listener(t, t.name("ann"));
});

area.case("sent", "an event for a user arrives on the user's own channel", SEND, async (t) => {
  const id = t.name("ann");
  const socket = await listener(t, id);
  await t.publish([own(id)], "invoice.paid", { id: 9 });
  assert.deepEqual((await socket.hears("invoice.paid", own(id))).raw, {
    event: "invoice.paid",
    channel: own(id),
    data: '{"id":9}',
  });
});

area.case("sent-to-all", "an event for a user reaches each of the user's connections", SEND, async (t) => {
  const id = t.name("ann");
  const sockets = [await listener(t, id), await listener(t, id)];
  await t.publish([own(id)], "invoice.paid");
  await Promise.all(sockets.map((socket) => socket.hears("invoice.paid", own(id))));
});

area.case("sent-to-nobody-else", "an event for a user reaches no other user", SEND, async (t) => {
  const [ann, bob] = [t.name("ann"), t.name("bob")];
  const [anns, bobs] = [await listener(t, ann), await listener(t, bob)];
  await t.publish([own(ann)], "secret");
  await anns.hears("secret", own(ann));
  await t.publish([own(bob)], "marker");
  await bobs.hears("marker", own(bob));
  assert.equal(bobs.all("secret").length, 0);
});

area.case("sent-to-nobody", "an event for a user without connections succeeds", SEND, async (t) => {
  await t.publish([own(t.name("nobody"))], "invoice.paid");
});

const strangers = [
  ["other-user", "another user", (t) => t.user({ id: t.name("bob") })],
  ["nobody", "a connection that is not signed in", (t) => t.connect()],
];
for (const [name, who, open] of strangers) {
  area.case(
    `shut-to-${name}`,
    `${who} cannot listen to a user's events`,
    SERVER_TO_USER("When your application client authenticates users on their Pusher Channels connection"),
    async (t) => {
      const id = t.name("ann");
      const [victim, stranger] = [await listener(t, id), await open(t)];
      stranger.send("pusher:subscribe", { auth: "", channel: own(id) });
      await stranger.settle();
      await t.publish([own(id)], "secret");
      await victim.hears("secret", own(id));
      await stranger.settle();
      assert.equal(
        stranger.frames.some(({ text }) => text.includes("secret")),
        false,
      );
      assert.equal(stranger.all("pusher_internal:subscription_succeeded", own(id)).length, 0);
    },
  );
}

area.case(
  "signed-out-by-close",
  "a sign-in ends with its connection",
  USER_AUTHENTICATION("We authenticate a user once per connection session."),
  async (t) => {
    const id = t.name("ann");
    const before = await listener(t, id);
    before.close();
    await before.closes();
    const after = await t.connect();
    after.send("pusher:subscribe", { auth: "", channel: own(id) });
    await after.settle();
    assert.equal(after.all("pusher_internal:subscription_succeeded").length, 0);
  },
);

for (const [name, id] of [
  ["colon", "e:1"],
  ["bar", "auth0|5"],
  ["space", "a b"],
  ["slash", "a/b"],
  ["unicode", "zoë"],
  ["email", "a+b@d.example"],
]) {
  area.silent(`id-${name}`, `What does an id such as ${id} get, which the documentation advises against?`, async (t) => {
    const unique = t.name(id);
    const socket = await t.connect();
    const data = JSON.stringify({ id: unique });
    socket.send("pusher:signin", { auth: userAuth(t.app, socket.socketId, data), user_data: data });
    await socket.settle();
    if (!socket.all("pusher:signin_success").length) return "refused at the sign-in";
    socket.send("pusher:subscribe", { auth: "", channel: own(unique) });
    await socket.settle();
    if (!socket.all("pusher_internal:subscription_succeeded").length) return "signed in, but refused on the user's own channel";
    const answer = await t.post("/events", { name: "invoice", channels: [own(unique)], data: "{}" });
    if (answer.status !== 200) return `signed in, but an event for the user gets HTTP ${answer.status}`;
    await socket.hears("invoice", own(unique));
    return "it works";
  });
}
area.silent(
  "deadline",
  "Is a connection closed that does not sign in within five seconds?",
  async (t) => {
    const socket = await t.connect();
    await t.pause(5_000);
    return socket.ended ? `closed with ${socket.ended.code}` : "no";
  },
  { seconds: 5 },
);
