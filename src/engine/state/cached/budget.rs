//! How much memory all cached events may take on a node alone, where a backend can have very many channels keep one each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::engine::ChannelKey;

/// Bytes of all cached events.
const BYTES_MAX: usize = 256 << 20;
/// What an event takes besides its frame: its channel's state and name, and its place here.
const EVENT_BYTES: usize = 512;

/// The memory of all cached events.
pub(in super::super) struct Budget {
    taken: Mutex<Taken>,
    bytes_max: usize,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    apps: HashMap<Arc<str>, OfApp>,
    /// The same apps by their bytes: the one with the most is found without a look at the others.
    by_bytes: BTreeSet<(usize, Arc<str>)>,
    next: u64,
}

/// One app's events, the oldest first.
#[derive(Default)]
struct OfApp {
    bytes: usize,
    events: BTreeMap<u64, (ChannelKey, usize)>,
}

/// An event's part of the budget, which it gives back when it is dropped.
pub(super) struct Place {
    budget: Arc<Budget>,
    app_id: Arc<str>,
    number: u64,
}

/// An event that has to go.
pub(super) struct Evicted {
    pub(super) key: ChannelKey,
    number: u64,
}

impl Budget {
    /// For a node alone.
    pub(in super::super) fn new() -> Self {
        Self::of(BYTES_MAX)
    }

    pub(in super::super) fn of(bytes_max: usize) -> Self {
        Self {
            taken: Mutex::default(),
            bytes_max,
        }
    }

    /// A place for an event, and the events that have to go for it: the oldest of the app that has the most.
    pub(super) fn take(self: &Arc<Self>, key: &ChannelKey, frame: usize) -> (Place, Vec<Evicted>) {
        let mut taken = self.lock();
        let (number, bytes) = (taken.next, frame + EVENT_BYTES);
        taken.next += 1;
        taken.change(&key.app_id, |of_app| {
            of_app.bytes += bytes;
            of_app.events.insert(number, (key.clone(), bytes));
        });
        let mut evicted = Vec::new();
        while taken.bytes > self.bytes_max
            && let Some(one) = taken.evict()
        {
            evicted.push(one);
        }
        let place = Place {
            budget: Arc::clone(self),
            app_id: Arc::clone(&key.app_id),
            number,
        };
        (place, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn evict(&mut self) -> Option<Evicted> {
        let (_, app_id) = self.by_bytes.last()?;
        let app_id = Arc::clone(app_id);
        let (number, (key, _)) = self.apps.get(&app_id)?.events.first_key_value()?;
        let (number, key) = (*number, key.clone());
        self.give(&app_id, number);
        Some(Evicted { key, number })
    }

    /// Takes an event out, unless that was done before.
    fn give(&mut self, app_id: &Arc<str>, number: u64) {
        self.change(app_id, |of_app| {
            if let Some((_, bytes)) = of_app.events.remove(&number) {
                of_app.bytes -= bytes;
            }
        });
    }

    /// Changes what an app has, and with it the total and the order.
    fn change(&mut self, app_id: &Arc<str>, change: impl FnOnce(&mut OfApp)) {
        let of_app = self.apps.entry(Arc::clone(app_id)).or_default();
        let before = of_app.bytes;
        change(of_app);
        let after = of_app.bytes;
        self.bytes = self.bytes - before + after;
        self.by_bytes.remove(&(before, Arc::clone(app_id)));
        if after > 0 {
            self.by_bytes.insert((after, Arc::clone(app_id)));
        } else {
            self.apps.remove(app_id);
        }
    }
}

impl Place {
    /// Whether this is the event that has to go.
    pub(super) fn is_of(&self, evicted: &Evicted) -> bool {
        self.number == evicted.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.lock().give(&self.app_id, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ChannelKind;

    fn key(app_id: &str, name: &str) -> ChannelKey {
        ChannelKey {
            app_id: app_id.into(),
            name: name.into(),
            kind: ChannelKind::of(name),
        }
    }

    #[test]
    fn the_oldest_of_the_app_with_the_most_goes_and_what_is_dropped_counts_no_more() {
        let budget = Arc::new(Budget::of(4 * (EVENT_BYTES + 100)));
        let mut places = Vec::new();
        for (app_id, name) in [
            ("greedy", "a"),
            ("modest", "m"),
            ("greedy", "b"),
            ("greedy", "c"),
        ] {
            let (place, evicted) = budget.take(&key(app_id, name), 100);
            assert!(evicted.is_empty());
            places.push(place);
        }
        let (place, evicted) = budget.take(&key("modest", "n"), 100);
        let [first] = &evicted[..] else {
            panic!("one goes");
        };
        assert_eq!(&*first.key.name, "a");
        assert!(places[0].is_of(first) && !place.is_of(first));
        drop((place, places));
        assert_nothing_is_left(&budget);
    }

    #[test]
    fn with_many_apps_each_event_that_goes_is_of_one_that_has_the_most() {
        const APPS: usize = 100;
        let at_first = (APPS * (APPS + 1)) / 2;
        let budget = Arc::new(Budget::of(at_first * (EVENT_BYTES + 100)));
        // How many events each app has; app 0 is the newcomer.
        let mut counts: Vec<usize> = (0..=APPS).collect();
        let mut places = Vec::new();
        for app in 1..=APPS {
            for channel in 0..app {
                let (place, evicted) =
                    budget.take(&key(&app.to_string(), &channel.to_string()), 100);
                assert!(evicted.is_empty());
                places.push(place);
            }
        }
        for number in 0..at_first {
            let (place, evicted) = budget.take(&key("newcomer", &number.to_string()), 100);
            places.push(place);
            counts[0] += 1;
            let [one] = &evicted[..] else {
                panic!("one goes");
            };
            let of_app: usize = one.key.app_id.parse().unwrap_or(0);
            assert_eq!(counts.iter().max(), Some(&counts[of_app]));
            counts[of_app] -= 1;
        }
        drop(places);
        assert_nothing_is_left(&budget);
    }

    fn assert_nothing_is_left(budget: &Budget) {
        let taken = budget.lock();
        let left = (taken.bytes, taken.apps.len(), taken.by_bytes.len());
        assert_eq!(left, (0, 0, 0));
    }
}
