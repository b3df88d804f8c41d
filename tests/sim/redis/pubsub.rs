//! Publishing and subscribing, over the whole server or sharded.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Call, Reply,
    reply::Outcome,
    shuffled::Shuffled,
    table::{Flag, Keys, Spec},
};

const SEND: &[Flag] = &[Flag::Loading];
const LISTEN: &[Flag] = &[Flag::Loading, Flag::NoScript];

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("publish", 3, Keys::None, SEND, publish),
    Spec::new("spublish", 3, Keys::First, SEND, spublish),
    Spec::new("subscribe", -2, Keys::None, LISTEN, subscribe),
    Spec::new("ssubscribe", -2, Keys::All, LISTEN, ssubscribe),
    Spec::new("unsubscribe", -1, Keys::None, LISTEN, unsubscribe),
    Spec::new("sunsubscribe", -1, Keys::All, LISTEN, sunsubscribe),
    Spec::new("pubsub|numsub", -2, Keys::None, SEND, numsub),
    Spec::new("pubsub|shardnumsub", -2, Keys::None, SEND, shardnumsub),
];

/// Which of the two kinds of pub/sub: they share no topics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Audience {
    /// `PUBLISH` and `SUBSCRIBE`.
    Everyone,
    /// `SPUBLISH` and `SSUBSCRIBE`.
    Shard,
}

/// A message on its way to a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Push {
    pub(crate) connection: u64,
    pub(crate) audience: Audience,
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
}

/// Who is subscribed to what, and what was published to them.
#[derive(Default)]
pub(super) struct PubSub {
    everyone: Subscriptions,
    shard: Subscriptions,
    pushes: Vec<Push>,
}

/// The subscriptions of one audience, from both sides.
#[derive(Default)]
struct Subscriptions {
    /// The subscribers of a topic, in the order in which they came.
    by_topic: BTreeMap<Bytes, Vec<u64>>,
    by_connection: BTreeMap<u64, Shuffled<()>>,
}

impl PubSub {
    pub(super) fn take_pushes(&mut self) -> Vec<Push> {
        std::mem::take(&mut self.pushes)
    }

    pub(super) fn close(&mut self, connection: u64) {
        for subscriptions in [&mut self.everyone, &mut self.shard] {
            for topic in subscriptions.of(connection) {
                subscriptions.remove(connection, &topic);
            }
        }
    }

    /// Whether the connection is subscribed to the topic.
    pub(super) fn listens(&self, connection: u64, topic: &[u8]) -> bool {
        let subscribers = self.everyone.by_topic.get(topic);
        subscribers.is_some_and(|subscribers| subscribers.contains(&connection))
    }

    fn of(&mut self, audience: Audience) -> &mut Subscriptions {
        match audience {
            Audience::Everyone => &mut self.everyone,
            Audience::Shard => &mut self.shard,
        }
    }

    /// Returns the number of receivers.
    fn publish(&mut self, audience: Audience, topic: &Bytes, payload: &Bytes) -> usize {
        let subscriptions = match audience {
            Audience::Everyone => &self.everyone,
            Audience::Shard => &self.shard,
        };
        let receivers = subscriptions.by_topic.get(topic).map_or(&[][..], |all| all);
        self.pushes.extend(receivers.iter().map(|connection| Push {
            connection: *connection,
            audience,
            topic: topic.clone(),
            payload: payload.clone(),
        }));
        receivers.len()
    }
}

impl Subscriptions {
    fn add(&mut self, connection: u64, topic: &Bytes, seed: u64) {
        let topics = self
            .by_connection
            .entry(connection)
            .or_insert_with(|| Shuffled::new(seed));
        if topics.insert(topic.clone(), ()).is_none() {
            let subscribers = self.by_topic.entry(topic.clone()).or_default();
            subscribers.push(connection);
        }
    }

    fn remove(&mut self, connection: u64, topic: &Bytes) {
        if let Some(topics) = self.by_connection.get_mut(&connection) {
            topics.remove(topic);
            if topics.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
        if let Some(subscribers) = self.by_topic.get_mut(topic) {
            subscribers.retain(|subscriber| *subscriber != connection);
            if subscribers.is_empty() {
                self.by_topic.remove(topic);
            }
        }
    }

    fn of(&self, connection: u64) -> Vec<Bytes> {
        let topics = self.by_connection.get(&connection).into_iter();
        topics.flat_map(Shuffled::names).cloned().collect()
    }

    fn count(&self, connection: u64) -> usize {
        self.by_connection.get(&connection).map_or(0, Shuffled::len)
    }
}

fn publish(call: &mut Call<'_>) -> Outcome {
    send(call, Audience::Everyone)
}

fn spublish(call: &mut Call<'_>) -> Outcome {
    send(call, Audience::Shard)
}

fn send(call: &mut Call<'_>, audience: Audience) -> Outcome {
    let (topic, payload) = (&call.args[1], &call.args[2]);
    let receivers = call.server.pubsub.publish(audience, topic, payload);
    Ok(Reply::count(receivers))
}

fn subscribe(call: &mut Call<'_>) -> Outcome {
    listen(call, Audience::Everyone, "subscribe")
}

fn ssubscribe(call: &mut Call<'_>) -> Outcome {
    listen(call, Audience::Shard, "ssubscribe")
}

fn listen(call: &mut Call<'_>, audience: Audience, kind: &str) -> Outcome {
    let seed = call.server.keyspace.entries.seed();
    let subscriptions = call.server.pubsub.of(audience);
    let confirmations = call.args[1..].iter().map(|topic| {
        subscriptions.add(call.connection, topic, seed);
        let count = subscriptions.count(call.connection);
        confirmation(kind, Reply::bulk(topic), count)
    });
    Ok(Reply::Array(confirmations.collect()))
}

fn numsub(call: &mut Call<'_>) -> Outcome {
    count_subscribers(call, Audience::Everyone)
}

fn shardnumsub(call: &mut Call<'_>) -> Outcome {
    count_subscribers(call, Audience::Shard)
}

/// Topics, each with the number of its subscribers.
fn count_subscribers(call: &mut Call<'_>, audience: Audience) -> Outcome {
    let subscriptions = call.server.pubsub.of(audience);
    let counts = call.args[2..].iter().flat_map(|topic| {
        let count = subscriptions.by_topic.get(topic).map_or(0, Vec::len);
        [Reply::bulk(topic), Reply::count(count)]
    });
    Ok(Reply::Array(counts.collect()))
}

fn unsubscribe(call: &mut Call<'_>) -> Outcome {
    leave(call, Audience::Everyone, "unsubscribe")
}

fn sunsubscribe(call: &mut Call<'_>) -> Outcome {
    leave(call, Audience::Shard, "sunsubscribe")
}

fn leave(call: &mut Call<'_>, audience: Audience, kind: &str) -> Outcome {
    let subscriptions = call.server.pubsub.of(audience);
    let topics = match &call.args[1..] {
        [] => subscriptions.of(call.connection),
        topics => topics.to_vec(),
    };
    if topics.is_empty() {
        return Ok(Reply::Array(vec![confirmation(kind, Reply::Nil, 0)]));
    }
    let confirmations = topics.iter().map(|topic| {
        subscriptions.remove(call.connection, topic);
        let count = subscriptions.count(call.connection);
        confirmation(kind, Reply::bulk(topic), count)
    });
    Ok(Reply::Array(confirmations.collect()))
}

fn confirmation(kind: &str, topic: Reply, count: usize) -> Reply {
    Reply::Array(vec![Reply::text(kind), topic, Reply::count(count)])
}
