//! What the core asks of Redis, and what comes back. The runner turns calls into commands and replies into answers; nothing here
//! knows the names of keys.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use super::{BucketName, Count};
use crate::{
    app::Replay,
    engine::{Cached, ChannelKey, EventId, SharedState},
    presence::Member,
};

/// Names a call until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(super) u64);

/// One request to Redis.
#[derive(Clone, Debug)]
pub enum Call {
    /// Hear what concerns all nodes, and what is sent to this one.
    ListenAsNode,
    /// Hear what is published on these channels of a bucket.
    Listen(BucketName, Vec<Arc<str>>),
    /// Hear it no more.
    Unlisten(BucketName, Vec<Arc<str>>),
    /// Settle a batch of changes.
    Write(Arc<Batch>),
    /// Publish messages, in this order.
    Publish(Vec<Message>),
    /// Renew the lease.
    Lease(LeaseRequest),
    /// Register buckets of an epoch. Each has the token that the epoch's first batch there must carry, or 0 if it has rows already.
    Register(Epoch, Vec<(BucketName, u64)>),
    /// Name some of the buckets in which a dead node may have rows.
    Buckets(Epoch),
    /// A node has no more rows in these.
    Forget(Epoch, Vec<BucketName>),
    /// A dead node has no rows anywhere.
    Bury(Epoch),
    /// Give the lease back.
    Resign(Epoch, Resignation),
    /// Answer a question from outside the core. The epoch is this node's.
    Query(Query, Epoch),
}

/// A node's identity in Redis between two losses of its lease.
pub type Epoch = Arc<str>;

/// What Redis answered.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The result of a batch.
    Written(Written),
    /// For each message how many nodes were sent it, if Redis says so, or why it could not be kept.
    Published(Vec<Result<usize, String>>),
    /// What a renewal found.
    Lease(Lease),
    /// Whether the buckets were noted; not without a lease.
    Registered(bool),
    /// Buckets of a dead node.
    Buckets(Vec<BucketName>),
    /// How many other nodes there are.
    Resigned(usize),
    /// The answer to a question.
    Query(QueryAnswer),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Redis refused this call, or answered what makes no sense. Others are not concerned.
    Refused(String),
    /// The connection is of no more use; whether the call was executed is unknown.
    LinkLost(String),
}

// --- Batches ---------------------------------------------------------------------------------------------

/// Changes of one node in one bucket, settled in one step. Serialises as the script takes it.
#[derive(Clone, Debug, Serialize)]
pub struct Batch {
    /// Where.
    #[serde(skip)]
    pub bucket: BucketName,
    /// The node's epoch.
    pub node: Epoch,
    /// Rises with every batch of the process.
    pub number: u64,
    /// The node's last batch in the bucket that was answered; 0: none under this epoch.
    pub after: u64,
    /// The token of the bucket's registration, in the first batch only; otherwise 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub token: u64,
    /// Earlier epochs whose rows pass to this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formers: Vec<Epoch>,
    /// The channels that change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Entry>,
    /// Departures that may be told now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Cache channels that a subscriber found empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misses: Vec<Arc<str>>,
    /// A dead node whose rows in the bucket this node removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reap: Option<Epoch>,
    /// The node has no more rows in the bucket.
    #[serde(skip_serializing_if = "is_false")]
    pub close: bool,
    /// The epoch was lost since: the batch is not executed any more, only asked for its answer if it was.
    #[serde(skip_serializing_if = "is_false")]
    pub too_late: bool,
}

/// What is to be true of one channel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: Arc<str>,
    /// The node's subscriptions.
    pub count: u32,
    /// What the app's backend hears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<&'static str>,
    /// Whether subscribers get `subscription_count`.
    #[serde(skip_serializing_if = "is_false")]
    pub tells: bool,
    /// Distinct users at most, -1 for no limit; `None` for a channel without members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Users who take a seat on this node: id and info.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<(Arc<str>, Arc<str>, Arriving)>,
    /// Users who give theirs back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub departing: Vec<Arc<str>>,
    /// Whether the channel's state is wanted.
    #[serde(skip_serializing_if = "is_false")]
    pub snapshot: bool,
    /// Whether it keeps its last event.
    #[serde(skip_serializing_if = "is_false")]
    pub cache: bool,
    /// Whether it shows its past.
    #[serde(skip_serializing_if = "is_false")]
    pub past: bool,
    /// Whether the node had rows here under a former epoch.
    #[serde(skip_serializing_if = "is_false")]
    pub was: bool,
    /// The dead node whose rows are removed; `None`: this node's change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Epoch>,
}

/// How a user takes a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arriving {
    /// With a new connection.
    New,
    /// The same of a session, which is the newest of its user from then on, even if it has a seat already.
    Newest,
    /// With connections that had a seat before.
    Again,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A departure and its mark in Redis: kind, channel, user, mark.
pub type Claim = (Departed, Arc<str>, Arc<str>, Arc<str>);

/// What departed, as scripts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Departed {
    /// A channel's last subscriber.
    #[serde(rename = "c")]
    Subscribers,
    /// A user.
    #[serde(rename = "u")]
    User,
    /// A number of subscribers whose report is deferred.
    #[serde(rename = "n")]
    Count,
}

/// The result of a batch.
#[derive(Debug, PartialEq)]
pub enum Written {
    /// It is settled.
    Settled(Box<Settled>),
    /// Redis does not know the bucket's registration: it was lost, or another one has followed.
    Unregistered,
    /// The node counts as dead under this epoch, or Redis lost its rows.
    Fenced(&'static str),
}

/// A settled batch.
#[derive(Debug, Default, PartialEq)]
pub struct Settled {
    /// One for each entry.
    pub results: Vec<EntryResult>,
    /// What the app's backend hears now.
    pub told: Vec<Told>,
    /// What it may hear later.
    pub pending: Vec<(Claim, Duration)>,
    /// Channels that a dead node still has; `None` when it has no more.
    pub remaining: Option<Vec<Arc<str>>>,
}

/// The result of one entry.
#[derive(Debug, PartialEq)]
pub enum EntryResult {
    /// It is settled; subscribers need nothing more.
    Plain,
    /// It is settled; what subscribers need.
    Shared(Box<Report>),
    /// It failed, and may be settled in part.
    Failed(String),
}

/// A channel's shared state.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    /// When the channel's state began; another number means that Redis lost it in between.
    pub generation: u64,
    /// The last edge.
    pub sequence: u64,
    /// Users for whom there was no room.
    pub refused: Vec<Arc<str>>,
    /// The whole, if it was asked for.
    pub shared: Option<SharedState>,
    /// How many subscriptions there are, if subscribers get that number.
    pub count: Option<Count>,
}

/// A change that an app's backend hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The channel.
    pub channel: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Its first subscriber came.
    Occupied,
    /// Its last subscriber went some time ago.
    Vacated,
    /// A user came.
    Added(Arc<str>),
    /// A user went some time ago.
    Removed(Arc<str>),
    /// It has another number of subscribers.
    Count(usize),
    /// A subscriber found no cached event.
    Missed,
    /// A session took the place of others.
    SessionReplaced(Arc<str>, Vec<String>),
    /// A session was not let in.
    SessionRefused(Arc<str>),
}

// --- Messages --------------------------------------------------------------------------------------------

/// A message to other nodes.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where to.
    pub to: Destination,
    /// As it travels.
    pub envelope: Bytes,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To all nodes.
    Nodes,
    /// To all nodes: the mark of this number in what was sent of this app.
    Mark(Arc<str>, u64),
    /// To one node.
    Node(u64),
    /// To the nodes that have subscribers of the channel.
    Channel(ChannelKey, Keep),
}

/// What is kept of an event for those who subscribe later. With the sender and number of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// It is the cache channel's last, for this many seconds.
    Last(EventId, u32),
    /// It is one of the channel's last.
    History(EventId, Replay),
}

// --- Leases ----------------------------------------------------------------------------------------------

/// A renewal of the node's lease. The runner adds the counts of connections.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The node.
    pub epoch: Epoch,
    /// Whether it is the first under this epoch.
    pub begins: bool,
    /// Earlier epochs that still have rows.
    pub formers: Vec<Epoch>,
    /// How many dead nodes to take on.
    pub take_max: usize,
    /// Dead nodes that this one works on.
    pub reaping: Vec<Epoch>,
}

/// What a renewal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Whether Redis had the node's lease, and nobody had taken the node on.
    pub was_held: bool,
    /// Dead nodes that are this one's to remove.
    pub taken: Vec<Epoch>,
    /// Nodes with a lease.
    pub nodes: usize,
    /// Nodes that listen.
    pub listening: usize,
}

/// How a lease is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resignation {
    /// Nothing is left.
    Done,
    /// Departures wait that another node is to claim.
    Handover,
}

// --- Questions -------------------------------------------------------------------------------------------

/// What is asked of Redis from outside the core.
#[derive(Clone, Debug)]
pub enum Query {
    /// The state of a channel; the last says whether the cached event is wanted.
    Channel(ChannelKey, bool),
    /// The members of a presence channel.
    Users(ChannelKey),
    /// Occupied channels of an app whose names begin with this; the last says whether users are counted.
    Occupied(Arc<str>, Arc<str>, bool),
    /// The nodes and their connections by app.
    Nodes,
    /// Have this node hold a name, unless another does that is not `instead_of`.
    Hold {
        /// The name.
        name: Arc<str>,
        /// A node that is gone.
        instead_of: Option<u64>,
    },
    /// Who holds a name.
    Holder(Arc<str>),
    /// Give a name back.
    Release(Arc<str>),
    /// Send a message to one node; the answer says whether it listens.
    Send(u64, Bytes),
}

/// A node's epoch, and its connections by app id.
pub type NodeConnections = (Epoch, HashMap<String, usize>);

/// The answer to a question.
#[derive(Debug)]
pub enum QueryAnswer {
    /// Subscriptions, users, and the cached event.
    Channel(usize, usize, Option<Cached>),
    /// The members.
    Users(Vec<Member>),
    /// Name, subscriptions, users.
    Occupied(Vec<(Arc<str>, usize, usize)>),
    /// All nodes; the first is this one.
    Nodes(Vec<NodeConnections>),
    /// A node, if any.
    Node(Option<u64>),
    /// Yes or no.
    Flag(bool),
}
