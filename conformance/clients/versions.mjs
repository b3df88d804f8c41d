// The client libraries that the lock file brings, with their versions.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** The packages by major version: `[name of the module, name of the package]`. */
export const PUSHER_JS = ["pusher-js-3/node", "pusher-js-4", "pusher-js-5", "pusher-js-6", "pusher-js-7", "pusher-js"];
export const ECHO = ["laravel-echo-1", "laravel-echo"];
export const SERVER = ["pusher-2", "pusher-4", "pusher"];

/** The version of a module, such as `8.6.0`. */
export function versionOf(module) {
  const file = new URL(`../node_modules/${module.replace("/node", "")}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")).version;
}

/** The class that a module exports. */
export function load(module) {
  const exported = require(module);
  return exported.default ?? exported;
}

/** All of them: `{ "pusher-js": ["3.2.4", …], … }`. */
export const versions = {
  "pusher-js": PUSHER_JS.map(versionOf),
  "laravel-echo": ECHO.map(versionOf),
  pusher: SERVER.map(versionOf),
  "pusher-client": [versionOf("pusher-client")],
};
