// The view of the live feed: takes messages in as they come, draws once a frame, filters, pauses, opens lines.

import { $, chooseApp, count, fillApps, h, icon, plural, setText, whenQuiet } from "./dom.js";
import { FeedList } from "./feed_list.js";
import { KEPT_MAX, Lines, TYPES } from "./lines.js";
import { openedLine } from "./opened_line.js";
import { hidePanel, leavePanel, openPanel } from "./panel.js";
import { onState } from "./server_state.js";

const lines = new Lines();
const types = new Set();
let list;
let visible = false;
let drawing = false;
let disconnectedAt;
let rate = { from: Date.now(), lines: 0, perSecond: 0 };

export function start() {
  list = new FeedList({ grid: $("feed-grid"), scroll: $("feed-scroll"), head: $("feed-head"), space: $("feed-space"), onOpen: showLine, onScroll: draw });
  const form = $("feed-filters");
  $("feed-types").append(...Object.entries(TYPES).map(typeChip));
  const applied = whenQuiet(() => {
    applyFilter();
    announce(`${plural(lines.shown.length, "line")} shown`);
  }, 150);
  form.addEventListener("input", applied);
  form.addEventListener("submit", (event) => event.preventDefault());
  $("feed-pause").addEventListener("click", togglePause);
  $("feed-clear").addEventListener("click", () => {
    lines.clear();
    list.close();
    announce("The feed is empty");
    draw();
  });
  $("feed-newest").addEventListener("click", () => {
    list.toNewest();
    draw();
  });
  $("feed-detail").addEventListener("keydown", (event) => event.key === "Escape" && list.close());
  new ResizeObserver(() => {
    list.measure();
    draw();
  }).observe($("feed-scroll"));
  onState((state) => {
    if (!state) return;
    fillApps(form.elements.app, state.apps, "All apps");
    $("feed").dataset.apps = state.apps.length > 1 ? "many" : "one";
  });
  setInterval(countRate, 1000);
}

function typeChip([type, label]) {
  const input = h("input", { type: "checkbox", name: "type", value: type });
  input.addEventListener("change", () => (input.checked ? types.add(type) : types.delete(type)));
  return h("label", { dataset: { type } }, input, h("span", {}, label));
}

/** Takes a message of the feed. Drawing waits for the next frame, however many come before it. */
export function takeMessage(text) {
  let line;
  try {
    line = JSON.parse(text);
  } catch {
    return;
  }
  rate.lines += 1;
  lines.add(line);
  draw();
}

/** Notes when the feed was away, since what happened then is not in it. */
export function noteLink(state) {
  if (state === "live" && disconnectedAt) {
    const seconds = Math.max(1, Math.round((Date.now() - disconnectedAt) / 1000));
    lines.add({ type: "gap", time_ms: Date.now(), message: `The feed was away for ${seconds} s; what happened then is not here` });
    disconnectedAt = undefined;
    draw();
  } else if (state === "waiting") disconnectedAt ??= Date.now();
}

export function show(parameters) {
  visible = true;
  const form = $("feed-filters").elements;
  for (const name of ["search", "channel"]) if (parameters.has(name)) form[name].value = parameters.get(name);
  if (parameters.has("app")) chooseApp(form.app, parameters.get("app"));
  applyFilter();
  list.measure();
  if (list.opened) showLine(list.opened);
}

export function hide() {
  visible = false;
  leavePanel($("feed-detail"));
}

function applyFilter() {
  const form = $("feed-filters").elements;
  const text = (name) => form[name].value.trim().toLowerCase();
  lines.filter({ search: text("search"), channel: text("channel"), app: form.app.value, types });
  draw();
}

function togglePause() {
  const button = $("feed-pause");
  const pausing = !lines.paused;
  if (pausing) lines.pause();
  else lines.resume();
  button.setAttribute("aria-pressed", String(pausing));
  button.replaceChildren(icon(pausing ? "play" : "pause"), h("span", {}, pausing ? "Resume" : "Pause"));
  announce(pausing ? "Paused. Lines are kept until you resume" : "Resumed");
  draw();
}

function draw() {
  if (drawing || !visible) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    list.render(lines.shown);
    drawCounts();
  });
}

function countRate() {
  const now = Date.now();
  rate = { from: now, lines: 0, perSecond: Math.round((rate.lines * 1000) / Math.max(1, now - rate.from)) };
  if (visible) drawCounts();
}

function drawCounts() {
  const shown = lines.shown.length;
  const parts = [shown === lines.kept ? plural(shown, "line") : `${count(shown)} of ${plural(lines.kept, "line")}`];
  if (lines.total > lines.kept + lines.held) parts.push(`the newest of ${count(lines.total)}`);
  if (lines.paused) parts.push(`paused, ${count(lines.held)} waiting`);
  else if (rate.perSecond) parts.push(`${count(rate.perSecond)}/s`);
  if (lines.dropped) parts.push(`${count(lines.dropped)} dropped`);
  setText($("feed-counts"), parts.join(" · "));
  $("feed-newest").hidden = list.atNewest;
  drawEmpty(shown);
}

function drawEmpty(shown) {
  const empty = $("feed-empty");
  empty.hidden = shown > 0;
  if (shown) return;
  setText(empty, lines.kept ? `None of the ${plural(lines.kept, "line")} kept passes the filter.` : `Nothing has happened since this page was opened. Connect a client or send an event; the newest ${count(KEPT_MAX)} lines are kept here.`);
}

function showLine(line) {
  const panel = $("feed-detail");
  if (line) openPanel(panel, ...openedLine(line, () => list.close()));
  else hidePanel(panel);
}

const announce = (text) => setText($("feed-status"), text);
