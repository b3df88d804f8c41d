//! §9.6: what browsers ask before each request, and other methods.

use crate::support::{
    fallback::{POLLING, SEND, STREAMING, Session},
    server::TestServer,
};

#[test]
fn a_preflight_is_answered_for_any_session_of_any_key() {
    let server = TestServer::usual();
    let unknown = crate::support::app::App::new("9", "no-such-key");
    for app in [server.app(), &unknown] {
        let session = Session::new(&server, app)
            .header("Origin", "http://shop.test")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type");
        for kind in [STREAMING, POLLING, SEND] {
            let response = session.ask("OPTIONS", kind, b"");
            assert_eq!(response.status, 204, "{response:?}");
            let header = |name| response.header(name);
            assert_eq!(header("access-control-allow-origin"), Some("*"));
            assert_eq!(
                header("access-control-allow-methods"),
                Some("POST, GET, OPTIONS")
            );
            assert_eq!(header("access-control-allow-headers"), Some("Content-Type"));
            assert_eq!(header("access-control-max-age"), Some("86400"));
        }
    }
}

#[test]
fn a_preflight_opens_no_session() {
    let server = TestServer::usual();
    let session = Session::new(&server, server.app());
    session.ask("OPTIONS", STREAMING, b"");
    assert_eq!(session.send_raw("[]").status, 404);
}

#[test]
fn every_answer_may_be_read_from_anywhere() {
    let server = TestServer::usual();
    let session = Session::new(&server, server.app()).header("Origin", "http://shop.test");
    let allowed = |response: crate::support::http::Response, status: u16| {
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    };
    allowed(session.send_raw("[]"), 404);
    allowed(session.ask("POST", POLLING, b""), 200);
    allowed(session.send_raw("[]"), 204);
    allowed(session.send_raw("x"), 400);
    let large = serde_json::to_vec(&["x".repeat(70_000)]).expect("a string");
    allowed(session.send_raw(large), 413);
    allowed(
        session.send_raw(format!("[\"{}\"]", "x".repeat(3 << 20))),
        413,
    );
}

#[test]
fn other_methods_are_405_and_open_no_session() {
    let server = TestServer::usual();
    let session = Session::new(&server, server.app());
    for kind in [STREAMING, POLLING, SEND] {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let response = session.ask(method, kind, b"");
            assert_eq!(response.status, 405, "{response:?}");
            assert_eq!(response.header("allow"), Some("POST, OPTIONS"));
        }
    }
    assert_eq!(session.send_raw("[]").status, 404);
}
