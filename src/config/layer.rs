//! The sources, each a tree of values that know where they came from, and their merging by the `config` crate.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use ::config::{ConfigError, Source};

use super::{Config, DEMO_ID, DEMO_KEY, DEMO_SECRET, references};
use crate::settings::{
    self, Map, Problem, Problems, Settings, Takes, UNKNOWN, Value, ValueKind, toml,
};

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
    /// The demo app, which is there while nobody lists apps.
    pub(super) fn demo() -> Self {
        let mut layer = Self::default();
        let credentials = [("id", DEMO_ID), ("key", DEMO_KEY), ("secret", DEMO_SECRET)];
        for (name, text) in credentials {
            layer.root.insert(format!("{APPS}[0].{name}"), text.into());
        }
        layer
    }

    /// Reads a file.
    pub(super) fn of_file(
        file: &Path,
        variables: &BTreeMap<String, String>,
        problems: &mut Problems,
    ) -> Self {
        let name = file.display().to_string();
        let root = match fs::read_to_string(file) {
            Ok(text) => toml::parse(&name, &text),
            Err(error) => {
                let mut unreadable = Problems::default();
                unreadable.push(Problem {
                    place: format!("cannot read {name}"),
                    key: String::new(),
                    reason: error.to_string(),
                });
                Err(unreadable)
            }
        };
        match root {
            Ok(mut root) => {
                references::resolve(&mut root, variables, problems);
                Self::of_tables(root, problems)
            }
            Err(unreadable) => {
                problems.extend(unreadable);
                Self::default()
            }
        }
    }

    /// What is no known table is left out here: merging would take a quoted `"server.port"` for the key in the table, and forgets where
    /// tables stand.
    fn of_tables(root: Map<String, Value>, problems: &mut Problems) -> Self {
        let mut layer = Self::default();
        for (name, value) in root {
            let path = settings::Path::ROOT.key(&name);
            let takes = settings::find(Config::FIELDS, &name).map(|section| section.takes);
            match (takes, &value.kind) {
                (Some(Takes::Table(_)), ValueKind::Table(_)) => {}
                (Some(Takes::List(_)), ValueKind::Array(apps)) if !apps.is_empty() => {}
                // An empty list is no list: the demo app stays.
                (Some(Takes::List(_)), ValueKind::Array(_)) => continue,
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

    /// Whether it says anything of apps.
    pub(super) fn has_apps(&self) -> bool {
        self.root.keys().any(|path| path.starts_with(APPS))
    }

    /// How many apps it lists.
    pub(super) fn apps(&self) -> usize {
        match self.root.get(APPS).map(|apps| &apps.kind) {
            Some(ValueKind::Array(apps)) => apps.len(),
            _ => 0,
        }
    }
}

/// All layers in one tree, the strongest last.
pub(super) fn merge(layers: [Layer; 4]) -> Value {
    let mut builder = ::config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let merged = builder.build().expect("layers in memory always merge");
    merged.cache
}
