//! The WebSocket wire by hand: any frame may be sent, right or wrong; what comes back is read strictly.

use std::{net::SocketAddr, time::Duration};

use super::{
    http::{Http, Response, read_head},
    stream::{PATIENCE, ReadError, Stream},
};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const FIN: u8 = 0x80;
/// RSV1 of a message whose sender negotiated permessage-deflate.
pub(crate) const COMPRESSED: u8 = 0x40;

/// A client's frame, to be made wrong in every way.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    first: u8,
    masked: bool,
    declared: Option<u64>,
    payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            first: FIN | opcode,
            masked: true,
            declared: None,
            payload: payload.as_ref().to_vec(),
        }
    }

    pub(crate) fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, payload)
    }

    pub(crate) fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// Without FIN: more fragments follow.
    pub(crate) fn unfinished(mut self) -> Self {
        self.first &= !FIN;
        self
    }

    /// With these reserved bits, 1 to 7.
    pub(crate) fn reserved(mut self, bits: u8) -> Self {
        self.first |= bits << 4;
        self
    }

    pub(crate) fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// With a length that is not the payload's, always in the eight-byte form.
    pub(crate) fn declaring(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match (self.declared, self.payload.len()) {
            (Some(length), _) => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
            (None, short @ 0..126) => bytes.push(mask_bit | u8::try_from(short).expect("short")),
            (None, long) => match u16::try_from(long) {
                Ok(length) => {
                    bytes.push(mask_bit | 126);
                    bytes.extend(length.to_be_bytes());
                }
                Err(_) => {
                    bytes.push(mask_bit | 127);
                    bytes.extend((long as u64).to_be_bytes());
                }
            },
        }
        if self.masked {
            bytes.extend(MASK);
            bytes.extend(
                self.payload
                    .iter()
                    .zip(MASK.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask),
            );
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// The request that asks for a WebSocket, to be made wrong in every way.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    target: String,
    headers: Vec<(String, String)>,
}

impl Upgrade {
    pub(crate) fn new(target: &str) -> Self {
        let headers = [
            ("Host", "localhost"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        Self {
            target: target.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        }
    }

    /// Adds a header, or replaces it.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(header, _)| !header.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let lines = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "GET {} HTTP/1.1\r\n{}\r\n",
            self.target,
            lines.collect::<String>()
        )
        .into_bytes()
    }

    /// The HTTP response where the upgrade is refused as a request.
    pub(crate) fn refusal(&self, address: SocketAddr) -> Response {
        let mut http = Http::connect(address);
        http.send(self.bytes());
        http.response()
    }

    #[track_caller]
    pub(crate) fn connect(&self, address: SocketAddr) -> Socket {
        self.connect_with(address, &[])
    }

    /// Connects and sends `early` in the same segment as the request.
    #[track_caller]
    pub(crate) fn connect_with(&self, address: SocketAddr, early: &[u8]) -> Socket {
        let mut stream = Stream::connect(address);
        stream.send(&[&self.bytes(), early].concat());
        let response = read_head(&mut stream, PATIENCE).expect("an answer to the upgrade");
        assert_eq!(response.status, 101, "{response:?}");
        // The key is RFC 6455's own example, and so is the answer.
        assert_eq!(
            response.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        Socket {
            stream,
            response,
            compressed: 0,
        }
    }
}

/// An open WebSocket.
pub(crate) struct Socket {
    pub(crate) stream: Stream,
    pub(crate) response: Response,
    /// Compressed frames that were read.
    pub(crate) compressed: usize,
}

impl Socket {
    pub(crate) fn send(&mut self, frame: &Frame) {
        self.stream.send(&frame.bytes());
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(&Frame::text(text));
    }

    /// The next frame, whatever it is.
    pub(crate) fn read(&mut self, patience: Duration) -> Result<Incoming, ReadError> {
        let head = self.stream.peek(2, patience)?;
        let (first, second) = (head[0], head[1]);
        let is_compressed = first & COMPRESSED != 0 && self.may_be_compressed();
        assert_eq!(
            first & 0xf0,
            FIN | if is_compressed { COMPRESSED } else { 0 },
            "the server's frames are whole, without reserved bits"
        );
        assert!(second < 128, "the server's frames are not masked");
        let (header, length) = match second {
            126 => {
                let head = self.stream.peek(4, patience)?;
                (4, usize::from(u16::from_be_bytes([head[2], head[3]])))
            }
            127 => {
                let head = self.stream.peek(10, patience)?;
                let length = u64::from_be_bytes(head[2..10].try_into().expect("eight bytes"));
                (10, usize::try_from(length).expect("a sane length"))
            }
            short => (2, usize::from(short)),
        };
        let bytes = self.stream.take(header + length, patience)?;
        let payload = &bytes[header..];
        if is_compressed {
            self.compressed += 1;
            return Ok(decode(first & 0x0f, &inflated(payload)));
        }
        Ok(decode(first & 0x0f, payload))
    }

    fn may_be_compressed(&self) -> bool {
        self.response.header("sec-websocket-extensions").is_some()
    }

    /// The next frame, which must come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Incoming {
        match self.read(PATIENCE) {
            Ok(incoming) => incoming,
            Err(error) => panic!("expected a frame: {error:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_text(&mut self) -> String {
        match self.next() {
            Incoming::Text(text) => text,
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// The next frame must be a close with this code; answers it, then the server must end the connection.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.next() {
            Incoming::Close(Some(got), reason) if got == code => reason,
            other => panic!("expected close {code}, got {other:?}"),
        };
        self.send(&Frame::close(code, ""));
        self.expect_end();
        reason
    }

    /// Nothing more may come, and the connection must end.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        match self.read(PATIENCE) {
            Err(ReadError::Ended) => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }
}

/// Each message by itself, as without context takeover.
fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(1 << 20);
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    flate2::Decompress::new(false)
        .decompress_vec(&whole, &mut text, flate2::FlushDecompress::Sync)
        .expect("a deflate stream");
    text
}

fn decode(opcode: u8, payload: &[u8]) -> Incoming {
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the server's text is UTF-8");
    match (opcode, payload) {
        (TEXT, payload) => Incoming::Text(text(payload)),
        (PING, payload) => Incoming::Ping(payload.to_vec()),
        (PONG, payload) => Incoming::Pong(payload.to_vec()),
        (CLOSE, []) => Incoming::Close(None, String::new()),
        (CLOSE, [high, low, reason @ ..]) => {
            assert!(reason.len() <= 123, "a close reason has at most 123 bytes");
            Incoming::Close(Some(u16::from_be_bytes([*high, *low])), text(reason))
        }
        _ => panic!(
            "the server sent opcode {opcode} with {} bytes",
            payload.len()
        ),
    }
}
