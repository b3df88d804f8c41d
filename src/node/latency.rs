//! How long events took in the last minute, from the publish to the last socket of a shard.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Node;
use crate::metrics::{LatencyCounts, quantile_ms};

/// How far back it is looked.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two notes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Half of the events took no longer than `p50_ms`, all but one of a hundred no longer than `p99_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishLatency {
    /// The median, rounded up to the bound of its bucket.
    pub p50_ms: f64,
    /// The 99th percentile, likewise.
    pub p99_ms: f64,
}

/// The counts as they were, a note every few seconds.
#[derive(Default)]
pub(super) struct RecentLatency(Mutex<VecDeque<(Instant, LatencyCounts)>>);

impl RecentLatency {
    pub(super) fn note(&self, now: Instant, counts: LatencyCounts) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |(at, _): &(Instant, LatencyCounts)| now.saturating_duration_since(*at);
        if notes.is_empty() {
            // What was before the first note counts too.
            notes.push_back((now, LatencyCounts::default()));
        }
        if notes.back().is_some_and(|last| age(last) < INTERVAL) {
            return;
        }
        notes.push_back((now, counts));
        // The oldest that is left is the last that lies before the window.
        while notes.get(1).is_some_and(|second| age(second) >= WINDOW) {
            notes.pop_front();
        }
    }

    fn since(&self, counts: &LatencyCounts) -> LatencyCounts {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = notes
            .front()
            .map_or(LatencyCounts::default(), |(_, counts)| *counts);
        std::array::from_fn(|bucket| counts[bucket].saturating_sub(before[bucket]))
    }
}

impl Node {
    /// How long events took lately; `None` without any.
    #[must_use]
    pub fn publish_latency(&self) -> Option<PublishLatency> {
        let counts = self.latency.since(&self.hub.latency.counts());
        Some(PublishLatency {
            p50_ms: quantile_ms(&counts, 0.5)?,
            p99_ms: quantile_ms(&counts, 0.99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let (recent, start) = (RecentLatency::default(), Instant::now());
        let mut counts = LatencyCounts::default();
        for second in 0..300 {
            recent.note(start + Duration::from_secs(second), counts);
            counts[3] += 1;
        }
        let lately = recent.since(&counts)[3];
        assert!((60..=66).contains(&lately), "{lately}");
    }
}
