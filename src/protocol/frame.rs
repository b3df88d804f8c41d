//! One message, encoded once and shared by all who receive it.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;

use super::{CloseCode, deflate};

/// A whole WebSocket frame, header included, ready for the socket. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    /// The same message compressed, made when the first reader wants it; absent where nobody may.
    twin: Option<Arc<OnceLock<Bytes>>>,
}

/// RFC 6455 §5.2: final fragment, text.
const FIN_TEXT: u8 = 0x81;
/// RFC 7692 §6: the first bit reserved says that the message is compressed.
const FIN_COMPRESSED_TEXT: u8 = 0xc1;
const FIN_CLOSE: u8 = 0x88;
const FIN_PING: u8 = 0x89;
const FIN_PONG: u8 = 0x8a;

/// RFC 6455 §5.5: a control frame carries at most this many bytes; two of a close frame's are its code.
const CONTROL_BYTES_MAX: usize = 125;

impl Frame {
    /// A frame that comes from outside this process: exactly one uncompressed text frame of a JSON object, or `None`.
    #[must_use]
    pub fn checked(bytes: Bytes) -> Option<Self> {
        let (header, length) = match bytes[..] {
            [FIN_TEXT, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
            [FIN_TEXT, 127, a, b, c, d, e, f, g, h, ..] => {
                let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                (10, usize::try_from(length).ok()?)
            }
            [FIN_TEXT, length @ ..=125, ..] => (2, usize::from(length)),
            _ => return None,
        };
        let payload = str::from_utf8(&bytes[header..]).ok()?;
        let is_object = payload.len() == length
            && payload.starts_with('{')
            && serde_json::from_str::<serde::de::IgnoredAny>(payload).is_ok();
        is_object.then(|| Self::of(bytes))
    }

    /// A text frame with this payload.
    #[must_use]
    pub fn text(payload: &str) -> Self {
        Self::build(FIN_TEXT, payload.len(), |out| {
            out.put_slice(payload.as_bytes());
        })
    }

    /// `{"event":…,"channel":…,"data":…}`.
    ///
    /// `event` and `data` are JSON tokens (quotes and escapes included); `channel` is a checked name.
    #[must_use]
    pub fn event(event: &str, channel: &str, data: &str) -> Self {
        const PARTS: usize = r#"{"event":,"channel":"","data":}"#.len();
        let channel = escaped(channel);
        let length = PARTS + event.len() + channel.len() + data.len();
        Self::build(FIN_TEXT, length, |out| {
            out.put_slice(br#"{"event":"#);
            out.put_slice(event.as_bytes());
            out.put_slice(br#","channel":""#);
            out.put_slice(channel.as_bytes());
            out.put_slice(br#"","data":"#);
            out.put_slice(data.as_bytes());
            out.put_u8(b'}');
        })
    }

    /// A close frame. The reason is cut to what a control frame can carry.
    #[must_use]
    pub fn close(code: CloseCode, reason: &str) -> Self {
        let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut payload = Vec::with_capacity(2 + end);
        payload.extend_from_slice(&code.number().to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        Self::control(FIN_CLOSE, &payload)
    }

    /// A close frame without a code: the answer to one that had none.
    #[must_use]
    pub fn empty_close() -> Self {
        Self::control(FIN_CLOSE, &[])
    }

    /// A ping control frame.
    #[must_use]
    pub fn ping() -> Self {
        Self::control(FIN_PING, &[])
    }

    /// The answer to a ping control frame, echoing its payload (at most 125 bytes, as the parser guarantees).
    #[must_use]
    pub fn pong(payload: &[u8]) -> Self {
        Self::control(FIN_PONG, &payload[..payload.len().min(CONTROL_BYTES_MAX)])
    }

    /// The same frame, with a compressed form for those who can read it. All clones made from now on share it.
    #[must_use]
    pub fn compressible(self) -> Self {
        Self {
            twin: Some(Arc::default()),
            ..self
        }
    }

    /// Whether there is a compressed form.
    #[must_use]
    pub fn is_compressible(&self) -> bool {
        self.twin.is_some()
    }

    /// The bytes for the wire.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes for a client that negotiated compression: the compressed form if there is one and it is shorter.
    #[must_use]
    pub fn compressed_bytes(&self) -> &Bytes {
        match &self.twin {
            None => &self.bytes,
            Some(twin) => twin.get_or_init(|| match deflate::deflate(self.payload()) {
                None => self.bytes.clone(),
                Some(deflated) => {
                    let write = |out: &mut BytesMut| out.put_slice(&deflated);
                    Self::build(FIN_COMPRESSED_TEXT, deflated.len(), write).bytes
                }
            }),
        }
    }

    /// The payload without the WebSocket header.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let header = match self.bytes[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        &self.bytes[header..]
    }

    fn control(first: u8, payload: &[u8]) -> Self {
        let mut out = BytesMut::with_capacity(2 + payload.len());
        out.put_u8(first);
        out.put_u8(u8::try_from(payload.len()).expect("callers cut control payloads to 125 bytes"));
        out.put_slice(payload);
        Self::of(out.freeze())
    }

    fn of(bytes: Bytes) -> Self {
        Self { bytes, twin: None }
    }

    fn build(first: u8, length: usize, write: impl FnOnce(&mut BytesMut)) -> Self {
        let mut out = BytesMut::with_capacity(length + 10);
        out.put_u8(first);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => out.put_u8(short),
            (_, Ok(medium)) => {
                out.put_u8(126);
                out.put_u16(medium);
            }
            _ => {
                out.put_u8(127);
                out.put_u64(length as u64);
            }
        }
        let header = out.len();
        write(&mut out);
        debug_assert_eq!(
            out.len() - header,
            length,
            "the header was written for another length"
        );
        Self::of(out.freeze())
    }
}

/// A checked channel name inside a JSON string. Only the name of a user's own channel may hold a character to escape.
fn escaped(channel: &str) -> Cow<'_, str> {
    if memchr2(b'"', b'\\', channel.as_bytes()).is_none() {
        return Cow::Borrowed(channel);
    }
    Cow::Owned(channel.replace('\\', r"\\").replace('"', r#"\""#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_fits_every_length() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = Frame::text(&"x".repeat(length));
            assert_eq!(frame.bytes().len(), header + length);
            assert_eq!(frame.payload().len(), length);
        }
    }

    #[test]
    fn what_is_no_whole_frame_is_refused() {
        let whole = Frame::text(&format!(r#"{{"data":"{}"}}"#, "x".repeat(200)));
        assert_eq!(Frame::checked(whole.bytes().clone()), Some(whole.clone()));
        for cut in 0..whole.bytes().len() {
            assert_eq!(Frame::checked(whole.bytes().slice(..cut)), None, "{cut}");
        }
        let longer = [&whole.bytes()[..], b" "].concat();
        assert_eq!(Frame::checked(longer.into()), None);
        for text in ["", "[]", "{", "{\"a\":1}}", "{\"a\":\u{1}}", "\"{}\""] {
            let frame = Frame::text(text);
            assert_eq!(Frame::checked(frame.bytes().clone()), None, "{text:?}");
        }
        assert_eq!(Frame::checked(Frame::ping().bytes().clone()), None);
        let broken_text = Bytes::from_static(b"\x81\x09{\"a\":\"\xff\"}");
        assert_eq!(Frame::checked(broken_text), None);
    }

    #[test]
    fn an_event_is_one_json_object() {
        let frame = Frame::event(r#""App\\Events\\Shipped""#, "orders", r#""{\"id\":42}""#);
        assert_eq!(
            frame.payload(),
            br#"{"event":"App\\Events\\Shipped","channel":"orders","data":"{\"id\":42}"}"#
        );
    }

    #[test]
    fn the_name_of_a_users_own_channel_is_escaped() {
        let channel = r##"#server-to-user-"\{}/zoë"##;
        let frame = Frame::event(r#""e""#, channel, r#""""#);
        let json: serde_json::Value = serde_json::from_slice(frame.payload()).expect("JSON");
        assert_eq!(json["channel"], channel);
    }

    #[test]
    fn a_compressible_frame_has_a_shorter_form_that_all_clones_share() {
        let frame = Frame::text(&"x".repeat(1000));
        assert_eq!(frame.compressed_bytes(), frame.bytes());
        let frame = frame.compressible();
        let compressed = frame.clone().compressed_bytes().clone();
        assert_eq!(compressed[0], FIN_COMPRESSED_TEXT);
        assert!(compressed.len() < 100);
        assert_eq!(compressed.as_ptr(), frame.compressed_bytes().as_ptr());
        let short = Frame::text("x").compressible();
        assert_eq!(short.compressed_bytes(), short.bytes());
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let frame = Frame::close(CloseCode::Reconnect, &"é".repeat(100));
        assert_eq!(frame.payload().len(), 2 + 122);
        assert!(std::str::from_utf8(&frame.payload()[2..]).is_ok());
    }
}
