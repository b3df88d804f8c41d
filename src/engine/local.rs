//! The engine of a single node: state in this process's memory, nothing to wait for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use dashmap::DashMap;

use super::{CacheableEvent, Cached, Engine, Joined, Occupied};
use crate::{
    app::Limits,
    hub::{AppChannels, Channel, Delivery, Hub},
    presence::{Full, Join, Leave, Member, Roster},
    protocol::{ChannelName, Frame, message},
};

/// App id and channel name.
type Key = (Arc<str>, Arc<str>);

/// Keeps channel state in memory. Its lock of a channel is held while a change is handed to the hub, so that every shard
/// sees a channel's changes in one order; the hub never calls back.
pub struct LocalEngine {
    hub: Arc<Hub>,
    channels: DashMap<Key, State, ahash::RandomState>,
    /// One count for all channels: it rises within each, and never restarts when a channel comes back.
    sequence: AtomicU64,
}

#[derive(Default)]
struct State {
    roster: Roster,
    cached: Option<Kept>,
}

struct Kept {
    frame: Frame,
    expires: Instant,
}

impl State {
    fn fresh(&self, now: Instant) -> Option<&Kept> {
        self.cached.as_ref().filter(|kept| kept.expires > now)
    }

    fn is_needless(&self) -> bool {
        self.roster.is_empty() && self.cached.is_none()
    }

    fn joined(&self, channel: &Channel, since: u64, now: Instant) -> Joined {
        Joined {
            since,
            succeeded: if channel.kind.is_presence() {
                message::presence_succeeded(&channel.name, self.roster.members())
            } else {
                message::subscription_succeeded(&channel.name)
            },
            cached: self.fresh(now).map(|kept| kept.frame.clone()),
        }
    }
}

impl LocalEngine {
    /// An engine beside this hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            channels: DashMap::default(),
            sequence: AtomicU64::new(1),
        }
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn announce(&self, channel: &Channel, frame: Frame, sequence: u64) {
        if let Some(route) = self.hub.app(&channel.app_id).route(&channel.name) {
            let delivery = Delivery {
                channel: route.channel,
                frame,
                except: None,
                sequence,
                receipt: None,
            };
            self.hub.deliver(&route, &delivery);
        }
    }
}

fn key(channel: &Channel) -> Key {
    (Arc::clone(&channel.app_id), Arc::clone(&channel.name))
}

fn key_of(app_id: &str, name: &str) -> Key {
    (app_id.into(), name.into())
}

impl Engine for LocalEngine {
    fn join(
        &self,
        channel: &Arc<Channel>,
        member: Option<&Member>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Joined, Full> {
        let Some(member) = member else {
            return Ok(self.snapshot(channel, now));
        };
        let mut state = self.channels.entry(key(channel)).or_default();
        let join = state.roster.join(member, limits.max_presence_members)?;
        let sequence = self.next_sequence();
        if join == Join::First {
            let frame = message::member_added(&channel.name, &member.user_id, &member.user_info);
            self.announce(channel, frame, sequence);
        }
        Ok(state.joined(channel, sequence, now))
    }

    fn snapshot(&self, channel: &Arc<Channel>, now: Instant) -> Joined {
        let plain = || State::default().joined(channel, 0, now);
        if !channel.kind.is_presence() && !channel.kind.cache {
            return plain();
        }
        match self.channels.get(&key(channel)) {
            Some(state) => state.joined(channel, self.next_sequence(), now),
            None => plain(),
        }
    }

    fn leave(&self, channel: &Arc<Channel>, member: Option<&Member>) {
        let Some(member) = member else { return };
        let key = key(channel);
        let Some(mut state) = self.channels.get_mut(&key) else {
            return;
        };
        if state.roster.leave(&member.user_id) == Leave::Last {
            let frame = message::member_removed(&channel.name, &member.user_id);
            self.announce(channel, frame, self.next_sequence());
        }
        let needless = state.is_needless();
        drop(state);
        if needless {
            self.channels
                .remove_if(&key, |_, state| state.is_needless());
        }
    }

    fn remember(
        &self,
        app: &Arc<AppChannels>,
        name: ChannelName<'_>,
        event: CacheableEvent,
        limits: &Limits,
        now: Instant,
    ) {
        let key = (Arc::clone(app.app_id()), name.as_str().into());
        let mut state = self.channels.entry(key).or_default();
        state.cached = Some(Kept {
            frame: event.frame,
            expires: now + limits.cache_ttl,
        });
        if let Some(route) = app.route(name.as_str()) {
            let delivery = (event.delivery)(route.channel, self.next_sequence());
            self.hub.deliver(&route, &delivery);
        }
    }

    fn cached(&self, app_id: &str, channel: &str, now: Instant) -> Option<Cached> {
        let state = self.channels.get(&key_of(app_id, channel))?;
        let kept = state.fresh(now)?;
        Some(Cached {
            frame: kept.frame.clone(),
            ttl_s: kept.expires.duration_since(now).as_secs(),
        })
    }

    fn subscriptions(&self, app_id: &str, channel: &str) -> usize {
        self.hub.app(app_id).subscriptions(channel)
    }

    fn users(&self, app_id: &str, channel: &str) -> Vec<Arc<str>> {
        self.channels
            .get(&key_of(app_id, channel))
            .map_or_else(Vec::new, |state| {
                state.roster.members().map(|(id, _)| id.into()).collect()
            })
    }

    fn user_count(&self, app_id: &str, channel: &str) -> usize {
        self.channels
            .get(&key_of(app_id, channel))
            .map_or(0, |state| state.roster.len())
    }

    fn occupied(&self, app_id: &str, prefix: &str) -> Vec<Occupied> {
        let channels = self.hub.app(app_id).occupied(prefix);
        channels
            .into_iter()
            .map(|(name, subscriptions)| Occupied {
                name,
                subscriptions,
            })
            .collect()
    }

    fn sweep(&self, now: Instant) {
        self.channels.retain(|_, state| {
            if state.fresh(now).is_none() {
                state.cached = None;
            }
            !state.is_needless()
        });
    }
}
