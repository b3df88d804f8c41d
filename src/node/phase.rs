//! Where in its life the node is.

use std::sync::atomic::{AtomicU8, Ordering};

/// The parts of a node's life, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    #[default]
    Running,
    /// It serves, and says that it should get no more traffic.
    NotReady,
    /// It takes no more clients and tells those that it has to reconnect.
    Closing,
    /// The clients have gone; webhooks are sent.
    Flushing,
    /// Nothing is left to do.
    Stopped,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::NotReady,
        Self::Closing,
        Self::Flushing,
        Self::Stopped,
    ];

    /// Its name for operators.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::NotReady => "not_ready",
            Self::Closing => "closing",
            Self::Flushing => "flushing",
            Self::Stopped => "stopped",
        }
    }
}

/// The phase that all threads see.
#[derive(Default)]
pub(super) struct CurrentPhase(AtomicU8);

impl CurrentPhase {
    pub(super) fn get(&self) -> Phase {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        Phase::ALL[number]
    }

    pub(super) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}
