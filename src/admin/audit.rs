//! Who changed what: one line of the log per change, secrets left out.

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use serde_json::json;
use tracing::info;

use crate::settings::Json;

/// Who asks, as [`super::admit`] found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// Whoever presents `admin.token`, as a bearer token.
    Token,
    /// The dashboard, after `POST /session`.
    Session,
    /// Anyone on this machine: there is no token.
    ThisMachine,
}

impl Operator {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "admin.token",
            Self::Session => "admin.token, by the dashboard",
            Self::ThisMachine => "this machine",
        }
    }
}

impl FromRequest for Operator {
    type Error = actix_web::Error;
    type Future = std::future::Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let operator = request.extensions().get::<Self>().copied();
        std::future::ready(Ok(operator.unwrap_or(Self::ThisMachine)))
    }
}

/// Writes the line. `before` and `after` are views without secrets; null where there is no app. Only keys that differ are shown.
pub(super) fn record(operator: Operator, action: &'static str, app: &str, views: [Json; 2]) {
    let [before, after] = views.map(|view| match view {
        Json::Object(keys) => keys,
        _ => serde_json::Map::new(),
    });
    let mut changes = serde_json::Map::new();
    for key in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(key), after.get(key));
        if old != new {
            changes.insert(key.clone(), json!([old, new]));
        }
    }
    let changes = Json::Object(changes).to_string();
    info!(target: "audit", by = operator.name(), action, app, changes, "audit");
}
