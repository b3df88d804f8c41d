//! The engine's thread: intents and Redis' messages come in, one at a time; commands go out, at most one per channel.

mod arrivals;
mod departures;
mod intents;
mod membership;
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
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, error};

use self::departures::Departures;
use super::{
    Shared,
    intent::{Intent, Outside},
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
/// Messages sent together.
const PUBLISH_BATCH: usize = 512;
/// Bytes of those, unless one alone is larger, so that a slow line can carry them before Redis counts as away.
const PUBLISH_BATCH_BYTES: usize = 1 << 20;
/// After a return of Redis: how long messages wait for the other nodes to listen again. Above [`RETRY`] by what a busy machine
/// takes, below the two seconds in which everything is to be back.
const HOLD: Duration = Duration::from_secs(1);
/// With very many channels the others take as long as this node does to listen to its own again; at most so much longer.
const HOLD_MORE: Duration = Duration::from_secs(4);
/// After Redis was away: how long the others have to renew their leases before they count as dead.
const REAP_GRACE: Duration = Duration::from_secs(4);
/// Channels that wait at most for a publish batch; intents and pushes taken in one turn.
const TURN: usize = 1024;
/// How long a channel's topic stays subscribed after its last subscriber, so that a page reload costs nothing.
const LINGER: Duration = Duration::from_secs(5);
/// After Redis lost its data: how long members it does not know are kept, for their nodes to write them again.
const LOSS_GRACE: Duration = Duration::from_secs(8);
/// How long a closing node tries to have its last words heard.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

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

/// A message that waits for other nodes.
struct Outgoing {
    message: Message,
    /// Bytes of the frame, as they were counted against the backlog.
    held: usize,
    /// An event's number; of a cache channel, with the channel.
    number: u64,
    cached: Option<Key>,
    /// The channel, if the event goes into its history.
    recorded: Option<Key>,
    /// How often it was handed to a link.
    tries: u32,
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

struct Closing {
    since: Instant,
    reply: oneshot::Sender<()>,
    resignation: Resignation,
}

/// How far a closing node has come with giving its lease back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resignation {
    NotYet,
    UnderWay,
    /// There is no other node: this one tells of all departures itself.
    Alone,
    Done,
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

    /// Whether the other nodes may not listen again yet.
    fn holds_back(&self, now: Instant) -> bool {
        now < self.hold_until || (self.unheard > 0 && now < self.hold_until + HOLD_MORE)
    }

    fn send_outgoing(&mut self, link: &Link) {
        if self.publishing || self.outgoing.is_empty() || self.holds_back(Instant::now()) {
            return;
        }
        self.publishing = true;
        let mut bytes = 0;
        let batch: Vec<Message> = self
            .outgoing
            .iter_mut()
            .take(PUBLISH_BATCH)
            .take_while(|outgoing| {
                let is_first = bytes == 0;
                bytes += outgoing.message.envelope.len();
                is_first || bytes <= PUBLISH_BATCH_BYTES
            })
            .map(|outgoing| {
                outgoing.tries += 1;
                outgoing.message.clone()
            })
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

    fn on_published(&mut self, count: usize, result: RedisResult<()>) {
        self.publishing = false;
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        let published: Vec<_> = self.outgoing.drain(..count).collect();
        for outgoing in published {
            self.shared.release(outgoing.held);
            if let Some(key) = outgoing.recorded {
                let id = (self.sender, outgoing.number);
                match self.records.get_mut(&key) {
                    // Redis may have been asked for the channel's past before it had this.
                    Some(record) if record.in_flight => record.settled = Some(id),
                    Some(_) => self.states.settle_own(&key, id, true),
                    None => self.states.settle_own(&key, id, false),
                }
            }
            let Some(key) = outgoing.cached else {
                continue;
            };
            self.states.confirm_own(&key, outgoing.number);
            if outgoing.tries > 1
                && let Some(record) = self.records.get_mut(&key)
            {
                // An earlier try may have been kept, and its echo lost: only Redis knows whether another event came after it.
                record.synced = false;
                record.heard_cached = false;
                self.enqueue(key);
            }
        }
    }

    fn has_said_everything(&self) -> bool {
        let hub = self.states.hub();
        let all_written = self.records.iter().all(|(key, record)| {
            !record.in_flight && !record.is_out_of_date(hub.app(&key.0).subscriptions(&key.1))
        });
        all_written && self.outgoing.is_empty()
    }

    /// Whether a closing node has no more to do.
    fn has_closed(&mut self) -> bool {
        let Some(closing) = &self.closing else {
            return false;
        };
        let resignation = closing.resignation;
        let is_patient = closing.since.elapsed() < CLOSE_PATIENCE;
        if self.link.is_some() && resignation != Resignation::Done && is_patient {
            let may_resign = match resignation {
                Resignation::NotYet => true,
                Resignation::Alone => self.departures.is_empty(),
                _ => false,
            };
            if may_resign && self.has_said_everything() {
                self.resign();
            }
            return false;
        }
        if let Some(closing) = self.closing.take() {
            let _ = closing.reply.send(());
        }
        if self.link.is_none() {
            error!(
                "stopped while Redis was out of reach; other nodes notice when the lease has run out"
            );
        }
        true
    }
}
