//! What requests without TLS are told where only TLS is served.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
};
use serde_json::json;

/// 308 to the same target on the port with TLS; 400 for a request that does not say which host it means.
#[must_use]
pub fn redirect(request: &HttpRequest, port: u16) -> HttpResponse {
    let Some(host) = host_of(request.headers()) else {
        return answer(StatusCode::BAD_REQUEST, None);
    };
    let target = request.uri().path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let location = match port {
        443 => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    };
    answer(StatusCode::PERMANENT_REDIRECT, Some(&location))
}

/// The host without its port.
fn host_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let end = match host.find(']') {
        Some(end) => end + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    Some(&host[..end]).filter(|host| !host.is_empty())
}

fn answer(status: StatusCode, location: Option<&str>) -> HttpResponse {
    let mut answer = HttpResponse::build(status);
    if let Some(location) = location {
        answer.insert_header((header::LOCATION, location));
    }
    answer.json(json!({"error": "this server only speaks TLS", "code": status.as_u16()}))
}
