//! Numbers of events by kind.

use std::{
    array, fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::app::WebhookKind;

const KINDS: usize = WebhookKind::ALL.len();

/// A number of events for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; KINDS]);

impl Tally {
    /// All kinds with their numbers, zero included.
    pub fn iter(&self) -> impl Iterator<Item = (WebhookKind, u64)> {
        WebhookKind::ALL
            .into_iter()
            .map(|kind| (kind, self.0[kind as usize]))
    }

    /// The sum over all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, kind: WebhookKind, count: u64) {
        self.0[kind as usize] += count;
    }

    pub(super) fn subtract(&mut self, kind: WebhookKind, count: u64) {
        self.0[kind as usize] -= count;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(kind, count)| self.add(kind, count));
    }
}

/// The kinds that occur: `channel_occupied 1200, member_added 3`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let occurring = self.iter().filter(|(_, count)| *count > 0);
        for (place, (kind, count)) in occurring.enumerate() {
            let separator = if place > 0 { ", " } else { "" };
            write!(f, "{separator}{} {count}", kind.name())?;
        }
        Ok(())
    }
}

/// Events that were dropped, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// There was no room.
    pub(super) overflow: Tally,
    /// They became too old.
    pub(super) expired: Tally,
}

impl Lost {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        self.overflow.add_all(&other.overflow);
        self.expired.add_all(&other.expired);
    }
}

/// A [`Tally`] that all threads may add to.
#[derive(Debug, Default)]
pub(super) struct SharedTally([AtomicU64; KINDS]);

impl SharedTally {
    pub(super) fn increment(&self, kind: WebhookKind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_all(&self, tally: &Tally) {
        for (kind, count) in tally.iter() {
            self.0[kind as usize].fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> Tally {
        Tally(array::from_fn(|place| {
            self.0[place].load(Ordering::Relaxed)
        }))
    }

    /// The numbers since the last call.
    pub(super) fn take(&self) -> Tally {
        Tally(array::from_fn(|place| {
            self.0[place].swap(0, Ordering::Relaxed)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_shows_the_kinds_that_occur() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "");
        tally.add(WebhookKind::MemberAdded, 3);
        tally.add(WebhookKind::ChannelOccupied, 1200);
        assert_eq!(tally.to_string(), "channel_occupied 1200, member_added 3");
        assert_eq!(tally.total(), 1203);
    }

    #[test]
    fn each_kind_has_a_number_of_its_own() {
        let shared = SharedTally::default();
        for (place, kind) in WebhookKind::ALL.into_iter().enumerate() {
            (0..=place).for_each(|_| shared.increment(kind));
        }
        let counts: Vec<_> = shared.get().iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((shared.take().total(), shared.take().total()), (45, 0));
    }
}
