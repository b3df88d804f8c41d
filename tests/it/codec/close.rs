//! The closing handshake, from both sides.

use std::time::{Duration, Instant};

use super::{PING_MESSAGE, closes};
use crate::support::{
    client::TestClient,
    eventually,
    server::TestServer,
    websocket::{CLOSE, Frame, Incoming, Upgrade},
};

#[test]
fn a_close_is_answered_with_the_same_code_and_the_connection_ends() {
    let server = TestServer::usual();
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 4000, 4999] {
        let mut socket = server.socket();
        socket.send(&Frame::close(code, "bye"));
        match socket.next() {
            Incoming::Close(answer, _) => assert_eq!(answer, Some(code)),
            other => panic!("{other:?}"),
        }
        socket.expect_end();
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_1005() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send(&Frame::new(CLOSE, ""));
    match socket.next() {
        Incoming::Close(None | Some(1000), _) => {}
        other => panic!("{other:?}"),
    }
    socket.expect_end();
}

#[test]
fn a_close_with_half_a_code_is_answered_with_1002() {
    closes(&TestServer::usual(), &[Frame::new(CLOSE, "x")], 1002);
}

#[test]
fn a_code_that_must_not_be_on_the_wire_is_answered_with_1002() {
    let server = TestServer::usual();
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535,
    ] {
        closes(&server, &[Frame::close(code, "")], 1002);
    }
}

#[test]
fn a_reason_that_is_not_utf8_is_answered_with_1002() {
    let payload = [&1000_u16.to_be_bytes()[..], b"\xff\xfe"].concat();
    closes(&TestServer::usual(), &[Frame::new(CLOSE, payload)], 1002);
}

#[test]
fn the_longest_reason_is_taken() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send(&Frame::close(1000, &"x".repeat(123)));
    assert!(matches!(socket.next(), Incoming::Close(Some(1000), _)));
    socket.expect_end();
}

#[test]
fn what_comes_after_a_close_is_not_served() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let frames = [
        Frame::close(1000, ""),
        Frame::text(PING_MESSAGE),
        Frame::close(1001, ""),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    socket.stream.send(&bytes);
    assert!(matches!(socket.next(), Incoming::Close(Some(1000), _)));
    socket.expect_end();
}

#[test]
fn messages_before_a_close_in_the_same_segment_count() {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.subscribe("private-room");
    let mut client = server.client();
    let subscribe = format!(
        r#"{{"event":"pusher:subscribe","data":{{"channel":"private-room","auth":"{}"}}}}"#,
        client.auth("private-room")
    );
    let bytes = [
        Frame::text(subscribe).bytes(),
        Frame::close(1000, "").bytes(),
    ]
    .concat();
    client.socket.stream.send(&bytes);
    assert!(
        client
            .socket
            .expect_text()
            .contains("subscription_succeeded")
    );
    assert!(matches!(
        client.socket.next(),
        Incoming::Close(Some(1000), _)
    ));
    client.socket.expect_end();
}

#[test]
fn a_closing_server_does_not_wait_for_ever_for_the_answer() {
    let server = TestServer::usual();
    let mut socket = Upgrade::new("/app/nobody?protocol=7").connect(server.public);
    let asked = Instant::now();
    assert!(matches!(socket.next(), Incoming::Close(Some(4001), _)));
    socket.expect_end();
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_peer_that_only_ends_its_half_is_let_go() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    client.socket.stream.shutdown_write();
    client.socket.expect_end();
    let connections =
        || (server.api().get("/connections", &[]).json()["connections"] == 0).then_some(());
    eventually("the connection is gone", connections);
    TestClient::connect(server.public, server.app()).expect_silence();
}
