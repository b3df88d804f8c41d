//! A connection while HTTP is spoken on it, encrypted or not, as actix-http reads and writes it. The handshake is a part of the first read.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Buf, Bytes, BytesMut};
use rustls::server::UnbufferedServerConnection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{Buffers, SealedSocket, Session, Socket, socket::READ_BYTES};

/// Sealed bytes that may wait for a client that does not read.
const UNSENT_BYTES_MAX: usize = 64 << 10;

/// A connection, encrypted or not. Small, because it is moved often until it is served.
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Sealed(Box<SealedStream>),
}

/// A connection with TLS, from the accept on.
pub struct SealedStream {
    socket: Box<SealedSocket>,
    /// Plain text that was not asked for yet.
    plain: BytesMut,
    /// Records that the kernel did not take.
    unsent: BytesMut,
    ending: Ending,
    /// The worker's turn whose end the handshake waits for.
    waiting: Option<u64>,
}

/// How far our side has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    /// The client is told with what is unsent.
    Told,
}

/// What becomes of a connection that is no HTTP connection any more.
pub struct Opened {
    /// The socket.
    pub socket: Socket,
    /// Bytes from the client that nobody has read.
    pub received: BytesMut,
    /// Records that go before everything else.
    pub unsent: Bytes,
}

impl Stream {
    /// The socket underneath.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Sealed(sealed) => &sealed.socket.tcp,
        }
    }

    /// Whether the client's side of the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// Whether it is encrypted, and can't be used yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Sealed(sealed) => sealed.is_handshaking(),
        }
    }

    /// Without TLS from now on.
    #[must_use]
    pub fn bare(self) -> Self {
        match self {
            Self::Plain(tcp) => Self::Plain(tcp),
            Self::Sealed(sealed) => Self::Plain(sealed.socket.tcp),
        }
    }

    /// Takes it apart.
    #[must_use]
    pub fn open(self) -> Opened {
        match self {
            Self::Plain(tcp) => Opened {
                socket: Socket::Plain(tcp),
                received: BytesMut::new(),
                unsent: Bytes::new(),
            },
            Self::Sealed(sealed) => Opened {
                socket: Socket::Sealed(sealed.socket),
                received: sealed.plain,
                unsent: sealed.unsent.freeze(),
            },
        }
    }
}

impl SealedStream {
    pub(super) fn new(
        tcp: TcpStream,
        connection: UnbufferedServerConnection,
        buffers: Buffers,
    ) -> Self {
        Self {
            socket: Box::new(SealedSocket {
                tcp,
                session: RefCell::new(Session::new(connection)),
                buffers,
            }),
            plain: BytesMut::new(),
            unsent: BytesMut::new(),
            ending: Ending::Open,
            waiting: None,
        }
    }

    fn is_handshaking(&self) -> bool {
        self.socket.session.borrow().is_handshaking()
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let tcp = Pin::new(&mut self.socket.tcp);
            match ready!(tcp.poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        // An idle connection keeps no buffer.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Reads once and opens what came. Says whether the client has ended its side.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let is_handshaking = self.is_handshaking();
        if is_handshaking {
            ready!(self.socket.buffers.poll_handshake(&mut self.waiting, cx));
        }
        let socket = &mut *self.socket;
        let mut received = socket.buffers.received();
        received.resize(READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut received);
        ready!(Pin::new(&mut socket.tcp).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled().len();
        if filled == 0 {
            return Poll::Ready(Ok(true));
        }
        let began = is_handshaking.then(Instant::now);
        let mut records = socket.buffers.sealed();
        let mut session = socket.session.borrow_mut();
        let opened = session.receive(&mut received[..filled], &mut self.plain, &mut records);
        if let Some(began) = began {
            socket.buffers.took(began.elapsed());
        }
        self.unsent.extend_from_slice(records.as_slice());
        opened?;
        Poll::Ready(Ok(session.is_ended_by_peer()))
    }
}

impl AsyncRead for SealedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.plain.is_empty() {
            if self.socket.session.borrow().is_ended_by_peer() {
                return Poll::Ready(Ok(()));
            }
            let received = self.poll_receive(cx);
            if let Poll::Ready(Err(_)) = received {
                // The alert, as far as there is room for it.
                let _ = self.poll_unsent(cx);
            }
            // Answers to the handshake go out whether or not more has come.
            if let Poll::Ready(Err(error)) = self.poll_unsent(cx) {
                return Poll::Ready(Err(error));
            }
            let is_ended = ready!(received)?;
            if is_ended && self.plain.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        let count = self.plain.len().min(buffer.remaining());
        buffer.put_slice(&self.plain[..count]);
        self.plain.advance(count);
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SealedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_handshaking() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if self.unsent.len() >= UNSENT_BYTES_MAX {
            ready!(self.poll_unsent(cx))?;
        }
        let part = &bytes[..bytes.len().min(UNSENT_BYTES_MAX)];
        let this = &mut *self;
        if this.unsent.is_empty() {
            let rest = this.socket.send(part)?;
            this.unsent.extend_from_slice(&rest);
        } else {
            let mut records = this.socket.buffers.sealed();
            this.socket.session.borrow_mut().seal(part, &mut records)?;
            this.unsent.extend_from_slice(records.as_slice());
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending == Ending::Open {
            self.ending = Ending::Told;
            let this = &mut *self;
            let mut records = this.socket.buffers.sealed();
            this.socket.session.borrow_mut().close(&mut records);
            this.unsent.extend_from_slice(records.as_slice());
        }
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.socket.tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Sealed(sealed) => Pin::new(&mut **sealed).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Sealed(sealed) => Pin::new(&mut **sealed).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Sealed(sealed) => Pin::new(&mut **sealed).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Sealed(sealed) => Pin::new(&mut **sealed).poll_shutdown(cx),
        }
    }
}
