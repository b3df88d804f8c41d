//! Who listens where on this node: channels, which shards hold their subscribers, and the way into each shard.
//!
//! The [`Hub`] is shared by all threads; a [`Shard`] belongs to one. No guard of a map leaves this module.

mod backlog;
mod channels;
mod closing;
mod congestion;
mod fan_out;
mod inbox;
mod measure;
mod outbox;
mod profile;
mod shard;
mod slots;
mod subscriber;
mod subscriptions;
mod view;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::sync::oneshot;

pub use backlog::{Backlog, Room, Ticket};
pub use channels::{AppChannels, Channel, ChannelSettings, Route};
pub use closing::Closing;
pub use inbox::{Change, Delivery, Inbox, Message, Question, Receipt};
pub use measure::ShardGauges;
pub use outbox::{CloseNotice, End, Outbox};
pub use profile::{Profile, Transport};
pub use shard::{Shard, ShardSettings};
pub use slots::{Capacity, ConnectionSlot, NoSlot};
pub use subscriber::{Farewell, Subscriber};
pub use subscriptions::Subscription;
pub use view::{ConnectionView, Direction, Rank, SORTS, Search, SortBy};

use crate::{address::Places, metrics::Latency};

/// One worker's place among the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId(u16);

/// Names a channel within this process for as long as it has subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId(u64);

/// All channels of this node and the ways into its shards.
pub struct Hub {
    apps: DashMap<Arc<str>, Arc<AppChannels>, ahash::RandomState>,
    inboxes: Box<[Arc<Inbox>]>,
    claimed: Mutex<Vec<bool>>,
    connections: AtomicUsize,
    places: Places,
    next_id: Arc<AtomicU64>,
    /// Whether shards count what their clients read: other nodes may want to know.
    spans_nodes: AtomicBool,
    /// From the publish to the last socket of a shard.
    pub latency: Latency,
}

impl Hub {
    /// A hub for as many shards as there will be workers.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            apps: DashMap::default(),
            inboxes: (0..shards).map(|_| Arc::default()).collect(),
            claimed: Mutex::new(vec![false; shards]),
            connections: AtomicUsize::new(0),
            places: Places::default(),
            next_id: Arc::default(),
            spans_nodes: AtomicBool::new(false),
            latency: Latency::default(),
        }
    }

    /// The channels of an app, made at its first use.
    #[must_use]
    pub fn app(&self, app_id: &str) -> Arc<AppChannels> {
        if let Some(app) = self.apps.get(app_id) {
            return Arc::clone(&app);
        }
        let app_id: Arc<str> = app_id.into();
        let app = self.apps.entry(Arc::clone(&app_id));
        let app = app.or_insert_with(|| Arc::new(AppChannels::new(app_id, &self.next_id)));
        Arc::clone(&app)
    }

    /// The channels of an app that was used since the start.
    #[must_use]
    pub fn used_app(&self, app_id: &str) -> Option<Arc<AppChannels>> {
        self.apps.get(app_id).map(|app| Arc::clone(&app))
    }

    /// How many clients are connected to this node.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many clients are connected to this node, by app.
    #[must_use]
    pub fn connections_by_app(&self) -> HashMap<Arc<str>, usize> {
        let apps = self.apps.iter();
        apps.map(|app| (Arc::clone(app.key()), app.connections()))
            .collect()
    }

    /// Every app that was used since the start.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<AppChannels>> {
        self.apps.iter().map(|app| Arc::clone(&app)).collect()
    }

    /// Whether every shard has room for what a publisher of the app brings.
    #[must_use]
    pub fn has_room(&self, app: &AppChannels) -> bool {
        let shards = self.inboxes.len();
        let mut free = self.inboxes.iter().map(|inbox| inbox.free());
        free.all(|free| app.backlog.is_within(free, shards))
    }

    /// Hands a delivery to every shard on the route.
    pub fn deliver(&self, route: &Route, mut delivery: Delivery) {
        let Some((last, others)) = route.shards.split_last() else {
            return;
        };
        if delivery.frame.bytes().len() >= route.compressed_from {
            delivery.frame = delivery.frame.compressible();
        }
        let bytes = delivery.frame.bytes().len();
        let ticket = || route.backlog.take(bytes);
        for shard in others {
            self.inbox(*shard)
                .push(Message::Deliver(delivery.clone(), ticket()));
        }
        self.inbox(*last).push(Message::Deliver(delivery, ticket()));
    }

    /// From now on there are other nodes that wait for this one's clients ([`Hub::when_delivered`]).
    pub fn span_nodes(&self) {
        self.spans_nodes.store(true, Ordering::Relaxed);
    }

    fn spans_nodes(&self) -> bool {
        self.spans_nodes.load(Ordering::Relaxed)
    }

    /// Calls `report` when everything that was to be delivered so far is on its way to the app's clients, or 5 s after that at most, while
    /// most of them do not read.
    pub fn when_delivered(&self, app_id: &Arc<str>, report: impl FnOnce() + Send + 'static) {
        let receipt = Receipt::new(|_| report());
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for (inbox, _) in self
            .inboxes
            .iter()
            .zip(claimed.iter())
            .filter(|(_, is)| **is)
        {
            inbox.push(Message::Mark(Arc::clone(app_id), Arc::clone(&receipt)));
        }
    }

    fn inbox(&self, shard: ShardId) -> &Inbox {
        &self.inboxes[usize::from(shard.0)]
    }

    /// Has every shard close the connections that are signed in as this user of the app.
    pub fn terminate(&self, app_id: &Arc<str>, user_id: &Arc<str>) {
        for inbox in &self.inboxes {
            inbox.push(Message::Terminate {
                app_id: Arc::clone(app_id),
                user_id: Arc::clone(user_id),
            });
        }
    }

    /// Has those leave who are seated on the route for another session, since before this change.
    pub fn replace_sessions(&self, route: &Route, session: &Arc<str>, number: u64) {
        for shard in &route.shards {
            self.inbox(*shard).push(Message::Replace {
                channel: route.channel,
                session: Arc::clone(session),
                number,
            });
        }
    }

    /// Has every shard tell its clients to reconnect elsewhere, spread over `window`.
    pub fn drain(&self, window: Duration) {
        for inbox in &self.inboxes {
            inbox.push(Message::Drain { window });
        }
    }

    /// Asks every shard that works. Answers hold up nothing and come soon, also from the middle of a large fan-out; none comes from a
    /// shard that ends.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&Shard) -> T + Clone + Send + 'static,
    ) -> Vec<oneshot::Receiver<T>> {
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let working = self
            .inboxes
            .iter()
            .zip(claimed.iter())
            .filter(|(_, claimed)| **claimed);
        working
            .map(|(inbox, _)| {
                let (reply, answer) = oneshot::channel();
                let question = question.clone();
                inbox.push(Message::Ask(Box::new(move |shard| {
                    // Who asked may have gone.
                    let _ = reply.send(question(shard));
                })));
                answer
            })
            .collect()
    }

    /// A free place among the shards, for a worker that starts.
    fn claim(&self) -> Option<(ShardId, Arc<Inbox>)> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let free = claimed.iter().position(|taken| !taken)?;
        claimed[free] = true;
        let id = ShardId(u16::try_from(free).expect("there are at most 512 workers"));
        Some((id, Arc::clone(&self.inboxes[free])))
    }

    fn release(&self, id: ShardId) {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed[usize::from(id.0)] = false;
    }
}
