//! The channels of each app that have subscribers on this node, and on which shards those are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use dashmap::DashMap;
use smallvec::SmallVec;

use super::{ChannelId, ShardId, backlog::Backlog};
use crate::{
    app::Replay,
    metrics::Traffic,
    protocol::{ChannelKind, ChannelName},
};

/// An occupied channel. Shared by all who subscribe to it, so that its name is stored once.
#[derive(Clone, Debug)]
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
    pub(super) compressed_from: usize,
    /// What of the channel's past a new subscriber is told.
    pub replay: Option<Replay>,
    /// What the app has on its way.
    pub(super) backlog: Arc<Backlog>,
    pub(super) shards: SmallVec<[ShardId; 8]>,
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
    pub(super) connections: AtomicUsize,
    traffic: Arc<Traffic>,
    /// What the app has on its way to the sockets.
    pub(super) backlog: Arc<Backlog>,
    /// What the app has on its way to other nodes.
    outgoing: Arc<Backlog>,
    /// Bytes of a frame from which on it has a compressed form; none has while no client can read it.
    compressed_from: AtomicUsize,
    next_id: Arc<AtomicU64>,
}

impl AppChannels {
    /// None yet. `next_id` is the process'.
    pub(super) fn new(app_id: Arc<str>, next_id: &Arc<AtomicU64>) -> Self {
        Self {
            app_id,
            channels: DashMap::default(),
            connections: AtomicUsize::new(0),
            traffic: Arc::default(),
            backlog: Arc::default(),
            outgoing: Arc::default(),
            compressed_from: AtomicUsize::new(usize::MAX),
            next_id: Arc::clone(next_id),
        }
    }

    /// What the app has on its way to other nodes.
    #[must_use]
    pub fn outgoing(&self) -> &Arc<Backlog> {
        &self.outgoing
    }

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

    /// Applies the app's present settings to the channels that are occupied already.
    pub fn configure(&self, settings: impl Fn(&Channel) -> ChannelSettings) {
        for mut entry in self.channels.iter_mut() {
            let ChannelSettings {
                tells_count,
                replay,
            } = settings(&entry.channel);
            if (entry.channel.tells_count, entry.channel.replay) == (tells_count, replay) {
                continue;
            }
            let channel = Channel {
                tells_count,
                replay,
                ..Channel::clone(&entry.channel)
            };
            entry.channel = Arc::new(channel);
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

    /// How many channels have subscribers on this node.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
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

    /// As [`AppChannels::compress_from`] after a change of the app: where no client negotiated compression, none gets it now.
    pub fn recompress_from(&self, bytes: Option<usize>) {
        if self.compressed_from.load(Ordering::Relaxed) != usize::MAX || bytes.is_none() {
            self.compress_from(bytes.unwrap_or(usize::MAX));
        }
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
