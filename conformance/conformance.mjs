#!/usr/bin/env node
// The command. It installs the clients that the lock file names when they are missing, and then runs the kit.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

if (!existsSync(`${here}node_modules/ws`)) {
  console.error("Installing the clients named in package-lock.json");
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: here, stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(3);
}

const { main } = await import("./kit/main.mjs");
const status = await main(process.argv.slice(2));
// Clients may hold connections open; what was printed must be out before they are cut.
process.stdout.write("", () => process.exit(status));
