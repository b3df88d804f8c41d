//! Who listens where on this node: channels, which shards hold their subscribers, and the way into each shard.
//!
//! The [`Hub`] is shared by all threads; a [`Shard`] belongs to one. No guard of a map leaves this module.

mod address;
mod backlog;
mod fan_out;
mod inbox;
mod measure;
mod outbox;
mod profile;
mod shard;
mod subscriber;
mod view;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use address::{Place, Places};
use dashmap::DashMap;
use smallvec::SmallVec;
use tokio::sync::oneshot;

pub use address::ClientAddress;
pub use backlog::Ticket;
use backlog::{Backlog, Room};
pub use inbox::{Change, Delivery, Inbox, Message, Question, Receipt};
pub use measure::ShardGauges;
pub use outbox::{End, Outbox};
pub use profile::{Profile, Transport};
pub use shard::{Shard, ShardSettings};
pub use subscriber::{Farewell, Subscriber, Subscription};
pub use view::{ConnectionView, Search};

use crate::{
    app::Replay,
    metrics::{Latency, Traffic},
    protocol::{ChannelKind, ChannelName},
};

/// One worker's place among the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId(u16);

/// Names a channel within this process for as long as it has subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId(u64);

/// An occupied channel. Shared by all who subscribe to it, so that its name is stored once.
#[derive(Debug)]
pub struct Channel {
    /// Within this process.
    pub id: ChannelId,
    /// The app that it belongs to.
    pub app_id: Arc<str>,
    /// Its name, prefix included.
    pub name: Arc<str>,
    /// What the name says.
    pub kind: ChannelKind,
    /// Whether its subscribers are told how many they are.
    pub tells_count: bool,
    /// What of its past a new subscriber is told.
    pub replay: Option<Replay>,
    /// Where its app's deliveries are counted.
    pub traffic: Arc<Traffic>,
}

/// What an app's settings say of a channel; asked when it is occupied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChannelSettings {
    /// Whether its subscribers are told how many they are.
    pub tells_count: bool,
    /// What of its past a new subscriber is told.
    pub replay: Option<Replay>,
}

/// Where a channel's subscribers are.
#[derive(Debug)]
pub struct Route {
    /// The channel.
    pub channel: ChannelId,
    /// Bytes of a frame from which on it is compressed for those who negotiated that.
    compressed_from: usize,
    /// What of the channel's past a new subscriber is told.
    pub replay: Option<Replay>,
    /// What the app has on its way.
    backlog: Arc<Backlog>,
    shards: SmallVec<[ShardId; 8]>,
}

struct Entry {
    channel: Arc<Channel>,
    /// Subscriptions per shard that has any.
    shards: SmallVec<[(ShardId, u32); 2]>,
}

impl Entry {
    fn attach(&mut self, shard: ShardId, first: impl FnOnce(&Channel)) {
        let is_first = self.shards.is_empty();
        count_up(&mut self.shards, shard);
        if is_first {
            first(&self.channel);
        }
    }

    fn subscriptions(&self) -> usize {
        self.shards.iter().map(|(_, count)| *count as usize).sum()
    }
}

/// One app's channels and connections on this node.
pub struct AppChannels {
    app_id: Arc<str>,
    channels: DashMap<Arc<str>, Entry, ahash::RandomState>,
    connections: AtomicUsize,
    traffic: Arc<Traffic>,
    /// What the app has on its way to the sockets.
    backlog: Arc<Backlog>,
    /// Bytes of a frame from which on it has a compressed form; none has while no client can read it.
    compressed_from: AtomicUsize,
    next_id: Arc<AtomicU64>,
}

impl AppChannels {
    /// The app.
    #[must_use]
    pub fn app_id(&self) -> &Arc<str> {
        &self.app_id
    }

    /// Counts one more subscription of the shard to the channel. `first` is called if it is the only one on this node: under the
    /// channel's lock, so that firsts and lasts come in the order in which they happen. It must not call back.
    #[must_use]
    pub fn attach(
        &self,
        name: ChannelName<'_>,
        shard: ShardId,
        settings: impl FnOnce() -> ChannelSettings,
        first: impl FnOnce(&Channel),
    ) -> Arc<Channel> {
        // The usual case first: joining a channel that exists needs no new key.
        if let Some(mut entry) = self.channels.get_mut(name.as_str()) {
            entry.attach(shard, first);
            return Arc::clone(&entry.channel);
        }
        let key: Arc<str> = name.as_str().into();
        let ChannelSettings {
            tells_count,
            replay,
        } = settings();
        let mut entry = self
            .channels
            .entry(Arc::clone(&key))
            .or_insert_with(|| Entry {
                channel: Arc::new(Channel {
                    id: ChannelId(self.next_id.fetch_add(1, Ordering::Relaxed)),
                    app_id: Arc::clone(&self.app_id),
                    name: key,
                    kind: name.kind(),
                    tells_count,
                    replay,
                    traffic: Arc::clone(&self.traffic),
                }),
                shards: SmallVec::new(),
            });
        entry.attach(shard, first);
        Arc::clone(&entry.channel)
    }

    /// Counts one subscription of the shard less; the channel goes with the last. `last` is called if there is none left on this
    /// node, as [`AppChannels::attach`] calls `first`.
    pub fn detach(&self, channel: &Channel, shard: ShardId, last: impl FnOnce(&Channel)) {
        let vacated = match self.channels.get_mut(&channel.name) {
            Some(mut entry) => {
                count_down(&mut entry.shards, shard);
                let vacated = entry.shards.is_empty();
                if vacated {
                    last(channel);
                }
                vacated
            }
            None => false,
        };
        if vacated {
            // Someone may have come in between; then it stays.
            self.channels
                .remove_if(&channel.name, |_, entry| entry.shards.is_empty());
        }
    }

    /// Where the channel's subscribers are; `None` without any.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<Route> {
        let entry = self.channels.get(name)?;
        Some(Route {
            channel: entry.channel.id,
            compressed_from: self.compressed_from.load(Ordering::Relaxed),
            replay: entry.channel.replay,
            backlog: Arc::clone(&self.backlog),
            shards: entry.shards.iter().map(|(shard, _)| *shard).collect(),
        })
    }

    /// How many subscriptions the channel has on this node.
    #[must_use]
    pub fn subscriptions(&self, name: &str) -> usize {
        self.channels
            .get(name)
            .map_or(0, |entry| entry.subscriptions())
    }

    /// The occupied channels whose names begin so, with their subscription counts.
    #[must_use]
    pub fn occupied(&self, prefix: &str) -> Vec<(Arc<str>, usize)> {
        let matching = self
            .channels
            .iter()
            .filter(|entry| entry.key().starts_with(prefix));
        matching
            .map(|entry| (Arc::clone(entry.key()), entry.subscriptions()))
            .collect()
    }

    /// What went to and fro for the app.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// From now on there are clients that read compressed frames; from this size on they get them.
    pub fn compress_from(&self, bytes: usize) {
        self.compressed_from.store(bytes, Ordering::Relaxed);
    }

    /// How many clients are connected to the app on this node.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn count_up(shards: &mut SmallVec<[(ShardId, u32); 2]>, shard: ShardId) {
    match shards.iter_mut().find(|(id, _)| *id == shard) {
        Some((_, count)) => *count += 1,
        None => shards.push((shard, 1)),
    }
}

fn count_down(shards: &mut SmallVec<[(ShardId, u32); 2]>, shard: ShardId) {
    if let Some(at) = shards.iter().position(|(id, _)| *id == shard) {
        shards[at].1 -= 1;
        if shards[at].1 == 0 {
            shards.swap_remove(at);
        }
    }
}

/// One of an app's and of the node's connections; given back when dropped.
pub struct ConnectionSlot {
    app: Arc<AppChannels>,
    hub: Arc<Hub>,
    place: Option<Place>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.app.connections.fetch_sub(1, Ordering::Relaxed);
        self.hub.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(place) = self.place {
            self.hub.places.give_back(place);
        }
    }
}

/// How many clients a node takes; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// In all.
    pub connections: Option<usize>,
    /// From one address or, with IPv6, one /64.
    pub per_address: Option<usize>,
}

/// Which limit leaves no room for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// The app's own.
    App,
    /// The node's.
    Node,
    /// The one of the client's address.
    Address,
}

/// All channels of this node and the ways into its shards.
pub struct Hub {
    apps: DashMap<Arc<str>, Arc<AppChannels>, ahash::RandomState>,
    inboxes: Box<[Arc<Inbox>]>,
    claimed: Mutex<Vec<bool>>,
    connections: AtomicUsize,
    places: Places,
    next_id: Arc<AtomicU64>,
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
        let app = self.apps.entry(Arc::clone(&app_id)).or_insert_with(|| {
            Arc::new(AppChannels {
                app_id,
                channels: DashMap::default(),
                connections: AtomicUsize::new(0),
                traffic: Arc::default(),
                backlog: Arc::default(),
                compressed_from: AtomicUsize::new(usize::MAX),
                next_id: Arc::clone(&self.next_id),
            })
        });
        Arc::clone(&app)
    }

    /// Counts a new connection, unless a limit forbids it.
    ///
    /// # Errors
    /// [`NoSlot`] names the limit; nothing was counted.
    pub fn take_slot(
        self: &Arc<Self>,
        app: &Arc<AppChannels>,
        app_max: Option<usize>,
        capacity: Capacity,
        ip: Option<IpAddr>,
    ) -> Result<ConnectionSlot, NoSlot> {
        let take = |counter: &AtomicUsize, max: Option<usize>| {
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (max.is_none_or(|max| count < max)).then_some(count + 1)
            })
        };
        take(&app.connections, app_max).map_err(|_| NoSlot::App)?;
        if take(&self.connections, capacity.connections).is_err() {
            app.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(NoSlot::Node);
        }
        // From here on, what was counted is given back with the slot.
        let mut slot = ConnectionSlot {
            app: Arc::clone(app),
            hub: Arc::clone(self),
            place: None,
        };
        if let (Some(max), Some(ip)) = (capacity.per_address, ip) {
            let place = Place::of(ip);
            if !self.places.take(place, max) {
                return Err(NoSlot::Address);
            }
            slot.place = Some(place);
        }
        Ok(slot)
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
