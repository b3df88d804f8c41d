//! `/live` and `/ready`, and that they stay on their own listener.

use serde_json::json;

use crate::support::{server::TestServer, setup::Setup};

#[test]
fn live_and_ready_answer() {
    let server = TestServer::usual();
    server.admin_get("/live").is(&json!({"ok": true}));
    server.admin_get("/ready").is(&json!({"ready": true}));
}

#[test]
fn the_public_port_answers_where_users_of_other_servers_ask() {
    let server = TestServer::start(Setup::new().set("server.path_prefix", "/ws"));
    for path in [
        "/up",
        "/",
        "/health",
        "/ready",
        "/accept-traffic",
        "/ws/up",
        "/ws/",
    ] {
        let answer = server.get(path);
        answer.is(&json!({"ok": true}));
        assert_eq!(answer.body, r#"{"ok":true}"#, "nothing else is told");
    }
    assert_eq!(server.get("/usage").status, 404);
}

#[test]
fn the_listeners_do_not_share_their_routes() {
    let server = TestServer::usual();
    assert_ne!(server.public, server.admin);
    for path in ["/live", "/feed", "/metrics"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    for path in ["/apps/1001/channels", "/app/key-of-1001", "/nothing"] {
        assert_eq!(server.admin_get(path).status, 404, "{path}");
    }
}

#[test]
fn the_feed_is_a_websocket_and_nothing_else() {
    let server = TestServer::usual();
    let response = server.admin_get("/feed");
    assert!((400..500).contains(&response.status), "{response:?}");
}
