//! One of the connections, as actix-http reads and writes it.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Answer, FirstRequest, Refused, Request, Stage, State, answer};
use crate::{
    tls::{Failure, ListenerName, Opened, Stream, begins_tls},
    transport::pace::yield_turn,
};

/// Bytes that are read before others get the thread: some 100 of the smallest requests.
const TURN_BYTES: usize = 8 << 10;

const OPEN: &str = "it is there until it is handed over";

/// The connection's proxy says that the client's side is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldSecure;

/// A connection that speaks HTTP. Small, because it is moved often until it is served.
pub struct HttpStream {
    /// Absent once it is handed over.
    socket: Option<Stream>,
    state: Rc<State>,
}

impl HttpStream {
    pub(super) fn new(socket: Stream, state: Rc<State>) -> Self {
        Self {
            socket: Some(socket),
            state,
        }
    }

    /// The request that the connection is there for.
    #[must_use]
    pub fn first_request(&self) -> FirstRequest {
        FirstRequest(Rc::downgrade(&self.state))
    }

    /// What the proxy says of the client's side.
    #[must_use]
    pub fn told_secure(&self) -> Option<ToldSecure> {
        self.state.told_secure.get()
    }

    /// Notes what the proxy says of the client's side.
    pub fn tell_secure(&self, told: Option<ToldSecure>) {
        self.state.told_secure.set(told);
    }

    /// The bare socket, which is no HTTP connection from now on.
    #[must_use]
    pub fn open(mut self) -> Opened {
        let socket = self.socket.take();
        socket.expect("it is handed over once, here").open()
    }

    fn socket(&mut self) -> Pin<&mut Stream> {
        let socket = self.socket.as_mut();
        Pin::new(socket.expect(OPEN))
    }

    /// Notes what has come of a request.
    fn received(&self, bytes: usize) {
        let State {
            request,
            turn_bytes,
            ..
        } = &*self.state;
        turn_bytes.set(turn_bytes.get() + bytes);
        let last = self.state.tick();
        let (since, before) = match request.get() {
            Request::None => (last, 0),
            Request::Arriving { since, bytes, .. } => (since, bytes),
            Request::TooSlow => return,
        };
        request.set(Request::Arriving {
            since,
            bytes: before + bytes,
            last,
        });
    }

    /// Notes why no TLS session began. A client that has taken one port for the other is told so in its own language.
    fn refuse(&mut self, failure: &Failure) {
        let State {
            connections, peer, ..
        } = &*self.state;
        let node = &connections.worker.node;
        node.no_tls_session(ListenerName::Public, *peer, failure);
        if let Some(answer) = answer::to_failure(failure) {
            self.socket = self.socket.take().map(Stream::bare);
            self.state.unsent.replace(answer.into());
            self.state.stage.set(Stage::Answered);
        }
    }

    /// Whether what came first on a connection without TLS is the beginning of TLS.
    fn begins_tls(&self, first: &[u8]) -> bool {
        let State { stage, request, .. } = &*self.state;
        stage.get() == Stage::New && request.get() == Request::None && begins_tls(first)
    }

    /// Tells the client that it has lost its place, as one that found none is told.
    fn end_displaced(&self) -> io::Error {
        let State {
            connections, peer, ..
        } = &*self.state;
        let socket = self.socket.as_ref().expect(OPEN);
        connections.refuse(socket, *peer, Refused::OverAll);
        io::ErrorKind::ConnectionAborted.into()
    }

    fn write_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.unsent.borrow().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut unsent = self.state.unsent.take();
        while !unsent.is_empty() {
            match self.write(cx, &unsent) {
                Poll::Ready(Ok(written)) => unsent.advance(written),
                other => {
                    self.state.unsent.replace(unsent);
                    return other.map_ok(|_| ());
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.state.answer.get() == Answer::TooSlow {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.state.stage.get() == Stage::Displaced {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = self.socket().poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Err(_))) && self.socket().is_handshaking() {
            // actix-http has waited for a request as long as it does.
            self.refuse(&Failure::TooSlow);
        }
        let answer = &self.state.answer;
        if written.is_ready() {
            answer.set(Answer::Flowing);
        } else {
            self.state.wait(cx);
            if answer.get() == Answer::Flowing {
                let since = self.state.tick();
                answer.set(Answer::Stalled { since });
            }
        }
        written
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        self.state.leave();
        match self.socket.take() {
            Some(socket) if self.state.stage.get() == Stage::Answered => self.state.close(socket),
            _ => {}
        }
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.stage.get() == Stage::Displaced {
            return Poll::Ready(Err(self.end_displaced()));
        }
        if self.state.request.get() == Request::TooSlow {
            if self.socket().is_handshaking() {
                self.refuse(&Failure::TooSlow);
            }
            // As if the client had ended its side.
            return Poll::Ready(Ok(()));
        }
        self.state.rise();
        if self.state.turn_bytes.get() >= TURN_BYTES {
            self.state.turn_bytes.set(0);
            yield_turn(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match self.socket().poll_read(cx, buffer) {
            Poll::Pending => {
                self.state.turn_bytes.set(0);
                self.state.wait(cx);
                Poll::Pending
            }
            Poll::Ready(read) => {
                if let Err(error) = read {
                    self.state.stage.set(Stage::Ended);
                    if let Some(failure) = Failure::of(&error) {
                        self.refuse(failure);
                    }
                    return Poll::Ready(Err(error));
                }
                if self.begins_tls(&buffer.filled()[before..]) {
                    self.refuse(&Failure::TlsOnPlainPort);
                    return Poll::Ready(Err(Failure::TlsOnPlainPort.into()));
                }
                match buffer.filled().len() - before {
                    0 => self.state.stage.set(Stage::Ended),
                    bytes => self.received(bytes),
                }
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.write_unsent(cx))?;
        let State { request, stage, .. } = &*self.state;
        if stage.get() == Stage::New {
            stage.set(Stage::Answered);
            self.state.note_request();
        }
        if request.get() != Request::TooSlow {
            request.set(Request::None);
        }
        let Some(other) = answer::instead_of(bytes) else {
            return self.write(cx, bytes);
        };
        self.state.unsent.replace(other.into());
        // What does not fit now is flushed later.
        if let Poll::Ready(Err(error)) = self.write_unsent(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_unsent(cx))?;
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_unsent(cx))?;
        self.socket().poll_shutdown(cx)
    }
}
