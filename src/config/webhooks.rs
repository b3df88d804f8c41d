//! Configuration of webhook endpoints: their tables, soketi's JSON form, and the addresses that they may have.

use std::collections::BTreeMap;

use ::config::{Map, Value, ValueKind};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    Config,
    error::ConfigError,
    raw::{Merged, RawWebhook},
    schema::APPS,
};
use crate::app::{
    WebhookEndpoint, WebhookKind, WebhookKinds, WebhookSettings, WebhookTargets, WebhookUrl,
    WebhookUrlError, is_reserved_header,
};

/// soketi's table of an endpoint's filters, and the names of the filters there and here.
const SOKETI_FILTER: &str = "filter";
const SOKETI_FILTERS: [(&str, &str); 2] = [
    ("channel_name_starts_with", "channel_starts_with"),
    ("channel_name_ends_with", "channel_ends_with"),
];

/// Why an endpoint is refused. Holds none of its values, which may be secrets.
enum Fault {
    NoUrl,
    Bad { key: String, reason: String },
}

/// Reads the addresses that webhooks may be sent to.
pub(super) fn targets(entries: &[String]) -> Result<WebhookTargets, String> {
    WebhookTargets::parse(entries).map_err(|entry| {
        format!(
            "may hold \"*\", \"external\", \"private\", \"loopback\", addresses and networks such as \
             \"10.0.0.0/8\", not {entry:?}"
        )
    })
}

/// Refuses endpoints whose URL holds an address that is not allowed. Names are checked when they are resolved.
pub(super) fn refuse_forbidden(config: &Config, merged: &Merged) -> Result<(), ConfigError> {
    for (index, app) in config.apps.iter().enumerate() {
        for (at, endpoint) in app.webhooks.endpoints.iter().enumerate() {
            let Some(address) = endpoint.url.address() else {
                continue;
            };
            if !config.server.webhook_targets.allow(address) {
                return Err(ConfigError::BadValue {
                    place: merged.app_place(index, "webhooks"),
                    key: format!("{APPS}[{index}].webhooks[{at}].url"),
                    reason: format!(
                        "must not lead to {address}, which is not among server.webhook_allowed_addresses"
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Checks the endpoints of the app at `index`.
pub(super) fn check(
    batching: bool,
    raw: Vec<RawWebhook>,
    index: usize,
    merged: &Merged,
) -> Result<WebhookSettings, ConfigError> {
    let place = merged.app_place(index, "webhooks");
    let mut endpoints = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let full = |key: &str| format!("{APPS}[{index}].webhooks[{at}].{key}");
        endpoints.push(endpoint(raw).map_err(|fault| match fault {
            Fault::NoUrl => ConfigError::Missing {
                place: place.clone(),
                key: full("url"),
            },
            Fault::Bad { key, reason } => ConfigError::BadValue {
                place: place.clone(),
                key: full(&key),
                reason,
            },
        })?);
    }
    Ok(WebhookSettings {
        batching,
        endpoints,
    })
}

fn endpoint(raw: RawWebhook) -> Result<WebhookEndpoint, Fault> {
    let url = raw.url.ok_or(Fault::NoUrl)?;
    let url: WebhookUrl = url.parse().map_err(|error: WebhookUrlError| Fault::Bad {
        key: "url".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(WebhookEndpoint {
        kinds: kinds(&raw.event_types)?,
        headers: headers(&raw.headers, &url)?,
        channel_starts_with: raw.channel_starts_with,
        channel_ends_with: raw.channel_ends_with,
        url,
    })
}

fn kinds(names: &[String]) -> Result<WebhookKinds, Fault> {
    if names.is_empty() {
        return Ok(WebhookKinds::ALL);
    }
    let known = || WebhookKind::ALL.map(WebhookKind::name).join(", ");
    let kind = |name: &String| {
        WebhookKind::of_name(name).ok_or_else(|| Fault::Bad {
            key: "event_types".to_owned(),
            reason: format!("may hold only {}, not {name:?}", known()),
        })
    };
    names.iter().map(kind).collect()
}

fn headers(raw: &BTreeMap<String, String>, url: &WebhookUrl) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::with_capacity(raw.len() + 1);
    for (text, value) in raw {
        let bad = |reason: &str| Fault::Bad {
            key: format!("headers.{text}"),
            reason: reason.to_owned(),
        };
        let name: HeaderName = text
            .parse()
            .map_err(|_| bad("is not the name of a header"))?;
        if is_reserved_header(&name) {
            return Err(bad("is set by the server"));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| bad("has a character that is not allowed in a header"))?;
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            return Err(bad("is there twice, in different letter case"));
        }
    }
    if let Some(authorization) = &url.authorization
        && headers
            .insert(header::AUTHORIZATION, authorization.clone())
            .is_some()
    {
        return Err(Fault::Bad {
            key: "headers.Authorization".to_owned(),
            reason: "is there besides the credentials of the url: leave out one of them".to_owned(),
        });
    }
    Ok(headers)
}

/// Reads soketi's JSON list of endpoints. Anything else stays text, which the layer's check refuses.
pub(super) fn read_json(text: &str, origin: &str) -> ValueKind {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Array(endpoints)) => {
            let endpoints = endpoints.into_iter().map(with_filters_at_the_top);
            ValueKind::Array(endpoints.map(|value| value_of(value, origin)).collect())
        }
        _ => ValueKind::String(text.to_owned()),
    }
}

fn with_filters_at_the_top(mut endpoint: serde_json::Value) -> serde_json::Value {
    let filters = endpoint
        .as_object_mut()
        .filter(|table| table.get(SOKETI_FILTER).is_some_and(|f| f.is_object()))
        .and_then(|table| table.remove(SOKETI_FILTER));
    if let (Some(table), Some(serde_json::Value::Object(filters))) =
        (endpoint.as_object_mut(), filters)
    {
        for (name, value) in filters {
            let renamed = SOKETI_FILTERS.iter().find(|(theirs, _)| *theirs == name);
            table.insert(
                renamed.map_or(name.clone(), |(_, ours)| (*ours).to_owned()),
                value,
            );
        }
    }
    endpoint
}

fn value_of(json: serde_json::Value, origin: &str) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(switch) => ValueKind::Boolean(switch),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| ValueKind::String(number.to_string()), ValueKind::I64),
        Json::String(text) => ValueKind::String(text),
        Json::Array(values) => ValueKind::Array(
            values
                .into_iter()
                .map(|value| value_of(value, origin))
                .collect(),
        ),
        Json::Object(table) => {
            let entries = table.into_iter();
            let table: Map<_, _> = entries
                .map(|(name, value)| (name, value_of(value, origin)))
                .collect();
            ValueKind::Table(table)
        }
    };
    Value::new(Some(&origin.to_owned()), kind)
}
