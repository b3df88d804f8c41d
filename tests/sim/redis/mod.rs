//! A Redis for simulations: deterministic, in memory, on the caller's thread.
//!
//! [`Redis::command`] runs one command for one connection and answers as Redis 7.0 does over RESP3; `EVAL` runs the real Lua 5.1. Nothing
//! here reads a clock or draws a random number. The caller sets the time ([`Redis::set_time`]); what Redis leaves unordered comes in an order
//! that the seed decides, so that a script which relies on an order fails with some seeds. A new `Redis` is cheap, because all of a
//! thread share one Lua interpreter with the compiled scripts.
//!
//! ```text
//! let mut redis = Redis::new(seed);
//! redis.set_time(1_700_000_000_000_000);
//! redis.command(1, &words(["SUBSCRIBE", "topic"]));
//! redis.command(2, &words(["EVAL", "return redis.call('PUBLISH', KEYS[1], ARGV[1])", "1", "topic", "hello"]));
//! let pushes = redis.take_pushes();    // one, for connection 1
//! ```
//!
//! Faults: [`Mode`] makes it refuse commands (out of memory, a replica, still loading). [`Redis::snapshot`] and [`Redis::restore`] give it the
//! data of another moment, as a lagging replica that was promoted would have it; [`Redis::restart`] leaves it without any. [`Redis::close`] ends a
//! connection.
//!
//! `differential.rs` compares all of this with a real redis-server. What differs on purpose:
//!
//! - `SCAN`, `HSCAN` and `SSCAN` honour `COUNT` for small collections too, and `SPOP` takes the members that come first in the seed's order.
//! - A key expires when it is met or by [`Redis::expire_due`]; until then `DBSIZE` counts it. A real server looks for expired keys besides.
//! - In a cluster, a script may only touch the hash slot of its declared keys, as if every other slot were on another node.
//! - Error texts that arise within a script lack the suffix ` script: SHA, on @user_script:LINE.`; the codes are the same.
//! - Not there: transactions, patterns of pub/sub, blocking commands, other databases, `BYLEX`, hexadecimal floats; in scripts
//!   `math.random`, `load`, `loadstring`, `setfenv`, `getfenv`, coroutines, `struct`, `cmsgpack`, `bit`, `redis.setresp`, `redis.set_repl` and the
//!   settings of `cjson`. A script that uses one of these fails.

mod glob;
mod hashes;
mod keys;
mod lists;
mod lua;
mod number;
mod pubsub;
mod reply;
mod scan;
mod scripts;
mod sets;
mod shuffled;
mod slot;
mod sorted;
mod store;
mod strings;
mod table;

use bytes::Bytes;

use self::{
    pubsub::PubSub,
    reply::Outcome,
    scripts::Scripts,
    store::{Expired, Keyspace, Kind, Now},
    table::Spec,
};
pub(crate) use self::{
    pubsub::{Audience, Push},
    reply::{ErrorReply, Reply},
    table::{Flag, Keys, commands},
};

/// A simulated server. See the module's documentation.
pub(crate) struct Redis {
    server: Server,
}

/// Which commands are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Mode {
    /// None.
    #[default]
    Serving,
    /// Those that may need memory: `OOM`. A script is stopped at its first such command, unless it has written before.
    OutOfMemory,
    /// Those that write: `READONLY`.
    Replica,
    /// All that touch keys, and scripts: `LOADING`.
    Loading,
}

/// Whether commands must keep to one hash slot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Topology {
    #[default]
    Single,
    /// Keys of different slots are refused: `CROSSSLOT`.
    Cluster,
}

/// The data of a moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    keyspace: Keyspace,
}

impl Redis {
    /// An empty server at the Unix epoch.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            server: Server {
                keyspace: Keyspace::new(seed),
                ..Server::default()
            },
        }
    }

    /// Sets the clock, in µs since the Unix epoch. It may go backwards, as real ones do.
    pub(crate) fn set_time(&mut self, now_us: i64) {
        self.server.now_us = now_us;
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.server.mode = mode;
    }

    pub(crate) fn set_topology(&mut self, topology: Topology) {
        self.server.topology = topology;
    }

    /// Runs one command to its end. A connection exists from its first command on.
    ///
    /// Subscribing and unsubscribing answer an array with one `[kind, topic, subscriptions of the connection]` per topic, where a real server
    /// sends one push for each.
    pub(crate) fn command(&mut self, connection: u64, args: &[Bytes]) -> Reply {
        let outcome = self.server.execute(connection, args);
        outcome.unwrap_or_else(Reply::Error)
    }

    /// What was published to subscribers since the last call, in order.
    pub(crate) fn take_pushes(&mut self) -> Vec<Push> {
        self.server.pubsub.take_pushes()
    }

    /// Ends a connection: its subscriptions are gone. Pushes that were not taken stay; the caller knows whether they arrive.
    pub(crate) fn close(&mut self, connection: u64) {
        self.server.pubsub.close(connection);
    }

    /// Whether the connection is subscribed to the topic.
    pub(crate) fn listens(&self, connection: u64, topic: &[u8]) -> bool {
        self.server.pubsub.listens(connection, topic)
    }

    /// Removes all expired keys.
    pub(crate) fn expire_due(&mut self) {
        let now = self.server.now();
        self.server.keyspace.expire(now);
    }

    /// When the next key will have expired, in ms since the Unix epoch: it is still there in that ms.
    pub(crate) fn next_expiry(&self) -> Option<i64> {
        let now = self.server.now();
        let expiries = self.server.keyspace.entries.iter();
        let expiries = expiries.filter_map(|(_, entry)| entry.expires_ms);
        expiries.filter(|expires_ms| *expires_ms >= now.ms).min()
    }

    /// How many commands were run, those of scripts included.
    pub(crate) fn calls(&self) -> u64 {
        self.server.calls
    }

    /// The data as it is now. Values are shared until they change, so that this costs a little per key and nothing per byte.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            keyspace: self.server.keyspace.clone(),
        }
    }

    /// Becomes another process with this data: nobody is subscribed, no push is waiting, no script is loaded. The clock, the mode and the topology
    /// stay.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        self.start_with(snapshot.keyspace.clone());
    }

    /// Becomes another process without data.
    pub(crate) fn restart(&mut self) {
        let seed = self.server.keyspace.entries.seed();
        self.start_with(Keyspace::new(seed));
    }

    fn start_with(&mut self, keyspace: Keyspace) {
        self.server.keyspace = keyspace;
        self.server.pubsub = PubSub::default();
        self.server.scripts = Scripts::default();
    }
}

/// All state. While a script runs, it is lent to the interpreter ([`lua`]).
#[derive(Default)]
struct Server {
    keyspace: Keyspace,
    pubsub: PubSub,
    scripts: Scripts,
    now_us: i64,
    mode: Mode,
    topology: Topology,
    calls: u64,
}

/// One run of a command.
struct Call<'a> {
    server: &'a mut Server,
    connection: u64,
    args: &'a [Bytes],
    protocol: Protocol,
}

/// How replies are structured where the protocols differ.
#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    /// Within scripts.
    Resp2,
    Resp3,
}

impl Server {
    fn now(&self) -> Now {
        Now {
            ms: self.now_us.div_euclid(1000),
            expired: match self.mode {
                Mode::Replica => Expired::Kept,
                _ => Expired::Removed,
            },
        }
    }

    /// Runs a client's command.
    fn execute(&mut self, connection: u64, args: &[Bytes]) -> Outcome {
        let spec = table::find(args)?;
        if !spec.takes(args.len()) {
            return Err(ErrorReply::arity(spec.name));
        }
        if self.topology == Topology::Cluster {
            spec.slot(args)?;
        }
        self.mode.check(spec)?;
        self.run(spec, connection, args, Protocol::Resp3)
    }

    /// Runs a command that was checked.
    fn run(&mut self, spec: &Spec, connection: u64, args: &[Bytes], protocol: Protocol) -> Outcome {
        self.calls += 1;
        (spec.run)(&mut Call {
            server: self,
            connection,
            args,
            protocol,
        })
    }
}

impl Mode {
    /// Refuses what this mode does not allow.
    fn check(self, spec: &Spec) -> Result<(), ErrorReply> {
        let line = match self {
            Self::OutOfMemory if spec.has(Flag::DenyOom) => {
                "OOM command not allowed when used memory > 'maxmemory'."
            }
            Self::Replica if spec.has(Flag::Write) => {
                "READONLY You can't write against a read only replica."
            }
            Self::Loading if !spec.has(Flag::Loading) => {
                "LOADING Redis is loading the dataset in memory"
            }
            _ => return Ok(()),
        };
        Err(ErrorReply::from_line(line))
    }
}

impl<'a> Call<'a> {
    fn key(&self) -> &'a Bytes {
        &self.args[1]
    }

    fn read<K: Kind>(&mut self) -> Result<Option<&K>, ErrorReply> {
        let now = self.server.now();
        self.server.keyspace.read(&self.args[1], now)
    }

    fn change<K: Kind>(&mut self) -> Result<Option<&mut K>, ErrorReply> {
        let now = self.server.now();
        self.server.keyspace.change(&self.args[1], now)
    }

    fn create<K: Kind>(&mut self) -> Result<&mut K, ErrorReply> {
        let now = self.server.now();
        self.server.keyspace.create(&self.args[1], now)
    }

    fn prune(&mut self) {
        self.server.keyspace.prune(&self.args[1]);
    }

    fn integer(&self, at: usize) -> Result<i64, ErrorReply> {
        number::integer(&self.args[at]).ok_or_else(ErrorReply::not_an_integer)
    }

    /// How many to pop.
    fn count(&self, at: usize) -> Result<usize, ErrorReply> {
        number::integer(&self.args[at])
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| ErrorReply::plain("value is out of range, must be positive"))
    }
}

/// Whether a word is this option, whatever its case.
fn is_option(word: &Bytes, option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}
