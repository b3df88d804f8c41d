//! One client as its shard sees it: an id, an outbox, and the channels it listens to.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    sync::Arc,
    time::Duration,
};

use super::{
    Outbox,
    profile::Profile,
    subscriptions::{Subscription, Subscriptions},
};
use crate::{
    address::ClientAddress,
    protocol::{Frame, SocketId},
};

/// One client. Lives on its shard's thread.
pub struct Subscriber {
    /// Its id on the wire.
    pub id: SocketId,
    /// Its socket's writing side.
    pub outbox: Outbox,
    pub(super) subscriptions: RefCell<Subscriptions>,
    /// Place in the shard's slab.
    pub(super) place: Cell<usize>,
    /// Its last visit in the fan-out that is being put together, counted from 1.
    pub(super) last_visit: Cell<u32>,
    /// The shard's tick at which something was last received.
    last_heard: Cell<u32>,
    /// The tick of an unanswered ping, or of the close frame.
    pub(super) waiting_since: Cell<Option<u32>>,
    /// The tick by which the client must have shown who it is.
    pub(super) authorize_by: Cell<Option<u32>>,
    /// What the client is told, and how long it has, when another session takes one of its places.
    farewells: RefCell<Option<Box<Farewells>>>,
    /// What it said of itself, once it was let in; shared by all who said the same.
    pub(super) profile: OnceCell<Arc<Profile>>,
    /// Where it comes from, if that is not where its socket leads.
    pub(super) address: OnceCell<Box<ClientAddress>>,
    /// The shard's tick at which it came.
    pub(super) since: Cell<u32>,
    /// Whether a control pong ever came, so that control pings are enough.
    pub(super) answers_pings: Cell<bool>,
}

/// One for each place that another session may take, by the channel of the sessions.
type Farewells = HashMap<Arc<str>, Farewell, ahash::RandomState>;

/// How a client is let go whose place another session takes.
#[derive(Clone, Debug)]
pub struct Farewell {
    /// The channel of the sessions among whom the place is.
    pub sessions: Arc<str>,
    /// The event that tells it.
    pub frame: Frame,
    /// From the event to the close.
    pub grace: Duration,
}

impl Subscriber {
    /// A client that listens to nothing yet.
    #[must_use]
    pub fn new(id: SocketId, outbox: Outbox) -> Self {
        Self {
            id,
            outbox,
            subscriptions: RefCell::default(),
            place: Cell::new(usize::MAX),
            last_visit: Cell::new(0),
            last_heard: Cell::new(0),
            waiting_since: Cell::new(None),
            authorize_by: Cell::new(None),
            farewells: RefCell::default(),
            profile: OnceCell::new(),
            address: OnceCell::new(),
            since: Cell::new(0),
            answers_pings: Cell::new(false),
        }
    }

    /// The subscription to the channel of this name.
    #[must_use]
    pub fn subscription(&self, channel: &str) -> Option<Subscription> {
        self.subscriptions.borrow().get(channel).cloned()
    }

    /// Notes that something was received at this tick of the shard's clock.
    pub fn heard(&self, tick: u32) {
        self.last_heard.set(tick);
        if !self.outbox.is_closing() {
            self.waiting_since.set(None);
        }
    }

    /// Notes that the client has shown who it is: by a sign-in, or by a private or presence channel.
    pub fn authorized(&self) {
        self.authorize_by.set(None);
    }

    /// How many channels the client asked to listen to.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.borrow().asked_for()
    }

    /// Notes how the client is to be let go when another session takes its place.
    pub fn prepare_farewell(&self, farewell: Farewell) {
        let mut farewells = self.farewells.borrow_mut();
        let farewells = farewells.get_or_insert_default();
        farewells.insert(Arc::clone(&farewell.sessions), farewell);
    }

    /// Notes that the client has left the place by itself.
    pub fn forget_farewell(&self, sessions: &str) {
        drop(self.take_farewell(sessions));
    }

    pub(super) fn take_farewell(&self, sessions: &str) -> Option<Farewell> {
        let mut farewells = self.farewells.borrow_mut();
        farewells.as_mut()?.remove(sessions)
    }

    /// Notes a control pong.
    pub fn answered_ping(&self) {
        self.answers_pings.set(true);
    }

    /// Ticks since something was received.
    pub(super) fn silent_for(&self, tick: u32) -> u32 {
        tick.saturating_sub(self.last_heard.get())
    }
}
