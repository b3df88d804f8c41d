//! What takes long for one client holds up the others of its thread, and many such clients at once hold them up for as long as all
//! of them take. So one at a time passes here, and every few milliseconds the runtime looks for what else is ready.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long clients pass one behind the other before others have their turn. Of the members that come in one such round the channel
/// is told in one write for each socket: without rounds, 5,000 joins of one channel took five times the processor's time.
const ROUND: Duration = Duration::from_millis(2);

/// A thread's turnstile; first come, first served.
pub struct Turnstile {
    one: Arc<Semaphore>,
    round_began: Cell<Instant>,
}

/// The right to do what takes long, until it is dropped.
pub struct Pass(
    #[expect(dead_code, reason = "what matters is when it is dropped")] OwnedSemaphorePermit,
);

/// A place in the queue.
pub type Queued = Pin<Box<dyn Future<Output = Pass>>>;

impl Default for Turnstile {
    fn default() -> Self {
        Self {
            one: Arc::new(Semaphore::new(1)),
            round_began: Cell::new(Instant::now()),
        }
    }
}

impl Turnstile {
    /// Waits until all who came before have passed.
    #[must_use]
    pub fn enter(&self) -> Queued {
        let semaphore = Arc::clone(&self.one);
        Box::pin(async move {
            let permit = semaphore.acquire_owned().await;
            Pass(permit.expect("nobody closes it"))
        })
    }

    /// Whether others are to have their turn before the next one passes. If so, another round begins then.
    #[must_use]
    pub fn ends_round(&self, now: Instant) -> bool {
        let is_over = now.saturating_duration_since(self.round_began.get()) >= ROUND;
        if is_over {
            self.round_began.set(now);
        }
        is_over
    }
}
