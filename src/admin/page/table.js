// A table that is sorted by its heads, keeps its rows while their figures change, and opens one of them.

import { h, setText } from "./dom.js";

export class Table {
  #table;
  #columns;
  #rows = new Map();
  #sorted;
  #items = [];
  #opened;
  #onSort;

  /**
   * A column is `{ name, text, value?, num?, href?, optional?, mono? }`: `text` gives what the cell says, `value` what
   * it is sorted by. The column with `href` is the head of its row. `optional` columns leave first on narrow pages.
   * With `onSort`, whoever gives the rows sorts them: it is called when `sorted` has changed.
   */
  constructor(table, columns, { sort, descending = false, keyOf, onSort }) {
    this.#table = table;
    this.#columns = columns;
    this.#sorted = { name: sort, descending };
    this.#onSort = onSort;
    this.keyOf = keyOf;
    table.tHead.replaceChildren(h("tr", {}, columns.map((column) => this.#head(column))));
    this.#drawHeads();
  }

  #head(column) {
    const button = h("button", { type: "button", class: "sort", onclick: () => this.#sortBy(column) }, column.name);
    return h("th", { scope: "col", class: classOf(column) }, button);
  }

  #sortBy({ name, num }) {
    const again = this.#sorted.name === name;
    this.#sorted = { name, descending: again ? !this.#sorted.descending : Boolean(num) };
    this.#drawHeads();
    if (this.#onSort) this.#onSort();
    else this.show(this.#items);
  }

  /** The name of the column that sorts, and which way. */
  get sorted() {
    return this.#sorted;
  }

  #drawHeads() {
    [...this.#table.tHead.rows[0].cells].forEach((cell, at) => {
      const mine = this.#columns[at].name === this.#sorted.name;
      if (mine) cell.setAttribute("aria-sort", this.#sorted.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  /** Marks the row whose item has this key. */
  open(key) {
    this.#opened = key;
    for (const [each, { row }] of this.#rows) row.toggleAttribute("data-opened", each === key);
  }

  /** Gives the focus to the link of that row, if it is there. */
  focus(key) {
    this.#rows.get(key)?.row.querySelector("a")?.focus();
  }

  show(items) {
    this.#items = items;
    const sorted = this.#onSort ? items : [...items].sort((one, other) => this.#compare(one, other));
    const body = this.#table.tBodies[0];
    const gone = new Set(this.#rows.keys());
    sorted.forEach((item, at) => {
      const key = this.keyOf(item);
      gone.delete(key);
      if (!this.#rows.has(key)) this.#rows.set(key, this.#create(key));
      const entry = this.#rows.get(key);
      this.#fill(entry, item);
      if (body.rows[at] !== entry.row) body.insertBefore(entry.row, body.rows[at] ?? null);
    });
    for (const key of gone) {
      this.#rows.get(key).row.remove();
      this.#rows.delete(key);
    }
  }

  #compare(one, other) {
    const column = this.#columns.find(({ name }) => name === this.#sorted.name);
    const value = column.value ?? column.text;
    const [left, right] = [value(one) ?? "", value(other) ?? ""];
    const order = typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right), "en", { numeric: true });
    return this.#sorted.descending ? -order : order;
  }

  #create(key) {
    const cells = this.#columns.map((column) => {
      if (!column.href) return h("td", { class: classOf(column) });
      return h("th", { scope: "row", class: classOf(column) }, h("a"));
    });
    const row = h("tr", {}, cells);
    row.toggleAttribute("data-opened", key === this.#opened);
    // The link serves keyboards; a click may land anywhere in the row.
    row.addEventListener("click", (event) => {
      if (event.target.closest("a, button") || String(getSelection())) return;
      row.querySelector("a").click();
    });
    return { row, cells };
  }

  #fill({ cells }, item) {
    this.#columns.forEach((column, at) => {
      const text = String(column.text(item) ?? "");
      if (!column.href) return setText(cells[at], text);
      const anchor = cells[at].firstChild;
      setText(anchor, text);
      const href = column.href(item);
      if (anchor.getAttribute("href") !== href) anchor.setAttribute("href", href);
      return undefined;
    });
  }
}

const classOf = ({ num, optional, mono }) => [num && "num", optional && `optional-${optional}`, mono && "mono"].filter(Boolean).join(" ") || undefined;
