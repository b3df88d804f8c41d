// The lines of the feed that the page keeps: a bounded number, those that pass the filter, and a pause.

/** What is kept; older lines go. */
export const KEPT_MAX = 10_000;

/** Beyond the bound by this much before lines go, so that they go many at a time. */
const SLACK = 1_000;

/** The types in the order of the filter, with the words for people. */
export const TYPES = {
  connected: "Connected",
  disconnected: "Disconnected",
  subscribed: "Subscribed",
  unsubscribed: "Unsubscribed",
  api_message: "API message",
  peer_event: "From another node",
  client_event: "Client event",
  member_added: "Member added",
  member_removed: "Member removed",
  webhook: "Webhook",
  webhooks_dropped: "Webhooks dropped",
  certificates_changed: "Certificates changed",
  certificates_refused: "Certificates refused",
  error: "Error",
};

/** Lines about the feed itself, which no filter hides. */
const ABOUT_FEED = { dropped: "Dropped", gap: "Gap" };

export const typeLabel = (type) => TYPES[type] ?? ABOUT_FEED[type] ?? type;

const channelsOf = (line) => line.channels ?? (line.channel ? [line.channel] : []);

function searchable(line) {
  const { event, data, socket_id, user_id, reason, message, origin, address, client, url, events, code, request_id, excluded, key, node, to_sign } = line;
  return [event, data, socket_id, user_id, reason, message, origin, address, client, url, code, request_id, excluded, key, node, to_sign, ...(events ?? []), ...channelsOf(line)]
    .filter((part) => part !== undefined && part !== null)
    .join("\n")
    .toLowerCase();
}

/** Whether `line` passes `{ search, channel, app, types }`; empty parts of a filter let everything pass. */
export function passes(line, { search, channel, app, types }) {
  if (line.type in ABOUT_FEED) return true;
  if (types.size && !types.has(line.type)) return false;
  if (app && line.app !== app) return false;
  if (channel && !channelsOf(line).some((name) => name.toLowerCase().includes(channel))) return false;
  return !search || searchable(line).includes(search);
}

export const NO_FILTER = { search: "", channel: "", app: "", types: new Set() };

export class Lines {
  /** Lines that pass the filter, the oldest first. */
  shown = [];
  /** Lines that came during the pause. */
  waiting = [];
  paused = false;
  /** Lines since the page was opened, those that the server dropped, and those that a long pause did not keep. */
  total = 0;
  dropped = 0;
  #lost = 0;
  #kept = [];
  #filter = NO_FILTER;
  #seq = 0;

  /** Takes a line in. Returns whether `shown` has changed. */
  add(line) {
    line.seq = this.#seq += 1;
    if (line.type === "dropped") this.dropped += line.count;
    else if (line.type !== "gap") this.total += 1;
    if (this.paused) {
      this.waiting.push(line);
      if (this.waiting.length > KEPT_MAX + SLACK) {
        this.#lost += this.waiting.length - KEPT_MAX;
        this.waiting = this.waiting.slice(-KEPT_MAX);
      }
      return false;
    }
    this.#kept.push(line);
    const passed = passes(line, this.#filter);
    if (passed) this.shown.push(line);
    if (this.#kept.length > KEPT_MAX + SLACK) this.#forget();
    return passed;
  }

  #forget() {
    this.#kept = this.#kept.slice(-KEPT_MAX);
    const oldest = this.#kept[0].seq;
    const first = this.shown.findIndex((line) => line.seq >= oldest);
    this.shown = first < 0 ? [] : this.shown.slice(first);
  }

  get kept() {
    return this.#kept.length;
  }

  /** How many lines have come during the pause. */
  get held() {
    return this.waiting.length + this.#lost;
  }

  filter(filter) {
    this.#filter = filter;
    this.shown = this.#kept.filter((line) => passes(line, filter));
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
    this.#lost = 0;
    this.#kept = [...this.#kept, ...this.waiting].slice(-KEPT_MAX);
    this.waiting = [];
    this.filter(this.#filter);
  }

  clear() {
    this.#kept = [];
    this.waiting = [];
    this.shown = [];
    this.#lost = 0;
    this.total = 0;
    this.dropped = 0;
  }
}
