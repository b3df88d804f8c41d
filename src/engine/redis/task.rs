//! The engine's thread: intents and Redis' messages come in, one at a time; commands go out, at most one per channel.

mod arrivals;
mod intents;
mod membership;
mod rows;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use redis::{PushInfo, RedisResult};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, error, info};

use super::{
    Shared,
    keys::Keys,
    lease::{self, Lease},
    link::{Link, Message},
    record::{Record, Sent},
    scripts::Scripts,
    write::Written,
};
use crate::{
    config::Redis,
    engine::{
        ChannelInfo, EnterError, Occupied, Unavailable, Wanted,
        channels::{ChannelStates, Key},
    },
    hub::Channel,
    presence::Member,
    protocol::{ChannelKind, Frame, SocketId},
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

    fn on_published(&mut self, count: usize, result: RedisResult<()>) {
        self.publishing = false;
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        for (_, held) in self.outgoing.drain(..count) {
            self.shared.release(held);
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
