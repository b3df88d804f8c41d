//! RFC 6455 on the receiving side: bytes in, whole messages out, and the close code that a broken rule deserves.

use actix_http::ws::{OpCode, Parser, ProtocolError};
use bytes::{Bytes, BytesMut};

use crate::protocol::{
    CloseCode,
    deflate::{self, InflateError},
};

/// RFC 6455 §5.5: a control frame carries at most this many bytes.
const CONTROL_BYTES_MAX: u64 = 125;
/// RFC 7692 §6: this bit of a message's first frame says that the message is compressed.
const COMPRESSED: u8 = 0x40;
/// RFC 6455 §5.2: the opcodes that begin a message, text and binary.
const BEGINNINGS: [u8; 2] = [1, 2];

/// What a client sent.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole text message.
    Text(BytesMut),
    /// A ping control frame, to be echoed.
    Ping(Bytes),
    /// A pong control frame.
    Pong,
    /// A close frame with its code, if it had one.
    Close(Option<u16>),
    /// A part of a message, of so many bytes.
    Fragment(usize),
}

impl Received {
    /// Bytes that it took work to read.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Fragment(bytes) => *bytes,
            Self::Ping(_) | Self::Pong | Self::Close(_) => 0,
        }
    }
}

/// A broken rule: how to close.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

fn violation<T>(code: CloseCode, reason: &'static str) -> Result<T, Violation> {
    Err(Violation { code, reason })
}

/// What is kept between two reads. Empty, and without memory of its own, while a client is idle.
#[derive(Default)]
pub(super) struct Input {
    /// The beginning of a frame whose end has not come yet.
    pub(super) partial: BytesMut,
    /// The fragments of a message so far.
    fragments: Option<Box<Message>>,
    /// Whether compression was negotiated.
    reads_compressed: bool,
}

/// A text message, or the beginning of one.
struct Message {
    payload: BytesMut,
    is_compressed: bool,
}

impl Input {
    /// A client whose first bytes came with its handshake, in which compression was negotiated or was not.
    pub(super) fn beginning_with(partial: BytesMut, reads_compressed: bool) -> Self {
        Self {
            partial,
            fragments: None,
            reads_compressed,
        }
    }

    /// What the next frame in `buffer` brings; `None` when it needs more bytes.
    pub(super) fn next(
        &mut self,
        buffer: &mut BytesMut,
        max_message_bytes: usize,
    ) -> Result<Option<Received>, Violation> {
        let is_compressed = self.reads_compressed && begins_compressed(buffer);
        let sofar = self.fragments.as_ref();
        let max = if is_compressed || sofar.is_some_and(|message| message.is_compressed) {
            deflated_max(max_message_bytes)
        } else {
            max_message_bytes
        };
        let room = max - sofar.map_or(0, |message| message.payload.len());
        if is_compressed {
            // To the parser every reserved bit is a mistake.
            buffer[0] &= !COMPRESSED;
        }
        let (finished, opcode, payload) = match Parser::parse(buffer, true, max) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                check_declared_length(buffer, room)?;
                if is_compressed {
                    buffer[0] |= COMPRESSED;
                }
                return Ok(None);
            }
            Err(error) => return violation_of(&error),
        };
        let frame = Message {
            payload: payload.unwrap_or_default(),
            is_compressed,
        };
        let is_part_of_text = matches!(opcode, OpCode::Text | OpCode::Continue);
        if is_part_of_text && frame.payload.len() > room {
            return too_big();
        }
        self.frame(finished, opcode, frame, max_message_bytes)
            .map(Some)
    }

    fn frame(
        &mut self,
        finished: bool,
        opcode: OpCode,
        frame: Message,
        max_message_bytes: usize,
    ) -> Result<Received, Violation> {
        let broken = |reason| violation(CloseCode::ProtocolError, reason);
        match opcode {
            OpCode::Ping | OpCode::Pong | OpCode::Close if !finished => {
                broken("A control frame must not be fragmented.")
            }
            OpCode::Ping => Ok(Received::Ping(frame.payload.freeze())),
            OpCode::Pong => Ok(Received::Pong),
            OpCode::Close => match Parser::try_parse_close_payload(&frame.payload) {
                Ok(reason) => Ok(Received::Close(reason.map(|reason| reason.code.into()))),
                Err(_) => broken("The close frame is malformed."),
            },
            OpCode::Binary => violation(
                CloseCode::BinaryUnsupported,
                "Binary messages are not supported.",
            ),
            OpCode::Text if self.fragments.is_some() => {
                broken("A new message began within a fragmented one.")
            }
            OpCode::Text if finished => frame.text(max_message_bytes),
            OpCode::Text => {
                let bytes = frame.payload.len();
                self.fragments = Some(Box::new(frame.in_own_memory()));
                Ok(Received::Fragment(bytes))
            }
            OpCode::Continue => match self.fragments.take() {
                None => broken("A continuation without a beginning."),
                Some(mut sofar) => {
                    sofar.payload.extend_from_slice(&frame.payload);
                    if finished {
                        return sofar.text(max_message_bytes);
                    }
                    self.fragments = Some(sofar);
                    Ok(Received::Fragment(frame.payload.len()))
                }
            },
            OpCode::Bad => broken("Reserved opcode."),
        }
    }
}

impl Message {
    /// The same, without a part in the buffer that all of the worker's clients are read into.
    fn in_own_memory(self) -> Self {
        Self {
            payload: BytesMut::from(&self.payload[..]),
            ..self
        }
    }

    /// The whole message, inflated if it is compressed.
    fn text(self, max_bytes: usize) -> Result<Received, Violation> {
        if !self.is_compressed {
            return Ok(Received::Text(self.payload));
        }
        match deflate::inflate(self.payload, max_bytes) {
            Ok(text) => Ok(Received::Text(text)),
            Err(InflateError::TooBig) => too_big(),
            Err(InflateError::Invalid) => violation(
                CloseCode::InvalidPayload,
                "The message is no valid deflate stream.",
            ),
        }
    }
}

/// Whether the buffer begins with the first frame of a compressed message.
fn begins_compressed(buffer: &[u8]) -> bool {
    let first = buffer.first().copied().unwrap_or_default();
    first & COMPRESSED != 0 && BEGINNINGS.contains(&(first & 0x0f))
}

/// Bytes of a compressed message that may still inflate to so few: what can't be compressed grows a little.
fn deflated_max(max_message_bytes: usize) -> usize {
    max_message_bytes + max_message_bytes / 64 + 64
}

/// A frame that has only begun may already have said that it is too long.
fn check_declared_length(buffer: &[u8], room: usize) -> Result<(), Violation> {
    let [first, second, rest @ ..] = buffer else {
        return Ok(());
    };
    let length = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => u64::from(u16::from_be_bytes([*a, *b])),
        (127, [a, b, c, d, e, f, g, h, ..]) => u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        (126 | 127, _) => return Ok(()),
        (short, _) => u64::from(short),
    };
    let is_control = first & 0x08 != 0;
    if is_control && length > CONTROL_BYTES_MAX {
        return violation(
            CloseCode::ProtocolError,
            "A control frame must not exceed 125 bytes.",
        );
    }
    if !is_control && length > room as u64 {
        return too_big();
    }
    Ok(())
}

fn too_big<T>() -> Result<T, Violation> {
    violation(CloseCode::TooBig, "The message exceeds the size limit.")
}

fn violation_of<T>(error: &ProtocolError) -> Result<T, Violation> {
    let broken = |reason| violation(CloseCode::ProtocolError, reason);
    match error {
        ProtocolError::Overflow => too_big(),
        ProtocolError::UnmaskedFrame => broken("Client frames must be masked."),
        ProtocolError::InvalidOpcode(_) | ProtocolError::BadOpCode => broken("Reserved opcode."),
        ProtocolError::InvalidLength(_) => broken("A control frame must not exceed 125 bytes."),
        _ => broken("Reserved bits must be zero."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).expect("short")];
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    fn first_of(bytes: &[u8], max: usize) -> Result<Option<Received>, Violation> {
        Input::default().next(&mut BytesMut::from(bytes), max)
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_payload_comes() {
        for head in [
            vec![0x81, 0xfe, 0xff, 0xff],
            vec![0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0],
            vec![0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![
                0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
            ],
        ] {
            let refused = first_of(&head, 1000).expect_err("too long");
            assert_eq!(refused.code, CloseCode::TooBig, "{head:?}");
        }
        assert!(
            first_of(&[0x81, 0xfe, 0xff], 1000)
                .expect("undecided")
                .is_none()
        );
    }

    #[test]
    fn fragments_are_joined_around_control_frames_up_to_the_limit() {
        let bytes = [masked(0x01, b"ab"), masked(0x89, b"p"), masked(0x80, b"cd")].concat();
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut input = Input::default();
        assert!(matches!(
            input.next(&mut buffer, 4),
            Ok(Some(Received::Fragment(2)))
        ));
        assert!(matches!(input.next(&mut buffer, 4), Ok(Some(Received::Ping(p))) if p == "p"));
        assert!(
            matches!(input.next(&mut buffer, 4), Ok(Some(Received::Text(t))) if &t[..] == b"abcd")
        );
        let mut buffer = BytesMut::from(&bytes[..]);
        assert!(matches!(
            input.next(&mut buffer, 3),
            Ok(Some(Received::Fragment(2)))
        ));
        assert!(matches!(
            input.next(&mut buffer, 3),
            Ok(Some(Received::Ping(_)))
        ));
        assert_eq!(
            input.next(&mut buffer, 3).expect_err("too big").code,
            CloseCode::TooBig
        );
    }
}
