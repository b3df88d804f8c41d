//! #13 row 5: slashes that follow each other or end a path mean nothing, to sockets, API and fallbacks; pusher-js with a `wsPath` that ends in a
//! slash connects. A path that leads nowhere is in the log and in the feed.

use serde_json::json;

use crate::support::{
    client::TestClient,
    fallback::{POLLING, STREAMING, Session},
    feed::Feed,
    server::TestServer,
    setup::Setup,
    websocket::Upgrade,
};

fn prefixed() -> TestServer {
    TestServer::start(Setup::new().set("server.path_prefix", "/sockets"))
}

#[test]
fn a_socket_finds_its_app() {
    let server = prefixed();
    for path in [
        "//app/key-of-1001",
        "/app//key-of-1001",
        "/app/key-of-1001/",
        "/sockets//app/key-of-1001",
        "/sockets/app/key-of-1001/",
        "///sockets///app///key-of-1001///",
    ] {
        let upgrade = Upgrade::new(&format!("{path}?protocol=7"));
        let socket = upgrade.connect(server.public);
        TestClient::greeted(socket, server.app()).subscribe("news");
    }
}

#[test]
fn a_socket_of_another_path_is_closed_with_4005() {
    let server = prefixed();
    for path in [
        "/",
        "//",
        "/app",
        "/app//",
        "/appkey-of-1001",
        "/app%2Fkey-of-1001",
        "/socketsapp/key-of-1001",
        "/sockets/sockets/app/key-of-1001",
        "/app/key-of-1001/more",
    ] {
        let upgrade = Upgrade::new(&format!("{path}?protocol=7"));
        upgrade.connect(server.public).expect_close(4005);
    }
}

#[test]
fn a_request_of_the_api_is_served_whichever_path_was_signed() {
    let server = prefixed();
    let mut client = server.client();
    client.subscribe("news");
    let body = json!({"name": "e", "channel": "news", "data": ""}).to_string();
    let call = server.api().call("POST", "/events").body(&body);
    for (sent, signed) in [
        ("//apps/1001/events", "/apps/1001/events"),
        ("/apps//1001///events/", "/apps/1001/events"),
        ("/apps//1001///events/", "/apps//1001///events/"),
        ("/sockets//apps/1001/events", "/apps/1001/events"),
        ("/sockets//apps/1001/events", "/sockets/apps/1001/events"),
        ("/sockets/apps/1001/events/", "/apps/1001/events/"),
    ] {
        let call = call.clone().path(sent).signed_path(signed);
        call.send().is_empty_object();
        client.expect_on("news", "e");
    }
    for signed in ["/apps/1001/event", "/apps/1002/events", "/events", "//"] {
        let call = call.clone().path("//apps/1001/events").signed_path(signed);
        call.send().is_error(401);
    }
    client.expect_silence();
    for path in ["/up/", "//up", "/sockets//up/", "/sockets"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_fallback_finds_its_app() {
    let server = prefixed();
    for path in ["//pusher//app/key-of-1001/7/s1", "//app//key-of-1001/7//s2"] {
        for kind in [STREAMING, POLLING] {
            let session = Session::new(&server, server.app()).path(&format!("{path}{kind}"));
            let client = session.open(kind);
            client.session.send(&[json!({"event": "pusher:ping"})]);
        }
    }
}

#[test]
fn a_path_that_leads_nowhere_is_in_the_log_and_in_the_feed_shortened() {
    let server = TestServer::start(Setup::new().set("log.format", "json"));
    let mut feed = Feed::connect(&server);
    let long = format!("/nowhere/{}", "x".repeat(200));
    let shown = format!("{}…", &long[..100]);
    let upgrade = Upgrade::new(&format!("{long}?protocol=7&token=hidden"));
    upgrade.connect(server.public).expect_close(4005);
    let line = feed.expect("error");
    assert_eq!(line["code"], 4005, "{line}");
    let message = line["message"].as_str().expect("text");
    assert!(message.ends_with(&shown), "{message}");
    server.get(&format!("{long}?token=hidden")).is_error(404);
    let line = feed.expect("error");
    assert_eq!(line["code"], 404, "{line}");
    let message = line["message"].as_str().expect("text");
    assert!(message.ends_with(&shown), "{message}");
    let log = server.process.stderr();
    let told = log.matches(&format!("\"path\":\"{shown}\"")).count();
    assert_eq!(told, 2, "{log}");
    assert!(!log.contains("hidden"), "{log}");
}

/// #16: a proxy that drops Upgrade got 404, "there is nothing at this path".
#[test]
fn a_handshake_without_upgrade_says_what_the_proxy_did() {
    let server = prefixed();
    let mut feed = Feed::connect(&server);
    let told = "a proxy in front of this server dropped the Upgrade header";
    for path in ["/app/key-of-1001", "/sockets/app/key-of-1001"] {
        let stripped = Upgrade::new(&format!("{path}?protocol=7"))
            .without("Upgrade")
            .without("Connection");
        let answer = stripped.refusal(server.public);
        let text = answer.is_error(426);
        assert!(text.starts_with(told), "{text}");
        assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
        let line = feed.expect("error");
        assert_eq!(line["code"], 426, "{line}");
        assert!(
            line["message"].as_str().unwrap().starts_with(told),
            "{line}"
        );
    }
    let log = server.process.stderr();
    assert_eq!(
        log.matches("a proxy drops Upgrade").count(),
        1,
        "once per storm: {log}"
    );
    let page = server.get("/app/key-of-1001");
    assert!(page.is_error(426).contains("only WebSockets"), "{page:?}");
    server.get("/app/key-of-1001/more").is_error(404);
    server.get("/app").is_error(404);
}
