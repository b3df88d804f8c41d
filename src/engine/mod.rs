//! State that a channel has beyond its subscribers: members, the cached event, and counts that are true for the whole
//! cluster. One implementation keeps it in this process; the interface is made so that another can keep it elsewhere.

mod local;

use std::{sync::Arc, time::Instant};

pub use local::LocalEngine;

use crate::{
    app::Limits,
    hub::{AppChannels, Channel, Delivery},
    presence::{Full, Member},
    protocol::{ChannelName, Frame},
};

/// What a new subscriber needs to know.
#[derive(Debug)]
pub struct Joined {
    /// Changes with a higher sequence come as events; all others are in this snapshot.
    pub since: u64,
    /// `pusher_internal:subscription_succeeded`, with the members of a presence channel.
    pub succeeded: Frame,
    /// The cached event of a cache channel, if it has one.
    pub cached: Option<Frame>,
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
}

/// Where channel state lives. Every change is atomic with its announcement: whoever joins gets a snapshot and then exactly
/// the changes that it did not include.
pub trait Engine: Send + Sync {
    /// A subscription began; the hub knows it already. Announces `member_added` if it is the user's first.
    ///
    /// # Errors
    /// [`Full`] when a presence channel has no room for one more user; nothing was changed.
    fn join(
        &self,
        channel: &Arc<Channel>,
        member: Option<&Member>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Joined, Full>;

    /// The snapshot alone, for a subscriber that is seated already.
    fn snapshot(&self, channel: &Arc<Channel>, now: Instant) -> Joined;

    /// A subscription ended. Announces `member_removed` if it was the user's last.
    fn leave(&self, channel: &Arc<Channel>, member: Option<&Member>);

    /// Keeps the event as the channel's last and delivers it, in one step.
    fn remember(
        &self,
        app: &Arc<AppChannels>,
        name: ChannelName<'_>,
        event: CacheableEvent,
        limits: &Limits,
        now: Instant,
    );

    /// The cached event of a channel.
    fn cached(&self, app_id: &str, channel: &str, now: Instant) -> Option<Cached>;

    /// Subscriptions of a channel.
    fn subscriptions(&self, app_id: &str, channel: &str) -> usize;

    /// The user ids of a presence channel.
    fn users(&self, app_id: &str, channel: &str) -> Vec<Arc<str>>;

    /// How many distinct users a presence channel has.
    fn user_count(&self, app_id: &str, channel: &str) -> usize;

    /// The occupied channels whose names begin so.
    fn occupied(&self, app_id: &str, prefix: &str) -> Vec<Occupied>;

    /// Forgets what has expired.
    fn sweep(&self, now: Instant);
}

/// An event on its way to a cache channel: a delivery whose channel and sequence the engine fills in.
pub struct CacheableEvent {
    /// What to keep and to write.
    pub frame: Frame,
    /// Makes the delivery for a route.
    pub delivery: Box<dyn FnOnce(crate::hub::ChannelId, u64) -> Delivery>,
}
