// What cases rest on. Each source has a kind, a place and a sentence from that place.
//
//   docs     Pusher's documentation, as of June 2025
//   hosted   how Pusher's own service behaves, as reported in an issue
//   client   what the source of a client library does or relies on
//   standard an RFC that Pusher's documentation builds on

const source = (kind, where) => (quote) => ({ kind, where, quote });

/** A page of Pusher's documentation. */
const docs = (page) => source("docs", `https://pusher.com/docs/channels/${page}/`);

export const AUTHENTICATING = docs("server_api/authenticating-users");
export const AUTHORIZING = docs("server_api/authorizing-users");
export const CACHE = docs("using_channels/cache-channels");
export const CHANNELS = docs("using_channels/channels");
export const ENCRYPTED = docs("using_channels/encrypted-channels");
export const EVENTS = docs("using_channels/events");
export const EXCLUDING = docs("server_api/excluding-event-recipients");
export const FALLBACKS = docs("using_channels/websocket-fallbacks");
export const HTTP_API = docs("server_api/http-api");
export const LEGACY = docs("library_auth_reference/rest-api-deprecated");
export const PRESENCE = docs("using_channels/presence-channels");
export const PRIVATE = docs("using_channels/private-channels");
export const PROTOCOL = docs("library_auth_reference/pusher-websockets-protocol");
export const PUBLIC = docs("using_channels/public-channels");
export const REST = docs("library_auth_reference/rest-api");
export const SERVER_TO_USER = docs("server_api/server-to-user-messages");
export const SIGNATURES = docs("library_auth_reference/auth-signatures");
export const TERMINATING = docs("server_api/terminating-user-connections");
export const USER_AUTHENTICATION = docs("using_channels/user-authentication");
export const WATCHLIST = docs("using_channels/watchlist-events");
export const WEBHOOKS = docs("server_api/webhooks");

/** Behaviour of the hosted service, as an issue reports it. */
export const hosted = (issue, report) => source("hosted", issue)(report);

/** The source of a client library: repository and file. */
export const client = (file) => source("client", file);

export const JS_PROTOCOL = client("pusher/pusher-js 8.6.0 src/core/connection/protocol/protocol.ts");
export const JS_CONNECTION = client("pusher/pusher-js 8.6.0 src/core/connection/connection_manager.ts");
export const JS_URLS = client("pusher/pusher-js 8.6.0 src/core/transports/url_schemes.ts");
export const JS_USER = client("pusher/pusher-js 8.6.0 src/core/user.ts");
export const JS_WATCHLIST = client("pusher/pusher-js 8.6.0 src/core/watchlist.ts");
export const JS_MEMBERS = client("pusher/pusher-js 8.6.0 src/core/channels/members.ts");
export const JS_CHANNEL = client("pusher/pusher-js 8.6.0 src/core/channels/channel.ts");
export const JS_ENCRYPTED = client("pusher/pusher-js 8.6.0 src/core/channels/encrypted_channel.ts");
export const JS_HTTP_SOCKET = client("pusher/pusher-js 8.6.0 src/core/http/http_socket.ts");
export const JS_HTTP_STREAMING = client("pusher/pusher-js 8.6.0 src/core/http/http_streaming_socket.ts");
export const JS_HTTP_POLLING = client("pusher/pusher-js 8.6.0 src/core/http/http_polling_socket.ts");
export const NODE_SERVER = client("pusher/pusher-http-node 5.3.4 lib/pusher.js");
export const NODE_WEBHOOK = client("pusher/pusher-http-node 5.3.4 lib/webhook.js");
export const NODE_AUTH = client("pusher/pusher-http-node 5.3.4 lib/auth.js");
export const PHP_SERVER = client("pusher/pusher-http-php 7.2.6 src/Pusher.php");
export const SWIFT = (file) => client(`pusher/pusher-websocket-swift Sources/${file}`);

export const rfc6455 = (section) => source("standard", `RFC 6455 ${section}`);
