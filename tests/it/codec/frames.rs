//! Single frames: masking, reserved bits, opcodes, sizes, and how they are cut into segments.

use super::{PING_MESSAGE, closes, expect_pong_message, ping_of};
use crate::support::{
    server::TestServer,
    setup::Setup,
    websocket::{BINARY, CLOSE, Frame, Incoming, PING, PONG, TEXT},
};

#[test]
fn an_unmasked_frame_is_closed_with_1002() {
    let server = TestServer::usual();
    closes(&server, &[Frame::text(PING_MESSAGE).unmasked()], 1002);
    closes(&server, &[Frame::new(PING, "x").unmasked()], 1002);
    closes(&server, &[Frame::close(1000, "").unmasked()], 1002);
}

#[test]
fn a_reserved_bit_is_closed_with_1002() {
    let server = TestServer::usual();
    for bits in 1..=7 {
        closes(&server, &[Frame::text(PING_MESSAGE).reserved(bits)], 1002);
    }
    closes(&server, &[Frame::new(PING, "x").reserved(4)], 1002);
    closes(&server, &[Frame::close(1000, "").reserved(1)], 1002);
}

#[test]
fn a_reserved_opcode_is_closed_with_1002() {
    let server = TestServer::usual();
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        closes(&server, &[Frame::new(opcode, "x")], 1002);
        closes(&server, &[Frame::new(opcode, "")], 1002);
    }
}

#[test]
fn a_long_control_frame_is_closed_with_1002() {
    let server = TestServer::usual();
    for opcode in [PING, PONG, CLOSE] {
        closes(&server, &[Frame::new(opcode, vec![b'x'; 126])], 1002);
    }
    closes(&server, &[Frame::new(PING, vec![b'x'; 70_000])], 1002);
}

#[test]
fn a_fragmented_control_frame_is_closed_with_1002() {
    let server = TestServer::usual();
    for opcode in [PING, PONG] {
        closes(&server, &[Frame::new(opcode, "x").unfinished()], 1002);
    }
    closes(&server, &[Frame::close(1000, "").unfinished()], 1002);
}

#[test]
fn an_unsolicited_pong_is_taken_without_a_word() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send(&Frame::new(PONG, ""));
    socket.send(&Frame::new(PONG, "unasked"));
    socket.send_text(PING_MESSAGE);
    expect_pong_message(&mut socket);
}

#[test]
fn a_message_of_exactly_the_limit_is_taken_and_one_byte_more_is_closed_with_1009() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    socket.send_text(&ping_of(65_536));
    expect_pong_message(&mut socket);
    socket.send_text(&ping_of(65_537));
    socket.expect_close(1009);
}

#[test]
fn the_message_limit_is_configurable() {
    let server = TestServer::start(Setup::new().set("websocket.max_message_bytes", 300));
    let mut socket = server.socket();
    socket.send_text(&ping_of(300));
    expect_pong_message(&mut socket);
    socket.send_text(&ping_of(301));
    socket.expect_close(1009);
}

#[test]
fn a_frame_that_declares_too_much_is_closed_before_it_arrives() {
    let server = TestServer::usual();
    for length in [65_537, 1 << 31, 1 << 40, (1 << 63) - 1] {
        closes(&server, &[Frame::text("start").declaring(length)], 1009);
    }
}

#[test]
fn a_length_with_the_top_bit_set_is_refused() {
    let server = TestServer::usual();
    for length in [1 << 63, u64::MAX] {
        let mut socket = server.socket();
        socket.send(&Frame::text("start").declaring(length));
        match socket.next() {
            Incoming::Close(Some(1002 | 1009), _) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let frames = [
        Frame::text(PING_MESSAGE),
        Frame::new(PING, "abc"),
        Frame::text(ping_of(300)),
    ];
    for byte in frames.iter().flat_map(Frame::bytes) {
        socket.stream.send(&[byte]);
    }
    expect_pong_message(&mut socket);
    assert_eq!(socket.next(), Incoming::Pong(b"abc".to_vec()));
    expect_pong_message(&mut socket);
}

#[test]
fn many_frames_may_come_in_one_segment() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let frames = [Frame::text(PING_MESSAGE), Frame::new(PING, "abc")];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    socket.stream.send(&bytes.repeat(500));
    for _ in 0..500 {
        expect_pong_message(&mut socket);
        assert_eq!(socket.next(), Incoming::Pong(b"abc".to_vec()));
    }
}

#[test]
fn every_way_to_write_the_length_is_read() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    for length in [40, 125, 126, 127, 255, 256, 65_535, 65_536] {
        let message = ping_of(length);
        socket.send(&Frame::new(TEXT, &message));
        expect_pong_message(&mut socket);
    }
}

#[test]
fn frames_before_a_bad_one_are_still_answered() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let frames = [
        Frame::text(PING_MESSAGE),
        Frame::new(PING, "x"),
        Frame::new(BINARY, "bad"),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    socket.stream.send(&bytes);
    expect_pong_message(&mut socket);
    assert_eq!(socket.next(), Incoming::Pong(b"x".to_vec()));
    socket.expect_close(1003);
}
