// The signature of HTTP API requests.

import assert from "node:assert/strict";
import { Area } from "../kit/area.mjs";
import { hmac, md5 } from "../kit/signing.mjs";
import { NODE_SERVER, PHP_SERVER, REST, client } from "../kit/sources.mjs";
import { refused, succeeded } from "../kit/trial.mjs";

export const area = new Area("signing", "HTTP API: signatures");

const MUST = REST("All requests MUST be authenticated");
const LOWERED = REST("The query parameters sorted by key, with keys converted to lowercase");
const UNESCAPED = REST("Note that the string must not be URL-escaped");
const WINDOW = REST("The server will only accept requests where the timestamp is within 600s of the current time");
const BODY_MD5 = REST("The following query parameters must be included for all requests with a non-empty body");

const event = (t) => ({ name: "story", channel: t.name("signed"), data: "{}" });
const now = () => Math.floor(Date.now() / 1000);

// --- What is accepted --------------------------------------------------------------------------------------

const accepted = [
  ["post", "a signed POST is accepted", REST("The signature is a HMAC SHA256 hex digest."), (t) => t.post("/events", event(t))],
  ["get", "a signed GET is accepted", MUST, (t) => t.get("/channels")],
  [
    "signature-first",
    "the signature may be the first parameter",
    client("pusher/pusher-http-dotnet PusherServer/RestfulClient/AuthenticatedRequestFactory.cs")(
      "the query begins with auth_signature",
    ),
    (t) => t.post("/events", event(t), { order: (pairs) => pairs.toReversed() }),
  ],
  [
    "order",
    "parameters may come in any order",
    LOWERED,
    (t) => t.get("/channels", { filter_by_prefix: "presence-", info: "user_count" }, { order: (pairs) => [...pairs].sort() }),
  ],
  [
    "upper-case-names",
    "names of parameters are signed in lower case",
    LOWERED,
    (t) => t.get("/channels", { Zeta: "1", Alpha: "2" }),
  ],
  [
    "foreign-parameter",
    "a parameter that the API does not know is signed like any other",
    LOWERED,
    (t) => t.get("/channels", { shoe_size: "43" }),
  ],
  ["space-in-value", "a value with spaces is signed unescaped", UNESCAPED, (t) => t.get("/channels", { note: "Something else" })],
  [
    "comma-escaped",
    "a value that is escaped on the way is signed unescaped",
    UNESCAPED,
    (t) => t.get("/channels", { filter_by_prefix: "presence-", note: "a,b=c&d" }),
  ],
  ["unicode-value", "a value beyond ASCII is signed unescaped", UNESCAPED, (t) => t.get("/channels", { note: "zoë ✨" })],
  [
    "unescaped-value",
    "a value may be sent without escapes",
    NODE_SERVER("the query is joined from name and value without escapes"),
    (t) =>
      t.get(`/channels/${t.name("presence-plain")}`, { info: "user_count,subscription_count" }, { encode: (value) => value }),
  ],
  [
    "php-array",
    "a list that PHP sends as info[0] and info[1] is signed as one value with commas",
    PHP_SERVER("an array value is imploded with commas before it is signed, and sent by http_build_query"),
    (t) =>
      t.get(
        `/channels/${t.name("presence-php")}`,
        {},
        {
          signed: { pairs: [["info", "user_count,subscription_count"]] },
          sent: [
            ["info[0]", "user_count"],
            ["info[1]", "subscription_count"],
          ],
        },
      ),
  ],
  [
    "json-type-without-body",
    "a GET may have a Content-Type",
    PHP_SERVER("every request has the header Content-Type: application/json"),
    (t) => t.get("/channels", {}, { headers: { "Content-Type": "application/json" } }),
  ],
  [
    "charset",
    "the Content-Type of a POST may name a charset",
    client("pusher/pusher-http-dotnet PusherServer/RestfulClient/PusherRestClient.cs")(
      "the body is StringContent of application/json in UTF-8",
    ),
    (t) => t.post("/events", event(t), { headers: { "Content-Type": "application/json; charset=utf-8" } }),
  ],
  [
    "almost-old",
    "a timestamp of 590 seconds ago is accepted",
    WINDOW,
    (t) => t.get("/channels", {}, { auth: { auth_timestamp: String(now() - 590) } }),
  ],
  [
    "almost-early",
    "a timestamp 590 seconds ahead is accepted",
    WINDOW,
    (t) => t.get("/channels", {}, { auth: { auth_timestamp: String(now() + 590) } }),
  ],
  [
    "md5-of-nothing",
    "body_md5 may be that of an empty body",
    PHP_SERVER("post() signs md5 of the body, also of an empty one"),
    (t) => t.ask("POST", `/users/${t.name("nobody")}/terminate_connections`, { auth: { body_md5: md5("") } }),
  ],
  [
    "no-body",
    "a POST without a body needs no body_md5",
    REST("for all requests with a non-empty body"),
    (t) => t.ask("POST", `/users/${t.name("nobody")}/terminate_connections`),
  ],
  [
    "library-headers",
    "headers that libraries add change nothing",
    NODE_SERVER("x-pusher-library: pusher-http-node VERSION"),
    (t) => t.get("/channels", {}, { headers: { "X-Pusher-Library": "pusher-http-node 5.3.4", "User-Agent": "x" } }),
  ],
];
for (const [name, sentence, source, ask] of accepted) {
  area.case(name, sentence, source, async (t) => {
    succeeded(await ask(t));
  });
}

area.case("keep-alive", "a connection carries several requests", REST("The Channels API supports HTTP Keep-Alive"), async (t) => {
  const first = await t.post("/events", event(t));
  succeeded(first);
  succeeded(await t.post("/events", event(t)));
  assert.doesNotMatch(String(first.headers.connection ?? ""), /close/i);
});

// --- What is refused ---------------------------------------------------------------------------------------

const spoiled = [
  ["wrong-secret", "a signature with another secret", MUST, { secret: "not-the-secret" }],
  ["empty-signature", "an empty signature", MUST, { spoil: () => "" }],
  ["no-signature", "a request without signature", MUST, { spoil: () => undefined }],
  ["cut-signature", "a signature without its last digit", MUST, { spoil: (signature) => signature.slice(0, -1) }],
  [
    "other-digit",
    "a signature with one other digit",
    MUST,
    { spoil: (signature) => (signature[0] === "0" ? "1" : "0") + signature.slice(1) },
  ],
  ["no-hex", "a signature that is not hexadecimal", MUST, { spoil: () => "z".repeat(64) }],
  ["other-method", "a signature of another method", REST("The uppercase request method"), { signed: { method: "PUT" } }],
  ["other-path", "a signature of another path", REST("The request path"), { signed: { path: "/apps/x/events" } }],
  ["other-query", "a signature of another query", LOWERED, { signed: { pairs: [["info", "user_count"]] } }],
  ["wrong-key", "an unknown key", REST("Your application key"), { auth: { auth_key: "no-such-key" } }],
  [
    "no-key",
    "a request without auth_key",
    REST("The following query parameters must be included with all requests"),
    { auth: { auth_key: undefined } },
  ],
  [
    "no-timestamp",
    "a request without auth_timestamp",
    REST("The following query parameters must be included with all requests"),
    { auth: { auth_timestamp: undefined } },
  ],
  [
    "no-version",
    "a request without auth_version",
    REST("The following query parameters must be included with all requests"),
    { auth: { auth_version: undefined } },
  ],
  ["other-version", "auth_version 2.0", REST("Authentication version, currently 1.0"), { auth: { auth_version: "2.0" } }],
  ["text-timestamp", "a timestamp that is not a number", WINDOW, { auth: { auth_timestamp: "yesterday" } }],
  ["no-md5", "a body without body_md5", BODY_MD5, { auth: { body_md5: undefined } }],
  ["wrong-md5", "a body_md5 of another body", BODY_MD5, { auth: { body_md5: md5("another") } }],
];
for (const [name, what, source, options] of spoiled) {
  area.case(name, `${what} gets 401`, source, async (t) => {
    refused(await t.post("/events", event(t), options), 401);
  });
}

for (const [name, what, seconds] of [
  ["old", "a timestamp of 610 seconds ago", -610],
  ["early", "a timestamp 610 seconds ahead", 610],
]) {
  area.case(name, `${what} gets 401`, WINDOW, async (t) => {
    refused(await t.get("/channels", {}, { auth: { auth_timestamp: String(now() + seconds) } }), 401);
  });
}

area.case("changed-body", "a body that was changed after the signature gets 401", BODY_MD5, async (t) => {
  const body = JSON.stringify(event(t));
  refused(await t.post("/events", body.replace("{}", "[]"), { auth: { body_md5: md5(body) } }), 401);
});

area.case("nothing-published", "a refused request publishes nothing", MUST, async (t) => {
  const channel = t.name("forged");
  const socket = await t.subscriber(channel);
  await t.post("/events", { name: "forged", channel, data: "{}" }, { secret: "not-the-secret" });
  await t.mark(channel, socket);
  assert.equal(socket.all("forged").length, 0);
});

area.case(
  "explained",
  "the body of a 401 says why",
  REST("Authentication error: response body will contain an explanation"),
  async (t) => {
    const answer = refused(await t.get("/channels", {}, { secret: "not-the-secret" }), 401);
    assert.ok(answer.text.trim().length > 0, "the body is empty");
  },
);

area.case("nothing-given-away", "a 401 does not reveal the expected signature", MUST, async (t) => {
  const timestamp = String(now());
  const answer = refused(await t.get("/channels", {}, { auth: { auth_timestamp: timestamp }, secret: "not-the-secret" }), 401);
  const path = `/apps/${t.app.id}/channels`;
  const right = hmac(t.app.secret, `GET\n${path}\nauth_key=${t.app.key}&auth_timestamp=${timestamp}&auth_version=1.0`);
  assert.ok(!answer.text.includes(right), "the right signature is in the answer");
});

area.case("all-paths", "every endpoint asks for a signature", MUST, async (t) => {
  const channel = t.name("presence-guarded");
  const spoil = { secret: "not-the-secret" };
  for (const path of ["/channels", `/channels/${channel}`, `/channels/${channel}/users`])
    refused(await t.get(path, {}, spoil), 401);
  refused(await t.post("/batch_events", { batch: [event(t)] }, spoil), 401);
  refused(await t.post(`/users/${t.name("nobody")}/terminate_connections`, {}, spoil), 401);
});

area.case(
  "other-app",
  "another app's key and secret get 401",
  REST("Your application key"),
  async (t) => {
    const other = t.host.apps["other-app"];
    refused(await t.get("/channels", {}, { app: { ...other, id: t.app.id } }), 401);
  },
  { needs: ["other-app"] },
);

area.case(
  "disabled-app",
  "a disabled app gets 403",
  REST("Forbidden: app disabled or over message quota"),
  async (t) => {
    refused(await t.get("/channels", {}, { app: t.host.apps["disabled-app"] }), 403);
  },
  { needs: ["disabled-app"] },
);

// --- Where the documentation is silent ---------------------------------------------------------------------

const asked = (answer) => `HTTP ${answer.status}`;
area.silent("upper-case-signature", "What does a signature in upper-case hex get?", async (t) =>
  asked(await t.get("/channels", {}, { spoil: (signature) => signature.toUpperCase() })),
);
area.silent("upper-case-md5", "What does body_md5 in upper-case hex get?", async (t) => {
  const body = JSON.stringify(event(t));
  return asked(await t.post("/events", body, { auth: { body_md5: md5(body).toUpperCase() } }));
});
area.silent("unknown-app", "What does an unknown app id get?", async (t) =>
  asked(await t.get("/channels", {}, { app: { ...t.app, id: "999999" } })),
);
area.silent("unknown-path", "What does a path that does not exist get?", async (t) => asked(await t.get("/no-such-thing")));
area.silent("wrong-method", "What does a GET of /events get?", async (t) => asked(await t.get("/events")));
area.silent("trailing-slash", "What does a path with a slash at its end get?", async (t) => asked(await t.get("/channels/")));
area.silent("error-type", "Which Content-Type do errors have?", async (t) =>
  String((await t.get("/channels", {}, { secret: "x" })).headers["content-type"] ?? "none"),
);
