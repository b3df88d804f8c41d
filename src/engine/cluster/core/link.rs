//! The link to Redis: up or down, and how a new link continues the work of the last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Apps, Change, Core, Effect, Effects, Notice, RedisMode,
    bucket::{Batching, BucketId, BucketName, End, Listens, Proof, Ready, Registration},
    call::{Answer, Call, CallError},
    channel::{Channel, Listening, Stage, Sync},
    key_of,
    membership::RENEWAL,
};
use crate::engine::EnterError;

/// Pauses before the attempts to reach Redis; the last one repeats. Short, so that the node is back within two seconds.
const BACK_OFF: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];
/// A link that did not live for so long counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// How long clients that need Redis wait for a lost link to return; then they are refused, to try again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where servers are replicated, all channels are listened to once more so long after a link is up: while a master of a Redis Cluster
/// changes, the client library (redis 1.8) may open several connections to the new one at once, and drops all but one with the
/// subscriptions that they have.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);
/// Topics of one call.
const LISTENS_MAX: usize = 128;
/// How long messages wait at least for the other nodes to listen again, if the link was away for as long, or the lease was lost.
const HOLD_MIN: Duration = Duration::from_secs(1);
/// How long they wait at most.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// While messages wait, the lease is renewed this often, to see who listens.
const HOLD_RENEWAL: Duration = Duration::from_millis(100);

/// The way to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// An attempt is under way.
    Down,
    /// It is up; whether Redis accepts writes is not known yet.
    Unproven {
        since: Instant,
    },
    Up {
        since: Instant,
    },
}

/// Whether messages wait until the other nodes listen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    No,
    Until { min: Instant, max: Instant },
}

/// Whether the node hears what concerns all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsNode {
    No,
    Asked,
    Yes,
}

/// The link, and what hangs on it.
pub(super) struct LinkState {
    link: Link,
    hold: Hold,
    as_node: AsNode,
    /// Attempts that failed since a link lived long enough.
    failed: usize,
    /// When the last link was lost.
    lost_at: Option<Instant>,
    /// Until when clients wait for the next one.
    patient_until: Option<Instant>,
    /// When all channels are listened to once more.
    listen_again_at: Option<Instant>,
}

impl Default for LinkState {
    fn default() -> Self {
        Self {
            link: Link::Down,
            hold: Hold::No,
            as_node: AsNode::No,
            failed: 0,
            lost_at: None,
            patient_until: None,
            listen_again_at: None,
        }
    }
}

impl LinkState {
    pub(super) fn is_down(&self) -> bool {
        self.link == Link::Down
    }

    /// Whether clients that need Redis wait for the next link.
    pub(super) fn is_patient(&self) -> bool {
        self.patient_until.is_some()
    }

    /// When they stop waiting, or channels are listened to once more.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let times = [self.patient_until, self.listen_again_at];
        times.into_iter().flatten().min()
    }

    /// How often the lease is renewed.
    pub(super) fn renewal_interval(&self) -> Duration {
        match self.hold {
            Hold::No => RENEWAL,
            Hold::Until { .. } => HOLD_RENEWAL,
        }
    }

    /// Whether messages may go out.
    pub(super) fn carries_messages(&self) -> bool {
        matches!(self.link, Link::Up { .. }) && self.hold == Hold::No
    }
}

impl<T> Core<T> {
    /// The runner has a connection.
    pub(super) fn on_connected(&mut self, now: Instant, out: &mut Effects<T>) {
        if !self.link.is_down() {
            return;
        }
        self.link.link = Link::Unproven { since: now };
        self.link.as_node = AsNode::No;
        self.link.patient_until = None;
        let away = self.link.lost_at.take();
        let away = away.map_or(Duration::ZERO, |lost_at| now.duration_since(lost_at));
        self.link.hold = Hold::Until {
            min: now + away.min(HOLD_MIN),
            max: now + HOLD_MAX,
        };
        self.membership.renew_at(now);
        self.renew_if_due(now, out);
        for id in self.buckets.ids() {
            let bucket = &mut self.buckets[id];
            bucket.ready = Ready::No;
            // A server that took over may not have it.
            if bucket.stored.registration != Registration::No {
                bucket.stored.registration = Registration::Doubted;
            }
            if bucket.stored.acked > 0 {
                bucket.chores.proof = Proof::Wanted;
            }
            if let End::Left(_) = bucket.stored.end {
                bucket.stored.end = End::Due;
            }
        }
        self.touch_all(now);
        for id in self.buckets.ids() {
            self.make_ready_or_close(id, now, out);
        }
        self.resume_reaping(now, out);
    }

    /// The lease was renewed, so Redis can be written to.
    pub(super) fn link_is_proven(&mut self, now: Instant, out: &mut Effects<T>) {
        if let Link::Unproven { since } = self.link.link {
            self.link.link = Link::Up { since };
            let is_replicated = self.settings.mode == RedisMode::Replicated;
            self.link.listen_again_at = is_replicated.then_some(now + LISTEN_AGAIN);
            out.push(Effect::Reachable(true));
            out.push(Effect::Report(Notice::LinkUp));
        }
        let (nodes, listening) = self.membership.census;
        if let Hold::Until { min, max } = self.link.hold
            && (now >= max || (now >= min && listening >= nodes))
        {
            self.link.hold = Hold::No;
        }
    }

    /// The lease was lost together with the link: so were the other nodes' perhaps, and messages wait for them.
    pub(super) fn hold_back_if_unproven(&mut self, now: Instant) {
        if let Link::Unproven { .. } = self.link.link {
            self.link.hold = Hold::Until {
                min: now + HOLD_MIN,
                max: now + HOLD_MAX,
            };
        }
    }

    /// The runner could not connect.
    pub(super) fn on_connect_failed(&mut self, reason: String, out: &mut Effects<T>) {
        if self.link.is_down() {
            out.push(Effect::Report(Notice::StillDown(reason)));
            self.link.failed += 1;
            self.connect(out);
        }
    }

    fn connect(&mut self, out: &mut Effects<T>) {
        self.link.link = Link::Down;
        let attempt = self.link.failed.min(BACK_OFF.len() - 1);
        out.push(Effect::Connect(BACK_OFF[attempt]));
    }

    /// The link is of no more use. What was under way goes on with the next one.
    pub(super) fn lose_link(&mut self, reason: &str, now: Instant, out: &mut Effects<T>) {
        let (since, was_up) = match self.link.link {
            Link::Down => return,
            Link::Unproven { since } => (since, false),
            Link::Up { since } => (since, true),
        };
        if was_up {
            out.push(Effect::Report(Notice::LinkDown(reason.to_owned())));
            out.push(Effect::Reachable(false));
        } else {
            out.push(Effect::Report(Notice::StillDown(reason.to_owned())));
        }
        self.link.lost_at.get_or_insert(now);
        self.link.listen_again_at = None;
        self.link.patient_until = was_up.then_some(now + PATIENCE);
        for call in self.calls.take_all() {
            self.on_lost_call(call);
        }
        self.calls.clear_turns();
        self.membership.doubt(now);
        self.queries.refuse_all(out);
        self.outgoing.on_link_lost();
        let is_short = now.duration_since(since) < SHORT_LIFE;
        self.link.failed = if !was_up || is_short {
            self.link.failed + 1
        } else {
            0
        };
        // Where another server may take over, it may not have heard the latest.
        let suspects_loss = self.settings.mode != RedisMode::Single;
        for id in self.buckets.ids() {
            self.suspend(id, suspects_loss, out);
        }
        self.doubt_histories(out);
        self.connect(out);
    }

    /// A call whose answer will never come.
    pub(super) fn on_lost_call(&mut self, call: Call) {
        if let Call::Write(batch) = call
            && let Some(id) = self.buckets.find(&batch.bucket.app_id, batch.bucket.number)
            && matches!(self.buckets[id].batch, Batching::InFlight(_))
        {
            self.buckets[id].batch = Batching::Unanswered(batch);
        }
    }

    /// Listens to all channels once more, and fetches what may have been missed meanwhile.
    pub(super) fn listen_again_if_due(&mut self, now: Instant, out: &mut Effects<T>) {
        if self.link.listen_again_at.is_none_or(|at| now < at) {
            return;
        }
        self.link.listen_again_at = None;
        if self.link.as_node == AsNode::Yes {
            self.link.as_node = AsNode::No;
        }
        for (_, bucket) in self.buckets.iter_mut() {
            for channel in bucket.channels.values_mut() {
                if channel.listening == Listening::Yes && channel.subscriptions > 0 {
                    channel.listening = Listening::No;
                }
            }
        }
        self.doubt_everything(now, out);
    }

    /// Refuses clients that have waited for a new link for long enough.
    pub(super) fn lose_patience(&mut self, now: Instant, out: &mut Effects<T>) {
        if self.link.patient_until.is_none_or(|until| now < until) {
            return;
        }
        self.link.patient_until = None;
        for id in self.buckets.ids() {
            self.answer_impatient(id, out);
        }
    }

    /// The node hears none of the bucket's channels any more. Clients that need Redis wait for the next link, the others enter.
    fn suspend(&mut self, id: BucketId, suspects_loss: bool, out: &mut Effects<T>) {
        let bucket = &mut self.buckets[id];
        bucket.listening = Listens::Idle;
        bucket.listen.clear();
        bucket.ready = Ready::No;
        for channel in bucket.channels.values_mut() {
            channel.suspend(suspects_loss);
        }
        self.answer_impatient(id, out);
    }

    /// Answers all clients of a bucket that do not wait for the next link.
    fn answer_impatient(&mut self, id: BucketId, out: &mut Effects<T>) {
        let is_patient = self.link.is_patient();
        let channels = self.buckets[id].channels.iter();
        let waited_for = channels.filter(|(_, channel)| !channel.waiters.is_empty());
        let names: Vec<Arc<str>> = waited_for
            .filter(|(_, channel)| !(is_patient && channel.needs_state()))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in names {
            self.answer_without_redis(id, &name, |_| true, out);
        }
    }

    /// Events published while the link is down are missing from every history.
    pub(super) fn doubt_histories(&mut self, out: &mut Effects<T>) {
        for bucket in self.buckets.iter() {
            for (name, channel) in &bucket.channels {
                let shared = channel.shared.as_deref();
                if shared.is_some_and(|shared| shared.replay.is_some()) {
                    let key = key_of(bucket, name, channel.kind);
                    out.push(Effect::Change(key, Change::DoubtedPast));
                }
            }
        }
    }

    // --- Listening ---------------------------------------------------------------------------------------

    /// Listens to some of the channels that wait for it.
    pub(super) fn send_listens(&mut self, id: BucketId, now: Instant, out: &mut Effects<T>) {
        let bucket = &mut self.buckets[id];
        if !bucket.has_listens() {
            return;
        }
        let mut names = Vec::new();
        while names.len() < LISTENS_MAX {
            let Some(name) = bucket.listen.pop() else {
                break;
            };
            if let Some(channel) = bucket.channels.get_mut(&name)
                && channel.listening == Listening::Queued
            {
                channel.listening = Listening::Asked;
                names.push(name);
            }
        }
        if names.is_empty() {
            return;
        }
        bucket.listening = Listens::InFlight;
        let name = bucket.name.clone();
        let weight = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.call(Call::Listen(name, names), weight, now, out);
    }

    pub(super) fn on_listening(
        &mut self,
        bucket: &BucketName,
        names: &[Arc<str>],
        result: &Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let Some(id) = self.buckets.find(&bucket.app_id, bucket.number) else {
            return;
        };
        self.buckets[id].listening = Listens::Idle;
        for name in names {
            let Some(channel) = self.buckets[id].channels.get_mut(name) else {
                continue;
            };
            if result.is_ok() {
                channel.listening = match channel.listening {
                    Listening::AskedInDoubt => Listening::No,
                    _ => Listening::Yes,
                };
                self.touch(id, name, now);
            } else {
                channel.listening = Listening::No;
                self.fail_listening(id, name, now, out);
            }
        }
        self.make_ready_or_close(id, now, out);
    }

    /// Redis refuses to let the node listen: waiting clients are refused, and it is tried again later.
    fn fail_listening(
        &mut self,
        id: BucketId,
        name: &Arc<str>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        if let Some(channel) = self.buckets[id].channels.get_mut(name) {
            let refused = channel.dismiss(|waiter| waiter.stage == Stage::Queued);
            self.answer(id, refused, Err(EnterError::Unavailable), out);
        }
        self.timers.failures.retry_later(id, name, now);
    }

    /// Listens as a node once all channels are listened to: who counts the listeners then knows that nothing is missed.
    pub(super) fn listen_as_node(&mut self, now: Instant, out: &mut Effects<T>) {
        let is_due = self.link.as_node == AsNode::No
            && matches!(self.link.link, Link::Up { .. })
            && self
                .buckets
                .iter()
                .all(|bucket| bucket.listening == Listens::Idle && bucket.listen.is_empty());
        if is_due {
            self.link.as_node = AsNode::Asked;
            self.call(Call::ListenAsNode, 1, now, out);
        }
    }

    pub(super) fn on_listening_as_node(
        &mut self,
        result: &Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        match result {
            Ok(_) => {
                self.link.as_node = AsNode::Yes;
                self.membership.renew_at(now);
                self.say_hello();
                // Announcements before this moment were not heard.
                out.push(Effect::Apps(Apps::Doubted));
            }
            Err(error) => self.lose_link(&format!("{error:?}"), now, out),
        }
    }
}

impl<T> Channel<T> {
    /// The link is lost.
    fn suspend(&mut self, suspects_loss: bool) {
        self.listening = Listening::No;
        if let Some(shared) = self.shared.as_deref_mut() {
            shared.sync = if suspects_loss {
                Sync::Suspect
            } else {
                shared.sync.doubted()
            };
            shared.kept.heard_last = false;
            shared.early.clear();
        }
    }
}
