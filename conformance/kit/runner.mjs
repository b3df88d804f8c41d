// Runs cases: several at once, each with a deadline, and none can end the kit.

import { AsyncLocalStorage } from "node:async_hooks";
import { PROBES, PROBE_MS, WEBHOOK_PROBE_MS } from "./probes.mjs";
import { Trial } from "./trial.mjs";
import { brief } from "./waiting.mjs";

/** How long a host may take to return before a case is run again. */
const RETURN_MS = 30_000;

/** What became of a case. */
export const RESULTS = ["passed", "failed", "absent", "skipped", "noted"];

const running = new AsyncLocalStorage();
const strays = [];

/** Client libraries throw in callbacks of their own when a host answers nonsense: that is a failure of the case, not of the kit. */
function catchStrays() {
  const note = (error) => {
    const failure = running.getStore();
    if (failure) failure.reject(error instanceof Error ? error : new Error(brief(error)));
    else strays.push(brief(String(error?.stack ?? error)));
  };
  process.on("uncaughtException", note);
  process.on("unhandledRejection", note);
}

/** A promise that `reject` ends, and the deadline. */
function failureAfter(ms) {
  const failure = {};
  failure.promise = new Promise((_, reject) => {
    failure.reject = reject;
    failure.timer = setTimeout(() => reject(new Error(`took longer than ${ms / 1000} s`)), ms);
  });
  // It may be rejected when nobody looks any more.
  failure.promise.catch(() => {});
  return failure;
}

/** Runs something in a trial of its own. */
async function attempt(setting, ms, run) {
  const trial = new Trial(setting.host, setting.receiver, ms);
  const failure = failureAfter(ms);
  try {
    return await running.run(failure, () => Promise.race([run(trial), failure.promise]));
  } finally {
    clearTimeout(failure.timer);
    trial.close();
  }
}

/** The features that the cases need, each with the reason why it is missing, or `undefined`. */
async function probe(setting, needs) {
  const reasons = await Promise.all(
    needs.map(async (need) => {
      if (setting.without.includes(need)) return [need, { result: "skipped", detail: `--without ${need}` }];
      const lack = setting.host.lacks(need);
      if (lack) return [need, { result: "skipped", detail: lack }];
      if (!(need in PROBES)) return [need, undefined];
      const error = await attempt(setting, need === "webhooks" ? WEBHOOK_PROBE_MS : PROBE_MS, PROBES[need]).then(
        () => undefined,
        (reason) => reason,
      );
      return [need, error && { result: "absent", detail: `no ${need}: ${error.message}` }];
    }),
  );
  return new Map(reasons);
}

async function runCase(setting, missing, each) {
  const lack = each.needs.map((need) => missing.get(need)).find(Boolean);
  if (lack) return { ...lack, ms: 0 };
  const began = performance.now();
  const outcome = await attempt(setting, setting.timeoutMs + 1000 * each.seconds, each.run).then(
    (note) => (each.silent ? { result: "noted", detail: note } : { result: "passed" }),
    (error) =>
      each.silent
        ? { result: "noted", detail: `no answer: ${messageOf(error)}`, unanswered: true }
        : { result: "failed", detail: messageOf(error) },
  );
  return { ...outcome, ms: Math.round(performance.now() - began) };
}

/** An assertion's message as one line. */
function messageOf(error) {
  const text = String(error?.message ?? error);
  return brief(text.replace(/\s*\n\s*/g, " "), 600);
}

/** Runs the cases, several at once. */
async function runAtOnce(setting, missing, cases, ended) {
  // The long ones first, so that the end of the run is not one of them alone.
  const queue = [...cases].sort((a, b) => b.seconds - a.seconds);
  const worker = async () => {
    for (let each = queue.shift(); each; each = queue.shift()) ended({ case: each, ...(await runCase(setting, missing, each)) });
  };
  await Promise.all(Array.from({ length: setting.concurrency }, worker));
}

/**
 * What is worth a second attempt: the cases that failed and, when there are any, those that note what the host does. A host
 * that was down for the former may have been down for the latter too.
 */
function repeated(outcomes) {
  const failed = outcomes.filter(({ result, unanswered }) => result === "failed" || unanswered);
  return failed.length === 0 ? [] : outcomes.filter((each) => failed.includes(each) || each.result === "noted");
}

/** Runs cases one after the other, each when the host serves connections: another case may have ended it. */
async function runAlone(setting, missing, failed, ended) {
  for (const { case: each, detail } of failed) {
    await attempt(setting, RETURN_MS, (trial) => trial.eventually(() => trial.connect())).catch(() => {});
    const outcome = { case: each, ...(await runCase(setting, missing, each)) };
    ended(outcome.result === "passed" ? { ...outcome, detail: `passed alone; at first: ${detail}` } : outcome);
  }
}

/**
 * Runs the cases of `setting` (`host`, `receiver`, `timeoutMs`, `concurrency`, `without`, `again`) and returns one
 * `{ case, result, detail, ms }` for each, in their order. `progress` is called with each as it ends.
 */
export async function runCases(setting, cases, progress) {
  catchStrays();
  const missing = await probe(setting, [...new Set(cases.flatMap(({ needs }) => needs))]);
  const outcomes = new Map();
  const ended = (outcome) => {
    outcomes.set(outcome.case, outcome);
    progress(outcome);
  };
  await runAtOnce(setting, missing, cases, ended);
  if (setting.again) await runAlone(setting, missing, repeated([...outcomes.values()]), ended);
  return { outcomes: cases.map((each) => outcomes.get(each)), strays };
}
