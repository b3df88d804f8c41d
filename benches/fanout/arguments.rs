//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::host::App;
use crate::payload::DATA_BYTES_MIN;

/// Measures a Pusher host against the cost that nobody escapes: the sends of the kernel.
///
/// Without --url the release server is started afresh for every run, beside a floor that only sends.
#[derive(Debug, Clone, Parser)]
#[command(name = "fanout")]
pub(crate) struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value_t = Scenario::All)]
    pub(crate) scenario: Scenario,
    /// Subscribed sockets [default: 1000, idle 15000, storms and fairness 10000, cluster 5000, smoke 50]
    #[arg(long)]
    pub(crate) sockets: Option<usize>,
    /// Events per second [default: steady and load 30, cluster 500]; load: 0 is as fast as they are answered
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Seconds of each measured run [default: steady and load 10, mixed 600, hostile-webhooks 20, others 5]
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Rounds; in each the candidates run one after the other
    #[arg(long, default_value_t = 3)]
    pub(crate) pairs: usize,
    /// Publishing connections [default: 4, per-user and ingest 16]
    #[arg(long)]
    pub(crate) publishers: Option<usize>,
    /// Channels that the sockets are spread over [default: per-user 10000, load 1]
    #[arg(long)]
    pub(crate) channels: Option<usize>,
    /// Bytes of data in each event
    #[arg(long, default_value_t = 128)]
    pub(crate) data_bytes: usize,
    /// Events in one request [default: ingest's batch runs 10, load 1]
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Only the rows whose names have this in them [hostile]
    #[arg(long, value_name = "TEXT")]
    pub(crate) row: Option<String>,
    /// Worker threads of the server and of the bare handler
    #[arg(long, default_value_t = 2)]
    pub(crate) workers: usize,
    /// Events that may be on their way to the slowest socket before the publishers of a server wait
    #[arg(long, default_value_t = 4096)]
    pub(crate) window: u64,
    /// Writes the raw results to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measures the Pusher host at this address (ws://host:port[/prefix]) instead of starting a server
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Where that host answers its HTTP API, if elsewhere
    #[arg(long)]
    pub(crate) api_url: Option<String>,
    /// Process of that host whose CPU time and memory are counted; may be repeated
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
    /// Id of the app
    #[arg(long, default_value = "1001")]
    pub(crate) app_id: String,
    /// Key of the app
    #[arg(long, default_value = "app-key")]
    pub(crate) key: String,
    /// Secret of the app
    #[arg(long, default_value = "app-secret")]
    pub(crate) secret: String,
    /// Another build of the server that takes turns with this one [steady, full, per-user and ingest]
    #[arg(long, value_name = "BINARY")]
    pub(crate) against: Option<PathBuf>,
    /// Makes what the instructions scenario counts the new baseline
    #[arg(long)]
    pub(crate) update: bool,
    /// Internal: whether the floor's sockets have TLS
    #[arg(long, hide = true)]
    pub(crate) tls: bool,
    /// Whether the data is rows of JSON instead of one letter over and over.
    #[arg(skip)]
    pub(crate) rows: bool,
    /// Lines for the configuration of the app.
    #[arg(skip)]
    pub(crate) app_config: &'static str,
    /// Whether valgrind counts the instructions of what is started.
    #[arg(skip)]
    pub(crate) counting: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Everything in small, in seconds; asserts that nothing is lost, and no times
    Smoke,
    /// All sockets on one channel, events at a fixed rate
    Steady,
    /// All sockets on one channel, events as fast as they are answered
    Full,
    /// Memory of subscribed sockets that hear nothing
    Idle,
    /// Many channels of one socket each, publishes spread over them
    PerUser,
    /// Signed publishes that reach nobody
    Ingest,
    /// One socket stops reading while the others hear everything
    Slow,
    /// All sockets at once, then all gone, three times over
    Storms,
    /// Channels of one socket beside a large one under full load
    Fairness,
    /// Clients that mean harm, and what others notice
    Hostile,
    /// 2 KB of JSON, compressed and not
    Compression,
    /// All attacks at once beside 1,000 clients of two apps, for five minutes
    HostileTogether,
    /// All sockets on one channel with TLS: at a fixed rate, as fast as it goes, and idle
    Tls,
    /// TLS handshakes, full and resumed, against a bare acceptor; deliveries beside 500 a second
    TlsHandshakes,
    /// 10,000 TLS handshakes that begin and do not go on
    TlsHalfOpen,
    /// TLS in the server beside nginx before it, and before the host that --url names
    TlsProxied,
    /// Subscribes and unsubscribes public channels beside members whose webhooks must arrive
    HostileWebhooks,
    /// 10,000 apps: the start, memory, reloads with one change, and the metrics
    ManyApps,
    /// Fan-out, per-user events, presence coming and going and client events together
    Mixed,
    /// All of the above but smoke and hostile; of mixed, one minute
    All,
    /// Latency at rising rates and memory at rising numbers of sockets, for the plots
    Curves,
    /// The load that --sockets, --channels, --rate, --data-bytes, --publishers and --batch describe, on any host; shows how it goes
    Load,
    /// Three nodes on one redis-server, against a node alone
    Cluster,
    /// The following six: what three nodes on one Redis do when very many channels move at once
    Strain,
    /// 40 sockets subscribe to 100,000 channels (--channels) at once
    MassJoin,
    /// 15,000 sockets with 100,000 channels are gone at once
    MassLeave,
    /// The link of a node with 100,000 channels is cut
    Relink,
    /// `GET /channels` of an app with 100,000 occupied channels
    Listing,
    /// Publishers on one node that are faster than 1,000 subscribers on another
    CrossNode,
    /// 10,000 clients come and go, five times
    ClusterChurn,
    /// Instructions of the hot path, counted by valgrind and held to a baseline
    Instructions,
    /// Internal: be the floor
    #[value(hide = true)]
    Floor,
    /// Internal: be the bare HTTP handler
    #[value(hide = true)]
    Bare,
    /// Internal: be the bare handshake
    #[value(hide = true)]
    Handshake,
}

impl Arguments {
    /// Reads the command line. Cargo adds `--bench`; without it and without a scenario this is a test run, hence `smoke`.
    pub(crate) fn read() -> Self {
        let given: Vec<_> = std::env::args_os().collect();
        let by_cargo_bench = given.iter().any(|argument| argument == "--bench");
        let mut kept: Vec<_> = given
            .into_iter()
            .filter(|argument| argument != "--bench")
            .collect();
        if kept.len() == 1 && !by_cargo_bench {
            kept.push("smoke".into());
        }
        let mut arguments = Self::parse_from(kept);
        arguments.data_bytes = arguments.data_bytes.max(DATA_BYTES_MIN);
        arguments
    }

    /// The app to connect and publish to.
    pub(crate) fn app(&self) -> App {
        App {
            id: self.app_id.clone(),
            key: self.key.clone(),
            secret: self.secret.clone(),
        }
    }
}
