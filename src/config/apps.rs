//! The apps of the file, each completed by variables and read for itself: there may be 10,000, and one at a time is in memory as a tree.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    DEMO_ID, DEMO_KEY, DEMO_SECRET, Host,
    layer::{APPS, Layer, merge},
    references,
};
use crate::{
    app::App,
    settings::{
        Map, Path, Problem, Problems, Setting, Value, ValueKind,
        toml::{Document, Places},
    },
};

/// Apps that were read from the same text before, by its digest. They need not be read again.
#[derive(Clone, Debug, Default)]
pub struct KnownApps(HashMap<u64, Arc<App>>);

impl KnownApps {
    /// Whether an app was read from this text.
    pub(super) fn has(&self, text: &str) -> bool {
        self.0.contains_key(&digest(text))
    }
}

fn digest(text: &str) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(text)
}

/// Where apps are listed.
pub(super) struct Apps<'a> {
    pub(super) document: Option<&'a Document<'a>>,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// What other servers' variables and then our own say of single apps, by their places in the list.
    pub(super) overrides: [BTreeMap<usize, Layer>; 2],
    /// Whether the demo app is there, because nothing names another.
    pub(super) has_demo: bool,
}

impl Apps<'_> {
    fn listed(&self) -> usize {
        self.document.map_or(0, |document| document.listed())
    }

    fn count(&self) -> usize {
        let overrides = self.overrides.iter().flat_map(BTreeMap::keys);
        let last = overrides.max().map_or(0, |index| index + 1);
        self.listed().max(last).max(usize::from(self.has_demo))
    }

    /// Reads all apps, but for those that are `known`. Places are found out only for what there is something to say of.
    pub(super) fn read(
        &self,
        known: &KnownApps,
        problems: &mut Problems,
    ) -> (Vec<Arc<App>>, KnownApps) {
        let mut apps = Vec::with_capacity(self.count());
        let mut all = KnownApps::default();
        for index in 0..self.count() {
            let digest = self.digest(index);
            let app = digest.and_then(|digest| known.0.get(&digest));
            let Some(app) =
                app.map_or_else(|| self.app(index, problems), |it| Some(Arc::clone(it)))
            else {
                continue;
            };
            if let Some(digest) = digest {
                all.0.insert(digest, Arc::clone(&app));
            }
            apps.push(app);
        }
        (apps, all)
    }

    /// Of the app's text; `None` if the app depends on more than that.
    fn digest(&self, index: usize) -> Option<u64> {
        let source = self.document?.source(index)?;
        let mut overrides = self.overrides.iter();
        let is_all = !source.contains("${") && overrides.all(|all| !all.contains_key(&index));
        is_all.then(|| digest(source))
    }

    fn app(&self, index: usize, problems: &mut Problems) -> Option<Arc<App>> {
        let path = Path::ROOT.key(APPS);
        let mut own = Problems::default();
        let value = self.value(index, Places::Unknown, &mut own);
        match Setting::read(&value, path.index(index), &mut own) {
            Some(app) if own.is_empty() => Some(app),
            _ => {
                let value = self.value(index, Places::Known, problems);
                <App as Setting>::read(&value, path.index(index), problems);
                None
            }
        }
    }

    /// One app as a tree.
    fn value(&self, index: usize, places: Places, problems: &mut Problems) -> Value {
        let listed = self.document;
        let listed = listed.and_then(|document| document.element(index, places));
        let mut value = listed.unwrap_or_else(|| match index {
            0 if self.has_demo => demo(),
            _ => Value::from(Map::<String, Value>::new()),
        });
        let path = Path::ROOT.key(APPS);
        references::resolve_app(&mut value, path.index(index), self.variables, problems);
        let overrides = self.overrides.iter().filter_map(|all| all.get(&index));
        let overrides: Vec<Layer> = overrides.cloned().collect();
        match value.kind {
            ValueKind::Table(ref table) if !overrides.is_empty() => {
                let written = Layer::of(table.clone());
                let merged = merge(std::iter::once(written).chain(overrides));
                Value::new(value.origin().map(str::to_owned).as_ref(), merged.kind)
            }
            _ => value,
        }
    }

    /// Reports ids and keys that are there twice.
    pub(super) fn refuse_repetitions(&self, apps: &[Arc<App>], problems: &mut Problems) {
        let mut known = HashMap::with_capacity(2 * apps.len());
        for (index, app) in apps.iter().enumerate() {
            let keys = app.keys().map(|it| ("key", it.key));
            for (name, value) in keys.chain([("id", &app.id)]) {
                match known.insert((name, value), index) {
                    Some(other) if other != index => {
                        let reason = format!("{:?} is already that of apps[{other}]", &**value);
                        self.refuse(index, name, problems, reason);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The demo key and secret are in the documentation, so anyone who reaches the port could use them.
    pub(super) fn refuse_demo(
        &self,
        apps: &[Arc<App>],
        (host, place): (Host, &str),
        problems: &mut Problems,
    ) {
        for (index, app) in apps.iter().enumerate() {
            let name = match app {
                app if app.keys().any(|it| *it.key == *DEMO_KEY) => "key",
                app if app.keys().any(|it| it.secret.expose_str() == DEMO_SECRET) => "secret",
                _ => continue,
            };
            let reason = format!(
                "is the public demo {name}, refused because server.host is {host} ({place}): give the \
                 app its own key and secret, in the file or as PUSHER_APP_KEY and PUSHER_APP_SECRET, \
                 or listen on 127.0.0.1"
            );
            self.refuse(index, name, problems, reason);
        }
    }

    /// Adds a problem of an app that is valid by itself.
    pub(super) fn refuse(&self, index: usize, name: &str, problems: &mut Problems, reason: String) {
        let app = self.value(index, Places::Known, &mut Problems::default());
        let entry = match &app.kind {
            ValueKind::Table(entries) => entries.get(name.split('[').next().unwrap_or(name)),
            _ => None,
        };
        let place = entry.and_then(Value::origin).or(app.origin());
        problems.push(Problem {
            place: place.unwrap_or("the defaults").to_owned(),
            key: format!("{APPS}[{index}].{name}"),
            reason,
        });
    }
}

/// The demo app, which is there while nobody lists apps.
fn demo() -> Value {
    let credentials = [("id", DEMO_ID), ("key", DEMO_KEY), ("secret", DEMO_SECRET)];
    let credentials = credentials.map(|(name, text)| (name.to_owned(), Value::from(text)));
    Value::from(Map::from_iter(credentials))
}
