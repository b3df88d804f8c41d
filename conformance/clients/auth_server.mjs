// The application's side of private and presence channels: an endpoint that signs subscriptions
// with npm's `pusher`, as a backend does in its /broadcasting/auth.
//
// Who asks is in the bearer token: the member's own JSON, or the user's (`{ id, user_info, watchlist }`), who then is a
// member by his sign-in alone. A real backend looks a session up instead.

import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";

/** The token of a member, for `Authorization: Bearer …`. */
export function tokenOf(member) {
  return Buffer.from(JSON.stringify(member)).toString("base64url");
}

function memberOf(request) {
  const token = request.headers.authorization?.match(/^Bearer (.+)$/)?.[1];
  return token && JSON.parse(Buffer.from(token, "base64url").toString());
}

async function formOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return new URLSearchParams(Buffer.concat(parts).toString());
}

function asUser(member) {
  return member.id === undefined ? { id: member.user_id, user_info: member.user_info } : member;
}

/** Answers one request for a subscription, or for a sign-in: signed for whoever has a token, 403 for all others. */
export async function answerAuth(publisher, request, response) {
  const form = await formOf(request);
  const member = memberOf(request);
  if (!member) {
    response.writeHead(403).end("Forbidden");
    return;
  }
  const [socketId, channel] = [form.get("socket_id"), form.get("channel_name")];
  const channelData = channel?.startsWith("presence-") && member.id === undefined ? member : undefined;
  const answer = channel
    ? publisher.authorizeChannel(socketId, channel, channelData)
    : publisher.authenticateUser(socketId, asUser(member));
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
}

/** Listens on a free port of 127.0.0.1, with TLS if there is a `pair` of `cert` and `key`; the result is the running server and its `url`. */
export async function listen(answer, pair) {
  const listener = (request, response) => {
    answer(request, response).catch((error) => {
      response.writeHead(500).end(String(error));
    });
  };
  const server = pair ? createHttpsServer(pair, listener) : createHttpServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  return {
    port,
    url: `${pair ? "https" : "http"}://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** An authorisation endpoint that signs with the credentials of `publisher`. */
export function startAuthServer(publisher) {
  return listen((request, response) => answerAuth(publisher, request, response));
}
