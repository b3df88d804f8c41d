//! `subscription_count`: sent at once while subscribers are few, else at intervals.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::State;
use crate::{
    engine::{ChannelEdge, ChannelKey},
    protocol::message,
};

/// Subscribers up to whom every change of their number is sent at once (Pusher's documented threshold).
pub(crate) const COUNT_AT_ONCE_MAX: usize = 100;
/// Between two counts of a channel with more.
pub(crate) const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// A channel's last `subscription_count`.
pub(super) struct LastCount {
    at: Option<Instant>,
    /// The count that has changed since.
    waiting: Option<usize>,
}

impl LastCount {
    fn is_recent(&self, now: Instant) -> bool {
        self.at
            .is_some_and(|at| now.duration_since(at) < COUNT_INTERVAL)
    }
}

impl State {
    /// Notes how many subscribers a channel has, and sends it to them: at once while they are few, else at intervals, the last change
    /// included. A client that is seated later gets the number with the snapshot.
    pub fn tell_count(&self, key: &ChannelKey, count: usize, now: Instant) {
        let mut state = self.channels.entry(key.clone()).or_default();
        let count_now = Some(count).filter(|count| *count > 0);
        if mem::replace(&mut state.count, count_now) == Some(count) {
            return;
        }
        if self.is_due(key, count, now) {
            self.send_count(key, count);
        }
        drop(state);
        self.forget_needless(key);
    }

    /// Whether a number may be sent now; if not, it waits.
    fn is_due(&self, key: &ChannelKey, count: usize, now: Instant) -> bool {
        if count <= COUNT_AT_ONCE_MAX {
            self.counts.remove(key);
            return true;
        }
        let mut last = self.counts.entry(key.clone()).or_insert(LastCount {
            at: None,
            waiting: None,
        });
        if last.is_recent(now) {
            last.waiting = Some(count);
            return false;
        }
        *last = LastCount {
            at: Some(now),
            waiting: None,
        };
        true
    }

    fn send_count(&self, key: &ChannelKey, count: usize) {
        self.tell(&key.app_id, &key.name, ChannelEdge::Count(count));
        self.announce(key, message::subscription_count(&key.name, count));
    }

    /// Sends the counts that have waited for their interval.
    pub(super) fn send_due_counts(&self, now: Instant) {
        let mut due = Vec::new();
        self.counts.retain(|key, last| {
            if last.is_recent(now) {
                return true;
            }
            last.at = Some(now);
            let waiting = last.waiting.take();
            due.extend(waiting.map(|count| (key.clone(), count)));
            waiting.is_some()
        });
        for (key, count) in due {
            let _order = self.channels.get_mut(&key);
            self.send_count(&key, count);
        }
    }
}
