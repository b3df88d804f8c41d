// The host under test: where it is, and the apps it has for us.

/** What a case may need besides the app. The texts say why it is missing. */
const GIVEN = {
  "other-app": "--other-app is not given",
  "disabled-app": "--disabled-app is not given",
  webhooks: "--webhooks is not given",
  "no prefix": "--path is given, and the library has no option for it",
  "no proxy": "--proxied is given, and a proxy makes requests of its own",
  "no TLS": "--tls is given, and the kit's relay has no certificate",
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
    const has = {
      webhooks: this.hasReceiver,
      "no prefix": this.prefix === "",
      "no proxy": !this.options.proxied,
      "no TLS": !this.options.tls,
      "other-app": this.apps["other-app"],
      "disabled-app": this.apps["disabled-app"],
    };
    return need in GIVEN && !has[need] ? GIVEN[need] : undefined;
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
