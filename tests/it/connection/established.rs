//! §1.2 and §1.3: the first frame and the socket id.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{client::TestClient, server::TestServer, setup::Setup, websocket::Frame};

#[test]
fn the_first_frame_has_its_documented_shape() {
    let server = TestServer::usual();
    let mut socket = server.upgrade("7").connect(server.public);
    let frame: Value = serde_json::from_str(&socket.expect_text()).unwrap();
    let data: Value =
        serde_json::from_str(frame["data"].as_str().expect("data is a string")).unwrap();
    let socket_id = data["socket_id"].as_str().expect("a string");
    assert_eq!(
        data,
        json!({"socket_id": socket_id, "activity_timeout": 120})
    );
    assert_eq!(
        frame,
        json!({"event": "pusher:connection_established", "data": frame["data"]})
    );
}

#[test]
fn the_activity_timeout_is_the_configured_one() {
    let server = TestServer::start(Setup::new().set("websocket.activity_timeout_s", 30));
    let greeting = server.upgrade("7").connect(server.public).expect_text();
    assert!(
        greeting.contains(r#"\"activity_timeout\":30"#),
        "{greeting}"
    );
}

#[test]
fn a_socket_id_is_two_numbers_and_never_the_same() {
    let server = TestServer::usual();
    let mut seen = HashSet::new();
    for _ in 0..60 {
        let socket_id = server.client().socket_id;
        let (first, second) = socket_id.split_once('.').expect("a dot");
        for part in [first, second] {
            assert!(
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()),
                "{socket_id}"
            );
        }
        assert!(socket_id.len() <= 21, "{socket_id}");
        assert!(seen.insert(socket_id), "a socket id came twice");
    }
}

#[test]
fn a_frame_that_comes_with_the_upgrade_does_not_precede_the_first_frame() {
    let server = TestServer::usual();
    let early = Frame::text(r#"{"event":"pusher:subscribe","data":{"channel":"early"}}"#);
    let socket = server
        .upgrade("7")
        .connect_with(server.public, &early.bytes());
    let mut client = TestClient::greeted(socket, server.app());
    // Whether it was ignored or served is left open; the connection must work afterwards.
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    let message = client.next();
    if message.event() == "pusher_internal:subscription_succeeded" {
        client.expect("pusher:pong");
    } else {
        assert_eq!(message.event(), "pusher:pong");
    }
    client.subscribe("later");
}
