// A balancer before the servers of a test, by which clients get from a server that stops to the next.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** A TCP balancer with one upstream, which may be changed, as in a rolling restart. */
export async function startBalancer(upstream) {
  const sockets = new Set();
  const balancer = { upstream };
  const server = createServer((downstream) => {
    const onward = connect(balancer.upstream.port, balancer.upstream.host);
    for (const [socket, peer] of [[downstream, onward], [onward, downstream]]) {
      sockets.add(socket);
      socket.on("error", () => peer.destroy());
      socket.on("close", () => sockets.delete(socket));
      socket.pipe(peer);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  balancer.port = server.address().port;
  balancer.close = async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  };
  return balancer;
}
