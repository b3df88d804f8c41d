//! As much of RFC 6455 as the load generator and the floor need; nothing is checked that they do not depend on.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress};

use crate::Failure;

/// The first bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: u8,
    pub(crate) masked: bool,
    /// Bytes before the payload, the mask included.
    pub(crate) start: usize,
    pub(crate) payload: usize,
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// In a frame's first byte: permessage-deflate.
pub(crate) const COMPRESSED: u8 = 0x40;
/// More than any event inflates to.
const INFLATED_BYTES_MAX: usize = 256 * 1024;

/// Inflates a message of its own (without context takeover).
pub(crate) fn inflate(payload: &[u8], text: &mut Vec<u8>) -> Result<(), Failure> {
    thread_local! {
        static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    }
    text.clear();
    text.reserve(INFLATED_BYTES_MAX);
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(false);
        inflate.decompress_vec(payload, text, FlushDecompress::Sync)?;
        Ok(())
    })
}

/// The header of the frame that starts at `bytes[0]`; `None` while it is not all there.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (start, payload) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        short => (2, usize::from(short)),
    };
    let masked = second & 0x80 != 0;
    Some(Header {
        opcode: first & 0x0f,
        masked,
        start: if masked { start + 4 } else { start },
        payload,
    })
}

/// The header of an unmasked text frame of `payload` bytes.
pub(crate) fn text_header(payload: usize) -> Vec<u8> {
    frame_header(TEXT, payload, 0)
}

/// An unmasked text frame.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = text_header(text.len());
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A frame as a client sends it. The mask is zero, which is as good as any here.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_header(opcode, payload.len(), 0x80);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn frame_header(opcode: u8, payload: usize, mask_bit: u8) -> Vec<u8> {
    let mut header = vec![0x80 | opcode];
    if let Ok(short @ 0..=125) = u8::try_from(payload) {
        header.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(payload) {
        header.push(mask_bit | 126);
        header.extend_from_slice(&medium.to_be_bytes());
    } else {
        header.push(mask_bit | 127);
        header.extend_from_slice(&u64::try_from(payload).expect("a usize fits").to_be_bytes());
    }
    header
}

/// The length of the HTTP head at the start of `bytes`, its blank line included.
pub(crate) fn http_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}
