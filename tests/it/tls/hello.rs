//! Hellos of TLS clients, byte by byte, so that a test can offer anything; and what a server says to them before it encrypts.

use std::net::SocketAddr;

use crate::support::stream::{PATIENCE, Stream};

pub(super) const TLS10: u16 = 0x0301;
pub(super) const TLS12: u16 = 0x0303;
pub(super) const TLS13: u16 = 0x0304;

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const GROUPS: u16 = 10;
pub(super) const SIGNATURES: u16 = 13;
pub(super) const HEARTBEAT: u16 = 15;
pub(super) const ALPN: u16 = 16;
pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
pub(super) const SESSION_TICKET: u16 = 35;
pub(super) const SUPPORTED_VERSIONS: u16 = 43;
pub(super) const KEY_SHARE: u16 = 51;
pub(super) const RENEGOTIATION_INFO: u16 = 0xff01;

/// RFC 8446 §4.1.3: the random of a `ServerHello` that asks for another hello.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A client's hello.
#[derive(Clone)]
pub(super) struct Hello {
    /// The version of the message itself; 1.3 is asked for by an extension.
    pub(super) version: u16,
    pub(super) suites: Vec<u16>,
    pub(super) compressions: Vec<u8>,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

/// How a server answers.
#[derive(Debug)]
pub(super) enum Answer {
    Hello(Box<ServerHello>),
    /// A fatal alert with this description.
    Alert(u8),
    /// Nothing but the end.
    Closed,
}

/// What a server chose.
#[derive(Debug, Default)]
pub(super) struct ServerHello {
    pub(super) version: u16,
    pub(super) random: Vec<u8>,
    pub(super) session: Vec<u8>,
    pub(super) suite: u16,
    pub(super) compression: u8,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
    /// Group and signature scheme of TLS 1.2's key exchange.
    pub(super) exchange: Option<(u16, u16)>,
}

impl ServerHello {
    pub(super) fn extension(&self, kind: u16) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|(found, _)| *found == kind);
        found.map(|(_, body)| &**body)
    }

    /// Whether the server asks for a hello with a key of the group that it names.
    pub(super) fn is_retry(&self) -> bool {
        self.random == RETRY
    }
}

impl Hello {
    /// Of TLS 1.2 at most, with all that rustls needs to agree.
    pub(super) fn tls12(suites: &[u16]) -> Self {
        Self {
            version: TLS12,
            suites: suites.to_vec(),
            compressions: vec![0],
            extensions: Vec::new(),
        }
        .with(GROUPS, list16(&[29, 23, 24]))
        .with(SIGNATURES, list16(&MODERN_SIGNATURES))
    }

    /// Of TLS 1.3 alone, without a key, so that the server has to name a group.
    pub(super) fn tls13(suites: &[u16]) -> Self {
        Self::tls12(suites)
            .with(SUPPORTED_VERSIONS, vec![2, 3, 4])
            .with(KEY_SHARE, vec![0, 0])
    }

    /// With this extension instead of any other of its kind.
    pub(super) fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        self.extensions.retain(|(found, _)| *found != kind);
        self.extensions.push((kind, body));
        self
    }

    /// Sends it and reads what the server says before it encrypts.
    pub(super) fn ask(&self, address: SocketAddr) -> Answer {
        let mut stream = Stream::connect(address);
        stream.send(&self.record());
        let mut messages = Vec::new();
        loop {
            let Ok(head) = stream.take(5, PATIENCE) else {
                return Answer::Closed;
            };
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            let Ok(body) = stream.take(length, PATIENCE) else {
                return Answer::Closed;
            };
            match head[0] {
                21 => return Answer::Alert(body[1]),
                22 => messages.extend(body),
                kind => panic!("a record of type {kind}"),
            }
            if let Some(hello) = read_flight(&messages) {
                return Answer::Hello(Box::new(hello));
            }
        }
    }

    fn record(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(list16(&self.suites));
        body.push(u8::try_from(self.compressions.len()).expect("few"));
        body.extend(&self.compressions);
        let mut extensions = Vec::new();
        for (kind, content) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(sized16(content));
        }
        body.extend(sized16(&extensions));
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let message = [&[1], &length[1..], &body].concat();
        [&[22, 3, 1][..], &sized16(&message)].concat()
    }
}

/// ECDSA, RSA-PSS and RSA with SHA-2, and Ed25519.
const MODERN_SIGNATURES: [u16; 10] = [
    0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0807,
];

/// A list of numbers after its length in bytes.
pub(super) fn list16(numbers: &[u16]) -> Vec<u8> {
    let bytes: Vec<_> = numbers.iter().flat_map(|it| it.to_be_bytes()).collect();
    sized16(&bytes)
}

/// Bytes after their length.
pub(super) fn sized16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Parses the unencrypted messages once all have come: in TLS 1.3 one, in TLS 1.2 those until `ServerHelloDone`.
fn read_flight(mut messages: &[u8]) -> Option<ServerHello> {
    let mut hello: Option<ServerHello> = None;
    loop {
        let length = messages.get(1..4)?;
        let length =
            usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        let body = messages.get(4..4 + length)?;
        match (messages[0], &mut hello) {
            (2, _) => {
                let read = read_hello(body);
                if read.extension(SUPPORTED_VERSIONS).is_some() {
                    return Some(read);
                }
                hello = Some(read);
            }
            (12, Some(hello)) => {
                assert_eq!(body[0], 3, "a named curve");
                let signed = &body[4 + usize::from(body[3])..];
                hello.exchange = Some((number(&body[1..]), number(signed)));
            }
            (14, _) => return hello,
            _ => {}
        }
        messages = &messages[4 + length..];
    }
}

fn read_hello(body: &[u8]) -> ServerHello {
    let session_end = 35 + usize::from(body[34]);
    let rest = &body[session_end..];
    let mut extensions = Vec::new();
    let mut left = rest.get(5..).unwrap_or_default();
    while !left.is_empty() {
        let end = 4 + usize::from(number(&left[2..]));
        extensions.push((number(left), left[4..end].to_vec()));
        left = &left[end..];
    }
    ServerHello {
        version: number(body),
        random: body[2..34].to_vec(),
        session: body[35..session_end].to_vec(),
        suite: number(rest),
        compression: rest[2],
        extensions,
        exchange: None,
    }
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}
