//! §10: the WebSocket wire (RFC 6455), frame by frame.

mod close;
mod fragments;
mod frames;
mod text;

use crate::support::websocket::{Frame, Socket};

const PING_MESSAGE: &str = r#"{"event":"pusher:ping","data":{}}"#;

/// Proves that the socket still works: a ping message is answered next.
#[track_caller]
fn expect_pong_message(socket: &mut Socket) {
    let text = socket.expect_text();
    assert_eq!(text, r#"{"event":"pusher:pong","data":"{}"}"#);
}

/// A message of exactly `length` bytes that is answered by a pong.
fn ping_of(length: usize) -> String {
    let empty = r#"{"event":"pusher:ping","data":""}"#;
    let filled = r#"{"event":"pusher:ping","data":"#.to_owned();
    filled + "\"" + &"x".repeat(length - empty.len()) + "\"}"
}

/// Sends these frames in one segment; the server must close with `code` and end the connection.
#[track_caller]
fn closes(server: &crate::support::server::TestServer, frames: &[Frame], code: u16) {
    let mut socket = server.socket();
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    socket.stream.send(&bytes);
    socket.expect_close(code);
}
