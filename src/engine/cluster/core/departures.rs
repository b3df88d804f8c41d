//! Departures that an app's backend hears of after a delay, unless the user is back: their marks stand in Redis, so that a return on
//! any node takes them away, and so that another node can take them over.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Core, bucket::BucketId, call::Claim};

/// Marks that wait at most. Over it they are claimed at once.
const WAITING_MAX: usize = 100_000;

/// The marks that this node is to claim, by the time at which it may.
#[derive(Default)]
pub(super) struct Departures {
    waiting: BTreeMap<(Instant, u64), (BucketId, Claim)>,
    next: u64,
    /// Whether other nodes are asked to claim them, so that this one does not.
    is_offered: bool,
}

impl Departures {
    fn add(&mut self, due: Instant, bucket: BucketId, claim: Claim) {
        self.next += 1;
        self.waiting.insert((due, self.next), (bucket, claim));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let first = self.waiting.first_key_value();
        let first = first.filter(|_| !self.is_offered);
        first.map(|((due, _), _)| *due)
    }

    /// Leaves them to other nodes, until [`Departures::hurry`].
    pub(super) fn offer(&mut self) {
        self.is_offered = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn pop_due(&mut self, now: Instant) -> Option<(BucketId, Claim)> {
        let is_due = self.next_due().is_some_and(|due| due <= now);
        let is_over = self.waiting.len() > WAITING_MAX && !self.is_offered;
        if is_due || is_over {
            return self.waiting.pop_first().map(|(_, waiting)| waiting);
        }
        None
    }

    /// Has everything claimed now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.is_offered = false;
        for (number, ((due, _), waiting)) in
            std::mem::take(&mut self.waiting).into_iter().enumerate()
        {
            self.waiting.insert((due.min(now), number as u64), waiting);
        }
        self.next += self.waiting.len() as u64;
    }
}

impl<T> Core<T> {
    pub(super) fn await_departure(&mut self, id: BucketId, claim: Claim, due: Instant) {
        self.buckets[id].marks += 1;
        self.timers.departures.add(due, id, claim);
    }

    /// Has departures claimed that may be told now.
    pub(super) fn claim_due(&mut self, now: Instant) {
        while let Some((id, claim)) = self.timers.departures.pop_due(now) {
            if let Some(bucket) = self.buckets.get_mut(id) {
                bucket.chores.claims.push_back(claim);
                self.make_ready(id);
            }
        }
    }
}

/// How long a departure waits before it is reported, so that a page reload causes no webhook.
pub const DEPARTURE_DELAY: Duration = Duration::from_secs(3);
