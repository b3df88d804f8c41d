//! `GET /api/openapi.json`: what this listener answers, for programs. A test holds it to the routes.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::json as reply;
use crate::{
    app::{App, AppKey},
    settings::{Settings, schema},
};

/// One method of one path.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Names of query parameters.
    query: &'static [&'static str],
    body: Body,
    /// The status of success.
    status: &'static str,
}

/// What a request brings.
#[derive(Clone, Copy)]
enum Body {
    Nothing,
    /// A component of this name.
    Of(&'static str),
}

const fn get(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
) -> Operation {
    Operation {
        method: "get",
        path,
        summary,
        query,
        body: Body::Nothing,
        status: "200",
    }
}

const fn change(
    (method, path): (&'static str, &'static str),
    summary: &'static str,
    query: &'static [&'static str],
    (body, status): (Body, &'static str),
) -> Operation {
    Operation {
        method,
        path,
        summary,
        query,
        body,
        status,
    }
}

const APP: &str = "/api/apps/{id}";
const KEY: &str = "/api/apps/{id}/keys/{key}";
const CONNECTION: &str = "/api/connections/{socket_id}";
const CLOSE: &[&str] = &["close_connections"];

const OPERATIONS: [Operation; 23] = [
    get("/live", "Whether the process is alive.", &[]),
    get(
        "/ready",
        "Whether it should get traffic; otherwise 503.",
        &[],
    ),
    get("/metrics", "Metrics for Prometheus.", &[]),
    get("/feed", "The live feed, a WebSocket.", &["app", "types"]),
    change(
        ("post", "/session"),
        "Gives a cookie for the token.",
        &[],
        (Body::Of("Credentials"), "204"),
    ),
    change(
        ("delete", "/session"),
        "Takes the cookie back.",
        &[],
        (Body::Nothing, "204"),
    ),
    get("/api/openapi.json", "This description.", &[]),
    get(
        "/api/state",
        "The node, its cluster and its apps at one glance.",
        &[],
    ),
    change(
        ("post", "/api/reload"),
        "Reads the apps again; 422 if they are not valid.",
        &[],
        (Body::Of("Reload"), "200"),
    ),
    get("/api/apps", "The apps.", &["search", "offset", "limit"]),
    change(
        ("post", "/api/apps"),
        "Makes an app; shows its secret once. Credentials that are left out are made.",
        &[],
        (Body::Of("App"), "201"),
    ),
    get(APP, "An app's settings, without secrets.", &[]),
    change(
        ("patch", APP),
        "Changes an app; null gives a key its default.",
        CLOSE,
        (Body::Of("App"), "200"),
    ),
    change(
        ("delete", APP),
        "Removes an app; its connections are closed with 4001.",
        &[],
        (Body::Nothing, "204"),
    ),
    change(
        ("post", "/api/apps/{id}/keys"),
        "Makes a key; shows its secret once.",
        &[],
        (Body::Of("NewKey"), "201"),
    ),
    change(
        ("patch", KEY),
        "Changes a key's label, or disables it at a time.",
        CLOSE,
        (Body::Of("KeyChange"), "200"),
    ),
    change(
        ("delete", KEY),
        "Removes a key.",
        CLOSE,
        (Body::Nothing, "204"),
    ),
    get(
        "/api/apps/{id}/channels",
        "Occupied channels.",
        &["prefix", "limit"],
    ),
    get(
        "/api/apps/{id}/channels/{name}",
        "A channel's members, cached event and sockets.",
        &[],
    ),
    change(
        ("post", "/api/apps/{id}/events"),
        "Publishes an event; says whom it reached.",
        &[],
        (Body::Of("Event"), "200"),
    ),
    get(
        "/api/connections",
        "This node's connections.",
        &[
            "app", "channel", "user", "search", "sort", "order", "offset", "limit",
        ],
    ),
    get(CONNECTION, "One connection.", &[]),
    change(
        ("delete", CONNECTION),
        "Closes a connection with 4009.",
        &[],
        (Body::Nothing, "204"),
    ),
];

/// `GET /api/openapi.json`
pub(super) async fn show() -> HttpResponse {
    reply(&document())
}

fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for operation in &OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.describe();
    }
    let text = json!({"type": "string"});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Loudhailer's admin listener", "version": env!("CARGO_PKG_VERSION")},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "App": schema::of_table(App::FIELDS),
                "AppKey": schema::of_table(AppKey::FIELDS),
                "NewKey": object(json!({"label": text})),
                "KeyChange": object(json!({"label": text, "disabled": {"type": "string", "format": "date-time"}})),
                "Reload": object(json!({"force": {"type": "boolean", "description": "Whether the loss of all apps is meant."}})),
                "Event": object(json!({"name": text, "channels": {"type": "array", "items": text}, "data": text, "socket_id": text})),
                "Credentials": object(json!({"token": text})),
                "Error": object(json!({"error": text, "code": {"type": "integer"}})),
            },
        },
    })
}

impl Operation {
    fn describe(&self) -> Value {
        let reference = |name| json!({"$ref": format!("#/components/schemas/{name}")});
        let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}});
        let steps = self.path.split('/');
        let names = steps.filter_map(|step| step.strip_prefix('{')?.strip_suffix('}'));
        let in_path = names.map(|name| parameter(name, "path"));
        let in_query = self.query.iter().map(|name| parameter(name, "query"));
        let parameters: Vec<_> = in_path.chain(in_query).collect();
        let error = json!({"description": "An error.", "content": {"application/json": {"schema": reference("Error")}}});
        let mut described = json!({
            "summary": self.summary,
            "parameters": parameters,
            "responses": {self.status: {"description": "Success."}, "default": error},
        });
        if let Body::Of(name) = self.body {
            described["requestBody"] =
                json!({"content": {"application/json": {"schema": reference(name)}}});
        }
        described
    }
}
