// The rows of the feed: only those in sight exist, however many lines there are. The newest line is the first row.

import { clock, count, h, setText } from "./dom.js";
import { typeLabel } from "./lines.js";
import { deliveredOf, toneOf, whatOf, whereOf } from "./words.js";

const OVERSCAN = 6;

export class FeedList {
  #grid;
  #scroll;
  #head;
  #space;
  #rows = new Map();
  #spare = [];
  #lines = [];
  #newestSeq = 0;
  #active;
  #opened;
  #onOpen;

  /** `onOpen` gets the line that was opened, or undefined when none is open any more. */
  constructor({ grid, scroll, head, space, onOpen, onScroll }) {
    this.#grid = grid;
    this.#scroll = scroll;
    this.#head = head;
    this.#space = space;
    this.#onOpen = onOpen;
    scroll.addEventListener("scroll", onScroll, { passive: true });
    scroll.addEventListener("keydown", (event) => this.#onKey(event));
    space.addEventListener("click", (event) => {
      const line = this.#lineOf(event.target);
      if (line) this.#choose(line, true);
    });
  }

  get opened() {
    return this.#opened;
  }

  /** Whether the newest line is in sight. */
  get atNewest() {
    return this.#scroll.scrollTop < this.#rowHeight() / 2;
  }

  toNewest() {
    this.#scroll.scrollTop = 0;
  }

  /** Shows `lines`, the newest last. What is being read stays where it is. */
  render(lines) {
    const height = this.#rowHeight();
    const stays = !this.atNewest;
    this.#lines = lines;
    const total = lines.length;
    const newest = total ? lines[total - 1].seq : 0;
    this.#space.style.height = `${total * height}px`;
    if (stays && newest > this.#newestSeq) {
      let added = 0;
      while (added < total && lines[total - 1 - added].seq > this.#newestSeq) added += 1;
      this.#scroll.scrollTop += added * height;
    }
    this.#newestSeq = newest;
    this.#grid.setAttribute("aria-rowcount", String(total + 1));
    this.#place(height);
  }

  #place(height) {
    const total = this.#lines.length;
    const top = Math.max(0, Math.floor(this.#scroll.scrollTop / height) - OVERSCAN);
    const bottom = Math.min(total, Math.ceil((this.#scroll.scrollTop + this.#scroll.clientHeight) / height) + OVERSCAN);
    const wanted = new Map();
    for (let at = top; at < bottom; at += 1) wanted.set(this.#lines[total - 1 - at], at);
    // The row that has the focus stays, wherever it is, so that the focus is not lost.
    const active = this.#active && this.#indexOf(this.#active);
    if (active >= 0) wanted.set(this.#active, active);
    for (const [line, row] of this.#rows) {
      if (wanted.has(line)) continue;
      this.#rows.delete(line);
      this.#spare.push(row);
    }
    for (const [line, at] of wanted) this.#row(line, at, height);
    for (const row of this.#spare) row.element.hidden = true;
    const tabbable = active >= 0 ? this.#active : this.#lines[total - 1];
    for (const [line, row] of this.#rows) row.element.tabIndex = line === tabbable ? 0 : -1;
  }

  #row(line, at, height) {
    let row = this.#rows.get(line);
    if (!row) {
      row = this.#spare.pop() ?? this.#create();
      this.#fill(row, line);
      this.#rows.set(line, row);
    }
    row.element.style.transform = `translateY(${at * height}px)`;
    row.element.setAttribute("aria-rowindex", String(at + 2));
    row.element.setAttribute("aria-selected", String(line === this.#opened));
  }

  #create() {
    const cell = (name) => h("span", { role: "gridcell", class: name });
    const parts = { time: cell("time"), type: cell("type"), where: cell("where"), what: cell("what"), app: cell("app"), delivered: cell("delivered num") };
    const main = h("b");
    const beside = h("span");
    parts.what.append(main, " ", beside);
    const element = h("div", { role: "row", class: "feed-row" }, ...Object.values(parts));
    this.#space.append(element);
    return { element, ...parts, main, beside };
  }

  #fill(row, line) {
    const [main, beside] = whatOf(line);
    const delivered = deliveredOf(line);
    row.element.hidden = false;
    row.element.dataset.seq = line.seq;
    row.element.dataset.type = line.type;
    row.element.dataset.tone = toneOf(line);
    setText(row.time, clock(line.time_ms));
    setText(row.type, typeLabel(line.type));
    setText(row.where, whereOf(line));
    setText(row.main, String(main ?? ""));
    setText(row.beside, beside ?? "");
    setText(row.app, line.app ?? "");
    setText(row.delivered, delivered === undefined ? "" : count(delivered));
  }

  #rowHeight() {
    return this.#height ?? this.measure();
  }

  #height;

  /** Reads the height of a row anew; call it when the width of the page has changed. */
  measure() {
    this.#height = Number.parseFloat(getComputedStyle(this.#grid).getPropertyValue("--row"));
    return this.#height;
  }

  #lineOf(target) {
    const element = target.closest(".feed-row");
    for (const [line, row] of this.#rows) if (row.element === element) return line;
    return undefined;
  }

  /** The row number of a line, by its ordered `seq`; -1 if it is not shown. */
  #indexOf(line) {
    let low = 0;
    let high = this.#lines.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { seq } = this.#lines[middle];
      if (seq === line.seq) return this.#lines.length - 1 - middle;
      if (seq < line.seq) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  #choose(line, open) {
    this.#active = line;
    if (open) {
      this.#opened = line;
      this.#onOpen(line);
    }
    this.#reveal(line);
    this.#place(this.#rowHeight());
    this.#rows.get(line)?.element.focus({ preventScroll: true });
  }

  /** Ends the opening; the row that was open gets the focus back. */
  close() {
    if (!this.#opened) return;
    const line = this.#opened;
    this.#opened = undefined;
    this.#onOpen(undefined);
    this.#place(this.#rowHeight());
    this.#rows.get(line)?.element.focus({ preventScroll: true });
  }

  #reveal(line) {
    const height = this.#rowHeight();
    const top = this.#indexOf(line) * height;
    const { scrollTop } = this.#scroll;
    const room = this.#scroll.clientHeight - this.#head.offsetHeight;
    if (top < scrollTop) this.#scroll.scrollTop = top;
    else if (top + height > scrollTop + room) this.#scroll.scrollTop = top + height - room;
  }

  #onKey(event) {
    const line = this.#lineOf(event.target);
    if (!line) return;
    const page = Math.max(1, Math.floor(this.#scroll.clientHeight / this.#rowHeight()) - 1);
    const total = this.#lines.length;
    const at = this.#indexOf(line);
    const goals = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: total - 1 };
    if (event.key in goals) {
      event.preventDefault();
      const goal = Math.min(Math.max(goals[event.key], 0), total - 1);
      if (goal !== at) this.#choose(this.#lines[total - 1 - goal], this.#opened !== undefined);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(line, true);
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.close();
    }
  }
}
