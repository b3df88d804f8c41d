// Starts the page: views by the address, the theme, the state of the link to the server.

import * as api from "./api.js";
import * as apps from "./apps.js";
import * as channels from "./channels.js";
import * as connections from "./connections.js";
import { $, facts, h, icon, setText } from "./dom.js";
import * as feed from "./feed.js";
import * as overview from "./overview.js";
import * as send from "./send.js";
import { askState, followState, onState, serverState } from "./server_state.js";
import { askForToken, startSignOut } from "./session.js";
import { openStream } from "./stream.js";

const views = { overview, feed, channels, connections, apps, send };
let current;

/** The view, what follows it and the parameters of an address like `#/channels/1001/orders?prefix=o`. */
function place() {
  const [route, parameters] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...parts] = route.split("/").map(decoded);
  return { name: name in views ? name : "overview", parts: parts.filter(Boolean), parameters: new URLSearchParams(parameters) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function go() {
  const { name, parts, parameters } = place();
  const moved = current !== name;
  if (moved && current) {
    views[current].hide();
    $(`view-${current}`).hidden = true;
  }
  const section = $(`view-${name}`);
  section.hidden = false;
  for (const anchor of document.querySelectorAll(".nav a")) {
    if (anchor.dataset.view === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const first = current === undefined;
  current = name;
  const title = section.querySelector("h1");
  document.title = `${title.textContent} · Loudhailer`;
  if (moved && !first) $("main").focus({ preventScroll: true });
  if (moved) $("main").scrollTop = 0;
  views[name].show(parameters, parts);
}

// --- Theme ---------------------------------------------------------------------------------------------

const THEMES = [["auto", "system"], ["light", "light"], ["dark", "dark"]];

function chosenTheme() {
  return document.documentElement.dataset.theme ?? "auto";
}

function startTheme() {
  const draw = () => {
    const [name, label] = THEMES.find(([each]) => each === chosenTheme());
    $("theme").replaceChildren(icon(name), h("span", { id: "theme-text" }, `Theme: ${label}`));
    document.dispatchEvent(new Event("themechange"));
  };
  $("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.findIndex(([each]) => each === chosenTheme()) + 1) % THEMES.length][0];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("loudhailer-theme", next);
    } catch {
      // Storage may be forbidden; the choice then lasts as long as the page.
    }
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

// --- The link to the server ----------------------------------------------------------------------------

const LINKS = { connecting: "Connecting", live: "Live" };
let retryAt;

function drawLink(state, at) {
  $("link").dataset.state = state;
  retryAt = state === "waiting" ? at : undefined;
  setText($("link-text"), LINKS[state] ?? "Reconnecting");
  feed.noteLink(state);
}

/** Counts down beside the words, out of the live region, so that it is not read out every second. */
function drawRetry() {
  const seconds = retryAt && Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  $("link").dataset.retry = seconds ? `in ${seconds} s` : "";
}

const PHASES = {
  not_ready: "The server is about to stop: it is not ready for traffic any more.",
  closing: "The server is stopping and closes its connections.",
  flushing: "The server is stopping and sends its last webhooks.",
  stopped: "The server has stopped.",
};

function drawState(state, failure) {
  const trouble = $("trouble");
  const text = failure ? "The server does not answer. This page keeps trying; its figures are the last known." : (PHASES[state.phase] ?? (state.engine_ready ? "" : "Redis is out of reach: other nodes are not heard, and presence changes wait."));
  const silent = failure && failure.status === 401;
  trouble.hidden = !text || silent;
  setText(trouble, text);
  if (!state) return;
  const pairs = [["Node", state.node], ["Version", state.version], ["Engine", state.engine === "redis" ? "Redis" : "local"]];
  const list = $("server-facts");
  const key = JSON.stringify(pairs);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...facts(pairs));
}

// --- Start ---------------------------------------------------------------------------------------------

function start() {
  api.onTokenWanted(askForToken);
  for (const view of Object.values(views)) view.start();
  onState(drawState);
  startTheme();
  startSignOut();
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (event.target.closest("#apps-detail")) apps.close();
    if (event.target.closest("#channels-detail")) channels.close();
    if (event.target.closest("#connections-detail")) connections.close();
  });
  setInterval(drawRetry, 1000);
  begin();
}

/** The first state must be there before a view asks for more: it may take a token to get it. */
async function begin() {
  openStream({ onLine: feed.takeMessage, onState: drawLink, mayConnect: askState });
  while (!serverState()) {
    await askState().catch((failure) => {
      drawState(undefined, failure);
      return new Promise((resolve) => setTimeout(resolve, 1000));
    });
  }
  window.addEventListener("hashchange", go);
  go();
  followState();
}

start();
