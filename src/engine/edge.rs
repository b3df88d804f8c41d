//! Changes that an app's backend may want to hear of. Who hears of them is not an engine's business.

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
}

/// Who is told of an app's (by id) and channel's edges, in the order in which they happen within the channel. Called with a
/// lock held, so it must not wait and must not call hub or engine.
pub type EdgeSink = Box<dyn Fn(&str, &str, ChannelEdge<'_>) + Send + Sync>;
