//! The cached event of a channel: kept in one step with its delivery.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{ChannelStates, Key, State};
use crate::{
    engine::{CacheableEvent, Cached, ChannelEdge},
    hub::Change,
    protocol::Frame,
};

pub(super) struct Kept {
    pub(super) frame: Frame,
    expires: Instant,
}

/// This node's events of a cache channel on their way to the other nodes. As long as Redis has not said where among the others'
/// the last of them stands, it is what a new subscriber is shown: it was delivered here before.
#[derive(Default)]
pub(super) struct OwnEvents {
    unnumbered: usize,
    last: u64,
    confirmed: u64,
}

impl OwnEvents {
    pub(super) fn are_under_way(&self) -> bool {
        self.unnumbered > 0 || self.last > self.confirmed
    }
}

impl State {
    /// The cached event, unless it has expired.
    pub(super) fn fresh(&self, now: Instant) -> Option<&Kept> {
        self.cached.as_ref().filter(|kept| kept.expires > now)
    }
}

impl ChannelStates {
    /// Keeps the event as the channel's last and delivers it to this node's subscribers.
    pub fn remember(&self, event: CacheableEvent<'_>, ttl: Duration) {
        let mut state = self.channels.entry(event.key()).or_default();
        self.remember_in(&mut state, event, ttl);
    }

    /// As [`ChannelStates::remember`], for an event of this node that `send` brings on its way to the others: in the same step, so
    /// that it goes out in the order in which this node's subscribers see it.
    pub fn remember_own(&self, event: CacheableEvent<'_>, ttl: Duration, send: impl FnOnce()) {
        let mut state = self.channels.entry(event.key()).or_default();
        state.own.unnumbered += 1;
        self.remember_in(&mut state, event, ttl);
        send();
    }

    /// As [`ChannelStates::remember`], for an event of another node.
    pub fn remember_others(&self, event: CacheableEvent<'_>, ttl: Duration) {
        let mut state = self.channels.entry(event.key()).or_default();
        let own = state.own.are_under_way().then(|| state.cached.take());
        self.remember_in(&mut state, event, ttl);
        if let Some(own) = own {
            state.cached = own;
        }
    }

    fn remember_in(&self, state: &mut State, event: CacheableEvent<'_>, ttl: Duration) {
        state.cached = Some(Kept {
            frame: event.frame.clone(),
            expires: event.at + ttl,
        });
        state.missed = false;
        event.deliver(&self.hub, Change::Cache(self.next_sequence()));
    }

    /// Notes the number of this node's next event in the order of sending.
    pub fn number_own(&self, key: &Key, number: u64) {
        if let Some(mut state) = self.channels.get_mut(key) {
            state.own.unnumbered = state.own.unnumbered.saturating_sub(1);
            state.own.last = number;
        }
    }

    /// Notes that this node's events up to this number have their places among the others'.
    pub fn confirm_own(&self, key: &Key, number: u64) {
        if let Some(mut state) = self.channels.get_mut(key) {
            state.own.confirmed = state.own.confirmed.max(number);
        }
        self.forget_needless(key);
    }

    /// Takes the event that Redis has for the last, or that there is none; unless this node knows better.
    pub fn keep(&self, key: &Key, kept: Option<(Frame, Duration)>, now: Instant) {
        let mut state = self.channels.entry(key.clone()).or_default();
        if !state.own.are_under_way() {
            state.cached = kept.map(|(frame, ttl)| Kept {
                frame,
                expires: now + ttl,
            });
        }
        drop(state);
        self.forget_needless(key);
    }

    /// The cached event of a channel.
    #[must_use]
    pub fn cached(&self, key: &Key, now: Instant) -> Option<Cached> {
        let state = self.channels.get(key)?;
        let kept = state.fresh(now)?;
        let ttl_s = kept.expires.duration_since(now).as_secs();
        Some(Cached {
            frame: kept.frame.clone(),
            ttl_s,
        })
    }

    /// A subscriber was told that nothing is cached.
    pub fn miss(&self, key: &Key) {
        let mut state = self.channels.entry(key.clone()).or_default();
        if !mem::replace(&mut state.missed, true) {
            self.tell(&key.0, &key.1, ChannelEdge::CacheMissed);
        }
    }

    /// Nobody is left who was told that nothing is cached.
    pub fn forget_miss(&self, key: &Key) {
        if let Some(mut state) = self.channels.get_mut(key) {
            state.missed = false;
        }
        self.forget_needless(key);
    }
}
