//! How many clients wait to be admitted, in all and of each app.

use std::{collections::BTreeMap, sync::Arc};

/// More are refused, to try again.
const ALL_MAX: usize = 262_144;
/// So many of an app may wait even when other apps have used up the rest.
const OF_APP_MIN: usize = 1024;

/// Clients that wait to be admitted.
#[derive(Default)]
pub(super) struct Waiting {
    all: usize,
    of_apps: BTreeMap<Arc<str>, usize>,
}

impl Waiting {
    /// Whether one more client of the app may wait.
    pub(super) fn has_room(&self, app_id: &str) -> bool {
        self.all < ALL_MAX || self.of_apps.get(app_id).is_none_or(|of| *of < OF_APP_MIN)
    }

    pub(super) fn add(&mut self, app_id: &Arc<str>) {
        self.all += 1;
        *self.of_apps.entry(Arc::clone(app_id)).or_default() += 1;
    }

    /// So many wait no longer.
    pub(super) fn remove(&mut self, app_id: &str, count: usize) {
        if let Some(of) = self.of_apps.get_mut(app_id) {
            *of -= count;
            self.all -= count;
            if *of == 0 {
                self.of_apps.remove(app_id);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_room_when_another_has_used_it_up() {
        let mut waiting = Waiting::default();
        let (greedy, modest): (Arc<str>, Arc<str>) = ("greedy".into(), "modest".into());
        while waiting.has_room(&greedy) {
            waiting.add(&greedy);
        }
        assert_eq!(waiting.len(), ALL_MAX);
        while waiting.has_room(&modest) {
            waiting.add(&modest);
        }
        assert_eq!(waiting.len(), ALL_MAX + OF_APP_MIN);
        waiting.remove(&modest, OF_APP_MIN);
        assert!(waiting.has_room(&modest) && !waiting.has_room(&greedy));
        waiting.remove(&greedy, 1);
        assert!(waiting.has_room(&greedy));
    }
}
