//! Puts the changes of a bucket's channels into batches. Their answers are in `settle`.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    Change, Core, Effect, Effects,
    bucket::{Batching, BucketId, Proof, Registration},
    call::{Arriving, Batch, Call, Claim, Entry, Epoch},
    channel::{Channel, Former, Listening, Shared, Stage, Stored, Waiter, Work},
};
use crate::{
    engine::Heard as Hears,
    protocol::{Access, ChannelKind},
};

/// Channels of one batch: about a third of a millisecond of Redis.
const CHANNELS_MAX: usize = 64;
/// Users of one batch.
const USERS_MAX: usize = 256;
/// Claims and misses of one batch.
const CHORES_MAX: usize = 64;

/// Which edges the app's backend hears, as scripts expect it.
fn hooks(hears: Hears) -> Option<&'static str> {
    match hears {
        Hears { sessions: true, .. } => Some("sessions"),
        Hears { counts: true, .. } => Some("counts"),
        Hears { edges: true, .. } => Some("edges"),
        _ => None,
    }
}

/// The limit of members as scripts expect it; `None` for a channel without members.
fn members_max(kind: ChannelKind, max: usize) -> Option<i64> {
    kind.has_members().then(|| i64::try_from(max).unwrap_or(-1))
}

impl<T> Core<T> {
    /// Has whatever the channel needs done when its turn comes.
    pub(super) fn touch(&mut self, id: BucketId, name: &str, now: Instant) {
        let Some(bucket) = self.buckets.get_mut(id) else {
            return;
        };
        let Some((name, channel)) = bucket.channels.get_key_value(name) else {
            return;
        };
        let name = Arc::clone(name);
        let joins = channel.waiters.first().map(|waiter| waiter.socket);
        let Some(channel) = bucket.channels.get_mut(&name) else {
            return;
        };
        let needs_listening = channel.subscriptions > 0 && channel.listening != Listening::Yes;
        if needs_listening && channel.listening == Listening::No {
            channel.listening = Listening::Queued;
            match joins {
                Some(socket) => bucket.listen.push_join(socket, Arc::clone(&name)),
                None => bucket.listen.push_rest(Arc::clone(&name)),
            }
        }
        if !needs_listening && channel.is_out_of_date() {
            match channel.work {
                Work::Idle => {
                    channel.work = Work::Queued;
                    match joins {
                        Some(socket) => bucket.write.push_join(socket, Arc::clone(&name)),
                        None => bucket.write.push_rest(Arc::clone(&name)),
                    }
                }
                Work::Sent => channel.work = Work::SentAndChanged,
                Work::Queued | Work::SentAndChanged => {}
            }
        }
        self.note_idle(id, &name, now);
        self.make_ready(id);
    }

    /// Sends the bucket's next batch, if there is one.
    pub(super) fn send_batch(&mut self, id: BucketId, now: Instant, out: &mut Effects<T>) {
        let batch = match std::mem::replace(&mut self.buckets[id].batch, Batching::Idle) {
            Batching::Unanswered(mut batch) => {
                if batch.node != self.membership.epoch {
                    Arc::make_mut(&mut batch).too_late = true;
                } else if batch.after == 0 {
                    Arc::make_mut(&mut batch).token = self.buckets[id].stored.token;
                }
                batch
            }
            Batching::Idle => match self.compose(id, now, out) {
                Some(batch) => Arc::new(batch),
                None => return,
            },
            other => {
                self.buckets[id].batch = other;
                return;
            }
        };
        let weight = u32::try_from(batch.channels.len().max(1)).unwrap_or(u32::MAX);
        self.buckets[id].batch = Batching::InFlight(Arc::clone(&batch));
        self.call(Call::Write(batch), weight, now, out);
    }

    /// The next batch: as much of the bucket's changes as fits.
    fn compose(&mut self, id: BucketId, now: Instant, out: &mut Effects<T>) -> Option<Batch> {
        let mut entries = Vec::new();
        let mut users = USERS_MAX;
        while entries.len() < CHANNELS_MAX && users > 0 {
            let Some(name) = self.buckets[id].write.pop() else {
                break;
            };
            match self.entry(id, &name, &mut users, out) {
                Some(entry) => entries.push(entry),
                None => self.note_idle(id, &name, now),
            }
        }
        let bucket = &mut self.buckets[id];
        let chores = &mut bucket.chores;
        let claims = chores.claims.drain(..chores.claims.len().min(CHORES_MAX));
        let claims: Vec<Claim> = claims.collect();
        let misses = chores.misses.drain(..chores.misses.len().min(CHORES_MAX));
        let misses: Vec<Arc<str>> = misses.collect();
        let reap = self.compose_reap(id, &mut entries);
        let bucket = &mut self.buckets[id];
        let is_empty =
            entries.is_empty() && claims.is_empty() && misses.is_empty() && reap.is_none();
        let proof = std::mem::take(&mut bucket.chores.proof);
        let close = is_empty && bucket.is_over();
        if is_empty && !close && proof == Proof::Given {
            return None;
        }
        self.next_batch += 1;
        let has_rows = entries.iter().any(|entry| entry.was);
        Some(Batch {
            bucket: bucket.name.clone(),
            node: Arc::clone(&self.membership.epoch),
            number: self.next_batch,
            after: bucket.stored.acked,
            token: bucket.stored.token_of_first(),
            formers: if has_rows {
                self.membership.formers.clone()
            } else {
                Vec::new()
            },
            close,
            channels: entries,
            claims,
            misses,
            reap,
            too_late: false,
        })
    }

    /// Which dead node's rows are to be removed, if any, with an entry for each of its channels that are known.
    fn compose_reap(&mut self, id: BucketId, entries: &mut Vec<Entry>) -> Option<Epoch> {
        let bucket = &mut self.buckets[id];
        let first = bucket.chores.reaps.front_mut()?;
        let reap = Some(Arc::clone(&first.epoch));
        for name in std::mem::take(&mut first.names) {
            let kind = ChannelKind::of(&name);
            entries.push(Entry {
                hooks: hooks((self.hooks)(&bucket.name.app_id, &name)),
                tells: !kind.has_members(),
                max: members_max(kind, usize::MAX),
                cache: kind.cache,
                owner: reap.clone(),
                name,
                ..Entry::default()
            });
        }
        reap
    }

    /// What is to be written of a channel; nothing if that has been settled meanwhile.
    fn entry(
        &mut self,
        id: BucketId,
        name: &Arc<str>,
        users: &mut usize,
        out: &mut Effects<T>,
    ) -> Option<Entry> {
        let key = self.key(id, name);
        let bucket = &mut self.buckets[id];
        let channel = bucket.channels.get_mut(name)?;
        channel.work = Work::Idle;
        if !channel.is_out_of_date() {
            return None;
        }
        channel.work = Work::Sent;
        let mut entry = Entry {
            name: Arc::clone(name),
            count: channel.subscriptions,
            hooks: hooks((self.hooks)(&bucket.name.app_id, name)),
            max: members_max(channel.kind, usize::MAX),
            cache: channel.kind.cache,
            was: channel.former != Former::Nothing,
            snapshot: channel.lacks_state(),
            ..Entry::default()
        };
        let kind = channel.kind;
        if let Some(shared) = channel.shared.as_deref_mut() {
            entry.tells = shared.tells_count;
            entry.max = members_max(kind, shared.max_members);
            entry.past = shared.replay.is_some();
            if entry.snapshot {
                shared.sync = shared.sync.fetching();
                shared.counted_at_us = 0;
            }
            if let Some(id) = shared.kept.settled.take() {
                // Redis has it before it is asked.
                out.push(Effect::Change(key, Change::Settled(id)));
            }
            let newcomers = newcomers(kind, &channel.waiters);
            shared.changed.extend(newcomers.iter().cloned());
            shared.take_changed(&mut entry, users, &newcomers);
        }
        channel.mark_sent();
        Some(entry)
    }

    /// The channels of a bucket can be written once it is registered.
    pub(super) fn may_write(&self, id: BucketId) -> bool {
        let bucket = self.buckets.get(id);
        let is_registered =
            bucket.is_some_and(|bucket| bucket.stored.registration == Registration::Yes);
        self.membership.holds_lease() && is_registered
    }
}

/// Of a user's sessions, those with a connection whose row is not written yet.
fn newcomers<T>(kind: ChannelKind, waiters: &[Waiter<T>]) -> BTreeSet<Arc<str>> {
    let queued = waiters
        .iter()
        .filter(|waiter| kind.access == Access::Session && waiter.stage == Stage::Queued);
    queued.filter_map(|waiter| waiter.user_id.clone()).collect()
}

impl Shared {
    /// Moves changed users into an entry, as far as there is room.
    fn take_changed(
        &mut self,
        entry: &mut Entry,
        users: &mut usize,
        newcomers: &BTreeSet<Arc<str>>,
    ) {
        let some: Vec<Arc<str>> = self.changed.iter().take(*users).cloned().collect();
        *users -= some.len();
        for user_id in some {
            self.changed.remove(&user_id);
            let Some(seat) = self.seats.get_mut(&user_id) else {
                continue;
            };
            let is_newest = newcomers.contains(&user_id);
            match (seat.sockets.is_empty(), seat.stored) {
                (false, stored) if is_newest || matches!(stored, Stored::No | Stored::Former) => {
                    seat.stored = Stored::Arriving;
                    let how = match (is_newest, seat.granted) {
                        (true, _) => Arriving::Newest,
                        (false, true) => Arriving::Again,
                        (false, false) => Arriving::New,
                    };
                    entry.arriving.push((user_id, Arc::clone(&seat.info), how));
                }
                (true, Stored::Yes | Stored::Former) => {
                    seat.stored = Stored::Departing;
                    entry.departing.push(user_id);
                }
                (true, Stored::No) => drop(self.seats.remove(&user_id)),
                _ => {}
            }
        }
    }
}

impl<T> Channel<T> {
    /// Marks the waiters whose row is part of the batch that is being sent.
    fn mark_sent(&mut self) {
        let shared = self.shared.as_deref();
        for waiter in &mut self.waiters {
            let is_written = waiter.user_id.as_ref().is_none_or(|user_id| {
                let seat = shared.and_then(|shared| shared.seats.get(user_id));
                seat.is_none_or(|seat| matches!(seat.stored, Stored::Arriving | Stored::Yes))
            });
            if waiter.stage == Stage::Queued && is_written {
                waiter.stage = Stage::Sent;
            }
        }
    }
}
