//! Calls as Redis takes them.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;
use serde_json::json;

use super::{
    decode::ERRORS_OF_ALL,
    names::Names,
    scripts::{self, Script},
};
use crate::engine::{
    ChannelKey, EventId,
    cluster::{
        core::{
            BUCKETS, Batch, BucketName, Call, DEPARTURE_DELAY, Destination, Epoch, Keep, LEASE,
            LeaseRequest, Message, Query, Resignation, bucket_of,
        },
        envelope::EVENT_HEADER,
    },
    state::{CHANNEL_BYTES_MAX, COUNT_AT_ONCE_MAX, COUNT_INTERVAL, SENDERS_KEPT},
};

/// How long what an empty channel leaves behind is kept, in seconds.
const EMPTY_S: u64 = 50;
/// How long a dead node is fenced off a bucket by a mark there, in seconds: at least [`TOKEN_S`]. A first batch that is later has no token.
const DEAD_S: u64 = 60;
/// How long after the registration of a bucket a node's first batch may come, in seconds. Later the bucket is registered again.
const TOKEN_S: u64 = 60;
const _: () = assert!(DEAD_S >= TOKEN_S);
/// Channels and seats of a dead node that one batch removes.
const REAPED_CHANNELS: u64 = 32;
const REAPED_SEATS: u64 = 256;
/// How long one node may work on a dead node before another takes over.
const REAPER_MS: u64 = 10_000;
/// How long a name is held unless the hold is renewed, in seconds.
const HELD_S: u64 = 60;

/// More than a bucket has channels, so that a scan of it is complete.
const SCAN_ALL: &str = "1000000000";

/// One command.
#[derive(Debug)]
pub enum Command {
    /// Subscribe to topics.
    Subscribe(Vec<String>),
    /// End subscriptions.
    Unsubscribe(Vec<String>),
    /// A command and its arguments.
    Plain(Vec<Vec<u8>>),
    /// A script with its keys and arguments.
    Script(&'static Script, Vec<String>, Vec<Vec<u8>>),
}

/// Turns calls into commands.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// The names of keys.
    pub names: Names,
    /// Names this process.
    pub node: u64,
    /// Whether publishing is sharded, as in a Redis Cluster.
    pub sharded: bool,
}

/// A batch as the script takes it.
#[derive(Serialize)]
struct WriteRequest<'a> {
    publish: &'static str,
    rules: Rules,
    #[serde(flatten)]
    batch: &'a Batch,
}

/// The times and bounds that scripts keep to.
#[derive(Serialize)]
struct Rules {
    departure_ms: u128,
    count_at_once: usize,
    count_interval_ms: u128,
    empty_s: u64,
    dead_s: u64,
    reaped_channels: u64,
    reaped_seats: u64,
    errors_of_all: &'static [&'static str],
}

fn plain<const N: usize>(words: [&str; N]) -> Command {
    Command::Plain(words.iter().map(|word| word.as_bytes().to_vec()).collect())
}

fn with_all<'a>(words: [&'a str; 2], all: impl Iterator<Item = &'a str>) -> Command {
    let words = words.into_iter().chain(all);
    Command::Plain(words.map(|word| word.as_bytes().to_vec()).collect())
}

fn json_of(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers, strings and lists always serialise")
}

impl Encoder {
    fn publish(&self) -> &'static str {
        if self.sharded { "SPUBLISH" } else { "PUBLISH" }
    }

    /// The commands of a call. `connections` are this node's, by app.
    #[must_use]
    pub fn encode(&self, call: &Call, connections: &HashMap<Arc<str>, usize>) -> Vec<Command> {
        let names = &self.names;
        match call {
            Call::ListenAsNode => [names.control(), names.node(self.node)]
                .map(|topic| Command::Subscribe(vec![topic]))
                .into(),
            Call::Listen(bucket, channels) => {
                vec![Command::Subscribe(self.topics(bucket, channels))]
            }
            Call::Unlisten(bucket, channels) => {
                vec![Command::Unsubscribe(self.topics(bucket, channels))]
            }
            Call::Write(batch) => vec![self.write(batch)],
            Call::Publish(messages) => messages.iter().map(|m| self.message(m)).collect(),
            Call::Lease(request) => vec![self.lease(request, connections)],
            Call::Register(epoch, buckets) => self.register(epoch, buckets),
            Call::Buckets(epoch) => {
                vec![plain(["SRANDMEMBER", &names.buckets_of(epoch), "64"])]
            }
            Call::Forget(epoch, buckets) => {
                let listed: Vec<String> = buckets.iter().map(Names::listed).collect();
                let listed = listed.iter().map(String::as_str);
                vec![with_all(["SREM", &names.buckets_of(epoch)], listed)]
            }
            Call::Bury(epoch) => vec![
                plain(["ZREM", &names.of_nodes("leases"), epoch]),
                plain(["ZREM", &names.of_nodes("condemned"), epoch]),
                plain(["HDEL", &names.of_nodes("connections"), epoch]),
                plain(["DEL", &names.buckets_of(epoch)]),
            ],
            Call::Resign(epoch, resignation) => vec![self.resign(epoch, *resignation)],
            Call::Query(query, _) => self.query(query),
        }
    }

    /// Tokens are set before the buckets are noted, so that what takes a registration takes its token too. In a Redis Cluster, where
    /// they may be on different masters, the order is not guaranteed.
    fn register(&self, epoch: &Epoch, buckets: &[(BucketName, u64)]) -> Vec<Command> {
        let key = |bucket| self.names.of_bucket(bucket, &format!("token:{epoch}"));
        let seconds = TOKEN_S.to_string();
        let tokens = buckets.iter().filter(|(_, token)| *token > 0);
        let tokens = tokens.map(|(bucket, token)| {
            plain(["SET", &key(bucket), &token.to_string(), "EX", &seconds])
        });
        let listed = buckets
            .iter()
            .map(|(bucket, _)| Names::listed(bucket).into_bytes());
        let args = std::iter::once(epoch.as_bytes().to_vec()).chain(listed);
        let keys = vec![self.names.of_nodes("leases"), self.names.buckets_of(epoch)];
        let script = Command::Script(&scripts::REGISTER, keys, args.collect());
        tokens.chain([script]).collect()
    }

    fn topics(&self, bucket: &BucketName, channels: &[Arc<str>]) -> Vec<String> {
        let topics = channels.iter();
        topics.map(|name| self.names.topic(bucket, name)).collect()
    }

    fn write(&self, batch: &Batch) -> Command {
        let request = WriteRequest {
            publish: self.publish(),
            rules: Rules {
                departure_ms: DEPARTURE_DELAY.as_millis(),
                count_at_once: COUNT_AT_ONCE_MAX,
                count_interval_ms: COUNT_INTERVAL.as_millis(),
                empty_s: EMPTY_S,
                dead_s: DEAD_S,
                reaped_channels: REAPED_CHANNELS,
                reaped_seats: REAPED_SEATS,
                errors_of_all: &ERRORS_OF_ALL,
            },
            batch,
        };
        let keys = vec![self.names.bucket(&batch.bucket)];
        Command::Script(&scripts::WRITE, keys, vec![json_of(&request)])
    }

    fn message(&self, message: &Message) -> Command {
        let envelope = message.envelope.to_vec();
        let (key, keep) = match &message.to {
            Destination::Nodes | Destination::Mark(..) => {
                let words = [self.publish().into(), self.names.control().into(), envelope];
                return Command::Plain(words.into());
            }
            Destination::Node(node) => {
                let words = [
                    self.publish().into(),
                    self.names.node(*node).into(),
                    envelope,
                ];
                return Command::Plain(words.into());
            }
            Destination::Channel(key, keep) => (key, *keep),
        };
        let bucket = bucket_name(key);
        let topic = self.names.topic(&bucket, &key.name);
        let of = |part: &str| self.names.of_channel(&bucket, part, &key.name);
        let (script, keys, request) = match keep {
            Keep::Nothing => {
                let words = [self.publish().into(), topic.into(), envelope];
                return Command::Plain(words.into());
            }
            Keep::Last(id, ttl_s) => (
                &scripts::KEEP,
                vec![of("cache"), of("senders"), of("missed")],
                self.keeping(
                    &topic,
                    id,
                    &[("ttl_s", u64::from(ttl_s)), ("header", EVENT_HEADER as u64)],
                ),
            ),
            Keep::History(id, rule) => (
                &scripts::RECORD,
                vec![of("history"), of("recorders")],
                self.keeping(
                    &topic,
                    id,
                    &[
                        ("events", rule.events as u64),
                        ("age_s", rule.age.as_secs()),
                        ("bytes_max", CHANNEL_BYTES_MAX as u64),
                    ],
                ),
            ),
        };
        Command::Script(script, keys, vec![request, envelope])
    }

    /// What the scripts that keep an event have in common, and numbers of their own.
    fn keeping(&self, topic: &str, (sender, number): EventId, more: &[(&str, u64)]) -> Vec<u8> {
        let mut request = json!({
            "publish": self.publish(),
            "topic": topic,
            "sender": format!("{sender:016x}"),
            "number": number,
            "senders_s": SENDERS_KEPT.as_secs(),
        });
        for (name, value) in more {
            request[*name] = (*value).into();
        }
        json_of(&request)
    }

    fn lease(&self, request: &LeaseRequest, connections: &HashMap<Arc<str>, usize>) -> Command {
        let connections: HashMap<&str, usize> = connections
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(app_id, count)| (&**app_id, *count))
            .collect();
        let request = json!({
            "node": request.epoch,
            "begins": request.begins,
            "lasts_ms": LEASE.as_millis(),
            "formers": request.formers,
            "connections": String::from_utf8(json_of(&connections)).expect("JSON is text"),
            "take_max": request.take_max,
            "reaping": request.reaping,
            "reaper_ms": REAPER_MS,
            "control": self.names.control(),
            "listeners": if self.sharded { "SHARDNUMSUB" } else { "NUMSUB" },
        });
        let keys = ["leases", "connections", "condemned"].map(|part| self.names.of_nodes(part));
        Command::Script(&scripts::LEASE, keys.into(), vec![json_of(&request)])
    }

    fn resign(&self, epoch: &Epoch, resignation: Resignation) -> Command {
        let names = &self.names;
        let keys = vec![
            names.of_nodes("leases"),
            names.of_nodes("connections"),
            names.buckets_of(epoch),
        ];
        let how = match resignation {
            Resignation::Done => "done",
            Resignation::Handover => "handover",
        };
        let lasts = LEASE.as_millis().to_string();
        let args = [epoch, how, &lasts].map(|arg| arg.as_bytes().to_vec());
        Command::Script(&scripts::RESIGN, keys, args.into())
    }

    fn query(&self, query: &Query) -> Vec<Command> {
        let names = &self.names;
        match query {
            Query::Channel(key, wants_cached) => {
                let bucket = bucket_name(key);
                let cache = names.of_channel(&bucket, "cache", &key.name);
                let mut commands = vec![
                    plain(["HGET", &names.of_bucket(&bucket, "total"), &key.name]),
                    plain(["HGET", &names.of_bucket(&bucket, "users"), &key.name]),
                ];
                if *wants_cached {
                    commands.push(plain(["GET", &cache]));
                    commands.push(plain(["PTTL", &cache]));
                }
                commands
            }
            Query::Users(key) => {
                let bucket = bucket_name(key);
                let members = names.of_channel(&bucket, "members", &key.name);
                vec![plain(["HGETALL", &members])]
            }
            Query::Occupied(app_id, prefix, wants_users) => {
                let parts: &[&str] = if *wants_users {
                    &["total", "users"]
                } else {
                    &["total"]
                };
                self.occupied(app_id, prefix, parts)
            }
            Query::Nodes => vec![plain(["HGETALL", &names.of_nodes("connections")])],
            Query::Hold { name, instead_of } => {
                let gone = instead_of.map_or_else(String::new, |gone| gone.to_string());
                let args = [self.node.to_string(), HELD_S.to_string(), gone];
                let args = args.map(String::into_bytes).into();
                let keys = vec![names.held(name)];
                vec![Command::Script(&scripts::HOLD, keys, args)]
            }
            Query::Holder(name) => vec![plain(["GET", &names.held(name)])],
            Query::Release(name) => {
                let args = vec![self.node.to_string().into_bytes()];
                let keys = vec![names.held(name)];
                vec![Command::Script(&scripts::RELEASE, keys, args)]
            }
            Query::Send(node, text) => {
                let topic = names.node(*node).into_bytes();
                let words = vec![self.publish().into(), topic, text.to_vec()];
                vec![Command::Plain(words)]
            }
        }
    }

    /// One command for each bucket of an app and each of these hashes.
    fn occupied(&self, app_id: &Arc<str>, prefix: &str, parts: &[&str]) -> Vec<Command> {
        let buckets = (0..BUCKETS).map(|number| BucketName {
            app_id: Arc::clone(app_id),
            number,
        });
        let keys = buckets.flat_map(|bucket| {
            let key = move |part: &&str| self.names.of_bucket(&bucket, part);
            parts.iter().map(key)
        });
        keys.map(|key| list(&key, prefix)).collect()
    }
}

/// The fields of a hash with this prefix and their values, in one step.
fn list(key: &str, prefix: &str) -> Command {
    if prefix.is_empty() {
        return plain(["HGETALL", key]);
    }
    plain([
        "HSCAN",
        key,
        "0",
        "MATCH",
        &glob_of(prefix),
        "COUNT",
        SCAN_ALL,
    ])
}

fn bucket_name(key: &ChannelKey) -> BucketName {
    BucketName {
        app_id: Arc::clone(&key.app_id),
        number: bucket_of(&key.name),
    }
}

/// The glob pattern that matches every name with this prefix.
fn glob_of(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if r"*?[]\^-".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}
