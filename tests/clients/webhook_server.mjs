// A server whose app tells one address what happens, with all that webhooks can be about switched on.
//
// As a program, for tests written in another language:
//
//     node webhook_server.mjs URL
//
// The first line says where it is: {"host", "port", "id", "key", "secret"}. It ends when its standard input is closed. It speaks TLS alone
// where LOUDHAILER_TLS_CERT and LOUDHAILER_TLS_KEY are files.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Program } from "./program.mjs";

const builtBinary = fileURLToPath(new URL("../../target/release/loudhailer", import.meta.url));

export const app = { id: "2001", key: "webhook-key", secret: "webhook-secret" };

/** The sections of its configuration that are about TLS. */
function tlsText({ LOUDHAILER_TLS_CERT: cert, LOUDHAILER_TLS_KEY: key }) {
  return cert ? ["[server.tls]", `cert = ${JSON.stringify(cert)}`, `key = ${JSON.stringify(key)}`, "port = 0", 'plain = "off"'] : [];
}

/** Starts the server; what `options` holds is set in the app's table. */
export async function startWebhookServer(url, options = {}) {
  const directory = await mkdtemp(path.join(tmpdir(), "loudhailer-"));
  const config = path.join(directory, "loudhailer.toml");
  const settings = { ...app, client_events: true, subscription_counts: true, ...options };
  const lines = [
    "[server]",
    "port = 0",
    "drain_window_s = 0",
    ...tlsText(process.env),
    "[admin]",
    "port = 0",
    "[[apps]]",
    ...Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
    "[[apps.webhooks]]",
    `url = ${JSON.stringify(url)}`,
  ];
  await writeFile(config, lines.join("\n"));
  const program = await Program.start(process.env.LOUDHAILER_BIN ?? builtBinary, ["--config", config], {
    env: { PATH: process.env.PATH },
    ready: /^Listening on https?:\/\/(.+):(\d+)$/,
  });
  return {
    host: program.ready[1],
    port: Number(program.ready[2]),
    async stop() {
      const { code, signal } = await program.end("SIGTERM");
      await rm(directory, { recursive: true });
      if (code !== 0) throw new Error(`the server ended with ${signal ?? code}\n${program.log}`);
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { host, port, stop } = await startWebhookServer(process.argv[2]);
  console.log(JSON.stringify({ host, port, ...app }));
  process.stdin.on("end", stop).resume();
}
