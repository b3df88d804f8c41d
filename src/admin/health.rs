//! Is the process alive, and should it get traffic.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::node::{Node, NotReady};

pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"ok": true}))
}

pub(super) async fn ready(node: web::Data<Node>) -> HttpResponse {
    let not =
        |reason| HttpResponse::ServiceUnavailable().json(json!({"ready": false, "reason": reason}));
    match node.readiness() {
        Ok(()) => HttpResponse::Ok().json(json!({"ready": true})),
        Err(NotReady::Draining) => not("draining"),
        Err(NotReady::EngineAway) => not("redis is out of reach"),
    }
}
