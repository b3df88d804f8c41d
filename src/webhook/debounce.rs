//! Holds departures back, so that a page that is loaded again is not announced as gone.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::HashMap;

use super::class::Class;

/// How long a channel must stay vacated, or a user away, before that is announced.
const DELAY: Duration = Duration::from_secs(3);
/// Departures held back at a time. Of one app and class never more than the room that is left; the rest is announced without delay.
const HELD_MAX: usize = 100_000;

/// Whose departures share room.
type Share = (Arc<str>, Class);

/// Who is gone: all subscribers of a channel, or one user of a presence channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gone {
    pub(super) app_id: Arc<str>,
    pub(super) class: Class,
    pub(super) channel: Arc<str>,
    /// The user; `None`: everybody.
    pub(super) user_id: Option<Arc<str>>,
}

impl Gone {
    fn share(&self) -> Share {
        (Arc::clone(&self.app_id), self.class)
    }
}

/// When a departure is due; the number tells apart those of the same instant.
type Due = (Instant, u64);

/// Departures and their events, in the order in which they are due.
pub(super) struct Debounce<T> {
    held: HashMap<Gone, (Due, T)>,
    timers: BTreeMap<Due, Gone>,
    shares: HashMap<Share, usize>,
    next_number: u64,
}

impl<T> Default for Debounce<T> {
    fn default() -> Self {
        Self {
            held: HashMap::default(),
            timers: BTreeMap::new(),
            shares: HashMap::default(),
            next_number: 0,
        }
    }
}

impl<T> Debounce<T> {
    /// Holds a departure back for the delay. Returns its event if there is no room, to be announced now.
    pub(super) fn depart(&mut self, gone: Gone, event: T, now: Instant) -> Option<T> {
        let share = self.shares.entry(gone.share()).or_default();
        if *share >= HELD_MAX - self.held.len() {
            return Some(event);
        }
        *share += 1;
        let vacated = gone.user_id.is_some().then(|| Gone {
            class: Class::Channels,
            user_id: None,
            ..gone.clone()
        });
        let due = self.set_timer(gone.clone(), now);
        if let Some((former, _)) = self.held.insert(gone.clone(), (due, event)) {
            self.timers.remove(&former);
            self.leave_share(&gone);
        }
        // A channel may be seen vacated a moment before its last user has left; it is announced after that user.
        if let Some(vacated) = vacated
            && self.held.contains_key(&vacated)
        {
            let due = self.set_timer(vacated.clone(), now);
            if let Some((held, _)) = self.held.get_mut(&vacated) {
                self.timers.remove(held);
                *held = due;
            }
        }
        None
    }

    /// Whether the departure was held back: then neither it nor the return is announced.
    pub(super) fn come_back(&mut self, gone: &Gone) -> bool {
        let Some((due, _)) = self.held.remove(gone) else {
            return false;
        };
        self.timers.remove(&due);
        self.leave_share(gone);
        true
    }

    /// When the next departure is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes a departure that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        self.next_due().filter(|due| *due <= now)?;
        self.take_first()
    }

    /// Takes the departure that is due next, due or not.
    pub(super) fn take_first(&mut self) -> Option<T> {
        let (_, gone) = self.timers.pop_first()?;
        self.leave_share(&gone);
        self.held.remove(&gone).map(|(_, event)| event)
    }

    fn leave_share(&mut self, gone: &Gone) {
        let share = gone.share();
        if let Some(held) = self.shares.get_mut(&share) {
            *held -= 1;
            if *held == 0 {
                self.shares.remove(&share);
            }
        }
    }

    fn set_timer(&mut self, gone: Gone, now: Instant) -> Due {
        self.next_number += 1;
        let due = (now + DELAY, self.next_number);
        self.timers.insert(due, gone);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(channel: &str, user_id: Option<&str>) -> Gone {
        Gone {
            app_id: "1".into(),
            class: user_id.map_or(Class::Channels, |_| Class::Members),
            channel: channel.into(),
            user_id: user_id.map(Into::into),
        }
    }

    fn due(debounce: &mut Debounce<&'static str>, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| debounce.take_due(now)).collect()
    }

    #[track_caller]
    fn assert_is_empty<T>(debounce: &Debounce<T>) {
        assert!(debounce.held.is_empty() && debounce.timers.is_empty());
        assert!(debounce.shares.is_empty(), "{:?}", debounce.shares);
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_departure_is_announced_after_the_delay_and_once() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", None), "a", start);
        debounce.depart(gone("b", None), "b", start + MS);
        assert_eq!(debounce.next_due(), Some(start + DELAY));
        assert_eq!(due(&mut debounce, start + DELAY - MS), [""; 0]);
        assert_eq!(due(&mut debounce, start + DELAY), ["a"]);
        assert_eq!(due(&mut debounce, start + 2 * DELAY), ["b"]);
        assert_eq!(due(&mut debounce, start + 3 * DELAY), [""; 0]);
        assert_eq!(debounce.next_due(), None);
        assert!(!debounce.come_back(&gone("a", None)), "it was announced");
        assert_is_empty(&debounce);
    }

    #[test]
    fn whoever_comes_back_within_the_delay_was_never_away() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", Some("7")), "7", start);
        debounce.depart(gone("a", Some("8")), "8", start);
        assert!(debounce.come_back(&gone("a", Some("7"))));
        assert!(!debounce.come_back(&gone("a", Some("7"))), "only once");
        assert!(!debounce.come_back(&gone("b", Some("8"))), "elsewhere");
        assert_eq!(due(&mut debounce, start + DELAY), ["8"]);
        assert_is_empty(&debounce);
    }

    #[test]
    fn a_second_departure_has_its_own_delay() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", None), "first", start);
        assert!(debounce.come_back(&gone("a", None)));
        debounce.depart(gone("a", None), "second", start + 2000 * MS);
        assert_eq!(due(&mut debounce, start + DELAY), [""; 0]);
        assert_eq!(due(&mut debounce, start + DELAY + 2000 * MS), ["second"]);
        assert_is_empty(&debounce);
    }

    #[test]
    fn a_vacated_channel_is_announced_after_its_last_user() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", None), "vacated", start);
        debounce.depart(gone("b", None), "other", start + MS);
        debounce.depart(gone("a", Some("7")), "removed", start + 2 * MS);
        let announced = due(&mut debounce, start + DELAY + 2 * MS);
        assert_eq!(announced, ["other", "removed", "vacated"]);
        debounce.depart(gone("a", None), "vacated", start);
        debounce.depart(gone("a", Some("7")), "removed", start);
        let all: Vec<_> = std::iter::from_fn(|| debounce.take_first()).collect();
        assert_eq!(all, ["removed", "vacated"]);
        assert_is_empty(&debounce);
    }

    #[test]
    fn departures_beyond_the_room_are_announced_at_once() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        let flood = |number: usize| gone(&number.to_string(), None);
        let held = (0..HELD_MAX).take_while(|number| {
            let kept = debounce.depart(flood(*number), "", start);
            kept.is_none()
        });
        assert_eq!(held.count(), HELD_MAX / 2, "half, so that others have room");
        assert_eq!(debounce.depart(gone("a", None), "a", start), Some("a"));
        let member = gone("presence-a", Some("7"));
        assert_eq!(debounce.depart(member, "7", start), None, "another class");
        let other_app = Gone {
            app_id: "2".into(),
            ..gone("a", None)
        };
        assert_eq!(debounce.depart(other_app, "2", start), None);
        assert_eq!(due(&mut debounce, start + DELAY).len(), HELD_MAX / 2 + 2);
        assert_is_empty(&debounce);
    }

    #[test]
    fn a_channel_in_a_loop_takes_one_place() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        for _ in 0..2 * HELD_MAX {
            assert_eq!(debounce.depart(gone("a", None), "a", start), None);
            assert!(debounce.come_back(&gone("a", None)));
        }
        assert_is_empty(&debounce);
    }
}
