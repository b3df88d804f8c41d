//! Is the process alive, and should it get traffic.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::node::Node;

pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"ok": true}))
}

pub(super) async fn ready(node: web::Data<Node>) -> HttpResponse {
    if node.is_draining() {
        HttpResponse::ServiceUnavailable().json(json!({"ready": false, "reason": "draining"}))
    } else {
        HttpResponse::Ok().json(json!({"ready": true}))
    }
}
