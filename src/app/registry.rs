//! Which app has this id, or this key.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use ahash::RandomState;

use super::{App, Name};

/// All apps, by id and by key. They are replaced only together, so that a reader never sees half of a change.
pub struct AppRegistry {
    /// Held only to look one up, or to swap.
    snapshot: RwLock<Snapshot>,
}

#[derive(Default)]
struct Snapshot {
    all: Arc<[Arc<App>]>,
    by_id: HashMap<Name, Arc<App>, RandomState>,
    by_key: HashMap<Name, Arc<App>, RandomState>,
}

impl AppRegistry {
    /// A registry of these apps.
    #[must_use]
    pub fn new(apps: Vec<App>) -> Self {
        Self {
            snapshot: RwLock::new(Snapshot::new(apps)),
        }
    }

    /// The app that the HTTP API's paths call `id`.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<App>> {
        self.read().by_id.get(id).cloned()
    }

    /// The app that clients call `key`.
    #[must_use]
    pub fn by_key(&self, key: &str) -> Option<Arc<App>> {
        self.read().by_key.get(key).cloned()
    }

    /// Every app, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> Arc<[Arc<App>]> {
        Arc::clone(&self.read().all)
    }

    /// Puts these apps in the place of all others; whoever holds an old one finishes with it. Ids and keys must be
    /// distinct (a configuration is checked for it); an app that repeats one is left out.
    pub fn replace(&self, apps: Vec<App>) {
        let snapshot = Snapshot::new(apps);
        let held = self.snapshot.write();
        let old = mem::replace(&mut *held.unwrap_or_else(PoisonError::into_inner), snapshot);
        // Many apps take a while to be dropped: nobody waits for it.
        drop(old);
    }

    fn read(&self) -> RwLockReadGuard<'_, Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    fn new(apps: Vec<App>) -> Self {
        let mut snapshot = Self::default();
        let mut all = Vec::with_capacity(apps.len());
        for app in apps.into_iter().map(Arc::new) {
            if snapshot.by_id.contains_key(&app.id) || snapshot.by_key.contains_key(&app.key) {
                continue;
            }
            snapshot.by_id.insert(app.id.clone(), Arc::clone(&app));
            snapshot.by_key.insert(app.key.clone(), Arc::clone(&app));
            all.push(app);
        }
        snapshot.all = all.into();
        snapshot
    }
}

impl fmt::Debug for AppRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.read();
        f.debug_list()
            .entries(snapshot.all.iter().map(|app| &app.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str, key: &str) -> App {
        App::for_test(id, key)
    }

    fn ids(registry: &AppRegistry) -> Vec<String> {
        registry
            .all()
            .iter()
            .map(|app| app.id.to_string())
            .collect()
    }

    #[test]
    fn an_app_is_found_by_its_id_and_by_its_key() {
        let registry = AppRegistry::new(vec![app("1", "one"), app("2", "two")]);
        assert_eq!(
            registry
                .by_id("2")
                .map(|app| app.key.to_string())
                .as_deref(),
            Some("two")
        );
        assert_eq!(
            registry
                .by_key("one")
                .map(|app| app.id.to_string())
                .as_deref(),
            Some("1")
        );
        assert_eq!(registry.by_id("one"), None);
        assert_eq!(registry.by_key("1"), None);
        assert_eq!(ids(&registry), ["1", "2"]);
    }

    #[test]
    fn a_replacement_is_whole_and_leaves_held_apps_alone() {
        let registry = AppRegistry::new(vec![app("1", "one"), app("2", "two")]);
        let held = registry.by_id("1").expect("it was put in");
        registry.replace(vec![app("1", "uno"), app("3", "three")]);
        assert_eq!(&*held.key, "one");
        assert_eq!(registry.by_key("one"), None);
        assert_eq!(registry.by_key("two"), None);
        assert_eq!(
            registry
                .by_key("uno")
                .map(|app| app.id.to_string())
                .as_deref(),
            Some("1")
        );
        assert_eq!(ids(&registry), ["1", "3"]);
    }

    #[test]
    fn an_app_that_repeats_an_id_or_a_key_is_left_out() {
        let registry = AppRegistry::new(vec![app("1", "one"), app("1", "other"), app("2", "one")]);
        assert_eq!(ids(&registry), ["1"]);
        assert_eq!(registry.by_key("other"), None);
        assert_eq!(registry.by_id("2"), None);
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let registry = AppRegistry::new(vec![app("1", "one")]);
        assert!(!format!("{registry:?} {:?}", registry.by_id("1")).contains("hidden"));
    }
}
