//! `subscription_count`: told at once while subscribers are few, else at intervals.

use std::time::{Duration, Instant};

use super::{ChannelStates, Key};
use crate::{
    engine::ChannelEdge,
    hub::{Change, Delivery},
    protocol::message,
};

/// Subscribers up to whom every change of their number is told at once (Pusher's documented threshold).
const COUNT_AT_ONCE_MAX: usize = 100;
/// Between two counts of a channel with more.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// A channel's last `subscription_count`.
pub(super) struct Told {
    at: Option<Instant>,
    /// The count that has changed since.
    waiting: Option<usize>,
}

impl Told {
    fn is_recent(&self, now: Instant) -> bool {
        self.at
            .is_some_and(|at| now.duration_since(at) < COUNT_INTERVAL)
    }
}

impl ChannelStates {
    /// Tells a channel's subscribers how many they are: at once while they are few, else at intervals, the last change
    /// included.
    pub fn tell_count(&self, key: &Key, count: usize, now: Instant) {
        if count <= COUNT_AT_ONCE_MAX {
            self.counts.remove(key);
            return self.send_count(key, count);
        }
        let mut told = self.counts.entry(key.clone()).or_insert(Told {
            at: None,
            waiting: None,
        });
        if told.is_recent(now) {
            told.waiting = Some(count);
            return;
        }
        *told = Told {
            at: Some(now),
            waiting: None,
        };
        drop(told);
        self.send_count(key, count);
    }

    fn send_count(&self, key: &Key, count: usize) {
        self.tell(&key.0, &key.1, ChannelEdge::Count(count));
        if let Some(route) = self.hub.app(&key.0).route(&key.1) {
            let delivery = Delivery {
                channel: route.channel,
                frame: message::subscription_count(&key.1, count),
                except: None,
                change: Change::Nothing,
                receipt: None,
                published: None,
            };
            self.hub.deliver(&route, delivery);
        }
    }

    /// Tells the counts that have waited for their interval.
    pub(super) fn tell_waiting_counts(&self, now: Instant) {
        let mut due = Vec::new();
        self.counts.retain(|key, told| {
            if told.is_recent(now) {
                return true;
            }
            told.at = Some(now);
            let waiting = told.waiting.take();
            due.extend(waiting.map(|count| (key.clone(), count)));
            waiting.is_some()
        });
        for (key, count) in due {
            self.send_count(&key, count);
        }
    }
}
