//! The cluster's part of one node as a state machine: inputs and the time go in, effects come out. No sockets, no clock, no
//! randomness and no locks, so that many nodes can be simulated in one thread with every fault there is (`tests/sim`).
//!
//! It keeps this node's rows in Redis true, follows the members and events of the channels that have subscribers here, and says when
//! a client is admitted. What a client or a backend hears is an effect. `docs/adr/0007-cluster-core.md` has the reasons.

mod arrivals;
mod batch;
mod bucket;
mod call;
mod calls;
mod channel;
mod closing;
mod departures;
mod failures;
mod flow;
mod link;
mod membership;
mod outgoing;
mod queries;
mod queue;
mod settle;
mod timers;
mod turns;
mod waiting;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::{
    arrivals::{Count, Delivered, Edge, Event, Heard, Lasting, Mark, PeerMessage, Topic},
    bucket::{BUCKETS, BucketName, bucket_of},
    call::{
        Answer, Arriving, Batch, Call, CallError, CallId, Claim, Departed, Destination, Entry,
        EntryResult, Epoch, Keep, Lease, LeaseRequest, Message, NodeConnections, Query,
        QueryAnswer, Report, Resignation, Settled, Told, What, Written,
    },
    departures::DEPARTURE_DELAY,
    flow::FlowLimits,
    membership::{LEASE, node_name},
    outgoing::Outgoing,
};
use self::{
    bucket::{Bucket, BucketId, Buckets},
    calls::Calls,
    channel::{Channel, Stage, Waiter},
    closing::Closing,
    link::LinkState,
    membership::Membership,
    outgoing::OutgoingQueue,
    queries::Queries,
    timers::Timers,
    waiting::Waiting,
};
use crate::{
    app::Replay,
    engine::{ChannelKey, EnterError, EventId, Heard as Hears, SharedState, Unavailable},
    presence::Member,
    protocol::{Access, ChannelKind, Frame, SocketId},
};

/// How long Redis may owe an answer, counted from the sending. As long as a lease: until then a slow Redis is only slow.
const ANSWER_PATIENCE: Duration = LEASE;
/// After Redis lost data: how long members it does not know are kept, for their nodes to write them again.
const LOSS_GRACE: Duration = Duration::from_secs(8);
/// How long a client waits to be admitted. Then it is as if Redis were away.
const WAITING_TIME_MAX: Duration = Duration::from_secs(5);

/// What the core must know of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Names this process.
    pub node: u64,
    /// What answers as Redis.
    pub mode: RedisMode,
    /// How much may be on its way to other nodes' clients.
    pub flow: FlowLimits,
}

/// What answers as Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Several, of which another may take over that has not heard the latest.
    Replicated,
}

/// What an app's backend hears of a channel, by app id and channel name.
pub type Hooks = Box<dyn Fn(&str, &str) -> Hears + Send>;

/// What happens to the core. `T` is the handle by which a client or a question gets its answer.
pub enum Input<'a, T> {
    /// There is a connection to Redis.
    Connected,
    /// There is none; the reason.
    ConnectFailed(String),
    /// The connection is of no more use; the reason.
    LinkLost(String),
    /// A call was answered.
    Answered(CallId, Result<Answer, CallError>),
    /// Another node was heard.
    Heard(Heard<'a>),
    /// Redis has ended a subscription: another server is responsible for the topic.
    Silenced(Topic<'a>),
    /// Messages of other nodes were dropped, because this one is too slow.
    HeardTooMuch,
    /// A client wants to enter a channel.
    Enter(Enter<T>),
    /// A client has left a channel that it entered, or does not enter after all. Follows every [`Input::Enter`], once.
    Leave {
        /// The channel.
        key: ChannelKey,
        /// The client.
        socket: SocketId,
        /// Its user, on channels with members.
        user_id: Option<Arc<str>>,
    },
    /// A client was told that a cache channel has no event.
    Missed(ChannelKey),
    /// A message for other nodes.
    Publish(Outgoing),
    /// What came before another node's mark is on its way to this node's clients.
    Delivered(Mark),
    /// A question.
    Ask(Query, T),
    /// The node stops; all clients have left.
    Close(T),
    /// Time has passed.
    Tick,
}

/// A client that wants to enter a channel.
#[derive(Debug)]
pub struct Enter<T> {
    /// The channel.
    pub key: ChannelKey,
    /// Whether its subscribers get `subscription_count`.
    pub tells_count: bool,
    /// Which past events a new subscriber gets.
    pub replay: Option<Replay>,
    /// Distinct users at most.
    pub max_members: usize,
    /// The client.
    pub socket: SocketId,
    /// Its user, on channels with members.
    pub member: Option<Member>,
    /// Where the answer goes.
    pub reply: T,
}

/// What the core wants done, in this order.
#[derive(Debug)]
pub enum Effect<T> {
    /// Connect to Redis, after this pause; an existing connection is dropped.
    Connect(Duration),
    /// Call Redis.
    Call(CallId, Call),
    /// Redis can be used, or can't.
    Reachable(bool),
    /// Answer a client that waits to enter a channel.
    Admit(T, Result<(), EnterError>),
    /// Answer a question.
    Answer(T, Result<QueryAnswer, Unavailable>),
    /// Change what this node knows of a channel, and announce it.
    Change(ChannelKey, Change),
    /// Deliver another node's event to this node's subscribers.
    Deliver(ChannelKey, Event, Delivered),
    /// Say when what was to be delivered so far is on its way to the app's clients.
    Mark(Mark),
    /// Let the backend of the app hear of a change.
    Tell(Arc<str>, Told),
    /// Close the connections that are signed in as a user.
    Terminate {
        /// The app.
        app_id: Arc<str>,
        /// The user.
        user_id: Arc<str>,
    },
    /// Look whether the store has other apps.
    Apps(Apps),
    /// Write a line to the log.
    Report(Notice),
    /// The node has left the cluster.
    Closed(T),
}

/// Effects in their order.
pub type Effects<T> = Vec<Effect<T>>;

/// A change of what this node knows of a channel.
#[derive(Debug)]
pub enum Change {
    /// A user came.
    Arrived(Member),
    /// A user is known again who had never left.
    Returned(Member),
    /// A user went.
    Departed(Arc<str>),
    /// The whole, as Redis has it.
    Whole {
        /// The whole.
        shared: Box<SharedState>,
        /// Whether members who are missing in it stay.
        keeps_missing: bool,
        /// Whether the cached event was heard since, and is newer.
        knows_cached: bool,
        /// What of the past is kept.
        replay: Option<Replay>,
    },
    /// The channel has another number of subscribers.
    Count(usize),
    /// Redis has this node's cached events up to this number; with the event and the seconds it has left, if it is the last.
    Confirmed(u64, Option<(Frame, u32)>),
    /// Redis has this node's events of the past up to this one.
    Settled(EventId),
    /// The same, of a channel without subscribers on this node.
    SettledElsewhere(EventId),
    /// Something of the past may be missing from here on.
    DoubtedPast,
    /// The channel has no subscribers on this node any more.
    Forgotten,
}

/// Why the apps may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apps {
    /// Another node has changed them.
    Changed,
    /// Another node may have said so unheard.
    Doubted,
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Redis can be used.
    LinkUp,
    /// Redis can't be used any more; the reason.
    LinkDown(String),
    /// Redis still can't be used; the reason.
    StillDown(String),
    /// The node writes its rows again, under another epoch.
    NewEpoch {
        /// The epoch that was lost.
        former: Epoch,
        /// The one that follows.
        epoch: Epoch,
        /// Why.
        reason: &'static str,
    },
    /// Redis can't settle a channel; others are not concerned.
    ChannelFailed {
        /// The app.
        app_id: Arc<str>,
        /// The channel.
        name: Arc<str>,
        /// What Redis said.
        error: String,
    },
    /// Redis refused a batch of several channels.
    BatchRefused {
        /// The app.
        app_id: Arc<str>,
        /// What Redis said.
        error: String,
    },
    /// A dead node's rows are removed.
    Reaped {
        /// Its epoch.
        node: Epoch,
        /// How many channels it had.
        channels: usize,
    },
    /// The node stopped before everything was settled; its lease runs out.
    ClosedEarly,
}

/// One node's part of the cluster.
pub struct Core<T> {
    settings: Settings,
    hooks: Hooks,
    buckets: Buckets<T>,
    calls: Calls,
    link: LinkState,
    membership: Membership,
    outgoing: OutgoingQueue,
    queries: Queries<T>,
    timers: Timers,
    closing: Option<Closing<T>>,
    waiting: Waiting,
    next_batch: u64,
}

impl<T> Core<T> {
    /// A node that has no connection yet.
    #[must_use]
    pub fn new(settings: Settings, hooks: Hooks, now: Instant) -> Self {
        Self {
            settings,
            hooks,
            buckets: Buckets::default(),
            calls: Calls::default(),
            link: LinkState::default(),
            membership: Membership::new(settings.node, now),
            outgoing: OutgoingQueue::new(settings.flow),
            queries: Queries::default(),
            timers: Timers::new(now),
            closing: None,
            waiting: Waiting::default(),
            next_batch: 0,
        }
    }

    /// Takes an input. [`Core::proceed`] follows, after one or several.
    pub fn handle(&mut self, input: Input<'_, T>, now: Instant, out: &mut Effects<T>) {
        match input {
            Input::Connected => self.on_connected(now, out),
            Input::ConnectFailed(reason) => self.on_connect_failed(reason, out),
            Input::LinkLost(reason) => self.lose_link(&reason, now, out),
            Input::Answered(id, result) => self.on_answer(id, result, now, out),
            Input::Heard(heard) => self.on_heard(&heard, now, out),
            Input::Silenced(topic) => self.on_silenced(topic, now, out),
            Input::HeardTooMuch => self.doubt_everything(now, out),
            Input::Enter(enter) => self.on_enter(enter, now, out),
            Input::Leave {
                key,
                socket,
                user_id,
            } => self.on_leave(&key, socket, user_id.as_ref(), now),
            Input::Missed(key) => self.on_missed(&key),
            Input::Publish(outgoing) => self.outgoing.push(outgoing),
            Input::Delivered(mark) => self.answer_mark(&mark),
            Input::Ask(query, reply) => self.on_query(query, reply, now, out),
            Input::Close(reply) => self.on_close(reply, now, out),
            Input::Tick => {}
        }
    }

    /// Does what is due, and calls Redis as far as there is room.
    pub fn proceed(&mut self, now: Instant, out: &mut Effects<T>) {
        self.check_silence(now, out);
        self.lose_patience(now, out);
        self.claim_due(now);
        self.retry_due(now);
        self.look_again_due(now);
        self.end_vacant(now, out);
        self.keep_house(now, out);
        self.outgoing.expire(now);
        if !self.link.is_down() {
            self.renew_if_due(now, out);
            self.listen_again_if_due(now, out);
            self.send_outgoing(now, out);
            self.send_queries(now, out);
            self.register(now, out);
            self.take_turns(now, out);
            self.listen_as_node(now, out);
        }
        self.forget_idle(now, out);
        self.close_step(now, out);
    }

    /// When [`Core::proceed`] has something to do without an input.
    #[must_use]
    pub fn next_due(&self) -> Instant {
        let link = match self.link.is_down() {
            true => None,
            false => self.membership.renewal_due(),
        };
        // Without room for calls, the next answer makes some.
        let idle = self
            .calls
            .has_room_for_rest()
            .then(|| self.timers.idle_due());
        let others = [
            link,
            self.link.next_due(),
            self.silence_ends(),
            self.timers.next_due(),
            self.outgoing.next_due(),
            idle.flatten(),
        ];
        let housekeeping = self.timers.housekeeping_at;
        others
            .into_iter()
            .flatten()
            .fold(housekeeping, Instant::min)
    }

    /// This node's epoch.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.membership.epoch
    }

    /// Sizes of everything that is bounded.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            in_flight: self.calls.weight(),
            waiting: self.waiting.len(),
            outgoing: self.outgoing.len(),
        }
    }

    // --- Clients -----------------------------------------------------------------------------------------

    fn on_enter(&mut self, enter: Enter<T>, now: Instant, out: &mut Effects<T>) {
        let Enter { key, reply, .. } = enter;
        let waits_for_answer = key.kind.access != Access::Online || enter.member.is_none();
        let id = self.buckets.find_or_open(&key.app_id, bucket_of(&key.name));
        let channels = &mut self.buckets[id].channels;
        let channel = channels
            .entry(Arc::clone(&key.name))
            .or_insert_with(|| Channel::new(key.kind));
        if waits_for_answer && !self.waiting.has_room(&key.app_id) {
            channel.refused.push(enter.socket);
            return out.push(Effect::Admit(reply, Err(EnterError::Unavailable)));
        }
        channel.configure(enter.tells_count, enter.replay, enter.max_members);
        let user_id = enter
            .member
            .as_ref()
            .map(|member| Arc::clone(&member.user_id));
        let user = enter
            .member
            .map(|member| (member.user_id, member.user_info));
        channel.enter(enter.socket, user);
        channel.waiters.push(Waiter {
            socket: enter.socket,
            user_id,
            stage: Stage::Queued,
            since: now,
            reply,
        });
        self.waiting.add(&key.app_id);
        if self.link.is_down() && !(self.link.is_patient() && channel.needs_state()) {
            self.answer_without_redis(id, &key.name, |_| true, out);
        }
        self.touch(id, &key.name, now);
    }

    /// Redis is away, or too slow: clients that need it are refused, the others admitted.
    fn answer_without_redis(
        &mut self,
        id: BucketId,
        name: &str,
        which: impl FnMut(&Waiter<T>) -> bool,
        out: &mut Effects<T>,
    ) {
        let Some(channel) = self.buckets[id].channels.get_mut(name) else {
            return;
        };
        if channel.needs_state() {
            let refused = channel.dismiss(which);
            self.answer(id, refused, Err(EnterError::Unavailable), out);
        } else {
            let admitted = channel.take_waiters(which);
            self.answer(id, admitted, Ok(()), out);
        }
    }

    fn on_leave(
        &mut self,
        key: &ChannelKey,
        socket: SocketId,
        user_id: Option<&Arc<str>>,
        now: Instant,
    ) {
        let Some(id) = self.buckets.find(&key.app_id, bucket_of(&key.name)) else {
            return;
        };
        let Some(channel) = self.buckets[id].channels.get_mut(&key.name) else {
            return;
        };
        if channel.leave(socket, user_id) {
            self.waiting.remove(&key.app_id, 1);
        }
        self.touch(id, &key.name, now);
    }

    fn on_missed(&mut self, key: &ChannelKey) {
        if !(self.hooks)(&key.app_id, &key.name).misses {
            return;
        }
        if let Some(id) = self.buckets.find(&key.app_id, bucket_of(&key.name)) {
            let misses = &mut self.buckets[id].chores.misses;
            if !misses.contains(&key.name) {
                misses.push_back(Arc::clone(&key.name));
            }
            self.make_ready(id);
        }
    }

    /// Messages were dropped: every channel's state is fetched again, and so are the apps.
    fn doubt_everything(&mut self, now: Instant, out: &mut Effects<T>) {
        for (_, bucket) in self.buckets.iter_mut() {
            for channel in bucket.channels.values_mut() {
                if let Some(shared) = channel.shared.as_deref_mut() {
                    shared.sync = shared.sync.doubted();
                    shared.kept.heard_last = false;
                }
            }
        }
        self.doubt_histories(out);
        self.touch_all(now);
        out.push(Effect::Apps(Apps::Doubted));
    }

    fn key(&self, id: BucketId, name: &str) -> ChannelKey {
        let bucket = &self.buckets[id];
        let known = bucket.channels.get_key_value(name);
        let (name, kind) = match known {
            Some((name, channel)) => (Arc::clone(name), channel.kind),
            None => (name.into(), ChannelKind::of(name)),
        };
        ChannelKey {
            app_id: Arc::clone(&bucket.name.app_id),
            name,
            kind,
        }
    }
}

fn key_of<T>(bucket: &Bucket<T>, name: &Arc<str>, kind: ChannelKind) -> ChannelKey {
    ChannelKey {
        app_id: Arc::clone(&bucket.name.app_id),
        name: Arc::clone(name),
        kind,
    }
}

/// Sizes of what is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Commands under way.
    pub in_flight: u32,
    /// Clients that wait to be admitted.
    pub waiting: usize,
    /// Messages that wait for other nodes.
    pub outgoing: usize,
}

#[cfg(test)]
mod tests;
