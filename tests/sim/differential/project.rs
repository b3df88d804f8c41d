//! The project's own scripts, with requests as the server encodes them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use loudhailer::{
    app::Replay,
    engine::{
        ChannelKey,
        cluster::{
            core::{
                Arriving, Batch, BucketName, Call, Claim, Departed, Destination, Entry, Epoch,
                Event, Keep, Lasting, LeaseRequest, Message, Query, Resignation, bucket_of,
            },
            envelope,
            redis::{Encoder, Names},
        },
    },
    protocol::Frame,
};
use serde_json::Value;

use super::{compare, generate::word, pair::Pair};
use crate::{random::Random, redis::Reply, world::words_of};

const APP: &str = "1";
const NODES: &[u64] = &[0xa, 0xb, 0xc];
/// Former epochs of anyone.
const FORMERS: &[u64] = &[0xd, 0xe];
/// All of one bucket.
const CHANNELS: &[&str] = &["presence-a", "cache-ag", "past-cc", "news-s"];
const USERS: &[&str] = &["4", "7"];
const INFO: &str = "{\"name\":\"Zo\u{eb}/\"}";
const REPLAY: Replay = Replay {
    events: 2,
    age: Duration::from_secs(100),
};

/// Makes calls that follow on each other as far as chance wants it.
#[derive(Default)]
pub(super) struct Calls {
    numbers: u64,
    /// What each node sent last.
    sent: BTreeMap<u64, Arc<Batch>>,
}

fn encoder(node: u64) -> Encoder {
    Encoder {
        names: Names::new("loudhailer"),
        node,
        sharded: false,
    }
}

fn epoch(node: u64) -> Epoch {
    format!("{node:016x}.1").into()
}

fn one_of(epochs: &[u64], random: &mut Random) -> Epoch {
    epoch(*random.pick(epochs))
}

/// Another node.
fn after(node: u64) -> u64 {
    NODES[(NODES
        .iter()
        .position(|other| *other == node)
        .expect("one of them")
        + 1)
        % NODES.len()]
}

fn chance(one_in: usize, random: &mut Random) -> bool {
    random.below(one_in) == 0
}

/// The bucket that the calls are about.
fn bucket() -> BucketName {
    BucketName {
        app_id: APP.into(),
        number: bucket_of(CHANNELS[0]),
    }
}

impl Calls {
    /// The commands of a call.
    pub(super) fn next(&mut self, pair: &mut Pair, random: &mut Random) -> Vec<Vec<Bytes>> {
        let node = *random.pick(NODES);
        if chance(25, random) {
            return vec![vandal(random)];
        }
        let call = match random.below(20) {
            0..=9 => Call::Write(self.batch(node, pair, random)),
            10 | 11 => Call::Lease(lease(node, random)),
            12 => Call::Register(epoch(node), vec![(bucket(), random.below(3) as u64)]),
            13 => Call::Resign(
                epoch(node),
                *random.pick(&[Resignation::Done, Resignation::Handover]),
            ),
            14..=16 => Call::Publish(vec![self.message(node, random)]),
            17 => Call::Query(query(node, random), epoch(node)),
            18 => Call::Listen(
                bucket(),
                CHANNELS.iter().map(|name| (*name).into()).collect(),
            ),
            _ => random_upkeep(node, random),
        };
        let commands = encoder(node).encode(&call, &[(APP.into(), 2)].into());
        let whole = chance(3, random);
        let commands = commands.iter();
        commands
            .map(|command| words_of(command, whole, None))
            .collect()
    }

    fn batch(&mut self, node: u64, pair: &mut Pair, random: &mut Random) -> Arc<Batch> {
        let last = self.sent.get(&node).cloned();
        if let Some(last) = &last
            && chance(5, random)
        {
            let mut again = Batch::clone(last);
            again.too_late = chance(3, random);
            return Arc::new(again);
        }
        self.numbers += 1;
        let before = last.map_or(0, |last| last.number);
        let others = |random: &mut Random| one_of(&[FORMERS[0], FORMERS[1], after(node)], random);
        let formers = match chance(3, random) {
            true => vec![others(random)],
            false => Vec::new(),
        };
        let reap = chance(5, random).then(|| others(random));
        let mut channels = Vec::new();
        for name in CHANNELS {
            if chance(2, random) {
                channels.push(entry(name, random));
            }
            if reap.is_some() && chance(2, random) {
                let owner = reap.clone();
                channels.push(Entry {
                    owner,
                    count: 0,
                    arriving: Vec::new(),
                    departing: Vec::new(),
                    ..entry(name, random)
                });
            }
        }
        let claims = (0..random.below(2)).map(|_| claim(pair, random)).collect();
        let misses = (0..random.below(2)).map(|_| CHANNELS[1].into()).collect();
        let batch = Arc::new(Batch {
            bucket: bucket(),
            node: epoch(node),
            // Sometimes an old connection brings it.
            number: self.numbers - random.below(8).saturating_sub(6).min(1) as u64,
            after: *random.pick(&[0, before, before, before, self.numbers + 5]),
            token: random.below(3) as u64,
            formers,
            channels,
            claims,
            misses,
            reap,
            close: chance(12, random),
            too_late: chance(15, random),
        });
        self.sent.insert(node, Arc::clone(&batch));
        batch
    }

    fn message(&mut self, node: u64, random: &mut Random) -> Message {
        let number = self.numbers.saturating_sub(random.below(3) as u64);
        self.numbers += random.below(2) as u64;
        let id = (node, number);
        let name = *random.pick(&CHANNELS[1..]);
        let (lasting, keep) = match name.as_bytes()[0] {
            b'c' => (Lasting::Cached(40), Keep::Last(id, 40)),
            b'p' => (Lasting::Recorded, Keep::History(id, REPLAY)),
            _ => (Lasting::Passing, Keep::Nothing),
        };
        let event = Event {
            id,
            except: None,
            frame: Frame::event("\"e\"", name, "\"data\""),
        };
        Message {
            to: Destination::Channel(ChannelKey::new(&APP.into(), name), keep),
            envelope: envelope::event(&event, lasting),
        }
    }
}

fn entry(name: &str, random: &mut Random) -> Entry {
    let has_members = name.starts_with("presence-");
    let mut users: Vec<Arc<str>> = USERS.iter().map(|user| (*user).into()).collect();
    let mut some = |random: &mut Random| {
        let count = random.below(2).min(users.len());
        users.drain(..count).collect::<Vec<_>>()
    };
    let (arriving, departing) = match has_members {
        true => (some(random), some(random)),
        false => Default::default(),
    };
    let arriving = arriving
        .into_iter()
        .map(|user| {
            let how = *random.pick(&[Arriving::New, Arriving::Newest, Arriving::Again]);
            (user, INFO.into(), how)
        })
        .collect();
    let max = *random.pick(&[-1, 1, 2]);
    Entry {
        name: name.into(),
        count: *random.pick(&[0, 0, 1, 2, 150]),
        hooks: *random.pick(&[None, Some("edges"), Some("counts"), Some("sessions")]),
        tells: !has_members && chance(2, random),
        max: has_members.then_some(max),
        arriving,
        departing,
        snapshot: chance(2, random),
        cache: name.starts_with("cache-"),
        past: name.starts_with("past-"),
        was: chance(4, random),
        owner: None,
    }
}

/// With the mark that is there, if it is the same on both, or one that was never given.
fn claim(pair: &mut Pair, random: &mut Random) -> Claim {
    let name = *random.pick(CHANNELS);
    let (departed, user, field) = match random.below(4) {
        0 => (Departed::Subscribers, "", format!("c:{name}")),
        1 => (Departed::Count, "", format!("n:{name}")),
        _ => {
            let (name, user) = (CHANNELS[0], *random.pick(USERS));
            let field = format!("u:{}:{name}:{user}", name.len());
            (Departed::User, user, field)
        }
    };
    let name = match departed {
        Departed::User => CHANNELS[0],
        _ => name,
    };
    let gone = encoder(0).names.of_bucket(&bucket(), "gone");
    let ask = ["HGET", &gone, &field];
    let simulated = pair.redis.command(0, &ask.map(word));
    let mark = match pair.configure(&ask) {
        Reply::Bulk(mark) if simulated == Reply::Bulk(mark.clone()) => {
            String::from_utf8_lossy(&mark).into_owned()
        }
        _ => "n|5|1000".to_owned(),
    };
    (departed, name.into(), user.into(), mark.into())
}

fn lease(node: u64, random: &mut Random) -> LeaseRequest {
    let some = |of: &[u64], random: &mut Random| -> Vec<Epoch> {
        let count = random.below(2);
        (0..count).map(|_| one_of(of, random)).collect()
    };
    LeaseRequest {
        epoch: epoch(node),
        begins: chance(2, random),
        formers: some(FORMERS, random),
        take_max: random.below(3),
        reaping: some(NODES, random),
    }
}

fn query(node: u64, random: &mut Random) -> Query {
    let name = *random.pick(CHANNELS);
    let key = ChannelKey::new(&APP.into(), name);
    let held = "a name".into();
    match random.below(8) {
        0 => Query::Channel(key, true),
        1 => Query::Users(ChannelKey::new(&APP.into(), CHANNELS[0])),
        2 => Query::Nodes,
        3 => Query::Release(held),
        4 => Query::Holder(held),
        _ => Query::Hold {
            name: held,
            instead_of: chance(2, random).then_some(after(node)),
        },
    }
}

fn random_upkeep(node: u64, random: &mut Random) -> Call {
    match random.below(4) {
        0 => Call::Buckets(epoch(node)),
        1 => Call::Forget(epoch(node), vec![bucket()]),
        2 => Call::Bury(epoch(node)),
        _ => Call::ListenAsNode,
    }
}

/// Gives a key another type, or removes it.
fn vandal(random: &mut Random) -> Vec<Bytes> {
    let parts = ["members", "meta", "cache", "history", "senders", "missed"];
    let (part, name) = (*random.pick(&parts), *random.pick(CHANNELS));
    let key = encoder(0).names.of_channel(&bucket(), part, name);
    let words: &[&str] = match random.below(4) {
        0 => &["SET", &key, "7"],
        1 => &["RPUSH", &key, "a value"],
        _ => &["DEL", &key],
    };
    words.iter().map(|text| word(text)).collect()
}

// --- What is compared ------------------------------------------------------------------------------------

/// A reply without what depends on the time or on the order of what has none.
pub(super) fn view(reply: &Reply) -> Reply {
    let each = |items: &[Reply]| items.iter().map(view).collect::<Vec<_>>();
    let shown = match reply {
        Reply::Int(number) => Reply::Int(integer(*number)),
        Reply::Double(number) if *number > 1e12 => Reply::Double(1e12),
        Reply::Bulk(bytes) => Reply::Bulk(text(&String::from_utf8_lossy(bytes)).into()),
        Reply::Array(items) => Reply::Array(each(items)),
        Reply::Set(items) => Reply::Set(each(items)),
        Reply::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| (view(key), view(value)));
            Reply::Map(pairs.collect())
        }
        other => other.clone(),
    };
    compare::sorted(&shown)
}

/// Hides a time, what is left of a cached event's 40 s, and of the 5 s between two numbers of subscriptions.
fn integer(number: i64) -> i64 {
    match number {
        1_000_000.. => 1_000_000,
        30_000..=40_000 => 40_000,
        3001..=5000 => 5000,
        other => other,
    }
}

fn text(text: &str) -> String {
    let text = &without_times(text);
    if let Some((begin, answer)) = text.split_once(' ')
        && let Ok(mut answer) = serde_json::from_str(answer)
    {
        // The answer to a batch.
        put_in_order(&mut answer);
        return format!("{begin} {answer}");
    }
    // In which order two users departed decides which sequence each got.
    if let Some(edge) = text.strip_prefix("2E[") {
        let parts: Vec<&str> = edge.splitn(3, ',').collect();
        return format!("2E[#,#,{}", parts[parts.len() - 1]);
    }
    mark(text)
}

/// A mark says which departure of its batch it is.
fn mark(text: &str) -> String {
    let parts: Vec<&str> = text.split('|').collect();
    match parts[..] {
        [node, number, index] if index.parse::<u32>().is_ok() => format!("{node}|{number}|#"),
        _ => text.to_owned(),
    }
}

fn put_in_order(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(put_in_order);
            items.sort_by_cached_key(Value::to_string);
        }
        Value::Number(number) => {
            let shown = number.as_i64().map(integer);
            *value = shown.into();
        }
        Value::String(text) => *text = mark(text),
        _ => {}
    }
}

/// Hides numbers of so many digits that they may be times.
fn without_times(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        if length >= 13 {
            shown.push('#');
        } else {
            shown.push_str(&rest[..length.max(first.len_utf8())]);
        }
        rest = &rest[length.max(first.len_utf8())..];
    }
    shown
}
