//! What comes from other nodes, by way of Redis.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tracing::debug;

use super::{
    super::envelope::{Edge, Envelope, Event, Kind},
    Task,
};
use crate::{
    engine::{CacheableEvent, channels::Key},
    hub::Change,
    presence::Member,
    protocol::ChannelName,
};

impl Task {
    pub(super) fn on_push(&mut self, push: PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut values = push.data.into_iter();
                if let (Some(Value::BulkString(topic)), Some(Value::BulkString(message))) =
                    (values.next(), values.next())
                {
                    self.on_message(&String::from_utf8_lossy(&topic), message.into());
                }
            }
            PushKind::SUnsubscribe => self.on_silenced_by_redis(push),
            PushKind::Disconnection => {
                let error = redis::RedisError::from((redis::ErrorKind::Io, "disconnected"));
                self.lose_link(&error);
            }
            _ => {}
        }
    }

    /// In a cluster, the server that is no longer responsible for a slot ends its subscriptions. What this node ended itself it has
    /// forgotten before.
    fn on_silenced_by_redis(&mut self, push: PushInfo) {
        let Some(Value::BulkString(topic)) = push.data.into_iter().next() else {
            return;
        };
        let topic = String::from_utf8_lossy(&topic);
        let is_listened_to = match self.keys.channel(&topic) {
            Some(key) => self
                .records
                .get(&key)
                .is_some_and(|record| record.listening),
            None => *topic == *self.keys.control() || *topic == *self.own_topic,
        };
        if is_listened_to {
            let error = redis::RedisError::from((redis::ErrorKind::Io, "a channel has moved"));
            self.lose_link(&error);
        }
    }

    pub(super) fn on_message(&mut self, topic: &str, message: Bytes) {
        if topic == self.own_topic {
            // Whoever wrote it waits for an answer only so long.
            let _ = self.letters.try_send(message);
            return;
        }
        let Some(envelope) = Envelope::decode(message) else {
            return debug!(
                topic,
                "a message that this version does not know was ignored"
            );
        };
        if let Envelope::Terminate {
            sender,
            app_id,
            user_id,
        } = envelope
        {
            if sender != self.sender {
                self.states.hub().terminate(&app_id.into(), &user_id.into());
            }
            return;
        }
        let Some(key) = self.keys.channel(topic) else {
            return;
        };
        match envelope {
            Envelope::Event(event, kind) => self.on_event(&key, &event, kind),
            Envelope::Edge(edge) => self.on_edge(&key, edge),
            Envelope::Count(count) => {
                if let Some(record) = self.records.get_mut(&key).filter(|r| r.tells_count) {
                    record.untold_count = Some(count);
                    self.tell_count(&key);
                }
            }
            Envelope::Terminate { .. } => {}
        }
    }

    pub(super) fn on_event(&mut self, key: &Key, event: &Event, kind: Kind) {
        let now = Instant::now();
        let ttl = Duration::from_secs(event.ttl_s.into());
        if event.sender == self.sender {
            if kind == Kind::Cached {
                // Delivered already; but only Redis knows which of two nodes' events was the last.
                self.states.confirm_own(key, event.number);
                self.states.keep(key, Some((event.frame(), ttl)), now);
                if let Some(record) = self.records.get_mut(key) {
                    record.heard_cached = true;
                }
            }
            return;
        }
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if !record.is_new(event.sender, event.number) {
            return;
        }
        let app = self.states.hub().app(&key.0);
        app.traffic().peer_events_received.increment();
        let arrived = CacheableEvent {
            app: &app,
            name: ChannelName::of_checked(&key.1),
            frame: event.frame(),
            except: event.except,
            receipt: None,
            published: None,
            at: now,
        };
        match (kind, record.replay) {
            (Kind::Cached, _) => {
                record.heard_cached = true;
                self.states.remember_others(arrived, ttl);
            }
            (Kind::Recorded, Some(replay)) => {
                let id = (event.sender, event.number);
                self.states.record_others(arrived, id, replay);
            }
            (Kind::Passing | Kind::Recorded, _) => {
                arrived.deliver(self.states.hub(), Change::Nothing);
            }
        }
    }

    pub(super) fn tell_count(&mut self, key: &Key) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if record.waiting.is_empty()
            && let Some(count) = record.untold_count.take()
        {
            self.states.tell_count(key, count, Instant::now());
        }
    }

    pub(super) fn on_edge(&mut self, key: &Key, edge: Edge) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let now = Instant::now();
        if !record.synced {
            record.keep_early(edge);
            return;
        }
        let (place, known) = (
            (edge.generation, edge.sequence),
            (record.generation, record.sequence),
        );
        if place <= known {
            // The snapshot has it, or Redis has lost it since.
            return;
        }
        if place != (known.0, known.1 + 1) {
            // Something was missed: ask for the whole.
            record.synced = false;
            record.heard_cached &= edge.generation == record.generation;
            record.keep_early(edge);
            self.enqueue(key.clone());
            return;
        }
        record.sequence = edge.sequence;
        match edge.info {
            Some(info) => {
                let member = Member {
                    user_id: edge.user_id.into(),
                    user_info: info.into(),
                };
                if edge.again {
                    self.states.arrive_again(key, &member);
                } else {
                    self.states.arrive(key, &member);
                }
            }
            None if record.is_seated(&edge.user_id) => {
                // Redis lost the seat; here the user never went. Its row is written again.
                record.doubtful = true;
                self.enqueue(key.clone());
            }
            // The user's other nodes may not have written its rows again. The snapshot that follows tells.
            None if record.keeps_missing(now) => {}
            None => self.states.leave(key, &edge.user_id, now),
        }
        if let Some(record) = self.records.get_mut(key) {
            record.answer_written();
        }
    }
}
