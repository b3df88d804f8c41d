//! State that a channel has beyond its subscribers: members, the cached event, and counts that are true for the whole cluster.
//!
//! [`State`] is what this process knows. A node alone needs nothing else; in a cluster a [`Cluster`] keeps it equal to what the nodes
//! share in Redis.

mod answers;
mod cacheable;
pub mod cluster;
mod edge;
mod key;
mod shared;
mod state;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::{
    answers::{
        Answer, Cached, ChannelInfo, Client, ClusterNode, EnterError, Occupied, Snapshot,
        Unavailable, Wanted,
    },
    cacheable::CacheableEvent,
    cluster::{Cluster, NodeId},
    edge::{ChannelEdge, EdgeSink, Edges, Heard},
    key::ChannelKey,
    shared::{EventId, Listed, SharedState},
    state::{COUNT_TICKS_A_SECOND, State},
};
use crate::{
    app::Replay,
    config::Redis,
    feed::Feed,
    hub::{AppChannels, Channel, Hub},
    presence::{Full, Member},
    protocol::{ChannelName, Frame, SocketId},
};

/// Channel state. Every change is atomic with its announcement: a client that enters gets a snapshot and then exactly the changes that it
/// did not include. Called from the shards' threads; nothing here blocks.
pub struct Engine {
    state: Arc<State>,
    cluster: Option<Cluster>,
}

impl Engine {
    /// The engine of a node alone: state in this process, nothing to wait for.
    #[must_use]
    pub fn local(hub: Arc<Hub>, feed: Feed, edges: EdgeSink) -> Self {
        Self {
            state: Arc::new(State::new(hub, feed, Some(edges))),
            cluster: None,
        }
    }

    /// The engine of one of several nodes that share state in Redis.
    ///
    /// # Errors
    /// When Redis can't be reached: a node configured for a cluster must not start alone.
    pub async fn clustered(
        redis: &Redis,
        hub: Arc<Hub>,
        feed: Feed,
        edges: EdgeSink,
    ) -> io::Result<Self> {
        let state = Arc::new(State::new(hub, feed, None));
        let cluster = Cluster::start(redis, Arc::clone(&state), edges).await?;
        Ok(Self {
            state,
            cluster: Some(cluster),
        })
    }

    /// Whether a node with these settings could join its cluster.
    ///
    /// # Errors
    /// When Redis can't be reached.
    pub async fn try_out(redis: &Redis) -> io::Result<()> {
        Cluster::reach(redis).await
    }

    /// The other nodes, if there may be any.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// `false` while the buffer for other nodes is full; publishers of the app then get 503.
    #[must_use]
    pub fn has_room(&self, app: &AppChannels) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|cluster| cluster.has_room(app))
    }

    // --- Subscribers -------------------------------------------------------------------------------------

    /// A client enters; the hub knows it already. Announces `member_added` if it is the user's first connection. When the
    /// answer is `Ok`, the client is seated with an [`Engine::snapshot`] taken on its own thread. After an answer that came later,
    /// [`Engine::turn_away`] follows for a refused client; for all others, including one that does not wait, [`Engine::leave`].
    pub fn enter(
        &self,
        channel: &Arc<Channel>,
        client: Client<'_>,
        max_members: usize,
        now: Instant,
    ) -> Answer<Result<(), EnterError>> {
        if let Some(cluster) = &self.cluster {
            return cluster.enter(channel, client, max_members);
        }
        let Some(member) = client.member else {
            self.count(channel, now);
            return Answer::Now(Ok(()));
        };
        let key = ChannelKey::from(&**channel);
        let joined = self.state.join(&key, member, max_members);
        Answer::Now(joined.map_err(|Full| EnterError::Full))
    }

    /// What a client that is seated now needs.
    #[must_use]
    pub fn snapshot(&self, channel: &Channel, socket: SocketId, now: Instant) -> Snapshot {
        self.state.snapshot(channel, socket, now)
    }

    /// What a client needs that is seated now in a channel of which it is shown nothing: it hears of changes with a higher number.
    #[must_use]
    pub fn since(&self, channel: &Channel) -> u64 {
        self.state.since(channel)
    }

    /// How many users this process knows to be on a presence channel.
    #[must_use]
    pub fn members_here(&self, key: &ChannelKey) -> usize {
        self.state.user_count(key)
    }

    /// Whether a newer session than this one has entered a user's session channel.
    #[must_use]
    pub fn is_replaced(&self, channel: &Channel, session: &str) -> bool {
        self.state.is_replaced(&ChannelKey::from(channel), session)
    }

    /// Whether the user of an online channel is signed in somewhere, as its subscribers know it.
    #[must_use]
    pub fn is_online(&self, channel: &Channel) -> bool {
        self.state.is_online(&ChannelKey::from(channel))
    }

    /// A client has left; the hub knows it already. Announces `member_removed` if it was the user's last connection.
    pub fn leave(&self, channel: &Channel, client: Client<'_>, now: Instant) {
        if let Some(cluster) = &self.cluster {
            return cluster.leave(channel, client);
        }
        self.count(channel, now);
        let key = ChannelKey::from(channel);
        if let Some(member) = client.member {
            self.state.leave(&key, &member.user_id, now);
        }
        if channel.kind.cache && self.subscriptions(channel) == 0 {
            // Two clients that leave at once may both see 0, and a subscriber may enter in between: then a miss is reported once more.
            self.state.forget_miss(&key);
        }
    }

    /// A client was refused by an answer that came later.
    pub fn turn_away(&self, channel: &Channel, client: Client<'_>) {
        if let Some(cluster) = &self.cluster {
            cluster.leave(channel, client);
        }
    }

    fn subscriptions(&self, channel: &Channel) -> usize {
        let app = self.state.hub().app(&channel.app_id);
        app.subscriptions(&channel.name)
    }

    /// Sends `subscription_count`, where it is enabled.
    fn count(&self, channel: &Channel, now: Instant) {
        if channel.tells_count {
            let count = self.subscriptions(channel);
            self.state
                .tell_count(&ChannelKey::from(channel), count, now);
        }
    }

    /// A channel has its first subscriber on this node. Called under the hub's lock of the channel: it must not call the hub.
    pub fn first_came(&self, channel: &Channel) {
        // In a cluster Redis says who was the first.
        self.state
            .tell(&channel.app_id, &channel.name, ChannelEdge::Occupied);
    }

    /// A channel has lost its last subscriber on this node. Called as [`Engine::first_came`].
    pub fn last_left(&self, channel: &Channel) {
        self.state
            .tell(&channel.app_id, &channel.name, ChannelEdge::Vacated);
    }

    /// A client that subscribed to a cache channel got `pusher:cache_miss`.
    pub fn missed(&self, channel: &Channel) {
        let key = ChannelKey::from(channel);
        match &self.cluster {
            Some(cluster) => cluster.missed(key),
            None => self.state.miss(&key),
        }
    }

    // --- Events ------------------------------------------------------------------------------------------

    /// Whether there may be other nodes, so that an event without a subscriber here must be carried on.
    #[must_use]
    pub fn spans_nodes(&self) -> bool {
        self.cluster.is_some()
    }

    /// Carries an event to the other nodes; this node's subscribers have it already.
    pub fn forward(&self, app: &AppChannels, name: &str, frame: &Frame, except: Option<SocketId>) {
        if let Some(cluster) = &self.cluster {
            let key = ChannelKey::new(app.app_id(), name);
            cluster.publish(app, key, (frame, except), cluster::Keeping::Nothing);
        }
    }

    /// Keeps the event as the channel's last, delivers it to this node's subscribers and carries it to the others.
    pub fn remember(&self, event: CacheableEvent<'_>, ttl: Duration) {
        let Some(cluster) = &self.cluster else {
            return self.state.remember(event, ttl);
        };
        let (frame, except) = (event.frame.clone(), event.except);
        let (app, key) = (Arc::clone(event.app), event.key());
        let ttl_s = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        self.state.remember_own(event, ttl, || {
            let keeping = cluster::Keeping::Last { ttl_s };
            cluster.publish(&app, key, (&frame, except), keeping).1
        });
    }

    /// Adds the event to the channel's history, delivers it to this node's subscribers and carries it to the others.
    pub fn record(&self, event: CacheableEvent<'_>, replay: Replay) {
        let Some(cluster) = &self.cluster else {
            return self.state.record(event, replay);
        };
        let (frame, except) = (event.frame.clone(), event.except);
        let (app, key) = (Arc::clone(event.app), event.key());
        self.state.record_own(event, replay, || {
            let keeping = cluster::Keeping::History(replay);
            cluster.publish(&app, key, (&frame, except), keeping)
        });
    }

    /// Has the other nodes close the connections that are signed in as this user.
    pub fn terminate(&self, app_id: &Arc<str>, user_id: &Arc<str>) {
        if let Some(cluster) = &self.cluster {
            cluster.terminate(app_id, user_id);
        }
    }

    // --- Questions ---------------------------------------------------------------------------------------

    /// The state of a channel.
    pub fn channel(
        &self,
        app_id: &Arc<str>,
        name: ChannelName<'_>,
        wanted: Wanted,
        now: Instant,
    ) -> Answer<Result<ChannelInfo, Unavailable>> {
        let key = ChannelKey::new(app_id, name.as_str());
        let (counts_users, shows_cache) = (
            wanted.user_count && name.kind().is_presence(),
            wanted.cache && name.kind().cache,
        );
        let info = move |subscriptions, users: usize, cached| ChannelInfo {
            occupied: subscriptions > 0,
            user_count: counts_users.then_some(users),
            subscription_count: wanted.subscription_count.then_some(subscriptions),
            cache: shows_cache.then_some(cached),
        };
        if let Some(cluster) = &self.cluster {
            let asked = cluster.channel(key, shows_cache);
            return Answer::Later(Box::pin(async move {
                let (subscriptions, users, cached) = asked.await?;
                Ok(info(subscriptions, users, cached))
            }));
        }
        let subscriptions = self.state.hub().app(app_id).subscriptions(&key.name);
        let users = if counts_users {
            self.state.user_count(&key)
        } else {
            0
        };
        let cached = if shows_cache {
            self.state.cached(&key, now)
        } else {
            None
        };
        Answer::Now(Ok(info(subscriptions, users, cached)))
    }

    /// Counts the subscriptions of some channels on all nodes; `None` on a node alone, or while Redis can't be reached.
    pub fn count_everywhere(
        &self,
        app_id: &Arc<str>,
        names: &[&str],
    ) -> Option<impl Future<Output = Option<usize>> + Send + use<>> {
        let cluster = self.cluster.as_ref()?;
        let asked: Vec<_> = names
            .iter()
            .map(|name| cluster.channel(ChannelKey::new(app_id, name), false))
            .collect();
        Some(async move {
            let mut count = 0;
            for answer in asked {
                count += answer.await.ok()?.0;
            }
            Some(count)
        })
    }

    /// The members of a presence channel, on all nodes.
    pub fn users(
        &self,
        app_id: &Arc<str>,
        name: ChannelName<'_>,
    ) -> Answer<Result<Vec<Member>, Unavailable>> {
        let key = ChannelKey::new(app_id, name.as_str());
        match &self.cluster {
            Some(cluster) => Answer::Later(Box::pin(cluster.users(key))),
            None => Answer::Now(Ok(self.state.members(&key))),
        }
    }

    /// The occupied channels with this prefix. Users are counted if requested; a listing has no cached events.
    pub fn occupied(
        &self,
        app_id: &Arc<str>,
        prefix: &str,
        wanted: Wanted,
    ) -> Answer<Result<Vec<Occupied>, Unavailable>> {
        if let Some(cluster) = &self.cluster {
            return Answer::Later(Box::pin(cluster.occupied(app_id, prefix, wanted)));
        }
        let app = self.state.hub().app(app_id);
        let occupied = app.occupied(prefix).into_iter();
        let channels = occupied.map(|(name, subscriptions)| {
            let key = ChannelKey::new(app_id, &name);
            let counts = wanted.user_count && key.kind.has_members();
            Occupied {
                users: if counts {
                    self.state.user_count(&key)
                } else {
                    0
                },
                name,
                subscriptions,
            }
        });
        Answer::Now(Ok(channels.collect()))
    }

    /// How many clients of the app are connected.
    pub fn connections(&self, app_id: &str) -> Answer<Result<usize, Unavailable>> {
        match &self.cluster {
            Some(cluster) => Answer::Later(Box::pin(cluster.connections(app_id))),
            None => Answer::Now(Ok(self.state.hub().app(app_id).connections())),
        }
    }

    /// How many members a presence channel has as this node knows it: in a cluster, of channels that it listens to.
    #[must_use]
    pub fn users_here(&self, app_id: &Arc<str>, name: &str) -> usize {
        self.state.user_count(&ChannelKey::new(app_id, name))
    }

    /// The nodes that share the state.
    pub fn nodes(&self) -> Answer<Result<Vec<ClusterNode>, Unavailable>> {
        match &self.cluster {
            Some(cluster) => Answer::Later(Box::pin(cluster.nodes())),
            None => Answer::Now(Ok(vec![ClusterNode {
                name: "local".to_owned(),
                is_this: true,
                connections: self.state.hub().connections(),
            }])),
        }
    }

    /// Whether the cluster's state can be reached.
    ///
    /// # Errors
    /// [`Unavailable`] while it can't; local delivery goes on.
    pub fn health(&self) -> Result<(), Unavailable> {
        self.cluster.as_ref().map_or(Ok(()), Cluster::health)
    }

    /// Does what is due; called once a second.
    pub fn tick(&self, now: Instant) {
        self.state.tick(now);
    }

    /// Sends the subscription counts that are due; called [`COUNT_TICKS_A_SECOND`] times a second.
    pub fn send_due_counts(&self, now: Instant) {
        self.state.send_due_counts(now);
    }

    /// Takes this node out of the cluster, once its clients have gone.
    pub async fn close(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.close().await;
        }
    }
}
