//! `subscription_count`: sent at once while subscribers are few and changes seldom, else at intervals.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::State;
use crate::{
    engine::{ChannelEdge, ChannelKey},
    protocol::message,
};

/// Subscribers up to whom a change of their number is sent at once (Pusher's documented threshold).
pub(crate) const COUNT_AT_ONCE_MAX: usize = 100;
/// Between two counts of a channel with more.
pub(crate) const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Between two counts of a channel with fewer, after [`BURST`] of them: a client that comes and goes in a loop costs the
/// others four messages a second.
const SPACING: Duration = Duration::from_millis(250);
/// Counts of a channel with few subscribers that are sent at once.
const BURST: u32 = 4;
/// How often counts that wait are looked at: once in [`SPACING`].
pub const COUNT_TICKS_A_SECOND: u32 = 4;

/// When a channel's last `subscription_count` was sent, and what has changed since.
#[derive(Default)]
pub(super) struct LastCount {
    /// Of a count above [`COUNT_AT_ONCE_MAX`], if that was the last.
    of_many_at: Option<Instant>,
    /// When all counts so far are [`SPACING`] apart on average.
    spaced_at: Option<Instant>,
    /// The count that has changed since; each replaces the one before.
    waiting: Option<usize>,
}

impl LastCount {
    /// Whether this number may be sent now.
    fn is_due(&self, count: usize, now: Instant) -> bool {
        let is_spaced = self.ahead(now) <= SPACING * (BURST - 1);
        is_spaced && (count <= COUNT_AT_ONCE_MAX || !self.was_of_many(now))
    }

    fn note_sent(&mut self, count: usize, now: Instant) {
        self.spaced_at = Some(now + self.ahead(now) + SPACING);
        self.of_many_at = Some(now).filter(|_| count > COUNT_AT_ONCE_MAX);
        self.waiting = None;
    }

    fn ahead(&self, now: Instant) -> Duration {
        self.spaced_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    fn was_of_many(&self, now: Instant) -> bool {
        self.of_many_at
            .is_some_and(|at| now.saturating_duration_since(at) < COUNT_INTERVAL)
    }

    /// Whether it says nothing that matters any more.
    fn is_over(&self, now: Instant) -> bool {
        self.waiting.is_none() && self.ahead(now).is_zero() && !self.was_of_many(now)
    }
}

impl State {
    /// Notes how many subscribers a channel has, and sends it to them: at once while that happens seldom, else the latest at
    /// intervals. A client that is seated later gets the number with the snapshot.
    pub fn tell_count(&self, key: &ChannelKey, count: usize, now: Instant) {
        let mut state = self.channels.entry(key.clone()).or_default();
        let count_now = Some(count).filter(|count| *count > 0);
        if mem::replace(&mut state.count, count_now) == Some(count) {
            return;
        }
        if self.may_send(key, count, now) {
            self.send_count(key, count);
        }
        drop(state);
        self.forget_needless(key);
    }

    /// Whether a number may be sent now; if not, it waits.
    fn may_send(&self, key: &ChannelKey, count: usize, now: Instant) -> bool {
        let mut last = self.counts.entry(key.clone()).or_default();
        let is_due = last.is_due(count, now);
        if is_due {
            last.note_sent(count, now);
        } else {
            last.waiting = Some(count);
        }
        is_due
    }

    fn send_count(&self, key: &ChannelKey, count: usize) {
        self.tell(&key.app_id, &key.name, ChannelEdge::Count(count));
        self.announce(key, message::subscription_count(&key.name, count));
    }

    /// Sends the counts that have waited for their interval.
    pub fn send_due_counts(&self, now: Instant) {
        let mut due = Vec::new();
        self.counts.retain(|key, last| {
            if let Some(count) = last.waiting.filter(|count| last.is_due(*count, now)) {
                last.note_sent(count, now);
                due.push(key.clone());
            }
            !last.is_over(now)
        });
        for key in due {
            // It may have changed again.
            let state = self.channels.get_mut(&key);
            let count = state.as_ref().and_then(|state| state.count);
            self.send_count(&key, count.unwrap_or_default());
        }
    }
}
