//! §9.4: who is not let in hears why: status 200, `o`, then `c` with the WebSocket's close code.

use crate::support::{
    app::App,
    eventually,
    fallback::{Line, POLLING, STREAMING, Session},
    server::TestServer,
    setup::Setup,
};

/// Both transports must turn this session away with the code; gives the whole body of the last.
#[track_caller]
fn is_rejected(session: &dyn Fn() -> Session, code: u16) -> String {
    let mut last = String::new();
    for kind in [STREAMING, POLLING] {
        let response = session().ask("POST", kind, b"");
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        let reason = response
            .body
            .strip_prefix(&format!("o\nc[{code},\""))
            .and_then(|rest| rest.strip_suffix("\"]\n"))
            .unwrap_or_else(|| panic!("not {code}: {response:?}"));
        assert!(!reason.is_empty(), "{response:?}");
        last.clone_from(&response.body);
    }
    last
}

#[test]
fn the_app_must_exist_be_enabled_and_allow_the_connection() {
    let setup = Setup::new()
        .app(App::usual())
        .app(App::new("2", "off").set("enabled", false))
        .app(App::new("3", "tls").set("tls_only", true));
    let server = TestServer::start(setup);
    let nobody = App::new("9", "no-such-key");
    for (app, code) in [
        (&nobody, 4001),
        (&server.apps[1], 4003),
        (&server.apps[2], 4000),
    ] {
        is_rejected(&|| Session::new(&server, app), code);
    }
}

#[test]
fn a_trusted_proxy_says_that_a_session_uses_tls_as_it_does_of_a_websocket() {
    let setup = Setup::new().set("server.trusted_proxies", vec!["127.0.0.0/8"]);
    let trusting = TestServer::start(setup.usual_with("tls_only", true));
    for scheme in ["https", "wss", "https,http"] {
        let session = Session::new(&trusting, trusting.app());
        session.header("X-Forwarded-Proto", scheme).open(STREAMING);
    }
    let other = TestServer::start(Setup::new().usual_with("tls_only", true));
    let session = || Session::new(&other, other.app()).header("X-Forwarded-Proto", "https");
    is_rejected(&session, 4000);
}

#[test]
fn the_protocol_must_be_5_to_7_and_may_be_missing() {
    let server = TestServer::usual();
    let with = |query: &str| Session::new(&server, server.app()).query(query);
    for query in ["protocol=8", "protocol=x", "protocol="] {
        is_rejected(&|| with(query), 4007);
    }
    // Below 6 there is a message before the close.
    let old = with("protocol=4").ask("POST", STREAMING, b"");
    assert!(old.body.starts_with("o\na["), "{old:?}");
    assert!(old.body.contains("\nc[4007,"), "{old:?}");
    for query in ["protocol=5", "protocol=6", "client=js", ""] {
        with(query).open(STREAMING);
    }
}

#[test]
fn a_missing_protocol_is_4008_where_it_is_required() {
    let setup = Setup::new().set("websocket.require_protocol", true);
    let server = TestServer::start(setup);
    is_rejected(
        &|| Session::new(&server, server.app()).query("client=js"),
        4008,
    );
}

#[test]
fn the_origin_must_be_among_the_allowed() {
    let setup = Setup::new().usual_with("allowed_origins", vec!["*.example.com"]);
    let server = TestServer::start(setup);
    let plain = || Session::new(&server, server.app());
    is_rejected(&plain, 4009);
    is_rejected(&|| plain().header("Origin", "https://evil.test"), 4009);
    plain()
        .header("Origin", "https://shop.example.com")
        .open(STREAMING);
}

#[test]
fn over_the_apps_connections_it_is_4004_until_one_goes() {
    let server = TestServer::start(Setup::new().usual_with("max_connections", 1));
    let session = || Session::new(&server, server.app());
    let first = server.client();
    is_rejected(&session, 4004);
    first.close();
    let second = eventually("a free place", || {
        let session = session();
        let mut receiving = session.receive(STREAMING);
        receiving.expect_line(&Line::Open);
        matches!(receiving.next(), Line::Message(_)).then_some(receiving)
    });
    let mut socket = server.upgrade("7").connect(server.public);
    socket.expect_close(4004);
    drop(second);
}

#[test]
fn over_the_nodes_connections_it_is_4100() {
    let server = TestServer::start(Setup::new().set("server.max_connections", 1));
    let _first = server.client();
    is_rejected(&|| Session::new(&server, server.app()), 4100);
}

#[test]
fn the_words_of_a_rejection_name_no_secret_and_no_other_app() {
    let server = TestServer::usual();
    let nobody = App::new("9", "no-such-key");
    let body = is_rejected(&|| Session::new(&server, &nobody), 4001);
    assert_eq!(body, "o\nc[4001,\"No app has this key.\"]\n");
}

#[test]
fn whoever_was_turned_away_may_try_the_same_session_again() {
    let server = TestServer::usual();
    let nobody = App::new("9", "no-such-key");
    for _ in 0..3 {
        is_rejected(&|| Session::named(&server, &nobody, "1/again"), 4001);
    }
}
