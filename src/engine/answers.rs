//! What the engine is asked with, and what it answers.

use std::{fmt, sync::Arc};

use futures_util::future::LocalBoxFuture;

use crate::{
    presence::Member,
    protocol::{Frame, SocketId},
};

/// What a new subscriber gets.
#[derive(Debug)]
pub struct Snapshot {
    /// Changes with a higher number come as events; all others are in this snapshot.
    pub since: u64,
    /// `pusher_internal:subscription_succeeded`, with the members of a presence channel.
    pub succeeded: Frame,
    /// `pusher_internal:subscription_count`, where it is enabled.
    pub count: Option<Frame>,
    /// The cached event of a cache channel, if it has one.
    pub cached: Option<Frame>,
    /// Past events, the oldest first, if the channel replays them.
    pub replayed: Vec<Frame>,
}

/// A cached event as the HTTP API shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Cached {
    /// The event as it was sent.
    pub frame: Frame,
    /// Whole seconds until it is forgotten.
    pub ttl_s: u64,
}

/// An occupied channel in a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Its name.
    pub name: Arc<str>,
    /// Connections that subscribe to it.
    pub subscriptions: usize,
    /// Distinct users; 0 where there are no members or users were not requested.
    pub users: usize,
}

/// Which attributes of a channel are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Distinct users; presence channels only.
    pub user_count: bool,
    /// Connections.
    pub subscription_count: bool,
    /// The cached event; cache channels only.
    pub cache: bool,
}

/// A channel's state. What was not asked for, or does not apply to this kind of channel, is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Whether anyone subscribes.
    pub occupied: bool,
    /// Distinct users.
    pub user_count: Option<usize>,
    /// Connections.
    pub subscription_count: Option<usize>,
    /// The cached event: `Some(None)` when the cache is empty.
    pub cache: Option<Option<Cached>>,
}

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Names it for as long as it keeps its lease.
    pub name: String,
    /// Whether it is this process.
    pub is_this: bool,
    /// Its clients, of all apps; another node's are as old as its last renewal.
    pub connections: usize,
}

/// Why a client may not enter a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterError {
    /// The presence channel has no room for one more user.
    Full,
    /// The cluster's state can't be reached at the moment.
    Unavailable,
}

/// The cluster's state can't be reached at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster's state can't be reached at the moment; try again in a second")
    }
}

/// An answer that is available now, or comes later.
pub enum Answer<T> {
    /// The answer.
    Now(T),
    /// A future of it.
    Later(LocalBoxFuture<'static, T>),
}

impl<T> Answer<T> {
    /// Waits for it if necessary.
    pub async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(future) => future.await,
        }
    }
}

/// A client on its way into a channel or out of it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its connection.
    pub socket: SocketId,
    /// Its user, on channels with members.
    pub member: Option<&'a Member>,
}
