//! The API through its service: what a request of any kind gets back.

mod refusals;

use std::{sync::Arc, time::Duration};

use actix_web::{
    App as WebApp,
    body::to_bytes,
    http::Method,
    test::{TestRequest, call_service, init_service},
    web,
};
use md5::{Digest, Md5};

use super::{ApiSettings, answer, unix_now};
use crate::{
    address::{Gate, Proxies},
    app::{App, AppRegistry, Limits, Secret, WebhookTargets},
    engine::Engine,
    feed::Feed,
    http_body::BodyLimits,
    hub::{Capacity, Hub},
    node::{self, Node, Phase},
    protocol::signature,
    settings::Literal,
    webhook::Webhooks,
};

const SECRET: &str = "app-secret-1";

/// A response: status, headers of interest, body.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    allow: Option<String>,
    body: String,
}

fn node() -> Arc<Node> {
    let limits = Limits {
        max_event_data_bytes: Literal::of(20),
        max_batch_events: Literal::of(2),
        ..Limits::default()
    };
    let enabled = App {
        secret: Some(Secret::new(SECRET)),
        limits,
        ..App::for_test("1", "key")
    };
    let disabled = App {
        enabled: false,
        ..App {
            id: Literal::of("2"),
            key: Some(Literal::of("key2")),
            ..enabled.clone()
        }
    };
    let hub = Arc::new(Hub::new(1));
    let apps = Arc::new(AppRegistry::new(vec![
        Arc::new(enabled),
        Arc::new(disabled),
    ]));
    let webhooks = Arc::new(Webhooks::new(Feed::default(), WebhookTargets::any()));
    let edges = node::edges(Arc::clone(&apps), Arc::clone(&webhooks));
    let engine = Engine::local(Arc::clone(&hub), Feed::default(), edges);
    Arc::new(Node::new(
        apps,
        hub,
        engine,
        webhooks,
        Feed::default(),
        Capacity::default(),
        Gate::new(Proxies::default(), None, usize::MAX),
    ))
}

/// Sends a request as it is.
async fn send(node: &Arc<Node>, method: &str, target: &str, body: &[u8]) -> Answer {
    let app = WebApp::new()
        .app_data(web::Data::from(Arc::clone(node)))
        .app_data(web::Data::new(ApiSettings {
            body: BodyLimits {
                max_bytes: 500,
                timeout: Duration::from_secs(5),
            },
            timestamp_tolerance_s: 600,
        }))
        .default_service(web::to(|request, body| async move {
            answer(&request, body, "/ws").await
        }));
    let service = init_service(app).await;
    let method = Method::from_bytes(method.as_bytes()).expect(method);
    let request = TestRequest::with_uri(target)
        .method(method)
        .set_payload(body.to_vec());
    let response = call_service(&service, request.to_request()).await;
    let header = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (content_type, allow) = (header("content-type"), header("allow"));
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.expect("a whole body");
    Answer {
        status,
        content_type,
        allow,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// Signs a request for app 1 and sends it.
async fn call(node: &Arc<Node>, method: &str, path: &str, query: &str, body: &str) -> Answer {
    let key = if path.starts_with("/apps/2/") {
        "key2"
    } else {
        "key"
    };
    let md5 = hex::encode(Md5::digest(body));
    let mut parameters = vec![
        format!("auth_key={key}"),
        format!("auth_timestamp={}", unix_now()),
        "auth_version=1.0".into(),
    ];
    parameters.extend((!body.is_empty()).then(|| format!("body_md5={md5}")));
    parameters.extend(
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(str::to_owned),
    );
    parameters.sort();
    let query = parameters.join("&");
    let text = format!("{method}\n{path}\n{query}");
    let signature = signature::sign(SECRET.as_bytes(), &[text.as_bytes()]);
    send(
        node,
        method,
        &format!("{path}?{query}&auth_signature={signature}"),
        body.as_bytes(),
    )
    .await
}

async fn publish(node: &Arc<Node>, body: &str) -> Answer {
    call(node, "POST", "/apps/1/events", "", body).await
}

async fn get(node: &Arc<Node>, path: &str, query: &str) -> Answer {
    call(node, "GET", &format!("/apps/1/{path}"), query, "").await
}

impl Answer {
    #[track_caller]
    fn is(&self, status: u16, body: &str) {
        assert_eq!(
            (self.status, self.body.as_str()),
            (status, body),
            "{self:?}"
        );
        assert_eq!(self.content_type.as_deref(), Some("application/json"));
    }

    #[track_caller]
    fn is_error(&self, status: u16, message: &str) {
        let error = serde_json::json!({"error": message, "code": status});
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("errors are JSON");
        assert_eq!((self.status, body), (status, error));
        assert_eq!(self.content_type.as_deref(), Some("application/json"));
    }
}

#[actix_web::test]
async fn a_publish_is_answered_with_an_empty_object() {
    let node = node();
    publish(&node, r#"{"name":"e","channels":["a","b"],"data":"{}"}"#)
        .await
        .is(200, "{}");
    call(
        &node,
        "POST",
        "/apps/1/events",
        "channel=a&data=d&name=e",
        "",
    )
    .await
    .is(200, "{}");
    node.enter_phase(Phase::Closing);
    publish(&node, r#"{"name":"e","channel":"a","data":""}"#)
        .await
        .is(200, "{}");
}

#[actix_web::test]
async fn a_publish_with_info_tells_of_each_channel() {
    let body = r#"{"name":"e","channels":["presence-b","cache-a","presence-b"],"data":"d","info":"user_count,subscription_count"}"#;
    publish(&node(), body).await.is(
        200,
        r#"{"channels":{"presence-b":{"user_count":0,"subscription_count":0},"cache-a":{"subscription_count":0}}}"#,
    );
}

#[actix_web::test]
async fn a_batch_reply_has_one_object_for_each_event() {
    let node = node();
    let batch = async |events: &str| {
        call(
            &node,
            "POST",
            "/apps/1/batch_events",
            "",
            &format!(r#"{{"batch":[{events}]}}"#),
        )
        .await
    };
    let plain = r#"{"name":"e","channel":"a","data":""}"#;
    batch(plain).await.is(200, "{}");
    let asking = r#"{"name":"e","channel":"presence-a","data":"","info":"user_count"}"#;
    batch(&format!("{plain},{asking}"))
        .await
        .is(200, r#"{"batch":[{},{"user_count":0}]}"#);
    let several = r#"{"name":"e","channels":["a","b"],"data":"","info":"subscription_count"}"#;
    batch(several).await.is(
        200,
        r#"{"batch":[{"channels":{"a":{"subscription_count":0},"b":{"subscription_count":0}}}]}"#,
    );
}

#[actix_web::test]
async fn a_batch_with_one_wrong_event_publishes_none() {
    let node = node();
    let batch = async |events: &str| {
        call(
            &node,
            "POST",
            "/apps/1/batch_events",
            "",
            &format!(r#"{{"batch":[{events}]}}"#),
        )
        .await
    };
    let good = r#"{"name":"e","channel":"cache-a","data":"kept"}"#;
    let long = r#"{"name":"e","channel":"a","data":"123456789012345678901"}"#;
    batch(&format!("{good},{long}"))
        .await
        .is_error(413, "batch[1]: data has 21 bytes, at most 20 are allowed");
    batch(&format!(r#"{good},{{"name":"e"}}"#))
        .await
        .is_error(400, "batch[1]: missing field `data`");
    batch("")
        .await
        .is_error(400, "batch has 0 events, 1 to 2 are allowed");
    batch(&[good; 3].join(","))
        .await
        .is_error(400, "batch has 3 events, 1 to 2 are allowed");
    get(&node, "channels/cache-a", "info=cache")
        .await
        .is(200, r#"{"occupied":false,"cache":null}"#);
}

#[actix_web::test]
async fn the_cached_event_is_shown_as_it_was_published() {
    let node = node();
    publish(
        &node,
        r#"{"name":"e","channel":"cache-a","data":"{\"id\":42}"}"#,
    )
    .await
    .is(200, "{}");
    let shown = get(&node, "channels/cache-a", "info=cache").await;
    let seconds = shown
        .body
        .trim_end_matches("}}")
        .rsplit(':')
        .next()
        .map(str::to_owned);
    let ttl: u64 = seconds
        .and_then(|ttl| ttl.parse().ok())
        .expect("a number of seconds");
    assert!((1790..=1800).contains(&ttl), "{ttl}");
    let expected =
        format!(r#"{{"occupied":false,"cache":{{"data":"{{\"id\":42}}","ttl":{ttl}}}}}"#);
    shown.is(200, &expected);
}

#[actix_web::test]
async fn the_legacy_endpoint_takes_any_text_and_answers_202() {
    let node = node();
    let path = "/apps/1/channels/cache-a/events";
    call(&node, "POST", path, "name=e&socket_id=1.2", "not \"JSON\"")
        .await
        .is(202, "{}");
    let shown = get(&node, "channels/cache-a", "info=cache").await;
    assert!(shown.body.contains(r#""data":"not \"JSON\"""#), "{shown:?}");
    call(&node, "POST", path, "", "d")
        .await
        .is_error(400, "missing field `name`");
    call(&node, "POST", path, "name=e&socket_id=x", "d")
        .await
        .is_error(400, "socket_id is not of the form 123.456");
    call(&node, "POST", path, "name=e", &"x".repeat(21))
        .await
        .is_error(413, "data has 21 bytes, at most 20 are allowed");
}

#[actix_web::test]
async fn channels_are_described_as_far_as_it_applies() {
    let node = node();
    for (path, query, body) in [
        ("channels", "", r#"{"channels":{}}"#),
        (
            "channels",
            "filter_by_prefix=presence-&info=user_count",
            r#"{"channels":{}}"#,
        ),
        ("channels", "info=subscription_count", r#"{"channels":{}}"#),
        ("channels/a", "", r#"{"occupied":false}"#),
        (
            "channels/%70resence-a",
            "info=user_count",
            r#"{"occupied":false,"user_count":0}"#,
        ),
        ("channels/%23server-to-user-7", "", r#"{"occupied":false}"#),
        (
            "channels/a",
            "info=subscription_count",
            r#"{"occupied":false,"subscription_count":0}"#,
        ),
        ("channels/presence-a/users", "", r#"{"users":[]}"#),
        (
            "channels/a/stats",
            "",
            r#"{"occupied":false,"connection_count":0}"#,
        ),
        (
            "channels/presence-a/stats",
            "",
            r#"{"occupied":false,"user_count":0,"connection_count":0}"#,
        ),
        ("connections", "", r#"{"connections":0}"#),
    ] {
        get(&node, path, query).await.is(200, body);
    }
    let terminated = "/apps/1/users/a%20b/terminate_connections";
    call(&node, "POST", terminated, "", "{}")
        .await
        .is(200, "{}");
    call(&node, "POST", terminated, "", "").await.is(200, "{}");
}

#[actix_web::test]
async fn the_prefix_leads_to_the_same_places() {
    let node = node();
    for path in ["/up", "/ws/up"] {
        send(&node, "GET", path, b"")
            .await
            .is(200, r#"{"ok":true}"#);
    }
    call(&node, "GET", "/ws/apps/1/channels", "", "")
        .await
        .is(200, r#"{"channels":{}}"#);
    let options = send(&node, "OPTIONS", "/ws/apps/1/events", b"").await;
    assert_eq!(
        (options.status, options.allow.as_deref()),
        (204, Some("POST, OPTIONS"))
    );
}
