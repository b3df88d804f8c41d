//! Messages to the other nodes: they wait in one queue, and go out in batches.

use std::time::{Duration, Instant};

use redis::RedisResult;

use super::{Done, Task};
use crate::engine::{
    channels::Key,
    redis::link::{Link, Message},
};

/// Messages sent together.
const PUBLISH_BATCH: usize = 512;
/// Bytes of those, unless one alone is larger, so that a slow line can carry them before Redis counts as away.
const PUBLISH_BATCH_BYTES: usize = 1 << 20;
/// After a return of Redis: how long messages wait for the other nodes to listen again. Above [`super::RETRY`] by what a busy machine
/// takes, below the two seconds in which everything is to be back.
pub(super) const HOLD: Duration = Duration::from_secs(1);
/// With very many channels the others take as long as this node does to listen to its own again; at most so much longer.
pub(super) const HOLD_MORE: Duration = Duration::from_secs(4);

/// A message that waits for other nodes.
pub(super) struct Outgoing {
    pub(super) message: Message,
    /// Bytes of the frame, as they were counted against the backlog.
    pub(super) held: usize,
    /// An event's number; of a cache channel, with the channel.
    pub(super) number: u64,
    pub(super) cached: Option<Key>,
    /// The channel, if the event goes into its history.
    pub(super) recorded: Option<Key>,
    /// How often it was handed to a link.
    pub(super) tries: u32,
}

impl Task {
    /// Whether the other nodes may not listen again yet.
    fn holds_back(&self, now: Instant) -> bool {
        now < self.hold_until || (self.unheard > 0 && now < self.hold_until + HOLD_MORE)
    }

    pub(super) fn send_outgoing(&mut self, link: &Link) {
        if self.publishing || self.outgoing.is_empty() || self.holds_back(Instant::now()) {
            return;
        }
        self.publishing = true;
        let mut bytes = 0;
        let batch: Vec<Message> = self
            .outgoing
            .iter_mut()
            .take(PUBLISH_BATCH)
            .take_while(|outgoing| {
                let is_first = bytes == 0;
                bytes += outgoing.message.envelope.len();
                is_first || bytes <= PUBLISH_BATCH_BYTES
            })
            .map(|outgoing| {
                outgoing.tries += 1;
                outgoing.message.clone()
            })
            .collect();
        let mut link = link.clone();
        self.begin(async move {
            Done::Published {
                count: batch.len(),
                result: link.publish_all(&batch).await,
            }
        });
    }

    pub(super) fn on_published(&mut self, count: usize, result: RedisResult<()>) {
        self.publishing = false;
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        let published: Vec<_> = self.outgoing.drain(..count).collect();
        for outgoing in published {
            self.shared.release(outgoing.held);
            if let Some(key) = outgoing.recorded {
                let id = (self.sender, outgoing.number);
                match self.records.get_mut(&key) {
                    // Redis may have been asked for the channel's past before it had this.
                    Some(record) if record.in_flight => record.settled = Some(id),
                    Some(_) => self.states.settle_own(&key, id, true),
                    None => self.states.settle_own(&key, id, false),
                }
            }
            let Some(key) = outgoing.cached else {
                continue;
            };
            self.states.confirm_own(&key, outgoing.number);
            if outgoing.tries > 1
                && let Some(record) = self.records.get_mut(&key)
            {
                // An earlier try may have been kept, and its echo lost: only Redis knows whether another event came after it.
                record.synced = false;
                record.heard_cached = false;
                self.enqueue(key);
            }
        }
    }
}
