// HTTP requests to the host: signed ones to its API, and bare ones.

import http from "node:http";
import https from "node:https";

/** Bytes of an answer that are kept. */
const ANSWER_MAX = 4 << 20;

/** An answer: `status`, `headers`, `text`, and `json`, which is undefined when the text is none. */
class Answer {
  constructor(status, headers, text) {
    this.status = status;
    this.headers = headers;
    this.text = text;
  }

  get json() {
    try {
      return JSON.parse(this.text);
    } catch {
      return undefined;
    }
  }

  toString() {
    return `${this.status} ${this.text.slice(0, 200)}`;
  }
}

/** Sends one request; rejects when the host does not answer with HTTP within `ms`. */
export function request({ tls, host, port, method, path, headers = {}, body, agent, ms }) {
  return new Promise((resolve, reject) => {
    const asked = (tls ? https : http).request(
      { host, port, method, path, agent, headers: withLength(headers, body) },
      (response) => {
        const chunks = [];
        let size = 0;
        response.on("data", (chunk) => {
          size += chunk.length;
          if (size > ANSWER_MAX) asked.destroy(new Error(`the answer has more than ${ANSWER_MAX} bytes`));
          else chunks.push(chunk);
        });
        response.on("error", reject);
        response.on("end", () => resolve(new Answer(response.statusCode, response.headers, Buffer.concat(chunks).toString())));
      },
    );
    const timer = setTimeout(() => asked.destroy(new Error(`no answer to ${method} ${path} within ${ms} ms`)), ms);
    asked.on("error", reject);
    asked.on("close", () => clearTimeout(timer));
    asked.end(body);
  });
}

function withLength(headers, body) {
  return body === undefined ? headers : { ...headers, "Content-Length": Buffer.byteLength(body) };
}
