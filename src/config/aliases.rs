//! Variables of other servers that mean the same here: Laravel's `PUSHER_…`, soketi's, Reverb's and
//! laravel-websockets' names. Weaker than the file and than `LOUDHAILER_…`.

use std::collections::BTreeMap;

use super::{
    Alias, Config, Unused,
    layer::{APPS, Layer},
    variables::is_service_link,
};
use crate::settings::{Json, Problem, Problems, Settings, Takes, ValueKind, find, of_json};

/// How a variable's text becomes the key's value.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
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
pub(super) const ALIASES: [(&str, &str, Reading); 40] = [
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
        "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
        "apps.max_backend_events_per_second",
        NoLimit,
    ),
    (
        "SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC",
        "apps.max_read_requests_per_second",
        NoLimit,
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
    ("REVERB_ALLOWED_ORIGINS", "apps.allowed_origins", Same),
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

/// One understood variable.
struct Understood {
    name: &'static str,
    /// The key's path, `apps[0].key`.
    path: String,
    takes: Takes,
    /// Nil is no limit.
    value: ValueKind,
}

/// Reads the variables of other servers. What a `stronger` source already says is left unread.
pub(super) fn read(
    variables: &BTreeMap<String, String>,
    stronger: [&Layer; 2],
    problems: &mut Problems,
) -> Foreign {
    let mut foreign = Foreign::default();
    let mut understood: Vec<Understood> = Vec::new();
    for (name, key, reading) in ALIASES {
        let Some(text) = variables.get(name).filter(|text| is_set(name, text)) else {
            continue;
        };
        let (path, takes) = located(key);
        if let Some(place) = stronger.iter().find_map(|layer| layer.place(&path)) {
            foreign.unused.push(overridden(name, &path, place));
            continue;
        }
        let value = reading.value(takes, text.trim(), name);
        let same_key = understood.iter().find(|other| other.path == path);
        match same_key.filter(|other| other.value != value) {
            Some(other) => problems.push(conflict(&path, other.name, name)),
            None => understood.push(Understood {
                name,
                path,
                takes,
                value,
            }),
        }
    }
    for it in understood {
        foreign.aliases.push(Alias {
            name: it.name.to_owned(),
            set: what_was_set(&it),
        });
        foreign.layer.set(it.path, it.name, it.value);
    }
    foreign.unused.extend(without_counterpart(variables));
    foreign
}

impl Reading {
    /// The value of a text of this origin. What can't be read stays text, which is then refused with a reason.
    pub(crate) fn value(self, takes: Takes, text: &str, name: &str) -> ValueKind {
        let same = takes.read(text, name);
        match (self, same) {
            (NoLimit, ValueKind::I64(-1)) => ValueKind::Nil,
            (AnyRate, ValueKind::I64(-1)) => ValueKind::I64(u32::MAX.into()),
            (Kilobytes, ValueKind::I64(n)) => ValueKind::I64(n.saturating_mul(1024)),
            (Path, _) => match text.trim_matches('/') {
                "" => ValueKind::String(String::new()),
                path => ValueKind::String(format!("/{path}")),
            },
            (ClientEvents, same) => match text {
                "all" | "members" => ValueKind::Boolean(true),
                "none" => ValueKind::Boolean(false),
                _ => same,
            },
            (Webhooks, same) => webhooks(text, name).unwrap_or(same),
            (_, same) => same,
        }
    }
}

/// The table in which soketi keeps an endpoint's filters, and what they are called there and here.
const SOKETI_FILTER: &str = "filter";
const SOKETI_FILTERS: [(&str, &str); 2] = [
    ("channel_name_starts_with", "channel_starts_with"),
    ("channel_name_ends_with", "channel_ends_with"),
];

/// soketi's JSON list of endpoints.
fn webhooks(text: &str, name: &str) -> Option<ValueKind> {
    let Ok(Json::Array(mut endpoints)) = serde_json::from_str(text) else {
        return None;
    };
    for endpoint in endpoints.iter_mut().filter_map(Json::as_object_mut) {
        let filters = endpoint
            .get_mut(SOKETI_FILTER)
            .and_then(Json::as_object_mut);
        let Some(filters) = filters.map(std::mem::take) else {
            continue;
        };
        endpoint.remove(SOKETI_FILTER);
        for (name, value) in filters {
            let renamed = SOKETI_FILTERS.iter().find(|(theirs, _)| *theirs == name);
            let name = renamed.map_or(name, |(_, ours)| (*ours).to_owned());
            endpoint.insert(name, value);
        }
    }
    Some(of_json(endpoints.into(), name).kind)
}

/// Laravel reads `null` and `empty`, bare or in brackets, as no value.
fn is_set(name: &str, text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    !matches!(text.as_str(), "" | "null" | "(null)" | "empty" | "(empty)")
        && !is_service_link(name, &text)
}

/// The path of an alias' key, and which values it takes.
fn located(key: &str) -> (String, Takes) {
    let (section, name) = key.split_once('.').expect("a section and a key");
    let section = find(Config::FIELDS, section).expect("a test looks every alias up");
    let field = section.takes.keys().and_then(|keys| find(keys, name));
    let takes = field.expect("a test looks every alias up").takes;
    match section.takes {
        Takes::Table(_) => (key.to_owned(), takes),
        _ => (format!("{}[0].{name}", section.name), takes),
    }
}

fn what_was_set(it: &Understood) -> String {
    let path = &it.path;
    match &it.value {
        _ if it.takes.is_secret() || it.takes.keys().is_some() => path.clone(),
        ValueKind::Nil => format!("{path}: no limit"),
        ValueKind::String(text) => format!("{path} = {text:?}"),
        ValueKind::Array(texts) => {
            let texts: Vec<_> = texts
                .iter()
                .map(|it| format!("{:?}", it.kind.to_string()))
                .collect();
            format!("{path} = [{}]", texts.join(", "))
        }
        value => format!("{path} = {value}"),
    }
}

fn overridden(name: &str, path: &str, place: &str) -> Unused {
    let reason = match path.starts_with(APPS) {
        true => format!("the apps are those of {place}"),
        false => format!("{place} sets {path}"),
    };
    Unused {
        name: name.to_owned(),
        reason,
    }
}

fn conflict(path: &str, first: &str, second: &str) -> Problem {
    let remedy = match path.strip_prefix("apps[0].") {
        Some(_) => "list the app in a configuration file".to_owned(),
        None => format!("set LOUDHAILER_{}", path.replace('.', "__").to_uppercase()),
    };
    Problem {
        place: String::new(),
        key: format!("{first} and {second}"),
        reason: format!("set {path} to different values; remove one, or {remedy}"),
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
