//! The bookkeeping of one channel: what this node wants Redis to know, what Redis knows, and who waits for that.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::envelope::Edge;
use crate::{
    app::Replay,
    engine::{EnterError, history::EventId},
    protocol::{Access, ChannelKind, SocketId},
};

/// Edges kept while a snapshot is on its way; beyond it, another snapshot is fetched instead.
const EARLY_EDGES_MAX: usize = 4096;

/// A user of a presence channel on this node.
pub(super) struct Row {
    pub(super) info: Arc<str>,
    /// The user's connections here.
    pub(super) sockets: SmallVec<[SocketId; 1]>,
}

/// A client that waits for its answer.
pub(super) struct Waiter {
    pub(super) socket: SocketId,
    pub(super) user_id: Option<Arc<str>>,
    pub(super) reply: oneshot::Sender<Result<(), EnterError>>,
    pub(super) stage: Stage,
}

/// How far a waiter has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its row is not written yet.
    Queued,
    /// Its row is being written.
    Sent,
    /// Its row is written; the mirror has to reach this sequence.
    Written(u64),
}

/// What was sent to Redis.
pub(super) struct Sent {
    pub(super) subscriptions: usize,
    pub(super) users: HashSet<Arc<str>>,
    /// Whether it named every seat.
    pub(super) whole: bool,
}

/// One channel.
pub(super) struct Record {
    pub(super) kind: ChannelKind,
    /// Whether subscribers are told how many they are.
    pub(super) tells_count: bool,
    /// What of the past a new subscriber is told.
    pub(super) replay: Option<Replay>,
    /// This node's last event that Redis has, while it is asked for the past.
    pub(super) settled: Option<EventId>,
    /// The number to tell, once those who wait are seated and hear it too.
    pub(super) untold_count: Option<usize>,
    /// Whether this node listens to the channel's topic.
    pub(super) listening: bool,
    /// Whether the channel stands in the node's list of rows.
    pub(super) registered: bool,
    pub(super) users: HashMap<Arc<str>, Row>,
    pub(super) max_members: usize,
    pub(super) written: Sent,
    /// Users whose seats are being given back.
    pub(super) leaving: Vec<Arc<str>>,
    /// Whether anything was written under the node's present name.
    pub(super) bears_name: bool,
    /// Names under which the node wrote here before; those rows go with the next write.
    pub(super) former: Vec<String>,
    /// Departures that this node is to tell the app's backend, unless whoever left comes back.
    pub(super) marks: usize,
    /// Arrivals in a write that is under way, as the scripts call them, and those of writes whose answers never came.
    pub(super) sent: Vec<String>,
    pub(super) unsure: HashSet<String>,
    /// Whether Redis may hold seats of this node that `written` does not know of.
    pub(super) doubtful: bool,
    pub(super) generation: u64,
    pub(super) sequence: u64,
    /// Whether the mirror follows Redis without a gap.
    pub(super) synced: bool,
    pub(super) early: Vec<Edge>,
    pub(super) waiting: Vec<Waiter>,
    pub(super) in_flight: bool,
    pub(super) queued: bool,
    /// Whether Redis may have lost something, as when a replica took over.
    pub(super) suspects_loss: bool,
    /// After a loss: until when members whom Redis does not know are kept.
    pub(super) keep_missing_until: Option<Instant>,
    /// Whether the last event of a cache channel was heard since this node listens.
    pub(super) heard_cached: bool,
    pub(super) idle_since: Option<Instant>,
    /// The last number seen of each sender.
    pub(super) seen: SmallVec<[(u64, u64); 2]>,
}

impl Record {
    pub(super) fn new(kind: ChannelKind) -> Self {
        Self {
            kind,
            tells_count: false,
            replay: None,
            settled: None,
            untold_count: None,
            listening: false,
            registered: false,
            users: HashMap::new(),
            max_members: usize::MAX,
            written: Sent {
                subscriptions: 0,
                users: HashSet::new(),
                whole: true,
            },
            leaving: Vec::new(),
            bears_name: false,
            former: Vec::new(),
            marks: 0,
            sent: Vec::new(),
            unsure: HashSet::new(),
            doubtful: false,
            generation: 0,
            sequence: 0,
            synced: false,
            early: Vec::new(),
            waiting: Vec::new(),
            in_flight: false,
            queued: false,
            suspects_loss: false,
            keep_missing_until: None,
            heard_cached: false,
            idle_since: None,
            seen: SmallVec::new(),
        }
    }

    /// Whether subscribers need more than the events: then they can't enter while Redis is away.
    pub(super) fn has_shared_state(&self) -> bool {
        self.kind.has_members() || self.kind.cache || self.replay.is_some()
    }

    /// Notes a client's wish.
    pub(super) fn enter(&mut self, socket: SocketId, user: Option<(Arc<str>, Arc<str>)>) {
        if let Some((user_id, info)) = user {
            let row = Row {
                info,
                sockets: SmallVec::new(),
            };
            self.users
                .entry(user_id)
                .or_insert(row)
                .sockets
                .push(socket);
        }
        self.idle_since = None;
    }

    /// Notes that a client has left.
    pub(super) fn leave(&mut self, socket: SocketId, user_id: Option<&str>) {
        self.waiting.retain(|waiter| waiter.socket != socket);
        if let Some(user_id) = user_id
            && let Some(row) = self.users.get_mut(user_id)
        {
            row.sockets.retain(|other| *other != socket);
            if row.sockets.is_empty() {
                self.users.remove(user_id);
            }
        }
    }

    /// Whether Redis has something to be told or to be asked.
    pub(super) fn is_out_of_date(&self, subscriptions: usize) -> bool {
        let changed = subscriptions != self.written.subscriptions
            || self.users.len() != self.written.users.len()
            || self
                .users
                .keys()
                .any(|user_id| !self.written.users.contains(user_id));
        let listener = subscriptions > 0 || !self.waiting.is_empty();
        let is_empty = subscriptions == 0 && self.users.is_empty();
        changed
            || (self.registered && is_empty && self.marks == 0)
            || self.doubtful
            || (listener && !self.synced)
            || self
                .waiting
                .iter()
                .any(|waiter| waiter.stage == Stage::Queued)
    }

    /// Whether nothing holds the record any more.
    pub(super) fn is_idle(&self, subscriptions: usize) -> bool {
        !self.in_flight
            && self.waiting.is_empty()
            && self.marks == 0
            && !self.is_out_of_date(subscriptions)
            && subscriptions == 0
    }

    /// Nothing that was known of Redis is certain any more, and the node has another name than `former`.
    pub(super) fn doubt(&mut self, former: &str) {
        self.doubtful = true;
        self.registered = false;
        self.synced = false;
        self.heard_cached = false;
        // Its marks go to whoever takes the rows under the old name away.
        self.marks = 0;
        self.unsure.extend(self.sent.drain(..));
        if std::mem::take(&mut self.bears_name) {
            self.former.push(former.to_owned());
        }
        for waiter in &mut self.waiting {
            waiter.stage = Stage::Queued;
        }
    }

    /// Notes which arrivals are being written.
    pub(super) fn note_sent(&mut self, subscriptions: usize) {
        let users = self.users.keys();
        let arriving = users.filter(|user_id| !self.written.users.contains(*user_id));
        self.sent = arriving.map(|user_id| format!("u{user_id}")).collect();
        if subscriptions > 0 && self.written.subscriptions == 0 {
            self.sent.push("c".to_owned());
        }
    }

    /// Whether Redis has told that the user has a seat here, and was not asked since to take it back.
    pub(super) fn is_seated(&self, user_id: &str) -> bool {
        self.users.contains_key(user_id)
            && self.written.users.contains(user_id)
            && !self.leaving.iter().any(|leaving| **leaving == *user_id)
    }

    /// Whether members whom Redis does not know may be there all the same: their nodes write them again after a loss.
    pub(super) fn keeps_missing(&self, now: Instant) -> bool {
        self.keep_missing_until.is_some_and(|until| now < until)
    }

    /// Keeps an edge until the snapshot is there.
    pub(super) fn keep_early(&mut self, edge: Edge) {
        if self.early.len() < EARLY_EDGES_MAX {
            self.early.push(edge);
        }
    }

    /// Whether the event is new; a sender repeats what it is not sure to have sent.
    pub(super) fn is_new(&mut self, sender: u64, number: u64) -> bool {
        match self.seen.iter_mut().find(|(other, _)| *other == sender) {
            Some((_, last)) if *last >= number => false,
            Some((_, last)) => {
                *last = number;
                true
            }
            None => {
                self.seen.push((sender, number));
                true
            }
        }
    }

    /// Answers those whose row is written, up to the sequence that the mirror has reached.
    pub(super) fn answer_written(&mut self) {
        if !self.synced {
            return;
        }
        let reached = self.sequence;
        for waiter in self.waiting.extract_if(
            ..,
            |waiter| matches!(waiter.stage, Stage::Written(sequence) if sequence <= reached),
        ) {
            // The client may have gone; its leave is under way then.
            let _ = waiter.reply.send(Ok(()));
        }
    }

    /// Refuses those whose user has no place.
    pub(super) fn refuse_full(&mut self, refused: &HashSet<String>) {
        let is_refused = |waiter: &mut Waiter| {
            waiter.stage == Stage::Sent
                && waiter
                    .user_id
                    .as_ref()
                    .is_some_and(|user_id| refused.contains(&**user_id))
        };
        let out: Vec<Waiter> = self.waiting.extract_if(.., is_refused).collect();
        self.dismiss(out, EnterError::Full);
    }

    /// Redis is away: those who need it are refused, the others let in.
    pub(super) fn answer_without_redis(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if self.has_shared_state() {
            self.dismiss(waiting, EnterError::Unavailable);
        } else {
            for waiter in waiting {
                let _ = waiter.reply.send(Ok(()));
            }
        }
    }

    /// Refuses those who wait. A user who is online waits for no answer, and stays until it leaves.
    fn dismiss(&mut self, waiters: Vec<Waiter>, error: EnterError) {
        for waiter in waiters {
            let stays = self.kind.access == Access::Online && waiter.user_id.is_some();
            if !stays {
                self.leave(waiter.socket, waiter.user_id.as_deref());
            }
            let _ = waiter.reply.send(Err(error));
        }
    }
}
