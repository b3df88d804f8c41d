//! What is said to the engine's thread, and what it shares with the others.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    post::{Errand, NodeId},
};
use crate::{
    app::Replay,
    engine::{
        ChannelInfo, ClusterNode, EdgeSink, EnterError, Occupied, Unavailable, Wanted,
        channels::{ChannelStates, Key},
    },
    hub::Channel,
    presence::Member,
    protocol::{ChannelKind, Frame, SocketId},
};

/// What the rest of the server wants.
pub(super) enum Intent {
    Enter {
        channel: Arc<Channel>,
        socket: SocketId,
        member: Option<Member>,
        max_members: usize,
        reply: oneshot::Sender<Result<(), EnterError>>,
    },
    Leave {
        channel: Arc<Channel>,
        socket: SocketId,
        user_id: Option<Arc<str>>,
    },
    /// A client was told that a cache channel has no event.
    Missed {
        channel: Arc<Channel>,
    },
    /// The channel's subscribers on this node are fewer, without anyone having left.
    Recount {
        channel: Arc<Channel>,
    },
    Publish {
        key: Key,
        frame: Frame,
        except: Option<SocketId>,
        keeping: Option<Keeping>,
    },
    Terminate {
        app_id: Arc<str>,
        user_id: Arc<str>,
    },
    Channel {
        key: Key,
        kind: ChannelKind,
        wanted: Wanted,
        reply: oneshot::Sender<Result<ChannelInfo, Unavailable>>,
    },
    Users {
        key: Key,
        reply: oneshot::Sender<Result<Vec<Member>, Unavailable>>,
    },
    Occupied {
        app_id: Arc<str>,
        prefix: String,
        reply: oneshot::Sender<Result<Vec<Occupied>, Unavailable>>,
    },
    Connections {
        app_id: Arc<str>,
        reply: oneshot::Sender<Result<usize, Unavailable>>,
    },
    Nodes {
        reply: oneshot::Sender<Result<Vec<ClusterNode>, Unavailable>>,
    },
    Post(Errand),
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// What is kept of an event for those who subscribe later.
#[derive(Clone, Copy)]
pub(super) enum Keeping {
    /// Of a cache channel: the last one, for so long.
    Last { ttl_s: u32 },
    /// The last ones.
    History(Replay),
}

/// What the task shares with the rest of the server.
pub(super) struct Outside {
    /// Names this process.
    pub(super) node: NodeId,
    pub(super) states: Arc<ChannelStates>,
    pub(super) shared: Arc<Shared>,
    pub(super) edges: EdgeSink,
    pub(super) letters: mpsc::Sender<Bytes>,
}
