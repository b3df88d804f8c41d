//! Variables of other servers that mean the same here: Laravel's `PUSHER_…`, soketi's, Reverb's and
//! laravel-websockets' names. Weaker than the file and than `LOUDHAILER_…`.

use std::collections::BTreeMap;

use ::config::ValueKind;

use super::{
    Alias, Unused,
    error::ConfigError,
    raw::Layer,
    schema::{APPS, Key, Kind},
    variables::is_service_link,
    webhooks,
};

/// How a variable's text becomes the key's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// Same meaning, same unit.
    Same,
    /// Kilobytes there, bytes here.
    Kilobytes,
    /// The slashes around a path are optional there.
    Path,
    /// -1 there is an absent key here.
    NoLimit,
    /// -1 there is a rate that nobody reaches.
    AnyRate,
    /// A JSON list of endpoints.
    Webhooks,
    /// `all`, `members` or `none`. Here a sender is always a subscriber, so the first two are the same.
    ClientEvents,
}

use Reading::{AnyRate, ClientEvents, Kilobytes, NoLimit, Path, Same, Webhooks};

/// Variable, key, reading.
pub(super) const ALIASES: [(&str, &str, Reading); 37] = [
    ("PUSHER_APP_ID", "apps.id", Same),
    ("PUSHER_APP_KEY", "apps.key", Same),
    ("PUSHER_APP_SECRET", "apps.secret", Same),
    ("PUSHER_PORT", "server.port", Same),
    ("LARAVEL_WEBSOCKETS_PORT", "server.port", Same),
    ("SOKETI_HOST", "server.host", Same),
    ("SOKETI_PORT", "server.port", Same),
    ("SOKETI_PATH_PREFIX", "server.path_prefix", Path),
    ("SOKETI_DEFAULT_APP_ID", "apps.id", Same),
    ("SOKETI_DEFAULT_APP_KEY", "apps.key", Same),
    ("SOKETI_DEFAULT_APP_SECRET", "apps.secret", Same),
    ("SOKETI_DEFAULT_APP_ENABLED", "apps.enabled", Same),
    (
        "SOKETI_DEFAULT_APP_MAX_CONNS",
        "apps.max_connections",
        NoLimit,
    ),
    (
        "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES",
        "apps.client_events",
        Same,
    ),
    (
        "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
        "apps.max_client_events_per_second",
        AnyRate,
    ),
    (
        "SOKETI_EVENT_MAX_SIZE_IN_KB",
        "apps.max_event_data_bytes",
        Kilobytes,
    ),
    (
        "SOKETI_EVENT_MAX_NAME_LENGTH",
        "apps.max_event_name_length",
        Same,
    ),
    (
        "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE",
        "apps.max_event_channels",
        Same,
    ),
    ("SOKETI_EVENT_MAX_BATCH_SIZE", "apps.max_batch_events", Same),
    (
        "SOKETI_PRESENCE_MAX_MEMBERS",
        "apps.max_presence_members",
        Same,
    ),
    (
        "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
        "apps.max_presence_user_info_bytes",
        Kilobytes,
    ),
    (
        "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
        "apps.max_channel_name_length",
        Same,
    ),
    ("SOKETI_CHANNEL_CACHE_TTL", "apps.cache_ttl_s", Same),
    ("SOKETI_METRICS_PROMETHEUS_PREFIX", "metrics.prefix", Same),
    ("SOKETI_DEFAULT_APP_WEBHOOKS", "apps.webhooks", Webhooks),
    ("SOKETI_WEBHOOKS_BATCHING", "apps.webhook_batching", Same),
    ("REVERB_SERVER_HOST", "server.host", Same),
    ("REVERB_SERVER_PORT", "server.port", Same),
    ("REVERB_SERVER_PATH", "server.path_prefix", Path),
    ("REVERB_MAX_REQUEST_SIZE", "server.max_request_bytes", Same),
    ("REVERB_APP_ID", "apps.id", Same),
    ("REVERB_APP_KEY", "apps.key", Same),
    ("REVERB_APP_SECRET", "apps.secret", Same),
    (
        "REVERB_APP_MAX_CONNECTIONS",
        "apps.max_connections",
        NoLimit,
    ),
    (
        "REVERB_APP_MAX_MESSAGE_SIZE",
        "websocket.max_message_bytes",
        Same,
    ),
    (
        "REVERB_APP_ACTIVITY_TIMEOUT",
        "websocket.activity_timeout_s",
        Same,
    ),
    (
        "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
        "apps.client_events",
        ClientEvents,
    ),
];

/// Names of other servers that say something about clients or the framework, not about a server.
const NOT_FOR_A_SERVER: [&str; 4] = [
    "REVERB_HOST",
    "REVERB_PORT",
    "REVERB_SCHEME",
    "REVERB_SERVER",
];

/// What the other servers' variables come to.
#[derive(Default)]
pub(super) struct Foreign {
    pub(super) layer: Layer,
    pub(super) aliases: Vec<Alias>,
    pub(super) unused: Vec<Unused>,
}

/// One understood variable; no value is no limit.
struct Understood {
    name: &'static str,
    key: &'static Key,
    value: Option<ValueKind>,
}

/// Reads the variables of other servers. What a `stronger` source already says is left unread.
pub(super) fn read(
    variables: &BTreeMap<String, String>,
    defaults: &Layer,
    stronger: [&Layer; 2],
) -> Result<Foreign, ConfigError> {
    let mut unused = Vec::new();
    let mut understood: Vec<Understood> = Vec::new();
    for (name, key, reading) in ALIASES {
        let Some(text) = variables.get(name).filter(|text| is_set(name, text)) else {
            continue;
        };
        let key = known_key(key);
        if let Some(place) = stronger.iter().find_map(|layer| layer.place(key)) {
            unused.push(overridden(name, key, &place));
            continue;
        }
        let value = match reading {
            Webhooks => Some(webhooks::read_json(text, name)),
            _ => reading.value(key.kind, text.trim()),
        };
        let same_key = understood.iter().find(|other| other.key == key);
        if let Some(other) = same_key.filter(|other| other.value != value) {
            return Err(conflict(key, other.name, name));
        }
        understood.push(Understood { name, key, value });
    }
    let mut foreign = Foreign {
        unused,
        ..Foreign::default()
    };
    if understood
        .iter()
        .any(|understood| understood.key.section == APPS)
    {
        foreign.layer.copy_apps(defaults);
    }
    for Understood { name, key, value } in understood {
        foreign.aliases.push(Alias {
            name: name.to_owned(),
            set: what_was_set(key, value.as_ref()),
        });
        match value {
            Some(value) if key.section == APPS => foreign.layer.set_app(key, name, value),
            Some(value) => foreign.layer.set(key, name, value),
            None => {}
        }
    }
    foreign.layer.check()?;
    foreign.unused.extend(without_counterpart(variables));
    Ok(foreign)
}

impl Reading {
    /// `None` is "no limit". What cannot be read stays text, which the check of the layer refuses with a reason.
    fn value(self, kind: Kind, text: &str) -> Option<ValueKind> {
        let same = kind.read(text);
        match (self, same) {
            (NoLimit, ValueKind::I64(-1)) => None,
            (AnyRate, ValueKind::I64(-1)) => Some(ValueKind::I64(u32::MAX.into())),
            (Kilobytes, ValueKind::I64(n)) => Some(ValueKind::I64(n.saturating_mul(1024))),
            (Path, _) => match text.trim_matches('/') {
                "" => Some(ValueKind::String(String::new())),
                path => Some(ValueKind::String(format!("/{path}"))),
            },
            (ClientEvents, same) => match text {
                "all" | "members" => Some(ValueKind::Boolean(true)),
                "none" => Some(ValueKind::Boolean(false)),
                _ => Some(same),
            },
            (_, same) => Some(same),
        }
    }
}

/// Laravel reads `null` and `empty`, bare or in brackets, as no value.
fn is_set(name: &str, text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    !matches!(text.as_str(), "" | "null" | "(null)" | "empty" | "(empty)")
        && !is_service_link(name, &text)
}

fn known_key(dotted: &str) -> &'static Key {
    let key = dotted
        .split_once('.')
        .and_then(|(section, name)| Key::find(section, name));
    key.expect("a test looks every alias up")
}

fn dotted(key: &Key) -> String {
    let section = if key.section == APPS {
        "apps[0]"
    } else {
        key.section
    };
    format!("{section}.{}", key.name)
}

fn what_was_set(key: &Key, value: Option<&ValueKind>) -> String {
    match (key.kind, value) {
        (Kind::Secret | Kind::Tables(_) | Kind::Headers, _) => dotted(key),
        (_, None) => format!("{}: no limit", dotted(key)),
        (_, Some(ValueKind::String(text))) => format!("{} = {text:?}", dotted(key)),
        (_, Some(value)) => format!("{} = {value}", dotted(key)),
    }
}

fn overridden(name: &str, key: &Key, place: &str) -> Unused {
    let reason = if key.section == APPS {
        format!("the apps are those of {place}")
    } else {
        format!("{place} sets {}", dotted(key))
    };
    Unused {
        name: name.to_owned(),
        reason,
    }
}

fn conflict(key: &Key, first: &str, second: &str) -> ConfigError {
    let remedy = if key.section == APPS {
        "list the app in a configuration file".to_owned()
    } else {
        format!("set {}", key.variable())
    };
    let (first, second) = (first.to_owned(), second.to_owned());
    ConfigError::Conflict {
        key: dotted(key),
        first,
        second,
        remedy,
    }
}

/// A setting of another server that would be missed without a word.
fn without_counterpart(variables: &BTreeMap<String, String>) -> impl Iterator<Item = Unused> {
    let foreign = |name: &str| {
        (name.starts_with("SOKETI_") || name.starts_with("REVERB_"))
            && !NOT_FOR_A_SERVER.contains(&name)
            && !ALIASES.iter().any(|(alias, ..)| *alias == name)
    };
    let set = variables.iter().filter(|(name, text)| is_set(name, text));
    set.filter(move |(name, _)| foreign(name))
        .map(|(name, _)| Unused {
            name: name.clone(),
            reason: "nothing corresponds to it".to_owned(),
        })
}
