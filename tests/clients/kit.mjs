// The kit of conformance/ against a server that was started for it.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "./cluster.mjs";
import { run } from "./program.mjs";

const fileOf = (name) => fileURLToPath(new URL(`../../conformance/${name}`, import.meta.url));
const appText = ({ id, key, secret }) => `${id}:${key}:${secret}`;

/** The apps of the server: one with everything switched on, another, and a disabled one. */
export const apps = {
  main: { id: "1001", key: "app-key", secret: "app-secret" },
  other: { id: "1002", key: "other-key", secret: "other-secret" },
  disabled: { id: "1003", key: "disabled-key", secret: "disabled-secret" },
};

/** An address for the kit's receiver of webhooks. */
export const receiverAddress = async () => `127.0.0.1:${await freePort()}`;

/**
 * Runs the kit and returns its exit status. `record` keeps the results in conformance/runs, for docs/compatibility.md. `environment` is
 * what the kit's environment has besides this process's.
 */
export async function runKit({ name, notes, port, receiver, record, options, environment }) {
  const directory = await mkdtemp(path.join(tmpdir(), "loudhailer-conformance-"));
  const json = path.join(directory, "results.json");
  const { main, other, disabled } = apps;
  const status = await run(
    process.execPath,
    [
      fileOf("conformance.mjs"),
      ...["--port", String(port), "--app-id", main.id, "--key", main.key, "--secret", main.secret],
      ...["--other-app", appText(other), "--disabled-app", appText(disabled), "--webhooks", receiver],
      ...["--name", name, ...notes.flatMap((note) => ["--note", note]), "--again", "--json", json],
      ...options,
    ],
    { ...process.env, ...environment },
  );
  const kept = record ? await run(process.execPath, [fileOf("compatibility.mjs"), "add", json], process.env) : 0;
  await rm(directory, { recursive: true });
  return kept || status;
}

/** The arguments of a program that runs the kit: `[--record] [KIT-OPTION…]`. */
export function kitArguments(args) {
  const record = args[0] === "--record";
  return { record, options: record ? args.slice(1) : args };
}
