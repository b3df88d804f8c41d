//! What comes from other nodes, by way of Redis.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tracing::debug;

use super::{
    super::envelope::{Edge, Envelope, Event},
    Task,
};
use crate::{
    engine::{CacheableEvent, channels::Key},
    hub::{Change, Delivery},
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
            PushKind::Disconnection => {
                let error = redis::RedisError::from((redis::ErrorKind::Io, "disconnected"));
                self.lose_link(&error);
            }
            _ => {}
        }
    }

    pub(super) fn on_message(&mut self, topic: &str, message: Bytes) {
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
            Envelope::Event(event) => self.on_event(&key, &event, false),
            Envelope::Cached(event) => self.on_event(&key, &event, true),
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

    pub(super) fn on_event(&mut self, key: &Key, event: &Event, cached: bool) {
        let now = Instant::now();
        let ttl = Duration::from_secs(event.ttl_s.into());
        if event.sender == self.sender {
            if cached {
                // Delivered already; but only Redis knows which of two nodes' events was the last.
                self.states.keep(key, Some((event.frame(), ttl)), now);
            }
            return;
        }
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if !record.is_new(event.sender, event.number) {
            return;
        }
        let (frame, except) = (event.frame(), event.except);
        let app = self.states.hub().app(&key.0);
        let delivery = {
            let frame = frame.clone();
            move |channel, change| Delivery {
                channel,
                frame,
                except,
                change,
                receipt: None,
            }
        };
        if cached {
            let Ok(name) = ChannelName::parse(&key.1, usize::MAX) else {
                return;
            };
            let event = CacheableEvent {
                frame,
                except,
                delivery: Box::new(delivery),
            };
            self.states.remember(&app, name, event, ttl, now);
        } else if let Some(route) = app.route(&key.1) {
            let delivery = delivery(route.channel, Change::Nothing);
            self.states.hub().deliver(&route, &delivery);
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
        if !record.synced {
            record.keep_early(edge);
            return;
        }
        let follows = edge.generation == record.generation && edge.sequence == record.sequence + 1;
        if !follows {
            let is_old = edge.generation == record.generation && edge.sequence <= record.sequence;
            if !is_old {
                // Something was missed: ask for the whole.
                record.synced = false;
                record.keep_early(edge);
                self.enqueue(key.clone());
            }
            return;
        }
        record.sequence = edge.sequence;
        match edge.info {
            Some(info) => {
                let member = Member {
                    user_id: edge.user_id.into(),
                    user_info: info.into(),
                };
                self.states.arrive(key, &member);
            }
            None => self.states.leave(key, &edge.user_id, Instant::now()),
        }
        record.answer_written();
    }
}
