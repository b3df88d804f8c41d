//! The forms of a successful reply.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE, HeaderValue},
    },
};
use serde::Serialize;

use super::route::Methods;

/// 200 with `{}`: the reply of nearly every publish.
pub(super) fn empty() -> HttpResponse {
    body(StatusCode::OK, "{}")
}

/// 202 of the legacy endpoint.
pub(super) fn accepted() -> HttpResponse {
    body(StatusCode::ACCEPTED, "{}")
}

/// 200 of `/up`.
pub(super) fn up() -> HttpResponse {
    body(StatusCode::OK, r#"{"ok":true}"#)
}

/// 200 or 503 of `/ready`. Why not is for the operator only.
pub(super) fn ready(is_ready: bool) -> HttpResponse {
    if is_ready {
        up()
    } else {
        body(StatusCode::SERVICE_UNAVAILABLE, r#"{"ok":false}"#)
    }
}

/// 200 with this JSON.
pub(super) fn json(value: &impl Serialize) -> HttpResponse {
    builder(StatusCode::OK).body(json_text(value))
}

/// The text of a reply.
pub(super) fn json_text(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("replies have string keys and finite numbers")
}

/// 204 that says what may be asked.
pub(super) fn options(methods: Methods) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ALLOW, methods.allow()))
        .finish()
}

fn body(status: StatusCode, json: &'static str) -> HttpResponse {
    builder(status).body(json)
}

/// A reply that holds JSON.
pub(super) fn builder(status: StatusCode) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    builder
}
