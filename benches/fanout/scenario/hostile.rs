//! Clients that mean harm, one kind after the other, and what those notice who only want an answer.
//!
//! Each row is a fresh server with two workers. Quiet probes send a control ping every few milliseconds while the attack goes on; their p99 is the
//! figure that counts, besides what an attack costs the server itself.

mod channels;
mod client;
mod floods;
mod members;
mod probe;
mod requests;
pub(super) mod together;

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::{self, Host};
use crate::report::{Finding, Section, say};
use crate::scenario::{cluster::nodes::Redis, seconds, section};

use probe::Probes;

/// One attack.
struct Row {
    /// The row of the issue, and what is done.
    name: &'static str,
    /// Lines for the configuration of the app.
    app: &'static str,
    /// What a probe may wait, in milliseconds, at the 99th percentile.
    quiet_ms_max: f64,
    engine: Engine,
    attack: fn(&Ground<'_>) -> Result<Vec<Figure>, Failure>,
}

/// What the server keeps its state in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Memory,
    /// A redis-server of its own, as if there were other nodes.
    Redis,
}

/// Where an attack takes place.
struct Ground<'a> {
    host: &'a Host,
    time: Duration,
    /// Quiet clients.
    probes: usize,
}

/// A figure besides the probes'.
struct Figure {
    what: &'static str,
    value: f64,
    target: Option<f64>,
}

/// An app whose connections may send as fast as they like.
const UNPACED: &str = "max_messages_per_second = 100000000\n";
const UNPACED_MANY: &str =
    "max_messages_per_second = 100000000\nmax_channels_per_connection = 200000\n";

const UNPACED_LARGE: &str = "max_messages_per_second = 100000000\nmax_presence_members = 5000\n";
const COUNTED: &str = "subscription_counts = true\n";
const WATCHED: &str = "watchlists = true\n";

const ROWS: [Row; 22] = [
    Row::flood("1: control pings, one socket", floods::pings),
    Row::flood("1: the text 3, one socket", floods::nonsense),
    Row::flood("1: pusher:ping, one socket", floods::text_pings),
    Row::flood("1: wrong subscribes, one socket", floods::wrong_subscribes),
    Row::flood("1: subscribe and unsubscribe, one socket", floods::pairs),
    Row::flood("1: deflated messages, one socket", floods::deflated),
    Row::flood("1: control pings, 50 sockets", floods::pings_of_many).beside_many(),
    Row::flood(
        "1: subscribe and unsubscribe, 50 sockets",
        floods::pairs_of_many,
    )
    .beside_many(),
    Row::flood("1: deflated messages, 50 sockets", floods::deflated_of_many).beside_many(),
    Row::flood(
        "1: control pings, one socket, no rate",
        floods::pings_counted,
    )
    .with(UNPACED),
    Row::flood(
        "1: deflated messages, one socket, no rate",
        floods::deflated,
    )
    .with(UNPACED),
    Row::flood("2: 40,000 channels on one socket", channels::subscribe).with(UNPACED_MANY),
    Row::flood("3: 5,000 join one presence channel", members::join)
        .with(UNPACED_LARGE)
        .quiet(50.0),
    Row::flood("8: counts of who comes and goes", members::count).with(COUNTED),
    Row::flood("8b: a member that comes and goes", members::come_and_go),
    Row::flood("10: 2,000 sign in, watching 100 each", members::watch)
        .with(WATCHED)
        .quiet(20.0),
    Row::flood("10: the same on a node with Redis", members::watch)
        .with(WATCHED)
        .quiet(20.0)
        .on(Engine::Redis),
    Row::flood("5: bodies that never end", requests::endless_bodies).beside_many(),
    Row::flood("5: requests in a row, one connection", floods::pipelined),
    Row::flood(
        "5: requests and connects without a key",
        requests::strangers,
    ),
    Row::flood("6: 5,000 fallback sessions", requests::sessions),
    Row::flood("9: listings of 100,000 channels", channels::list).with(UNPACED_MANY),
];

impl Row {
    const fn flood(
        name: &'static str,
        attack: fn(&Ground<'_>) -> Result<Vec<Figure>, Failure>,
    ) -> Self {
        Self {
            name,
            app: "",
            quiet_ms_max: 5.0,
            engine: Engine::Memory,
            attack,
        }
    }

    const fn with(self, app: &'static str) -> Self {
        Self { app, ..self }
    }

    const fn on(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    const fn beside_many(self) -> Self {
        self.quiet(20.0)
    }

    const fn quiet(self, quiet_ms_max: f64) -> Self {
        Self {
            quiet_ms_max,
            ..self
        }
    }
}

/// All rows, in rounds.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    say("\nhostile: quiet p99 in ms beside each attack")?;
    let mut findings = Vec::new();
    let chosen = |row: &&Row| {
        arguments
            .row
            .as_deref()
            .is_none_or(|row_name| row.name.contains(row_name))
    };
    for row in ROWS.iter().filter(chosen) {
        let rounds = (0..arguments.pairs).map(|_| row.measure(arguments));
        let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
        findings.extend(medians(&rounds));
    }
    section("hostile", Vec::new(), findings, arguments)
}

/// A finding for each figure, over the rounds.
fn medians(rounds: &[Vec<(String, f64, Option<f64>)>]) -> Vec<Finding> {
    let count = rounds.first().map_or(0, Vec::len);
    let figures = (0..count).map(|at| {
        let (what, _, target) = &rounds[0][at];
        let each = rounds.iter().map(|round| round[at].1).collect();
        Finding::new(what, each, *target)
    });
    figures.collect()
}

impl Row {
    fn measure(&self, arguments: &Arguments) -> Result<Vec<(String, f64, Option<f64>)>, Failure> {
        let redis = (self.engine == Engine::Redis)
            .then(Redis::start)
            .transpose()?;
        let config = config(arguments, redis.as_ref(), self.app);
        let host = host::start_node("hostile", &config, arguments)?;
        let ground = Ground {
            host: &host,
            time: seconds(arguments, 3.0),
            probes: 2 * arguments.workers,
        };
        let probes = Probes::start(&host, ground.probes)?;
        let figures = (self.attack)(&ground)?;
        let quiet = probes.end()?;
        let name = self.name;
        say(&format!(
            "   {name}: p50 {:.2}, p99 {:.2}, max {:.2}",
            quiet.p50_us / 1e3,
            quiet.p99_us / 1e3,
            quiet.max_us / 1e3
        ))?;
        let mut all = vec![(
            format!("{name}: quiet p99, ms"),
            quiet.p99_us / 1e3,
            Some(self.quiet_ms_max),
        )];
        for Figure {
            what,
            value,
            target,
        } in figures
        {
            all.push((format!("{name}: {what}"), value, target));
        }
        Ok(all)
    }
}

/// The attackers come through a proxy of their own, so that each has an address. A request has a second.
fn config(arguments: &Arguments, redis: Option<&Redis>, app: &str) -> String {
    let Arguments {
        workers,
        app_id,
        key,
        secret,
        ..
    } = arguments;
    let redis = redis.map_or_else(String::new, Redis::config);
    format!(
        "{redis}[server]\nport = 0\nworkers = {workers}\nrequest_timeout_s = 1\ntrusted_proxies = [\"127.0.0.1\"]\n\n[admin]\nport = 0\n\n\
         [[apps]]\nid = \"{app_id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\ncompression = true\n{app}"
    )
}
