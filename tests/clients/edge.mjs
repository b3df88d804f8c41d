// A backend with npm's pusher-http-edge, in a process of its own, so that its environment can name a certificate authority.
//
//     node edge.mjs OPTIONS
//
// OPTIONS is the JSON of the library's options. Each line of standard input is a call, ["method", argument…]; the line that answers it is
// {"result": …} or {"status": …} of a refusal. It ends when its standard input is closed.

import { createInterface } from "node:readline";
import Pusher from "pusher-http-edge";

const pusher = new Pusher(JSON.parse(process.argv[2]));

/** What the library has no single method for. */
const own = {
  isGenuine: (request) => pusher.webhook(request).isValid(),
};

async function call(method, args) {
  const result = await (own[method] ? own[method](...args) : pusher[method](...args));
  return result instanceof Response ? result.json() : result;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...args] = JSON.parse(line);
  const answer = await call(method, args).then(
    (result) => ({ result }),
    (error) => ({ status: error.status, error: String(error.error ?? error) }),
  );
  console.log(JSON.stringify(answer));
}
