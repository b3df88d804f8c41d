//! When which certificate is ordered: what is stored and how orders went decide, and the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// The longest that a failure is waited after, unless the ACME server asks for more.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest that is waited because the ACME server asks for it; no limit of Let's Encrypt counts over more time.
const ASKED_WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After the first failure to reach the ACME server, and between two orders of a name.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(2);
/// After the first refusal of a name. Let's Encrypt allows five failed checks of a name an hour.
const REFUSED_WAIT: Duration = Duration::from_secs(5 * 60);
/// Between two looks at whether another process has ended its orders.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Part of its lifetime that a renewal may be later, so that servers that began together do not renew together.
const SPREAD_PARTS: u32 = 100;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Order a certificate for this name.
    Order(String),
    /// Nothing is due before this.
    WaitUntil(SystemTime),
    /// There is nothing to do.
    Rest,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a certificate.
    Issued,
    /// The ACME server can't be used just now, whatever the name. It may have said how long.
    Unavailable(Option<Duration>),
    /// The ACME server refuses this order. It may have said how long.
    Refused(Option<Duration>),
    /// Another process is ordering.
    Busy,
}

/// All names with their certificates.
#[derive(Debug)]
pub(super) struct Schedule {
    names: BTreeMap<String, Plan>,
    /// Of the ACME server as such.
    server: Hold,
    /// 0 to 1: this process' place in the time in which renewals are spread.
    spread: f64,
}

#[derive(Debug, Default)]
struct Plan {
    stored: Option<Validity>,
    hold: Hold,
}

/// Why something waits, if it does.
#[derive(Debug, Default)]
struct Hold {
    failures: u32,
    until: Option<SystemTime>,
    by: By,
}

/// Who set the time before which nothing is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    This,
    /// The ACME server, with `Retry-After`.
    Server,
}

impl Schedule {
    pub(super) fn new(spread: f64) -> Self {
        Self {
            names: BTreeMap::new(),
            server: Hold::default(),
            spread,
        }
    }

    /// These names and no others. Names that stay keep what is known of them.
    pub(super) fn set_names(&mut self, names: &[String]) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(name.clone()).or_default();
        }
    }

    /// Notes what is stored for a name.
    pub(super) fn set_stored(&mut self, name: &str, stored: Option<Validity>) {
        if let Some(plan) = self.names.get_mut(name) {
            plan.stored = stored;
        }
    }

    /// Forgets all waits but those that the ACME server has asked for.
    pub(super) fn retry(&mut self) {
        let plans = self.names.values_mut().map(|plan| &mut plan.hold);
        for hold in plans.chain([&mut self.server]) {
            if hold.by == By::This {
                hold.until = None;
            }
        }
    }

    /// What comes next: the name that has been due for longest.
    pub(super) fn next(&self, now: SystemTime) -> Step {
        let due = self.names.iter().map(|(name, plan)| (self.due(plan), name));
        let Some((due, name)) = due.min() else {
            return Step::Rest;
        };
        match due.max(self.server.until()) {
            due if due <= now => Step::Order(name.clone()),
            due => Step::WaitUntil(due),
        }
    }

    /// Whether a certificate for this name may be ordered now.
    pub(super) fn is_due(&self, name: &str, now: SystemTime) -> bool {
        let plan = self.names.get(name);
        plan.is_some_and(|plan| self.due(plan).max(self.server.until()) <= now)
    }

    /// When a name is ordered next, as far as it is known.
    pub(super) fn due_at(&self, name: &str) -> Option<SystemTime> {
        let plan = self.names.get(name)?;
        Some(self.due(plan).max(self.server.until()))
    }

    /// Notes how an order ended.
    pub(super) fn ended(&mut self, name: &str, outcome: Outcome, now: SystemTime) {
        let Some(plan) = self.names.get_mut(name) else {
            return;
        };
        match outcome {
            Outcome::Issued => {
                self.server = Hold::default();
                plan.hold = Hold::default();
                // A certificate may be due for renewal as soon as it is issued; without a pause the server would be asked again and again.
                plan.hold.until = Some(now + UNAVAILABLE_WAIT);
            }
            Outcome::Unavailable(asked) => self.server.failed(UNAVAILABLE_WAIT, asked, now),
            Outcome::Refused(asked) => {
                self.server = Hold::default();
                plan.hold.failed(REFUSED_WAIT, asked, now);
            }
            Outcome::Busy => self.server.until = Some(now + BUSY_WAIT),
        }
    }

    fn due(&self, plan: &Plan) -> SystemTime {
        let renewal = plan.stored.map(|stored| stored.renewal(self.spread));
        renewal
            .unwrap_or(SystemTime::UNIX_EPOCH)
            .max(plan.hold.until())
    }
}

impl Validity {
    /// At two thirds of the lifetime, and up to a hundredth of it later.
    fn renewal(self, spread: f64) -> SystemTime {
        let lifetime = self.not_after.duration_since(self.not_before);
        let lifetime = lifetime.unwrap_or_default();
        let spread = (lifetime / SPREAD_PARTS).mul_f64(spread.clamp(0.0, 1.0));
        self.not_before + lifetime / 3 * 2 + spread
    }
}

impl Hold {
    fn until(&self) -> SystemTime {
        self.until.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Waits twice as long as after the failure before, or as long as the ACME server asks.
    fn failed(&mut self, first: Duration, asked: Option<Duration>, now: SystemTime) {
        let doubled = |first: Duration| {
            let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
            first.saturating_mul(factor).min(WAIT_MAX)
        };
        let (wait, by) = match asked {
            // It knows better than any table, but is not believed that now is the time again and again.
            Some(asked) => (
                asked.min(ASKED_WAIT_MAX).max(doubled(UNAVAILABLE_WAIT)),
                By::Server,
            ),
            None => (doubled(first), By::This),
        };
        self.failures = self.failures.saturating_add(1);
        (self.until, self.by) = (Some(now + wait), by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY + Duration::from_secs(seconds)
    }

    fn of(names: &[&str]) -> Schedule {
        let mut schedule = Schedule::new(0.0);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        schedule.set_names(&names);
        schedule
    }

    fn ninety_days(from: SystemTime) -> Option<Validity> {
        Some(Validity {
            not_before: from,
            not_after: from + 90 * DAY,
        })
    }

    /// The wait after each of some failures in a row.
    fn waits(schedule: &mut Schedule, outcome: Outcome, failures: usize) -> Vec<Duration> {
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..failures {
            assert_eq!(schedule.next(now), Step::Order("a.test".to_owned()));
            schedule.ended("a.test", outcome, now);
            let Step::WaitUntil(until) = schedule.next(now) else {
                panic!("it does not wait");
            };
            waits.push(until.duration_since(now).expect("later"));
            assert!(!schedule.is_due("a.test", until - Duration::from_millis(1)));
            now = until;
        }
        waits
    }

    #[test]
    fn a_name_without_a_certificate_is_ordered_at_once() {
        let schedule = of(&["a.test"]);
        assert_eq!(schedule.next(at(0)), Step::Order("a.test".to_owned()));
        assert_eq!(of(&[]).next(at(0)), Step::Rest);
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime_or_little_later() {
        let mut schedule = of(&["a.test"]);
        schedule.set_stored("a.test", ninety_days(at(0)));
        let due = at(0) + 60 * DAY;
        assert_eq!(schedule.next(at(0)), Step::WaitUntil(due));
        assert_eq!(schedule.next(due), Step::Order("a.test".to_owned()));
        for spread in [0.3, 1.0] {
            schedule.spread = spread;
            let Step::WaitUntil(until) = schedule.next(at(0)) else {
                panic!("it does not wait");
            };
            assert!(until > due && until <= due + DAY, "{until:?}");
        }
    }

    #[test]
    fn an_expired_certificate_and_one_that_ends_before_it_begins_are_due() {
        let mut schedule = of(&["a.test"]);
        for (not_before, not_after) in [(at(0), at(10)), (at(10), at(0))] {
            let validity = Validity {
                not_before,
                not_after,
            };
            schedule.set_stored("a.test", Some(validity));
            assert!(schedule.is_due("a.test", at(11)));
        }
    }

    #[test]
    fn a_server_out_of_reach_is_asked_after_two_seconds_then_twice_as_long_up_to_a_day() {
        let waits = waits(&mut of(&["a.test"]), Outcome::Unavailable(None), 40);
        assert_eq!(waits[..4], [2, 4, 8, 16].map(Duration::from_secs));
        assert_eq!(waits[15], Duration::from_secs(2 << 15));
        assert!(waits[16..].iter().all(|wait| *wait == DAY), "{waits:?}");
    }

    #[test]
    fn a_refused_name_waits_five_minutes_then_twice_as_long_up_to_a_day() {
        let waits = waits(&mut of(&["a.test"]), Outcome::Refused(None), 40);
        assert_eq!(waits[..3], [5, 10, 20].map(|minutes| minutes * MINUTE));
        assert!(waits[9..].iter().all(|wait| *wait == DAY), "{waits:?}");
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed_up_to_a_week_and_no_retry_cuts_it_short() {
        for outcome in [Outcome::Refused, Outcome::Unavailable] {
            let mut schedule = of(&["a.test"]);
            schedule.ended("a.test", outcome(Some(MINUTE)), at(0));
            schedule.retry();
            assert_eq!(schedule.next(at(0)), Step::WaitUntil(at(60)));
            schedule.ended("a.test", outcome(Some(Duration::MAX)), at(60));
            assert_eq!(schedule.next(at(60)), Step::WaitUntil(at(60) + 7 * DAY));
        }
        let now = waits(
            &mut of(&["a.test"]),
            Outcome::Refused(Some(Duration::ZERO)),
            3,
        );
        assert_eq!(now, [2, 4, 8].map(Duration::from_secs));
    }

    #[test]
    fn a_refused_name_holds_up_no_other_and_a_server_out_of_reach_holds_up_all() {
        let mut schedule = of(&["a.test", "b.test"]);
        schedule.ended("a.test", Outcome::Refused(None), at(0));
        assert_eq!(schedule.next(at(0)), Step::Order("b.test".to_owned()));
        schedule.ended("b.test", Outcome::Unavailable(None), at(0));
        assert_eq!(schedule.next(at(0)), Step::WaitUntil(at(2)));
        schedule.ended("b.test", Outcome::Issued, at(2));
        schedule.set_stored("b.test", ninety_days(at(2)));
        assert_eq!(schedule.next(at(2)), Step::WaitUntil(at(300)));
    }

    #[test]
    fn a_success_ends_the_back_off_and_what_is_due_again_at_once_waits_a_little() {
        let mut schedule = of(&["a.test"]);
        let before = waits(&mut schedule, Outcome::Unavailable(None), 5);
        schedule.ended("a.test", Outcome::Issued, at(1000));
        schedule.set_stored("a.test", ninety_days(at(0) - 80 * DAY));
        assert_eq!(schedule.next(at(1000)), Step::WaitUntil(at(1002)));
        let after = waits(&mut of(&["a.test"]), Outcome::Unavailable(None), 5);
        assert_eq!(before, after);
    }

    #[test]
    fn a_retry_on_request_waits_for_nothing_that_this_server_has_chosen() {
        let mut schedule = of(&["a.test"]);
        schedule.ended("a.test", Outcome::Refused(None), at(0));
        schedule.retry();
        assert!(schedule.is_due("a.test", at(0)));
    }

    #[test]
    fn new_names_are_ordered_and_removed_ones_are_not() {
        let mut schedule = of(&["a.test"]);
        schedule.set_stored("a.test", ninety_days(at(0)));
        schedule.set_names(&["a.test".to_owned(), "b.test".to_owned()]);
        assert_eq!(schedule.next(at(0)), Step::Order("b.test".to_owned()));
        schedule.set_names(&["a.test".to_owned()]);
        assert_eq!(schedule.next(at(0)), Step::WaitUntil(at(0) + 60 * DAY));
    }

    #[test]
    fn an_order_of_another_process_is_waited_for_without_counting_as_a_failure() {
        let mut schedule = of(&["a.test"]);
        let waits = waits(&mut schedule, Outcome::Busy, 5);
        assert!(waits.iter().all(|wait| *wait == BUSY_WAIT), "{waits:?}");
    }
}
