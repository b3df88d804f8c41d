//! When the next event may leave.

use std::time::{Duration, Instant};

use crate::progress::Progress;

/// How fast events are published.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// One each `Duration`.
    Every(Duration),
    /// Each publisher goes on as soon as its last event was answered.
    Unpaced,
    /// So many requests, each as soon as all of the last one was delivered.
    LockStep(u64),
}

/// What one phase publishes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    /// Sockets on each channel; its length is the number of channels that events are spread over.
    pub(crate) listeners: Vec<u64>,
    /// Events that may be on their way to the slowest socket. It keeps the generator from measuring its own slowness.
    pub(crate) window: u64,
}

/// The answer to "may an event leave now?"
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    Now,
    /// Not before this much time has passed.
    In(Duration),
    /// Not before more has been delivered.
    Held,
    Over,
}

/// What has left in one phase.
#[derive(Debug)]
pub(crate) struct Schedule {
    plan: Plan,
    started: Instant,
    deliveries_in_flight_max: u64,
    requests: u64,
    pub(crate) events: u64,
    pub(crate) expected: u64,
    /// Times an event was held back by the window.
    pub(crate) held: u64,
}

impl Schedule {
    pub(crate) fn start(plan: Plan) -> Self {
        let listeners_max = plan.listeners.iter().max().copied().unwrap_or(0);
        Self {
            deliveries_in_flight_max: plan.window.saturating_mul(listeners_max.max(1)),
            plan,
            started: Instant::now(),
            requests: 0,
            events: 0,
            expected: 0,
            held: 0,
        }
    }

    /// Whether an event may leave at `now`.
    pub(crate) fn permit(&mut self, now: Instant, progress: &Progress) -> Permit {
        if let Pace::LockStep(requests) = self.plan.pace {
            return self.permit_in_lock_step(requests, progress);
        }
        let due = match self.plan.pace {
            Pace::Every(interval) => interval.mul_f64(events_so_far(self.events)),
            Pace::Unpaced | Pace::LockStep(_) => Duration::ZERO,
        };
        let passed = now.duration_since(self.started);
        if passed.max(due) >= self.plan.duration {
            return Permit::Over;
        }
        if due > passed {
            return Permit::In(due - passed);
        }
        if !self.in_window(progress) {
            progress.wait_for_deliveries();
            if !self.in_window(progress) {
                self.held += 1;
                return Permit::Held;
            }
        }
        Permit::Now
    }

    fn permit_in_lock_step(&mut self, requests: u64, progress: &Progress) -> Permit {
        let is_delivered = |expected| progress.delivered() >= expected;
        if !is_delivered(self.expected) {
            progress.wait_for_deliveries();
            if !is_delivered(self.expected) {
                return Permit::Held;
            }
        }
        if self.requests == requests {
            return Permit::Over;
        }
        Permit::Now
    }

    /// A request is put together.
    pub(crate) fn began_request(&mut self) {
        self.requests += 1;
    }

    /// An event has left for `channel`.
    pub(crate) fn left(&mut self, channel: usize) {
        self.events += 1;
        self.expected += self.plan.listeners[channel];
    }

    fn in_window(&self, progress: &Progress) -> bool {
        self.expected.saturating_sub(progress.delivered()) < self.deliveries_in_flight_max
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^52 events are not reached")]
fn events_so_far(events: u64) -> f64 {
    events as f64
}
