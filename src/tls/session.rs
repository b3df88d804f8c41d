//! One TLS session: bytes in, plain text and answers out. No I/O, and no buffer while nothing is unfinished.

use std::{fmt, mem};

use bytes::BytesMut;
use rustls::{
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

use super::{buffers::Records, issued::CHALLENGE_PROTOCOL};

/// Bytes that may wait for the rest of a record or of a handshake message; rustls refuses messages of 64 KB itself.
const UNFINISHED_BYTES_MAX: usize = 96 << 10;
/// Plain bytes of the longest record.
const RECORD_BYTES: usize = 16 << 10;
/// What a record adds to its plain bytes, at most: header, nonce or content type, and tag.
const RECORD_OVERHEAD: usize = 32;
/// What rustls says if the certificates have none for a client.
const NOTHING_RESOLVED: &str = "no server certificate chain resolved";
/// For handshake messages and alerts that go before.
const ROOM_BEFORE: usize = 256;

/// The session of one socket.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// The beginning of a record, or of a handshake message. Empty and without memory while the client is idle.
    unfinished: Vec<u8>,
    progress: Progress,
}

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Handshake,
    Open,
    /// The client has ended its side, or has what it came for.
    PeerClosed,
    /// It is of no more use, and rustls is not asked again.
    Failed,
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// HTTP without TLS came in on a port with TLS.
    PlainHttp,
    /// TLS came in on a port without it.
    TlsOnPlainPort,
    /// The handshake took too long.
    TooSlow,
    /// The client broke a rule of TLS, or has nothing in common with this server.
    Tls(rustls::Error),
    /// The client asks for a name whose certificate has yet to be issued.
    NoCertificate,
    /// More of a message has come than any may have.
    TooLong,
    /// The keys may not be used any longer.
    Exhausted,
    /// The session has ended.
    Closed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("this port speaks TLS: use https:// or wss://"),
            Self::TlsOnPlainPort => {
                f.write_str("this port does not speak TLS: use http:// or ws://")
            }
            Self::TooSlow => f.write_str("the TLS handshake did not end in time"),
            Self::Tls(error) => error.fmt(f),
            Self::NoCertificate => {
                f.write_str("there is no certificate yet for the name that the client asks for")
            }
            Self::TooLong => f.write_str("a TLS message is too long"),
            Self::Closed => f.write_str("the TLS session has ended"),
            Self::Exhausted => f.write_str("the keys of the TLS session are used up"),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The one that is in an I/O error, if there is one.
    #[must_use]
    pub fn of(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// A word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PlainHttp => "http_on_tls_port",
            Self::TlsOnPlainPort => "tls_on_plain_port",
            Self::TooSlow => "too_slow",
            Self::NoCertificate => "no_certificate",
            Self::Tls(rustls::Error::AlertReceived(_)) => "refused_by_client",
            Self::Tls(rustls::Error::PeerIncompatible(_)) => "incompatible",
            Self::Tls(
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented,
            ) => "client_certificate",
            Self::Tls(_) | Self::TooLong | Self::Exhausted | Self::Closed => "malformed",
        }
    }
}

impl From<rustls::Error> for Failure {
    fn from(error: rustls::Error) -> Self {
        match error {
            // rustls has no error of its own for a resolver that finds nothing; a test sees this one.
            rustls::Error::General(text) if text == NOTHING_RESOLVED => Self::NoCertificate,
            error => Self::Tls(error),
        }
    }
}

impl From<Failure> for std::io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, failure)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress;
        f.debug_struct("Session")
            .field("progress", &progress)
            .finish()
    }
}

impl Session {
    /// A session whose handshake is yet to come.
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection,
            unfinished: Vec::new(),
            progress: Progress::Handshake,
        }
    }

    /// Whether the handshake is not over.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.progress == Progress::Handshake
    }

    /// Whether nothing more comes from the client, because it has said so or because its handshake was all that it wanted.
    #[must_use]
    pub fn is_ended_by_peer(&self) -> bool {
        self.progress == Progress::PeerClosed
    }

    /// Takes what has come from the client. Adds its plain text to `plain`, and what it is to be answered to `records`, also when the
    /// session fails: the alert.
    ///
    /// # Errors
    /// The session is of no more use.
    pub(super) fn receive(
        &mut self,
        received: &mut [u8],
        plain: &mut BytesMut,
        records: &mut Records,
    ) -> Result<(), Failure> {
        let was_handshaking = self.is_handshaking();
        let taken = self.take(received, plain, records);
        if taken.is_err() {
            self.progress = Progress::Failed;
        } else if was_handshaking && !self.is_handshaking() && self.is_challenge() {
            // An authority has seen the answer to its challenge, and nothing is said in such a session (RFC 8737 §3).
            self.progress = Progress::PeerClosed;
            plain.clear();
        }
        taken
    }

    fn is_challenge(&self) -> bool {
        self.connection.alpn_protocol() == Some(CHALLENGE_PROTOCOL)
    }

    fn take(
        &mut self,
        received: &mut [u8],
        plain: &mut BytesMut,
        records: &mut Records,
    ) -> Result<(), Failure> {
        if self.progress == Progress::Failed {
            return Err(Failure::Closed);
        }
        if self.is_handshaking() && self.unfinished.is_empty() && is_http(received) {
            return Err(Failure::PlainHttp);
        }
        if self.unfinished.is_empty() {
            let done = self.process(received, plain, records)?;
            self.unfinished = received[done..].to_vec();
        } else {
            let mut unfinished = mem::take(&mut self.unfinished);
            unfinished.extend_from_slice(received);
            let done = self.process(&mut unfinished, plain, records)?;
            if done < unfinished.len() {
                unfinished.drain(..done);
                self.unfinished = unfinished;
            }
        }
        match self.unfinished.len() {
            0..=UNFINISHED_BYTES_MAX => Ok(()),
            _ => Err(Failure::TooLong),
        }
    }

    /// Takes whole records and says how many bytes they had.
    fn process(
        &mut self,
        received: &mut [u8],
        plain: &mut BytesMut,
        records: &mut Records,
    ) -> Result<usize, Failure> {
        let mut done = 0;
        loop {
            let status = self.connection.process_tls_records(&mut received[done..]);
            let UnbufferedStatus { mut discard, state } = status;
            let mut is_waiting = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(records, |room| data.encode(room))?;
                }
                // They are on their way before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake) => is_waiting = true,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    if self.progress == Progress::Handshake {
                        self.progress = Progress::Open;
                    }
                    is_waiting = true;
                }
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::PeerClosed,
                Ok(_) => is_waiting = true,
                Err(error) => {
                    self.add_alert(&mut received[done + discard..], records);
                    return Err(error.into());
                }
            }
            done += discard;
            if is_waiting {
                return Ok(done);
            }
        }
    }

    /// Adds the alert that tells the client why the session fails, with what was to go before it. rustls must not look at what has come again:
    /// it would find a second reason, and takes that for a mistake of ours.
    fn add_alert(&mut self, rest: &mut [u8], records: &mut Records) {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(rest);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else {
                return;
            };
            if encode(records, |room| data.encode(room)).is_err() {
                return;
            }
        }
    }

    /// Seals bytes into as few records as they need.
    ///
    /// # Errors
    /// The session is of no more use.
    pub(super) fn seal(&mut self, plain: &[u8], records: &mut Records) -> Result<(), Failure> {
        if self.progress == Progress::Failed {
            return Err(Failure::Closed);
        }
        let count = plain.len().div_ceil(RECORD_BYTES);
        let mut needed = plain.len() + count * RECORD_OVERHEAD + ROOM_BEFORE;
        loop {
            // A handshake message that is not whole is known to rustls by its place among what has come.
            let status = self.connection.process_tls_records(&mut self.unfinished);
            let sealed = match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    traffic.encrypt(plain, records.room(needed))
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(records, |room| data.encode(room))?;
                    continue;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    continue;
                }
                Ok(_) => return Err(Failure::Closed),
                Err(error) => return Err(error.into()),
            };
            match sealed {
                Ok(bytes) => {
                    records.advance(bytes);
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(size)) => needed = size.required_size,
                Err(EncryptError::EncryptExhausted) => return Err(Failure::Exhausted),
            }
        }
    }

    /// Says goodbye; nothing may be sealed after it.
    pub(super) fn close(&mut self, records: &mut Records) {
        if self.progress == Progress::Failed {
            return;
        }
        let status = self.connection.process_tls_records(&mut self.unfinished);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state
            && let Ok(bytes) = traffic.queue_close_notify(records.room(ROOM_BEFORE))
        {
            records.advance(bytes);
        }
    }
}

/// Adds a message that rustls has made.
fn encode(
    records: &mut Records,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Failure> {
    let mut needed = ROOM_BEFORE;
    loop {
        match encode(records.room(needed)) {
            Ok(bytes) => {
                records.advance(bytes);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => needed = size.required_size,
            Err(EncodeError::AlreadyEncoded) => return Ok(()),
        }
    }
}

/// Whether the first bytes are those of an HTTP request: its method. A TLS record begins with its type, 20 to 23.
fn is_http(received: &[u8]) -> bool {
    received.first().is_some_and(u8::is_ascii_uppercase)
}

/// Whether the first bytes are those of a TLS handshake (RFC 8446 §5.1).
#[must_use]
pub fn begins_tls(received: &[u8]) -> bool {
    matches!(received, [HANDSHAKE, 3, ..])
}

/// The type of a record with handshake messages.
const HANDSHAKE: u8 = 22;
/// The alert to a client that begins with TLS where there is none, as a record.
pub const NO_TLS_HERE: [u8; 7] = alert(HANDSHAKE_FAILURE);
/// The alert to a client that there is no room for, as a record.
pub const NO_ROOM: [u8; 7] = alert(INTERNAL_ERROR);

/// RFC 8446 §6.
const HANDSHAKE_FAILURE: u8 = 40;
/// "An internal error unrelated to the peer or the correctness of the protocol" (RFC 8446 §6.2).
const INTERNAL_ERROR: u8 = 80;

/// A fatal alert as the first record of a connection.
const fn alert(description: u8) -> [u8; 7] {
    [21, 3, 1, 0, 2, 2, description]
}
