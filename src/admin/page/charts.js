// Four small charts of the last quarter of an hour, drawn by uPlot.

import { $, compact, h, millis, setText } from "./dom.js";
import { history } from "./server_state.js";

const WINDOW_S = 900;
const HEIGHT = 148;

const rate = (value) => `${value < 10 ? value.toFixed(1).replace(/\.0$/, "") : compact(value)}/s`;

const CHARTS = [
  { title: "Connections", series: [["This node", "here", "one"], ["All nodes", "everywhere", "two"]], say: compact },
  { title: "Messages in", series: [["From backends", "fromApi", "one"], ["From clients", "fromClients", "two"]], say: rate },
  { title: "Messages out", series: [["To clients", "sent", "one"]], say: rate },
  { title: "Publish latency", series: [["Median", "p50", "one"], ["99th percentile", "p99", "two"]], say: millis },
];

let drawn = [];
let hovered = null;

/** Makes the cards; the drawings come with the first `drawCharts`. */
export function startCharts() {
  const host = $("charts");
  drawn = CHARTS.map((chart) => {
    const plot = h("div", { class: "plot", role: "img" });
    const legend = h("dl", { class: "legend" });
    const values = chart.series.map(([label, , tone]) => {
      const value = h("dd", {}, "–");
      const row = h("div", { dataset: { tone } }, h("dt", {}, label), value);
      legend.append(row);
      return { row, value };
    });
    host.append(h("section", { class: "card chart" }, h("h2", {}, chart.title), legend, plot));
    return { ...chart, plot, values };
  });
  new ResizeObserver(() => drawn.forEach((chart) => chart.uplot?.setSize({ width: chart.plot.clientWidth, height: HEIGHT }))).observe(host);
}

/** Draws anew with the colours of the theme. */
export function recolour() {
  for (const chart of drawn) {
    chart.uplot?.destroy();
    chart.uplot = undefined;
  }
  drawCharts();
}

/** Adds the newest samples. */
export function drawCharts() {
  const samples = history();
  if (!samples.length || !drawn.length || !drawn[0].plot.clientWidth) return;
  const times = samples.map((sample) => sample.time);
  for (const chart of drawn) {
    const data = [times, ...chart.series.map(([, name]) => samples.map((sample) => sample[name]))];
    chart.uplot ??= create(chart, data);
    chart.uplot.setData(data, false);
    const to = times.at(-1);
    chart.uplot.batch(() => {
      chart.uplot.setScale("x", { min: to - span(times), max: to });
    });
    label(chart, samples);
  }
}

/** A minute at least, so that a young page does not show seconds as if they were all; it grows to the whole window. */
function span(times) {
  return Math.min(WINDOW_S, Math.max(60, times.at(-1) - times[0]));
}

function label(chart, samples) {
  const at = hovered === null ? samples.length - 1 : Math.min(hovered, samples.length - 1);
  const said = [];
  chart.series.forEach(([name, key], index) => {
    const { row, value } = chart.values[index];
    row.hidden = index > 0 && samples.every((sample) => sample[key] === null);
    const present = samples[at]?.[key];
    setText(value, present === null || present === undefined ? "–" : chart.say(present));
    if (!row.hidden) said.push(`${name} ${value.textContent}`);
  });
  if (hovered === null) chart.plot.setAttribute("aria-label", `${chart.title} over time. Now: ${said.join(", ")}`);
}

const sync = { key: "loudhailer", setSeries: false };

function create(chart, data) {
  const colour = (name) => getComputedStyle(chart.plot).getPropertyValue(`--chart-${name}`).trim();
  const probe = chart.plot.appendChild(h("i"));
  const resolved = (name) => {
    probe.style.color = colour(name);
    return getComputedStyle(probe).color;
  };
  const [text, grid] = [resolved("text"), resolved("grid")];
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  const series = chart.series.map(([, , tone], index) => ({
    stroke: resolved(tone),
    fill: index === 0 ? resolved(`${tone}-fill`) : undefined,
    width: 1.5,
    points: { show: false },
  }));
  probe.remove();
  return new window.uPlot(
    {
      width: chart.plot.clientWidth,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { sync, y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.15)] } },
      axes: [
        { ...axis, space: 90, size: 26, values: (_, ticks) => ticks.map(timeOfDay) },
        { ...axis, space: 36, size: 44, values: (_, ticks) => ticks.map((tick) => tickLabel(tick)) },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [onCursor] },
    },
    data,
    chart.plot,
  );
}

const tickLabel = (tick) => (tick >= 10 || Number.isInteger(tick) ? compact(tick) : tick.toFixed(1));

const timeOfDay = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

function onCursor(uplot) {
  const at = uplot.cursor.idx ?? null;
  if (at === hovered) return;
  hovered = at;
  for (const chart of drawn) label(chart, history());
}
