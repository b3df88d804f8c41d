//! What the operator said, checked: everything downstream reads [`Config`] and never a raw option.
//!
//! Sources, the strongest last: the defaults (`config/loudhailer.toml`), other servers' variables ([`Alias`]), the file,
//! `LOUDHAILER_` variables. Reads nothing but its arguments and the named file.

mod aliases;
mod channels;
mod check;
mod error;
mod raw;
mod schema;
#[cfg(test)]
mod tests;
mod variables;
mod webhooks;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use error::ConfigError;
use ipnet::IpNet;
use raw::{Layer, Merged};

use crate::app::{App, Secret, WebhookTargets};

/// The documented sample: every key with its default. What `loudhailer default-config` prints.
pub const DEFAULT_TOML: &str = include_str!("../../config/loudhailer.toml");
/// The key of the demo app; public, hence refused beyond loopback.
pub const DEMO_KEY: &str = "app-key";
/// The secret of the demo app; public, hence refused beyond loopback.
pub const DEMO_SECRET: &str = "app-secret";

/// A checked configuration, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to do.
    pub config: Config,
    /// Who said so; for the start-up lines.
    pub understood: Understood,
}

/// Where a configuration came from.
#[derive(Clone, Debug, Default)]
pub struct Understood {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// Other servers' variables that took effect.
    pub aliases: Vec<Alias>,
    /// Other servers' variables that took none.
    pub unused: Vec<Unused>,
}

/// A variable of another server that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Its name.
    pub name: String,
    /// The key and value that it set, such as `server.port = 6001`; never the value of a secret.
    pub set: String,
}

/// A variable of another server that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Its name.
    pub name: String,
    /// Why it changed nothing.
    pub reason: String,
}

/// The whole checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener.
    pub server: Server,
    /// Per-connection rules of the WebSocket protocol.
    pub websocket: WebSocket,
    /// Rules of the HTTP API.
    pub api: Api,
    /// The operator's listener.
    pub admin: Admin,
    /// How the metrics are named.
    pub metrics: Metrics,
    /// The other nodes' meeting place; `None`: this node is alone.
    pub redis: Option<Redis>,
    /// Logging.
    pub log: Log,
    /// The apps; at least one, with distinct ids and keys.
    pub apps: Vec<App>,
}

impl Config {
    /// Loads and checks a configuration. `file` is the one named on the command line; without it `LOUDHAILER_CONFIG`
    /// among the variables may name one, and else there is none.
    pub fn load(
        file: Option<&Path>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Loaded, ConfigError> {
        let named = variables
            .get(variables::FILE)
            .filter(|name| !name.is_empty());
        let file = file
            .map(Path::to_path_buf)
            .or_else(|| named.map(PathBuf::from));
        let defaults = Layer::defaults();
        let written = file
            .as_deref()
            .map(Layer::read)
            .transpose()?
            .unwrap_or_default();
        let ours = variables::read(variables)?;
        let foreign = aliases::read(variables, &defaults, [&ours, &written])?;
        let merged = Merged::new([defaults, foreign.layer, written, ours])?;
        let config = check::check(&merged)?;
        let (aliases, unused) = (foreign.aliases, foreign.unused);
        Ok(Loaded {
            config,
            understood: Understood {
                file,
                aliases,
                unused,
            },
        })
    }
}

impl Default for Config {
    /// What runs with neither file nor variables.
    fn default() -> Self {
        let loaded = Self::load(None, &BTreeMap::new());
        loaded.expect("a test checks the sample").config
    }
}

/// The public listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address to bind.
    pub host: IpAddr,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// Empty, or `/something` without a trailing slash.
    pub path_prefix: String,
    /// Worker threads, each with its own shard; at least 1.
    pub workers: usize,
    /// Simultaneous client connections of this node; `None` is no limit.
    pub max_connections: Option<usize>,
    /// Of those, from one address or, with IPv6, one /64; `None` is no limit.
    pub max_connections_per_ip: Option<usize>,
    /// Clients behind one address that the node expects; `None` is the default number, where the address is known to be a client's.
    pub max_clients_per_ip: Option<usize>,
    /// Connections that speak HTTP, and are no WebSockets yet.
    pub max_http_connections: usize,
    /// Proxies whose headers name the client.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of an HTTP request body.
    pub max_request_bytes: usize,
    /// Time to receive a request head, or a body of few bytes.
    pub request_timeout: Duration,
    /// How long an idle HTTP connection stays open.
    pub keep_alive: Duration,
    /// On stop, readiness fails for so long before anything else happens.
    pub not_ready: Duration,
    /// Then clients are told 4200 spread over this window.
    pub drain_window: Duration,
    /// Then undelivered webhooks may hold up the stop for so long.
    pub webhook_grace: Duration,
    /// The addresses that webhooks may be sent to.
    pub webhook_targets: WebhookTargets,
}

/// Per-connection rules of the WebSocket protocol.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Told to clients; a client silent for longer is pinged.
    pub activity_timeout: Duration,
    /// A pinged client silent for this long is closed with 4201.
    pub pong_timeout: Duration,
    /// Bytes of one assembled message; over it the close code is 1009.
    pub max_message_bytes: usize,
    /// Bytes that may wait for one slow socket; over it the close code is 4100.
    pub max_outbox_bytes: usize,
    /// Whether a missing `protocol` parameter is refused with 4008.
    pub require_protocol: bool,
}

/// Rules of the HTTP API.
#[derive(Clone, Debug)]
pub struct Api {
    /// How far `auth_timestamp` may be from this server's clock.
    pub timestamp_tolerance: Duration,
}

/// The operator's listener; beyond loopback only with a token.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Address to bind.
    pub host: IpAddr,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// Who shows it may ask everything.
    pub token: Option<Secret>,
}

/// How the metrics are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Stands before every name, with an underscore between.
    pub prefix: String,
}

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Redis {
    /// One address, or several of sentinels or cluster nodes. They may hold a password.
    pub urls: Vec<Secret>,
    /// What answers there.
    pub mode: RedisMode,
    /// Stands before every key and topic.
    pub key_prefix: String,
}

/// What answers at Redis' addresses.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Sentinels that know where the master is.
    Sentinel(Box<Sentinels>),
    /// Nodes of a Redis Cluster; pub/sub is sharded.
    Cluster,
}

/// What sentinels are asked, and what they ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinels {
    /// The master's name among them.
    pub master: String,
    /// Who asks, for sentinels that want to know; the first address has what the master wants to know.
    pub username: Option<String>,
    /// What they ask for.
    pub password: Option<Secret>,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// A tracing filter: a level, or directives such as `loudhailer=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
