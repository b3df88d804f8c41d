//! What happens because time has passed.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Change, Core, Effect, Effects, LOSS_GRACE, WAITING_TIME_MAX,
    bucket::{BucketId, BucketName, End, Registration},
    call::{Call, Epoch},
    channel::Listening,
    departures::Departures,
    failures::Failures,
    key_of,
};

/// How long a channel's topic stays subscribed after its last subscriber, so that a page reload costs nothing.
const LINGER: Duration = Duration::from_secs(5);
/// How long a bucket stays in Redis after the last channel, and then in this process. Longer than replicas lag behind, so that the
/// loss is noticed when one of them takes over.
const BUCKET_LINGER: Duration = Duration::from_secs(20);
/// How often waits are checked against their deadlines.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Topics of one call.
const UNLISTENS_MAX: usize = 128;

/// When a channel is due, and which.
type Due = (Instant, BucketId, Arc<str>);

/// What is due at known times.
pub(super) struct Timers {
    /// Channels without subscribers, since when.
    idle: VecDeque<Due>,
    /// Buckets that are vacant or have left Redis, since when.
    vacant: VecDeque<(Instant, BucketId)>,
    /// Channels whose missing members are looked for once more.
    grace: VecDeque<Due>,
    pub(super) departures: Departures,
    pub(super) failures: Failures,
    pub(super) housekeeping_at: Instant,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            idle: VecDeque::new(),
            vacant: VecDeque::new(),
            grace: VecDeque::new(),
            departures: Departures::default(),
            failures: Failures::default(),
            housekeeping_at: now,
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let front = |queue: &VecDeque<Due>| queue.front().map(|(at, ..)| *at);
        let times = [
            front(&self.grace),
            self.vacant.front().map(|(since, _)| *since + BUCKET_LINGER),
            self.departures.next_due(),
            self.failures.next_due(),
        ];
        times.into_iter().flatten().min()
    }

    /// When the next channel is to be forgotten.
    pub(super) fn idle_due(&self) -> Option<Instant> {
        self.idle.front().map(|(since, ..)| *since + LINGER)
    }

    fn pop_idle(&mut self, until: Instant) -> Option<Due> {
        let (since, ..) = self.idle.front()?;
        if *since > until {
            return None;
        }
        let next = self.idle.pop_front();
        if self.idle.is_empty() {
            // Gives the memory of a rush back.
            self.idle = VecDeque::new();
        }
        next
    }
}

impl<T> Core<T> {
    /// Notes since when the channel has been idle.
    pub(super) fn note_idle(&mut self, id: BucketId, name: &Arc<str>, now: Instant) {
        if let Some(channel) = self.buckets[id].channels.get_mut(name)
            && channel.is_idle()
            && channel.idle_since.is_none()
        {
            channel.idle_since = Some(now);
            self.timers.idle.push_back((now, id, Arc::clone(name)));
        }
    }

    /// Forgets channels that have stayed without subscribers, as far as there is room for calls.
    pub(super) fn forget_idle(&mut self, now: Instant, out: &mut Effects<T>) {
        let linger = if self.is_closing() {
            Duration::ZERO
        } else {
            LINGER
        };
        let Some(until) = now.checked_sub(linger) else {
            return;
        };
        while self.calls.has_room_for_rest() {
            let Some((since, id, name)) = self.timers.pop_idle(until) else {
                return;
            };
            let mut names = Vec::new();
            self.forget_if_idle(since, id, name, &mut names, out);
            // Neighbours of the same bucket share the call.
            while names.len() < UNLISTENS_MAX
                && self
                    .timers
                    .idle
                    .front()
                    .is_some_and(|(_, other, _)| *other == id)
                && let Some((since, _, name)) = self.timers.pop_idle(until)
            {
                self.forget_if_idle(since, id, name, &mut names, out);
            }
            if !names.is_empty() {
                let weight = u32::try_from(names.len()).unwrap_or(u32::MAX);
                let bucket = self.buckets[id].name.clone();
                self.call(Call::Unlisten(bucket, names), weight, now, out);
            }
            self.make_ready_or_close(id, now, out);
        }
    }

    fn forget_if_idle(
        &mut self,
        since: Instant,
        id: BucketId,
        name: Arc<str>,
        names: &mut Vec<Arc<str>>,
        out: &mut Effects<T>,
    ) {
        let Some(bucket) = self.buckets.get_mut(id) else {
            return;
        };
        let Some(channel) = bucket.channels.get_mut(&name) else {
            return;
        };
        if channel.idle_since != Some(since) {
            return;
        }
        channel.idle_since = None;
        if !channel.is_idle() {
            return;
        }
        self.tell_settled(id, &name, out);
        let bucket = &mut self.buckets[id];
        let Some(channel) = bucket.channels.remove(&name) else {
            return;
        };
        if channel.shared.is_some() {
            let key = key_of(bucket, &name, channel.kind);
            out.push(Effect::Change(key, Change::Forgotten));
        }
        if channel.listening == Listening::Yes {
            names.push(name);
        }
    }

    /// Has a bucket without channels leave Redis after a while, and then this process.
    pub(super) fn make_ready_or_close(&mut self, id: BucketId, now: Instant, out: &mut Effects<T>) {
        let is_closing = self.is_closing();
        let Some(bucket) = self.buckets.get_mut(id) else {
            return;
        };
        let stored = &mut bucket.stored;
        let (registration, has_rows) = (stored.registration, stored.acked > 0);
        if bucket.is_vacant() && has_rows {
            let end = &mut bucket.stored.end;
            match *end {
                _ if is_closing => *end = End::Due,
                End::Open => {
                    *end = End::Vacant(now);
                    self.timers.vacant.push_back((now, id));
                }
                End::Vacant(_) | End::Due | End::Left(_) => {}
            }
        }
        let bucket = &self.buckets[id];
        let (stays_listed, stays_known) = match bucket.stored.end {
            End::Left(_) => (false, !is_closing),
            End::Due => (true, true),
            End::Open | End::Vacant(_) => (has_rows, has_rows),
        };
        match registration {
            _ if !bucket.is_vacant() || stays_listed || self.link.is_down() => self.make_ready(id),
            Registration::Asked | Registration::Ending => {}
            Registration::No if stays_known => {}
            Registration::No => self.buckets.close(id),
            Registration::Doubted | Registration::Yes => {
                let bucket = &mut self.buckets[id];
                bucket.stored.registration = Registration::Ending;
                let name = bucket.name.clone();
                if !matches!(bucket.stored.end, End::Left(_)) {
                    // It never had rows.
                    self.note_left(id, now);
                }
                let epoch = Arc::clone(&self.membership.epoch);
                self.call(Call::Forget(epoch, vec![name]), 1, now, out);
            }
        }
    }

    /// Redis has forgotten that a node had rows in these buckets.
    pub(super) fn on_forgotten(
        &mut self,
        epoch: &Epoch,
        buckets: &[BucketName],
        now: Instant,
        out: &mut Effects<T>,
    ) {
        if *epoch != self.membership.epoch {
            self.membership.on_removed(epoch, buckets);
            return self.ask_for_buckets(epoch, now, out);
        }
        for name in buckets {
            if let Some(id) = self.buckets.find(&name.app_id, name.number)
                && self.buckets[id].stored.registration == Registration::Ending
            {
                self.buckets[id].stored.registration = Registration::No;
                self.make_ready_or_close(id, now, out);
            }
        }
    }

    /// The bucket has left Redis.
    pub(super) fn note_left(&mut self, id: BucketId, now: Instant) {
        self.buckets[id].stored.end = End::Left(now);
        self.timers.vacant.push_back((now, id));
    }

    /// Has buckets that have been vacant for long enough leave Redis, and those that have left it this process.
    pub(super) fn end_vacant(&mut self, now: Instant, out: &mut Effects<T>) {
        while let Some((since, id)) = self.timers.vacant.front().copied()
            && since + BUCKET_LINGER <= now
        {
            self.timers.vacant.pop_front();
            let Some(bucket) = self.buckets.get_mut(id) else {
                continue;
            };
            let end = &mut bucket.stored.end;
            match *end {
                End::Vacant(at) if at == since => *end = End::Due,
                End::Left(at) if at == since => *end = End::Open,
                _ => continue,
            }
            self.make_ready_or_close(id, now, out);
        }
    }

    /// Has the channel's state fetched once more when other nodes have had time to write theirs.
    pub(super) fn look_again(&mut self, id: BucketId, name: &str, now: Instant) {
        let at = now + LOSS_GRACE + Duration::from_millis(50);
        self.timers.grace.push_back((at, id, name.into()));
    }

    pub(super) fn look_again_due(&mut self, now: Instant) {
        while self.timers.grace.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, id, name)) = self.timers.grace.pop_front() else {
                return;
            };
            let channel = self
                .buckets
                .get_mut(id)
                .and_then(|bucket| bucket.channels.get_mut(&name));
            if let Some(shared) = channel.and_then(|channel| channel.shared.as_deref_mut())
                && shared.keep_missing_until.is_some()
                && !shared.keeps_missing(now)
            {
                shared.sync = shared.sync.doubted();
                self.touch(id, &name, now);
            }
        }
    }

    /// Once a second: ends waits that took too long, and removes former epochs.
    pub(super) fn keep_house(&mut self, now: Instant, out: &mut Effects<T>) {
        if now < self.timers.housekeeping_at {
            return;
        }
        self.timers.housekeeping_at = now + HOUSEKEEPING;
        self.queries.expire(now, out);
        if self.waiting.len() > 0 {
            self.expire_waiters(now, out);
        }
        if !self.link.is_down() {
            self.reap_formers(now, out);
        }
    }

    fn expire_waiters(&mut self, now: Instant, out: &mut Effects<T>) {
        for id in self.buckets.ids() {
            let channels = self.buckets[id].channels.iter();
            let is_late = |since: Instant| now.duration_since(since) >= WAITING_TIME_MAX;
            let late: Vec<Arc<str>> = channels
                .filter(|(_, channel)| channel.waiters.iter().any(|waiter| is_late(waiter.since)))
                .map(|(name, _)| Arc::clone(name))
                .collect();
            for name in late {
                self.answer_without_redis(id, &name, |waiter| is_late(waiter.since), out);
                self.touch(id, &name, now);
            }
        }
    }
}
