//! Takes the answers to batches: what Redis has now, who is admitted, and what is written again.

use std::{sync::Arc, time::Instant};

use super::{
    Change, Core, Effect, Effects, LOSS_GRACE, Notice,
    bucket::{Batching, BucketId, Registration},
    call::{Batch, CallError, Entry, EntryResult, Report, Settled, Told, What, Written},
    channel::{Channel, Former, Shared, Stage, Stored, Sync, Waiter, Work},
};
use crate::{
    engine::{EnterError, SharedState},
    protocol::{Access, ChannelKind},
};

impl<T> Core<T> {
    pub(super) fn on_written(
        &mut self,
        id: BucketId,
        result: Result<Written, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let Batching::InFlight(batch) =
            std::mem::replace(&mut self.buckets[id].batch, Batching::Idle)
        else {
            return;
        };
        match result {
            Ok(Written::Settled(settled)) => self.on_settled(id, &batch, *settled, now, out),
            Ok(Written::Fenced(reason)) => {
                self.return_chores(id, &batch);
                self.return_entries(id, &batch, now);
                if batch.node == self.membership.epoch {
                    self.lose_epoch(reason, now, out);
                }
                self.make_ready(id);
            }
            Ok(Written::Unregistered) => {
                self.return_chores(id, &batch);
                self.return_entries(id, &batch, now);
                // If the lease was lost too, the registration finds out. The pause is for a Redis that evicts tokens.
                let bucket = &mut self.buckets[id];
                bucket.stored.registration = Registration::Doubted;
                bucket.batch = Batching::Resting;
                self.timers.failures.rest(id, now);
                self.make_ready(id);
            }
            Err(CallError::Refused(text)) => {
                self.return_chores(id, &batch);
                self.on_refused_batch(id, &batch, &text, now, out);
            }
            Err(CallError::LinkLost(reason)) => {
                self.buckets[id].batch = Batching::Unanswered(batch);
                self.lose_link(&reason, now, out);
            }
        }
    }

    fn on_settled(
        &mut self,
        id: BucketId,
        batch: &Batch,
        settled: Settled,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let is_current = batch.node == self.membership.epoch;
        let bucket = &mut self.buckets[id];
        if is_current {
            bucket.stored.settle(batch);
        }
        bucket.marks = bucket.marks.saturating_sub(batch.claims.len());
        let app_id = Arc::clone(&bucket.name.app_id);
        if is_current && batch.close {
            self.note_left(id, now);
        }
        for told in settled.told {
            out.push(Effect::Tell(Arc::clone(&app_id), told));
        }
        for (claim, wait) in settled.pending {
            self.await_departure(id, claim, now + wait);
        }
        for (entry, result) in batch.channels.iter().zip(settled.results) {
            if entry.owner.is_none() {
                // Under a former epoch everything has been queued anew.
                if is_current {
                    self.on_entry(id, entry, result, now, out);
                }
            } else if let EntryResult::Failed(text) = result {
                self.report_failure(id, &entry.name, &text, out);
            }
        }
        // Under a former epoch the rest is unknown; the next batch asks.
        if let Some(dead) = batch.reap.as_ref().filter(|_| is_current) {
            self.on_reaped(id, dead, settled.remaining, now, out);
        }
        self.make_ready_or_close(id, now, out);
    }

    fn on_entry(
        &mut self,
        id: BucketId,
        entry: &Entry,
        result: EntryResult,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let Some(channel) = self.buckets[id].channels.get_mut(&entry.name) else {
            return;
        };
        channel.work = Work::Idle;
        let report = match result {
            EntryResult::Plain => Report::default(),
            EntryResult::Shared(report) => *report,
            EntryResult::Failed(text) => {
                channel.forget_sent(entry);
                self.report_failure(id, &entry.name, &text, out);
                return self.fail_channel(id, &entry.name, now, out);
            }
        };
        channel.stored = entry.count;
        channel.former = Former::Nothing;
        channel.settle_seats(entry, &report);
        let refused = channel.dismiss_refused(&report);
        for waiter in &mut channel.waiters {
            if waiter.stage == Stage::Sent {
                waiter.stage = Stage::Written(report.sequence);
            }
        }
        channel.note_generation(&report);
        self.answer(id, refused, Err(EnterError::Full), out);
        self.timers.failures.forget(id, &entry.name);
        self.tell_refused(id, entry, &report, out);
        if let Some(shared) = report.shared {
            let place = (report.generation, report.sequence);
            self.apply_whole(id, &entry.name, place, shared, now, out);
        }
        self.tell_settled(id, &entry.name, out);
        if let Some(count) = report.count {
            self.on_count(id, &entry.name, count, out);
        }
        self.admit_written(id, &entry.name, out);
        self.touch(id, &entry.name, now);
    }

    /// Redis had this node's events before it was asked for a channel's past, or was not asked.
    pub(super) fn tell_settled(&mut self, id: BucketId, name: &str, out: &mut Effects<T>) {
        let channel = self.buckets[id].channels.get_mut(name);
        let shared = channel.and_then(|channel| channel.shared.as_deref_mut());
        if let Some(event) = shared.and_then(|shared| shared.kept.settled.take()) {
            out.push(Effect::Change(self.key(id, name), Change::Settled(event)));
        }
    }

    /// Takes the whole of a channel's state for the truth, and then what was heard since.
    fn apply_whole(
        &mut self,
        id: BucketId,
        name: &str,
        place: (u64, u64),
        whole: SharedState,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let key = self.key(id, name);
        let Some(channel) = self.buckets[id].channels.get_mut(name) else {
            return;
        };
        let needs_state = channel.needs_state();
        let Some(shared) = channel.shared.as_deref_mut() else {
            return;
        };
        if !needs_state {
            // Only the number of subscriptions was asked for.
            shared.sync = Sync::Synced;
            return;
        }
        let is_another = shared.reached.0 != 0 && shared.reached.0 != place.0;
        if is_another || shared.sync == Sync::FetchingSuspect {
            shared.keep_missing_until = Some(now + LOSS_GRACE);
        }
        let keeps_missing = shared.keeps_missing(now);
        if !keeps_missing {
            shared.keep_missing_until = None;
        }
        shared.reached = place;
        shared.sync = Sync::Synced;
        shared.note_lost_seats(&whole);
        let change = Change::Whole {
            shared: Box::new(whole),
            keeps_missing,
            knows_cached: shared.kept.heard_last,
            replay: shared.replay,
        };
        out.push(Effect::Change(key, change));
        if keeps_missing {
            // Once more when the others have had their time.
            self.look_again(id, name, now);
        }
        self.follow_early(id, name, now, out);
    }

    /// Takes the edges that came while the whole was on its way.
    fn follow_early(&mut self, id: BucketId, name: &str, now: Instant, out: &mut Effects<T>) {
        let channel = self.buckets[id].channels.get_mut(name);
        for edge in channel.map_or_else(Vec::new, Channel::take_early) {
            self.on_edge(id, name, edge, now, out);
        }
    }

    /// Admits clients whose row is written, once the mirror has reached its sequence.
    pub(super) fn admit_written(&mut self, id: BucketId, name: &str, out: &mut Effects<T>) {
        if let Some(channel) = self.buckets[id].channels.get_mut(name) {
            let admitted = channel.take_admitted();
            self.answer(id, admitted, Ok(()), out);
        }
    }

    /// Answers clients that have been taken out of those who wait.
    pub(super) fn answer(
        &mut self,
        id: BucketId,
        waiters: Vec<Waiter<T>>,
        result: Result<(), EnterError>,
        out: &mut Effects<T>,
    ) {
        let app_id = &self.buckets[id].name.app_id;
        self.waiting.remove(app_id, waiters.len());
        let replies = waiters.into_iter().map(|waiter| waiter.reply);
        out.extend(replies.map(|reply| Effect::Admit(reply, result)));
    }

    /// Tells which sessions were not let in.
    fn tell_refused(&self, id: BucketId, entry: &Entry, report: &Report, out: &mut Effects<T>) {
        if entry.hooks != Some("sessions") || ChannelKind::of(&entry.name).access != Access::Session
        {
            return;
        }
        for session in &report.refused {
            let told = Told {
                channel: Arc::clone(&entry.name),
                what: What::SessionRefused(Arc::clone(session)),
            };
            let app_id = Arc::clone(&self.buckets[id].name.app_id);
            out.push(Effect::Tell(app_id, told));
        }
    }

    fn report_failure(&mut self, id: BucketId, name: &Arc<str>, text: &str, out: &mut Effects<T>) {
        if self.timers.failures.is_first(id, name) {
            let app_id = Arc::clone(&self.buckets[id].name.app_id);
            out.push(Effect::Report(Notice::ChannelFailed {
                app_id,
                name: Arc::clone(name),
                error: text.to_owned(),
            }));
        }
    }

    /// Redis can't settle a channel: waiting clients are refused, and it is tried again later.
    fn fail_channel(&mut self, id: BucketId, name: &Arc<str>, now: Instant, out: &mut Effects<T>) {
        let Some(channel) = self.buckets[id].channels.get_mut(name) else {
            return;
        };
        let refused = channel.dismiss(|waiter| waiter.stage == Stage::Sent);
        let has_waiters = !channel.waiters.is_empty();
        self.answer(id, refused, Err(EnterError::Unavailable), out);
        self.timers.failures.retry_later(id, name, now);
        if has_waiters {
            self.touch(id, name, now);
        }
    }

    /// Redis refused a whole batch: each of its channels has failed, and the bucket rests.
    fn on_refused_batch(
        &mut self,
        id: BucketId,
        batch: &Batch,
        text: &str,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        out.push(Effect::Report(Notice::BatchRefused {
            app_id: Arc::clone(&batch.bucket.app_id),
            error: text.to_owned(),
        }));
        self.buckets[id].batch = Batching::Resting;
        self.timers.failures.rest(id, now);
        for entry in batch.channels.iter().filter(|entry| entry.owner.is_none()) {
            if let Some(channel) = self.buckets[id].channels.get_mut(&entry.name) {
                channel.work = Work::Idle;
                channel.forget_sent(entry);
            }
            self.fail_channel(id, &entry.name, now, out);
        }
    }

    /// What a batch that was not executed was to settle besides rows is settled by the next.
    fn return_chores(&mut self, id: BucketId, batch: &Batch) {
        let chores = &mut self.buckets[id].chores;
        chores.claims.extend(batch.claims.iter().cloned());
        chores.misses.extend(batch.misses.iter().cloned());
        if let Some(reap) = chores.reaps.front_mut() {
            let theirs = batch.channels.iter().filter(|entry| entry.owner.is_some());
            reap.names = theirs.map(|entry| Arc::clone(&entry.name)).collect();
        }
    }

    /// A batch was not executed: Redis has of its channels what it had before.
    fn return_entries(&mut self, id: BucketId, batch: &Batch, now: Instant) {
        for entry in batch.channels.iter().filter(|entry| entry.owner.is_none()) {
            if let Some(channel) = self.buckets[id].channels.get_mut(&entry.name) {
                channel.take_back(entry);
            }
            self.touch(id, &entry.name, now);
        }
    }
}

impl Shared {
    /// Has seats written again that Redis has lost.
    fn note_lost_seats(&mut self, whole: &SharedState) {
        let mut lost = Vec::new();
        for (user_id, seat) in &mut self.seats {
            if seat.stored == Stored::Yes && !whole.members.contains_key(user_id) {
                seat.stored = Stored::No;
                lost.push(Arc::clone(user_id));
            }
        }
        for user_id in lost {
            self.check_seat(&user_id);
        }
    }
}

impl<T> Channel<T> {
    /// Another generation than the mirror's means that Redis has lost something.
    fn note_generation(&mut self, report: &Report) {
        if let Some(shared) = self.shared.as_deref_mut()
            && self.kind.has_members()
            && report.shared.is_none()
            && shared.sync == Sync::Synced
            && report.generation != 0
            && report.generation != shared.reached.0
        {
            shared.sync = Sync::Unsynced;
        }
    }

    /// Notes what Redis has of the seats of an entry.
    fn settle_seats(&mut self, entry: &Entry, report: &Report) {
        let Some(shared) = self.shared.as_deref_mut() else {
            return;
        };
        for (user_id, ..) in &entry.arriving {
            shared.change_seat(user_id, |seat| {
                let is_refused = report.refused.contains(user_id);
                seat.stored = if is_refused { Stored::No } else { Stored::Yes };
            });
        }
        for user_id in &entry.departing {
            shared.change_seat(user_id, |seat| {
                seat.stored = Stored::No;
                seat.granted = false;
            });
        }
    }

    /// An entry was not executed.
    fn take_back(&mut self, entry: &Entry) {
        if matches!(self.work, Work::Sent | Work::SentAndChanged) {
            self.work = Work::Idle;
        }
        if self.former == Former::Perhaps {
            self.former = Former::Nothing;
        }
        for waiter in &mut self.waiters {
            if waiter.stage == Stage::Sent {
                waiter.stage = Stage::Queued;
            }
        }
        let Some(shared) = self.shared.as_deref_mut() else {
            return;
        };
        if entry.snapshot {
            shared.sync = shared.sync.doubted();
        }
        for (user_id, ..) in &entry.arriving {
            shared.change_seat(user_id, |seat| {
                // A user whom clients see as a member has still left.
                let stays_known = seat.granted && seat.sockets.is_empty();
                seat.stored = if stays_known {
                    Stored::Former
                } else {
                    Stored::No
                };
            });
        }
        for user_id in &entry.departing {
            shared.change_seat(user_id, |seat| {
                if seat.stored == Stored::Departing {
                    seat.stored = Stored::Yes;
                }
            });
        }
    }

    /// An entry failed: what Redis has of it is unknown. It is written again, which does no harm.
    fn forget_sent(&mut self, entry: &Entry) {
        self.stored = u32::MAX;
        let Some(shared) = self.shared.as_deref_mut() else {
            return;
        };
        if entry.snapshot {
            shared.sync = shared.sync.doubted();
        }
        let arriving = entry.arriving.iter().map(|(user_id, ..)| user_id);
        for user_id in arriving.chain(&entry.departing) {
            shared.change_seat(user_id, |seat| {
                // Whether Redis has the seat is unknown: it is removed if the user stays away, and written again if the user returns.
                seat.stored = match (seat.sockets.is_empty(), seat.granted) {
                    (false, false) => Stored::No,
                    _ => Stored::Former,
                };
            });
        }
    }
}
