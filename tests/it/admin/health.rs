//! `/live` and `/ready`, and that they stay on their own listener.

use serde_json::json;

use crate::support::server::TestServer;

#[test]
fn live_and_ready_answer() {
    let server = TestServer::usual();
    server.admin_get("/live").is(&json!({"ok": true}));
    server.admin_get("/ready").is(&json!({"ready": true}));
}

#[test]
fn the_listeners_do_not_share_their_routes() {
    let server = TestServer::usual();
    assert_ne!(server.public, server.admin);
    for path in ["/live", "/ready", "/feed"] {
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
