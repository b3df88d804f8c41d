//! The engine's thread: intents and Redis' messages come in, one at a time; commands go out, at most one per channel.

mod arrivals;
mod closing;
mod departures;
mod intents;
mod membership;
mod outgoing;
mod rows;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use redis::{PushInfo, RedisResult};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::debug;

use self::{closing::Closing, departures::Departures, outgoing::Outgoing};
use super::{
    Shared,
    intent::{Intent, Outside},
    keys::Keys,
    lease::{self, Lease},
    link::Link,
    record::{Record, Sent},
    scripts::Scripts,
    write::Written,
};
use crate::{
    config::Redis,
    engine::{
        ChannelEdge, EdgeSink,
        channels::{ChannelStates, Key},
    },
};

/// How often a node renews its lease; it runs out after three times as long.
const LEASE_RENEWAL: Duration = Duration::from_secs(2);
/// Between two attempts to reach Redis.
const RETRY: Duration = Duration::from_millis(250);
/// A link that did not live so long is followed by another only after [`RETRY`].
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// After Redis was away: how long the others have to renew their leases before they count as dead.
const REAP_GRACE: Duration = Duration::from_secs(4);
/// Channels that wait at most for a publish batch; intents and pushes taken in one turn.
const TURN: usize = 1024;
/// How long a channel's topic stays subscribed after its last subscriber, so that a page reload costs nothing.
const LINGER: Duration = Duration::from_secs(5);
/// After Redis lost its data: how long members it does not know are kept, for their nodes to write them again.
const LOSS_GRACE: Duration = Duration::from_secs(8);
/// What came of a command. Those of an earlier link are void.
enum Done {
    Connected(RedisResult<Connected>),
    Listened {
        key: Key,
        result: RedisResult<()>,
    },
    Wrote {
        key: Key,
        epoch: String,
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
        heir: String,
        reaped: Vec<lease::Reaped>,
        result: RedisResult<()>,
    },
    Claimed {
        key: Key,
        epoch: String,
        marks: Vec<(String, String)>,
        result: RedisResult<Vec<i64>>,
    },
    Missed {
        key: Key,
        result: RedisResult<bool>,
    },
    Silenced {
        result: RedisResult<()>,
    },
    /// The time in which nobody is removed after a loss is over.
    GraceOver(Key),
    /// Whether nobody else is there to take over what is yet to be told.
    Resigned {
        alone: bool,
    },
    /// Nothing but a reason to look again.
    Awake,
}

/// A new link, under a name that holds a lease.
struct Connected {
    link: Link,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    lease: Lease,
}

pub(super) struct Task {
    settings: Redis,
    keys: Keys,
    scripts: Arc<Scripts>,
    states: Arc<ChannelStates>,
    shared: Arc<Shared>,
    edges: EdgeSink,
    departures: Departures,
    letters: mpsc::Sender<Bytes>,
    /// Where letters to this node come.
    own_topic: String,
    mailbox: mpsc::UnboundedReceiver<Intent>,
    link: Option<Link>,
    /// Counts links, to tell results of an earlier one.
    link_number: u64,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    work: FuturesUnordered<LocalBoxFuture<'static, (u64, Done)>>,
    records: HashMap<Key, Record>,
    queue: VecDeque<Key>,
    idle: VecDeque<(Instant, Key)>,
    outgoing: VecDeque<Outgoing>,
    publishing: bool,
    /// When the present link began.
    linked_at: Instant,
    /// Until when messages wait.
    hold_until: Instant,
    /// Channels that this node has yet to listen to again.
    unheard: usize,
    reap_from: Instant,
    /// Names this process among the senders of events.
    sender: u64,
    number: u64,
    /// Names this node's rows; a new one after every loss of the lease and for every link, so that commands which an old
    /// connection still delivers can be told from new ones.
    epoch: String,
    /// Names before, under which the node's connections may still be counted.
    former: Vec<String>,
    holds_lease: bool,
    reaping: HashSet<String>,
    closing: Option<Closing>,
}

fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Task {
    pub(super) async fn connect(
        settings: Redis,
        mailbox: mpsc::UnboundedReceiver<Intent>,
        outside: Outside,
    ) -> RedisResult<Self> {
        let Outside {
            node,
            states,
            shared,
            edges,
            letters,
        } = outside;
        let (sender, pushes) = mpsc::unbounded_channel();
        let link = Link::connect(&settings, sender).await?;
        let keys = Keys::new(&settings.key_prefix);
        let mut task = Self {
            own_topic: keys.letters(node),
            keys,
            settings,
            scripts: Arc::new(Scripts::new()),
            states,
            shared,
            edges,
            departures: Departures::default(),
            letters,
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
            linked_at: Instant::now(),
            hold_until: Instant::now(),
            unheard: 0,
            reap_from: Instant::now() + REAP_GRACE,
            sender: node,
            number: 0,
            epoch: new_epoch(),
            former: Vec::new(),
            holds_lease: false,
            reaping: HashSet::new(),
            closing: None,
        };
        let mut first = link.clone();
        first.subscribe(&task.keys.control()).await?;
        first.subscribe(&task.own_topic).await?;
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
            let due = self.departures.next_due();
            tokio::select! {
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
                intent = self.mailbox.recv() => match intent {
                    Some(intent) => self.take_intents(intent),
                    None => return,
                },
                Some(push) = self.pushes.recv() => self.take_pushes(push),
                Some((number, done)) = self.work.next(), if !self.work.is_empty() => {
                    // What Redis sent before this answer comes first: it may be about the same channel.
                    while let Ok(push) = self.pushes.try_recv() {
                        self.on_push(push);
                    }
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
        self.claim_due();
        if !self.holds_lease {
            // Rows without a lease would never be removed.
            return;
        }
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else {
                return;
            };
            self.work_on(&link, key);
        }
    }

    fn take_done(&mut self, number: u64, done: Done) {
        if let Done::Connected(result) = done {
            return self.on_connected(result);
        }
        if number != self.link_number {
            match done {
                Done::Reaped { epoch, .. } => drop(self.reaping.remove(&epoch)),
                // What was settled is told whatever has become of the link.
                Done::Claimed {
                    key,
                    epoch,
                    marks,
                    result: result @ Ok(_),
                } => {
                    self.on_claimed(&key, &epoch, &marks, result);
                }
                _ => {}
            }
            return;
        }
        match done {
            Done::Connected(_) | Done::Awake => {}
            Done::GraceOver(key) => self.on_grace_over(key),
            Done::Resigned { alone } => self.on_resigned(alone),
            Done::Listened { key, result } => self.on_listened(key, result),
            Done::Wrote {
                key,
                epoch,
                sent,
                result,
            } => self.on_written(key, &epoch, sent, result),
            Done::Published { count, result } => self.on_published(count, result),
            Done::Renewed { epoch, result } => self.on_renewed(&epoch, result),
            Done::Reaped {
                epoch,
                heir,
                reaped,
                result,
            } => self.on_reaped(&epoch, &heir, reaped, result),
            Done::Claimed {
                key,
                epoch,
                marks,
                result,
            } => self.on_claimed(&key, &epoch, &marks, result),
            Done::Missed { key, result } => match result {
                Ok(true) => self.edges.tell(&key.0, &key.1, ChannelEdge::CacheMissed),
                Ok(false) => {}
                Err(error) => self.lose_link(&error),
            },
            Done::Silenced { result } => {
                if let Err(error) = result {
                    self.lose_link(&error);
                }
            }
        }
    }
}
