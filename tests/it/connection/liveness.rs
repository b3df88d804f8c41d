//! §1.4: pings of both kinds, and the end of a socket that has gone silent.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    server::TestServer,
    setup::Setup,
    stream::ReadError,
    websocket::{Frame, Incoming, PING, PONG, Socket},
};

fn impatient() -> TestServer {
    let setup = Setup::new().set("websocket.activity_timeout_s", 1);
    TestServer::start(setup.set("websocket.pong_timeout_s", 1))
}

const MESSAGE_PING: &str = r#"{"event":"pusher:ping","data":"{}"}"#;

/// The next frame, without the ping messages for clients that cannot answer control pings.
#[track_caller]
fn next_frame(socket: &mut Socket) -> Incoming {
    loop {
        match socket.next() {
            Incoming::Text(text) => assert_eq!(text, MESSAGE_PING),
            other => return other,
        }
    }
}

#[track_caller]
fn expect_ping(socket: &mut Socket) -> Vec<u8> {
    match next_frame(socket) {
        Incoming::Ping(payload) => payload,
        other => panic!("expected a control ping, got {other:?}"),
    }
}

#[track_caller]
fn expect_4201(socket: &mut Socket) {
    match next_frame(socket) {
        Incoming::Close(Some(4201), reason) => assert!(!reason.is_empty()),
        other => panic!("expected a close, got {other:?}"),
    }
    socket.expect_end();
}

#[test]
fn an_application_ping_is_answered_exactly() {
    let server = TestServer::usual();
    let mut client = server.client();
    let pings = [
        json!({"event": "pusher:ping", "data": {}}),
        json!({"event": "pusher:ping", "data": "{}"}),
        json!({"event": "pusher:ping", "data": null}),
        json!({"event": "pusher:ping"}),
    ];
    for ping in pings {
        client.send(&ping);
        let pong = client.expect("pusher:pong");
        assert_eq!(pong.json, json!({"event": "pusher:pong", "data": "{}"}));
    }
}

#[test]
fn an_application_pong_is_not_answered() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.send(&json!({"event": "pusher:pong", "data": {}}));
    client.send(&json!({"event": "pusher:pong"}));
    client.expect_silence();
}

#[test]
fn a_control_ping_is_echoed_with_its_payload() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    for payload in [vec![], b"hello".to_vec(), vec![0xff; 125]] {
        socket.send(&Frame::new(PING, &payload));
        assert_eq!(socket.next(), Incoming::Pong(payload));
    }
}

#[test]
fn an_idle_socket_is_pinged_and_then_closed_with_4201() {
    let server = impatient();
    let mut socket = server.socket();
    expect_ping(&mut socket);
    expect_4201(&mut socket);
}

#[test]
fn a_control_pong_keeps_a_socket() {
    let server = impatient();
    let mut socket = server.socket();
    for _ in 0..2 {
        let payload = expect_ping(&mut socket);
        socket.send(&Frame::new(PONG, payload));
    }
    expect_ping(&mut socket);
    // Whoever answers control pings is spared the others.
    socket.expect_close(4201);
}

#[test]
fn an_application_pong_keeps_a_socket() {
    let server = impatient();
    let mut socket = server.socket();
    for _ in 0..2 {
        expect_ping(&mut socket);
        socket.send_text(r#"{"event":"pusher:pong","data":{}}"#);
    }
    expect_ping(&mut socket);
    expect_4201(&mut socket);
}

#[test]
fn an_active_socket_is_neither_pinged_nor_closed() {
    let server = impatient();
    let mut idle = server.socket();
    let mut active = server.socket();
    loop {
        active.send_text(r#"{"event":"pusher:ping","data":{}}"#);
        let answer = active.expect_text();
        assert!(answer.contains("pusher:pong"), "{answer}");
        match idle.read(Duration::from_millis(50)) {
            Err(ReadError::Quiet) | Ok(Incoming::Ping(_)) => {}
            Ok(Incoming::Text(text)) => assert_eq!(text, MESSAGE_PING),
            Ok(Incoming::Close(code, _)) => return assert_eq!(code, Some(4201)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_members_of_a_presence_channel_are_told_when_a_silent_one_is_closed() {
    let server = impatient();
    let mut silent = server.client();
    silent.join("presence-room", "silent");
    let mut watcher = server.client();
    watcher.join("presence-room", "watcher");
    // The watcher answers pings while it waits.
    let removed = watcher.expect_on("presence-room", "pusher_internal:member_removed");
    assert_eq!(removed.decoded(), json!({"user_id": "silent"}));
}
