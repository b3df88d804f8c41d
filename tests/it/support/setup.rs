//! The configuration of a server under test.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::app::App;

/// What to configure; ports are always the system's choice.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    sections: BTreeMap<String, BTreeMap<String, Value>>,
    pub(crate) apps: Vec<App>,
}

impl Setup {
    /// Two workers, so that every test crosses shards, and the usual app until another is named.
    pub(crate) fn new() -> Self {
        Self {
            sections: BTreeMap::new(),
            apps: Vec::new(),
        }
        .set("server.host", "127.0.0.1")
        .set("server.port", 0)
        .set("server.workers", 2)
        .set("server.drain_window_s", 1)
        .set("admin.port", 0)
        .set("log.level", "info")
    }

    /// Sets `section.key`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        let section = self.sections.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn app(mut self, app: App) -> Self {
        self.apps.push(app);
        self
    }

    /// Adds the usual app with one option.
    pub(crate) fn usual_with(self, option: &str, value: impl Into<Value>) -> Self {
        self.app(App::usual().set(option, value))
    }

    pub(crate) fn toml(&self) -> String {
        let mut toml = String::new();
        for (section, keys) in &self.sections {
            writeln!(toml, "[{section}]").expect("a string takes text");
            for (key, value) in keys {
                writeln!(toml, "{key} = {value}").expect("a string takes text");
            }
        }
        toml.extend(self.apps.iter().map(App::toml));
        toml
    }
}
