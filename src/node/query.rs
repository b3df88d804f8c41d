//! What the HTTP API asks about channels, and what it has done to users.

use std::time::Instant;

use super::Node;
use crate::{
    engine::{Answer, ChannelInfo, Occupied, Unavailable, Wanted},
    presence::Member,
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
        let answer = self.engine.channel(app_id, name, wanted, now);
        self.answer(app_id, answer).await
    }

    /// The occupied channels whose names begin so, users' own channels left out.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn occupied(&self, app_id: &str, prefix: &str) -> Result<Vec<Occupied>, Unavailable> {
        let answer = self.engine.occupied(app_id, prefix);
        let mut channels = self.answer(app_id, answer).await?;
        channels.retain(|channel| !channel.name.starts_with('#'));
        Ok(channels)
    }

    /// The members of a presence channel.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn users(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
    ) -> Result<Vec<Member>, Unavailable> {
        self.answer(app_id, self.engine.users(app_id, name)).await
    }

    /// How many clients of the app are connected.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn connections(&self, app_id: &str) -> Result<usize, Unavailable> {
        self.answer(app_id, self.engine.connections(app_id)).await
    }

    /// Waits for the answer; counts and times it where it comes from elsewhere.
    async fn answer<T>(
        &self,
        app_id: &str,
        answer: Answer<Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let later = match answer {
            Answer::Now(answer) => return answer,
            Answer::Later(later) => later,
        };
        let (asked, answer) = (Instant::now(), later.await);
        let app = self.hub.app(app_id);
        match answer {
            Ok(_) => app.traffic().queries_answered.increment(),
            Err(_) => app.traffic().queries_failed.increment(),
        }
        app.traffic().query_time.observe(asked.elapsed());
        answer
    }

    /// Closes every connection that is signed in as the user.
    pub fn terminate(&self, app_id: &str, user_id: &str) {
        let (app_id, user_id) = (app_id.into(), user_id.into());
        self.hub.terminate(&app_id, &user_id);
        self.engine.terminate(&app_id, &user_id);
    }
}
