// A program that runs beside the tests: started, awaited until it says it is ready, and ended.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const START_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 15_000;

/** Lines of stdout that are kept. */
const SAID_MAX = 100;

export class Program {
  #child;
  #exited;
  #lines = [];
  #said = [];

  /** Starts `file` and waits for a line on its stdout that matches `ready`; the match is in `.ready`. */
  static async start(file, args, { env, ready }) {
    const program = new Program();
    program.#child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    await once(program.#child, "spawn");
    program.ready = await program.#untilReady(file, ready);
    return program;
  }

  async #untilReady(file, pattern) {
    const child = this.#child;
    this.#exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    // A test process that ends early takes its programs along.
    const take = () => child.kill("SIGKILL");
    process.once("exit", take);
    child.once("exit", () => process.off("exit", take));
    createInterface({ input: child.stderr }).on("line", (line) => this.#lines.push(line));
    const found = new Promise((resolve) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        if (this.#said.length < SAID_MAX) this.#said.push(line);
        const match = line.match(pattern);
        if (match) resolve(match);
      });
    });
    const first = await within(START_TIMEOUT_MS, `${file} to be ready`, [found, this.#exited]);
    if (!Array.isArray(first)) {
      throw new Error(`${file} ended at its start with ${first.signal ?? first.code}\n${this.log}`);
    }
    return first;
  }

  /** The match of an early line on stdout. */
  said(pattern) {
    return this.#said.map((line) => line.match(pattern)).find(Boolean);
  }

  /** What the program has written to stderr so far. */
  get log() {
    return this.#lines.join("\n");
  }

  /** Sends a signal and waits for the end; returns `{ code, signal }`. */
  end(signal) {
    this.#child.kill(signal);
    return within(STOP_TIMEOUT_MS, `the end after ${signal}`, [this.#exited]);
  }
}

/** Runs a command in the terminal of this process and returns its exit status. */
export async function run(command, args, env) {
  const child = spawn(command, args, { stdio: "inherit", env });
  const [code] = await once(child, "exit");
  return code ?? 1;
}

/** The first of `promises`, or an error that says what was awaited in vain. */
async function within(ms, what, promises) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  try {
    return await Promise.race([...promises, late]);
  } finally {
    clearTimeout(timer);
  }
}
