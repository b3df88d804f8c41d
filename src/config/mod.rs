//! The configuration, checked: everything downstream reads [`Config`] and never a raw value.
//!
//! Sources, the strongest last: the demo app, other servers' variables ([`Alias`]), the file, `LOUDHAILER_` variables. The `config` crate
//! merges them; the types of the settings check them. Reads nothing but its arguments and the named file.

mod acme;
mod aliases;
mod apps;
mod database;
mod layer;
mod nearest;
mod redis;
mod references;
mod sections;
#[cfg(test)]
mod tests;
mod tls;
mod types;
mod variables;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use acme::{Acme, Challenge, Contact, DirectoryUrl, Domain, Domains};
pub use aliases::Reading;
use apps::Apps;
pub use apps::KnownApps;
pub use database::{Database, DatabaseUrl, Dialect, Layout};
use layer::Layer;
pub use redis::{ClientFiles, Redis, RedisMode, RedisTls, Sentinels};
pub use sections::{Admin, Api, Log, Metrics, Server, WebSocket};
pub use tls::{AdminTls, Certificate, MinVersion, PlainPort, ServerTls};
pub use types::{FileMode, Host, LogFilter, LogFormat, MetricsPrefix, Network, PathPrefix};

use crate::{
    app::App,
    settings::{
        self, Json, Map, Problem, Problems, Secrets, Setting, Settings, Table, Value, ValueKind,
        settings, toml::Document,
    },
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
        apps: Vec<Arc<App>>,
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
    /// The apps once more, for [`Config::reload`].
    pub known: KnownApps,
}

/// Whether a file may list apps although a database is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BesideDatabase {
    /// No: the server would serve only one of both.
    Refused,
    /// Yes: they are to be imported.
    Allowed,
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
    /// What else a reader should know: where clients connect according to other servers' variables, and where those came from.
    pub notes: Vec<String>,
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
        let known = KnownApps::default();
        Self::read_file(file, variables, &known, BesideDatabase::Refused)
    }

    /// As [`Config::load`], but a file may list apps although a database is named: they are to be imported.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_for_import(
        file: Option<&Path>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Loaded, Problems> {
        let known = KnownApps::default();
        Self::read_file(file, variables, &known, BesideDatabase::Allowed)
    }

    /// As [`Config::load`], but apps that are `known` are not read again.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn reload(
        file: Option<&Path>,
        variables: &BTreeMap<String, String>,
        known: &KnownApps,
    ) -> Result<Loaded, Problems> {
        Self::read_file(file, variables, known, BesideDatabase::Refused)
    }

    fn read_file(
        file: Option<&Path>,
        variables: &BTreeMap<String, String>,
        known: &KnownApps,
        beside: BesideDatabase,
    ) -> Result<Loaded, Problems> {
        let named = variables.get(variables::FILE);
        let named = named.filter(|name| !name.is_empty()).map(PathBuf::from);
        let file = file.map(Path::to_path_buf).or(named);
        let name = file.as_deref().map(|file| file.display().to_string());
        let text = file.as_deref().map(fs::read_to_string).transpose();
        let text = text.map_err(|error| unreadable(name.as_deref(), &error))?;
        let document = name.as_deref().zip(text.as_deref());
        let document = document
            .map(|(name, text)| Document::parse(name, text, layer::APPS, |block| known.has(block)));
        let document = document.transpose()?;
        let mut loaded = Self::read(document.as_ref(), variables, known, beside)?;
        loaded.understood.file = file;
        Ok(loaded)
    }

    fn read(
        document: Option<&Document<'_>>,
        variables: &BTreeMap<String, String>,
        known: &KnownApps,
        beside: BesideDatabase,
    ) -> Result<Loaded, Problems> {
        let mut problems = Problems::default();
        let mut written = document.map_or_else(Map::new, Document::without_list);
        let listed = document.map_or(0, Document::listed);
        if listed == 0 && written.get(layer::APPS).is_some_and(is_list) {
            // An empty list is no list: the demo app stays.
            written.remove(layer::APPS);
        }
        references::resolve(&mut written, variables, &mut problems);
        let written = Layer::of_tables(written, &mut problems);
        let mut ours = variables::read(variables, listed, &mut problems);
        let mut foreign = aliases::read(variables, [&ours, &written], &mut problems);
        let sources = [&foreign.layer, &written, &ours];
        let has_database = sources.iter().any(|layer| layer.has_text(DATABASE));
        let overrides = [foreign.layer.take_apps(), ours.take_apps()];
        let has_apps = listed > 0 || overrides.iter().any(names_an_app);
        let apps = Apps {
            document,
            variables,
            overrides,
            has_demo: !has_apps && !has_database,
        };
        let root = layer::merge([foreign.layer, written, ours]);
        let config = <Self as Setting>::read(&root, settings::Path::ROOT, &mut problems);
        let (all, known) = apps.read(known, &mut problems);
        apps.refuse_repetitions(&all, &mut problems);
        if let Some(config) = &config {
            if beside == BesideDatabase::Refused && config.database.url.is_some() && !all.is_empty()
            {
                let reason = "is here although database.url is set: `loudhailer apps import` moves apps into the database";
                apps.refuse(0, "id", &mut problems, reason.to_owned());
            }
            config.check_apps(&apps, &all, &root, &mut problems);
        }
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(Loaded {
                understood: Understood {
                    file: None,
                    is_demo: apps.has_demo,
                    aliases: foreign.aliases,
                    unused: foreign.unused,
                    notes: aliases::client_lines(variables, &config),
                },
                config: Self {
                    apps: all,
                    ..config
                },
                known,
            }),
            None => {
                if listed == 0 {
                    problems = aliases::name_missing_credentials(problems, variables);
                }
                problems.sort();
                Err(nearest::with_hints(problems))
            }
        }
    }

    /// What concerns both the apps and other keys.
    fn check_apps(&self, apps: &Apps<'_>, all: &[Arc<App>], root: &Value, problems: &mut Problems) {
        for (index, app) in all.iter().enumerate() {
            for (key, reason) in self.server.webhook_allowed_addresses.refusals(app) {
                apps.refuse(index, &key, problems, reason);
            }
        }
        let host = self.server.host;
        if !host.is_loopback() {
            let place = settings::place_of(root, "server", "host");
            apps.refuse_demo(all, (host, place), problems);
        }
    }

    /// The keys whose values differ, but for apps and for what a running server takes over: the names that ACME is asked for.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let written = |config: &Self| {
            let mut sections = serde_json::Map::new();
            config.write_into(Secrets::Shown, &mut sections);
            sections.remove(layer::APPS);
            let acme = sections.get_mut("server").map(|it| &mut it["tls"]["acme"]);
            if let Some(Json::Object(acme)) = acme {
                acme.remove("domains");
            }
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
    let tls = &server.tls;
    let others = [("server.port", server.port), ("admin.port", admin.port)];
    for (key, port) in others {
        if tls.is_on() && tls.port == port && port != 0 {
            let reason = format!("has a port that must differ from {key} ({port})");
            table.refuse_within(("server", None), "tls", problems, reason);
        }
    }
}

/// Whether variables give the first app an id, key or secret. Then nothing of the demo app's fills gaps: its secret is public.
fn names_an_app(apps: &BTreeMap<usize, Layer>) -> bool {
    let credentials = ["id", "key", "secret", "keys"];
    let names = |layer: &Layer| credentials.iter().any(|name| layer.has(name));
    apps.iter().any(|(index, layer)| *index > 0 || names(layer))
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Array(_))
}

fn unreadable(name: Option<&str>, error: &io::Error) -> Problems {
    let mut problems = Problems::default();
    problems.push(Problem {
        place: format!("cannot read {}", name.unwrap_or_default()),
        key: String::new(),
        reason: error.to_string(),
    });
    problems
}
