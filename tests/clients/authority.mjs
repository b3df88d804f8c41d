// A certificate authority of the test run's own, and the certificate that it has signed for this machine.

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
const EXTENSIONS = [
  "subjectAltName = DNS:localhost, DNS:*.example.com, IP:127.0.0.1",
  "basicConstraints = critical, CA:false",
  "extendedKeyUsage = serverAuth",
];

/** The authority's certificate is in `file`; what it has signed for this machine in `cert` and `key`. */
export class Authority {
  #directory;

  static async create() {
    const authority = new Authority();
    authority.#directory = await mkdtemp(path.join(tmpdir(), "loudhailer-authority-"));
    await authority.#issue();
    return authority;
  }

  get file() {
    return this.#file("authority.pem");
  }

  /** The certificate of `localhost` alone, without a chain: the authority itself has signed it. */
  get cert() {
    return this.#file("server.pem");
  }

  get key() {
    return this.#file("server.key");
  }

  /** `server.tls` of the configuration. */
  get settings() {
    return { cert: this.cert, key: this.key, port: 0 };
  }

  /** What has Node, and Python's `ssl`, `requests` and `websocket-client` trust it. */
  get environment() {
    return {
      NODE_EXTRA_CA_CERTS: this.file,
      SSL_CERT_FILE: this.file,
      REQUESTS_CA_BUNDLE: this.file,
      WEBSOCKET_CLIENT_CA_BUNDLE: this.file,
    };
  }

  /** A home directory whose NSS database trusts the authority, which is where Chromium looks on Linux. */
  async home() {
    const home = this.#file("home");
    const database = path.join(home, ".pki", "nssdb");
    await mkdir(database, { recursive: true });
    await run("certutil", ["-N", "-d", `sql:${database}`, "--empty-password"]);
    await run("certutil", ["-A", "-d", `sql:${database}`, "-t", "C,,", "-n", "loudhailer-tests", "-i", this.file]);
    return home;
  }

  async close() {
    await rm(this.#directory, { recursive: true });
  }

  async #issue() {
    const [authorityKey, request, extensions] = ["authority.key", "server.csr", "server.ext"].map((name) => this.#file(name));
    await writeFile(extensions, EXTENSIONS.join("\n"));
    const usage = ["-addext", "keyUsage = critical, keyCertSign"];
    await run("openssl", ["req", "-x509", ...NEW_KEY, "-days", "30", "-subj", "/CN=Loudhailer tests", ...usage, "-keyout", authorityKey, "-out", this.file]);
    await run("openssl", ["req", "-new", ...NEW_KEY, "-subj", "/CN=localhost", "-keyout", this.key, "-out", request]);
    const signer = ["-CA", this.file, "-CAkey", authorityKey, "-extfile", extensions];
    await run("openssl", ["x509", "-req", "-in", request, ...signer, "-days", "30", "-out", this.cert]);
  }

  #file(name) {
    return path.join(this.#directory, name);
  }
}
