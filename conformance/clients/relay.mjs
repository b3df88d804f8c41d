// A relay before the host, whose connections a case can cut, as a network does.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Starts a relay to `host` and `port`; `lose` ends what goes through it. */
export async function startRelay({ host, port }) {
  const sockets = new Set();
  const server = createServer((downstream) => {
    const onward = connect(port, host);
    for (const [socket, peer] of [
      [downstream, onward],
      [onward, downstream],
    ]) {
      sockets.add(socket);
      socket.on("error", () => peer.destroy());
      socket.on("close", () => sockets.delete(socket));
      socket.pipe(peer);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const lose = () => sockets.forEach((socket) => socket.destroy());
  return {
    port: server.address().port,
    lose,
    close() {
      lose();
      server.close();
    },
  };
}
