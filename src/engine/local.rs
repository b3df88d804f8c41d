//! The engine of a single node: state in this process's memory, nothing to wait for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, CacheableEvent, ChannelEdge, ChannelInfo, ClusterNode, EdgeSink, Engine, EnterError,
    Occupied, Post, Snapshot, Unavailable, Wanted,
    channels::{ChannelStates, key_of},
};
use crate::{
    app::Replay,
    feed::Feed,
    hub::{Channel, Hub},
    presence::{Full, Member},
    protocol::{ChannelName, Frame, SocketId},
};

/// Keeps channel state in memory.
pub struct LocalEngine {
    states: ChannelStates,
}

impl LocalEngine {
    /// An engine beside this hub. All edges are its own.
    #[must_use]
    pub fn new(hub: Arc<Hub>, feed: Feed, edges: EdgeSink) -> Self {
        Self {
            states: ChannelStates::with_edges(hub, feed, edges),
        }
    }
}

impl LocalEngine {
    fn tell_count(&self, channel: &Channel, now: Instant) {
        if channel.tells_count {
            let app = self.states.hub().app(&channel.app_id);
            let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
            self.states
                .tell_count(&key, app.subscriptions(&channel.name), now);
        }
    }
}

impl Engine for LocalEngine {
    fn has_room(&self) -> bool {
        true
    }

    fn enter(
        &self,
        channel: &Arc<Channel>,
        _socket: SocketId,
        member: Option<&Member>,
        max_members: usize,
        now: Instant,
    ) -> Answer<Result<(), EnterError>> {
        let Some(member) = member else {
            self.tell_count(channel, now);
            return Answer::Now(Ok(()));
        };
        let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
        let joined = self.states.join(&key, member, max_members);
        Answer::Now(joined.map_err(|Full| EnterError::Full))
    }

    fn is_replaced(&self, channel: &Channel, session: &str) -> bool {
        let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
        self.states.is_replaced(&key, session)
    }

    fn is_online(&self, channel: &Channel) -> bool {
        self.states
            .is_online(&(Arc::clone(&channel.app_id), Arc::clone(&channel.name)))
    }

    fn snapshot(&self, channel: &Arc<Channel>, socket: SocketId, now: Instant) -> Snapshot {
        self.states.snapshot(channel, socket, now)
    }

    fn leave(
        &self,
        channel: &Arc<Channel>,
        _socket: SocketId,
        member: Option<&Member>,
        now: Instant,
    ) {
        self.tell_count(channel, now);
        if let Some(member) = member {
            let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
            self.states.leave(&key, &member.user_id, now);
        }
        let is_empty = || {
            self.states
                .hub()
                .app(&channel.app_id)
                .subscriptions(&channel.name)
                == 0
        };
        if channel.kind.cache && is_empty() {
            // Two that leave at once may both see this, and a subscriber may come in between: then a miss is told once more.
            self.states
                .forget_miss(&key_of(&channel.app_id, &channel.name));
        }
    }

    fn first_came(&self, channel: &Channel) {
        self.states
            .tell(&channel.app_id, &channel.name, ChannelEdge::Occupied);
    }

    fn last_left(&self, channel: &Channel) {
        self.states
            .tell(&channel.app_id, &channel.name, ChannelEdge::Vacated);
    }

    fn missed(&self, channel: &Arc<Channel>) {
        self.states.miss(&key_of(&channel.app_id, &channel.name));
    }

    fn spans_nodes(&self) -> bool {
        false
    }

    fn post(&self) -> Option<Post> {
        None
    }

    fn forward(&self, _: &Arc<str>, _: &str, _: &Frame, _: Option<SocketId>) {}

    fn remember(&self, event: CacheableEvent<'_>, ttl: Duration) {
        self.states.remember(event, ttl);
    }

    fn record(&self, event: CacheableEvent<'_>, replay: Replay) {
        self.states.record(event, replay);
    }

    fn terminate(&self, _: &Arc<str>, _: &Arc<str>) {}

    fn channel(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
        wanted: Wanted,
        now: Instant,
    ) -> Answer<Result<ChannelInfo, Unavailable>> {
        let subscriptions = self.states.hub().app(app_id).subscriptions(name.as_str());
        let key = key_of(app_id, name.as_str());
        let counts_users = wanted.user_count && name.kind().is_presence();
        let shows_cache = wanted.cache && name.kind().cache;
        Answer::Now(Ok(ChannelInfo {
            occupied: subscriptions > 0,
            user_count: counts_users.then(|| self.states.user_count(&key)),
            subscription_count: wanted.subscription_count.then_some(subscriptions),
            cache: shows_cache.then(|| self.states.cached(&key, now)),
        }))
    }

    fn users(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
    ) -> Answer<Result<Vec<Member>, Unavailable>> {
        Answer::Now(Ok(self.states.members(&key_of(app_id, name.as_str()))))
    }

    fn occupied(&self, app_id: &str, prefix: &str) -> Answer<Result<Vec<Occupied>, Unavailable>> {
        let app = self.states.hub().app(app_id);
        let channels = app
            .occupied(prefix)
            .into_iter()
            .map(|(name, subscriptions)| {
                let users = self
                    .states
                    .user_count(&(Arc::clone(app.app_id()), Arc::clone(&name)));
                Occupied {
                    name,
                    subscriptions,
                    users,
                }
            });
        Answer::Now(Ok(channels.collect()))
    }

    fn connections(&self, app_id: &str) -> Answer<Result<usize, Unavailable>> {
        Answer::Now(Ok(self.states.hub().app(app_id).connections()))
    }

    fn users_here(&self, app_id: &str, name: &str) -> usize {
        self.states.user_count(&key_of(app_id, name))
    }

    fn nodes(&self) -> Answer<Result<Vec<ClusterNode>, Unavailable>> {
        Answer::Now(Ok(vec![ClusterNode {
            name: "local".to_owned(),
            is_this: true,
            connections: self.states.hub().connections(),
        }]))
    }

    fn health(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn tick(&self, now: Instant) {
        self.states.tick(now);
    }

    fn close(&self) -> Answer<()> {
        Answer::Now(())
    }
}
