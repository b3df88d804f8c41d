//! Channel state in this process's memory: members, cached events, and the announcement of each change in one step with it.

mod past;

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;

pub(super) use self::past::Listed;

use super::{
    CacheableEvent, Cached, ChannelEdge, EdgeSink, Snapshot,
    history::{Budget, History},
};
use crate::{
    feed::{Feed, Line},
    hub::{AppChannels, Change, Channel, Delivery, Hub},
    presence::{Full, Join, Leave, Member, Roster},
    protocol::{Access, ChannelKind, ChannelName, Frame, SocketId, channel::online_user, message},
};

/// Subscribers up to whom every change of their number is told at once (Pusher's documented threshold).
const COUNT_AT_ONCE_MAX: usize = 100;
/// Between two counts of a channel with more.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a user must be gone before those who watch him are told.
const OFFLINE_DELAY: Duration = Duration::from_secs(3);
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

/// A channel's last `subscription_count`.
struct Told {
    at: Option<Instant>,
    /// The count that has changed since.
    waiting: Option<usize>,
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

/// This node's events of a cache channel on their way to the other nodes. As long as Redis has not said where among the others'
/// the last of them stands, it is what a new subscriber is shown: it was delivered here before.
#[derive(Default)]
struct OwnEvents {
    unnumbered: usize,
    last: u64,
    confirmed: u64,
}

impl OwnEvents {
    fn are_under_way(&self) -> bool {
        self.unnumbered > 0 || self.last > self.confirmed
    }
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

    fn announce_arrival(&self, key: &Key, state: &mut State, member: &Member) {
        match ChannelKind::of(&key.1).access {
            Access::Online if state.went_offline.take().is_none() => {
                self.announce(key, message::watchlist_events(&[&member.user_id], &[]));
            }
            Access::Online => {}
            Access::Session => {
                state.newest = Some(Arc::clone(&member.user_id));
                self.replace_sessions(key, &member.user_id);
            }
            _ => {
                let Member { user_id, user_info } = member;
                self.announce(key, message::member_added(&key.1, user_id, user_info));
                self.feed.emit(|| Line::MemberAdded {
                    app: &key.0,
                    channel: &key.1,
                    user_id,
                });
            }
        }
    }

    fn announce_departure(&self, key: &Key, state: &mut State, user_id: &str, now: Instant) {
        match ChannelKind::of(&key.1).access {
            Access::Online => {
                // A page reload is no news: told only if the user stays away.
                state.went_offline = Some(now);
                let mut offline = self.offline.lock().unwrap_or_else(PoisonError::into_inner);
                offline.push((now, key.clone()));
            }
            Access::Session => {}
            _ => {
                self.announce(key, message::member_removed(&key.1, user_id));
                self.feed.emit(|| Line::MemberRemoved {
                    app: &key.0,
                    channel: &key.1,
                    user_id,
                });
            }
        }
    }

    /// A new session has come: those that were seated before it and are not part of it have to go.
    fn replace_sessions(&self, (app_id, name): &Key, session: &Arc<str>) {
        if let Some(route) = self.hub.app(app_id).route(name) {
            self.hub
                .replace_sessions(&route, session, self.next_sequence());
        }
    }

    /// Tells those who watch of users who went some time ago and did not come back.
    fn announce_offline(&self, now: Instant) {
        let mut waiting = self.offline.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<(Instant, Key)> = waiting
            .extract_if(.., |(went, _)| now.duration_since(*went) >= OFFLINE_DELAY)
            .collect();
        drop(waiting);
        for (went, key) in due {
            let Some(mut state) = self.channels.get_mut(&key) else {
                continue;
            };
            if state.went_offline == Some(went)
                && let Some(user_id) = online_user(&key.1)
            {
                state.went_offline = None;
                self.announce(&key, message::watchlist_events(&[], &[&user_id]));
            }
            drop(state);
            self.forget_needless(&key);
        }
    }

    /// Whether a newer session than this one is known.
    #[must_use]
    pub fn is_replaced(&self, key: &Key, session: &str) -> bool {
        let newest = self
            .channels
            .get(key)
            .and_then(|state| state.newest.clone());
        newest.is_some_and(|newest| *newest != *session)
    }

    /// Whether those who watch were told that the user of this online channel is there.
    #[must_use]
    pub fn is_online(&self, key: &Key) -> bool {
        self.channels
            .get(key)
            .is_some_and(|state| !state.roster.is_empty() || state.went_offline.is_some())
    }

    /// Seats one connection and announces its user's first.
    ///
    /// # Errors
    /// [`Full`] when there is no room for one more user; nothing was changed.
    pub fn join(&self, key: &Key, member: &Member, max_members: usize) -> Result<(), Full> {
        let mut state = self.channels.entry(key.clone()).or_default();
        let is_session = ChannelKind::of(&key.1).access == Access::Session;
        let others: Vec<String> = match is_session {
            true => state
                .roster
                .members()
                .map(|(id, _)| id.to_owned())
                .collect(),
            false => Vec::new(),
        };
        let user_id: &str = &member.user_id;
        match state.roster.join(member, max_members) {
            Ok(Join::First) => {
                self.announce_arrival(key, &mut state, member);
                if !is_session {
                    self.tell(&key.0, &key.1, ChannelEdge::MemberAdded(user_id));
                } else if !others.is_empty() {
                    let edge = ChannelEdge::SessionReplaced {
                        session: user_id,
                        replaced: &others,
                    };
                    self.tell(&key.0, &key.1, edge);
                }
            }
            Ok(_) => {}
            Err(full) => {
                if is_session {
                    self.tell(&key.0, &key.1, ChannelEdge::SessionRefused(user_id));
                }
                return Err(full);
            }
        }
        Ok(())
    }

    /// Takes one connection away and announces its user's last.
    pub fn leave(&self, key: &Key, user_id: &str, now: Instant) {
        let Some(mut state) = self.channels.get_mut(key) else {
            return;
        };
        if state.roster.leave(user_id) == Leave::Last {
            self.announce_departure(key, &mut state, user_id, now);
            self.tell(&key.0, &key.1, ChannelEdge::MemberRemoved(user_id));
        }
        drop(state);
        self.forget_needless(key);
    }

    /// Adds a user that is not there yet.
    pub fn arrive(&self, key: &Key, member: &Member) {
        let mut state = self.channels.entry(key.clone()).or_default();
        if !state.roster.contains(&member.user_id) {
            // The limit was kept where the member entered.
            let _ = state.roster.join(member, usize::MAX);
            self.announce_arrival(key, &mut state, member);
        }
    }

    /// As [`ChannelStates::arrive`], for a user who had never left: a session that comes back so is not a new one.
    pub fn arrive_again(&self, key: &Key, member: &Member) {
        let mut state = self.channels.entry(key.clone()).or_default();
        self.add_known(key, &mut state, member);
    }

    fn add_known(&self, key: &Key, state: &mut State, member: &Member) {
        if !state.roster.contains(&member.user_id) {
            // The limit was kept where the member entered.
            let _ = state.roster.join(member, usize::MAX);
            if ChannelKind::of(&key.1).access != Access::Session {
                self.announce_arrival(key, state, member);
            }
        }
    }

    /// Notes which session came last; the others have to go.
    pub fn name_newest(&self, key: &Key, session: &Arc<str>) {
        let mut state = self.channels.entry(key.clone()).or_default();
        if state.newest.as_ref() != Some(session) {
            state.newest = Some(Arc::clone(session));
            self.replace_sessions(key, session);
        }
        drop(state);
        self.forget_needless(key);
    }

    /// Makes the members these users, announcing every difference. With `keep_missing`, nobody is removed.
    pub fn reconcile(
        &self,
        key: &Key,
        users: &HashMap<Arc<str>, Arc<str>>,
        keep_missing: bool,
        now: Instant,
    ) {
        let mut state = self.channels.entry(key.clone()).or_default();
        let gone: Vec<String> = state
            .roster
            .members()
            .filter(|(id, _)| !keep_missing && !users.contains_key(*id))
            .map(|(id, _)| id.to_owned())
            .collect();
        for user_id in gone {
            state.roster.leave(&user_id);
            self.announce_departure(key, &mut state, &user_id, now);
        }
        for (user_id, user_info) in users {
            let member = Member {
                user_id: user_id.clone(),
                user_info: user_info.clone(),
            };
            self.add_known(key, &mut state, &member);
        }
        drop(state);
        self.forget_needless(key);
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

    /// Keeps the event as the channel's last and delivers it to this node's subscribers.
    pub fn remember(
        &self,
        app: &AppChannels,
        name: ChannelName<'_>,
        event: CacheableEvent,
        ttl: Duration,
        now: Instant,
    ) {
        let key = key_of(app.app_id(), name.as_str());
        let mut state = self.channels.entry(key).or_default();
        self.remember_in(&mut state, app, name, event, ttl, now);
    }

    /// As [`ChannelStates::remember`], for an event of this node that `send` brings on its way to the others: in the same step, so
    /// that it goes out in the order in which this node's subscribers see it.
    pub fn remember_own(
        &self,
        app: &AppChannels,
        name: ChannelName<'_>,
        event: CacheableEvent,
        ttl: Duration,
        now: Instant,
        send: impl FnOnce(),
    ) {
        let key = key_of(app.app_id(), name.as_str());
        let mut state = self.channels.entry(key).or_default();
        state.own.unnumbered += 1;
        self.remember_in(&mut state, app, name, event, ttl, now);
        send();
    }

    /// As [`ChannelStates::remember`], for an event of another node.
    pub fn remember_others(
        &self,
        app: &AppChannels,
        name: ChannelName<'_>,
        event: CacheableEvent,
        ttl: Duration,
        now: Instant,
    ) {
        let key = key_of(app.app_id(), name.as_str());
        let mut state = self.channels.entry(key).or_default();
        let own = state.own.are_under_way().then(|| state.cached.take());
        self.remember_in(&mut state, app, name, event, ttl, now);
        if let Some(own) = own {
            state.cached = own;
        }
    }

    fn remember_in(
        &self,
        state: &mut State,
        app: &AppChannels,
        name: ChannelName<'_>,
        event: CacheableEvent,
        ttl: Duration,
        now: Instant,
    ) {
        state.cached = Some(Kept {
            frame: event.frame,
            expires: now + ttl,
        });
        state.missed = false;
        if let Some(route) = app.route(name.as_str()) {
            let delivery = (event.delivery)(route.channel, Change::Cache(self.next_sequence()));
            self.hub.deliver(&route, delivery);
        }
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

    /// The user ids of a presence channel.
    #[must_use]
    pub fn users(&self, key: &Key) -> Vec<Arc<str>> {
        self.channels.get(key).map_or_else(Vec::new, |state| {
            state.roster.members().map(|(id, _)| id.into()).collect()
        })
    }

    /// The members of a presence channel.
    #[must_use]
    pub fn members(&self, key: &Key) -> Vec<Member> {
        let member = |(id, info): (&str, &str)| Member {
            user_id: id.into(),
            user_info: info.into(),
        };
        self.channels.get(key).map_or_else(Vec::new, |state| {
            state.roster.members().map(member).collect()
        })
    }

    /// How many distinct users a presence channel has.
    #[must_use]
    pub fn user_count(&self, key: &Key) -> usize {
        self.channels.get(key).map_or(0, |state| state.roster.len())
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

    /// Tells a channel's subscribers how many they are: at once while they are few, else at intervals, the last change
    /// included.
    pub fn tell_count(&self, key: &Key, count: usize, now: Instant) {
        if count <= COUNT_AT_ONCE_MAX {
            self.counts.remove(key);
            return self.send_count(key, count);
        }
        let mut told = self.counts.entry(key.clone()).or_insert(Told {
            at: None,
            waiting: None,
        });
        if told
            .at
            .is_some_and(|at| now.duration_since(at) < COUNT_INTERVAL)
        {
            told.waiting = Some(count);
            return;
        }
        *told = Told {
            at: Some(now),
            waiting: None,
        };
        drop(told);
        self.send_count(key, count);
    }

    fn send_count(&self, key: &Key, count: usize) {
        self.tell(&key.0, &key.1, ChannelEdge::Count(count));
        if let Some(route) = self.hub.app(&key.0).route(&key.1) {
            let delivery = Delivery {
                channel: route.channel,
                frame: message::subscription_count(&key.1, count),
                except: None,
                change: Change::Nothing,
                receipt: None,
                published: None,
            };
            self.hub.deliver(&route, delivery);
        }
    }

    /// Does what is due; called once a second.
    pub fn tick(&self, now: Instant) {
        self.announce_offline(now);
        let mut due = Vec::new();
        self.counts.retain(|key, told| {
            if told
                .at
                .is_some_and(|at| now.duration_since(at) < COUNT_INTERVAL)
            {
                return true;
            }
            told.at = Some(now);
            let waiting = told.waiting.take();
            due.extend(waiting.map(|count| (key.clone(), count)));
            waiting.is_some()
        });
        for (key, count) in due {
            self.send_count(&key, count);
        }
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
