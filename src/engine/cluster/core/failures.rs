//! Channels that Redis can't settle, for a fault of their own: tried again with growing pauses, and reported once.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Core,
    bucket::{Batching, BucketId},
};

/// The first pause; it doubles with every attempt.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A channel of a bucket; without a name, the bucket itself.
type Failed = (BucketId, Option<Arc<str>>);

/// What is to be tried again, and when.
#[derive(Default)]
pub(super) struct Failures {
    attempts: BTreeMap<Failed, u32>,
    retries: BTreeMap<(Instant, u64), Failed>,
    next: u64,
}

impl Failures {
    /// Whether the channel has not failed since it last succeeded.
    pub(super) fn is_first(&self, id: BucketId, name: &Arc<str>) -> bool {
        !self.attempts.contains_key(&(id, Some(Arc::clone(name))))
    }

    /// The channel has succeeded.
    pub(super) fn forget(&mut self, id: BucketId, name: &Arc<str>) {
        if !self.attempts.is_empty() {
            self.attempts.remove(&(id, Some(Arc::clone(name))));
        }
    }

    pub(super) fn retry_later(&mut self, id: BucketId, name: &Arc<str>, now: Instant) {
        self.add((id, Some(Arc::clone(name))), now);
    }

    /// Has a bucket rest.
    pub(super) fn rest(&mut self, id: BucketId, now: Instant) {
        self.add((id, None), now);
        self.attempts.remove(&(id, None));
    }

    fn add(&mut self, what: Failed, now: Instant) {
        let attempts = self.attempts.entry(what.clone()).or_default();
        let pause = PAUSE_MIN
            .saturating_mul(1 << (*attempts).min(5))
            .min(PAUSE_MAX);
        *attempts += 1;
        self.next += 1;
        self.retries.insert((now + pause, self.next), what);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|((due, _), _)| *due)
    }
}

impl<T> Core<T> {
    pub(super) fn retry_due(&mut self, now: Instant) {
        while self
            .timers
            .failures
            .next_due()
            .is_some_and(|due| due <= now)
        {
            let Some((_, (id, name))) = self.timers.failures.retries.pop_first() else {
                return;
            };
            let Some(bucket) = self.buckets.get_mut(id) else {
                continue;
            };
            match name {
                Some(name) => self.touch(id, &name, now),
                None => {
                    if matches!(bucket.batch, Batching::Resting) {
                        bucket.batch = Batching::Idle;
                    }
                    self.make_ready(id);
                }
            }
        }
    }
}
