//! The upgrade request itself (§10 "Upgrade"), and what is answered to what is none.

use crate::support::{
    app::App, http::Http, server::TestServer, setup::Setup, stream::Stream, websocket::Upgrade,
};

#[test]
fn another_websocket_version_is_answered_426_with_the_right_one() {
    let server = TestServer::usual();
    for version in ["8", "12", "14", "x"] {
        let upgrade = server.upgrade("7").header("Sec-WebSocket-Version", version);
        let response = upgrade.refusal(server.public);
        assert_eq!(response.status, 426, "{version}: {response:?}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn a_missing_version_or_key_is_answered_by_a_client_error() {
    let server = TestServer::usual();
    let response = server
        .upgrade("7")
        .without("Sec-WebSocket-Key")
        .refusal(server.public);
    assert_eq!(response.status, 400, "{response:?}");
    let response = server
        .upgrade("7")
        .without("Sec-WebSocket-Version")
        .refusal(server.public);
    assert!([400, 426].contains(&response.status), "{response:?}");
}

#[test]
fn a_get_without_an_upgrade_is_a_clear_client_error() {
    let server = TestServer::usual();
    let response = server.get("/app/key-of-1001?protocol=7");
    assert!((400..500).contains(&response.status), "{response:?}");
    response.is_error(response.status);
}

#[test]
fn a_post_is_no_upgrade() {
    let server = TestServer::usual();
    let request = server.upgrade("7").bytes();
    let mut http = Http::connect(server.public);
    http.send([b"POST", &request[3..]].concat());
    let response = http.response();
    assert!((400..500).contains(&response.status), "{response:?}");
}

#[test]
fn header_names_and_values_are_matched_as_the_rfc_says() {
    let server = TestServer::usual();
    let upgrade = Upgrade::new("/app/key-of-1001?protocol=7")
        .header("cOnNeCtIoN", "keep-alive, UPGRADE")
        .header("uPgRaDe", "WebSocket");
    let greeting = upgrade.connect(server.public).expect_text();
    assert!(
        greeting.contains("pusher:connection_established"),
        "{greeting}"
    );
}

/// #13 row 13: RFC 6455 section 11.3.1.
#[test]
fn two_keys_are_answered_400() {
    let server = TestServer::usual();
    let upgrade = String::from_utf8(server.upgrade("7").bytes()).unwrap();
    for second in ["dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEA=="] {
        let lines = format!("\r\nsec-websocket-KEY: {second}\r\n\r\n");
        let mut http = Http::connect(server.public);
        http.send(upgrade.replace("\r\n\r\n", &lines));
        let response = http.response();
        assert_eq!(response.status, 400, "{response:?}");
    }
}

/// #13 row 13: RFC 6455 section 4.2.1.
#[test]
fn an_upgrade_by_an_older_http_is_answered_400() {
    let server = TestServer::usual();
    let upgrade = String::from_utf8(server.upgrade("7").bytes()).unwrap();
    let mut http = Http::connect(server.public);
    http.send(upgrade.replace("HTTP/1.1", "HTTP/1.0").as_bytes());
    let response = http.response();
    assert_eq!(response.status, 400, "{response:?}");
}

/// #13 row 10.
#[test]
fn an_offered_version_of_pushers_protocol_is_selected() {
    let server = TestServer::usual();
    for version in ["5", "6", "7"] {
        let name = format!("pusher-channels-protocol-{version}");
        let upgrade = server.upgrade("7").header("Sec-WebSocket-Protocol", &name);
        let socket = upgrade.connect(server.public);
        let selected = socket.response.header("sec-websocket-protocol");
        assert_eq!(selected, Some(&*name));
    }
    for offers in [
        "pusher-channels-protocol-4",
        "pusher-channels-protocol-8, pusher",
    ] {
        let upgrade = server.upgrade("7").header("Sec-WebSocket-Protocol", offers);
        let socket = upgrade.connect(server.public);
        assert_eq!(socket.response.header("sec-websocket-protocol"), None);
    }
}

/// #13 row 10.
#[test]
fn the_offered_version_counts_where_the_query_has_none() {
    let setup = Setup::new()
        .set("websocket.require_protocol", true)
        .app(App::usual())
        .app(App::new("2", "off").set("enabled", false));
    let server = TestServer::start(setup);
    let offering = |target: &str, version: &str| {
        let name = format!("pusher-channels-protocol-{version}");
        Upgrade::new(target)
            .header("Sec-WebSocket-Protocol", &name)
            .connect(server.public)
    };
    let greeting = offering("/app/key-of-1001", "7").expect_text();
    assert!(greeting.contains("connection_established"), "{greeting}");
    offering("/app/key-of-1001", "8").expect_close(4008);
    offering("/app/key-of-1001?protocol=", "7").expect_close(4007);
    // Protocol 5 has a message before a close.
    let mut by_offer = offering("/app/off", "5");
    assert!(by_offer.expect_text().contains("4003"));
    by_offer.expect_close(4003);
    offering("/app/off?protocol=7", "5").expect_close(4003);
}

#[test]
fn no_other_sub_protocol_and_no_extension_is_selected() {
    let server = TestServer::usual();
    let upgrade = server
        .upgrade("7")
        .header("Sec-WebSocket-Protocol", "pusher, graphql-ws")
        .header(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        );
    let socket = upgrade.connect(server.public);
    assert_eq!(socket.response.header("sec-websocket-protocol"), None);
    assert_eq!(socket.response.header("sec-websocket-extensions"), None);
}

#[test]
fn an_upgrade_request_that_comes_in_pieces_is_served() {
    let server = TestServer::usual();
    let mut stream = Stream::connect(server.public);
    for byte in server.upgrade("7").bytes() {
        stream.send(&[byte]);
    }
    let head = stream
        .take_until(b"\r\n\r\n", crate::support::stream::PATIENCE)
        .unwrap();
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
}

#[test]
fn an_upgrade_after_other_requests_of_the_same_connection_is_served() {
    let server = TestServer::usual();
    let mut http = Http::connect(server.public);
    assert_eq!(http.get("/up").status, 200);
    http.send(server.upgrade("7").bytes());
    assert_eq!(http.head_response().status, 101);
}

#[test]
fn a_request_head_that_never_ends_is_given_up() {
    let setup = Setup::new().set("server.request_timeout_s", 1);
    let server = TestServer::start(setup);
    let mut stream = Stream::connect(server.public);
    stream.send(b"GET /app/key-of-1001 HTTP/1.1\r\nHost: localhost\r\nUpgrade: webs");
    let answer = stream
        .take_rest(crate::support::stream::PATIENCE)
        .expect("the server closes");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    assert_eq!(server.get("/up").status, 200);
}
