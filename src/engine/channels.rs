//! Channel state in this process's memory: members, cached events, and the announcement of each change in one step with it.

mod cached;
mod counts;
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

pub(super) use self::past::Listed;
use self::{
    cached::{Kept, OwnEvents},
    counts::Told,
};
use super::{
    ChannelEdge, EdgeSink, Snapshot,
    history::{Budget, History},
};
use crate::{
    feed::Feed,
    hub::{Change, Channel, Delivery, Hub},
    presence::Roster,
    protocol::{Frame, SocketId, message},
};

/// Expired events are forgotten this often, in ticks.
const TICKS_BETWEEN_SWEEPS: u64 = 30;

/// App id and channel name.
pub(super) type Key = (Arc<str>, Arc<str>);

/// The state of all channels that have any. The lock of a channel is held while a change is handed to the hub, so that every
/// shard sees a channel's changes in one order; the hub never calls back.
pub struct ChannelStates {
    hub: Arc<Hub>,
    feed: Feed,
    channels: DashMap<Key, State, ahash::RandomState>,
    /// One count for all channels: it rises within each, and never restarts when a channel comes back.
    sequence: AtomicU64,
    /// Channels of many subscribers that were told their count a short time ago.
    counts: DashMap<Key, Told, ahash::RandomState>,
    /// Users who went, and when; their watchers are to be told.
    offline: Mutex<Vec<(Instant, Key)>>,
    ticks: AtomicU64,
    edges: Option<EdgeSink>,
    /// What all histories take.
    budget: Arc<Budget>,
    /// Held by the one thread that makes room.
    making_room: Mutex<()>,
}

#[derive(Default)]
struct State {
    roster: Roster,
    cached: Option<Kept>,
    own: OwnEvents,
    /// When the user of an online channel went, until those who watch are told.
    went_offline: Option<Instant>,
    /// The session that came last, where a user may have only one.
    newest: Option<Arc<str>>,
    /// Whether a subscriber was told that nothing is cached, and since then nothing was.
    missed: bool,
    history: Option<Box<History>>,
}

impl State {
    fn is_needless(&self) -> bool {
        self.roster.is_empty()
            && self.cached.is_none()
            && self.history.is_none()
            && self.went_offline.is_none()
            && !self.missed
            && !self.own.are_under_way()
    }

    fn snapshot(&self, channel: &Channel, socket: SocketId, since: u64, now: Instant) -> Snapshot {
        let history = self.history.as_ref().filter(|_| channel.replay.is_some());
        Snapshot {
            since,
            succeeded: if channel.kind.has_members() {
                message::presence_succeeded(&channel.name, self.roster.members())
            } else {
                message::subscription_succeeded(&channel.name)
            },
            cached: self.fresh(now).map(|kept| kept.frame.clone()),
            replayed: history.map_or_else(Vec::new, |history| history.shown_to(socket, now)),
        }
    }
}

impl ChannelStates {
    /// No state yet; changes are announced through the hub, and members' to whoever watches too.
    #[must_use]
    pub fn new(hub: Arc<Hub>, feed: Feed) -> Self {
        Self {
            hub,
            feed,
            channels: DashMap::default(),
            sequence: AtomicU64::new(1),
            counts: DashMap::default(),
            offline: Mutex::default(),
            ticks: AtomicU64::new(0),
            edges: None,
            budget: Arc::default(),
            making_room: Mutex::default(),
        }
    }

    /// The same, for the only node: what [`ChannelStates::join`] and the like change is told as edges.
    #[must_use]
    pub fn with_edges(hub: Arc<Hub>, feed: Feed, edges: EdgeSink) -> Self {
        Self {
            edges: Some(edges),
            ..Self::new(hub, feed)
        }
    }

    /// Tells of an edge, if this node makes any.
    pub fn tell(&self, app_id: &str, channel: &str, edge: ChannelEdge<'_>) {
        if let Some(edges) = &self.edges {
            edges.tell(app_id, channel, edge);
        }
    }

    /// The hub that changes are announced through.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn announce(&self, (app_id, name): &Key, frame: Frame) {
        if let Some(route) = self.hub.app(app_id).route(name) {
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

    /// What a client is told that takes its seat now.
    #[must_use]
    pub fn snapshot(&self, channel: &Channel, socket: SocketId, now: Instant) -> Snapshot {
        let plain = || State::default().snapshot(channel, socket, 0, now);
        let kind = channel.kind;
        if !kind.has_members() && !kind.cache && channel.replay.is_none() {
            return plain();
        }
        match self.channels.get(&key_of(&channel.app_id, &channel.name)) {
            Some(state) => state.snapshot(channel, socket, self.next_sequence(), now),
            None => plain(),
        }
    }

    /// Forgets a channel without telling anyone: nobody on this node listens any more. What of its history is under way to Redis
    /// stays until it is there.
    pub fn forget(&self, key: &Key) {
        self.channels.remove_if_mut(key, |_, state| {
            let mut history = state.history.take();
            history.take_if(|history| history.keep_under_way());
            *state = State {
                history,
                ..State::default()
            };
            state.is_needless()
        });
    }

    /// Does what is due; called once a second.
    pub fn tick(&self, now: Instant) {
        self.announce_offline(now);
        self.tell_waiting_counts(now);
        if self
            .ticks
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(TICKS_BETWEEN_SWEEPS)
        {
            self.sweep(now);
        }
    }

    /// Forgets what has expired.
    fn sweep(&self, now: Instant) {
        self.channels.retain(|_, state| {
            if state.fresh(now).is_none() {
                state.cached = None;
            }
            state.history.take_if(|history| history.expire(now));
            !state.is_needless()
        });
    }

    fn forget_needless(&self, key: &Key) {
        self.channels.remove_if(key, |_, state| state.is_needless());
    }
}

/// The key of a channel.
#[must_use]
pub(super) fn key_of(app_id: &str, name: &str) -> Key {
    (app_id.into(), name.into())
}

#[cfg(test)]
mod tests;
