//! What the HTTP API asks about channels.

use std::{sync::Arc, time::Instant};

use super::Node;
use crate::{
    engine::{Cached, Occupied},
    protocol::ChannelKind,
};

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

impl Node {
    /// The state of one channel.
    #[must_use]
    pub fn channel(&self, app_id: &str, name: &str, wanted: Wanted, now: Instant) -> ChannelInfo {
        let kind = ChannelKind::of(name);
        let subscriptions = self.engine.subscriptions(app_id, name);
        ChannelInfo {
            occupied: subscriptions > 0,
            user_count: (wanted.user_count && kind.is_presence())
                .then(|| self.engine.user_count(app_id, name)),
            subscription_count: wanted.subscription_count.then_some(subscriptions),
            cache: (wanted.cache && kind.cache).then(|| self.engine.cached(app_id, name, now)),
        }
    }

    /// The occupied channels whose names begin so, users' own channels left out.
    #[must_use]
    pub fn occupied(&self, app_id: &str, prefix: &str) -> Vec<Occupied> {
        let mut channels = self.engine.occupied(app_id, prefix);
        channels.retain(|channel| !channel.name.starts_with('#'));
        channels
    }

    /// The user ids of a presence channel.
    #[must_use]
    pub fn users(&self, app_id: &str, channel: &str) -> Vec<Arc<str>> {
        self.engine.users(app_id, channel)
    }

    /// How many clients of the app are connected.
    #[must_use]
    pub fn connections(&self, app_id: &str) -> usize {
        self.hub.app(app_id).connections()
    }

    /// Closes every connection that is signed in as the user.
    pub fn terminate(&self, app_id: &str, user_id: &str) {
        self.hub.terminate(&app_id.into(), &user_id.into());
    }
}
