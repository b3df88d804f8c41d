//! Which app has this id, or this key.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use ahash::RandomState;

use super::{App, Name};

/// All apps, by id and by key. They are replaced only together, so that a reader never sees half of a change.
pub struct AppRegistry {
    /// Held only to look one up, or to swap.
    snapshot: RwLock<Snapshot>,
    version: AtomicU64,
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
    pub fn new(apps: Vec<Arc<App>>) -> Self {
        Self {
            snapshot: RwLock::new(Snapshot::new(apps)),
            version: AtomicU64::new(0),
        }
    }

    /// The app that the HTTP API's paths call `id`.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<App>> {
        self.read().by_id.get(id).cloned()
    }

    /// The app that has this key, valid or not.
    #[must_use]
    pub fn by_key(&self, key: &str) -> Option<Arc<App>> {
        self.read().by_key.get(key).cloned()
    }

    /// Every app, in the order of its store.
    #[must_use]
    pub fn all(&self) -> Arc<[Arc<App>]> {
        Arc::clone(&self.read().all)
    }

    /// Rises with every replacement: who holds an app need look it up again only then.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Puts these apps in the place of all others and gives those; whoever holds an old one finishes with it. Ids and keys must be
    /// distinct (a store is checked for it); an app that repeats one is left out.
    pub fn replace(&self, apps: Vec<Arc<App>>) -> Arc<[Arc<App>]> {
        let snapshot = Snapshot::new(apps);
        let held = self.snapshot.write();
        let old = mem::replace(&mut *held.unwrap_or_else(PoisonError::into_inner), snapshot);
        self.version.fetch_add(1, Ordering::Release);
        // Many apps take a while to be dropped: nobody waits for it.
        old.all
    }

    fn read(&self) -> RwLockReadGuard<'_, Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    fn new(apps: Vec<Arc<App>>) -> Self {
        let mut snapshot = Self::default();
        snapshot.by_id.reserve(apps.len());
        snapshot.by_key.reserve(apps.len());
        let mut all = Vec::with_capacity(apps.len());
        for app in apps {
            let is_known = snapshot.by_id.contains_key(&app.id)
                || app.keys().any(|it| snapshot.by_key.contains_key(it.key));
            if is_known {
                continue;
            }
            snapshot.by_id.insert(app.id.clone(), Arc::clone(&app));
            for key in app.keys() {
                snapshot.by_key.insert(key.key.clone(), Arc::clone(&app));
            }
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
    use crate::{
        app::{AppKey, Secret},
        settings::Literal,
    };

    fn app(id: &str, key: &str) -> Arc<App> {
        Arc::new(App::for_test(id, key))
    }

    fn ids(registry: &AppRegistry) -> Vec<String> {
        registry
            .all()
            .iter()
            .map(|app| app.id.to_string())
            .collect()
    }

    fn id_of_key(registry: &AppRegistry, key: &str) -> Option<String> {
        registry.by_key(key).map(|app| app.id.to_string())
    }

    #[test]
    fn an_app_is_found_by_its_id_and_by_each_of_its_keys() {
        let further = AppKey {
            key: Literal::of("zwei"),
            secret: Secret::new("hidden"),
            label: String::new(),
            created: None,
            disabled: None,
        };
        let two_keys = App {
            keys: vec![further],
            ..App::for_test("2", "two")
        };
        let registry = AppRegistry::new(vec![app("1", "one"), Arc::new(two_keys)]);
        assert_eq!(registry.by_id("2").map(|app| app.keys().count()), Some(2));
        for (key, id) in [("one", "1"), ("two", "2"), ("zwei", "2")] {
            assert_eq!(id_of_key(&registry, key).as_deref(), Some(id));
        }
        assert_eq!(registry.by_id("one"), None);
        assert_eq!(registry.by_key("1"), None);
        assert_eq!(ids(&registry), ["1", "2"]);
    }

    #[test]
    fn a_replacement_is_whole_and_leaves_held_apps_alone() {
        let registry = AppRegistry::new(vec![app("1", "one"), app("2", "two")]);
        let (held, version) = (registry.by_id("1"), registry.version());
        let old = registry.replace(vec![app("1", "uno"), app("3", "three")]);
        assert_eq!(old.len(), 2);
        assert_eq!(held, Some(app("1", "one")));
        assert!(registry.version() > version);
        assert_eq!(registry.by_key("one"), None);
        assert_eq!(registry.by_key("two"), None);
        assert_eq!(id_of_key(&registry, "uno").as_deref(), Some("1"));
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
