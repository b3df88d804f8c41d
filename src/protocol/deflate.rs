//! permessage-deflate (RFC 7692) without context takeover: no state between two messages, so that a connection needs no memory for
//! it, and one compressed frame serves every client that negotiated it.

use std::cell::RefCell;

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use smallvec::SmallVec;

/// What every compressed message ends with, and what is left out on the wire (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The end of a message whose sender marked its last block as final (§7.2.3.4): an empty block, and the tail.
const TAIL_AFTER_FINAL: [u8; 5] = [0, 0, 0, 0xff, 0xff];
/// Of 9. More costs time, and events are too short to gain by it.
const LEVEL: Compression = Compression::new(4);
/// No more than this is reserved for an inflated message before its first byte is known.
const FIRST_BYTES_MAX: usize = 16 << 10;

thread_local! {
    // Each has tables of some 100 KB; they are made at a thread's first use.
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(LEVEL, false));
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// A message that can't be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It holds more than is allowed.
    TooBig,
    /// It is no deflate stream.
    Invalid,
}

/// The answer to the `Sec-WebSocket-Extensions` headers of a handshake: the first offer of permessage-deflate that can be met; `None`
/// without one.
///
/// Both sides forget their context after each message; a server may ask that whether it was offered or not (RFC 7692 §7.1.1). A
/// smaller window is not made for anyone, since every client gets the same bytes.
#[must_use]
pub fn negotiate<'a>(headers: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    headers
        .flat_map(|header| split(header, ','))
        .find_map(answer)
}

fn answer(offer: &str) -> Option<&'static str> {
    let mut parts = split(offer, ';').map(str::trim);
    if parts.next()? != "permessage-deflate" {
        return None;
    }
    let mut seen: SmallVec<[&str; 4]> = SmallVec::new();
    let mut full_window = false;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (part, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(bits)) if is_window(bits) => {}
            ("server_max_window_bits", Some("15")) => full_window = true,
            _ => return None,
        }
    }
    Some(if full_window {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
    } else {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    })
}

/// §7.1.2: 8 to 15, without leading zeros.
fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// The parts between separators that stand outside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

/// The payload of a compressed message; `None` if it would not be shorter.
#[must_use]
pub fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        let mut out = Vec::with_capacity(payload.len());
        let status = deflate.compress_vec(payload, &mut out, FlushCompress::Sync);
        let is_whole = out.ends_with(&TAIL) && out.len() < out.capacity();
        if !matches!(status, Ok(Status::Ok)) || !is_whole {
            return None;
        }
        out.truncate(out.len() - TAIL.len());
        Some(out)
    })
}

/// The message in a compressed payload, of at most `max` bytes.
///
/// # Errors
/// [`InflateError`] says what is wrong with it.
pub fn inflate(mut payload: BytesMut, max: usize) -> Result<BytesMut, InflateError> {
    payload.extend_from_slice(&TAIL);
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(false);
        let mut out = Vec::with_capacity((payload.len() * 4).min(FIRST_BYTES_MAX).min(max + 1));
        loop {
            let rest = payload.get(position(inflate)..).unwrap_or_default();
            let status = inflate
                .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                .map_err(|_| InflateError::Invalid)?;
            if out.len() > max {
                return Err(InflateError::TooBig);
            }
            let rest = payload.get(position(inflate)..).unwrap_or_default();
            if status == Status::StreamEnd {
                let is_whole = rest == TAIL || rest == TAIL_AFTER_FINAL;
                return whole(out, is_whole);
            }
            if out.len() < out.capacity() {
                return whole(out, rest.is_empty());
            }
            // Up to one byte more than is allowed, so that too much is noticed.
            let capacity = (out.capacity() * 2).min(max + 1);
            out.reserve_exact(capacity - out.len());
        }
    })
}

fn whole(out: Vec<u8>, is_whole: bool) -> Result<BytesMut, InflateError> {
    if is_whole {
        Ok(BytesMut::from(&out[..]))
    } else {
        Err(InflateError::Invalid)
    }
}

fn position(inflate: &Decompress) -> usize {
    usize::try_from(inflate.total_in()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const FULL: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

    #[test]
    fn the_first_offer_that_can_be_met_is_accepted() {
        for (headers, expected) in [
            (&["permessage-deflate"][..], Some(PLAIN)),
            (&["permessage-deflate; client_max_window_bits"], Some(PLAIN)),
            (
                &["permessage-deflate;client_max_window_bits=\"9\""],
                Some(PLAIN),
            ),
            (
                &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
                Some(PLAIN),
            ),
            (
                &["permessage-deflate; server_max_window_bits=15"],
                Some(FULL),
            ),
            (
                &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
                Some(PLAIN),
            ),
            (
                &["x-webkit; a=\",permessage-deflate\"", "permessage-deflate"],
                Some(PLAIN),
            ),
            (&["x-webkit; a=\",permessage-deflate\""], None),
            (&["permessage-deflate; server_max_window_bits=10"], None),
            (&["permessage-deflate; server_max_window_bits"], None),
            (&["permessage-deflate; client_max_window_bits=16"], None),
            (&["permessage-deflate; client_max_window_bits=08"], None),
            (&["permessage-deflate; server_no_context_takeover=1"], None),
            (
                &["permessage-deflate; client_max_window_bits; client_max_window_bits"],
                None,
            ),
            (&["permessage-deflate; unheard_of"], None),
            (&["permessage-bzip2"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(negotiate(headers.iter().copied()), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_was_deflated_inflates_to_the_same() {
        let text = r#"{"id":42,"name":"x"}"#.repeat(100);
        let deflated = deflate(text.as_bytes()).expect("shorter");
        assert!(deflated.len() < text.len() / 10);
        let inflate_to = |max| inflate(BytesMut::from(&deflated[..]), max);
        assert_eq!(inflate_to(text.len()).expect("whole"), text.as_bytes());
        assert_eq!(inflate_to(text.len() - 1), Err(InflateError::TooBig));
        assert_eq!(deflate(b"x"), None);
    }

    /// The examples of RFC 7692 §7.2.3.
    #[test]
    fn the_documented_examples_are_read() {
        for bytes in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ] {
            let inflated = inflate(BytesMut::from(bytes), 5);
            assert_eq!(inflated.expect("valid"), &b"Hello"[..], "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_no_deflate_stream_is_invalid() {
        for bytes in [&[0xff, 0xff][..], b"plain text", &[0x03, 0x00, 0x01]] {
            let inflated = inflate(BytesMut::from(bytes), 1000);
            assert_eq!(inflated, Err(InflateError::Invalid), "{bytes:x?}");
        }
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let mut compress = Compress::new(Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 20);
        let status = compress.compress_vec(&vec![b'x'; 64 << 20], &mut bomb, FlushCompress::Sync);
        assert!(matches!(status, Ok(Status::Ok)));
        bomb.truncate(bomb.len() - TAIL.len());
        assert_eq!(
            inflate(BytesMut::from(&bomb[..]), 65_536),
            Err(InflateError::TooBig)
        );
    }
}
