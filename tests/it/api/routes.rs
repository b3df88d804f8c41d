//! What exists, with which methods, and terminate_connections while nobody can sign in.

use serde_json::json;

use crate::support::{http::Http, server::TestServer};

#[test]
fn up_answers_on_the_public_listener() {
    let server = TestServer::usual();
    server.get("/up").is(&json!({"ok": true}));
    server.get("/up?x=1").is(&json!({"ok": true}));
}

#[test]
fn an_unknown_route_is_404() {
    let server = TestServer::usual();
    for path in [
        "/nowhere",
        "/apps",
        "/apps/",
        "/Up",
        "/apps/1001",
        "/live",
        "/feed",
        "/metrics",
    ] {
        let response = server.get(path);
        assert_eq!(response.status, 404, "{path}: {response:?}");
    }
    for path in [
        "/nothing",
        "/event",
        "/channels/news/nothing",
        "/channels/news/users/7",
        "/users/7",
    ] {
        server.api().get(path, &[]).is_error(404);
        server.api().post(path, &json!({})).is_error(404);
    }
}

#[test]
fn a_known_route_with_a_wrong_method_is_405() {
    let server = TestServer::usual();
    let api = server.api();
    for path in ["/events", "/batch_events", "/users/7/terminate_connections"] {
        for method in ["GET", "DELETE"] {
            api.call(method, path).send().is_error(405);
        }
    }
    for path in [
        "/channels",
        "/channels/news",
        "/channels/presence-a/users",
        "/channels/news/stats",
        "/connections",
    ] {
        for method in ["POST", "DELETE", "PATCH"] {
            let response = api.call(method, path).body("{}").send();
            assert_eq!(response.status, 405, "{method} {path}: {response:?}");
            response.is_error(405);
        }
    }
}

#[test]
fn head_and_options_are_answered_sanely() {
    let server = TestServer::usual();
    for (method, target) in [
        ("HEAD", "/up"),
        ("OPTIONS", "/up"),
        ("OPTIONS", "/apps/1001/events"),
        ("OPTIONS", "*"),
    ] {
        let mut http = Http::connect(server.public);
        http.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let status = match method {
            "HEAD" => http.head_response().status,
            _ => http.response().status,
        };
        assert!(
            (200..300).contains(&status) || (400..500).contains(&status),
            "{method} {target}: {status}"
        );
        // No body that would be taken for the next answer.
        if status != 400 {
            assert_eq!(http.get("/up").status, 200, "after {method} {target}");
        }
    }
}

#[test]
fn terminating_the_connections_of_someone_unknown_succeeds() {
    let server = TestServer::usual();
    for user in ["7", "u-1", "a%40b.c", "with%20space", "%C3%A9"] {
        let path = format!("/users/{user}/terminate_connections");
        server.api().post(&path, &json!({})).is_empty_object();
    }
}

#[test]
fn terminating_does_not_touch_who_only_has_a_presence_identity() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.join("presence-room", "7");
    server
        .api()
        .post("/users/7/terminate_connections", &json!({}))
        .is_empty_object();
    client.expect_nothing_before_marker(&server.api(), "presence-room");
}
