//! What the publishing thread and the receiving thread tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mio::Waker;

/// No sum known yet.
const UNKNOWN: u64 = u64::MAX;

/// Deliveries so far, and how many there will be.
#[derive(Debug)]
pub(crate) struct Progress {
    delivered: AtomicU64,
    expected: AtomicU64,
    publisher_waits: AtomicBool,
    publisher: Waker,
}

impl Progress {
    /// `publisher` wakes the publishing thread.
    pub(crate) fn new(publisher: Waker) -> Self {
        Self {
            delivered: AtomicU64::new(0),
            expected: AtomicU64::new(UNKNOWN),
            publisher_waits: AtomicBool::new(false),
            publisher,
        }
    }

    /// Receiver: so many deliveries have arrived. Wakes a publisher that holds back.
    pub(crate) fn delivered_now(&self, deliveries: u64) {
        self.delivered.store(deliveries, Ordering::SeqCst);
        if self.publisher_waits.swap(false, Ordering::SeqCst) {
            self.publisher.wake().ok();
        }
    }

    /// Publisher: the deliveries so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }

    /// Publisher: wake me when more have arrived. The count is to be looked at once more after this.
    pub(crate) fn wait_for_deliveries(&self) {
        self.publisher_waits.store(true, Ordering::SeqCst);
    }

    /// Before a phase, while neither thread is at work.
    pub(crate) fn reset(&self) {
        self.delivered.store(0, Ordering::SeqCst);
        self.expected.store(UNKNOWN, Ordering::SeqCst);
    }

    /// Publisher: no more will be published; this is how many deliveries that makes.
    pub(crate) fn expect(&self, deliveries: u64) {
        self.expected.store(deliveries, Ordering::SeqCst);
    }

    /// Publisher: the publishing has failed, unless `expect` was called before.
    pub(crate) fn give_up(&self) {
        self.expected
            .compare_exchange(UNKNOWN, 0, Ordering::SeqCst, Ordering::SeqCst)
            .ok();
    }

    /// Receiver: how many deliveries there will be, once that is known.
    pub(crate) fn all_expected(&self) -> Option<u64> {
        Some(self.expected.load(Ordering::SeqCst)).filter(|expected| *expected != UNKNOWN)
    }
}
