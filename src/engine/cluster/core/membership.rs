//! This node among the others: its lease and epoch, and the removal of dead nodes' rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BucketName, Core, Effect, Effects, Notice,
    bucket::{BucketId, Proof, Reap, Registration, Rows},
    call::{Answer, Call, CallError, Epoch, Lease, LeaseRequest},
    channel::Former,
};

/// How often a node renews its lease.
pub(super) const RENEWAL: Duration = Duration::from_secs(2);
/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(6);
/// After a pause of Redis or of this node, the others have this long to renew their leases before they count as dead.
const REAP_GRACE: Duration = Duration::from_secs(4);
/// A renewal that takes longer is such a pause.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);
/// Dead nodes that are taken on with one renewal.
const TAKEN_MAX: usize = 4;
/// Former epochs whose rows may wait to be replaced. Of more, the oldest count as a dead node's.
const FORMERS_MAX: usize = 8;
/// Buckets that are registered together.
const REGISTERED_MAX: usize = 64;

/// This node's lease and epochs, and the dead nodes that it removes.
pub(super) struct Membership {
    pub(super) epoch: Epoch,
    epochs: u64,
    /// Earlier epochs whose rows are not replaced yet.
    pub(super) formers: Vec<Epoch>,
    /// Where those have rows; Redis may have lost its own list.
    traces: BTreeMap<Epoch, BTreeSet<BucketName>>,
    holding: Holding,
    renewal: Renewal,
    /// Since when renewals have come in time.
    steady_since: Option<Instant>,
    pub(super) to_register: Vec<BucketId>,
    /// Buckets of former epochs to register again, because Redis may have lost their registrations.
    to_register_again: Vec<(Epoch, BucketName)>,
    reaping: BTreeMap<Epoch, Reaping>,
    /// Nodes with a lease, and those of them that listen, as of the last renewal.
    pub(super) census: (usize, usize),
}

/// Whether the node may write rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// There was no lease under this epoch yet.
    NotYet,
    Yes,
    /// There was one; whether it still holds is not known.
    Unknown,
}

/// The lease's next renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    Due(Instant),
    /// Since when, and when another is wanted at the latest.
    UnderWay(Instant, Option<Instant>),
}

/// How far the removal of a dead node's rows has come.
#[derive(Default)]
struct Reaping {
    /// Buckets that are being worked on.
    open: usize,
    done: Vec<BucketName>,
    channels: usize,
}

impl Membership {
    pub(super) fn new(node: u64, now: Instant) -> Self {
        Self {
            epoch: epoch(node, 1),
            epochs: 1,
            formers: Vec::new(),
            traces: BTreeMap::new(),
            holding: Holding::NotYet,
            renewal: Renewal::Due(now),
            steady_since: None,
            to_register: Vec::new(),
            to_register_again: Vec::new(),
            reaping: BTreeMap::new(),
            census: (1, 0),
        }
    }

    pub(super) fn holds_lease(&self) -> bool {
        self.holding == Holding::Yes
    }

    /// When the lease is to be renewed.
    pub(super) fn renewal_due(&self) -> Option<Instant> {
        match self.renewal {
            Renewal::Due(at) => Some(at),
            Renewal::UnderWay(..) => None,
        }
    }

    /// Has the lease renewed at the next occasion.
    pub(super) fn renew_at(&mut self, at: Instant) {
        match &mut self.renewal {
            Renewal::Due(due) => *due = (*due).min(at),
            Renewal::UnderWay(_, next) => *next = Some(next.map_or(at, |next| next.min(at))),
        }
    }

    /// The link is lost: whether the lease still holds is unknown.
    pub(super) fn doubt(&mut self, now: Instant) {
        if self.holding == Holding::Yes {
            self.holding = Holding::Unknown;
        }
        self.renewal = Renewal::Due(now);
        self.steady_since = None;
        self.to_register.clear();
        self.to_register_again.clear();
        for reaping in self.reaping.values_mut() {
            // A server that takes over may have the rows still. As long as a bucket is listed, it is looked at again.
            reaping.done.clear();
        }
    }

    fn take_epoch(&mut self, node: u64, now: Instant) -> Epoch {
        self.epochs += 1;
        let former = std::mem::replace(&mut self.epoch, epoch(node, self.epochs));
        if self.holding != Holding::NotYet {
            self.formers.push(Arc::clone(&former));
        }
        if self.formers.len() > FORMERS_MAX {
            let oldest = self.formers.remove(0);
            self.traces.remove(&oldest);
        }
        self.holding = Holding::NotYet;
        self.renewal = Renewal::Due(now);
        former
    }

    /// Registers the rows of former epochs again, so that other nodes find them if this node ends.
    fn register_formers(&mut self) {
        let traces = self.traces.iter();
        let traces = traces
            .flat_map(|(epoch, names)| names.iter().map(|name| (epoch.clone(), name.clone())));
        self.to_register_again = traces.collect();
    }

    /// Some of the buckets of a former epoch.
    fn next_of_formers(&mut self) -> Option<(Epoch, Vec<(BucketName, u64)>)> {
        let (epoch, _) = self.to_register_again.last()?;
        let epoch = Arc::clone(epoch);
        let mut names = Vec::new();
        while names.len() < REGISTERED_MAX
            && let Some((_, name)) = self.to_register_again.pop_if(|(its, _)| *its == epoch)
        {
            names.push((name, 0));
        }
        Some((epoch, names))
    }

    /// An epoch has no more rows in these buckets.
    pub(super) fn on_removed(&mut self, epoch: &Epoch, buckets: &[BucketName]) {
        if let Some(traces) = self.traces.get_mut(epoch) {
            for name in buckets {
                traces.remove(name);
            }
        }
    }

    /// Whether rows of dead nodes or of former epochs are to be removed.
    pub(super) fn has_rows_to_remove(&self) -> bool {
        !self.reaping.is_empty() || !self.formers.is_empty()
    }

    /// How many dead nodes may be taken on: none before the others have had time to renew their leases.
    fn take_max(&self, now: Instant) -> usize {
        let is_steady = self
            .steady_since
            .is_some_and(|since| now.duration_since(since) >= REAP_GRACE);
        if is_steady {
            TAKEN_MAX.saturating_sub(self.reaping.len())
        } else {
            0
        }
    }
}

fn epoch(node: u64, number: u64) -> Epoch {
    format!("{}.{number}", node_name(node)).into()
}

/// What operators call a node; its epochs begin with it.
#[must_use]
pub fn node_name(node: u64) -> String {
    format!("{node:016x}")
}

impl<T> Core<T> {
    pub(super) fn renew_if_due(&mut self, now: Instant, out: &mut Effects<T>) {
        if self.membership.renewal_due().is_none_or(|due| now < due) {
            return;
        }
        let is_closing = self.is_closing();
        let membership = &mut self.membership;
        membership.renewal = Renewal::UnderWay(now, None);
        let request = LeaseRequest {
            epoch: Arc::clone(&membership.epoch),
            begins: membership.holding == Holding::NotYet,
            formers: membership.formers.clone(),
            take_max: if is_closing {
                0
            } else {
                membership.take_max(now)
            },
            reaping: membership.reaping.keys().cloned().collect(),
        };
        self.call(Call::Lease(request), 1, now, out);
    }

    pub(super) fn on_lease(
        &mut self,
        request: &LeaseRequest,
        result: Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let lease = match result {
            Ok(Answer::Lease(lease)) => lease,
            // Without a lease nothing else makes sense.
            Err(CallError::Refused(reason)) => return self.lose_link(&reason, now, out),
            _ => return self.lose_link("the lease could not be renewed", now, out),
        };
        if request.epoch != self.membership.epoch {
            return;
        }
        if !lease.was_held && !request.begins {
            return self.lose_epoch("its lease was lost", now, out);
        }
        let membership = &mut self.membership;
        let (took, wanted) = match membership.renewal {
            Renewal::UnderWay(since, wanted) => (now.duration_since(since), wanted),
            Renewal::Due(_) => (Duration::ZERO, None),
        };
        if took > RENEWAL_PATIENCE {
            membership.steady_since = None;
        }
        membership.steady_since.get_or_insert(now);
        let usual = now + self.link.renewal_interval();
        self.membership.renewal = Renewal::Due(wanted.map_or(usual, |at| at.min(usual)));
        self.hold_lease(lease, now, out);
    }

    fn hold_lease(&mut self, lease: Lease, now: Instant, out: &mut Effects<T>) {
        let membership = &mut self.membership;
        membership.census = (lease.nodes, lease.listening);
        let is_new = membership.holding != Holding::Yes;
        membership.holding = Holding::Yes;
        if is_new {
            membership.register_formers();
            for id in self.buckets.ids() {
                self.make_ready(id);
            }
        }
        self.link_is_proven(now, out);
        if self.is_closing() {
            // Dead nodes are left to the others.
            return;
        }
        for dead in lease.taken {
            self.take_on(dead, now, out);
        }
    }

    /// The rows under the present epoch are lost: all are written again under the next one.
    pub(super) fn lose_epoch(&mut self, reason: &'static str, now: Instant, out: &mut Effects<T>) {
        let former = self.membership.take_epoch(self.settings.node, now);
        let with_rows = self.buckets.iter().filter(|bucket| bucket.may_have_rows());
        let with_rows = with_rows.map(|bucket| bucket.name.clone()).collect();
        if self.membership.formers.contains(&former) {
            self.membership
                .traces
                .insert(Arc::clone(&former), with_rows);
        }
        out.push(Effect::Report(Notice::NewEpoch {
            former,
            epoch: Arc::clone(&self.membership.epoch),
            reason,
        }));
        self.membership.to_register.clear();
        self.hold_back_if_unproven(now);
        for (_, bucket) in self.buckets.iter_mut() {
            bucket.stored = Rows::default();
            bucket.chores.proof = Proof::Given;
            bucket.write.clear();
            for channel in bucket.channels.values_mut() {
                channel.begin_anew();
            }
        }
        self.doubt_histories(out);
        self.touch_all(now);
        for id in self.buckets.ids() {
            self.make_ready_or_close(id, now, out);
        }
    }

    /// Has every channel looked at.
    pub(super) fn touch_all(&mut self, now: Instant) {
        for id in self.buckets.ids() {
            let names: Vec<Arc<str>> = self.buckets[id].channels.keys().cloned().collect();
            for name in names {
                self.touch(id, &name, now);
            }
            self.make_ready(id);
        }
    }

    // --- Registration ------------------------------------------------------------------------------------

    /// Registers buckets, as far as there is room for calls: joins wait for it.
    pub(super) fn register(&mut self, now: Instant, out: &mut Effects<T>) {
        while self.membership.holds_lease() && self.calls.has_room_for_joins() {
            let own = self.next_to_register();
            let next = own.or_else(|| self.membership.next_of_formers());
            let Some((epoch, names)) = next else { return };
            let weight = u32::try_from(1 + names.len()).unwrap_or(u32::MAX);
            self.call(Call::Register(epoch, names), weight, now, out);
        }
    }

    /// Some of the buckets in which this epoch is about to have rows, or whose registration is in doubt.
    fn next_to_register(&mut self) -> Option<(Epoch, Vec<(BucketName, u64)>)> {
        let waiting = &mut self.membership.to_register;
        if waiting.is_empty() {
            return None;
        }
        let some: Vec<BucketId> = waiting.drain(..waiting.len().min(REGISTERED_MAX)).collect();
        self.next_batch += 1;
        let mut names = Vec::new();
        for id in some {
            if let Some(bucket) = self.buckets.get_mut(id) {
                let has_rows = bucket.stored.acked > 0;
                bucket.stored.token = if has_rows { 0 } else { self.next_batch };
                names.push((bucket.name.clone(), bucket.stored.token));
            }
        }
        (!names.is_empty()).then(|| (Arc::clone(&self.membership.epoch), names))
    }

    pub(super) fn on_registered(
        &mut self,
        epoch: &Epoch,
        buckets: &[(BucketName, u64)],
        result: &Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        if *epoch != self.membership.epoch {
            return;
        }
        let registration = match result {
            Ok(Answer::Registered(true)) => Registration::Yes,
            Ok(Answer::Registered(false)) => {
                return self.lose_epoch("its lease was lost", now, out);
            }
            _ => Registration::Doubted,
        };
        for (name, _) in buckets {
            let Some(id) = self.buckets.find(&name.app_id, name.number) else {
                continue;
            };
            self.buckets[id].stored.registration = registration;
            if registration == Registration::Yes {
                self.make_ready_or_close(id, now, out);
            } else {
                // Asked again with the next change, or after a while.
                self.timers.failures.rest(id, now);
            }
        }
    }

    // --- Dead nodes --------------------------------------------------------------------------------------

    /// A dead node, or a former epoch of this one, is this node's to remove.
    fn take_on(&mut self, dead: Epoch, now: Instant, out: &mut Effects<T>) {
        if dead == self.membership.epoch {
            return;
        }
        let reaping = &mut self.membership.reaping;
        reaping.entry(Arc::clone(&dead)).or_default();
        self.ask_for_buckets(&dead, now, out);
    }

    /// After a new link: goes on with what was begun.
    pub(super) fn resume_reaping(&mut self, now: Instant, out: &mut Effects<T>) {
        let reaping = self.membership.reaping.iter();
        let idle = reaping.filter(|(_, reaping)| reaping.open == 0);
        let idle: Vec<Epoch> = idle.map(|(dead, _)| Arc::clone(dead)).collect();
        for dead in idle {
            self.ask_for_buckets(&dead, now, out);
        }
    }

    pub(super) fn ask_for_buckets(&mut self, dead: &Epoch, now: Instant, out: &mut Effects<T>) {
        if self.membership.reaping.contains_key(dead) {
            self.call(Call::Buckets(Arc::clone(dead)), 1, now, out);
        }
    }

    pub(super) fn on_buckets(
        &mut self,
        dead: &Epoch,
        result: Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let names: BTreeSet<BucketName> = match result {
            Ok(Answer::Buckets(names)) => {
                let own = self
                    .membership
                    .traces
                    .get(dead)
                    .cloned()
                    .unwrap_or_default();
                names.into_iter().chain(own).collect()
            }
            // Somebody takes the node on when this node's time for it is over.
            _ => {
                self.membership.reaping.remove(dead);
                return;
            }
        };
        let Some(reaping) = self.membership.reaping.get_mut(dead) else {
            return;
        };
        if names.is_empty() {
            let channels = reaping.channels;
            self.membership.reaping.remove(dead);
            self.membership.formers.retain(|former| former != dead);
            self.membership.traces.remove(dead);
            self.call(Call::Bury(Arc::clone(dead)), 1, now, out);
            let node = Arc::clone(dead);
            return out.push(Effect::Report(Notice::Reaped { node, channels }));
        }
        reaping.open += names.len();
        for name in names {
            let id = self.buckets.find_or_open(&name.app_id, name.number);
            self.buckets[id].chores.reaps.push_back(Reap {
                epoch: Arc::clone(dead),
                names: Vec::new(),
            });
            self.make_ready(id);
        }
    }

    /// Some or all of a dead node's rows in a bucket have been removed.
    pub(super) fn on_reaped(
        &mut self,
        id: BucketId,
        dead: &Epoch,
        remaining: Option<Vec<Arc<str>>>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let bucket = &mut self.buckets[id];
        let reaping = self.membership.reaping.get_mut(dead);
        let is_first = |reap: &Reap| reap.epoch == *dead;
        if let Some(names) = remaining {
            if let Some(reaping) = reaping {
                reaping.channels += names.len();
            }
            if let Some(reap) = bucket
                .chores
                .reaps
                .front_mut()
                .filter(|reap| is_first(reap))
            {
                reap.names = names;
            }
            return;
        }
        if bucket.chores.reaps.front().is_some_and(is_first) {
            bucket.chores.reaps.pop_front();
        }
        let Some(reaping) = reaping else { return };
        reaping.open = reaping.open.saturating_sub(1);
        reaping.done.push(bucket.name.clone());
        if reaping.open == 0 {
            let done = std::mem::take(&mut reaping.done);
            self.call(Call::Forget(Arc::clone(dead), done), 1, now, out);
        }
    }

    /// When every row of former epochs is replaced, this node removes what is left of them.
    pub(super) fn reap_formers(&mut self, now: Instant, out: &mut Effects<T>) {
        let is_replaced = || {
            self.buckets.iter().all(|bucket| {
                let mut channels = bucket.channels.values();
                channels.all(|channel| channel.former == Former::Nothing)
            })
        };
        if !self.membership.holds_lease()
            || self.membership.formers.is_empty()
            || !self.membership.reaping.is_empty()
            || !is_replaced()
        {
            return;
        }
        for former in self.membership.formers.clone() {
            self.take_on(former, now, out);
        }
    }
}
