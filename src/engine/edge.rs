//! Changes that an app's backend may want to hear of. Who hears of them is not an engine's business.

use std::sync::Arc;

/// A change of a channel that happened once, in the node that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEdge<'a> {
    /// It has its first subscriber.
    Occupied,
    /// Its last subscriber has gone.
    Vacated,
    /// A user's first connection has come.
    MemberAdded(&'a str),
    /// A user's last connection has gone.
    MemberRemoved(&'a str),
    /// A subscriber was told that there is no cached event, the first since there was one.
    CacheMissed,
    /// Its subscribers were told how many they are. Not of presence channels, and only where an app wants counts.
    Count(usize),
    /// A new session has come to where only one may be.
    SessionReplaced {
        /// The new one.
        session: &'a str,
        /// Those that have to go.
        replaced: &'a [String],
    },
    /// A session was not let in, because another is there.
    SessionRefused(&'a str),
}

/// What of a channel anybody wants to hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Who comes and goes.
    pub edges: bool,
    /// How many they are.
    pub counts: bool,
    /// That nothing is cached.
    pub misses: bool,
    /// Which sessions were replaced or refused.
    pub sessions: bool,
}

/// Who is told of edges. Called with a lock held, so it must not wait and must not call hub or engine.
pub trait Edges: Send + Sync {
    /// What is worth telling of an app's (by id) channel.
    fn heard(&self, app_id: &str, channel: &str) -> Heard;

    /// Tells of an edge, in the order in which they happen within the channel on this node.
    fn tell(&self, app_id: &str, channel: &str, edge: ChannelEdge<'_>);
}

/// Shared by those who make edges.
pub type EdgeSink = Arc<dyn Edges>;
