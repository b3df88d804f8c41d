//! The cached event of a channel: kept in one step with its delivery.

mod budget;

use std::{
    mem,
    time::{Duration, Instant},
};

pub(super) use self::budget::Budget;
use self::budget::{Evicted, Place};
use super::{ChannelState, State};
use crate::{
    engine::{CacheableEvent, Cached, ChannelEdge, ChannelKey},
    hub::Change,
    protocol::Frame,
};

/// How long Redis knows the number of a sender's last event: an event that its node repeats later is kept as a new one.
pub(in crate::engine) const SENDERS_KEPT: Duration = Duration::from_secs(50);

pub(super) struct Kept {
    pub(super) frame: Frame,
    expires: Instant,
    /// Its number among the changes of this node's channels: clients seated later were shown it.
    number: u64,
    /// Where they have a budget.
    place: Option<Place>,
    /// The last event that Redis had and this node had not heard, if its node may still repeat it.
    unheard: Option<Box<Unheard>>,
}

/// An event that clients were shown when they subscribed.
struct Unheard {
    frame: Frame,
    /// As that of [`Kept`].
    number: u64,
    until: Instant,
}

impl Kept {
    /// Clients seated after this were shown the frame.
    fn shown_since(&self, frame: &Frame, now: Instant) -> Option<u64> {
        let unheard = self.unheard.as_deref();
        let unheard = unheard.filter(|unheard| unheard.until > now);
        let unheard = unheard.map(|unheard| (&unheard.frame, unheard.number));
        let mut shown = [(&self.frame, self.number)].into_iter().chain(unheard);
        shown.find_map(|(shown, number)| (shown.bytes() == frame.bytes()).then_some(number))
    }
}

/// This node's events of a cache channel on their way to the other nodes. As long as Redis has not said where among the others'
/// the last of them stands, it is what a new subscriber is shown: it was delivered here before.
#[derive(Default)]
pub(super) struct OwnEvents {
    last: u64,
    confirmed: u64,
}

impl OwnEvents {
    pub(super) fn are_under_way(&self) -> bool {
        self.last > self.confirmed
    }
}

impl ChannelState {
    /// The cached event, unless it has expired.
    pub(super) fn fresh(&self, now: Instant) -> Option<&Kept> {
        self.cached.as_ref().filter(|kept| kept.expires > now)
    }
}

impl State {
    /// Keeps the event as the channel's last and delivers it to this node's subscribers.
    pub fn remember(&self, event: CacheableEvent<'_>, ttl: Duration) {
        let mut state = self.channels.entry(event.key()).or_default();
        let evicted = self.remember_in(&mut state, event, ttl);
        drop(state);
        self.evict(evicted);
    }

    /// As [`State::remember`], for an event of this node that `send` brings on its way to the others: in the same step, so that it
    /// goes out in the order in which this node's subscribers see it. `send` returns the event's number.
    pub fn remember_own(
        &self,
        event: CacheableEvent<'_>,
        ttl: Duration,
        send: impl FnOnce() -> u64,
    ) {
        let mut state = self.channels.entry(event.key()).or_default();
        let evicted = self.remember_in(&mut state, event, ttl);
        state.own.last = send();
        drop(state);
        self.evict(evicted);
    }

    /// As [`State::remember`], for an event of another node.
    pub fn remember_others(&self, event: CacheableEvent<'_>, ttl: Duration) {
        let mut state = self.channels.entry(event.key()).or_default();
        let own = state.own.are_under_way().then(|| state.cached.take());
        let evicted = self.remember_in(&mut state, event, ttl);
        if let Some(own) = own {
            state.cached = own;
        }
        drop(state);
        self.evict(evicted);
    }

    /// Delivers another node's event that is not kept. A repeated event may be the channel's last, or have been. It then goes only to
    /// clients who were here before it was shown.
    pub fn pass_others(&self, event: CacheableEvent<'_>) {
        let state = event
            .name
            .kind()
            .cache
            .then(|| self.channels.get(&event.key()));
        let state = state.flatten();
        let last = state.as_ref().and_then(|state| state.cached.as_ref());
        let since = last.and_then(|kept| kept.shown_since(&event.frame, event.at));
        let change = since.map_or(Change::Nothing, Change::Cache);
        event.deliver(&self.hub, change);
    }

    /// Returns the events that have to go for this one.
    #[must_use]
    fn remember_in(
        &self,
        state: &mut ChannelState,
        event: CacheableEvent<'_>,
        ttl: Duration,
    ) -> Vec<Evicted> {
        let unheard = state.cached.take().and_then(|kept| kept.unheard);
        let (mut kept, evicted) = self.kept(&event.key(), event.frame.clone(), event.at + ttl);
        kept.unheard = unheard;
        let number = kept.number;
        state.cached = Some(kept);
        state.missed = false;
        event.deliver(&self.hub, Change::Cache(number));
        evicted
    }

    fn kept(&self, key: &ChannelKey, frame: Frame, expires: Instant) -> (Kept, Vec<Evicted>) {
        let budget = self.cached_budget.as_ref();
        let (place, evicted) = budget
            .map(|budget| budget.take(key, frame.bytes().len()))
            .unzip();
        let kept = Kept {
            frame,
            expires,
            number: self.next_sequence(),
            place,
            unheard: None,
        };
        (kept, evicted.unwrap_or_default())
    }

    /// Forgets events as if they had expired. No channel's lock may be held.
    fn evict(&self, evicted: Vec<Evicted>) {
        for one in evicted {
            if let Some(mut state) = self.channels.get_mut(&one.key) {
                state
                    .cached
                    .take_if(|kept| kept.place.as_ref().is_some_and(|place| place.is_of(&one)));
            }
            self.forget_needless(&one.key);
        }
    }

    /// Takes the event that Redis has for the last, or that there is none; unless this node knows better. A node of a cluster keeps
    /// what it is told.
    pub(super) fn keep(
        &self,
        key: &ChannelKey,
        state: &mut ChannelState,
        kept: Option<(Frame, Duration)>,
        now: Instant,
    ) {
        if state.own.are_under_way() {
            return;
        }
        let known = state.cached.take();
        state.cached = kept.map(|(frame, ttl)| {
            let known = known.filter(|known| known.frame.bytes() == frame.bytes());
            let (mut kept, _) = self.kept(key, frame, now + ttl);
            let (frame, number) = (kept.frame.clone(), kept.number);
            (kept.number, kept.unheard) = match known {
                Some(known) => (known.number, known.unheard),
                None => {
                    let until = now + SENDERS_KEPT;
                    let unheard = Unheard {
                        frame,
                        number,
                        until,
                    };
                    (number, Some(Box::new(unheard)))
                }
            };
            kept
        });
    }

    /// Redis has this node's events up to this number; with the event, if it is the last of all nodes'.
    pub fn confirm_own(
        &self,
        key: &ChannelKey,
        number: u64,
        last: Option<(Frame, Duration)>,
        now: Instant,
    ) {
        if let Some(mut state) = self.channels.get_mut(key) {
            state.own.confirmed = state.own.confirmed.max(number);
            if last.is_some() {
                self.keep(key, &mut state, last, now);
            }
        }
        self.forget_needless(key);
    }

    /// The cached event of a channel.
    #[must_use]
    pub fn cached(&self, key: &ChannelKey, now: Instant) -> Option<Cached> {
        let state = self.channels.get(key)?;
        let kept = state.fresh(now)?;
        let ttl_s = kept.expires.duration_since(now).as_secs();
        Some(Cached {
            frame: kept.frame.clone(),
            ttl_s,
        })
    }

    /// A subscriber got `pusher:cache_miss`.
    pub fn miss(&self, key: &ChannelKey) {
        let mut state = self.channels.entry(key.clone()).or_default();
        if !mem::replace(&mut state.missed, true) {
            self.tell(&key.app_id, &key.name, ChannelEdge::CacheMissed);
        }
    }

    /// No subscriber that got a cache miss is left.
    pub fn forget_miss(&self, key: &ChannelKey) {
        if let Some(mut state) = self.channels.get_mut(key) {
            state.missed = false;
        }
        self.forget_needless(key);
    }
}
