//! §1.1: every reason to refuse a connection is told by a close code after the 101, in a fixed order.

use crate::support::{
    app::App,
    client::TestClient,
    eventually,
    http::Http,
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    websocket::{Incoming, Socket, TEXT, Upgrade},
};

#[track_caller]
fn refused(server: &TestServer, target: &str, code: u16) {
    let mut socket = Upgrade::new(target).connect(server.public);
    let reason = socket.expect_close(code);
    assert!(!reason.is_empty(), "{target}: a close says why");
}

#[track_caller]
fn accepted(server: &TestServer, upgrade: &Upgrade) -> TestClient {
    TestClient::greeted(upgrade.connect(server.public), server.app())
}

fn key_of(app: &App, protocol: &str) -> Upgrade {
    Upgrade::new(&format!("/app/{}?protocol={protocol}", app.key))
}

/// Whether the server admits one more connection of this app; what it refuses with otherwise.
fn admission(server: &TestServer, app: &App) -> Result<Socket, u16> {
    let mut socket = key_of(app, "7").connect(server.public);
    match socket.next() {
        Incoming::Text(_) => Ok(socket),
        Incoming::Close(Some(code), _) => Err(code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_path_is_closed_with_4005() {
    let server = TestServer::usual();
    let key = &server.app().key;
    for path in [
        "/",
        "/other",
        "/app",
        "/App/KEY",
        "/application/KEY",
        "/x/app/KEY",
        "/app/KEY/more",
    ] {
        let target = format!("{}?protocol=7", path.replace("KEY", key));
        refused(&server, &target, 4005);
    }
}

#[test]
fn an_unknown_key_is_closed_with_4001() {
    let server = TestServer::usual();
    refused(&server, "/app/nobody?protocol=7", 4001);
    // The id is not the key, and keys are case sensitive.
    refused(&server, "/app/1001?protocol=7", 4001);
    refused(&server, "/app/KEY-OF-1001?protocol=7", 4001);
}

#[test]
fn a_disabled_app_is_closed_with_4003() {
    let server = TestServer::start(Setup::new().usual_with("enabled", false));
    refused(&server, "/app/key-of-1001?protocol=7", 4003);
}

#[test]
fn a_plain_socket_of_a_tls_only_app_is_closed_with_4000() {
    let server = TestServer::start(Setup::new().usual_with("tls_only", true));
    refused(&server, "/app/key-of-1001?protocol=7", 4000);
    let forwarded = key_of(server.app(), "7").header("X-Forwarded-Proto", "http");
    forwarded.connect(server.public).expect_close(4000);
}

#[test]
fn a_tls_only_app_takes_a_socket_whose_proxy_terminated_tls() {
    takes_forwarded(&["https", "HTTPS", "https, http"]);
}

#[test]
fn a_proxy_may_name_the_websocket_scheme() {
    // Traefik says wss for upgrades.
    takes_forwarded(&["wss"]);
}

#[test]
fn who_is_no_trusted_proxy_can_t_say_that_it_uses_tls() {
    let server = TestServer::start(Setup::new().usual_with("tls_only", true));
    for scheme in ["https", "wss"] {
        let forwarded = key_of(server.app(), "7").header("X-Forwarded-Proto", scheme);
        forwarded.connect(server.public).expect_close(4000);
    }
}

#[track_caller]
fn takes_forwarded(schemes: &[&str]) {
    let setup = Setup::new().set("server.trusted_proxies", vec!["127.0.0.0/8"]);
    let server = TestServer::start(setup.usual_with("tls_only", true));
    for scheme in schemes {
        let upgrade = key_of(server.app(), "7").header("X-Forwarded-Proto", scheme);
        accepted(&server, &upgrade).expect_silence();
    }
}

#[test]
fn protocols_5_to_7_are_accepted() {
    let server = TestServer::usual();
    for protocol in ["5", "6", "7"] {
        accepted(&server, &key_of(server.app(), protocol)).expect_silence();
    }
}

#[test]
fn every_other_protocol_is_closed_with_4007() {
    let server = TestServer::usual();
    for protocol in [
        "4",
        "8",
        "0",
        "-7",
        "abc",
        "7.0",
        "7x",
        "",
        "99999999999999999999",
    ] {
        refused_or_told(
            &mut key_of(server.app(), protocol).connect(server.public),
            4007,
        );
    }
}

/// What old protocols are told before the close is left open.
#[track_caller]
fn refused_or_told(socket: &mut Socket, code: u16) {
    match socket.next() {
        Incoming::Text(text) => {
            assert!(text.contains("pusher:error"), "{text}");
            socket.expect_close(code);
        }
        Incoming::Close(got, _) => assert_eq!(got, Some(code)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_protocol_counts_as_7() {
    let server = TestServer::usual();
    accepted(&server, &Upgrade::new("/app/key-of-1001")).expect_silence();
    accepted(&server, &Upgrade::new("/app/key-of-1001?client=js")).expect_silence();
}

#[test]
fn a_missing_protocol_is_closed_with_4008_where_it_is_required() {
    let server = TestServer::start(Setup::new().set("websocket.require_protocol", true));
    refused(&server, "/app/key-of-1001", 4008);
    refused(&server, "/app/key-of-1001?client=js&version=8.6.0", 4008);
    accepted(&server, &key_of(server.app(), "7")).expect_silence();
    refused(&server, "/app/key-of-1001?protocol=8", 4007);
}

#[test]
fn a_version_is_never_a_reason_to_refuse() {
    let server = TestServer::usual();
    let odd = "/app/key-of-1001?protocol=7&client=%00&version=not.a.version&flash=maybe&%zz=1&&=";
    accepted(&server, &Upgrade::new(odd)).expect_silence();
}

#[test]
fn an_app_over_its_quota_closes_with_4004_until_someone_leaves() {
    let server = TestServer::start(Setup::new().usual_with("max_connections", 2));
    let first = server.client();
    let mut second = server.client();
    for _ in 0..5 {
        refused(&server, "/app/key-of-1001?protocol=7", 4004);
    }
    first.close();
    let mut third = eventually("a free place", || admission(&server, server.app()).ok());
    assert_eq!(
        admission(&server, server.app()).err(),
        Some(4004),
        "refused connections held no place"
    );
    third.send_text(r#"{"event":"pusher:ping","data":{}}"#);
    assert!(third.expect_text().contains("pusher:pong"));
    second.expect_silence();
}

#[test]
fn a_place_is_free_again_after_an_abrupt_disconnect() {
    let server = TestServer::start(Setup::new().usual_with("max_connections", 1));
    drop(server.client());
    eventually("a free place", || admission(&server, server.app()).ok());
}

#[test]
fn a_rush_of_connections_gets_exactly_as_many_places_as_there_are() {
    let setup = Setup::new().usual_with("max_connections", 10);
    let server = TestServer::start(setup);
    // All requests are under way before the first answer is read, over both workers.
    let upgrade = key_of(server.app(), "7").bytes();
    let mut streams: Vec<_> = (0..60).map(|_| Http::connect(server.public)).collect();
    for http in &mut streams {
        http.send(&upgrade);
    }
    let accepted = streams.iter_mut().filter_map(|http| {
        assert_eq!(http.head_response().status, 101);
        let first = http.stream.peek(2, PATIENCE).expect("a frame")[0];
        (first & 0x0f == TEXT).then_some(())
    });
    assert_eq!(accepted.count(), 10);
}

#[test]
fn quotas_are_counted_per_app() {
    let small = App::new("1", "small").set("max_connections", 1);
    let server = TestServer::start(Setup::new().app(small).app(App::new("2", "large")));
    let _kept = server.client();
    assert_eq!(admission(&server, &server.apps[0]).err(), Some(4004));
    let _others = [
        server.client_of(&server.apps[1]),
        server.client_of(&server.apps[1]),
    ];
}

#[test]
fn a_full_node_closes_with_4100() {
    let setup = Setup::new().set("server.max_connections", 2);
    let server = TestServer::start(setup.app(App::new("1", "one")).app(App::new("2", "two")));
    let first = server.client();
    let _second = server.client_of(&server.apps[1]);
    for app in &server.apps {
        assert_eq!(admission(&server, app).err(), Some(4100));
    }
    first.close();
    eventually("a free place", || admission(&server, &server.apps[1]).ok());
}

#[test]
fn where_two_reasons_apply_the_earlier_one_is_told() {
    let app = |id: &str| App::new(id, id);
    let one = |id: &str| app(id).set("max_connections", 1);
    let setup = Setup::new()
        .set("server.max_connections", 3)
        .app(app("plain"))
        .app(one("origin").set("allowed_origins", vec!["a.test"]))
        .app(one("quota"))
        .app(app("disabled").set("enabled", false).set("tls_only", true))
        .app(
            app("tls")
                .set("tls_only", true)
                .set("allowed_origins", vec!["a.test"]),
        );
    let server = TestServer::start(setup);
    let upgrade = |app: &App| key_of(app, "7").header("Origin", "https://a.test");
    let mut kept: Vec<_> = server.apps[..3]
        .iter()
        .map(|app| upgrade(app).connect(server.public))
        .collect();
    kept.iter_mut()
        .for_each(|socket| assert!(socket.expect_text().contains("established")));
    let cases = [
        ("/other/nobody?protocol=4", 4005),
        ("/app/nobody?protocol=4", 4001),
        ("/app/disabled?protocol=4", 4003),
        ("/app/tls?protocol=4", 4000),
        ("/app/origin?protocol=4", 4007),
        ("/app/origin?protocol=7", 4009),
        ("/app/quota?protocol=7", 4004),
        ("/app/plain?protocol=7", 4100),
    ];
    for (target, code) in cases {
        refused_or_told(&mut Upgrade::new(target).connect(server.public), code);
    }
}

#[test]
fn a_path_prefix_may_be_written_with_a_slash_at_its_end() {
    let server = TestServer::start(Setup::new().set("server.path_prefix", "/ws/"));
    accepted(&server, &Upgrade::new("/ws/app/key-of-1001?protocol=7")).expect_silence();
}

#[test]
fn a_path_prefix_works_beside_the_bare_path() {
    let server = TestServer::start(Setup::new().set("server.path_prefix", "/ws"));
    for path in ["/ws/app/key-of-1001", "/app/key-of-1001"] {
        accepted(&server, &Upgrade::new(&format!("{path}?protocol=7"))).expect_silence();
    }
    refused(&server, "/ws/app/nobody?protocol=7", 4001);
    for path in [
        "/w/app/key-of-1001",
        "/ws/ws/app/key-of-1001",
        "/wsapp/key-of-1001",
        "/ws/other",
    ] {
        refused(&server, &format!("{path}?protocol=7"), 4005);
    }
}
