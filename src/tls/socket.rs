//! A socket whose handshake is over, encrypted or not, as the hub writes to it and reads it.

use std::{
    cell::RefCell,
    io,
    net::Shutdown,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{Buffers, Session, buffers::Records};

/// Bytes taken from a socket at once.
pub(super) const READ_BYTES: usize = 16 << 10;

/// A client's socket.
pub enum Socket {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Sealed(Box<SealedSocket>),
}

/// A socket with TLS. What it is sealed and opened in is the worker's.
pub struct SealedSocket {
    pub(super) tcp: TcpStream,
    pub(super) session: RefCell<Session>,
    pub(super) buffers: Buffers,
}

/// What a read brought.
#[derive(Debug)]
pub enum Read {
    /// So many bytes; of an encrypted socket perhaps none that is for us.
    Bytes,
    /// The client has ended its side.
    Ended,
}

impl Socket {
    /// The socket underneath.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Sealed(sealed) => &sealed.tcp,
        }
    }

    /// Whether the client's side of the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// Pending until there is something to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_read_ready(cx)
    }

    /// Ends our side.
    pub fn shutdown_write(&self) {
        // Fails only when the peer has gone, which the next read notices.
        let _ = SockRef::from(self.tcp()).shutdown(Shutdown::Write);
    }
}

impl SealedSocket {
    /// Seals bytes, sends them, and gives back what the kernel did not take.
    ///
    /// # Errors
    /// The socket is of no more use.
    pub fn send(&self, plain: &[u8]) -> io::Result<Bytes> {
        let mut records = self.buffers.sealed();
        self.session.borrow_mut().seal(plain, &mut records)?;
        self.send_records(&records)
    }

    /// The same for several pieces, which go into as few records as they need together.
    ///
    /// # Errors
    /// As [`SealedSocket::send`].
    pub fn send_joined<'a>(&self, pieces: impl Iterator<Item = &'a Bytes>) -> io::Result<Bytes> {
        let mut joined = self.buffers.joined();
        pieces.for_each(|piece| joined.extend_from_slice(piece));
        self.send(&joined)
    }

    /// Sends the end of our side of the session, as far as the kernel takes it. Nothing may be sent after it.
    ///
    /// # Errors
    /// As [`SealedSocket::send`].
    pub fn send_close(&self) -> io::Result<Bytes> {
        let mut records = self.buffers.sealed();
        self.session.borrow_mut().close(&mut records);
        self.send_records(&records)
    }

    /// Writes records that were sealed before.
    ///
    /// # Errors
    /// As [`SealedSocket::try_read`].
    pub fn try_write(&self, records: &[u8]) -> io::Result<usize> {
        self.tcp.try_write(records)
    }

    fn send_records(&self, records: &Records) -> io::Result<Bytes> {
        let bytes = records.as_slice();
        match SockRef::from(&self.tcp).send(bytes) {
            Ok(written) => Ok(Bytes::copy_from_slice(&bytes[written..])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Bytes::copy_from_slice(bytes))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads once. Adds what is for us to `plain`; the second part is what the session has to answer, which must go out in the order of
    /// sealing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing has come; else the socket is of no more use.
    pub fn try_read(&self, plain: &mut BytesMut) -> io::Result<(Read, Bytes)> {
        if self.session.borrow().is_ended_by_peer() {
            return Ok((Read::Ended, Bytes::new()));
        }
        let mut received = self.buffers.received();
        received.clear();
        received.reserve(READ_BYTES);
        if self.tcp.try_read_buf(&mut *received)? == 0 {
            return Ok((Read::Ended, Bytes::new()));
        }
        let mut records = self.buffers.sealed();
        let mut session = self.session.borrow_mut();
        let opened = session.receive(&mut received, plain, &mut records);
        if let Err(failure) = opened {
            // The alert, if there is room for it.
            let _ = SockRef::from(&self.tcp).send(records.as_slice());
            return Err(failure.into());
        }
        Ok((Read::Bytes, Bytes::copy_from_slice(records.as_slice())))
    }
}
