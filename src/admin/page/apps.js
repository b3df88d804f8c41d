// The view of the apps: the list, and the panel of one app with its keys and settings. They can be changed where their store takes changes.

import { get, patch, path, post, query, remove } from "./api.js";
import { ask } from "./ask.js";
import { $, confirm, count, facts, h, moment, plural, setText, whenQuiet } from "./dom.js";
import { LiveView, drawEmpty } from "./live_view.js";
import { hidePanel, link, panelHead, panelMessage, visitPanel } from "./panel.js";
import { serverState } from "./server_state.js";
import { Table } from "./table.js";
import { limitOf } from "./words.js";

const LIMIT = 200;
/** Settings that the panel shows in places of their own, or that this page can't write back because it does not know their secrets. */
const ELSEWHERE = new Set(["id", "key", "secret", "name", "enabled", "keys", "webhooks", "channels", "webhook_key"]);

let table;
let opened;
let drawnFor;

const search = () => $("apps-filters").elements.search;
const view = new LiveView(list, (failure) => drawEmpty($("apps-empty"), `${failure.message}.`));
const store = () => serverState()?.app_store ?? {};
const state = (app) => (app.enabled ? "enabled" : "disabled");

export function start() {
  table = new Table(
    $("apps-table"),
    [
      { name: "App", text: (app) => app.name || app.id, href: (app) => link("apps", app.id) },
      { name: "Id", text: (app) => app.id, optional: 1, mono: true },
      { name: "Key", text: (app) => app.key, optional: 2, mono: true },
      { name: "Keys", text: (app) => count(app.keys), value: (app) => app.keys, num: true, optional: 2 },
      { name: "State", text: state },
      { name: "Connections", text: (app) => count(app.connections), value: (app) => app.connections, num: true },
    ],
    { sort: "Connections", descending: true, keyOf: (app) => app.id },
  );
  $("apps-filters").addEventListener("submit", (event) => event.preventDefault());
  $("apps-filters").addEventListener("input", whenQuiet(() => view.refresh()));
  $("apps-new").addEventListener("click", create);
}

export function show(_, [id]) {
  if (id !== opened) drawnFor = undefined;
  opened = id;
  table.open(id);
  if (id) visitPanel($("apps-detail"), panelHead(id, h("p", { class: "badge" }, "App"), close), h("div", { class: "detail-body" }));
  else hidePanel($("apps-detail"));
  $("apps-new").hidden = !store().writable;
  view.show();
}

export function hide() {
  view.hide();
  hidePanel($("apps-detail"));
}

export function close() {
  const id = opened;
  location.hash = link("apps");
  requestAnimationFrame(() => table.focus(id));
}

async function list(wanted) {
  const wish = search().value.trim();
  const [found] = await Promise.all([get(query("api/apps", { search: wish, limit: LIMIT })), opened && showOne(opened, wanted)]);
  if (!wanted()) return;
  table.show(found.apps);
  const number = found.apps.length < found.total ? `${count(found.apps.length)} of ${plural(found.total, "app")}; narrow it by the search` : plural(found.total, "app");
  setText($("apps-lead"), store().writable ? number : `${number}. They are those of ${store().place}: change them there.`);
  drawEmpty($("apps-empty"), found.apps.length ? "" : wish ? "No app passes the search." : "There are no apps.");
}

async function showOne(id, wanted) {
  const panel = $("apps-detail");
  try {
    const app = await get(path("apps", id));
    if (!wanted() || opened !== id) return;
    const key = JSON.stringify([app, store().writable]);
    if (drawnFor === key) return;
    drawnFor = key;
    panel.querySelector(".detail-body").replaceChildren(...appBody(app));
  } catch (failure) {
    if (!wanted() || opened !== id) return;
    drawnFor = undefined;
    panelMessage(panel, failure.status === 404 ? "There is no such app any more." : `${failure.message}.`);
  }
}

function appBody(app) {
  const { id } = app;
  const settings = Object.entries(app).filter(([key]) => !ELSEWHERE.has(key));
  const lists = [["Webhooks", plural(app.webhooks.length, "endpoint")], ["Rules for channels", count(app.channels.length)]];
  const writable = store().writable;
  const place = (name, text) => h("a", { class: "button", href: `#/${name}?${new URLSearchParams({ app: id })}` }, text);
  return [
    h("dl", { class: "facts" }, facts([["Name", app.name], ["Id", id], ["State", state(app)]])),
    h("p", { class: "ways" }, h("a", { class: "button", href: link("channels", id) }, "Channels"), place("connections", "Connections"), place("feed", "Feed"), place("send", "Send event")),
    h("section", {}, h("h3", {}, "Keys"), h("ul", { class: "keys" }, keysOf(app).map((key) => keyRow(id, key))), writable && h("p", { class: "ways" }, h("button", { type: "button", onclick: () => createKey(id) }, "New key"))),
    h("section", {}, h("h3", {}, "Settings"), h("dl", { class: "facts" }, facts([...settings.map(([key, value]) => limitOf(key, value)), ...lists]))),
    writable && h("p", { class: "ways" },
      h("button", { type: "button", onclick: () => edit(app) }, "Change settings"),
      h("button", { type: "button", onclick: () => enable(app) }, app.enabled ? "Disable app" : "Enable app"),
      h("button", { type: "button", class: "danger", onclick: () => removeApp(app) }, "Remove app"),
    ),
  ].filter(Boolean);
}

const keysOf = (app) => [...(app.key ? [{ key: app.key }] : []), ...app.keys];
const isDisabled = (key) => Boolean(key.disabled) && Date.parse(key.disabled) <= Date.now();

function keyRow(id, one) {
  const disabled = isDisabled(one);
  const later = one.disabled && !disabled && `valid until ${moment(Date.parse(one.disabled))}`;
  const words = [one.label, one.created && `made ${moment(Date.parse(one.created))}`, later].filter(Boolean).join(" · ");
  return h("li", {},
    h("span", { class: "mono" }, one.key),
    h("span", { class: disabled ? "tag warn" : "tag good" }, disabled ? "disabled" : "valid"),
    words && h("p", { class: "hint" }, words),
    store().writable && h("p", { class: "ways" },
      h("button", { type: "button", class: "small", onclick: () => disableKey(id, one, !disabled) }, disabled ? "Enable" : "Disable"),
      h("button", { type: "button", class: "small danger", onclick: () => removeKey(id, one) }, "Remove"),
    ),
  );
}

async function create() {
  const made = await ask({
    title: "New app",
    text: "Its key and secret are made for it.",
    fields: [{ name: "name", label: "Name" }, { name: "id", label: "Id", hint: "optional" }, { name: "client_events", label: "Clients may send events to each other", kind: "checkbox" }],
    yes: "Create app",
    act: ({ name, id, client_events }) => post("api/apps", { name, client_events, ...(id && { id }) }),
  });
  if (!made) return;
  await showSecret(made.id, made);
  location.hash = link("apps", made.id);
}

async function createKey(id) {
  const made = await ask({
    title: "New key",
    text: "The app's other keys stay valid until you disable or remove them.",
    fields: [{ name: "label", label: "Label", hint: "optional" }],
    yes: "Make key",
    act: (body) => post(path("apps", id, "keys"), body),
  });
  if (!made) return;
  await showSecret(id, made);
  view.refresh();
}

/** The only time that this page knows the secret; it is gone when the dialog closes. */
function showSecret(id, { key, secret }) {
  const dialog = $("secret");
  const values = [["App id", id], ["Key", key], ["Secret", secret]];
  $("secret-facts").replaceChildren(...facts(values));
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        $("secret-facts").replaceChildren();
        resolve();
      },
      { once: true },
    );
  });
}

async function edit(app) {
  const settings = Object.fromEntries(Object.entries(app).filter(([key]) => !ELSEWHERE.has(key)));
  const before = { name: app.name, ...settings };
  const done = await ask({
    title: `Settings of ${app.name || app.id}`,
    text: "null gives a setting its default. They are in force at once.",
    fields: [{ name: "json", label: "Settings as JSON", kind: "area", value: JSON.stringify(before, null, 2) }],
    yes: "Save",
    async act({ json }) {
      const after = JSON.parse(json);
      const changes = Object.entries(after).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(before[key]));
      return patch(path("apps", app.id), Object.fromEntries(changes));
    },
  });
  if (done) view.refresh();
}

/** Does it, if the operator is sure; then the panel says what came of it. */
async function change(act, sure) {
  if (sure && !(await confirm(sure))) return;
  try {
    await act();
  } catch (failure) {
    drawnFor = undefined;
    panelMessage($("apps-detail"), `${failure.message}.`);
    return;
  }
  view.refresh();
}

function enable({ id, enabled }) {
  const sure = enabled && { title: `Disable app ${id}?`, text: "Its connections are closed with 4003, and its backend gets 403, until it is enabled again.", yes: "Disable app" };
  change(() => patch(path("apps", id), { enabled: !enabled }), sure);
}

function removeApp({ id }) {
  const sure = { title: `Remove app ${id}?`, text: "Its connections are closed with 4001. Its settings and secrets are gone for good.", yes: "Remove app" };
  change(async () => {
    await remove(path("apps", id));
    location.hash = link("apps");
  }, sure);
}

function disableKey(id, { key }, disable) {
  const sure = disable && { title: `Disable key ${key}?`, text: "Nobody can connect, publish or authorize with it any more. Open connections stay.", yes: "Disable key" };
  change(() => patch(path("apps", id, "keys", key), { disabled: disable ? new Date().toISOString() : null }), sure);
}

function removeKey(id, { key }) {
  const sure = { title: `Remove key ${key}?`, text: "Nobody can connect, publish or authorize with it any more. Its secret is gone for good. Open connections stay.", yes: "Remove key" };
  change(() => remove(path("apps", id, "keys", key)), sure);
}
