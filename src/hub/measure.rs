//! What is true of a shard at the moment when somebody measures it.

use std::sync::Arc;

use super::{Profile, Shard};

/// A shard's gauges.
#[derive(Clone, Debug, Default)]
pub struct ShardGauges {
    /// Bytes that wait for slow clients.
    pub waiting_bytes: usize,
    /// What clients said of themselves, and how many said so.
    pub profiles: Vec<(Arc<Profile>, usize)>,
}

impl Shard {
    /// Measures.
    #[must_use]
    pub fn measure(&self) -> ShardGauges {
        let subscribers = self.subscribers.borrow();
        let waiting = subscribers
            .iter()
            .map(|(_, subscriber)| subscriber.outbox.waiting_bytes());
        ShardGauges {
            waiting_bytes: waiting.sum(),
            profiles: self.profiles.borrow().counts(),
        }
    }
}
