//! What this process knows of its channels: members, cached events, counts and histories. A change and its announcement are one step.

mod cached;
mod counts;
mod history;
mod listed;
mod members;
mod past;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use dashmap::DashMap;

pub use self::counts::COUNT_TICKS_A_SECOND;
pub(super) use self::{
    cached::SENDERS_KEPT,
    counts::{COUNT_AT_ONCE_MAX, COUNT_INTERVAL},
    history::CHANNEL_BYTES_MAX,
    past::Own,
};
use self::{
    cached::{Budget as CachedBudget, Kept, OwnEvents},
    counts::LastCount,
    history::{Budget, History},
    listed::Members,
};
use super::{ChannelEdge, ChannelKey, EdgeSink, Snapshot};
use crate::{
    feed::Feed,
    hub::{Change, Channel, Delivery, Hub},
    protocol::{Frame, SocketId, message},
};

/// Expired events are forgotten this often, in ticks.
const TICKS_BETWEEN_SWEEPS: u64 = 30;

/// The state of all channels that have any. The lock of a channel is held while a change is handed to the hub, so that every
/// shard sees a channel's changes in one order; the hub never calls back.
pub struct State {
    hub: Arc<Hub>,
    feed: Feed,
    channels: DashMap<ChannelKey, ChannelState, ahash::RandomState>,
    /// One count for all channels: it rises within each, and never restarts when a channel comes back.
    sequence: AtomicU64,
    /// Channels whose count was sent lately, or waits.
    counts: DashMap<ChannelKey, LastCount, ahash::RandomState>,
    /// Users who went offline, and when; their watchers hear of it after a delay.
    offline: Mutex<Vec<(Instant, ChannelKey)>>,
    ticks: AtomicU64,
    /// Receives the edges that this process makes; in a cluster Redis makes them.
    edges: Option<EdgeSink>,
    /// The memory of all cached events. A node of a cluster has only those of channels with subscribers, and Redis the others.
    cached_budget: Option<Arc<CachedBudget>>,
    /// The memory of all histories.
    budget: Arc<Budget>,
    /// Held by the one thread that makes room.
    making_room: Mutex<()>,
}

#[derive(Default)]
struct ChannelState {
    members: Members,
    cached: Option<Kept>,
    own: OwnEvents,
    /// When the user of an online channel went, until watchers hear of it.
    went_offline: Option<Instant>,
    /// The session that came last, where a user may have only one.
    newest: Option<Arc<str>>,
    /// Whether a subscriber got a cache miss, and nothing has been cached since.
    missed: bool,
    /// How many subscribers the channel has, where `subscription_count` is enabled.
    count: Option<usize>,
    history: Option<Box<History>>,
}

impl ChannelState {
    fn is_needless(&self) -> bool {
        self.members.roster().is_empty()
            && self.cached.is_none()
            && self.history.is_none()
            && self.went_offline.is_none()
            && !self.missed
            && self.count.is_none()
            && !self.own.are_under_way()
    }

    fn snapshot(
        &mut self,
        channel: &Channel,
        socket: SocketId,
        since: u64,
        now: Instant,
    ) -> Snapshot {
        let history = self.history.as_ref().filter(|_| channel.replay.is_some());
        Snapshot {
            since,
            succeeded: if channel.kind.has_members() {
                self.members.succeeded(&channel.name)
            } else {
                message::subscription_succeeded(&channel.name)
            },
            count: self
                .count
                .map(|count| message::subscription_count(&channel.name, count)),
            cached: self.fresh(now).map(|kept| kept.frame.clone()),
            replayed: history.map_or_else(Vec::new, |history| history.shown_to(socket, now)),
        }
    }
}

impl State {
    /// No state yet. With `edges`, they hear of what this process changes; without, Redis says what is an edge.
    #[must_use]
    pub fn new(hub: Arc<Hub>, feed: Feed, edges: Option<EdgeSink>) -> Self {
        let is_alone = edges.is_some();
        Self {
            hub,
            feed,
            channels: DashMap::default(),
            sequence: AtomicU64::new(1),
            counts: DashMap::default(),
            offline: Mutex::default(),
            ticks: AtomicU64::new(0),
            edges,
            cached_budget: is_alone.then(|| Arc::new(CachedBudget::new())),
            budget: Arc::default(),
            making_room: Mutex::default(),
        }
    }

    /// Reports an edge, if this process makes any.
    pub fn tell(&self, app_id: &str, channel: &str, edge: ChannelEdge<'_>) {
        if let Some(edges) = &self.edges {
            edges.tell(app_id, channel, edge);
        }
    }

    /// The feed that changes are shown in.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The hub that changes are announced through.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn announce(&self, key: &ChannelKey, frame: Frame) {
        if let Some(route) = self.hub.app(&key.app_id).route(&key.name) {
            let delivery = Delivery {
                channel: route.channel,
                frame,
                except: None,
                change: Change::Members(self.next_sequence()),
                receipt: None,
                published: None,
            };
            self.hub.deliver(&route, delivery);
        }
    }

    /// What a client that is seated now needs.
    #[must_use]
    pub fn snapshot(&self, channel: &Channel, socket: SocketId, now: Instant) -> Snapshot {
        let plain = || ChannelState::default().snapshot(channel, socket, 0, now);
        let kind = channel.kind;
        let has_state = kind.has_members() || kind.cache || channel.tells_count;
        if !has_state && channel.replay.is_none() {
            return plain();
        }
        match self.channels.get_mut(&ChannelKey::from(channel)) {
            Some(mut state) => state.snapshot(channel, socket, self.next_sequence(), now),
            None => plain(),
        }
    }

    /// The number above which changes come as events to a client that is seated now.
    #[must_use]
    pub fn since(&self, channel: &Channel) -> u64 {
        let state = self.channels.get_mut(&ChannelKey::from(channel));
        // Numbered under the channel's lock, as changes are.
        state.map_or(0, |_locked| self.next_sequence())
    }

    /// Forgets a channel without announcing anything: the node no longer listens to it. What of its history is under way to
    /// Redis stays until it is there.
    pub fn forget(&self, key: &ChannelKey) {
        self.channels.remove_if_mut(key, |_, state| {
            let mut history = state.history.take();
            history.take_if(|history| history.keep_under_way());
            *state = ChannelState {
                history,
                ..ChannelState::default()
            };
            state.is_needless()
        });
    }

    /// Does what is due; called once a second.
    pub fn tick(&self, now: Instant) {
        self.announce_offline(now);
        if self
            .ticks
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(TICKS_BETWEEN_SWEEPS)
        {
            self.sweep(now);
        }
    }

    /// Forgets what has expired, and gives the memory of a rush back.
    fn sweep(&self, now: Instant) {
        self.channels.retain(|_, state| {
            if state.fresh(now).is_none() {
                state.cached = None;
            }
            state.members.forget_list();
            state.history.take_if(|history| history.expire(now));
            !state.is_needless()
        });
        if self.channels.is_empty() {
            self.channels.shrink_to_fit();
        }
    }

    fn forget_needless(&self, key: &ChannelKey) {
        self.channels.remove_if(key, |_, state| state.is_needless());
    }
}

#[cfg(test)]
mod tests;
