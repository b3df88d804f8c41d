// The host under test: where it is, and the apps it has for us.

/** What a case may need of the host besides the app. The texts say how a missing one is given. */
export const GIVEN = {
  "other-app": "--other-app is not given",
  "disabled-app": "--disabled-app is not given",
  webhooks: "--webhooks is not given",
};

export class Host {
  constructor(options) {
    this.options = options;
    this.app = options.app;
    this.apps = { "other-app": options.otherApp, "disabled-app": options.disabledApp };
    this.hasReceiver = options.webhooks !== undefined;
  }

  /** Why a thing that has to be given is missing; `undefined` when it is there. */
  lacks(need) {
    if (need === "webhooks") return this.hasReceiver ? undefined : GIVEN[need];
    return need in GIVEN && !this.apps[need] ? GIVEN[need] : undefined;
  }

  get prefix() {
    return this.options.path;
  }

  /** The URL of WebSockets for an app key. */
  socketUrl(path, query) {
    const { tls, host, port } = this.options;
    return `${tls ? "wss" : "ws"}://${host}:${port}${path}${query ? `?${query}` : ""}`;
  }

  /** Where the HTTP API is. */
  get api() {
    const { tls, apiHost, apiPort } = this.options;
    return { tls, host: apiHost, port: apiPort };
  }

  /** Where the fallback transports are; `path` precedes `/app/KEY`. */
  get fallback() {
    const { tls, httpHost, httpPort, httpPath } = this.options;
    return { tls, host: httpHost, port: httpPort, path: httpPath };
  }
}
