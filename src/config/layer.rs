//! The sources, each a tree of values that know where they came from, and their merging by the `config` crate.

use std::{collections::BTreeMap, fmt};

use ::config::{ConfigError, Source};

use super::Config;
use crate::settings::{self, Map, Problems, Settings, Takes, UNKNOWN, Value, ValueKind};

/// The list of apps.
pub(super) const APPS: &str = "apps";

/// One source of values. Its keys may be paths, such as `apps[0].key`.
#[derive(Clone, Default)]
pub(super) struct Layer {
    root: Map<String, Value>,
}

impl fmt::Debug for Layer {
    /// Values may be secrets, so only the keys are named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.root.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.root.clone())
    }
}

impl Layer {
    /// A layer of these values.
    pub(super) fn of(root: Map<String, Value>) -> Self {
        Self { root }
    }

    /// What is no known table is left out here: merging would take a quoted `"server.port"` for the key in the table, and forgets where
    /// tables stand.
    pub(super) fn of_tables(root: Map<String, Value>, problems: &mut Problems) -> Self {
        let mut layer = Self::default();
        for (name, value) in root {
            let path = settings::Path::ROOT.key(&name);
            let takes = settings::find(Config::FIELDS, &name).map(|section| section.takes);
            match (takes, &value.kind) {
                (Some(Takes::Table(_)), ValueKind::Table(_)) => {}
                // Its elements are read one by one.
                (Some(Takes::List(_)), ValueKind::Array(_)) => {}
                (Some(takes), kind) => {
                    problems.refuse(&value, path, takes.refusal(kind));
                    continue;
                }
                (None, _) => {
                    problems.refuse(&value, path, UNKNOWN);
                    continue;
                }
            }
            layer.root.insert(name, value);
        }
        layer
    }

    /// Sets the key at a path.
    pub(super) fn set(&mut self, path: String, origin: &str, kind: ValueKind) {
        self.root
            .insert(path, Value::new(Some(&origin.to_owned()), kind));
    }

    /// Where this layer has a value for the key at a path, if it has; for an app's key, where it lists apps.
    pub(super) fn place(&self, path: &str) -> Option<&str> {
        self.value(path)?.origin()
    }

    /// Whether it has a value for this very path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.contains_key(path)
    }

    /// Whether it has a text for the key at a path.
    pub(super) fn has_text(&self, path: &str) -> bool {
        let kind = self.value(path).map(|value| &value.kind);
        matches!(kind, Some(ValueKind::String(text)) if !text.is_empty())
    }

    fn value(&self, path: &str) -> Option<&Value> {
        let (section, name) = path.split_once('.')?;
        let value = match self.root.get(section).map(|it| &it.kind) {
            Some(ValueKind::Table(table)) => table.get(name),
            _ => self.root.get(APPS).filter(|_| section.starts_with(APPS)),
        };
        value.or_else(|| self.root.get(path))
    }

    /// Moves out what it says of single apps, by their places in the list; paths begin within the app.
    pub(super) fn take_apps(&mut self) -> BTreeMap<usize, Self> {
        let mut apps: BTreeMap<usize, Self> = BTreeMap::new();
        for (path, value) in self.root.extract_if(|path, _| path.starts_with(APPS)) {
            let parts = path[APPS.len()..].strip_prefix('[');
            let parts = parts.and_then(|rest| rest.split_once("]."));
            if let Some((index, within)) = parts
                && let Ok(index) = index.parse()
            {
                apps.entry(index)
                    .or_default()
                    .root
                    .insert(within.to_owned(), value);
            }
        }
        apps
    }
}

/// Layers in one tree, the strongest last.
pub(super) fn merge(layers: impl IntoIterator<Item = Layer>) -> Value {
    let mut builder = ::config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let merged = builder.build().expect("layers in memory always merge");
    merged.cache
}
