// A pusher-js client as a program, for tests written in another language.
//
//     node subscriber.mjs CHANNEL…
//
// It connects to the host and app of the environment and asks AUTH_ENDPOINT for private and presence
// channels. Each thing it hears is one line of JSON: {"event", "channel", "data"}. The first line is
// {"event": "connected", "data": SOCKET_ID}. It ends when its standard input is closed.

import Pusher from "pusher-js";

const { LOUDHAILER_HOST, LOUDHAILER_PORT, LOUDHAILER_WSS_PORT = LOUDHAILER_PORT, LOUDHAILER_APP_KEY, LOUDHAILER_TLS, AUTH_ENDPOINT } = process.env;

const pusher = new Pusher(LOUDHAILER_APP_KEY, {
  cluster: "mt1",
  wsHost: LOUDHAILER_HOST,
  wsPort: Number(LOUDHAILER_PORT),
  wssPort: Number(LOUDHAILER_WSS_PORT),
  forceTLS: LOUDHAILER_TLS === "true",
  enabledTransports: ["ws", "wss"],
  channelAuthorization: { endpoint: AUTH_ENDPOINT, transport: "ajax" },
});

function tell(event, channel, data) {
  process.stdout.write(`${JSON.stringify({ event, channel, data })}\n`);
}

pusher.connection.bind("connected", ({ socket_id: socketId }) => tell("connected", undefined, socketId));
for (const name of process.argv.slice(2)) {
  pusher.subscribe(name).bind_global((event, data) => tell(event, name, data));
}
process.stdin.on("end", () => pusher.disconnect()).resume();
