//! Is the process alive, and should it get traffic.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::node::{Node, Phase};

pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"ok": true}))
}

pub(super) async fn ready(node: web::Data<Node>) -> HttpResponse {
    let not =
        |reason| HttpResponse::ServiceUnavailable().json(json!({"ready": false, "reason": reason}));
    if node.phase() != Phase::Running {
        not("draining")
    } else if node.engine().health().is_err() {
        not("redis is out of reach")
    } else {
        HttpResponse::Ok().json(json!({"ready": true}))
    }
}
