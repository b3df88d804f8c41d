//! What takes long for one client holds up the others of its thread, and many such clients at once hold them up for as long as all
//! of them take. So one at a time passes here, and every few milliseconds the runtime looks for what else is ready.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    /// Of the turnstile where those who have passed here pass next.
    next: Option<Arc<Semaphore>>,
}

/// A client's way through a turnstile. Without memory of its own while the client is elsewhere.
#[derive(Default)]
pub struct Passage(Option<Box<Stage>>);

/// How far a client has come.
enum Stage {
    Queued(Queued),
    /// It may do what takes long, until the pass is dropped.
    Open(Pass),
    /// The next one may pass when others have had their turn.
    Used(#[expect(dead_code, reason = "what matters is when it is dropped")] Pass),
}

/// The right to do what takes long, until it is dropped.
struct Pass(
    #[expect(dead_code, reason = "what matters is when it is dropped")] OwnedSemaphorePermit,
);

/// A place in the queue.
type Queued = Pin<Box<dyn Future<Output = Pass>>>;

impl Default for Turnstile {
    fn default() -> Self {
        Self {
            one: Arc::new(Semaphore::new(1)),
            round_began: Cell::new(Instant::now()),
            next: None,
        }
    }
}

impl Turnstile {
    /// A turnstile in front of another one. While clients wait at that one, each pass here ends a round: work that has begun is
    /// finished before much more begins.
    #[must_use]
    pub fn before(next: &Self) -> Self {
        Self {
            next: Some(Arc::clone(&next.one)),
            ..Self::default()
        }
    }

    /// Waits until all who came before have passed.
    fn enter(&self) -> Queued {
        let semaphore = Arc::clone(&self.one);
        Box::pin(async move {
            let permit = semaphore.acquire_owned().await;
            Pass(permit.expect("nobody closes it"))
        })
    }

    /// Whether others are to have their turn before anyone goes on here.
    #[must_use]
    pub fn round_is_over(&self, now: Instant) -> bool {
        let next = self.next.as_ref();
        now.saturating_duration_since(self.round_began.get()) >= ROUND
            || next.is_some_and(|next| next.available_permits() == 0)
    }
}

impl Passage {
    /// Takes a place in the queue.
    pub fn queue(&mut self, turnstile: &Turnstile) {
        self.0 = Some(Box::new(Stage::Queued(turnstile.enter())));
    }

    /// Whether the client waits for its turn.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        matches!(self.0.as_deref(), Some(Stage::Queued(_)))
    }

    /// Whether it is the client's turn.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.0.as_deref(), Some(Stage::Open(_)))
    }

    /// Pending while the client waits for its turn.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.as_deref_mut() {
            Some(Stage::Queued(queued)) => {
                let pass = ready!(queued.as_mut().poll(cx));
                self.0 = Some(Box::new(Stage::Open(pass)));
            }
            Some(Stage::Used(_)) => self.0 = None,
            Some(Stage::Open(_)) | None => {}
        }
        Poll::Ready(())
    }

    /// Ends the client's turn, if it is. Says whether others are to have theirs now; if so, another round begins then.
    #[must_use]
    pub fn use_up(&mut self, turnstile: &Turnstile, now: Instant) -> bool {
        let open = self.0.take_if(|stage| matches!(**stage, Stage::Open(_)));
        let Some(Stage::Open(pass)) = open.map(|stage| *stage) else {
            return false;
        };
        let is_over = turnstile.round_is_over(now);
        if is_over {
            turnstile.round_began.set(now);
            self.0 = Some(Box::new(Stage::Used(pass)));
        }
        is_over
    }

    /// The same, where others have their turn anyway.
    pub fn pass_on(&mut self) {
        self.0.take_if(|stage| matches!(**stage, Stage::Open(_)));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn is_ready(passage: &mut Passage) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        passage.poll(&mut cx).is_ready()
    }

    #[test]
    fn after_a_round_nobody_passes_before_others_have_had_their_turn() {
        let turnstile = Turnstile::default();
        let began = turnstile.round_began.get();
        let (mut one, mut other) = (Passage::default(), Passage::default());
        one.queue(&turnstile);
        assert!(is_ready(&mut one) && one.is_open());
        assert!(!one.use_up(&turnstile, began), "the round goes on");
        other.queue(&turnstile);
        assert!(is_ready(&mut other), "one at a time, without a pause");
        assert!(other.use_up(&turnstile, began + ROUND));
        one.queue(&turnstile);
        assert!(!is_ready(&mut one), "the one before yields first");
        assert!(is_ready(&mut other) && !other.is_open());
        assert!(is_ready(&mut one) && one.is_open());
        assert!(!turnstile.round_is_over(began + ROUND), "another round");
    }

    #[test]
    fn while_clients_wait_at_the_next_turnstile_each_pass_ends_a_round() {
        let next = Turnstile::default();
        let turnstile = Turnstile::before(&next);
        let began = turnstile.round_began.get();
        let mut ahead = Passage::default();
        assert!(!turnstile.round_is_over(began));
        ahead.queue(&next);
        assert!(is_ready(&mut ahead));
        assert!(ahead.use_up(&next, next.round_began.get() + ROUND));
        assert!(turnstile.round_is_over(began), "the one ahead waits");
        assert!(is_ready(&mut ahead));
        assert!(!turnstile.round_is_over(began));
    }

    #[test]
    fn who_goes_away_holds_nobody_up() {
        let turnstile = Turnstile::default();
        let (mut one, mut other) = (Passage::default(), Passage::default());
        one.queue(&turnstile);
        other.queue(&turnstile);
        assert!(is_ready(&mut one) && !is_ready(&mut other));
        assert!(other.is_queued());
        drop(one);
        assert!(is_ready(&mut other) && other.is_open());
    }
}
