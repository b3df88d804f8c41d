//! Changes that an app's backend may want to hear of. The engine does not know who receives them.

use std::sync::Arc;

/// A change of a channel. In a cluster exactly one node reports it.
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
    /// A subscriber found no cached event, the first since there was one.
    CacheMissed,
    /// Subscribers got a new `subscription_count`. Not of presence channels, and only where an app wants counts.
    Count(usize),
    /// A new session replaced others where a user may have only one.
    SessionReplaced {
        /// The new one.
        session: &'a str,
        /// The sessions that end.
        replaced: &'a [String],
    },
    /// A session was not let in, because another is there.
    SessionRefused(&'a str),
}

/// Which edges of a channel are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Arrivals and departures.
    pub edges: bool,
    /// How many subscribers there are.
    pub counts: bool,
    /// That nothing is cached.
    pub misses: bool,
    /// Which sessions were replaced or refused.
    pub sessions: bool,
}

/// Receives edges. Called with a lock held, so it must not wait and must not call hub or engine.
pub trait Edges: Send + Sync {
    /// Which edges to report of a channel of the app with this id.
    fn heard(&self, app_id: &str, channel: &str) -> Heard;

    /// Reports an edge; a channel's edges come in the order in which they happen on this node.
    fn tell(&self, app_id: &str, channel: &str, edge: ChannelEdge<'_>);
}

/// Shared by everything that makes edges.
pub type EdgeSink = Arc<dyn Edges>;
