// A bare HTTP exchange, for handshakes that no library would send.

import net from "node:net";
import tls from "node:tls";

const HEAD_MAX = 16 << 10;

/** Sends text and returns the status of the answer and its headers as text; `status` is 0 when there was no answer. */
export function exchange({ tls: secure, host, port }, text, ms) {
  return new Promise((resolve, reject) => {
    const socket = secure ? tls.connect({ host, port, servername: host }) : net.connect({ host, port });
    const timer = setTimeout(() => end(new Error(`no answer within ${ms} ms`)), ms);
    let head = "";
    const end = (error) => {
      clearTimeout(timer);
      socket.destroy();
      if (error) reject(error);
      else resolve({ status: Number(head.match(/^HTTP\/1\.[01] (\d{3})/)?.[1] ?? 0), head });
    };
    socket.once(secure ? "secureConnect" : "connect", () => socket.write(text));
    socket.on("data", (chunk) => {
      head += chunk.toString("latin1");
      if (head.includes("\r\n\r\n") || head.length > HEAD_MAX) end();
    });
    socket.on("error", end);
    socket.on("close", () => end());
  });
}
