// A payload, formatted: as JSON if it is JSON, as it came otherwise.

import { h } from "./dom.js";

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g;
const FORMATTED_MAX = 200_000;

/** `text` as JSON with indentation; undefined if it is not JSON. Numbers keep their digits. */
export function formatJson(text) {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  return indent(text);
}

/** Indents valid JSON without reading it into values, which would round large numbers. */
function indent(text) {
  const out = [];
  let depth = 0;
  const line = () => out.push("\n", "  ".repeat(depth));
  const parts = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  parts.forEach((part, at) => {
    const empties = (part === "{" && parts[at + 1] === "}") || (part === "[" && parts[at + 1] === "]");
    const wasEmpty = (part === "}" && parts[at - 1] === "{") || (part === "]" && parts[at - 1] === "[");
    if (empties || wasEmpty) out.push(part);
    else if (part === "{" || part === "[") (out.push(part), (depth += 1), line());
    else if (part === "}" || part === "]") ((depth -= 1), line(), out.push(part));
    else if (part === ",") (out.push(part), line());
    else if (part === ":") out.push(": ");
    else out.push(part);
  });
  return out.join("");
}

function kindOf(token, isKey) {
  if (isKey) return "key";
  if (token.startsWith('"')) return "string";
  return /^[tfn]/.test(token) ? "word" : "number";
}

/** A `<pre>` with the payload. */
export function payload(text) {
  const formatted = text.length <= FORMATTED_MAX ? formatJson(text) : undefined;
  const pre = h("pre", { class: "payload", tabIndex: 0, role: "region", "aria-label": "Payload" });
  if (formatted === undefined) {
    pre.append(text);
    return pre;
  }
  let end = 0;
  for (const match of formatted.matchAll(TOKEN)) {
    const token = match[1] ?? match[0];
    pre.append(formatted.slice(end, match.index), h("span", { class: kindOf(token, match[2]) }, token));
    end = match.index + token.length;
  }
  pre.append(formatted.slice(end));
  return pre;
}

/** Copies to the clipboard, where the browser lets a page do so. */
export function copyButton(text, label = "Copy") {
  if (!navigator.clipboard) return undefined;
  const button = h("button", { type: "button", class: "quiet small" }, label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text).then(
      () => (button.textContent = "Copied"),
      () => (button.textContent = "Not allowed"),
    );
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}
