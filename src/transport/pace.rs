//! How much of what a client sends is taken: a bounded part per turn, so that others get theirs, and a bounded rate over time.
//!
//! Nothing is refused. What is not taken stays in the kernel, whose full buffer makes the client wait.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep};

use crate::{
    app::Limits,
    connection::{May, Passage, Turnstile},
};

/// Time that the messages of one client may take before others get the thread. What is under way is finished.
const TURN: Duration = Duration::from_micros(200);
/// Bytes of a message that count as one more message.
const UNIT_BYTES: usize = 4 << 10;
/// Seconds' worth of messages that may come at once, on top of one for each channel: a client that reconnects asks for all again.
const BURST_S: u32 = 20;
/// Shortest time in which a client that sends too fast is not read, so that it does not cost a timer per message.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How long a client may go on sending too fast before it is closed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One turn of a client's task.
pub(super) struct Turn {
    began: Instant,
    now: Instant,
}

impl Turn {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, now }
    }

    /// When the last step of the turn ended.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Notes that a step of the turn has ended.
    pub(super) fn step(&mut self) {
        self.now = Instant::now();
    }

    pub(super) fn is_over(&self) -> bool {
        self.now.duration_since(self.began) >= TURN
    }
}

/// Has the task polled again, once the runtime has looked for what else is ready.
///
/// Waking the task at once would not do: the runtime runs what is awake dozens of times before it looks at other sockets.
pub(super) fn yield_turn(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// What a message of this length counts as.
pub(super) fn units(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / UNIT_BYTES).unwrap_or(u32::MAX)
}

/// What each connection of an app may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// From one message to the next at the sustained rate.
    interval: Duration,
    /// By how much messages may be ahead of that.
    burst: Duration,
}

impl Allowance {
    /// Of a client that was not let in.
    pub(super) const REFUSED: Self = Self {
        interval: Duration::from_millis(100),
        burst: Duration::from_secs(10),
    };

    /// The client events that the app allows come on top of its other messages.
    pub(super) fn of(limits: &Limits) -> Self {
        let events = limits.max_client_events_per_second.as_u32();
        let events = events.saturating_mul(units(limits.max_event_data_bytes.get()));
        let messages = limits.max_messages_per_second.as_u32();
        let per_second = messages.saturating_add(events);
        let interval = Duration::from_secs(1) / per_second.max(1);
        let channels = limits.max_channels_per_connection.as_u32();
        let at_once = per_second.saturating_mul(BURST_S).saturating_add(channels);
        Self {
            interval,
            burst: interval.saturating_mul(at_once),
        }
    }
}

/// How far one client is ahead of the rate that it may send at.
pub(super) struct Pace {
    /// When everything that was taken will be within the rate.
    within_at: Instant,
    /// Present from the first pause until the client is well within the rate again.
    slowed: Option<Box<Slowed>>,
    /// Begun while the client asks for what takes long.
    passage: Passage,
}

struct Slowed {
    since: Instant,
    /// Until then nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Slowed {
    fn since(now: Instant) -> Self {
        Self {
            since: now,
            pause: None,
        }
    }
}

/// What becomes of a client that sends too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooFast {
    /// It is read more slowly from now on.
    Slowed,
    /// It still is.
    StillSlowed,
    /// It has been for too long.
    ForTooLong,
}

impl TooFast {
    /// What a client is told that was too fast for too long.
    pub(super) const FAREWELL: &str = "You sent too fast for too long.";
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            within_at: now,
            slowed: None,
            passage: Passage::default(),
        }
    }

    /// Counts what was taken. Says whether more may be taken before a pause.
    pub(super) fn take(&mut self, units: u32, allowance: Allowance, now: Instant) -> bool {
        let ahead = self.within_at.saturating_duration_since(now);
        if self.slowed.is_some() && ahead < allowance.burst / 2 {
            self.slowed = None;
        }
        let ahead = ahead + allowance.interval.saturating_mul(units);
        self.within_at = now + ahead;
        ahead <= allowance.burst
    }

    /// Begins a pause, if the client is too far ahead. Says so.
    pub(super) fn pause(&mut self, allowance: Allowance, now: Instant) -> Option<TooFast> {
        let ahead = self.within_at.saturating_duration_since(now);
        if ahead <= allowance.burst {
            return None;
        }
        let wait = ahead - allowance.burst;
        let is_new = self.slowed.is_none();
        let slowed = self
            .slowed
            .get_or_insert_with(|| Box::new(Slowed::since(now)));
        slowed.pause = Some(Box::pin(sleep(wait.max(PAUSE_MIN))));
        Some(match now.duration_since(slowed.since) {
            time if time >= PATIENCE => TooFast::ForTooLong,
            _ if is_new => TooFast::Slowed,
            _ => TooFast::StillSlowed,
        })
    }

    /// Reads nothing of a client for a while that does what others notice, however slowly it sends.
    pub(super) fn rest(&mut self, time: Duration, now: Instant) {
        if time.is_zero() {
            return;
        }
        let slowed = self
            .slowed
            .get_or_insert_with(|| Box::new(Slowed::since(now)));
        slowed.pause = Some(Box::pin(sleep(time)));
    }

    /// What the next message may ask for.
    pub(super) fn may(&self) -> May {
        match self.passage.is_open() {
            true => May::AskMuch,
            false => May::Ask,
        }
    }

    /// Reads nothing until it is this client's turn to ask for what takes long.
    pub(super) fn queue(&mut self, turnstile: &Turnstile) {
        self.passage.queue(turnstile);
    }

    /// Whether the client waits for its turn to ask for what takes long.
    pub(super) fn is_queued(&self) -> bool {
        self.passage.is_queued()
    }

    /// Ends the turn of a client that could ask for what takes long. Says whether others are to have theirs now.
    pub(super) fn use_pass(&mut self, turnstile: &Turnstile, now: Instant) -> bool {
        self.passage.use_up(turnstile, now)
    }

    /// The same, where others have their turn anyway.
    pub(super) fn pass_on(&mut self) {
        self.passage.pass_on();
    }

    /// Pending while the client is not to be read.
    pub(super) fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.passage.poll(cx));
        let Some(slowed) = &mut self.slowed else {
            return Poll::Ready(());
        };
        if let Some(pause) = &mut slowed.pause {
            ready!(pause.as_mut().poll(cx));
            slowed.pause = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        interval: Duration::from_millis(10),
        burst: Duration::from_secs(1),
    };

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert!((0..100).all(|_| pace.take(1, ALLOWANCE, now)));
        assert!(!pace.take(1, ALLOWANCE, now));
        let later = now + Duration::from_millis(20);
        assert!(pace.take(1, ALLOWANCE, later));
        assert!(!pace.take(1, ALLOWANCE, later));
    }
}
