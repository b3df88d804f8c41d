//! The tables of the file, but for Redis and the apps.

use std::{num::NonZeroUsize, thread};

use super::{
    Acme, AdminTls, Challenge, FileMode, Host, LogFilter, LogFormat, MetricsPrefix, Network,
    PathPrefix, PlainPort, ServerTls,
};
use crate::{
    app::{SECONDS_MAX, Secret, WebhookTargets},
    settings::{Count, Problems, Seconds, Table, Whole, settings},
};

/// Shortest admin token that resists brute force over HTTP.
const TOKEN_LENGTH_MIN: usize = 16;

settings! {
    /// The public listener.
    #[derive(Clone, Debug)]
    pub struct Server {
        /// IP address to bind; `localhost` is 127.0.0.1, `0.0.0.0` and `::` are every interface. The demo app is refused there.
        host: Host = "127.0.0.1",
        /// 0: the system chooses a free port; the startup prints it.
        port: u16 = 6001,
        /// `false`: no TCP port, neither this nor the one for TLS, only `unix_socket`.
        tcp: bool = true,
        /// Path of a Unix socket to listen on, for a proxy on this machine. Whoever may open it is a trusted proxy
        /// ([below](#behind-proxies)). It is removed at the stop; one that a killed server left behind is replaced at the start.
        unix_socket: Option<String> => "\"/run/loudhailer/public.sock\"",
        /// Permissions of that file, in octal: who may connect needs to write to it.
        unix_socket_mode: FileMode = "0660",
        /// `"/ws"` makes `/ws/app/KEY` and `/ws/apps/…` work besides the bare paths. Not `/app…` or `/apps…`.
        path_prefix: PathPrefix = "",
        /// Threads that serve clients; 0: one per core.
        workers: Whole<0, 512> = 0,
        /// Simultaneous clients of this node; further clients are closed with 4100.
        max_connections: Option<Count> => "10000",
        /// Of those, clients with one address or, with IPv6, one /64 network; further clients are closed with 4100, after which pusher-js
        /// tries again a second later.
        max_connections_per_ip: Option<Count> => "200",
        /// Clients that are expected behind one address or, with IPv6, one /64 network ([below](#what-one-address-may-use)). It bounds the
        /// HTTP connections of an address, its sessions of the HTTP fallbacks and the connects that come at once. Without it, 2048, and
        /// only for addresses that are a client's for sure: public ones, and those that a trusted proxy has told.
        max_clients_per_ip: Option<Count> => "2048",
        /// HTTP connections at a time, besides WebSockets. A further one gets the place of one that has sent no request, else 503
        /// ([below](#what-one-address-may-use)). Too few for a node with more than some 4,000 clients on the HTTP fallbacks, which have two
        /// connections each.
        max_http_connections: Count = 8192,
        /// Addresses and networks (`"10.0.0.0/8"`) of proxies whose headers say who the client is (`X-Forwarded-For` or `Forwarded`) and
        /// whether it uses TLS (`X-Forwarded-Proto`) ([below](#behind-proxies)).
        trusted_proxies: Vec<Network>,
        /// `true`: every connection begins with a header of the PROXY protocol, version 1 or 2, which says who the client is. Only
        /// `trusted_proxies` and the Unix socket may connect then ([below](#proxy-protocol)).
        proxy_protocol: bool = false,
        /// Bytes of an HTTP request body; larger requests get 413.
        max_request_bytes: Count = 1_048_576,
        /// Seconds to receive a request head, the upgrade included, or the next part of a body. A whole body has the same time, and one
        /// second more for each 16 KiB; slower requests get 408.
        request_timeout_s: Seconds<1, SECONDS_MAX> = 10,
        /// Seconds that an idle HTTP connection stays open.
        keep_alive_s: Seconds<1, SECONDS_MAX> = 75,
        /// On shutdown, `/ready` fails for this many seconds before anything else happens: the time that a balancer needs to notice
        /// ([operations.md](operations.md)).
        not_ready_s: Seconds<0, 3600> = 0,
        /// Then clients are told to reconnect (4200), spread over this many seconds.
        drain_window_s: Seconds<0, 3600> = 2,
        /// Then undelivered webhooks may delay the exit by this many seconds.
        webhook_grace_s: Seconds<0, 3600> = 5,
        /// Addresses that webhooks may be sent to: `"*"` (any), `"external"` (public ones), `"private"`, `"loopback"`, addresses and
        /// networks ([webhooks.md](webhooks.md#restrict-where-webhooks-go)). A name is checked by what it resolves to, at every
        /// connection. Set `["external"]` if others than you configure apps.
        webhook_allowed_addresses: WebhookTargets = &["*"],
        /// TLS on a port of its own beside `server.port` ([tls.md](tls.md)). Without `cert` and `acme` there is none.
        tls: ServerTls,
    }
    check check_server;
}

fn check_server(server: &Server, table: &Table<'_>, problems: &mut Problems) {
    let comes_by_tcp_alone = server.tcp && server.unix_socket.is_none();
    if server.proxy_protocol && server.trusted_proxies.is_empty() && comes_by_tcp_alone {
        let reason = "is true, which needs server.trusted_proxies: nobody else may connect";
        table.refuse("proxy_protocol", problems, reason);
    }
    if !server.tcp && server.unix_socket.is_none() {
        table.refuse("tcp", problems, "is false, which needs server.unix_socket");
    }
    if !server.tcp && server.tls.is_on() {
        let reason = "is false, which leaves server.tls without a port";
        table.refuse("tcp", problems, reason);
    }
    let asks_for_plain = |acme: &Acme| acme.challenge == Challenge::Http01;
    let has_plain = server.has_plain_port() || server.unix_socket.is_some();
    if server.tls.acme.as_ref().is_some_and(asks_for_plain) && !has_plain {
        let reason = "is \"http-01\", which needs a port without TLS: leave out server.tls.plain = \"off\", or use \"tls-alpn-01\"";
        let acme = ("tls", None);
        table.refuse_within(acme, "acme.challenge", problems, reason);
    }
}

impl Server {
    /// Whether there is a TCP port without TLS.
    #[must_use]
    pub fn has_plain_port(&self) -> bool {
        self.tcp && self.tls.plain != PlainPort::Off
    }

    /// Threads that serve clients; at least 1.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.workers.get() {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            workers => workers,
        }
    }
}

settings! {
    /// Every client connection.
    #[derive(Clone, Debug)]
    pub struct WebSocket {
        /// Told to clients; a client silent for this and a few seconds more is pinged. 0 is refused: pusher-js fails with it.
        activity_timeout_s: Seconds<1, SECONDS_MAX> = 120,
        /// A pinged client that stays silent for this long is closed with 4201.
        pong_timeout_s: Seconds<1, SECONDS_MAX> = 30,
        /// Bytes of one message from a client; a larger one closes the connection with 1009.
        max_message_bytes: Count = 65_536,
        /// Bytes that may wait for one slow client; beyond that the client is closed with 4100.
        max_outbox_bytes: Count = 1_048_576,
        /// `true`: a client that names no `protocol` is closed with 4008.
        require_protocol: bool = false,
    }
}

settings! {
    /// The HTTP API.
    #[derive(Clone, Debug)]
    pub struct Api {
        /// Seconds that a signed request's `auth_timestamp` may be from this server's clock.
        timestamp_tolerance_s: Count = 600,
    }
}

settings! {
    /// The operator's listener; beyond loopback only with a token.
    #[derive(Clone, Debug)]
    pub struct Admin {
        /// A loopback address; any other needs `token`.
        host: Host = "127.0.0.1",
        /// Must differ from `server.port`. 0: the system chooses.
        port: u16 = 9601,
        /// Anyone presenting this token can see everything and disconnect anyone ([operations.md](operations.md)). At least 16
        /// characters. Without it only this machine may ask.
        token: Option<Secret> => "\"at-least-16-characters\"",
        /// TLS on the operator's listener. Without `cert` there is none.
        tls: AdminTls,
    }
    check check_admin;
}

fn check_admin(admin: &Admin, table: &Table<'_>, problems: &mut Problems) {
    let Some(token) = &admin.token else {
        if !admin.host.is_loopback() {
            let host = admin.host;
            let reason = format!(
                "must be a loopback address such as 127.0.0.1, not {host}, unless admin.token is set"
            );
            table.refuse("host", problems, reason);
        }
        return;
    };
    let token = token.expose();
    if token.len() < TOKEN_LENGTH_MIN || !token.iter().all(u8::is_ascii_graphic) {
        let reason =
            format!("must have at least {TOKEN_LENGTH_MIN} characters, all of them visible ASCII");
        table.refuse("token", problems, reason);
    }
}

settings! {
    /// How the metrics are named.
    #[derive(Clone, Debug)]
    pub struct Metrics {
        /// Before every name; `"soketi"` makes dashboards that were made for soketi work ([operations.md](operations.md)).
        prefix: MetricsPrefix = "loudhailer",
    }
}

settings! {
    /// Logging.
    #[derive(Clone, Debug)]
    pub struct Log {
        /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or a tracing filter such as `"info,loudhailer=debug"`.
        level: LogFilter = "info",
        /// `"json"`: one object a line.
        format: LogFormat = "text",
    }
}
