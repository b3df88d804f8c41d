// docs/compatibility.md from the runs in runs/.
//
//     node compatibility.mjs add RESULTS.json   keeps the results of a run (--json of the kit)
//     node compatibility.mjs                    writes the page
//     node compatibility.mjs --check            fails when the page is not what the runs give

import { readFile, readdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../docs/compatibility.md", import.meta.url));
const RUNS = fileURLToPath(new URL("runs/", import.meta.url));
const TEMPLATE = fileURLToPath(new URL("compatibility.template.md", import.meta.url));
const REQUIREMENTS = fileURLToPath(new URL("../tests/clients/requirements.txt", import.meta.url));

const MARKS = { passed: "yes", failed: "no", absent: "–", skipped: "", noted: "" };

/** The runs in order of their names: Loudhailer's first, then other hosts'. */
async function readRuns() {
  const files = (await readdir(RUNS)).filter((file) => file.endsWith(".json"));
  const runs = await Promise.all(files.map(async (file) => JSON.parse(await readFile(`${RUNS}${file}`, "utf8"))));
  runs.sort((a, b) => (a.name < b.name ? -1 : 1));
  const isOwn = ({ name }) => name.startsWith("Loudhailer");
  return { own: runs.filter(isOwn), others: runs.filter((run) => !isOwn(run)) };
}

/** The results of a run, without what the kit's cases say themselves, one case a line; `again` marks a second attempt that passed. */
async function add(file) {
  const { name, notes, clients, node, seconds, totals, cases } = JSON.parse(await readFile(file, "utf8"));
  const lines = cases.map(({ id, result, detail }) =>
    JSON.stringify(result === "passed" ? { id, result, again: detail && true } : { id, result, detail }),
  );
  const head = JSON.stringify({ name, notes, clients, node, seconds, totals }).slice(0, -1);
  const slug = name.toLowerCase().replace(/[^a-z0-9.]+/g, "-");
  await writeFile(`${RUNS}${slug}.json`, `${head},"cases":[\n${lines.join(",\n")}\n]}\n`);
}

const cell = (text) =>
  String(text ?? "")
    .replaceAll("|", "\\|")
    .replaceAll("\n", " ")
    .replaceAll("<", "&lt;");
const row = (cells) => `| ${cells.map(cell).join(" | ")} |`;
const table = (head, rows, align = "") =>
  [row(head), `|${head.map((_, column) => (column === 0 ? "---" : align || "---")).join("|")}|`, ...rows.map(row)].join("\n");

/** The outcome of a case in a run. */
function lookup(run) {
  const byId = new Map(run.cases.map((each) => [each.id, each]));
  return (id) => byId.get(id);
}

/** A library's features by version, as one run found them. */
function clientTable(cases, run, library) {
  const own = cases.filter(({ client }) => client?.library === library);
  const versions = [...new Set(own.map(({ client }) => client.version))];
  const features = [...new Set(own.map(({ client }) => client.feature))];
  const outcome = lookup(run);
  const rows = features.map((feature) => {
    const all = own.filter(({ client }) => client.feature === feature);
    const what = all[0].sentence.slice(`${library} ${all[0].client.version} `.length);
    const marks = versions.map((version) => {
      const found = all.find(({ client }) => client.version === version);
      return found ? MARKS[outcome(found.id)?.result] : "";
    });
    return [what, ...marks];
  });
  return table([library, ...versions], rows);
}

function clientTables(cases, run) {
  const libraries = [...new Set(cases.flatMap(({ client }) => (client ? [client.library] : [])))];
  return libraries.map((library) => clientTable(cases, run, library)).join("\n\n");
}

/** How a host did in an area: `26 of 28`, or why not. */
function share(outcomes) {
  const count = (result) => outcomes.filter((each) => each?.result === result).length;
  const judged = count("passed") + count("failed");
  if (judged === 0) return count("absent") ? "–" : "";
  return `${count("passed")} of ${judged}${count("absent") ? `, ${count("absent")} –` : ""}`;
}

function areaTable(areas, hosts) {
  const rows = areas.map((area) => [area.title, ...hosts.map((run) => share(area.cases.map(({ id }) => lookup(run)(id))))]);
  const all = areas.flatMap((area) => area.cases);
  return table(
    ["", ...hosts.map(({ name }) => name)],
    [...rows, ["**all**", ...hosts.map((run) => share(all.map(({ id }) => lookup(run)(id))))]],
  );
}

function setupTable(own) {
  const rows = own.map(({ name, totals, seconds, cases }) => [
    name.replace("Loudhailer, ", ""),
    totals.passed,
    cases.filter(({ again }) => again).length,
    totals.failed,
    totals.skipped,
    `${Math.round(seconds)} s`,
  ]);
  const versions = [...new Set(own.flatMap((run) => run.notes))];
  return table(
    [`Loudhailer ${versions.join(", ")} on`, "passed", "of these at the second attempt", "failed", "skipped", "time"],
    rows,
  );
}

/** The cases that one of the hosts does not pass, by area. */
function differences(areas, hosts) {
  const parts = areas.map((area) => {
    const judged = area.cases.filter(({ silent }) => !silent);
    const rows = judged
      .map((each) => ({ each, results: hosts.map((run) => lookup(run)(each.id)?.result) }))
      .filter(({ results }) => results.includes("failed"))
      .map(({ each, results }) => [each.sentence, ...results.map((result) => MARKS[result] ?? "")]);
    return rows.length ? `### ${area.title}\n\n${table(["", ...hosts.map(({ name }) => name)], rows)}` : "";
  });
  return parts.filter(Boolean).join("\n\n");
}

function answers(areas, hosts) {
  const silent = areas.flatMap((area) => area.cases).filter((each) => each.silent);
  const answer = ({ result, detail } = {}) => (result === "noted" ? shortened(detail) : MARKS[result]);
  const rows = silent.map((each) => [each.sentence, ...hosts.map((run) => answer(lookup(run)(each.id)))]);
  return table(["", ...hosts.map(({ name }) => name)], rows);
}

const shortened = (text = "") => (text.length > 120 ? `${text.slice(0, 120)}…` : text);

function kinds(cases) {
  const count = (kind) => cases.filter((each) => (each.source?.kind ?? "silent") === kind).length;
  return `${cases.length} cases: ${count("docs")} rest on the documentation, ${count("client")} on the source of a client, ${count("hosted")} on reports of the hosted service, ${count("standard")} on RFC 6455; ${count("silent")} only note`;
}

/** The pinned versions of the Python clients. */
async function pythonVersions() {
  const lines = (await readFile(REQUIREMENTS, "utf8"))
    .split("\n")
    .map((line) => line.match(/^(pusher|Pysher|asyncpusher|websocket-client)==([0-9.]+)/));
  return lines
    .filter(Boolean)
    .map(([, name, version]) => `${name} ${version}`)
    .join(", ");
}

const notes = (hosts) => hosts.map(({ name, notes: remarks }) => `**${name}**: ${remarks.join(" ")}`).join("\n\n");

async function page() {
  const { areas } = await import("./cases/index.mjs");
  const { own, others } = await readRuns();
  const cases = areas.flatMap((area) => area.cases);
  for (const run of own) {
    const lacking = cases.filter(({ id }) => !lookup(run)(id)).map(({ id }) => id);
    if (lacking.length) throw new Error(`the run ${run.name} lacks ${lacking.join(", ")}: record it again`);
  }
  const hosts = [own.find(({ name }) => name === "Loudhailer, one node"), ...others];
  const parts = {
    kinds: kinds(cases),
    setups: setupTable(own),
    clients: clientTables(cases, hosts[0]),
    python: await pythonVersions(),
    areas: areaTable(areas, hosts),
    notes: notes(others),
    differences: differences(areas, hosts),
    answers: answers(areas, hosts),
  };
  const template = await readFile(TEMPLATE, "utf8");
  return template.replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
}

const [mode, file] = process.argv.slice(2);
if (mode === "add") {
  await add(file);
} else {
  const text = await page();
  if (mode !== "--check") await writeFile(PAGE, text);
  else if ((await readFile(PAGE, "utf8")) !== text) {
    console.error("docs/compatibility.md is not what conformance/runs give: node conformance/compatibility.mjs writes it");
    process.exit(1);
  }
}
