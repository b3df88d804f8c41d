//! State that a channel has beyond its subscribers: members, the cached event, and counts that are true for the whole
//! cluster. One implementation keeps it in this process, the other in Redis.

mod channels;
mod edge;
mod history;
mod local;
mod redis;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::LocalBoxFuture;

pub use self::{
    channels::ChannelStates,
    edge::{ChannelEdge, EdgeSink, Edges, Heard},
    local::LocalEngine,
    redis::{NodeId, Post, RedisEngine},
};
use crate::{
    app::Replay,
    hub::{AppChannels, Change, Channel, Delivery, Hub, Receipt},
    presence::Member,
    protocol::{ChannelName, Frame, SocketId},
};

/// What a new subscriber needs to know.
#[derive(Debug)]
pub struct Snapshot {
    /// Changes with a higher number come as events; all others are in this snapshot.
    pub since: u64,
    /// `pusher_internal:subscription_succeeded`, with the members of a presence channel.
    pub succeeded: Frame,
    /// The cached event of a cache channel, if it has one.
    pub cached: Option<Frame>,
    /// Events from before, the oldest first, if the channel shows them.
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
    /// Distinct users; 0 where there are no members.
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
    /// Whether it is this one.
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
        f.write_str("the cluster's state is out of reach at the moment; try again in a second")
    }
}

/// An answer that is here already, or has to come from elsewhere.
pub enum Answer<T> {
    /// Here.
    Now(T),
    /// On its way.
    Later(LocalBoxFuture<'static, T>),
}

impl<T> Answer<T> {
    /// Waits for it if need be.
    pub async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(future) => future.await,
        }
    }
}

/// Where channel state lives. Every change is atomic with its announcement: whoever enters gets a snapshot and then exactly
/// the changes that it did not include. Called from the shards' threads; nothing here blocks.
pub trait Engine: Send + Sync {
    /// Whether publishers may publish: `false` while more waits for other nodes than may be held.
    fn has_room(&self) -> bool;

    /// A client enters; the hub knows it already. Announces `member_added` if it is the user's first connection. When the
    /// answer is good, the client is seated with a [`Engine::snapshot`] taken on its own thread. A refused client has entered
    /// nothing; one that does not wait for the answer calls [`Engine::leave`].
    fn enter(
        &self,
        channel: &Arc<Channel>,
        socket: SocketId,
        member: Option<&Member>,
        max_members: usize,
        now: Instant,
    ) -> Answer<Result<(), EnterError>>;

    /// What a client is told that takes its seat now.
    fn snapshot(&self, channel: &Arc<Channel>, socket: SocketId, now: Instant) -> Snapshot;

    /// Whether a newer session than this one has come into a user's session channel.
    fn is_replaced(&self, channel: &Channel, session: &str) -> bool;

    /// Whether the user of an online channel is signed in somewhere, as its subscribers were told.
    fn is_online(&self, channel: &Channel) -> bool;

    /// A client has left; the hub knows it already. Announces `member_removed` if it was the user's last connection.
    fn leave(
        &self,
        channel: &Arc<Channel>,
        socket: SocketId,
        member: Option<&Member>,
        now: Instant,
    );

    /// A channel has its first subscriber on this node. Called under the hub's lock of the channel: it must not call the hub.
    /// Nothing to do where occupation is counted across nodes.
    fn first_came(&self, _channel: &Channel) {}

    /// A channel has lost its last subscriber on this node. Called as [`Engine::first_came`].
    fn last_left(&self, _channel: &Channel) {}

    /// A client was told on subscribing that a cache channel has no event.
    fn missed(&self, channel: &Arc<Channel>);

    /// Whether there may be other nodes, so that an event without a subscriber here must be carried on.
    fn spans_nodes(&self) -> bool;

    /// The way to one other node, if there may be any.
    fn post(&self) -> Option<Post>;

    /// Carries an event to the other nodes; this node's subscribers have it already.
    fn forward(&self, app_id: &Arc<str>, name: &str, frame: &Frame, except: Option<SocketId>);

    /// Keeps the event as the channel's last, delivers it to this node's subscribers and carries it to the others.
    fn remember(&self, event: CacheableEvent<'_>, ttl: Duration);

    /// Adds the event to the channel's history, delivers it to this node's subscribers and carries it to the others.
    fn record(&self, event: CacheableEvent<'_>, replay: Replay);

    /// Has the other nodes close the connections that are signed in as this user.
    fn terminate(&self, app_id: &Arc<str>, user_id: &Arc<str>);

    /// The state of a channel.
    fn channel(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
        wanted: Wanted,
        now: Instant,
    ) -> Answer<Result<ChannelInfo, Unavailable>>;

    /// The members of a presence channel, on all nodes.
    fn users(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
    ) -> Answer<Result<Vec<Member>, Unavailable>>;

    /// The occupied channels whose names begin so.
    fn occupied(&self, app_id: &str, prefix: &str) -> Answer<Result<Vec<Occupied>, Unavailable>>;

    /// How many clients of the app are connected.
    fn connections(&self, app_id: &str) -> Answer<Result<usize, Unavailable>>;

    /// How many members a presence channel has as this node knows it: in a cluster, of channels that it listens to.
    fn users_here(&self, app_id: &str, name: &str) -> usize;

    /// The nodes that share the state.
    fn nodes(&self) -> Answer<Result<Vec<ClusterNode>, Unavailable>>;

    /// Whether the cluster's state is within reach.
    ///
    /// # Errors
    /// [`Unavailable`] while it is not; local delivery goes on.
    fn health(&self) -> Result<(), Unavailable>;

    /// Does what is due; called once a second.
    fn tick(&self, now: Instant);

    /// Takes this node out of the cluster, once its clients have gone.
    fn close(&self) -> Answer<()>;
}

/// An event on its way to a channel that keeps it for later: a delivery whose channel and change the engine fills in.
pub struct CacheableEvent<'a> {
    /// The app's channels.
    pub app: &'a Arc<AppChannels>,
    /// The channel.
    pub name: ChannelName<'a>,
    /// What to keep and to write.
    pub frame: Frame,
    /// Who is left out.
    pub except: Option<SocketId>,
    /// Counts whom it reached, while somebody wants to know.
    pub receipt: Option<Arc<Receipt>>,
    /// When a backend's request brought it to this node, if one did.
    pub published: Option<Instant>,
    /// When it came here.
    pub at: Instant,
}

impl CacheableEvent<'_> {
    fn key(&self) -> channels::Key {
        (Arc::clone(self.app.app_id()), self.name.as_str().into())
    }

    /// Delivers it to this node's subscribers.
    fn deliver(self, hub: &Hub, change: Change) {
        if let Some(route) = self.app.route(self.name.as_str()) {
            let delivery = Delivery {
                channel: route.channel,
                frame: self.frame,
                except: self.except,
                change,
                receipt: self.receipt,
                published: self.published,
            };
            hub.deliver(&route, delivery);
        }
    }
}
