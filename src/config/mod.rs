//! The configuration, checked: everything downstream reads [`Config`] and never a raw value.
//!
//! Sources, the strongest last: the demo app, other servers' variables ([`Alias`]), the file, `LOUDHAILER_` variables. The `config` crate
//! merges them; the types of the settings check them. Reads nothing but its arguments and the named file.

mod aliases;
mod database;
mod layer;
mod nearest;
mod redis;
mod references;
mod sections;
#[cfg(test)]
mod tests;
mod types;
mod variables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use aliases::Reading;
pub use database::{Database, DatabaseUrl, Dialect, Layout};
use layer::Layer;
pub use redis::{Redis, RedisMode, Sentinels};
pub use sections::{Admin, Api, Log, Metrics, Server, WebSocket};
pub use types::{Host, LogFilter, LogFormat, MetricsPrefix, Network, PathPrefix};

use crate::{
    app::App,
    settings::{self, Json, Problems, Secrets, Setting, Settings, Table, settings},
};

/// The id of the demo app.
pub const DEMO_ID: &str = "1001";
/// The key of the demo app; public, hence refused beyond loopback.
pub const DEMO_KEY: &str = "app-key";
/// The key that says that apps are in a database.
const DATABASE: &str = "database.url";
/// The secret of the demo app; public, hence refused beyond loopback.
pub const DEMO_SECRET: &str = "app-secret";

settings! {
    /// The whole checked configuration.
    #[derive(Clone, Debug)]
    pub struct Config {
        /// The public listener.
        server: Server,
        /// Every client connection.
        websocket: WebSocket,
        /// The HTTP API.
        api: Api,
        /// The operator's listener: dashboard, live feed, metrics, health. Keep it off the internet.
        admin: Admin,
        /// Prometheus, on the admin listener.
        metrics: Metrics,
        /// Where the nodes of a cluster meet.
        redis: Option<Redis>,
        /// A database of apps, which then take the place of those of this file ([apps.md](apps.md#in-a-database)).
        database: Database,
        /// The log, on standard error.
        log: Log,
        /// One `[[apps]]` table per app; `id`, `key` and `secret` are required. If there is none, this demo app is served, on loopback
        /// addresses only.
        apps: Vec<App>,
    }
    check check;
}

/// A checked configuration, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to do.
    pub config: Config,
    /// Where that comes from; for the start-up lines.
    pub understood: Understood,
}

/// Where a configuration came from.
#[derive(Clone, Debug, Default)]
pub struct Understood {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// Whether the demo app is served because nobody lists apps.
    pub is_demo: bool,
    /// Other servers' variables that took effect.
    pub aliases: Vec<Alias>,
    /// Other servers' variables that took none.
    pub unused: Vec<Unused>,
}

/// A variable of another server that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Its name.
    pub name: String,
    /// The key and value that it set, such as `server.port = 6001`; never the value of a secret.
    pub set: String,
}

/// A variable of another server that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Its name.
    pub name: String,
    /// Why it changed nothing.
    pub reason: String,
}

impl Config {
    /// Loads and checks a configuration. `file` is the one named on the command line; without it `LOUDHAILER_CONFIG`
    /// among the variables may name one, and else there is none.
    ///
    /// # Errors
    /// Everything that is wrong with any of the sources.
    pub fn load(
        file: Option<&Path>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Loaded, Problems> {
        let named = variables.get(variables::FILE);
        let named = named.filter(|name| !name.is_empty()).map(PathBuf::from);
        let file = file.map(Path::to_path_buf).or(named);
        let mut problems = Problems::default();
        let written = file
            .as_deref()
            .map(|file| Layer::of_file(file, variables, &mut problems));
        let written = written.unwrap_or_default();
        let ours = variables::read(variables, written.apps(), &mut problems);
        let foreign = aliases::read(variables, [&ours, &written], &mut problems);
        let sources = [&foreign.layer, &written, &ours];
        let has_apps = sources.iter().any(|layer| layer.has_apps());
        let has_database = sources.iter().any(|layer| layer.has_text(DATABASE));
        let is_demo = !has_apps && !has_database;
        let demo = match has_database {
            true => Layer::default(),
            false => Layer::demo(),
        };
        let root = layer::merge([demo, foreign.layer, written, ours]);
        let config = Self::read_root(&root, &mut problems);
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(Loaded {
                config,
                understood: Understood {
                    file,
                    is_demo,
                    aliases: foreign.aliases,
                    unused: foreign.unused,
                },
            }),
            None => {
                problems.sort();
                Err(nearest::with_hints(problems))
            }
        }
    }

    /// The keys whose values differ, apps left out.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let written = |config: &Self| {
            let mut sections = serde_json::Map::new();
            config.write_into(Secrets::Shown, &mut sections);
            sections.remove(layer::APPS);
            sections
        };
        let (ours, theirs) = (written(self), written(other));
        let mut differences = Vec::new();
        for section in settings::fields(Self::FIELDS) {
            let (ours, theirs) = (ours.get(section.name), theirs.get(section.name));
            for key in section.takes.keys().into_iter().flat_map(settings::fields) {
                let value = |section: Option<&Json>| section?.get(key.name).cloned();
                if value(ours) != value(theirs) {
                    differences.push(format!("{}.{}", section.name, key.name));
                }
            }
        }
        differences
    }

    fn read_root(root: &settings::Value, problems: &mut Problems) -> Option<Self> {
        <Self as Setting>::read(root, settings::Path::ROOT, problems)
    }
}

impl Default for Config {
    /// What runs with neither file nor variables.
    fn default() -> Self {
        let loaded = Self::load(None, &BTreeMap::new());
        loaded.expect("a test checks the defaults").config
    }
}

/// Every key with its documentation and its default, as a TOML file.
#[must_use]
pub fn sample() -> String {
    settings::sample::toml(
        "Loudhailer's configuration: every key, with its default.\n\n\
         Read with `loudhailer --config FILE`. Keep only the lines that you change; an unknown key is an error. \
         A variable LOUDHAILER_<SECTION>__<KEY> overrides the file: LOUDHAILER_SERVER__PORT=6001.",
        Config::FIELDS,
        &["apps.id", "apps.key", "apps.secret"],
    )
}

/// What concerns several keys.
fn check(config: &Config, table: &Table<'_>, problems: &mut Problems) {
    let (server, admin) = (&config.server, &config.admin);
    if admin.port == server.port && server.port != 0 {
        let reason = format!("must differ from server.port ({})", server.port);
        table.refuse_within(("admin", None), "port", problems, reason);
    }
    if config.database.url.is_some() && !config.apps.is_empty() {
        let reason = "is here although database.url is set: `loudhailer apps import` moves apps into the database";
        table.refuse_within(("apps", Some(0)), "id", problems, reason);
    }
    refuse_repetitions(&config.apps, table, problems);
    if !server.host.is_loopback() {
        refuse_demo(config, table, problems);
    }
}

fn refuse_repetitions(apps: &[App], table: &Table<'_>, problems: &mut Problems) {
    let mut known = std::collections::HashMap::with_capacity(2 * apps.len());
    for (index, app) in apps.iter().enumerate() {
        let keys = app.keys().map(|it| ("key", it.key));
        for (name, value) in keys.chain([("id", &app.id)]) {
            match known.insert((name, value), index) {
                Some(other) if other != index => {
                    let reason = format!("{:?} is already that of apps[{other}]", &**value);
                    table.refuse_within(("apps", Some(index)), name, problems, reason);
                }
                _ => {}
            }
        }
    }
}

/// The demo key and secret are in the documentation, so anyone who reaches the port could use them.
fn refuse_demo(config: &Config, table: &Table<'_>, problems: &mut Problems) {
    for (index, app) in config.apps.iter().enumerate() {
        let name = match app {
            app if app.keys().any(|it| *it.key == *DEMO_KEY) => "key",
            app if app.keys().any(|it| it.secret.expose_str() == DEMO_SECRET) => "secret",
            _ => continue,
        };
        let host = config.server.host;
        let place = table.place_within(("server", None), "host");
        let reason = format!(
            "is the public demo {name}, refused because server.host is {host} ({place}): give the \
             app its own key and secret, in the file or as PUSHER_APP_KEY and PUSHER_APP_SECRET, \
             or listen on 127.0.0.1"
        );
        table.refuse_within(("apps", Some(index)), name, problems, reason);
    }
}
