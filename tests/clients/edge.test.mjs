// npm's pusher-http-edge, unchanged, over http and over https with the tests' authority, heard by pusher-js.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Awaited } from "../../conformance/kit/waiting.mjs";
import { Authority } from "./authority.mjs";
import { apps, startNode } from "./server.mjs";
import { World } from "./world.mjs";

/** Keeps the webhooks it gets, as the library takes them. */
class Receiver {
  #server;
  #awaited = new Awaited();
  #requests = [];

  static async start() {
    const receiver = new Receiver();
    receiver.#server = createServer(async (request, response) => {
      receiver.#requests.push({ headers: request.headers, rawBody: await text(request) });
      receiver.#awaited.look();
      response.end();
    });
    receiver.#server.listen(0, "127.0.0.1");
    await once(receiver.#server, "listening");
    return receiver;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/`;
  }

  /** Waits for the webhook with this event on a channel. */
  gets(name, channel) {
    const isIt = (event) => event.name === name && event.channel === channel;
    const find = () => this.#requests.find(({ rawBody }) => JSON.parse(rawBody).events.some(isIt));
    return this.#awaited.until(find, () => `waited in vain for ${name} on ${channel}; so far: ${JSON.stringify(this.#requests)}`);
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** edge.mjs, which answers calls in their order. */
class Backend {
  #program;
  #answers;

  constructor(options, environment) {
    const file = fileURLToPath(new URL("edge.mjs", import.meta.url));
    const stdio = ["pipe", "pipe", "inherit"];
    this.#program = spawn(process.execPath, [file, JSON.stringify(options)], { env: { ...process.env, ...environment }, stdio });
    this.#answers = createInterface({ input: this.#program.stdout })[Symbol.asyncIterator]();
  }

  async ask(...call) {
    this.#program.stdin.write(`${JSON.stringify(call)}\n`);
    const { value } = await this.#answers.next();
    assert.ok(value, "the backend ended early");
    return JSON.parse(value);
  }

  async result(...call) {
    const answer = await this.ask(...call);
    assert.ok("result" in answer, JSON.stringify(answer));
    return answer.result;
  }

  close() {
    this.#program.stdin.end();
  }
}

let authority;
let receiver;
let world;

before(async () => {
  authority = await Authority.create();
  receiver = await Receiver.start();
  const main = { ...apps.main, webhooks: [{ url: receiver.url }] };
  world = new World(await startNode({ server: { tls: authority.settings }, only: { main } }), { ...apps, main });
});

after(async () => {
  await world?.close();
  receiver?.close();
  await authority?.close();
});

function backend(scheme, options = {}, environment = authority.environment) {
  const { id: appId, key, secret } = world.apps.main;
  const useTLS = scheme === "https";
  const port = useTLS ? world.server.tlsPort : world.server.port;
  return new Backend({ appId, key, secret, host: "localhost", port, useTLS, ...options }, environment);
}

/** A pusher-js client whose channels and user the backend signs. */
function signedBy(edge) {
  const signing = (method, argument) => ({
    customHandler: ({ socketId, channelName }, callback) =>
      edge.result(method, socketId, ...argument(channelName)).then((signed) => callback(null, signed), callback),
  });
  const member = (name) => (name.startsWith("presence-") ? [name, { user_id: "7", user_info: { name: "Zoë" } }] : [name]);
  return world.connect({
    channelAuthorization: signing("authorizeChannel", member),
    userAuthentication: signing("authenticateUser", () => [{ id: "7" }]),
  });
}

for (const scheme of ["http", "https"]) {
  test(`pusher-http-edge publishes, excludes, queries, signs and judges webhooks over ${scheme}`, async (t) => {
    const edge = backend(scheme);
    t.after(() => edge.close());
    const [news, room] = [world.channel(`private-${scheme}`), world.channel(`presence-${scheme}`)];
    const [one, other] = [await signedBy(edge), await signedBy(edge)];
    for (const client of [one, other]) await client.subscribe(news);
    const { members } = await one.subscribe(room);
    assert.deepEqual(members.members, { 7: { name: "Zoë" } });

    assert.deepEqual(await edge.result("trigger", [news, room], "paid", { amount: 7 }), {});
    await edge.result("trigger", news, "to-others", 1, { socket_id: one.socketId });
    const batch = [1, 2].map((n) => ({ channel: news, name: `part-${n}`, data: { n } }));
    assert.deepEqual(await edge.result("triggerBatch", batch), {});
    for (const client of [one, other]) await client.hears(news, "part-2");
    const parts = [["part-1", { n: 1 }], ["part-2", { n: 2 }]];
    assert.deepEqual(one.heardOn(news), [["paid", { amount: 7 }], ...parts]);
    assert.deepEqual(other.heardOn(news), [["paid", { amount: 7 }], ["to-others", 1], ...parts]);

    const info = { filter_by_prefix: room, info: "user_count" };
    assert.deepEqual(await edge.result("get", { path: "/channels", params: info }), { channels: { [room]: { user_count: 1 } } });
    assert.deepEqual(await edge.result("get", { path: `/channels/${room}/users` }), { users: [{ id: "7" }] });

    const webhook = await receiver.gets("member_added", room);
    assert.equal(await edge.result("isGenuine", webhook), true);
    assert.equal(await edge.result("isGenuine", { ...webhook, rawBody: `${webhook.rawBody} ` }), false);

    one.pusher.signin();
    await one.receives("pusher:signin_success");
    assert.deepEqual(await edge.result("terminateUserConnections", "7"), {});
    await one.isTold(4009);
  });

  test(`pusher-http-edge gets 401 with a wrong secret over ${scheme}`, async (t) => {
    const edge = backend(scheme, { secret: "not-the-secret" });
    t.after(() => edge.close());
    assert.equal((await edge.ask("trigger", "news", "paid", {})).status, 401);
  });
}

test("pusher-http-edge refuses the certificate of an authority that it does not know", async (t) => {
  const edge = backend("https", {}, { NODE_EXTRA_CA_CERTS: "" });
  t.after(() => edge.close());
  const { status, error } = await edge.ask("trigger", "news", "paid", {});
  assert.equal(status, undefined);
  assert.match(error, /fetch failed/);
});
