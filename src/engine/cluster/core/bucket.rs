//! Buckets: an app's channels by a hash of their names. What changes in one bucket is settled in batches, one at a time, so that a
//! batch whose answer was lost is repeated as it was, and several channels share a call.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Index, IndexMut},
    sync::Arc,
    time::Instant,
};

use slab::Slab;

use super::{
    arrivals::Senders,
    call::{Batch, Claim, Epoch},
    channel::Channel,
    queue::Queue,
};

/// Buckets of an app. All nodes of a cluster must agree on the number, and on [`bucket_of`]. Enough to spread one app over the
/// masters of a Redis Cluster, and few enough that busy channels share calls.
pub const BUCKETS: u8 = 64;

/// The bucket of a channel: FNV-1a of its name.
#[must_use]
pub fn bucket_of(name: &str) -> u8 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    u8::try_from((hash >> 16 ^ hash) % u32::from(BUCKETS)).expect("below the number of buckets")
}

/// One bucket of one app.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName {
    /// The app.
    pub app_id: Arc<str>,
    /// Below [`BUCKETS`].
    pub number: u8,
}

/// A bucket's index in this process.
pub(super) type BucketId = usize;

/// A bucket with channels of this node, or with something left to do.
pub(super) struct Bucket<T> {
    pub(super) name: BucketName,
    pub(super) channels: BTreeMap<Arc<str>, Channel<T>>,
    /// Channels to listen to.
    pub(super) listen: Queue,
    pub(super) listening: Listens,
    /// Channels to write.
    pub(super) write: Queue,
    pub(super) batch: Batching,
    pub(super) stored: Rows,
    pub(super) chores: Chores,
    /// Departures that this node is to claim.
    pub(super) marks: usize,
    pub(super) senders: Senders,
    pub(super) ready: Ready,
}

/// Whether channels are being listened to: a part of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listens {
    Idle,
    InFlight,
}

/// The batch that is under way.
#[derive(Clone, Debug)]
pub(super) enum Batching {
    Idle,
    InFlight(Arc<Batch>),
    /// The link was lost before the answer; it is sent again as it was.
    Unanswered(Arc<Batch>),
    /// Redis refused the last one; the next follows after a while.
    Resting,
}

/// What Redis has of this node in the bucket, under its present epoch.
#[derive(Default)]
pub(super) struct Rows {
    /// The last batch that was answered; 0: none.
    pub(super) acked: u64,
    pub(super) registration: Registration,
    /// The token of the last registration.
    pub(super) token: u64,
    pub(super) end: End,
}

impl Rows {
    /// The token for the next batch; 0 unless it is the first.
    pub(super) fn token_of_first(&self) -> u64 {
        if self.acked == 0 { self.token } else { 0 }
    }

    /// A batch was answered.
    pub(super) fn settle(&mut self, batch: &Batch) {
        self.acked = if batch.close { 0 } else { batch.number };
        self.end = End::Open;
    }
}

/// When the bucket leaves Redis: a while after it has become vacant, and is forgotten a while later, so that it is noticed when a
/// server takes over that has not heard the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Open,
    /// Nothing has been here since.
    Vacant(Instant),
    Due,
    /// It has left.
    Left(Instant),
}

/// Whether a node that removes this node's rows would find the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Registration {
    #[default]
    No,
    /// Redis was asked, and may have lost it or may never have heard it.
    Doubted,
    Asked,
    Yes,
    /// Nothing is left, and Redis was asked to forget it.
    Ending,
}

/// Where the bucket waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// Nothing can be done.
    No,
    /// Clients wait.
    Joins,
    /// No client waits.
    Rest,
}

/// What is to be settled besides rows.
#[derive(Default)]
pub(super) struct Chores {
    pub(super) claims: VecDeque<Claim>,
    pub(super) misses: VecDeque<Arc<str>>,
    /// Dead nodes whose rows this node removes, one after the other.
    pub(super) reaps: VecDeque<Reap>,
    pub(super) proof: Proof,
}

/// Whether it is to be checked that Redis still has the last batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Proof {
    #[default]
    Given,
    Wanted,
}

/// A dead node's rows in one bucket.
pub(super) struct Reap {
    pub(super) epoch: Epoch,
    /// Its channels, as far as they are known.
    pub(super) names: Vec<Arc<str>>,
}

impl Chores {
    pub(super) fn is_empty(&self) -> bool {
        let lists_are_empty =
            self.claims.is_empty() && self.misses.is_empty() && self.reaps.is_empty();
        lists_are_empty && self.proof == Proof::Given
    }
}

impl<T> Bucket<T> {
    fn new(name: BucketName) -> Self {
        Self {
            name,
            channels: BTreeMap::new(),
            listen: Queue::default(),
            listening: Listens::Idle,
            write: Queue::default(),
            batch: Batching::Idle,
            stored: Rows::default(),
            chores: Chores::default(),
            marks: 0,
            senders: Senders::default(),
            ready: Ready::No,
        }
    }

    /// Whether a batch could be sent, but for what holds all of them up.
    pub(super) fn has_batch(&self) -> bool {
        match self.batch {
            Batching::Unanswered(_) => true,
            Batching::InFlight(_) | Batching::Resting => false,
            Batching::Idle => !self.write.is_empty() || !self.chores.is_empty() || self.is_over(),
        }
    }

    /// Whether channels could be listened to.
    pub(super) fn has_listens(&self) -> bool {
        self.listening == Listens::Idle && !self.listen.is_empty()
    }

    /// Whether nothing is left here but the note in Redis that the node was here.
    pub(super) fn is_over(&self) -> bool {
        self.stored.end == End::Due && self.is_vacant()
    }

    /// Whether Redis may have rows of this node here, under its present epoch.
    pub(super) fn may_have_rows(&self) -> bool {
        self.stored.acked > 0 || !matches!(self.batch, Batching::Idle)
    }

    /// Whether nothing is left here.
    pub(super) fn is_vacant(&self) -> bool {
        self.channels.is_empty()
            && self.chores.is_empty()
            && self.marks == 0
            && self.listening == Listens::Idle
            && matches!(self.batch, Batching::Idle)
    }

    /// Whether Redis has everything that is known here.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.batch, Batching::Idle)
            && self.write.is_empty()
            && self.chores.is_empty()
            && self
                .channels
                .values()
                .all(|channel| !channel.is_out_of_date())
    }

    /// Where clients wait longest.
    pub(super) fn lane(&self, may_write: bool) -> Ready {
        let (listens, writes) = (self.has_listens(), may_write && self.has_batch());
        let joins = listens && self.listen.has_joins() || writes && self.write.has_joins();
        match (joins, listens || writes) {
            (true, _) => Ready::Joins,
            (false, true) => Ready::Rest,
            (false, false) => Ready::No,
        }
    }
}

/// All buckets of this process.
pub(super) struct Buckets<T> {
    slab: Slab<Bucket<T>>,
    apps: BTreeMap<Arc<str>, BTreeMap<u8, BucketId>>,
}

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self {
            slab: Slab::new(),
            apps: BTreeMap::new(),
        }
    }
}

impl<T> Buckets<T> {
    pub(super) fn find(&self, app_id: &str, number: u8) -> Option<BucketId> {
        self.apps.get(app_id)?.get(&number).copied()
    }

    pub(super) fn find_or_open(&mut self, app_id: &Arc<str>, number: u8) -> BucketId {
        if let Some(id) = self.find(app_id, number) {
            return id;
        }
        let name = BucketName {
            app_id: Arc::clone(app_id),
            number,
        };
        let id = self.slab.insert(Bucket::new(name));
        let theirs = self.apps.entry(Arc::clone(app_id)).or_default();
        theirs.insert(number, id);
        id
    }

    pub(super) fn close(&mut self, id: BucketId) {
        let Bucket { name, .. } = self.slab.remove(id);
        if let Some(theirs) = self.apps.get_mut(&name.app_id) {
            theirs.remove(&name.number);
            if theirs.is_empty() {
                self.apps.remove(&name.app_id);
            }
        }
        if self.slab.is_empty() {
            // Gives the memory of a rush back.
            self.slab = Slab::new();
        }
    }

    pub(super) fn get(&self, id: BucketId) -> Option<&Bucket<T>> {
        self.slab.get(id)
    }

    pub(super) fn get_mut(&mut self, id: BucketId) -> Option<&mut Bucket<T>> {
        self.slab.get_mut(id)
    }

    pub(super) fn ids(&self) -> Vec<BucketId> {
        self.slab.iter().map(|(id, _)| id).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket<T>> {
        self.slab.iter().map(|(_, bucket)| bucket)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (BucketId, &mut Bucket<T>)> {
        self.slab.iter_mut()
    }
}

impl<T> Index<BucketId> for Buckets<T> {
    type Output = Bucket<T>;

    fn index(&self, id: BucketId) -> &Self::Output {
        &self.slab[id]
    }
}

impl<T> IndexMut<BucketId> for Buckets<T> {
    fn index_mut(&mut self, id: BucketId) -> &mut Self::Output {
        &mut self.slab[id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spread_over_the_buckets() {
        let mut counts = [0; BUCKETS as usize];
        for number in 0..64_000 {
            counts[usize::from(bucket_of(&format!("outman-user-{number}")))] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
