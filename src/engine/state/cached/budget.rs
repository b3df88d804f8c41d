//! How much memory all cached events may take on a node alone, where a backend can have very many channels keep one each.

use std::{
    collections::{BTreeMap, HashMap},
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
        taken.bytes += bytes;
        let of_app = taken.apps.entry(Arc::clone(&key.app_id)).or_default();
        of_app.bytes += bytes;
        of_app.events.insert(number, (key.clone(), bytes));
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
        let (app_id, of_app) = self.apps.iter().max_by_key(|(_, of_app)| of_app.bytes)?;
        let (number, (key, _)) = of_app.events.first_key_value()?;
        let (app_id, number, key) = (Arc::clone(app_id), *number, key.clone());
        self.give(&app_id, number);
        Some(Evicted { key, number })
    }

    /// Takes an event out, unless that was done before.
    fn give(&mut self, app_id: &str, number: u64) {
        let Some(of_app) = self.apps.get_mut(app_id) else {
            return;
        };
        if let Some((_, bytes)) = of_app.events.remove(&number) {
            of_app.bytes -= bytes;
            self.bytes -= bytes;
        }
        if of_app.events.is_empty() {
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
        let taken = budget.lock();
        assert_eq!((taken.bytes, taken.apps.len()), (0, 0));
    }
}
