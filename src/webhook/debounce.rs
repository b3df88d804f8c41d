//! Departures wait for a while, so that a page that is loaded again is no news.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a channel must stay vacated, or a user away, before that is told.
const DELAY: Duration = Duration::from_secs(3);
/// Departures that wait. Over it they are told at once.
const WAITING_MAX: usize = 100_000;

/// Who has gone: all subscribers of a channel, or one user of a presence channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gone {
    pub(super) app_id: Arc<str>,
    pub(super) channel: Arc<str>,
    /// The user; `None`: everybody.
    pub(super) user_id: Option<Arc<str>>,
}

/// Departures and what to tell of them, in the order in which they are due.
pub(super) struct Debounce<T> {
    waiting: HashMap<Gone, (u64, T)>,
    /// All delays are equal, so that the oldest is always due first. Those whose number is no longer waiting are void.
    timers: VecDeque<(Instant, u64, Gone)>,
    next_number: u64,
}

impl<T> Default for Debounce<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            timers: VecDeque::new(),
            next_number: 0,
        }
    }
}

impl<T> Debounce<T> {
    /// Keeps a departure for the delay. Gives back what to tell at once because too many wait.
    pub(super) fn depart(&mut self, gone: Gone, news: T, now: Instant) -> Option<T> {
        if self.timers.len() >= WAITING_MAX {
            return Some(news);
        }
        let vacated = gone.user_id.is_some().then(|| Gone {
            user_id: None,
            ..gone.clone()
        });
        let number = self.set_timer(gone.clone(), now);
        self.waiting.insert(gone, (number, news));
        // A channel may be seen vacated a moment before its last user has left; it is told after him.
        if let Some(vacated) = vacated
            && self.waiting.contains_key(&vacated)
        {
            let number = self.set_timer(vacated.clone(), now);
            if let Some(waiting) = self.waiting.get_mut(&vacated) {
                waiting.0 = number;
            }
        }
        None
    }

    /// Whether the departure was still waiting: then nobody is told of it, nor of the return.
    pub(super) fn come_back(&mut self, gone: &Gone) -> bool {
        self.waiting.remove(gone).is_some()
    }

    /// When the next departure may be due; perhaps it has come to nothing by then.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.front().map(|(due, ..)| *due)
    }

    /// Takes a departure that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        while self.next_due().is_some_and(|due| due <= now) {
            if let Some(departure) = self.take_first() {
                return Some(departure);
            }
        }
        None
    }

    /// Takes all departures, due or not.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        let mut departures = Vec::with_capacity(self.waiting.len());
        while !self.timers.is_empty() {
            departures.extend(self.take_first());
        }
        departures
    }

    fn take_first(&mut self) -> Option<T> {
        let (_, number, gone) = self.timers.pop_front()?;
        let is_waiting = self
            .waiting
            .get(&gone)
            .is_some_and(|(latest, _)| *latest == number);
        let (_, news) = is_waiting.then(|| self.waiting.remove(&gone)).flatten()?;
        Some(news)
    }

    fn set_timer(&mut self, gone: Gone, now: Instant) -> u64 {
        self.next_number += 1;
        self.timers.push_back((now + DELAY, self.next_number, gone));
        self.next_number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(channel: &str, user_id: Option<&str>) -> Gone {
        Gone {
            app_id: "1".into(),
            channel: channel.into(),
            user_id: user_id.map(Into::into),
        }
    }

    fn due(debounce: &mut Debounce<&'static str>, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| debounce.take_due(now)).collect()
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_departure_is_told_after_the_delay_and_once() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", None), "a", start);
        debounce.depart(gone("b", None), "b", start + MS);
        assert_eq!(debounce.next_due(), Some(start + DELAY));
        assert_eq!(due(&mut debounce, start + DELAY - MS), [""; 0]);
        assert_eq!(due(&mut debounce, start + DELAY), ["a"]);
        assert_eq!(due(&mut debounce, start + 2 * DELAY), ["b"]);
        assert_eq!(due(&mut debounce, start + 3 * DELAY), [""; 0]);
        assert_eq!(debounce.next_due(), None);
        assert!(!debounce.come_back(&gone("a", None)), "it was told");
    }

    #[test]
    fn who_comes_back_within_the_delay_was_never_away() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", Some("7")), "7", start);
        debounce.depart(gone("a", Some("8")), "8", start);
        assert!(debounce.come_back(&gone("a", Some("7"))));
        assert!(!debounce.come_back(&gone("a", Some("7"))), "only once");
        assert!(!debounce.come_back(&gone("b", Some("8"))), "elsewhere");
        assert_eq!(due(&mut debounce, start + DELAY), ["8"]);
    }

    #[test]
    fn a_second_departure_has_its_own_delay() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", None), "first", start);
        assert!(debounce.come_back(&gone("a", None)));
        debounce.depart(gone("a", None), "second", start + 2000 * MS);
        assert_eq!(due(&mut debounce, start + DELAY), [""; 0]);
        assert_eq!(due(&mut debounce, start + DELAY + 2000 * MS), ["second"]);
    }

    #[test]
    fn a_vacated_channel_is_told_after_its_last_user() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.depart(gone("a", None), "vacated", start);
        debounce.depart(gone("b", None), "other", start + MS);
        debounce.depart(gone("a", Some("7")), "removed", start + 2 * MS);
        let told = due(&mut debounce, start + DELAY + 2 * MS);
        assert_eq!(told, ["other", "removed", "vacated"]);
        debounce.depart(gone("a", None), "vacated", start);
        debounce.depart(gone("a", Some("7")), "removed", start);
        assert_eq!(debounce.take_all(), ["removed", "vacated"]);
    }

    #[test]
    fn too_many_departures_are_told_at_once() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        for number in 0..WAITING_MAX {
            let kept = debounce.depart(gone(&number.to_string(), None), "", start);
            assert_eq!(kept, None);
        }
        assert_eq!(debounce.depart(gone("a", None), "a", start), Some("a"));
        assert_eq!(due(&mut debounce, start + DELAY).len(), WAITING_MAX);
        assert_eq!(debounce.depart(gone("a", None), "a", start), None);
    }
}
