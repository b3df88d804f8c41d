// The program: reads the options, runs the cases and reports.

import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { areas } from "../cases/index.mjs";
import { Host } from "./host.mjs";
import { USAGE, UsageError, parseOptions } from "./options.mjs";
import { Receiver } from "./receiver.mjs";
import { asJson, asMarkdown, asTable, listOf, tally } from "./report.mjs";
import { runCases } from "./runner.mjs";

const STATUS = { ok: 0, failed: 1, usage: 2, unreachable: 3 };

/** Whether a case is chosen by a pattern: its area, its id, or an id with `*`. */
function matcher(pattern) {
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  const expression = new RegExp(`^${escaped}(\\..*)?$`);
  return ({ id }) => expression.test(id);
}

function chosen(only) {
  const cases = areas.flatMap((area) => area.cases);
  if (only.length === 0) return cases;
  for (const pattern of only) {
    if (!cases.some(matcher(pattern))) throw new UsageError(`--only ${pattern} fits no case; --list shows them`);
  }
  return cases.filter((each) => only.some((pattern) => matcher(pattern)(each)));
}

/** Whether anything listens there. */
function isReachable({ host, port }) {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 5_000 });
    const end = (reached) => {
      socket.destroy();
      resolve(reached);
    };
    socket
      .once("connect", () => end(true))
      .once("error", () => end(false))
      .once("timeout", () => end(false));
  });
}

/** Says which case has just failed, so that a long run shows something. */
function progress({ case: { id }, result, detail }) {
  if (detail && ["passed", "failed"].includes(result)) console.error(`${result}  ${id}: ${detail}`);
}

async function run(options) {
  const cases = chosen(options.only);
  if (!(await isReachable(options))) {
    console.error(`nothing listens on ${options.host}:${options.port}`);
    return STATUS.unreachable;
  }
  const receiver = new Receiver();
  if (options.webhooks) await receiver.listen(options.webhooks);
  // Old client libraries print each error that they also hand to the application.
  console.warn = () => {};
  const began = performance.now();
  const { host, ...setting } = { ...options, host: new Host(options), receiver };
  const { outcomes, strays } = await runCases({ ...setting, host }, cases, progress);
  if (options.webhooks) await receiver.drain();
  receiver.close();
  const report = { options, areas, outcomes, strays, seconds: (performance.now() - began) / 1000 };
  console.log(asTable(report));
  if (options.json) await writeFile(options.json, asJson(report));
  if (options.markdown) await writeFile(options.markdown, asMarkdown(report));
  const { failed, absent } = tally(outcomes);
  return failed + absent > 0 ? STATUS.failed : STATUS.ok;
}

/** Runs the kit and returns its exit status. */
export async function main(args) {
  try {
    const options = parseOptions(args);
    if (options.help) console.log(USAGE);
    else if (options.list) console.log(listOf(areas, chosen(options.only)));
    else return await run(options);
    return STATUS.ok;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`conformance: ${error.message}\nconformance: --help shows the options`);
    return STATUS.usage;
  }
}
