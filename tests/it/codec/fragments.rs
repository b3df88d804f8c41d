//! Messages in several frames, with control frames between them.

use super::{PING_MESSAGE, closes, expect_pong_message, ping_of};
use crate::support::{
    server::TestServer,
    websocket::{BINARY, CLOSE, CONTINUATION, Frame, Incoming, PING, PONG},
};

/// One message cut into pieces of `size` bytes.
fn cut(message: &str, size: usize) -> Vec<Frame> {
    let pieces: Vec<_> = message.as_bytes().chunks(size).collect();
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let frame = if at == 0 {
            Frame::text(piece)
        } else {
            Frame::new(CONTINUATION, piece)
        };
        if at == last {
            frame
        } else {
            frame.unfinished()
        }
    });
    frames.collect()
}

#[test]
fn a_message_is_put_together_from_its_fragments() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    for size in [1, 2, 7, 32] {
        for frame in cut(PING_MESSAGE, size) {
            socket.send(&frame);
        }
        expect_pong_message(&mut socket);
    }
}

#[test]
fn fragments_may_be_empty() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send(&Frame::text("").unfinished());
    socket.send(&Frame::new(CONTINUATION, "").unfinished());
    socket.send(&Frame::new(CONTINUATION, PING_MESSAGE).unfinished());
    socket.send(&Frame::new(CONTINUATION, ""));
    expect_pong_message(&mut socket);
}

#[test]
fn a_control_frame_between_fragments_is_served_at_once() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let [first, second, third] = &cut(PING_MESSAGE, 12)[..] else {
        panic!("three pieces");
    };
    socket.send(first);
    socket.send(&Frame::new(PING, "one"));
    assert_eq!(socket.next(), Incoming::Pong(b"one".to_vec()));
    socket.send(second);
    socket.send(&Frame::new(PONG, "unasked"));
    socket.send(&Frame::new(PING, "two"));
    assert_eq!(socket.next(), Incoming::Pong(b"two".to_vec()));
    socket.send(third);
    expect_pong_message(&mut socket);
}

#[test]
fn a_close_between_fragments_is_answered() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send(&Frame::text("{").unfinished());
    socket.send(&Frame::close(1000, "bye"));
    assert!(matches!(socket.next(), Incoming::Close(Some(1000), _)));
    socket.expect_end();
}

#[test]
fn a_continuation_without_a_start_is_closed_with_1002() {
    let server = TestServer::usual();
    closes(&server, &[Frame::new(CONTINUATION, "x")], 1002);
    closes(&server, &[Frame::new(CONTINUATION, "x").unfinished()], 1002);
}

#[test]
fn a_continuation_after_a_finished_message_is_closed_with_1002() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    for frame in cut(PING_MESSAGE, 20) {
        socket.send(&frame);
    }
    expect_pong_message(&mut socket);
    socket.send(&Frame::new(CONTINUATION, "x"));
    socket.expect_close(1002);
}

#[test]
fn a_new_message_inside_a_fragmented_one_is_closed_with_1002() {
    let server = TestServer::usual();
    let start = || Frame::text("{").unfinished();
    closes(&server, &[start(), Frame::text(PING_MESSAGE)], 1002);
    closes(&server, &[start(), Frame::text("{").unfinished()], 1002);
}

#[test]
fn a_control_frame_inside_a_message_obeys_its_own_limits() {
    let server = TestServer::usual();
    let start = || Frame::text("{").unfinished();
    closes(&server, &[start(), Frame::new(PING, vec![0; 126])], 1002);
    closes(
        &server,
        &[start(), Frame::new(PING, "x").unfinished()],
        1002,
    );
    closes(&server, &[start(), Frame::new(CLOSE, "x")], 1002);
}

#[test]
fn a_fragmented_binary_message_is_closed_with_1003() {
    let server = TestServer::usual();
    let frames = [
        Frame::new(BINARY, "ab").unfinished(),
        Frame::new(CONTINUATION, "cd"),
    ];
    closes(&server, &frames, 1003);
}

#[test]
fn the_limit_counts_the_assembled_message() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    for frame in cut(&ping_of(65_536), 10_000) {
        socket.send(&frame);
    }
    expect_pong_message(&mut socket);
    for frame in cut(&ping_of(65_537), 10_000) {
        socket.send(&frame);
    }
    socket.expect_close(1009);
}

#[test]
fn a_message_that_never_ends_is_closed_with_1009() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send(&Frame::text("x".repeat(40_000)).unfinished());
    socket.send(&Frame::new(CONTINUATION, "x".repeat(40_000)).unfinished());
    socket.expect_close(1009);
}

#[test]
fn control_frames_between_fragments_do_not_count_against_the_limit() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    for frame in cut(&ping_of(65_536), 1_000) {
        socket.send(&Frame::new(PONG, vec![b'x'; 125]));
        socket.send(&frame);
    }
    expect_pong_message(&mut socket);
}
