//! How an endpoint is doing: how many requests it may get at a time, and when an endpoint that is away is asked again.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// Requests to one endpoint at a time.
pub(super) const UNDER_WAY_MAX: usize = 16;
/// With how many requests an endpoint starts that was away.
const UNDER_WAY_AFTER_ABSENCE: usize = 4;

/// The first pause after a failure; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause before an endpoint that is away is asked again. Short, so that what waits arrives soon after its return.
const ABSENCE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause before a refused request is repeated.
const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The part of a pause by which it may be shorter or longer, so that requests that failed together are not repeated together.
const JITTER: f64 = 0.2;

/// The pause before a request is repeated that the endpoint has refused this often.
pub(super) fn refusal_pause(failures: u32, rng: &mut impl Rng) -> Duration {
    pause(failures, REFUSAL_PAUSE_MAX, rng)
}

fn pause(failures: u32, max: Duration, rng: &mut impl Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let exact = PAUSE_FIRST.saturating_mul(1 << doublings).min(max);
    exact.mul_f64(rng.random_range(1.0 - JITTER..1.0 + JITTER))
}

/// The state of one endpoint.
#[derive(Debug)]
pub(super) struct Health {
    /// Requests that may be under way.
    window: usize,
    /// How often in a row it was found away.
    absences: u32,
    /// Until when it is left alone.
    paused_until: Option<Instant>,
    /// When it took a request last.
    taken_at: Option<Instant>,
}

/// When a request was sent, to be kept with it.
#[derive(Clone, Copy, Debug)]
pub(in crate::webhook) struct Sent {
    at: Instant,
    absences: u32,
}

#[cfg(test)]
impl Sent {
    /// A note for a request to an endpoint that was never away.
    pub(in crate::webhook) fn first(at: Instant) -> Self {
        Self { at, absences: 0 }
    }
}

/// What a request without a usable answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The endpoint is away, for every request.
    OfEndpoint,
    /// It took another request meanwhile, so this one request is the trouble.
    OfRequest,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            window: UNDER_WAY_MAX,
            absences: 0,
            paused_until: None,
            taken_at: None,
        }
    }
}

impl Health {
    /// Requests that may be under way.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Until when nothing may be sent.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// A note for a request that is sent now.
    pub(super) fn sent(&self, now: Instant) -> Sent {
        Sent {
            at: now,
            absences: self.absences,
        }
    }

    /// The endpoint took a request.
    pub(super) fn on_taken(&mut self, now: Instant) {
        self.taken_at = Some(now);
        self.window = match self.absences {
            0 => (self.window + 1).min(UNDER_WAY_MAX),
            _ => UNDER_WAY_AFTER_ABSENCE,
        };
        self.absences = 0;
        self.paused_until = None;
    }

    /// The endpoint answered that it does not want a request. One that refuses everything gets one request at a time.
    pub(super) fn on_refused(&mut self) {
        self.window = (self.window - 1).max(1);
        self.absences = 0;
        self.paused_until = None;
    }

    /// No answer came, or a proxy answered for an endpoint that is not there.
    pub(super) fn on_absent(&mut self, sent: Sent, now: Instant, rng: &mut impl Rng) -> Absence {
        if self.taken_at.is_some_and(|taken| taken > sent.at) {
            return Absence::OfRequest;
        }
        self.window = 1;
        // Of requests that were sent together, only the first tells something new.
        if sent.absences == self.absences {
            self.absences += 1;
            self.paused_until = Some(now + pause(self.absences, ABSENCE_PAUSE_MAX, rng));
        }
        Absence::OfEndpoint
    }

    /// Lifts every restriction, for the last requests before the end.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Asserts that pauses are these many seconds, a fifth more or less.
    #[track_caller]
    fn assert_pauses(mut pause: impl FnMut(u32) -> Duration, expected: &[(u32, f64)]) {
        for (failures, seconds) in expected {
            let pauses: Vec<_> = (0..100)
                .map(|_| pause(*failures).as_secs_f64() / seconds)
                .collect();
            let fit = pauses.iter().all(|part| (0.8..1.2).contains(part));
            assert!(fit, "{failures}: {pauses:?}");
            let spread = [0.9, 1.1].map(|part| pauses.iter().filter(|p| **p < part).count());
            assert!(spread[0] > 5 && spread[1] < 95, "{failures}: {pauses:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_differ() {
        let mut rng = SmallRng::seed_from_u64(1);
        assert_pauses(
            |failures| refusal_pause(failures, &mut rng),
            &[(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (u32::MAX, 30.0)],
        );
        let mut rng = SmallRng::seed_from_u64(2);
        assert_pauses(
            |failures| pause(failures, ABSENCE_PAUSE_MAX, &mut rng),
            &[(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (u32::MAX, 5.0)],
        );
    }

    #[test]
    fn requests_sent_together_count_as_one_absence() {
        let (mut health, start) = (Health::default(), Instant::now());
        let mut rng = SmallRng::seed_from_u64(1);
        let together = [(); 16].map(|()| health.sent(start));
        for sent in together {
            let absence = health.on_absent(sent, start + 10 * SECOND, &mut rng);
            assert_eq!(absence, Absence::OfEndpoint);
        }
        assert_eq!((health.window(), health.absences), (1, 1));
        let until = health.pause(start + 10 * SECOND).expect("a pause");
        assert!(until < start + 12 * SECOND);
        health.on_taken(start + 12 * SECOND);
        assert_eq!(health.pause(start + 10 * SECOND), None);
        assert_eq!(health.window(), UNDER_WAY_AFTER_ABSENCE);
        for _ in 0..20 {
            health.on_taken(start + 13 * SECOND);
        }
        assert_eq!(health.window(), UNDER_WAY_MAX);
    }

    #[test]
    fn an_endpoint_that_took_something_meanwhile_is_not_away() {
        let (mut health, start) = (Health::default(), Instant::now());
        let mut rng = SmallRng::seed_from_u64(1);
        let slow = health.sent(start);
        health.on_taken(start + SECOND);
        let absence = health.on_absent(slow, start + 10 * SECOND, &mut rng);
        assert_eq!(absence, Absence::OfRequest);
        assert_eq!(health.window(), UNDER_WAY_MAX);
        assert_eq!(health.pause(start), None);
    }

    #[test]
    fn an_endpoint_that_refuses_everything_gets_one_request_at_a_time() {
        let mut health = Health::default();
        for _ in 0..100 {
            health.on_refused();
        }
        assert_eq!(health.window(), 1);
        health.on_taken(Instant::now());
        assert_eq!(health.window(), 2);
    }
}
