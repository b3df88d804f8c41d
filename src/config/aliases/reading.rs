//! How a variable's text becomes a key's value.

use crate::settings::{Json, Takes, ValueKind, of_json};

/// How a text of another server becomes the key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Same meaning, same unit.
    Same,
    /// Kilobytes there, bytes here.
    Kilobytes,
    /// Milliseconds there, whole seconds here.
    Milliseconds,
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
    /// A switch there, a level here.
    DebugLevel,
    /// The port that clients connect to. One below 1024 is a proxy's, not the server's own.
    PublicPort,
    /// A file of the certificate with which the one port there has TLS.
    TlsFile,
}

impl Reading {
    /// The value of a text of this origin. What can't be read stays text, which is then refused with a reason.
    pub(crate) fn value(self, takes: Takes, text: &str, name: &str) -> ValueKind {
        let same = takes.read(text, name);
        match (self, same) {
            (Self::NoLimit, ValueKind::I64(-1)) => ValueKind::Nil,
            (Self::AnyRate, ValueKind::I64(-1)) => ValueKind::I64(u32::MAX.into()),
            (Self::Kilobytes, ValueKind::I64(n)) => ValueKind::I64(n.saturating_mul(1024)),
            (Self::Milliseconds, ValueKind::I64(n)) => ValueKind::I64(seconds(n)),
            (Self::Path, _) => match text.trim_matches('/') {
                "" => ValueKind::String(String::new()),
                path => ValueKind::String(format!("/{path}")),
            },
            (Self::ClientEvents, same) => match text {
                "all" | "members" => ValueKind::Boolean(true),
                "none" => ValueKind::Boolean(false),
                _ => same,
            },
            (Self::DebugLevel, same) => match Takes::Switch.read(text, name) {
                ValueKind::Boolean(true) => ValueKind::String("debug".to_owned()),
                ValueKind::Boolean(false) => ValueKind::String("info".to_owned()),
                _ => same,
            },
            (Self::Webhooks, same) => webhooks(text, name).unwrap_or(same),
            (_, same) => same,
        }
    }
}

#[cfg(test)]
impl Reading {
    /// How the value differs there, in words.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Kilobytes => "kilobytes there (1024 bytes each), bytes here",
            Self::Milliseconds => "milliseconds there, whole seconds here",
            Self::Path => "with or without slashes around it",
            Self::NoLimit => "-1 there and none here is no limit",
            Self::AnyRate => "-1 there is no limit",
            Self::Webhooks => {
                "the JSON list of `url`, `event_types`, `headers` and `filter`; `lambda_function` is an error"
            }
            Self::ClientEvents => {
                "`all` and `members` turn client events on, for subscribers of the channel; `none` turns them off"
            }
            Self::DebugLevel => "on is `debug`, off is `info`",
            Self::TlsFile => {
                "the port there becomes `server.tls.port`, and `server.tls.plain` is `off`: one port, with TLS"
            }
            Self::PublicPort => "from 1024 on; a lower port is a proxy's, and is only compared",
        }
    }
}

/// Milliseconds as seconds, rounded up.
pub(super) fn seconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_add(999).div_euclid(1000)
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
