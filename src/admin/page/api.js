// The server's admin API: JSON over HTTP, and who is asked for the token when it wants one.

const PATIENCE_MS = 8_000;

let askForToken = () => Promise.reject(new Failure(401, "the server wants its token"));

/** An answer that is not a success; `status` 0: no answer. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** `ask` is called when the server wants its token, and resolves when it has been given. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

export const path = (...parts) => `api/${parts.map(encodeURIComponent).join("/")}`;

/** `path` with those of `parameters` that are not empty. */
export function query(base, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined);
  return given.length ? `${base}?${new URLSearchParams(given)}` : base;
}

async function request(method, address, body) {
  const init = { method, signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const answer = await fetch(new URL(address, document.baseURI), init).catch(() => {
    throw new Failure(0, "the server does not answer");
  });
  if (answer.status === 204) return undefined;
  const value = await answer.json().catch(() => undefined);
  if (answer.ok && value !== undefined) return value;
  throw new Failure(answer.status, value?.error ?? `the server answered ${answer.status}`);
}

async function withToken(...args) {
  try {
    return await request(...args);
  } catch (failure) {
    if (failure.status !== 401) throw failure;
    await askForToken();
    return request(...args);
  }
}

export const get = (address) => withToken("GET", address);
export const post = (address, body) => withToken("POST", address, body);
export const patch = (address, body) => withToken("PATCH", address, body);
export const remove = (address) => withToken("DELETE", address);

export const closeSession = () => request("DELETE", "session");

/** Tells the server its token; the session is a cookie that this page can't read. */
export const openSession = (token) => request("POST", "session", { token });
