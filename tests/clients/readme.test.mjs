// The two programs of README.md as they stand there, against the demo app of a server.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const inTree = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** The lines that a program prints, one after another, until the program ends with the test. */
function start(t, command, args, options) {
  const program = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => program.kill());
  const lines = createInterface(program.stdout)[Symbol.asyncIterator]();
  return { program, line: async () => (await lines.next()).value };
}

/** The blocks of a language, in their order. */
async function blocks(language) {
  const text = await readFile(inTree("README.md"), "utf8");
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(([, block]) => block);
}

const numbers = (text) => text.replaceAll(/\d+/g, "#");

test("listen.mjs and publish.mjs print what README.md says", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "loudhailer-readme-"));
  after(() => rm(folder, { recursive: true }));
  await symlink(inTree("tests/clients/node_modules"), path.join(folder, "node_modules"));
  const binary = path.resolve(process.env.LOUDHAILER_BIN ?? inTree("target/release/loudhailer"));
  const env = { LOUDHAILER_SERVER__PORT: "0", LOUDHAILER_ADMIN__PORT: "0" };
  const server = start(t, binary, [], { env });
  await server.line();
  const port = /:(\d+)$/.exec(await server.line())[1];
  const [listen, publish] = await blocks("js");
  for (const [name, text] of [
    ["listen.mjs", listen],
    ["publish.mjs", publish],
  ]) {
    await writeFile(path.join(folder, name), text.replaceAll("6001", port));
  }
  const written = (await blocks("console")).map((block) => block.trimEnd().split("\n"));
  const listening = written.find(([command]) => command === "$ node listen.mjs");
  const published = written.find(([command]) => command === "$ node publish.mjs");
  const listener = start(t, process.execPath, ["listen.mjs"], { cwd: folder });
  for (const line of listening.slice(1, 3)) assert.equal(numbers(await listener.line()), numbers(line));
  const publisher = start(t, process.execPath, ["publish.mjs"], { cwd: folder });
  assert.equal(await publisher.line(), published[1]);
  await once(publisher.program, "exit");
  assert.equal(await listener.line(), listening[3]);
});
