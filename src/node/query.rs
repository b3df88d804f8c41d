//! What the HTTP API asks about channels, and does to users.

use std::{sync::Arc, time::Instant};

use tokio::task::spawn_blocking;

use super::Node;
use crate::{
    engine::{Answer, ChannelInfo, Occupied, Unavailable, Wanted},
    presence::Member,
    protocol::ChannelName,
};

/// Channels that are listed where the request came in: some 0.2 ms.
const LISTED_HERE_MAX: usize = 500;

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
        let answer = self.engine.channel(&app_id.into(), name, wanted, now);
        self.answer(app_id, answer).await
    }

    /// What `list` makes of the occupied channels whose names begin so, users' own channels left out. If they are many, it is made on
    /// a thread of its own, one listing after the other: this one has other clients.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn list_occupied<T: Send + 'static>(
        &self,
        app_id: &str,
        prefix: &str,
        wanted: Wanted,
        list: impl FnOnce(Vec<Occupied>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let list = move |mut channels: Vec<Occupied>| {
            channels.retain(|channel| !channel.name.starts_with('#'));
            list(channels)
        };
        if self.hub.app(app_id).channels() > LISTED_HERE_MAX && !self.engine.spans_nodes() {
            let (engine, app, prefix) = (
                Arc::clone(&self.engine),
                Arc::<str>::from(app_id),
                prefix.to_owned(),
            );
            let answer = self.aside(move || match engine.occupied(&app, &prefix, wanted) {
                Answer::Now(channels) => channels.map(list),
                // A node alone knows its channels.
                Answer::Later(_) => Err(Unavailable),
            });
            return answer.await?;
        }
        let answer = self.engine.occupied(&app_id.into(), prefix, wanted);
        let channels = self.answer(app_id, answer).await?;
        if channels.len() <= LISTED_HERE_MAX {
            return Ok(list(channels));
        }
        self.aside(move || list(channels)).await
    }

    /// Has long work done on another thread, when it is its turn.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let _turn = self.listings.acquire().await.map_err(|_| Unavailable)?;
        // It fails only when the runtime ends.
        spawn_blocking(work).await.map_err(|_| Unavailable)
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
        self.answer(app_id, self.engine.users(&app_id.into(), name))
            .await
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
