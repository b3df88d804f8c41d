//! The operator's listener: health and the live feed. Never on the public port.

mod feed;
mod health;
mod origin;

use actix_web::web;

/// Mounts the routes. Needs `web::Data<Node>`.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/live", web::get().to(health::live))
        .route("/ready", web::get().to(health::ready))
        .route("/feed", web::get().to(feed::stream));
}
