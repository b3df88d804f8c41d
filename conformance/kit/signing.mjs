// Signatures as Pusher's documentation has them, for the HTTP API, for subscriptions and for sign-ins.

import { createHash, createHmac } from "node:crypto";

export const hmac = (secret, text) => createHmac("sha256", secret).update(text).digest("hex");
export const md5 = (text) => createHash("md5").update(text).digest("hex");

/** `auth` for a subscription. */
export function channelAuth(app, socketId, channel, channelData) {
  const text = channelData ? `${socketId}:${channel}:${channelData}` : `${socketId}:${channel}`;
  return `${app.key}:${hmac(app.secret, text)}`;
}

/** `auth` for a sign-in. */
export function userAuth(app, socketId, userData) {
  return `${app.key}:${hmac(app.secret, `${socketId}::user::${userData}`)}`;
}

/** The string that an API request signs: `pairs` are its query parameters, unescaped. */
function stringToSign(method, path, pairs) {
  const lowered = pairs.map(([name, value]) => [name.toLowerCase(), value]);
  const sorted = lowered.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return [method, path, sorted.map(([name, value]) => `${name}=${value}`).join("&")].join("\n");
}

const isPresent = ([, value]) => value !== undefined;

/**
 * The query of a signed request, as pairs. `auth` overrides authentication parameters (`undefined` leaves one out), `signed`
 * overrides what the signature is over (`method`, `path`, `pairs`), `spoil` turns the signature into another.
 */
export function signedPairs(app, { method, path, params = [], body, auth = {}, signed = {}, secret = app.secret, spoil }) {
  const parameters = {
    auth_key: app.key,
    auth_timestamp: String(Math.floor(Date.now() / 1000)),
    auth_version: "1.0",
    ...(body ? { body_md5: md5(body) } : {}),
    ...auth,
  };
  const fixed = Object.entries(parameters).filter(isPresent);
  const over = stringToSign(signed.method ?? method, signed.path ?? path, [...(signed.pairs ?? params), ...fixed]);
  const signature = hmac(secret, over);
  return [...params, ...fixed, ["auth_signature", spoil ? spoil(signature) : signature]].filter(isPresent);
}
