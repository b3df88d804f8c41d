// Waiting for things that other parties do, with a limit.

/** A promise with a limit; its error names what was awaited and what came instead. */
export class Awaited {
  #waiting = new Set();
  #patience;

  /** `patience` returns the milliseconds that a wait may take. */
  constructor(patience = () => 8_000) {
    this.#patience = patience;
  }

  /** Waits until `find` returns something; it is asked now and after each `look`. */
  until(find, describe) {
    const found = find();
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const waiter = { find, resolve };
      waiter.timer = setTimeout(() => {
        this.#waiting.delete(waiter);
        reject(new Error(describe()));
      }, this.#patience());
      this.#waiting.add(waiter);
    });
  }

  /** Something happened: those whose wish came true go on. */
  look() {
    for (const waiter of [...this.#waiting]) {
      const found = waiter.find();
      if (found === undefined) continue;
      clearTimeout(waiter.timer);
      this.#waiting.delete(waiter);
      waiter.resolve(found);
    }
  }
}

/** Text for a message, shortened. */
export function brief(value, max = 400) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return text.length > max ? `${text.slice(0, max)}…` : text;
}
