//! One channel on this node: what is true here, what Redis has of it, and who waits for the difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use smallvec::SmallVec;

use super::{
    arrivals::{Edge, Senders},
    call::Report,
};
use crate::{
    app::Replay,
    engine::EventId,
    protocol::{Access, ChannelKind, SocketId},
};

/// Edges kept while a snapshot is on its way; with more, another snapshot is fetched instead.
pub(super) const EARLY_EDGES_MAX: usize = 4096;

/// A channel that has subscribers here, or had some a short time ago.
pub(super) struct Channel<T> {
    pub(super) kind: ChannelKind,
    /// Subscriptions on this node.
    pub(super) subscriptions: u32,
    /// Subscriptions of this node as Redis has them.
    pub(super) stored: u32,
    pub(super) former: Former,
    pub(super) listening: Listening,
    pub(super) work: Work,
    pub(super) waiters: Vec<Waiter<T>>,
    /// Clients that were refused, until they have left.
    pub(super) refused: Vec<SocketId>,
    /// What subscribers share beyond the events; most channels have nothing.
    pub(super) shared: Option<Box<Shared>>,
    /// Since when it has been idle.
    pub(super) idle_since: Option<Instant>,
}

/// Whether the node has rows here under an epoch that it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Former {
    /// None, or all were replaced.
    Nothing,
    /// There may be some: whether the first batch was executed is not known yet.
    Perhaps,
    /// Rows that the next batch replaces.
    Rows,
}

/// Whether the node hears what is published on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    No,
    Queued,
    Asked,
    /// The same, and Redis has ended a subscription meanwhile: this one, as a replica does that becomes a master, or an earlier one.
    AskedInDoubt,
    Yes,
}

/// How far the channel's next batch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Redis has everything.
    Idle,
    /// It waits for a batch.
    Queued,
    /// It is part of one that is not answered yet.
    Sent,
    /// The same, and it has changed since.
    SentAndChanged,
}

/// A client that waits for its answer.
pub(super) struct Waiter<T> {
    pub(super) socket: SocketId,
    pub(super) user_id: Option<Arc<str>>,
    pub(super) stage: Stage,
    pub(super) since: Instant,
    pub(super) reply: T,
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

/// What the subscribers of a channel share.
#[derive(Default)]
pub(super) struct Shared {
    /// Whether subscribers get `subscription_count`.
    pub(super) tells_count: bool,
    /// When Redis counted the latest number of subscriptions, since one was asked for last.
    pub(super) counted_at_us: u64,
    /// Which past events a new subscriber gets.
    pub(super) replay: Option<Replay>,
    pub(super) max_members: usize,
    /// Users with connections here, and those whose seats are being given back.
    pub(super) seats: BTreeMap<Arc<str>, Seat>,
    /// Users whose seats are to be written.
    pub(super) changed: BTreeSet<Arc<str>>,
    pub(super) sync: Sync,
    pub(super) early: Vec<Edge>,
    /// Generation and sequence that the mirror has reached.
    pub(super) reached: (u64, u64),
    /// After a loss: until when members whom Redis does not know are kept.
    pub(super) keep_missing_until: Option<Instant>,
    pub(super) kept: Kept,
}

/// Events that are kept for those who subscribe later.
#[derive(Default)]
pub(super) struct Kept {
    /// Whether the last event of a cache channel was heard since this node listens.
    pub(super) heard_last: bool,
    /// This node's last event that Redis has, while it is asked for the past.
    pub(super) settled: Option<EventId>,
    pub(super) senders: Senders,
}

/// Whether the mirror follows Redis without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sync {
    /// A snapshot is needed.
    #[default]
    Unsynced,
    /// The same, and Redis may have lost something, as when a replica took over.
    Suspect,
    /// It is on its way.
    Fetching,
    /// The same, after a possible loss.
    FetchingSuspect,
    /// It follows.
    Synced,
}

/// A user of this node.
pub(super) struct Seat {
    pub(super) info: Arc<str>,
    /// The user's connections here.
    pub(super) sockets: SmallVec<[SocketId; 1]>,
    pub(super) stored: Stored,
    /// Whether a client was admitted with it.
    pub(super) granted: bool,
}

/// What Redis has of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    No,
    /// One under a former epoch, perhaps.
    Former,
    Arriving,
    Yes,
    Departing,
}

impl Sync {
    pub(super) fn is_lacking(self) -> bool {
        matches!(self, Self::Unsynced | Self::Suspect)
    }

    /// A snapshot is being fetched.
    pub(super) fn fetching(self) -> Self {
        match self {
            Self::Suspect | Self::FetchingSuspect => Self::FetchingSuspect,
            _ => Self::Fetching,
        }
    }

    /// Something was missed.
    pub(super) fn doubted(self) -> Self {
        match self {
            Self::Suspect | Self::FetchingSuspect => Self::Suspect,
            _ => Self::Unsynced,
        }
    }
}

impl Shared {
    /// Changes a user's seat, if there is one.
    pub(super) fn change_seat(&mut self, user_id: &Arc<str>, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seats.get_mut(user_id) {
            change(seat);
        }
        self.check_seat(user_id);
    }

    /// Queues the user for the next batch if Redis' seat differs from the one wanted.
    pub(super) fn check_seat(&mut self, user_id: &Arc<str>) {
        let Some(seat) = self.seats.get(user_id) else {
            return;
        };
        match (seat.sockets.is_empty(), seat.stored) {
            (true, Stored::No) => {
                self.seats.remove(user_id);
                self.changed.remove(user_id);
            }
            (true, Stored::Yes | Stored::Former) | (false, Stored::No | Stored::Former) => {
                self.changed.insert(Arc::clone(user_id));
            }
            _ => {}
        }
    }

    /// Whether Redis has confirmed the user's seat here, and its return was not requested since.
    pub(super) fn is_seated(&self, user_id: &str) -> bool {
        let seat = self.seats.get(user_id);
        seat.is_some_and(|seat| seat.stored == Stored::Yes && !seat.sockets.is_empty())
    }

    /// Whether members whom Redis does not know are kept: after a loss their nodes may not have written them again yet.
    pub(super) fn keeps_missing(&self, now: Instant) -> bool {
        self.keep_missing_until.is_some_and(|until| now < until)
    }
}

impl<T> Channel<T> {
    pub(super) fn new(kind: ChannelKind) -> Self {
        Self {
            kind,
            subscriptions: 0,
            stored: 0,
            former: Former::Nothing,
            listening: Listening::No,
            work: Work::Idle,
            waiters: Vec::new(),
            refused: Vec::new(),
            shared: None,
            idle_since: None,
        }
    }

    /// Takes what the app's settings say, as of the latest client.
    pub(super) fn configure(
        &mut self,
        tells_count: bool,
        replay: Option<Replay>,
        max_members: usize,
    ) {
        let needs_nothing = !self.kind.has_members() && !self.kind.cache;
        if needs_nothing && !tells_count && replay.is_none() && self.shared.is_none() {
            return;
        }
        let shared = self.shared.get_or_insert_default();
        shared.tells_count = tells_count;
        shared.max_members = max_members;
        if shared.replay != replay {
            shared.replay = replay;
            shared.sync = shared.sync.doubted();
        }
    }

    /// Whether subscribers need more than the events: then they can't enter while Redis is away.
    pub(super) fn needs_state(&self) -> bool {
        self.kind.has_members()
            || self.kind.cache
            || self
                .shared
                .as_ref()
                .is_some_and(|shared| shared.replay.is_some())
    }

    /// Whether the state of the channel is to be fetched.
    pub(super) fn lacks_state(&self) -> bool {
        let needs_state = self.needs_state();
        let lacking =
            |shared: &Shared| (needs_state || shared.tells_count) && shared.sync.is_lacking();
        self.subscriptions > 0 && self.shared.as_deref().is_some_and(lacking)
    }

    /// Whether something is to be written to Redis or read from it.
    pub(super) fn is_out_of_date(&self) -> bool {
        let changed = |shared: &Shared| !shared.changed.is_empty();
        self.subscriptions != self.stored
            || self.former != Former::Nothing
            || self.shared.as_deref().is_some_and(changed)
            || self.lacks_state()
            || self
                .waiters
                .iter()
                .any(|waiter| waiter.stage == Stage::Queued)
    }

    /// Whether nothing needs the channel.
    pub(super) fn is_idle(&self) -> bool {
        self.subscriptions == 0
            && self.refused.is_empty()
            && self.work == Work::Idle
            && !matches!(self.listening, Listening::Asked | Listening::AskedInDoubt)
            && !self.is_out_of_date()
    }

    /// One more client.
    pub(super) fn enter(&mut self, socket: SocketId, user: Option<(Arc<str>, Arc<str>)>) {
        self.subscriptions += 1;
        self.idle_since = None;
        let Some((user_id, info)) = user else { return };
        let shared = self.shared.get_or_insert_default();
        let seat = shared
            .seats
            .entry(Arc::clone(&user_id))
            .or_insert_with(|| Seat {
                info,
                sockets: SmallVec::new(),
                stored: Stored::No,
                granted: false,
            });
        seat.sockets.push(socket);
        shared.check_seat(&user_id);
    }

    /// A client has left, as each does that has entered, refused or not. Whether it was still waiting for its answer.
    pub(super) fn leave(&mut self, socket: SocketId, user_id: Option<&Arc<str>>) -> bool {
        if let Some(at) = self.refused.iter().position(|refused| *refused == socket) {
            self.refused.swap_remove(at);
            return false;
        }
        self.remove(socket, user_id)
    }

    fn remove(&mut self, socket: SocketId, user_id: Option<&Arc<str>>) -> bool {
        self.subscriptions = self.subscriptions.saturating_sub(1);
        let waiting = self.waiters.iter().position(|one| one.socket == socket);
        if let Some(at) = waiting {
            self.waiters.swap_remove(at);
        }
        if let (Some(user_id), Some(shared)) = (user_id, &mut self.shared)
            && let Some(seat) = shared.seats.get_mut(user_id)
        {
            seat.sockets.retain(|other| *other != socket);
            shared.check_seat(user_id);
        }
        waiting.is_some()
    }

    /// Takes out waiters who are refused. A user who is online waits for no answer, and stays until it leaves.
    pub(super) fn dismiss(&mut self, which: impl FnMut(&Waiter<T>) -> bool) -> Vec<Waiter<T>> {
        let dismissed = self.take_waiters(which);
        for waiter in &dismissed {
            let stays = self.kind.access == Access::Online && waiter.user_id.is_some();
            if !stays {
                self.remove(waiter.socket, waiter.user_id.as_ref());
                self.refused.push(waiter.socket);
            }
        }
        dismissed
    }

    /// Takes out the waiters that match.
    pub(super) fn take_waiters(
        &mut self,
        mut which: impl FnMut(&Waiter<T>) -> bool,
    ) -> Vec<Waiter<T>> {
        let taken = self
            .waiters
            .extract_if(.., |waiter| which(waiter))
            .collect();
        if self.waiters.is_empty() {
            // A hundred may have come at once; the place of one is 80 bytes.
            self.waiters = Vec::new();
        }
        taken
    }

    /// Takes out waiters whose row is written, once the mirror has reached its sequence.
    pub(super) fn take_admitted(&mut self) -> Vec<Waiter<T>> {
        let reached = match &self.shared {
            Some(shared) if self.needs_state() => match shared.sync {
                Sync::Synced => shared.reached.1,
                _ => return Vec::new(),
            },
            _ => u64::MAX,
        };
        let admitted = self.take_waiters(
            |waiter| matches!(waiter.stage, Stage::Written(sequence) if sequence <= reached),
        );
        if let Some(shared) = &mut self.shared {
            for user_id in admitted.iter().filter_map(|waiter| waiter.user_id.as_ref()) {
                if let Some(seat) = shared.seats.get_mut(user_id) {
                    seat.granted = true;
                }
            }
        }
        admitted
    }

    /// Takes out waiters whose user was refused a seat.
    pub(super) fn dismiss_refused(&mut self, report: &Report) -> Vec<Waiter<T>> {
        if report.refused.is_empty() {
            return Vec::new();
        }
        let refused: BTreeSet<&str> = report.refused.iter().map(|user| &**user).collect();
        self.dismiss(|waiter| {
            let user = waiter.user_id.as_deref();
            waiter.stage == Stage::Sent && user.is_some_and(|user| refused.contains(user))
        })
    }

    /// The node has another epoch: what it wrote under the former is to be replaced.
    pub(super) fn begin_anew(&mut self) {
        if self.stored > 0 {
            self.former = Former::Rows;
        } else if self.former == Former::Nothing
            && matches!(self.work, Work::Sent | Work::SentAndChanged)
        {
            self.former = Former::Perhaps;
        }
        self.stored = 0;
        self.work = Work::Idle;
        for waiter in &mut self.waiters {
            waiter.stage = Stage::Queued;
        }
        let Some(shared) = &mut self.shared else {
            return;
        };
        shared.sync = shared.sync.doubted();
        shared.kept.heard_last = false;
        for (user_id, seat) in &mut shared.seats {
            seat.stored = match (seat.stored, seat.sockets.is_empty()) {
                (Stored::No, _) | (_, false) => Stored::No,
                _ => Stored::Former,
            };
            shared.changed.insert(Arc::clone(user_id));
        }
    }
}
