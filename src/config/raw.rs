//! The configuration as written: its sources, their order, and the tables that the merged text is read into.
//!
//! Later sources override earlier ones: defaults, other servers' variables, the file, `LOUDHAILER_` variables.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use ::config::{FileFormat, Format, Map, Source, Value, ValueKind};
use serde::Deserialize;

use super::{
    DEFAULT_TOML,
    error::ConfigError,
    schema::{self, APPS, Key},
};

/// The origin of values that nobody set.
const DEFAULTS: &str = "the defaults";
/// What an app in the file cannot do without; everything else has a default.
const REQUIRED: [&str; 3] = ["id", "key", "secret"];

/// The merged file, key for key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) server: RawServer,
    pub(super) websocket: RawWebSocket,
    pub(super) api: RawApi,
    pub(super) admin: RawAdmin,
    pub(super) metrics: RawMetrics,
    pub(super) redis: RawRedis,
    pub(super) log: RawLog,
    pub(super) apps: Vec<RawApp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path_prefix: String,
    pub(super) workers: usize,
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_ip: Option<usize>,
    pub(super) max_clients_per_ip: Option<usize>,
    pub(super) max_http_connections: usize,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) max_request_bytes: usize,
    pub(super) request_timeout_s: u64,
    pub(super) keep_alive_s: u64,
    pub(super) not_ready_s: u64,
    pub(super) drain_window_s: u64,
    pub(super) webhook_grace_s: u64,
    pub(super) webhook_allowed_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebSocket {
    pub(super) activity_timeout_s: u64,
    pub(super) pong_timeout_s: u64,
    pub(super) max_message_bytes: usize,
    pub(super) max_outbox_bytes: usize,
    pub(super) require_protocol: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    pub(super) timestamp_tolerance_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdmin {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRedis {
    pub(super) url: String,
    pub(super) mode: String,
    pub(super) sentinel_master: String,
    pub(super) sentinel_username: String,
    pub(super) sentinel_password: String,
    pub(super) key_prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: String,
    pub(super) format: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApp {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) client_events: bool,
    pub(super) fallbacks: bool,
    pub(super) tls_only: bool,
    pub(super) allowed_origins: Vec<String>,
    pub(super) require_origin: bool,
    pub(super) max_connections: Option<usize>,
    pub(super) max_channel_name_length: usize,
    pub(super) max_event_name_length: usize,
    pub(super) max_event_data_bytes: usize,
    pub(super) max_event_channels: usize,
    pub(super) max_batch_events: usize,
    pub(super) max_presence_members: usize,
    pub(super) max_presence_user_id_length: usize,
    pub(super) max_presence_user_info_bytes: usize,
    pub(super) max_messages_per_second: u32,
    pub(super) max_client_events_per_second: u32,
    pub(super) max_backend_events_per_second: Option<u32>,
    pub(super) max_read_requests_per_second: Option<u32>,
    pub(super) max_channels_per_connection: usize,
    pub(super) authorization_timeout_s: Option<u64>,
    pub(super) subscription_counts: bool,
    pub(super) compression: bool,
    pub(super) compression_min_bytes: usize,
    pub(super) watchlists: bool,
    pub(super) single_session: String,
    pub(super) session_key: String,
    pub(super) session_event: String,
    pub(super) session_grace_s: u64,
    pub(super) cache_ttl_s: u64,
    pub(super) webhook_batching: bool,
    #[serde(default)]
    pub(super) webhooks: Vec<RawWebhook>,
    #[serde(default)]
    pub(super) channels: Vec<RawChannelRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChannelRule {
    pub(super) pattern: Option<String>,
    #[serde(default = "off")]
    pub(super) single_session: String,
    pub(super) replay_events: Option<usize>,
    pub(super) replay_s: Option<u64>,
}

fn off() -> String {
    "off".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhook {
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) event_types: Vec<String>,
    #[serde(default)]
    pub(super) channel_starts_with: String,
    #[serde(default)]
    pub(super) channel_ends_with: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
}

/// One source of values, each marked with where it came from.
#[derive(Clone, Default)]
pub(super) struct Layer {
    root: Map<String, Value>,
}

impl fmt::Debug for Layer {
    /// Values may be secrets, so only the tables are named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.root.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.root.clone())
    }
}

impl Layer {
    /// The documented sample is the one place where defaults are written.
    pub(super) fn defaults() -> Self {
        Self::parse(DEFAULTS, DEFAULT_TOML).expect("a test checks the sample")
    }

    /// Reads and checks a file.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&name, &text),
            Err(error) => Err(ConfigError::Unreadable { file: name, error }),
        }
    }

    pub(super) fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        let origin = origin.to_owned();
        let mut root = FileFormat::Toml
            .parse(Some(&origin), text)
            .map_err(|error| {
                let message = without_source_line(&error.to_string());
                ConfigError::Syntax {
                    file: origin.clone(),
                    message,
                }
            })?;
        schema::check(&root)?;
        if matches!(root.get(APPS), Some(Value { kind: ValueKind::Array(apps), .. }) if apps.is_empty())
        {
            // An empty list is no list: the demo app stays.
            root.remove(APPS);
        }
        Ok(Self { root })
    }

    /// Sets a key outside the apps.
    pub(super) fn set(&mut self, key: &Key, origin: &str, kind: ValueKind) {
        let section = self.root.entry(key.section.to_owned());
        let section = section.or_insert_with(|| Value::from(Map::<String, Value>::new()));
        if let ValueKind::Table(table) = &mut section.kind {
            table.insert(
                key.name.to_owned(),
                Value::new(Some(&origin.to_owned()), kind),
            );
        }
    }

    /// Sets a key of the only app.
    pub(super) fn set_app(&mut self, key: &Key, origin: &str, kind: ValueKind) {
        if let Some(Value {
            kind: ValueKind::Array(apps),
            ..
        }) = self.root.get_mut(APPS)
            && let Some(Value {
                kind: ValueKind::Table(app),
                ..
            }) = apps.first_mut()
        {
            app.insert(
                key.name.to_owned(),
                Value::new(Some(&origin.to_owned()), kind),
            );
        }
    }

    /// Takes over the other layer's apps.
    pub(super) fn copy_apps(&mut self, other: &Self) {
        if let Some(apps) = other.root.get(APPS) {
            self.root.insert(APPS.to_owned(), apps.clone());
        }
    }

    /// Checks what [`Layer::set`] put in.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        schema::check(&self.root)
    }

    /// Where this layer has a value for `key`, if it has; for an app's key, where it lists apps.
    pub(super) fn place(&self, key: &Key) -> Option<String> {
        let section = self.root.get(key.section)?;
        match &section.kind {
            ValueKind::Table(table) => table.get(key.name).map(schema::place),
            _ => Some(schema::place(section)),
        }
    }
}

/// A TOML error shows the line it stumbled over. That line may hold a secret, so only position and reason are kept.
fn without_source_line(message: &str) -> String {
    let is_margin = |line: &str| {
        let line = line
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_digit());
        line.trim_start().starts_with('|')
    };
    let lines: Vec<_> = message.lines().filter(|line| !is_margin(line)).collect();
    lines.join(": ")
}

/// All sources in one tree; every leaf still knows where it came from.
pub(super) struct Merged {
    root: Value,
}

impl Merged {
    /// Merges checked layers, the strongest last.
    pub(super) fn new(layers: [Layer; 4]) -> Result<Self, ConfigError> {
        let defaults = layers[0].clone();
        let mut builder = ::config::Config::builder();
        for layer in layers {
            builder = builder.add_source(layer);
        }
        let mut root = builder.build().map_err(|error| unreadable(&error))?.cache;
        complete_apps(&mut root, &defaults)?;
        Ok(Self { root })
    }

    /// Reads the tree into the tables of this module.
    pub(super) fn raw(&self) -> Result<Raw, ConfigError> {
        self.root
            .clone()
            .try_deserialize()
            .map_err(|error| unreadable(&error))
    }

    /// Where the value of a key outside the apps came from.
    pub(super) fn place(&self, section: &str, name: &str) -> String {
        place(
            table(Some(&self.root)).and_then(|root| root.get(section)),
            name,
        )
    }

    /// Where the value of an app's key came from.
    pub(super) fn app_place(&self, index: usize, name: &str) -> String {
        let apps = table(Some(&self.root)).and_then(|root| root.get(APPS));
        let app = match apps.map(|apps| &apps.kind) {
            Some(ValueKind::Array(apps)) => apps.get(index),
            _ => None,
        };
        place(app, name)
    }
}

fn table(value: Option<&Value>) -> Option<&Map<String, Value>> {
    match &value?.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn place(parent: Option<&Value>, name: &str) -> String {
    let value = table(parent).and_then(|table| table.get(name));
    value.map_or_else(|| DEFAULTS.to_owned(), schema::place)
}

/// Checked layers always merge and fit; should that ever be wrong, it is told and not a panic.
fn unreadable(error: &::config::ConfigError) -> ConfigError {
    ConfigError::Syntax {
        file: "configuration".to_owned(),
        message: error.to_string(),
    }
}

/// Gives each app what it leaves out, from the sample's app. Credentials have no default.
fn complete_apps(root: &mut Value, defaults: &Layer) -> Result<(), ConfigError> {
    let sample = match defaults.root.get(APPS).map(|apps| &apps.kind) {
        Some(ValueKind::Array(apps)) => table(apps.first()).cloned().unwrap_or_default(),
        _ => Map::new(),
    };
    let ValueKind::Table(root) = &mut root.kind else {
        return Ok(());
    };
    let Some(ValueKind::Array(apps)) = root.get_mut(APPS).map(|apps| &mut apps.kind) else {
        return Ok(());
    };
    for (index, app) in apps.iter_mut().enumerate() {
        let place = schema::place(app);
        let ValueKind::Table(app) = &mut app.kind else {
            continue;
        };
        if let Some(name) = REQUIRED.iter().find(|name| !app.contains_key(**name)) {
            return Err(ConfigError::Missing {
                place,
                key: format!("{APPS}[{index}].{name}"),
            });
        }
        for (name, value) in &sample {
            app.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}
