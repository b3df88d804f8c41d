//! One client's socket: writes go straight through while the kernel takes them, and into a bounded queue when it does not.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    hint::black_box,
    io::{self, IoSlice},
    net::SocketAddr,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::{
    protocol::{CloseCode, Frame, message},
    tls::{Read, SealedSocket, Socket},
};

/// Slices given to one `writev`; the kernel's own limit is 1024.
const SLICES_MAX: usize = 64;
/// Bytes that are held back for one write ([`Outbox::hold`]).
const HELD_BYTES_MAX: usize = 64 << 10;
/// Bytes of whole entries that are sealed for one write. What the kernel does not take of it stays with the socket.
const SEALED_BYTES_MAX: usize = 64 << 10;

/// Why a connection ended, for the log and the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The close code, when one was said by either side.
    pub code: Option<CloseCode>,
    /// In words.
    pub reason: &'static str,
}

/// How a client learns why the server closes its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseNotice {
    /// By the close frame.
    Frame,
    /// By a `pusher:error` before it, as protocols below 6 have it: the official Java and .NET clients show applications no close code.
    MessageAndFrame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The close frame is written or queued; nothing follows it.
    Closing,
    /// The socket is of no more use.
    Broken,
}

/// Writes to one socket. Used by one thread only; the socket's own task waits for it to become writable again.
pub struct Outbox {
    /// `None` for a client without a socket of its own: frames wait until its transport fetches them.
    socket: Option<Socket>,
    /// `None` while everything fits into the kernel's buffer, so that an idle socket holds nothing.
    pending: RefCell<Option<Box<Pending>>>,
    task: RefCell<Option<Waker>>,
    end: Cell<Option<End>>,
    max_bytes: usize,
    phase: Cell<Phase>,
    close_notice: Cell<CloseNotice>,
    pass: Cell<Pass>,
    reads_compressed: bool,
}

/// Whether frames go to the kernel one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Straight,
    Held,
}

#[derive(Default)]
struct Pending {
    /// The rest of what was sealed, which goes first: records have an order.
    sealed: Bytes,
    /// Frames, as they are before they are sealed.
    queue: VecDeque<Bytes>,
    /// Of both.
    bytes: usize,
}

impl Outbox {
    /// An outbox that holds at most `max_bytes` for a socket that does not read.
    #[must_use]
    pub fn bounded(socket: Socket, max_bytes: usize) -> Self {
        Self::new(Some(socket), max_bytes)
    }

    /// An outbox of at most `max_bytes` whose transport fetches what waits ([`Outbox::take_waiting`]).
    #[must_use]
    pub fn fetched(max_bytes: usize) -> Self {
        Self::new(None, max_bytes)
    }

    fn new(socket: Option<Socket>, max_bytes: usize) -> Self {
        Self {
            socket,
            pending: RefCell::default(),
            task: RefCell::default(),
            end: Cell::new(None),
            max_bytes,
            phase: Cell::new(Phase::Open),
            close_notice: Cell::new(CloseNotice::Frame),
            pass: Cell::new(Pass::Straight),
            reads_compressed: false,
        }
    }

    /// The same outbox, to a client that negotiated compression or did not.
    #[must_use]
    pub fn compressed(self, reads_compressed: bool) -> Self {
        Self {
            reads_compressed,
            ..self
        }
    }

    /// Whether the client negotiated compression.
    #[must_use]
    pub fn reads_compressed(&self) -> bool {
        self.reads_compressed
    }

    /// The same outbox, whose socket has records to send before anything else.
    #[must_use]
    pub fn behind(self, sealed: Bytes) -> Self {
        if !sealed.is_empty() {
            self.wait_with_sealed(sealed);
        }
        self
    }

    /// The socket, for its reader.
    #[must_use]
    pub fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// Where the socket leads, while it is connected.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.tcp().peer_addr().ok()
    }

    /// Reads once what the client sent, and adds it to `buffer`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing has come; else the socket is of no more use.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Read> {
        match &self.socket {
            Some(Socket::Plain(stream)) => match stream.try_read_buf(buffer)? {
                0 => Ok(Read::Ended),
                _ => Ok(Read::Bytes),
            },
            Some(Socket::Sealed(sealed)) => {
                let (read, answer) = sealed.try_read(buffer)?;
                if !answer.is_empty() {
                    self.answer(sealed, answer);
                }
                Ok(read)
            }
            None => Ok(Read::Ended),
        }
    }

    /// Sends a frame after all that were sent before. Says whether it was taken: not after a close, not beyond the bound.
    pub fn send(&self, frame: &Frame) -> bool {
        self.write(frame.bytes())
    }

    /// As [`Outbox::send`], for bytes that hold one or several whole frames.
    pub fn write(&self, bytes: &Bytes) -> bool {
        if self.phase.get() != Phase::Open {
            return false;
        }
        if self.is_waiting() || self.pass.get() == Pass::Held {
            return self.queue(bytes);
        }
        let stream = match &self.socket {
            Some(Socket::Plain(stream)) => stream,
            Some(Socket::Sealed(sealed)) => return self.seal(sealed, bytes),
            None => return self.wait_with(bytes.clone()),
        };
        // Straight to the kernel: the runtime's record of who is writable lies in memory of its own, and fetching that for each
        // socket of a large fan-out was a quarter of the time spent outside the kernel.
        match SockRef::from(stream).send(bytes) {
            Ok(written) if written == bytes.len() => true,
            Ok(written) => self.wait_with(bytes.slice(written..)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wait_with(bytes.clone())
            }
            Err(_) => {
                self.break_off("the socket could not be written");
                false
            }
        }
    }

    /// Looks at what [`Outbox::write`] is going to look at, so that it is in the processor's cache by then.
    pub fn look_ahead(&self) {
        black_box((self.phase.get(), self.is_waiting(), self.socket.is_some()));
    }

    /// Adds bytes behind what waits, without writing; [`Outbox::flush`] follows. Says whether they were taken.
    pub fn queue(&self, bytes: &Bytes) -> bool {
        if self.phase.get() != Phase::Open {
            return false;
        }
        if self.pass.get() == Pass::Held
            && self.waiting_bytes() + bytes.len() > HELD_BYTES_MAX.min(self.max_bytes)
        {
            self.write_waiting();
        }
        let mut pending = self.pending.borrow_mut();
        let pending = pending.get_or_insert_default();
        if pending.bytes + bytes.len() > self.max_bytes && !pending.is_empty() {
            self.overflow(pending);
            return false;
        }
        pending.bytes += bytes.len();
        pending.queue.push_back(bytes.clone());
        true
    }

    /// Holds frames back from now on, until [`Outbox::release`], so that the answers to several messages leave in one write.
    pub fn hold(&self) {
        self.pass.set(Pass::Held);
    }

    /// Writes what was held back; straight through from now on.
    pub fn release(&self) {
        if self.pass.replace(Pass::Straight) == Pass::Held {
            self.flush();
        }
    }

    /// Whether something waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.pending.borrow().is_some()
    }

    /// Bytes that may come on top of what waits.
    #[must_use]
    pub fn room(&self) -> usize {
        self.max_bytes.saturating_sub(self.waiting_bytes())
    }

    /// Bytes that wait for the socket.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.pending
            .borrow()
            .as_ref()
            .map_or(0, |pending| pending.bytes)
    }

    /// Whether the client should not be sent more before it has read: the kernel's buffers are full, and some waits here.
    #[must_use]
    pub fn is_far_behind(&self) -> bool {
        self.waiting_bytes() > self.max_bytes / 64
    }

    /// Writes as much of what waits as the kernel takes; the socket's task is woken for the rest.
    pub fn flush(&self) {
        self.write_waiting();
        if self.is_waiting() {
            self.wake();
        }
    }

    /// Decides how the client learns why it is closed, whoever closes it.
    pub fn set_close_notice(&self, notice: CloseNotice) {
        self.close_notice.set(notice);
    }

    /// Says goodbye: the notice of the close goes out after what waits, and nothing after it.
    pub fn close(&self, code: CloseCode, reason: &'static str) {
        let end = End {
            code: Some(code),
            reason,
        };
        self.end_with(self.goodbye(code, reason), end);
    }

    /// Answers the peer's close frame with this one.
    pub fn echo_close(&self, frame: &Frame, end: End) {
        self.end_with(frame.bytes().clone(), end);
    }

    /// What tells the client that and why it is closed.
    fn goodbye(&self, code: CloseCode, reason: &str) -> Bytes {
        let close = Frame::close(code, reason);
        match self.close_notice.get() {
            CloseNotice::Frame => close.bytes().clone(),
            CloseNotice::MessageAndFrame => {
                let error = message::closing_error(code, reason);
                [&error.bytes()[..], close.bytes()].concat().into()
            }
        }
    }

    fn end_with(&self, goodbye: Bytes, end: End) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.end.set(Some(end));
        let mut pending = self.pending.borrow_mut();
        let waiting = pending.get_or_insert_default();
        waiting.bytes += goodbye.len();
        waiting.queue.push_back(goodbye);
        drop(pending);
        self.phase.set(Phase::Closing);
        self.write_waiting();
        self.wake();
    }

    /// Gives the socket up; its task ends.
    pub fn break_off(&self, reason: &'static str) {
        if self.end.get().is_none() {
            self.end.set(Some(End { code: None, reason }));
        }
        self.phase.set(Phase::Broken);
        self.pending.take();
        self.wake();
    }

    /// Whether a close frame was sent or queued.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.phase.get() == Phase::Closing
    }

    /// Whether the socket was given up.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.phase.get() == Phase::Broken
    }

    /// Why it ended; the first reason counts.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// All that waits, for a transport that fetches it.
    pub fn take_waiting(&self) -> impl Iterator<Item = Bytes> {
        let pending = self.pending.take().unwrap_or_default();
        pending.queue.into_iter()
    }

    /// Called by the socket's task: remembers whom to wake, writes what waits, and asks to be woken when there is room.
    pub fn poll_flush(&self, cx: &mut Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        drop(task);
        let Some(socket) = &self.socket else { return };
        while self.is_waiting() {
            match socket.tcp().poll_write_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => self.write_waiting(),
                Poll::Ready(Err(_)) => self.break_off("the socket could not be written"),
            }
        }
    }

    /// Queues what the kernel did not take and has the task wait for room.
    fn wait_with(&self, rest: Bytes) -> bool {
        let bytes = rest.len();
        *self.pending.borrow_mut() = Some(Box::new(Pending {
            queue: VecDeque::from([rest]),
            bytes,
            ..Pending::default()
        }));
        self.wake();
        true
    }

    /// Queues records that the kernel did not take, or that others go before, and has the task wait for room.
    fn wait_with_sealed(&self, rest: Bytes) {
        let mut pending = self.pending.borrow_mut();
        let pending = pending.get_or_insert_default();
        pending.bytes += rest.len();
        pending.sealed = match pending.sealed.is_empty() {
            true => rest,
            false => [&pending.sealed[..], &rest].concat().into(),
        };
        self.wake();
    }

    /// As [`Outbox::write`], to an encrypted socket that nothing waits for.
    fn seal(&self, sealed: &SealedSocket, bytes: &[u8]) -> bool {
        match sealed.send(bytes) {
            Ok(rest) if rest.is_empty() => true,
            Ok(rest) => {
                self.wait_with_sealed(rest);
                true
            }
            Err(_) => {
                self.break_off("the socket could not be written");
                false
            }
        }
    }

    /// Sends what the session itself has to say.
    fn answer(&self, sealed: &SealedSocket, records: Bytes) {
        let is_first = !self.is_waiting();
        self.wait_with_sealed(records);
        if is_first {
            self.write_sealed(sealed);
        }
    }

    /// Ends the session of an encrypted socket, as far as the kernel takes that; nothing may be sent after it. Without it the client
    /// could not tell the end from a cut.
    pub fn end_session(&self) {
        if let Some(Socket::Sealed(sealed)) = &self.socket
            && !self.is_waiting()
        {
            // The client may have gone; there is nobody else to tell.
            let _ = sealed.send_close();
        }
    }

    /// The client reads too slowly. What it has not begun to receive is dropped; only the goodbye follows.
    fn overflow(&self, pending: &mut Pending) {
        // Of an encrypted socket's frames none was begun: those are in `sealed`.
        let begun = match &self.socket {
            Some(Socket::Sealed(_)) => 0,
            _ => 1,
        };
        pending.queue.truncate(begun);
        let reason = "too slow: the outbox is full";
        let goodbye = self.goodbye(CloseCode::TooSlow, reason);
        pending.queue.push_back(goodbye);
        pending.bytes = pending.sealed.len() + pending.queue.iter().map(Bytes::len).sum::<usize>();
        self.end.set(Some(End {
            code: Some(CloseCode::TooSlow),
            reason,
        }));
        self.phase.set(Phase::Closing);
        self.wake();
    }

    fn write_waiting(&self) {
        match &self.socket {
            Some(Socket::Plain(stream)) => self.write_plain(stream),
            Some(Socket::Sealed(sealed)) => self.write_sealed(sealed),
            None => {}
        }
    }

    fn write_plain(&self, stream: &TcpStream) {
        let mut slot = self.pending.borrow_mut();
        let Some(pending) = slot.as_mut() else {
            return;
        };
        while !pending.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = pending.queue.len().min(SLICES_MAX);
            for (slice, bytes) in slices.iter_mut().zip(&pending.queue) {
                *slice = IoSlice::new(bytes);
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(written) => pending.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    drop(slot);
                    self.break_off("the socket could not be written");
                    return;
                }
            }
        }
        *slot = None;
    }

    /// Finishes what was sealed; then seals what waits, a part at a time, so that the bound counts frames that others share.
    fn write_sealed(&self, sealed: &SealedSocket) {
        let mut slot = self.pending.borrow_mut();
        let Some(pending) = slot.as_mut() else {
            return;
        };
        while !pending.is_empty() {
            match pending.write_sealed(sealed) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    drop(slot);
                    self.break_off("the socket could not be written");
                    return;
                }
            }
        }
        *slot = None;
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sealed.is_empty()
    }

    /// One write to an encrypted socket.
    fn write_sealed(&mut self, socket: &SealedSocket) -> io::Result<()> {
        if !self.sealed.is_empty() {
            let written = socket.try_write(&self.sealed)?;
            self.sealed.advance(written);
            self.bytes -= written;
            return Ok(());
        }
        let mut bytes = 0;
        let fits = |piece: &&Bytes| {
            bytes += piece.len();
            bytes <= SEALED_BYTES_MAX
        };
        let count = self.queue.iter().take_while(fits).count().max(1);
        let rest = match count {
            1 => socket.send(&self.queue[0])?,
            _ => socket.send_joined(self.queue.range(..count))?,
        };
        let gone = self.queue.drain(..count).map(|piece| piece.len());
        self.bytes -= gone.sum::<usize>();
        self.bytes += rest.len();
        self.sealed = rest;
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.queue.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }
}
