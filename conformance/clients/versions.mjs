// The client libraries that the lock file brings, with their versions.

import { readFileSync } from "node:fs";

/** A client library: its version, the first number of that, and the class that it exports. */
async function library(module) {
  const [directory] = module.split("/");
  const { version } = JSON.parse(readFileSync(new URL(`../node_modules/${directory}/package.json`, import.meta.url), "utf8"));
  const { default: exported } = await import(module);
  return { version, major: Number(version.split(".")[0]), Client: exported.default ?? exported };
}

const libraries = (...modules) => Promise.all(modules.map(library));

/** pusher-js, of each major version that its users still have. */
export const PUSHER_JS = await libraries(
  "pusher-js-3/node.js",
  "pusher-js-4",
  "pusher-js-5",
  "pusher-js-6",
  "pusher-js-7",
  "pusher-js",
);
/** Laravel Echo. */
export const ECHO = await libraries("laravel-echo-1", "laravel-echo");
/** The official server library for Node. */
export const SERVER = await libraries("pusher-2", "pusher-4", "pusher");
/** A client for Node that is no longer developed, and in use. */
export const PUSHER_CLIENT = await library("pusher-client");

const versionsOf = (all) => all.map(({ version }) => version);

/** All of them: `{ "pusher-js": ["3.2.4", …], … }`. */
export const versions = {
  "pusher-js": versionsOf(PUSHER_JS),
  "laravel-echo": versionsOf(ECHO),
  pusher: versionsOf(SERVER),
  "pusher-client": [PUSHER_CLIENT.version],
};
