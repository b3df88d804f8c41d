//! What Redis sends without being asked, until the core takes it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, Value};
use tokio::sync::Notify;

/// Messages that may wait. Of more, the newest are dropped, and what follows from them is fetched again.
const WAITING_MAX: usize = 65_536;
/// Bytes of those.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A queue with a bound; clones share it.
#[derive(Clone, Default)]
pub(super) struct Pushes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    pushes: VecDeque<PushInfo>,
    bytes: usize,
    dropped: usize,
}

fn bytes_of(push: &PushInfo) -> usize {
    let bytes = push.data.iter().map(|value| match value {
        Value::BulkString(bytes) => bytes.len(),
        _ => 0,
    });
    bytes.sum()
}

impl Pushes {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; called by the client library, which must not wait.
    pub(super) fn push(&self, push: PushInfo) -> Result<(), Infallible> {
        let bytes = bytes_of(&push);
        let mut waiting = self.lock();
        let is_full = waiting.pushes.len() >= WAITING_MAX || waiting.bytes >= WAITING_BYTES_MAX;
        // The end of the connection must be heard.
        if is_full && push.kind != redis::PushKind::Disconnection {
            waiting.dropped += 1;
        } else {
            waiting.bytes += bytes;
            waiting.pushes.push_back(push);
        }
        drop(waiting);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Moves at most `max` behind `taken`. How many were dropped.
    pub(super) fn take(&self, max: usize, taken: &mut Vec<PushInfo>) -> usize {
        let mut waiting = self.lock();
        let count = waiting.pushes.len().min(max);
        taken.extend(waiting.pushes.drain(..count));
        waiting.bytes -= taken.iter().map(bytes_of).sum::<usize>();
        if waiting.pushes.is_empty() {
            if waiting.pushes.capacity() > 1024 {
                // Gives the memory of a rush back.
                waiting.pushes = VecDeque::new();
            }
        } else {
            self.0.filled.notify_one();
        }
        std::mem::take(&mut waiting.dropped)
    }

    /// Waits for one.
    pub(super) async fn filled(&self) {
        self.0.filled.notified().await;
    }
}
