//! The buffers of one worker, in which all of its sockets are sealed and opened, each within one step.

use std::{
    cell::{Cell, RefCell, RefMut},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::task::yield_now;

/// Time that handshakes may take before others get the thread. A signature takes 30 µs (ECDSA) to 1 ms (RSA).
const TURN: Duration = Duration::from_millis(1);

/// Sealed bytes that the buffer keeps its memory for; a larger one is given back.
const KEPT_BYTES: usize = 256 << 10;

/// The buffers of one worker. Cheap to clone.
#[derive(Clone, Default)]
pub struct Buffers(Rc<Shared>);

#[derive(Default)]
struct Shared {
    /// What came from a socket.
    received: RefCell<Vec<u8>>,
    /// Frames that are sealed together.
    joined: RefCell<Vec<u8>>,
    /// Records for a socket.
    sealed: RefCell<Records>,
    turn: Cell<Turn>,
}

/// What handshakes have taken since the runtime last looked at other sockets.
#[derive(Clone, Copy, Default)]
struct Turn {
    number: u64,
    taken: Duration,
}

impl Buffers {
    pub(super) fn received(&self) -> RefMut<'_, Vec<u8>> {
        self.0.received.borrow_mut()
    }

    pub(super) fn joined(&self) -> RefMut<'_, Vec<u8>> {
        let mut joined = self.0.joined.borrow_mut();
        joined.clear();
        joined.shrink_to(KEPT_BYTES);
        joined
    }

    /// Pending when handshakes have had their part of this turn. `waiting` is the turn that this one waits for the end of, if it does.
    pub(super) fn poll_handshake(
        &self,
        waiting: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut turn = self.0.turn.get();
        if waiting.take() == Some(turn.number) {
            turn = Turn {
                number: turn.number + 1,
                taken: Duration::ZERO,
            };
            self.0.turn.set(turn);
        }
        if turn.taken < TURN {
            return Poll::Ready(());
        }
        *waiting = Some(turn.number);
        // The runtime looks at other sockets before it polls this task again.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    }

    /// Notes that a step of a handshake took so long.
    pub(super) fn took(&self, time: Duration) {
        let mut turn = self.0.turn.get();
        turn.taken += time;
        self.0.turn.set(turn);
    }

    pub(super) fn sealed(&self) -> RefMut<'_, Records> {
        let mut sealed = self.0.sealed.borrow_mut();
        sealed.clear();
        sealed
    }
}

/// Records, one behind the other. Grows, and is not filled with zeros again for each socket.
#[derive(Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    used: usize,
}

impl Records {
    pub(super) fn clear(&mut self) {
        self.used = 0;
        if self.bytes.len() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// Room for so many bytes more.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.used + bytes;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..]
    }

    /// Notes that so many bytes of the room were used.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.used += bytes;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}
