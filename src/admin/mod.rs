//! The operator's listener: the dashboard and what it asks, the live feed, health. Never on the public port.
//!
//! Costs the rest of the server nothing while nobody asks: what a request wants to know is gathered for it.

mod access;
mod apps;
mod audit;
mod connections;
mod error;
mod exposition;
mod feed;
mod health;
mod metrics;
mod openapi;
mod page;
mod reload;
mod state;
mod tenants;

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    web::{self, Bytes, Payload},
};
use serde::Serialize;

pub use self::access::{Access, admit};
use self::error::AdminError;
use crate::tls::TlsStatus;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Rows of a list, unless the request says otherwise.
const LIMIT: usize = 200;
/// Rows of any list.
const LIMIT_MAX: usize = 10_000;

/// What the operator's side must know.
pub struct AdminSettings {
    /// Where clients, backends and proxies connect.
    pub public: String,
    /// The port among them, for the metrics' label.
    pub public_port: u16,
    /// Who may ask.
    pub access: Access,
    /// The certificates of all listeners.
    pub tls: Arc<TlsStatus>,
    /// Connections that an operator has closed with a change are closed over this time.
    pub close_window: Duration,
    /// Stands before every metric's name.
    pub metrics_prefix: String,
}

/// Mounts the routes. Needs `web::Data` of [`Node`](crate::node::Node), [`AdminSettings`] and [`AppControl`](crate::store::AppControl), and [`admit`] around it.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/live", web::get().to(health::live))
        .route("/ready", web::get().to(health::ready))
        .route("/session", web::post().to(access::begin_session))
        .route("/session", web::delete().to(access::end_session))
        .route("/metrics", web::get().to(metrics::show))
        .route("/feed", web::get().to(feed::stream))
        .route("/api/openapi.json", web::get().to(openapi::show))
        .route("/api/state", web::get().to(state::show))
        .route("/api/reload", web::post().to(reload::reload))
        .route("/api/apps", web::get().to(tenants::list))
        .route("/api/apps", web::post().to(tenants::create))
        .route("/api/apps/{id}", web::get().to(tenants::show))
        .route("/api/apps/{id}", web::patch().to(tenants::change))
        .route("/api/apps/{id}", web::delete().to(tenants::remove))
        .route("/api/apps/{id}/keys", web::post().to(tenants::create_key))
        .route(
            "/api/apps/{id}/keys/{key}",
            web::patch().to(tenants::change_key),
        )
        .route(
            "/api/apps/{id}/keys/{key}",
            web::delete().to(tenants::remove_key),
        )
        .route("/api/apps/{id}/channels", web::get().to(apps::channels))
        .route(
            "/api/apps/{id}/channels/{name}",
            web::get().to(apps::channel),
        )
        .route("/api/apps/{id}/events", web::post().to(apps::create_event))
        .route("/api/connections", web::get().to(connections::list))
        .route(
            "/api/connections/{socket_id}",
            web::get().to(connections::show),
        )
        .route(
            "/api/connections/{socket_id}",
            web::delete().to(connections::disconnect),
        )
        .default_service(web::to(page::show));
}

/// 200 with this JSON.
fn json(value: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(value)
}

/// A body of JSON, whole.
async fn read(body: Payload) -> Result<Bytes, AdminError> {
    match body.to_bytes_limited(BODY_BYTES_MAX).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(AdminError::BadRequest(
            "the body could not be read".to_owned(),
        )),
        Err(_) => Err(AdminError::TooLarge),
    }
}
