// What is said at the end: a table for the terminal, JSON for programs, Markdown for people.

import { RESULTS } from "./runner.mjs";
import { versions } from "../clients/versions.mjs";

/** Names of the results and how often each came. */
export function tally(outcomes) {
  const counts = Object.fromEntries(RESULTS.map((result) => [result, 0]));
  for (const { result } of outcomes) counts[result] += 1;
  return counts;
}

function rowsOf({ areas, outcomes }) {
  return areas
    .map((area) => ({ area, outcomes: outcomes.filter((each) => each.case.area === area.name) }))
    .filter((row) => row.outcomes.length > 0)
    .map(({ area, outcomes: own }) => ({ title: area.title, name: area.name, counts: tally(own) }));
}

function table(head, rows) {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => String(row[column]).length)));
  const line = (row) =>
    row
      .map((cell, column) => (column === 0 ? String(cell).padEnd(widths[0]) : String(cell).padStart(widths[column])))
      .join("  ")
      .trimEnd();
  return [line(head), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)].join("\n");
}

const blankZero = (count) => (count === 0 ? "" : count);

/** The table for the terminal, then the failures and the notes. */
export function asTable(report) {
  const { options, outcomes, strays, seconds } = report;
  const rows = rowsOf(report).map(({ name, counts }) => [name, ...RESULTS.map((result) => blankZero(counts[result]))]);
  const total = tally(outcomes);
  const parts = [
    table(["area", ...RESULTS], [...rows, ["all", ...RESULTS.map((result) => total[result])]]),
    section(
      "Failed",
      outcomes,
      "failed",
      (each) => `${each.case.id}: ${each.case.sentence}\n    ${each.detail}\n    ${sourceText(each.case.source)}`,
    ),
    section(
      "Passed alone, at the second attempt",
      outcomes.filter(({ detail }) => detail),
      "passed",
      (each) => `${each.case.id}: ${each.detail}`,
    ),
    section(
      "Noted, where the documentation is silent",
      outcomes,
      "noted",
      (each) => `${each.case.id}: ${each.case.sentence}\n    ${each.detail}`,
    ),
    strays.length ? `Errors outside of any case:\n  ${strays.join("\n  ")}` : "",
    `${options.name}: ${outcomes.length} cases in ${seconds.toFixed(1)} s: ${RESULTS.map((result) => `${total[result]} ${result}`).join(", ")}`,
  ];
  return parts.filter(Boolean).join("\n\n");
}

function section(heading, outcomes, result, line) {
  const own = outcomes.filter((each) => each.result === result);
  return own.length ? `${heading}:\n${own.map((each) => `  ${line(each)}`).join("\n")}` : "";
}

/** Sentences of the documentation are quoted; what a client or the hosted service does is described. */
function sourceText(source) {
  if (!source) return "the documentation is silent";
  const { kind, where, quote } = source;
  return `${kind}: ${where}: ${kind === "docs" ? `“${quote}”` : quote}`;
}

/** The cases and what they rest on. */
export function listOf(areas, cases) {
  const parts = areas.map((area) => {
    const own = cases.filter((each) => each.area === area.name);
    if (own.length === 0) return "";
    const lines = own.map((each) => `  ${each.id}: ${each.sentence}\n    ${sourceText(each.source)}`);
    return [`${area.title}: ${own.length}`, ...lines].join("\n");
  });
  const kinds = new Map();
  for (const { source } of cases) kinds.set(source?.kind ?? "silent", (kinds.get(source?.kind ?? "silent") ?? 0) + 1);
  return [
    ...parts.filter(Boolean),
    `${cases.length} cases: ${[...kinds].map(([kind, count]) => `${count} ${kind}`).join(", ")}`,
  ].join("\n\n");
}

/** The results for programs. Neither secrets nor addresses are in it. */
export function asJson({ options, areas, outcomes, strays, seconds }) {
  const value = {
    name: options.name,
    notes: options.notes,
    clients: versions,
    node: process.version,
    seconds: Number(seconds.toFixed(1)),
    totals: tally(outcomes),
    areas: areas.map(({ name, title }) => ({ name, title })),
    cases: outcomes.map(({ case: each, result, detail, ms }) => ({
      id: each.id,
      area: each.area,
      sentence: each.sentence,
      source: each.source,
      client: each.client,
      result,
      detail,
      ms,
    })),
    strays,
  };
  return `${JSON.stringify(value, null, 1)}\n`;
}

const cell = (text) =>
  String(text ?? "")
    .replaceAll("|", "\\|")
    .replaceAll("\n", " ");

/** The results as a page. */
export function asMarkdown(report) {
  const { options, outcomes, seconds } = report;
  const head = `| area | ${RESULTS.join(" | ")} |\n|---|${RESULTS.map(() => "--:").join("|")}|`;
  const rows = rowsOf(report).map(
    ({ title, counts }) => `| ${title} | ${RESULTS.map((result) => blankZero(counts[result])).join(" | ")} |`,
  );
  const list = (result, line) =>
    outcomes
      .filter((each) => each.result === result)
      .map(line)
      .join("\n");
  const failed = list(
    "failed",
    (each) =>
      `| ${cell(each.case.id)} | ${cell(each.case.sentence)} | ${cell(each.detail)} | ${cell(sourceText(each.case.source))} |`,
  );
  const noted = list("noted", (each) => `| ${cell(each.case.sentence)} | ${cell(each.detail)} |`);
  return (
    [
      `# ${options.name}`,
      ...options.notes.map((note) => `- ${note}`),
      `${outcomes.length} cases in ${seconds.toFixed(1)} s.`,
      [head, ...rows].join("\n"),
      failed && `## Failed\n\n| case | what a host does | what happened | source |\n|---|---|---|---|\n${failed}`,
      noted && `## Where the documentation is silent\n\n| question | answer |\n|---|---|\n${noted}`,
    ]
      .filter(Boolean)
      .join("\n\n") + "\n"
  );
}
