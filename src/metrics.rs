//! Counts of what has happened since the start. Who counts adds what one step of work brought, and not each delivery by itself;
//! what is true at a moment is nobody's count: it is read from the state when somebody asks.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A count that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went to and fro for one app on this node.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Clients that were let in.
    pub connections: Counter,
    /// Clients of those that have gone.
    pub disconnections: Counter,
    /// Messages from clients.
    pub messages_received: Counter,
    /// Their bytes.
    pub bytes_received: Counter,
    /// Messages to clients: deliveries and answers.
    pub messages_sent: Counter,
    /// Their bytes, with the frames' headers.
    pub bytes_sent: Counter,
    /// Signed requests of the app's backend.
    pub api_calls: Counter,
    /// Bytes of their bodies.
    pub api_bytes_received: Counter,
    /// Bytes of the answers' bodies.
    pub api_bytes_sent: Counter,
    /// Events that the backend published; one for several channels is one.
    pub api_messages: Counter,
    /// Events of clients that were relayed.
    pub client_events: Counter,
    /// Events that went to other nodes.
    pub peer_events_sent: Counter,
    /// Events that came from other nodes.
    pub peer_events_received: Counter,
    /// Questions about the cluster's state that were answered.
    pub queries_answered: Counter,
    /// Those that were not: it was out of reach.
    pub queries_failed: Counter,
    /// How long the answers took.
    pub query_time: Latency,
}

/// Counts by a label that others may choose.
#[derive(Debug, Default)]
pub struct Labelled(Mutex<BTreeMap<String, u64>>);

/// Labels that are counted apart; what comes with a new one beyond is counted as `other`.
const LABELS_MAX: usize = 64;

impl Labelled {
    /// Counts one with this label. For what is rare: it takes a lock.
    pub fn increment(&self, label: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(label) {
            *count += 1;
        } else if counts.len() < LABELS_MAX {
            counts.insert(label.to_owned(), 1);
        } else {
            *counts.entry("other".to_owned()).or_default() += 1;
        }
    }

    /// All labels and their counts.
    #[must_use]
    pub fn get(&self) -> BTreeMap<String, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What happened on this node besides its traffic.
#[derive(Debug, Default)]
pub struct Incidents {
    /// Clients that went, by the server's close code; `client` where the client closed, `none` where neither side did.
    pub disconnections: Labelled,
    /// Clients that were not let in, by close code.
    pub refusals: Labelled,
    /// Signatures and tokens that did not fit, by what they were for.
    pub auth_failures: Labelled,
    /// Requests and events beyond a rate, by whose.
    pub rate_limited: Labelled,
    /// TLS sessions that did not begin, by what was wrong.
    pub tls_failures: Labelled,
    /// Clients that were closed because they read too slowly.
    pub slow_consumers: Counter,
}

/// Upper bounds of the buckets of [`Latency`], in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 18] = [
    50, 100, 200, 350, 500, 750, 1_000, 2_000, 3_500, 5_000, 7_500, 10_000, 25_000, 50_000,
    100_000, 250_000, 1_000_000, 5_000_000,
];

/// Counts per bucket; the last is of what took longer than any bound.
pub type LatencyCounts = [u64; LATENCY_BOUNDS_US.len() + 1];

/// How long events took.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Counter; LATENCY_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Latency {
    /// Counts one event that took so long.
    pub fn observe(&self, took: Duration) {
        let us = usize::try_from(took.as_micros()).unwrap_or(usize::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us as u64);
        self.buckets[bucket].increment();
        self.sum_us.add(us);
    }

    /// The counts so far, not cumulated.
    #[must_use]
    pub fn counts(&self) -> LatencyCounts {
        self.buckets.each_ref().map(Counter::get)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts().iter().all(|count| *count == 0)
    }

    /// All times together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.get())
    }
}

/// The time within which this share of the counted events was done: the upper bound of its bucket, in milliseconds. `None` without
/// events.
#[must_use]
pub fn quantile_ms(counts: &LatencyCounts, share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let mut below = 0;
    let found = counts.iter().position(|count| {
        below += count;
        below as f64 >= total as f64 * share
    });
    let last = LATENCY_BOUNDS_US.len() - 1;
    Some(LATENCY_BOUNDS_US[found.unwrap_or(last).min(last)] as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_others_choose_are_bounded() {
        let labelled = Labelled::default();
        for number in 0..1000 {
            labelled.increment(&number.to_string());
        }
        let counts = labelled.get();
        assert_eq!(counts.len(), LABELS_MAX + 1);
        assert_eq!(counts.values().sum::<u64>(), 1000);
    }

    #[test]
    fn a_time_counts_in_the_bucket_whose_bound_it_does_not_exceed() {
        let latency = Latency::default();
        for us in [1, 50, 51, 5_000_000, 5_000_001] {
            latency.observe(Duration::from_micros(us));
        }
        let counts = latency.counts();
        assert_eq!((counts[0], counts[1]), (2, 1));
        assert_eq!((counts[17], counts[18]), (1, 1));
        assert_eq!(latency.sum(), Duration::from_micros(10_000_103));
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let mut counts = LatencyCounts::default();
        assert_eq!(quantile_ms(&counts, 0.5), None);
        (counts[1], counts[11]) = (98, 2);
        assert_eq!(quantile_ms(&counts, 0.5), Some(0.1));
        assert_eq!(quantile_ms(&counts, 0.99), Some(10.0));
    }
}
