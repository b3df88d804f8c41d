//! A connection of an operator: why no TLS session began is told as on the clients' side. It counts among no client's.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer;
use crate::{
    address::Peer,
    node::Node,
    tls::{Failure, ListenerName, Stream, begins_tls},
};

/// A connection at the operator's listener, as actix-http reads and writes it.
pub struct OperatorStream {
    stream: Stream,
    peer: Peer,
    node: Arc<Node>,
    seen: Seen,
}

/// Whether the client has sent anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Something,
}

impl OperatorStream {
    /// Of a connection on which nothing was said yet.
    #[must_use]
    pub fn new(stream: Stream, peer: Peer, node: Arc<Node>) -> Self {
        Self {
            stream,
            peer,
            node,
            seen: Seen::Nothing,
        }
    }

    /// Notes why no session began. The answer goes out as far as the kernel takes it.
    fn refuse(&self, failure: &Failure) {
        let Self { node, peer, .. } = self;
        node.no_tls_session(ListenerName::Admin, *peer, failure);
        if let Some(answer) = answer::to_failure(failure) {
            let _ = SockRef::from(self.stream.tcp()).send(&answer);
        }
    }

    fn begins_tls(&mut self, first: &[u8]) -> bool {
        let seen = std::mem::replace(&mut self.seen, Seen::Something);
        seen == Seen::Nothing && !self.stream.is_encrypted() && begins_tls(first)
    }
}

impl AsyncRead for OperatorStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Some(failure) = read.as_ref().err().and_then(Failure::of) {
            self.refuse(failure);
        }
        if self.begins_tls(&buffer.filled()[before..]) {
            self.refuse(&Failure::TlsOnPlainPort);
            return Poll::Ready(Err(Failure::TlsOnPlainPort.into()));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for OperatorStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        if written.is_err() && self.stream.is_handshaking() {
            // actix-http has waited for a request as long as it does.
            self.refuse(&Failure::TooSlow);
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
