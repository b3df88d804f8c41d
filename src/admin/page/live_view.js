// A view that asks the server again and again while it is shown, one question at a time, the newest first.

import { setText } from "./dom.js";

const EVERY_MS = 3_000;

/** `ask` gets a function that tells whether its answer is still wanted. */
export class LiveView {
  #ask;
  #onFailure;
  #shown = false;
  #timer;
  #round = 0;

  constructor(ask, onFailure) {
    this.#ask = ask;
    this.#onFailure = onFailure;
  }

  show() {
    this.#shown = true;
    return this.refresh();
  }

  hide() {
    this.#shown = false;
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  /** Asks now; what was asked before is no longer wanted. */
  async refresh() {
    if (!this.#shown) return;
    clearTimeout(this.#timer);
    this.#round += 1;
    const round = this.#round;
    const wanted = () => round === this.#round;
    try {
      await this.#ask(wanted);
    } catch (failure) {
      if (wanted()) this.#onFailure(failure);
    }
    if (wanted()) this.#timer = setTimeout(() => this.refresh(), EVERY_MS);
  }
}

/** Shows or hides the words in place of an empty table. */
export function drawEmpty(element, text) {
  element.hidden = !text;
  setText(element, text ?? "");
}
