// Runs a command beside a server and examples/single_login in both modes, which it finds in EXAMPLE_URL (the application tells) and
// EXAMPLE_SERVER_URL (the server tells); EXAMPLE_ADMIN_URL is the server's admin listener:
//
//     node example.mjs node --test single_login/*.test.mjs
//
// SINGLE_LOGIN_BIN names the built example.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Program, run } from "./program.mjs";
import { apps, startServer } from "./server.mjs";

const builtExample = fileURLToPath(new URL("../../target/examples/debug/single-login", import.meta.url));

/** Starts the example in a mode, as the backend of one of the server's apps; its database is in `directory`. */
function startExample(server, directory, mode, app) {
  return Program.start(path.resolve(process.env.SINGLE_LOGIN_BIN ?? builtExample), [], {
    env: {
      PATH: process.env.PATH,
      APP_PORT: "0",
      DATABASE: path.join(directory, `${mode}.sqlite`),
      LOGIN_MODE: mode,
      PUSHER_HOST: server.host,
      PUSHER_PORT: String(server.port),
      PUSHER_APP_ID: app.id,
      PUSHER_APP_KEY: app.key,
      PUSHER_APP_SECRET: app.secret,
    },
    ready: /^Example on (http:\S+)$/,
  });
}

const [command, ...args] = process.argv.slice(2);
if (!command) {
  console.error("usage: node example.mjs COMMAND [ARGUMENT…]");
  process.exit(2);
}
const directory = await mkdtemp(path.join(tmpdir(), "single-login-"));
const server = await startServer();
const byApplication = await startExample(server, directory, "application", apps.main);
const byServer = await startExample(server, directory, "server", apps.ruled);
const status = await run(command, args, {
  ...process.env,
  EXAMPLE_URL: byApplication.ready[1],
  EXAMPLE_SERVER_URL: byServer.ready[1],
  EXAMPLE_ADMIN_URL: server.admin,
});
for (const example of [byApplication, byServer]) {
  if (status !== 0) console.error(`The example's log:\n${example.log}`);
  await example.end("SIGTERM");
}
await server.stop();
await rm(directory, { recursive: true });
process.exit(status);
