//! What the HTTP API asks about channels, and what it has done to users.

use std::{sync::Arc, time::Instant};

use super::Node;
use crate::{
    engine::{ChannelInfo, Occupied, Unavailable, Wanted},
    protocol::ChannelName,
};

impl Node {
    /// The state of one channel.
    ///
    /// # Errors
    /// [`Unavailable`] while the cluster's state is out of reach; the same for the other queries.
    pub async fn channel(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
        wanted: Wanted,
        now: Instant,
    ) -> Result<ChannelInfo, Unavailable> {
        self.engine.channel(app_id, name, wanted, now).get().await
    }

    /// The occupied channels whose names begin so, users' own channels left out.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn occupied(&self, app_id: &str, prefix: &str) -> Result<Vec<Occupied>, Unavailable> {
        let mut channels = self.engine.occupied(app_id, prefix).get().await?;
        channels.retain(|channel| !channel.name.starts_with('#'));
        Ok(channels)
    }

    /// The user ids of a presence channel.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn users(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
    ) -> Result<Vec<Arc<str>>, Unavailable> {
        self.engine.users(app_id, name).get().await
    }

    /// How many clients of the app are connected.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn connections(&self, app_id: &str) -> Result<usize, Unavailable> {
        self.engine.connections(app_id).get().await
    }

    /// Closes every connection that is signed in as the user.
    pub fn terminate(&self, app_id: &str, user_id: &str) {
        let (app_id, user_id) = (app_id.into(), user_id.into());
        self.hub.terminate(&app_id, &user_id);
        self.engine.terminate(&app_id, &user_id);
    }
}
