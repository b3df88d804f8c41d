//! The keys that exist and what each takes. Every source is checked against this table before it is merged, so that
//! an error names the source it stands in.

use ::config::{Map, Value, ValueKind};

use super::error::ConfigError;

/// A number so large that nothing here reaches it; keeps every sum of two within 64 bits.
const COUNT_MAX: i64 = u32::MAX as i64;
/// A year: keeps a point in time plus a duration representable.
const SECONDS_MAX: i64 = 365 * 24 * 60 * 60;

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    /// Text that is never shown.
    Secret,
    Switch,
    /// A list of texts.
    List,
    Number {
        min: i64,
        max: i64,
    },
    /// A number from 1; absent is no limit.
    Limit,
    /// A list of tables whose keys are those of this section.
    Tables(&'static str),
    /// A table of texts that are never shown.
    Headers,
}

const COUNT: Kind = Kind::Number {
    min: 1,
    max: COUNT_MAX,
};
const SECONDS: Kind = Kind::Number {
    min: 1,
    max: SECONDS_MAX,
};
const PORT: Kind = Kind::Number {
    min: 0,
    max: 65_535,
};

/// One key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

const fn key(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key {
        section,
        name,
        kind,
    }
}

/// The tables of the file; `apps` is the one that may come more than once. It is first, so that a lone `[app]` is
/// rather taken for it than for `api`.
const SECTIONS: [&str; 8] = [
    APPS,
    "server",
    "websocket",
    "api",
    "admin",
    "metrics",
    "redis",
    "log",
];
pub(super) const APPS: &str = "apps";
/// The tables within an app's.
pub(super) const WEBHOOKS: &str = "apps.webhooks";
pub(super) const CHANNELS: &str = "apps.channels";

pub(super) const KEYS: [Key; 80] = [
    key("server", "host", Kind::Text),
    key("server", "port", PORT),
    key("server", "path_prefix", Kind::Text),
    key("server", "workers", Kind::Number { min: 0, max: 512 }),
    key("server", "max_connections", Kind::Limit),
    key("server", "max_connections_per_ip", Kind::Limit),
    key("server", "max_clients_per_ip", Kind::Limit),
    key("server", "max_http_connections", COUNT),
    key("server", "trusted_proxies", Kind::List),
    key("server", "max_request_bytes", COUNT),
    key("server", "request_timeout_s", SECONDS),
    key("server", "keep_alive_s", SECONDS),
    key("server", "not_ready_s", Kind::Number { min: 0, max: 3600 }),
    key(
        "server",
        "drain_window_s",
        Kind::Number { min: 0, max: 3600 },
    ),
    key(
        "server",
        "webhook_grace_s",
        Kind::Number { min: 0, max: 3600 },
    ),
    key("server", "webhook_allowed_addresses", Kind::List),
    key("websocket", "activity_timeout_s", SECONDS),
    key("websocket", "pong_timeout_s", SECONDS),
    key("websocket", "max_message_bytes", COUNT),
    key("websocket", "max_outbox_bytes", COUNT),
    key("websocket", "require_protocol", Kind::Switch),
    key("api", "timestamp_tolerance_s", COUNT),
    key("admin", "host", Kind::Text),
    key("admin", "port", PORT),
    key("admin", "token", Kind::Secret),
    key("metrics", "prefix", Kind::Text),
    key("redis", "url", Kind::Secret),
    key("redis", "mode", Kind::Text),
    key("redis", "sentinel_master", Kind::Text),
    key("redis", "sentinel_username", Kind::Text),
    key("redis", "sentinel_password", Kind::Secret),
    key("redis", "key_prefix", Kind::Text),
    key("log", "level", Kind::Text),
    key("log", "format", Kind::Text),
    key(APPS, "id", Kind::Text),
    key(APPS, "key", Kind::Text),
    key(APPS, "secret", Kind::Secret),
    key(APPS, "name", Kind::Text),
    key(APPS, "enabled", Kind::Switch),
    key(APPS, "client_events", Kind::Switch),
    key(APPS, "fallbacks", Kind::Switch),
    key(APPS, "tls_only", Kind::Switch),
    key(APPS, "allowed_origins", Kind::List),
    key(APPS, "require_origin", Kind::Switch),
    key(APPS, "max_connections", Kind::Limit),
    key(APPS, "max_channel_name_length", COUNT),
    key(APPS, "max_event_name_length", COUNT),
    key(APPS, "max_event_data_bytes", COUNT),
    key(APPS, "max_event_channels", COUNT),
    key(APPS, "max_batch_events", COUNT),
    key(APPS, "max_presence_members", COUNT),
    key(APPS, "max_presence_user_id_length", COUNT),
    key(APPS, "max_presence_user_info_bytes", COUNT),
    key(APPS, "max_messages_per_second", COUNT),
    key(APPS, "max_client_events_per_second", COUNT),
    key(APPS, "max_backend_events_per_second", Kind::Limit),
    key(APPS, "max_read_requests_per_second", Kind::Limit),
    key(APPS, "max_channels_per_connection", COUNT),
    key(APPS, "authorization_timeout_s", Kind::Limit),
    key(APPS, "subscription_counts", Kind::Switch),
    key(APPS, "compression", Kind::Switch),
    key(APPS, "compression_min_bytes", COUNT),
    key(APPS, "watchlists", Kind::Switch),
    key(APPS, "single_session", Kind::Text),
    key(APPS, "session_key", Kind::Text),
    key(APPS, "session_event", Kind::Text),
    key(APPS, "session_grace_s", Kind::Number { min: 0, max: 3600 }),
    key(APPS, "cache_ttl_s", SECONDS),
    key(APPS, "webhook_batching", Kind::Switch),
    key(APPS, "webhooks", Kind::Tables(WEBHOOKS)),
    key(APPS, "channels", Kind::Tables(CHANNELS)),
    key(WEBHOOKS, "url", Kind::Secret),
    key(WEBHOOKS, "event_types", Kind::List),
    key(WEBHOOKS, "channel_starts_with", Kind::Text),
    key(WEBHOOKS, "channel_ends_with", Kind::Text),
    key(WEBHOOKS, "headers", Kind::Headers),
    key(CHANNELS, "pattern", Kind::Text),
    key(CHANNELS, "single_session", Kind::Text),
    key(
        CHANNELS,
        "replay_events",
        Kind::Number { min: 1, max: 1000 },
    ),
    key(
        CHANNELS,
        "replay_s",
        Kind::Number {
            min: 1,
            max: 86_400,
        },
    ),
];

impl Key {
    pub(super) fn find(section: &str, name: &str) -> Option<&'static Self> {
        KEYS.iter()
            .find(|key| key.section == section && key.name == name)
    }

    /// Whether it stands in an app's table, or in one within.
    pub(super) fn is_of_an_app(&self) -> bool {
        matches!(self.section, APPS | WEBHOOKS | CHANNELS)
    }

    /// `LOUDHAILER_SERVER__PORT`.
    pub(super) fn variable(&self) -> String {
        format!("LOUDHAILER_{}__{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The key that a mistaken `section.name` (or a bare name) was probably meant to be.
    pub(super) fn nearest(mistaken: &str) -> Option<&'static Self> {
        let (_, mistaken_name) = mistaken.rsplit_once('.').unwrap_or(("", mistaken));
        let distance = |key: &Self| {
            let whole = format!("{}.{}", key.section, key.name);
            // The right name in the wrong table is a common slip, and nearer than any other name.
            let name = strsim::osa_distance(mistaken_name, key.name) + 1;
            strsim::osa_distance(mistaken, &whole).min(name)
        };
        let nearest = KEYS.iter().min_by_key(|key| distance(key))?;
        (distance(nearest) <= 1 + mistaken_name.len() / 4).then_some(nearest)
    }
}

impl Kind {
    /// Reads a variable's text. What cannot be read stays text, which [`Kind::refusal`] then refuses with a reason.
    pub(super) fn read(self, text: &str) -> ValueKind {
        let as_text = || ValueKind::String(text.to_owned());
        match self {
            Self::Text | Self::Secret | Self::Tables(_) | Self::Headers => as_text(),
            Self::Switch => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => ValueKind::Boolean(true),
                "false" | "0" | "off" | "no" => ValueKind::Boolean(false),
                _ => as_text(),
            },
            Self::Number { .. } | Self::Limit => text
                .trim()
                .parse()
                .map_or_else(|_| as_text(), ValueKind::I64),
            Self::List => {
                let entries = text
                    .split(',')
                    .map(str::trim)
                    .filter(|entry| !entry.is_empty());
                ValueKind::Array(entries.map(Value::from).collect())
            }
        }
    }

    /// Says, as the rest of a sentence that starts with the key, why it does not take this value.
    fn refusal(self, value: &ValueKind) -> Option<String> {
        let is_text = |value: &Value| matches!(value.kind, ValueKind::String(_));
        match (self, value) {
            (Self::Text | Self::Secret, ValueKind::String(_))
            | (Self::Switch, ValueKind::Boolean(_)) => None,
            (Self::List, ValueKind::Array(entries)) if entries.iter().all(is_text) => None,
            (Self::Tables(_), ValueKind::Array(_)) => None,
            (Self::Headers, ValueKind::Table(headers)) if headers.values().all(is_text) => None,
            (Self::Number { min, max }, ValueKind::I64(n)) if (min..=max).contains(n) => None,
            (Self::Limit, ValueKind::I64(n)) if (1..=COUNT_MAX).contains(n) => None,
            (Self::Limit, ValueKind::I64(..1)) => {
                Some("must be at least 1; leave it out for no limit".to_owned())
            }
            (Self::Number { min: 1, .. }, ValueKind::I64(..1)) => {
                Some("must be at least 1".to_owned())
            }
            (Self::Secret | Self::Tables(_) | Self::Headers, _) => {
                Some(format!("must be {}", self.description()))
            }
            _ => Some(format!(
                "must be {}, not {}",
                self.description(),
                shown(value)
            )),
        }
    }

    fn description(self) -> String {
        match self {
            Self::Text | Self::Secret => "text in quotes".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::List => "a list of texts in quotes".to_owned(),
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Limit => format!("a whole number from 1 to {COUNT_MAX}"),
            Self::Tables(section) => format!("a list of tables: write [[{section}]]"),
            Self::Headers => "a table of texts in quotes".to_owned(),
        }
    }
}

fn shown(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list of something else".to_owned(),
        other => other.to_string(),
    }
}

/// Where a value came from: the file or the variable.
pub(super) fn place(value: &Value) -> String {
    value.origin().unwrap_or("the defaults").to_owned()
}

/// Checks that one source has only known keys, each with a value of its kind and within its range.
pub(super) fn check(root: &Map<String, Value>) -> Result<(), ConfigError> {
    for (section, value) in sorted(root) {
        if !SECTIONS.contains(&section) {
            return Err(unknown(value, section, section, section));
        }
        match (&value.kind, section) {
            (ValueKind::Array(apps), APPS) => {
                for (index, app) in apps.iter().enumerate() {
                    check_table(APPS, &format!("{APPS}[{index}]"), app)?;
                }
            }
            (_, APPS) => {
                return Err(bad(
                    value,
                    APPS,
                    "must be a list: write [[apps]]".to_owned(),
                ));
            }
            _ => check_table(section, section, value)?,
        }
    }
    Ok(())
}

fn check_table(section: &str, path: &str, value: &Value) -> Result<(), ConfigError> {
    let ValueKind::Table(table) = &value.kind else {
        let reason = match section {
            // What stands in its place may be a secret.
            WEBHOOKS => "must be a table".to_owned(),
            _ => format!("must be a table, not {}", shown(&value.kind)),
        };
        return Err(bad(value, path, reason));
    };
    for (name, value) in sorted(table) {
        let full = format!("{path}.{name}");
        let Some(key) = Key::find(section, name) else {
            return Err(unknown(value, &full, section, &format!("{section}.{name}")));
        };
        if let Some(reason) = key.kind.refusal(&value.kind) {
            return Err(bad(value, &full, reason));
        }
        if let (Kind::Tables(section), ValueKind::Array(tables)) = (key.kind, &value.kind) {
            for (index, table) in tables.iter().enumerate() {
                check_table(section, &format!("{full}[{index}]"), table)?;
            }
        }
    }
    Ok(())
}

/// In a fixed order, so that the same mistakes give the same message.
fn sorted(table: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries
}

fn bad(value: &Value, key: &str, reason: String) -> ConfigError {
    ConfigError::BadValue {
        place: place(value),
        key: key.to_owned(),
        reason,
    }
}

/// `path` is the key as it stands, `mistaken` the same without list positions.
fn unknown(value: &Value, path: &str, section: &str, mistaken: &str) -> ConfigError {
    let near_section = || {
        let distance = |known: &&&str| strsim::osa_distance(section, known);
        let nearest = SECTIONS.iter().min_by_key(distance)?;
        (distance(&nearest) <= 2).then(|| (*nearest).to_owned())
    };
    let near_key = || {
        let key = Key::nearest(mistaken)?;
        let table = if key.section == section {
            path.rsplit_once('.')?.0
        } else {
            key.section
        };
        Some(format!("{table}.{}", key.name))
    };
    let nearest = if path == section {
        near_section().or_else(near_key)
    } else {
        near_key()
    };
    ConfigError::UnknownKey {
        place: place(value),
        key: path.to_owned(),
        nearest,
    }
}
