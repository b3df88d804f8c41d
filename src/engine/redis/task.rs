//! The engine's thread: intents and Redis' messages come in, one at a time; commands go out, at most one per channel.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{debug, error, info, warn};

use super::{
    Shared,
    envelope::{self, Edge, Envelope, Event},
    keys::Keys,
    lease::{self, Lease},
    link::{Link, Message},
    query,
    record::{Record, Sent, Stage, Waiter},
    scripts::Scripts,
    write::{self, Written},
};
use crate::{
    config::Redis,
    engine::{
        CacheableEvent, ChannelInfo, EnterError, Occupied, Unavailable, Wanted,
        channels::{ChannelStates, Key},
    },
    hub::{Change, Channel, Delivery},
    presence::Member,
    protocol::{ChannelKind, ChannelName, Frame, SocketId},
};

/// How often a node renews its lease; it runs out after three times as long.
const LEASE_RENEWAL: Duration = Duration::from_secs(2);
/// Between two attempts to reach Redis.
const RETRY: Duration = Duration::from_millis(250);
/// Messages sent together.
const PUBLISH_BATCH: usize = 512;
/// Channels that wait at most for a publish batch; intents and pushes taken in one turn.
const TURN: usize = 1024;
/// How long a channel's topic stays subscribed after its last subscriber, so that a page reload costs nothing.
const LINGER: Duration = Duration::from_secs(5);
/// After Redis lost its data: how long members it does not know are kept, for their nodes to write them again.
const LOSS_GRACE: Duration = Duration::from_secs(8);
/// How long a closing node tries to have its last words heard.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// What the rest of the server wants.
pub(super) enum Intent {
    Enter {
        channel: Arc<Channel>,
        socket: SocketId,
        member: Option<Member>,
        max_members: usize,
        reply: oneshot::Sender<Result<(), EnterError>>,
    },
    Leave {
        channel: Arc<Channel>,
        socket: SocketId,
        user_id: Option<Arc<str>>,
    },
    /// With a time to live it is a cache channel's.
    Publish {
        key: Key,
        frame: Frame,
        except: Option<SocketId>,
        ttl_s: Option<u32>,
    },
    Terminate {
        app_id: Arc<str>,
        user_id: Arc<str>,
    },
    Channel {
        key: Key,
        kind: ChannelKind,
        wanted: Wanted,
        reply: oneshot::Sender<Result<ChannelInfo, Unavailable>>,
    },
    Users {
        key: Key,
        reply: oneshot::Sender<Result<Vec<Arc<str>>, Unavailable>>,
    },
    Occupied {
        app_id: Arc<str>,
        prefix: String,
        reply: oneshot::Sender<Result<Vec<Occupied>, Unavailable>>,
    },
    Connections {
        app_id: Arc<str>,
        reply: oneshot::Sender<Result<usize, Unavailable>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// What came of a command. Those of an earlier link are void.
enum Done {
    Connected(RedisResult<(Link, mpsc::UnboundedReceiver<PushInfo>)>),
    Listened {
        key: Key,
        result: RedisResult<()>,
    },
    Wrote {
        key: Key,
        sent: Sent,
        result: RedisResult<Written>,
    },
    Published {
        count: usize,
        result: RedisResult<()>,
    },
    Renewed {
        epoch: String,
        result: RedisResult<Lease>,
    },
    Reaped {
        epoch: String,
        result: RedisResult<usize>,
    },
    Silenced {
        result: RedisResult<()>,
    },
    Answered,
    Later(Key),
}

pub(super) struct Task {
    settings: Redis,
    keys: Keys,
    scripts: Arc<Scripts>,
    states: Arc<ChannelStates>,
    shared: Arc<Shared>,
    mailbox: mpsc::UnboundedReceiver<Intent>,
    link: Option<Link>,
    /// Counts links, to tell results of an earlier one.
    link_number: u64,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    work: FuturesUnordered<LocalBoxFuture<'static, (u64, Done)>>,
    records: HashMap<Key, Record>,
    queue: VecDeque<Key>,
    idle: VecDeque<(Instant, Key)>,
    outgoing: VecDeque<(Message, usize)>,
    publishing: bool,
    /// Names this process among the senders of events.
    sender: u64,
    number: u64,
    /// Names this node's rows; a new one after every loss of the lease.
    epoch: String,
    holds_lease: bool,
    reaping: HashSet<String>,
    closing: Option<(Instant, oneshot::Sender<()>)>,
}

fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Task {
    pub(super) async fn connect(
        settings: Redis,
        states: Arc<ChannelStates>,
        mailbox: mpsc::UnboundedReceiver<Intent>,
        shared: Arc<Shared>,
    ) -> RedisResult<Self> {
        let (sender, pushes) = mpsc::unbounded_channel();
        let link = Link::connect(&settings, sender).await?;
        let mut task = Self {
            keys: Keys::new(&settings.key_prefix),
            settings,
            scripts: Arc::new(Scripts::new()),
            states,
            shared,
            mailbox,
            link: None,
            link_number: 0,
            pushes,
            work: FuturesUnordered::new(),
            records: HashMap::new(),
            queue: VecDeque::new(),
            idle: VecDeque::new(),
            outgoing: VecDeque::new(),
            publishing: false,
            sender: rand::random(),
            number: 0,
            epoch: new_epoch(),
            holds_lease: false,
            reaping: HashSet::new(),
            closing: None,
        };
        let mut first = link.clone();
        first.subscribe(&task.keys.control()).await?;
        let renewal = lease::renew(first, task.lease_parts(), LEASE_RENEWAL * 3).await?;
        debug!(expired = renewal.expired.len(), "joined the cluster");
        task.holds_lease = true;
        task.attach(link);
        Ok(task)
    }

    pub(super) async fn run(mut self) {
        let mut renewals = interval(LEASE_RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                intent = self.mailbox.recv() => match intent {
                    Some(intent) => self.take_intents(intent),
                    None => return,
                },
                Some(push) = self.pushes.recv() => self.take_pushes(push),
                Some((number, done)) = self.work.next(), if !self.work.is_empty() => {
                    self.take_done(number, done);
                }
                _ = renewals.tick() => self.renew(),
            }
            self.proceed();
            if self.has_closed() {
                return;
            }
        }
    }

    fn take_intents(&mut self, first: Intent) {
        self.on_intent(first);
        for _ in 1..TURN {
            match self.mailbox.try_recv() {
                Ok(intent) => self.on_intent(intent),
                Err(_) => return,
            }
        }
    }

    fn take_pushes(&mut self, first: PushInfo) {
        self.on_push(first);
        for _ in 1..TURN {
            match self.pushes.try_recv() {
                Ok(push) => self.on_push(push),
                Err(_) => return,
            }
        }
    }

    fn on_intent(&mut self, intent: Intent) {
        match intent {
            Intent::Enter {
                channel,
                socket,
                member,
                max_members,
                reply,
            } => {
                self.enter(&channel, socket, member, max_members, reply);
            }
            Intent::Leave {
                channel,
                socket,
                user_id,
            } => {
                let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
                if let Some(record) = self.records.get_mut(&key) {
                    record.leave(socket, user_id.as_deref());
                    self.enqueue(key);
                }
            }
            Intent::Publish {
                key,
                frame,
                except,
                ttl_s,
            } => self.publish(&key, &frame, except, ttl_s),
            Intent::Terminate { app_id, user_id } => {
                let text = envelope::terminate(self.sender, &app_id, &user_id);
                self.outgoing
                    .push_back((Message::publish(self.keys.control(), text), 0));
            }
            Intent::Channel {
                key,
                kind,
                wanted,
                reply,
            } => {
                self.ask(reply, |link, parts| {
                    query::channel(link, parts, key, kind, wanted)
                });
            }
            Intent::Users { key, reply } => {
                self.ask(reply, |link, parts| query::users(link, parts, key));
            }
            Intent::Occupied {
                app_id,
                prefix,
                reply,
            } => {
                self.ask(reply, |link, parts| {
                    query::occupied(link, parts, app_id, prefix)
                });
            }
            Intent::Connections { app_id, reply } => {
                let here = (
                    self.epoch.clone(),
                    self.states.hub().app(&app_id).connections(),
                );
                self.ask(reply, |link, parts| {
                    query::connections(link, parts, app_id, here)
                });
            }
            Intent::Close { reply } => self.closing = Some((Instant::now(), reply)),
        }
    }

    fn enter(
        &mut self,
        channel: &Channel,
        socket: SocketId,
        member: Option<Member>,
        max_members: usize,
        reply: oneshot::Sender<Result<(), EnterError>>,
    ) {
        let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
        let is_away = self.link.is_none();
        let record = self
            .records
            .entry(key.clone())
            .or_insert_with(|| Record::new(channel));
        record.max_members = max_members;
        let user_id = member.as_ref().map(|member| Arc::clone(&member.user_id));
        record.enter(
            socket,
            member.map(|member| (member.user_id, member.user_info)),
        );
        record.waiting.push(Waiter {
            socket,
            user_id,
            reply,
            stage: Stage::Queued,
        });
        if is_away {
            record.answer_without_redis();
        }
        self.enqueue(key);
    }

    fn publish(&mut self, key: &Key, frame: &Frame, except: Option<SocketId>, ttl_s: Option<u32>) {
        self.number += 1;
        let event = Event {
            sender: self.sender,
            number: self.number,
            except,
            ttl_s: ttl_s.unwrap_or(0),
            frame: frame.bytes().clone(),
        };
        let topic = self.keys.topic(key);
        let held = frame.bytes().len();
        let message = match ttl_s {
            None => Message::publish(topic, event.encode(false)),
            Some(ttl_s) => Message {
                topic,
                envelope: event.encode(true),
                keep: Some((self.keys.cache(key), frame.bytes().clone(), ttl_s)),
            },
        };
        self.outgoing.push_back((message, held));
    }

    /// Has a query answered by Redis, or says at once that it is away.
    fn ask<T: 'static, F>(
        &mut self,
        reply: oneshot::Sender<Result<T, Unavailable>>,
        query: impl FnOnce(Link, query::Parts) -> F,
    ) where
        F: Future<Output = RedisResult<T>> + 'static,
    {
        let Some(link) = self.link.clone() else {
            let _ = reply.send(Err(Unavailable));
            return;
        };
        let parts = query::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
        };
        let answering = query(link, parts);
        self.begin(async move {
            let answer = answering.await.map_err(|error| {
                debug!(%error, "a query failed");
                Unavailable
            });
            let _ = reply.send(answer);
            Done::Answered
        });
    }

    fn begin(&self, work: impl Future<Output = Done> + 'static) {
        let number = self.link_number;
        self.work
            .push(Box::pin(async move { (number, work.await) }));
    }

    fn enqueue(&mut self, key: Key) {
        if let Some(record) = self.records.get_mut(&key)
            && !record.queued
        {
            record.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Starts what can be started.
    fn proceed(&mut self) {
        let Some(link) = self.link.clone() else {
            return;
        };
        self.send_outgoing(&link);
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else {
                return;
            };
            self.work_on(&link, key);
        }
    }

    fn send_outgoing(&mut self, link: &Link) {
        if self.publishing || self.outgoing.is_empty() {
            return;
        }
        self.publishing = true;
        let batch: Vec<Message> = self
            .outgoing
            .iter()
            .take(PUBLISH_BATCH)
            .map(|(message, _)| message.clone())
            .collect();
        let mut link = link.clone();
        self.begin(async move {
            Done::Published {
                count: batch.len(),
                result: link.publish_all(&batch).await,
            }
        });
    }

    fn work_on(&mut self, link: &Link, key: Key) {
        let subscriptions = self.states.hub().app(&key.0).subscriptions(&key.1);
        let unsent = !self.outgoing.is_empty();
        let Some(record) = self.records.get_mut(&key) else {
            return;
        };
        record.queued = false;
        if record.in_flight {
            // Queued again when it is back.
            return;
        }
        if !record.is_out_of_date(subscriptions) {
            if record.is_idle(subscriptions) && record.idle_since.is_none() {
                let now = Instant::now();
                record.idle_since = Some(now);
                self.idle.push_back((now, key));
            }
            return;
        }
        let mut link = link.clone();
        if !record.listening {
            record.in_flight = true;
            let topic = self.keys.topic(&key);
            self.begin(async move {
                let result = link.subscribe(&topic).await;
                Done::Listened { key, result }
            });
            return;
        }
        if record.kind.cache && !record.synced && unsent {
            // An event on its way must not be overtaken by the question for the last event.
            self.enqueue_after(key, Duration::from_millis(1));
            return;
        }
        record.in_flight = true;
        let request = write::Request::of(record, subscriptions);
        let sent = request.sent();
        let parts = write::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
            epoch: self.epoch.clone(),
        };
        self.begin(async move {
            let result = write::write(link, parts, &key, request).await;
            Done::Wrote { key, sent, result }
        });
    }

    fn enqueue_after(&mut self, key: Key, delay: Duration) {
        self.begin(async move {
            sleep(delay).await;
            Done::Later(key)
        });
    }

    fn take_done(&mut self, number: u64, done: Done) {
        if let Done::Connected(result) = done {
            return self.on_connected(result);
        }
        if number != self.link_number {
            if let Done::Reaped { epoch, .. } = done {
                self.reaping.remove(&epoch);
            }
            return;
        }
        match done {
            Done::Connected(_) | Done::Answered => {}
            Done::Later(key) => self.enqueue(key),
            Done::Listened { key, result } => self.on_listened(key, result),
            Done::Wrote { key, sent, result } => self.on_written(key, sent, result),
            Done::Published { count, result } => self.on_published(count, result),
            Done::Renewed { epoch, result } => self.on_renewed(&epoch, result),
            Done::Reaped { epoch, result } => {
                self.reaping.remove(&epoch);
                match result {
                    Ok(channels) => info!(
                        node = epoch,
                        channels, "removed the rows of a node that is gone"
                    ),
                    Err(error) => {
                        debug!(node = epoch, %error, "could not remove a node's rows; tried again later")
                    }
                }
            }
            Done::Silenced { result } => {
                if let Err(error) = result {
                    self.lose_link(&error);
                }
            }
        }
    }

    fn on_listened(&mut self, key: Key, result: RedisResult<()>) {
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        if let Some(record) = self.records.get_mut(&key) {
            record.in_flight = false;
            record.listening = true;
            record.synced = false;
            self.enqueue(key);
        }
    }

    fn on_written(&mut self, key: Key, sent: Sent, result: RedisResult<Written>) {
        let written = match result {
            Ok(Written::Rows(rows)) => rows,
            Ok(Written::Fenced) => return self.take_new_epoch("its rows were removed"),
            Err(error) => return self.lose_link(&error),
        };
        let now = Instant::now();
        let Some(record) = self.records.get_mut(&key) else {
            return;
        };
        record.in_flight = false;
        record.doubtful = false;
        record.registered = sent.subscriptions > 0 || !sent.users.is_empty();
        record.written = sent;
        record
            .written
            .users
            .retain(|user_id| !written.refused.contains(&**user_id));
        record.refuse_full(&written.refused);
        for waiter in &mut record.waiting {
            if waiter.stage == Stage::Sent {
                waiter.stage = Stage::Written(written.sequence);
            }
        }
        if let Some(snapshot) = written.snapshot {
            let lost = record.generation != 0 && record.generation != written.generation;
            if lost {
                record.keep_missing_until = Some(now + LOSS_GRACE);
            }
            let keep_missing = record.keep_missing_until.is_some_and(|until| now < until);
            record.generation = written.generation;
            record.sequence = written.sequence;
            record.synced = true;
            if record.kind.has_members() {
                self.states
                    .reconcile(&key, &snapshot.members, keep_missing, now);
            }
            if record.kind.cache {
                self.states.keep(&key, snapshot.cached, now);
            }
            let early = std::mem::take(&mut record.early);
            if keep_missing {
                // Once more when the others have had their time.
                self.enqueue_after_grace(&key, now);
            } else if let Some(record) = self.records.get_mut(&key) {
                record.keep_missing_until = None;
            }
            for edge in early {
                self.on_edge(&key, edge);
            }
        } else if record.generation != written.generation {
            record.synced = false;
        }
        if let Some(record) = self.records.get_mut(&key) {
            record.answer_written();
        }
        self.tell_count(&key);
        self.enqueue(key);
    }

    fn enqueue_after_grace(&mut self, key: &Key, now: Instant) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let Some(until) = record.keep_missing_until else {
            return;
        };
        let key = key.clone();
        let wait = until.saturating_duration_since(now) + Duration::from_millis(50);
        self.begin(async move {
            sleep(wait).await;
            Done::Later(key)
        });
    }

    fn on_published(&mut self, count: usize, result: RedisResult<()>) {
        self.publishing = false;
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        for (_, held) in self.outgoing.drain(..count) {
            self.shared.release(held);
        }
    }

    fn on_push(&mut self, push: PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut values = push.data.into_iter();
                if let (Some(Value::BulkString(topic)), Some(Value::BulkString(message))) =
                    (values.next(), values.next())
                {
                    self.on_message(&String::from_utf8_lossy(&topic), message.into());
                }
            }
            PushKind::Disconnection => {
                let error = redis::RedisError::from((redis::ErrorKind::Io, "disconnected"));
                self.lose_link(&error);
            }
            _ => {}
        }
    }

    fn on_message(&mut self, topic: &str, message: Bytes) {
        let Some(envelope) = Envelope::decode(message) else {
            return debug!(
                topic,
                "a message that this version does not know was ignored"
            );
        };
        if let Envelope::Terminate {
            sender,
            app_id,
            user_id,
        } = envelope
        {
            if sender != self.sender {
                self.states.hub().terminate(&app_id.into(), &user_id.into());
            }
            return;
        }
        let Some(key) = self.keys.channel(topic) else {
            return;
        };
        match envelope {
            Envelope::Event(event) => self.on_event(&key, &event, false),
            Envelope::Cached(event) => self.on_event(&key, &event, true),
            Envelope::Edge(edge) => self.on_edge(&key, edge),
            Envelope::Count(count) => {
                if let Some(record) = self.records.get_mut(&key).filter(|r| r.tells_count) {
                    record.untold_count = Some(count);
                    self.tell_count(&key);
                }
            }
            Envelope::Terminate { .. } => {}
        }
    }

    fn on_event(&mut self, key: &Key, event: &Event, cached: bool) {
        let now = Instant::now();
        let ttl = Duration::from_secs(event.ttl_s.into());
        if event.sender == self.sender {
            if cached {
                // Delivered already; but only Redis knows which of two nodes' events was the last.
                self.states.keep(key, Some((event.frame(), ttl)), now);
            }
            return;
        }
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if !record.is_new(event.sender, event.number) {
            return;
        }
        let (frame, except) = (event.frame(), event.except);
        let app = self.states.hub().app(&key.0);
        let delivery = {
            let frame = frame.clone();
            move |channel, change| Delivery {
                channel,
                frame,
                except,
                change,
                receipt: None,
            }
        };
        if cached {
            let Ok(name) = ChannelName::parse(&key.1, usize::MAX) else {
                return;
            };
            let event = CacheableEvent {
                frame,
                except,
                delivery: Box::new(delivery),
            };
            self.states.remember(&app, name, event, ttl, now);
        } else if let Some(route) = app.route(&key.1) {
            let delivery = delivery(route.channel, Change::Nothing);
            self.states.hub().deliver(&route, &delivery);
        }
    }

    fn tell_count(&mut self, key: &Key) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if record.waiting.is_empty()
            && let Some(count) = record.untold_count.take()
        {
            self.states.tell_count(key, count, Instant::now());
        }
    }

    fn on_edge(&mut self, key: &Key, edge: Edge) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if !record.synced {
            record.keep_early(edge);
            return;
        }
        let follows = edge.generation == record.generation && edge.sequence == record.sequence + 1;
        if !follows {
            let is_old = edge.generation == record.generation && edge.sequence <= record.sequence;
            if !is_old {
                // Something was missed: ask for the whole.
                record.synced = false;
                record.keep_early(edge);
                self.enqueue(key.clone());
            }
            return;
        }
        record.sequence = edge.sequence;
        match edge.info {
            Some(info) => {
                let member = Member {
                    user_id: edge.user_id.into(),
                    user_info: info.into(),
                };
                self.states.arrive(key, &member);
            }
            None => self.states.leave(key, &edge.user_id, Instant::now()),
        }
        record.answer_written();
    }

    fn attach(&mut self, link: Link) {
        self.link = Some(link);
        self.shared.within_reach.store(true, Ordering::Relaxed);
        let keys: Vec<Key> = self.records.keys().cloned().collect();
        for key in keys {
            self.enqueue(key);
        }
    }

    fn lose_link(&mut self, error: &redis::RedisError) {
        if self.link.take().is_none() {
            return;
        }
        warn!(%error, "Redis is out of reach; local delivery goes on");
        self.shared.within_reach.store(false, Ordering::Relaxed);
        self.link_number += 1;
        self.publishing = false;
        for record in self.records.values_mut() {
            record.listening = false;
            record.in_flight = false;
            record.doubt();
            record.answer_without_redis();
        }
        self.reconnect(Duration::ZERO);
    }

    fn reconnect(&self, delay: Duration) {
        let (settings, control) = (self.settings.clone(), self.keys.control());
        self.begin(async move {
            sleep(delay).await;
            let (sender, pushes) = mpsc::unbounded_channel();
            let connecting = async {
                let link = Link::connect(&settings, sender).await?;
                let mut first = link.clone();
                first.subscribe(&control).await?;
                Ok((link, pushes))
            };
            Done::Connected(connecting.await)
        });
    }

    fn on_connected(&mut self, result: RedisResult<(Link, mpsc::UnboundedReceiver<PushInfo>)>) {
        match result {
            Ok((link, pushes)) => {
                info!("Redis is within reach again");
                self.pushes = pushes;
                self.attach(link);
                self.renew();
            }
            Err(error) => {
                debug!(%error, "Redis is still out of reach");
                self.reconnect(RETRY);
            }
        }
    }

    fn lease_parts(&self) -> lease::Parts {
        lease::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
            epoch: self.epoch.clone(),
            connections: self.states.hub().connections_by_app(),
        }
    }

    fn renew(&mut self) {
        self.forget_idle();
        let Some(link) = self.link.clone() else {
            return;
        };
        let parts = self.lease_parts();
        self.begin(async move {
            let epoch = parts.epoch.clone();
            Done::Renewed {
                epoch,
                result: lease::renew(link, parts, LEASE_RENEWAL * 3).await,
            }
        });
    }

    fn on_renewed(&mut self, epoch: &str, result: RedisResult<Lease>) {
        let lease = match result {
            Ok(lease) => lease,
            Err(error) => return self.lose_link(&error),
        };
        if epoch != self.epoch {
            return;
        }
        if !lease.was_held && self.holds_lease {
            self.take_new_epoch("its lease was lost");
            self.renew();
            return;
        }
        self.holds_lease = true;
        for expired in lease.expired {
            self.reap(expired);
        }
    }

    /// The rows under the old name are as good as gone: writes all of them again under a new one.
    fn take_new_epoch(&mut self, reason: &str) {
        let old = std::mem::replace(&mut self.epoch, new_epoch());
        self.holds_lease = false;
        warn!(
            old,
            new = self.epoch,
            "this node takes a new name: {reason}"
        );
        for record in self.records.values_mut() {
            record.in_flight = false;
            record.doubt();
        }
        // Results that are still under way speak of the old name.
        self.link_number += 1;
        self.publishing = false;
        let keys: Vec<Key> = self.records.keys().cloned().collect();
        for key in keys {
            self.enqueue(key);
        }
        if let Some(link) = self.link.clone() {
            let parts = lease::Parts {
                epoch: old,
                ..self.lease_parts()
            };
            self.begin(async move {
                Done::Silenced {
                    result: lease::expire(link, parts).await,
                }
            });
            self.renew();
        }
    }

    fn reap(&mut self, epoch: String) {
        let Some(link) = self.link.clone() else {
            return;
        };
        if epoch == self.epoch || !self.reaping.insert(epoch.clone()) {
            return;
        }
        let parts = lease::Parts {
            epoch: epoch.clone(),
            ..self.lease_parts()
        };
        self.begin(async move {
            Done::Reaped {
                epoch,
                result: lease::reap(link, parts).await,
            }
        });
    }

    /// Stops listening to channels that nobody has come back to.
    fn forget_idle(&mut self) {
        let now = Instant::now();
        while let Some((since, _)) = self.idle.front() {
            if now.duration_since(*since) < LINGER {
                return;
            }
            let Some((since, key)) = self.idle.pop_front() else {
                return;
            };
            let subscriptions = self.states.hub().app(&key.0).subscriptions(&key.1);
            let Some(record) = self.records.get(&key) else {
                continue;
            };
            if record.idle_since != Some(since) || !record.is_idle(subscriptions) {
                continue;
            }
            let was_listening = record.listening;
            self.records.remove(&key);
            self.states.forget(&key);
            if let Some(mut link) = self.link.clone().filter(|_| was_listening) {
                let topic = self.keys.topic(&key);
                self.begin(async move {
                    Done::Silenced {
                        result: link.unsubscribe(&topic).await,
                    }
                });
            }
        }
    }

    /// Whether everything was said that a closing node has to say.
    fn has_closed(&mut self) -> bool {
        let Some((since, _)) = &self.closing else {
            return false;
        };
        let hub = self.states.hub();
        let all_written = self.records.iter().all(|(key, record)| {
            !record.in_flight && !record.is_out_of_date(hub.app(&key.0).subscriptions(&key.1))
        });
        let done = self.link.is_none() || (all_written && self.outgoing.is_empty());
        if !done && since.elapsed() < CLOSE_PATIENCE {
            return false;
        }
        if let Some((_, reply)) = self.closing.take() {
            let _ = reply.send(());
        }
        if self.link.is_none() {
            error!(
                "stopped while Redis was out of reach; other nodes notice when the lease has run out"
            );
        }
        true
    }
}
