//! The way into a shard from any thread: a queue that its owner empties in one go.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

use super::{ChannelId, Room, Shard, Ticket};
use crate::protocol::{Frame, SocketId};

/// Deliveries that may wait for one shard before publishers are told to try again; one app gets at most half of them (`backlog`). At the
/// floor's 8.5 µs a send (docs/adr/0002), a channel of 1,000 subscribers works that off in about a minute, merged writes in a second.
const WAITING_MAX: usize = 16_384;
/// Frame bytes that may wait for one shard.
const WAITING_BYTES_MAX: usize = 128 << 20;

/// What a shard is asked to do.
pub enum Message {
    /// Hand an event to a channel's subscribers. The ticket is its app's, and dropped when all is written.
    Deliver(Delivery, Ticket),
    /// Close the connections that are signed in as this user.
    Terminate {
        /// The app.
        app_id: Arc<str>,
        /// The signed-in user.
        user_id: Arc<str>,
    },
    /// Have those leave who take part in another session than this.
    Replace {
        /// The channel of the user's sessions.
        channel: ChannelId,
        /// The newest.
        session: Arc<str>,
        /// The number of the change: who was seated after it is newer still.
        number: u64,
    },
    /// Drop the receipt when what came before is on its way to the app's clients.
    Mark(Arc<str>, Arc<Receipt>),
    /// Answer an operator's question on the shard's thread.
    Ask(Question),
    /// Tell every client to reconnect, spread over this time.
    Drain {
        /// How long the last one may wait.
        window: Duration,
    },
}

/// What an operator wants to know of a shard, or to have done there.
pub type Question = Box<dyn FnOnce(&Shard) + Send>;

/// One event for one channel's subscribers.
#[derive(Clone)]
pub struct Delivery {
    /// The channel.
    pub channel: ChannelId,
    /// What to write.
    pub frame: Frame,
    /// Who is left out.
    pub except: Option<SocketId>,
    /// What of the channel's state this event changes, if anything. A subscriber whose snapshot included that is left out.
    pub change: Change,
    /// Counts whom it reached, while somebody wants to know.
    pub receipt: Option<Arc<Receipt>>,
    /// When a backend's request brought it to this node; `None` for what comes from clients, other nodes or the server itself.
    pub published: Option<Instant>,
}

impl Delivery {
    /// Whether some subscribers might be left out.
    pub(super) fn is_selective(&self) -> bool {
        self.except.is_some() || self.change != Change::Nothing
    }
}

/// What an event changes of its channel's state, with the number of the change; numbers rise within a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: everyone gets it.
    Nothing,
    /// The members.
    Members(u64),
    /// The cached event.
    Cache(u64),
}

/// Counts deliveries of one event over all shards and reports when the last of them is done.
pub struct Receipt {
    delivered: AtomicUsize,
    report: Mutex<Option<Report>>,
}

type Report = Box<dyn FnOnce(usize) + Send>;

impl Receipt {
    /// A receipt that calls `report` with the count once every shard has dropped it.
    #[must_use]
    pub fn new(report: impl FnOnce(usize) + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            delivered: AtomicUsize::new(0),
            report: Mutex::new(Some(Box::new(report))),
        })
    }

    /// Counts sockets that got the event.
    pub fn add(&self, sockets: usize) {
        self.delivered.fetch_add(sockets, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let report = self
            .report
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(report) = report {
            report(self.delivered.load(Ordering::Relaxed));
        }
    }
}

/// The queue into one shard.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Vec<Message>>,
    length: AtomicUsize,
    bytes: AtomicUsize,
    owner: AtomicWaker,
}

impl Inbox {
    /// What publishers may add to it. Changes of presence and stops are always taken: their number is bounded by
    /// the clients', and losing one would leave a wrong list behind.
    pub(super) fn free(&self) -> Room {
        Room {
            deliveries: WAITING_MAX.saturating_sub(self.length.load(Ordering::Relaxed)),
            bytes: WAITING_BYTES_MAX.saturating_sub(self.bytes.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn push(&self, message: Message) {
        if let Message::Deliver(delivery, _) = &message {
            self.bytes
                .fetch_add(delivery.frame.bytes().len(), Ordering::Relaxed);
        }
        self.length.fetch_add(1, Ordering::Relaxed);
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
        self.owner.wake();
    }

    /// Everything that is waiting, in order, behind what `batch` holds already; pending while that is nothing.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>, batch: &mut Vec<Message>) -> Poll<()> {
        self.take(batch);
        if batch.is_empty() {
            self.owner.register(cx.waker());
            // Once more: something may have come before the registration.
            self.take(batch);
        }
        if batch.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Says that a batch was worked off.
    pub(super) fn done(&self, messages: usize, bytes: usize) {
        self.length.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// As much as is there, behind what `batch` holds already.
    pub(super) fn take(&self, batch: &mut Vec<Message>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.is_empty() {
            mem::swap(&mut *waiting, batch);
        } else {
            batch.append(&mut waiting);
        }
    }
}
