//! Text must be UTF-8, over the whole message and not per frame.

use super::{closes, expect_pong_message};
use crate::support::{
    server::TestServer,
    websocket::{CONTINUATION, Frame},
};

#[test]
fn invalid_utf8_is_closed_with_1007() {
    let server = TestServer::usual();
    let wrong: &[&[u8]] = &[
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"{\"event\":\"pusher:ping\",\"data\":\"\x80\"}",
        b"cut \xc3",
        b"cut \xf0\x9f\x98",
    ];
    for payload in wrong {
        closes(&server, &[Frame::text(payload)], 1007);
    }
}

#[test]
fn a_character_may_be_split_over_fragments() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let message = "{\"event\":\"pusher:ping\",\"data\":\"é€😀\"}".as_bytes();
    for at in 1..message.len() {
        let (first, second) = message.split_at(at);
        socket.send(&Frame::text(first).unfinished());
        socket.send(&Frame::new(CONTINUATION, second));
        expect_pong_message(&mut socket);
    }
    let (last, start) = message.split_last().unwrap();
    for (at, byte) in start.iter().enumerate() {
        let opcode = if at == 0 { 1 } else { CONTINUATION };
        socket.send(&Frame::new(opcode, [*byte]).unfinished());
    }
    socket.send(&Frame::new(CONTINUATION, [*last]));
    expect_pong_message(&mut socket);
}

#[test]
fn invalid_utf8_in_fragments_is_closed_with_1007() {
    let server = TestServer::usual();
    let split = |first: &[u8], second: &[u8]| {
        [
            Frame::text(first).unfinished(),
            Frame::new(CONTINUATION, second),
        ]
    };
    closes(&server, &split(b"fine", b"\xff"), 1007);
    closes(&server, &split(b"\xff", b"fine"), 1007);
    closes(&server, &split(b"\xc3", b"x"), 1007);
    closes(&server, &split(b"\xf0\x9f", b"\x98"), 1007);
}

#[test]
fn every_plane_of_unicode_is_text() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let text = "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}";
    socket.send_text(&format!(r#"{{"event":"pusher:ping","data":"{text}"}}"#));
    expect_pong_message(&mut socket);
}
