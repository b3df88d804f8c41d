//! This node as one of many that meet in Redis.
//!
//! [`Cluster`] is the handle of the shards' threads: they hand over what happened and never wait. One thread runs the [`core`], a
//! pure state machine, on a connection to Redis ([`redis`]). What the core decides is done to this node's state by a [`mirror`].

mod apps;
pub mod core;
pub mod envelope;
mod mailbox;
pub mod mirror;
pub mod redis;
mod reply;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use self::apps::AppsNews;
use self::{
    apps::apps_news,
    core::{
        Destination, Enter, Event, Input, Keep, Lasting, Message, NodeConnections, Outgoing, Query,
        QueryAnswer, bucket_of,
    },
    mailbox::{Full, Mailbox},
    mirror::Mirror,
    redis::Outside,
    reply::Reply,
};
use super::{
    Answer, Cached, ChannelKey, Client, ClusterNode, EdgeSink, EnterError, EventId, Occupied,
    State, Unavailable, Wanted,
};
use crate::{
    app::Replay,
    config::Redis,
    hub::{AppChannels, Backlog, Channel, Room},
    presence::Member,
    protocol::{Frame, SocketId},
};

/// Events that wait for other nodes, of all apps; of one app never more than are still free, so half of them.
const WAITING_EVENTS_MAX: usize = 2 * 65_536;
/// Bytes of those.
const WAITING_BYTES_MAX: usize = 2 * (64 << 20);
/// Messages of other nodes to this one that wait for their reader. Of more, the newest are dropped, and their senders' deadlines pass.
const INBOUND_MAX: usize = 4096;

/// One process of the cluster.
pub type NodeId = u64;

/// What is kept of an event for those who subscribe later.
#[derive(Clone, Copy, Debug)]
pub enum Keeping {
    /// Nothing.
    Nothing,
    /// Of a cache channel: it is the last one, for this many seconds.
    Last {
        /// Seconds.
        ttl_s: u32,
    },
    /// It is one of the last.
    History(Replay),
}

/// The handle of the cluster: this node's way to the others.
pub struct Cluster {
    node: NodeId,
    state: Arc<State>,
    mailbox: Arc<Mailbox<Reply>>,
    reachable: Arc<AtomicBool>,
    /// What all apps have waiting for other nodes.
    waiting: Arc<Backlog>,
    inbound: Mutex<Option<mpsc::Receiver<Bytes>>>,
    apps: AppsNews,
}

impl Cluster {
    /// Joins the cluster.
    ///
    /// # Errors
    /// When Redis can't be reached.
    pub async fn start(settings: &Redis, state: Arc<State>, edges: EdgeSink) -> io::Result<Self> {
        let (sender, inbound) = mpsc::channel(INBOUND_MAX);
        let (heard, apps) = apps_news();
        let cluster = Self {
            node: rand::random(),
            state: Arc::clone(&state),
            mailbox: Arc::default(),
            reachable: Arc::default(),
            waiting: Arc::default(),
            inbound: Mutex::new(Some(inbound)),
            apps,
        };
        let outside = Outside {
            node: cluster.node,
            mailbox: Arc::clone(&cluster.mailbox),
            mirror: Mirror::new(state, Arc::clone(&edges)),
            edges,
            reachable: Arc::clone(&cluster.reachable),
            inbound: sender,
            apps: heard,
        };
        cluster.state.hub().span_nodes();
        redis::start(settings, outside).await?;
        Ok(cluster)
    }

    /// Whether Redis can be reached with these settings; joins nothing.
    ///
    /// # Errors
    /// When it can't.
    pub async fn reach(settings: &Redis) -> io::Result<()> {
        redis::reach(settings).await
    }

    /// What other nodes call this one.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The messages of other nodes to this one; there is one reader.
    #[must_use]
    pub fn take_inbound(&self) -> Option<mpsc::Receiver<Bytes>> {
        let mut inbound = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        inbound.take()
    }

    /// Whether Redis can be reached.
    ///
    /// # Errors
    /// [`Unavailable`] while it can't.
    pub fn health(&self) -> Result<(), Unavailable> {
        if self.reachable.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(Unavailable)
        }
    }

    /// `false` while the buffer for other nodes is full, or the app has its share of it.
    #[must_use]
    pub fn has_room(&self, app: &AppChannels) -> bool {
        let used = self.waiting.used();
        let free = Room {
            deliveries: WAITING_EVENTS_MAX.saturating_sub(used.deliveries),
            bytes: WAITING_BYTES_MAX.saturating_sub(used.bytes),
        };
        app.outgoing().is_within(free, 1)
    }

    /// As [`super::Engine::enter`].
    pub(super) fn enter(
        &self,
        channel: &Channel,
        client: Client<'_>,
        max_members: usize,
    ) -> Answer<Result<(), EnterError>> {
        let (reply, answer) = oneshot::channel();
        let entering = Input::Enter(Enter {
            key: ChannelKey::from(channel),
            tells_count: channel.tells_count,
            replay: channel.replay,
            max_members,
            socket: client.socket,
            member: client.member.cloned(),
            reply: Reply::Enter(reply),
        });
        match self.mailbox.push(entering) {
            Ok(()) => Answer::Later(Box::pin(async move {
                answer.await.unwrap_or(Err(EnterError::Unavailable))
            })),
            Err(Full) => Answer::Now(Err(EnterError::Unavailable)),
        }
    }

    /// As [`super::Engine::leave`].
    pub(super) fn leave(&self, channel: &Channel, client: Client<'_>) {
        self.tell(Input::Leave {
            key: ChannelKey::from(channel),
            socket: client.socket,
            user_id: client.member.map(|member| Arc::clone(&member.user_id)),
        });
    }

    /// As [`super::Engine::missed`].
    pub(super) fn missed(&self, key: ChannelKey) {
        self.tell(Input::Missed(key));
    }

    fn tell(&self, input: Input<'static, Reply>) {
        // Only what asks for an answer is ever refused.
        drop(self.mailbox.push(input));
    }

    /// Carries an event to the other nodes. Returns which it is.
    pub(super) fn publish(
        &self,
        app: &AppChannels,
        key: ChannelKey,
        (frame, except): (&Frame, Option<SocketId>),
        keeping: Keeping,
    ) -> EventId {
        let bytes = frame.bytes().len();
        let tickets = [app.outgoing().take(bytes), self.waiting.take(bytes)];
        let number = self.mailbox.publish(|number| {
            let id = (self.node, number);
            let (lasting, keep) = match keeping {
                Keeping::Nothing => (Lasting::Passing, Keep::Nothing),
                Keeping::Last { ttl_s } => (Lasting::Cached(ttl_s), Keep::Last(id, ttl_s)),
                Keeping::History(replay) => (Lasting::Recorded, Keep::History(id, replay)),
            };
            let event = Event {
                id,
                except,
                frame: frame.clone(),
            };
            Outgoing {
                message: Message {
                    to: Destination::Channel(key, keep),
                    envelope: envelope::event(&event, lasting),
                },
                tickets: tickets.into(),
            }
        });
        (self.node, number)
    }

    /// Has the other nodes close the connections that are signed in as this user.
    pub(super) fn terminate(&self, app_id: &Arc<str>, user_id: &Arc<str>) {
        self.tell_nodes(envelope::terminate(self.node, app_id, user_id));
    }

    /// Has the other nodes look for changed apps.
    pub(crate) fn announce_apps(&self) {
        self.tell_nodes(envelope::apps_changed(self.node));
    }

    fn tell_nodes(&self, envelope: Bytes) {
        self.mailbox.publish(|_| Outgoing {
            message: Message {
                to: Destination::Nodes,
                envelope,
            },
            tickets: Vec::new(),
        });
    }

    /// What is heard of the apps.
    #[must_use]
    pub(crate) fn apps(&self) -> AppsNews {
        self.apps.clone()
    }

    // --- Questions ---------------------------------------------------------------------------------------

    /// Asks Redis.
    pub(crate) fn ask(
        &self,
        query: Query,
    ) -> impl Future<Output = Result<QueryAnswer, Unavailable>> + use<> {
        let (reply, answer) = oneshot::channel();
        drop(self.mailbox.push(Input::Ask(query, Reply::Query(reply))));
        async move { answer.await.unwrap_or(Err(Unavailable)) }
    }

    /// Subscriptions, users, and the cached event if it is wanted.
    pub(super) fn channel(
        &self,
        key: ChannelKey,
        wants_cached: bool,
    ) -> impl Future<Output = Result<(usize, usize, Option<Cached>), Unavailable>> + use<> {
        let asked = self.ask(Query::Channel(key, wants_cached));
        async move {
            match asked.await? {
                QueryAnswer::Channel(subscriptions, users, cached) => {
                    Ok((subscriptions, users, cached))
                }
                _ => Err(Unavailable),
            }
        }
    }

    /// As [`super::Engine::users`].
    pub(super) fn users(
        &self,
        key: ChannelKey,
    ) -> impl Future<Output = Result<Vec<Member>, Unavailable>> + use<> {
        let asked = self.ask(Query::Users(key));
        async move {
            match asked.await? {
                QueryAnswer::Users(users) => Ok(users),
                _ => Err(Unavailable),
            }
        }
    }

    /// As [`super::Engine::occupied`].
    pub(super) fn occupied(
        &self,
        app_id: &Arc<str>,
        prefix: &str,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Vec<Occupied>, Unavailable>> + use<> {
        let query = Query::Occupied(Arc::clone(app_id), prefix.into(), wanted.user_count);
        let asked = self.ask(query);
        async move {
            let QueryAnswer::Occupied(channels) = asked.await? else {
                return Err(Unavailable);
            };
            let channels = channels
                .into_iter()
                .map(|(name, subscriptions, users)| Occupied {
                    name,
                    subscriptions,
                    users,
                });
            Ok(channels.collect())
        }
    }

    fn node_counts(
        &self,
    ) -> impl Future<Output = Result<Vec<NodeConnections>, Unavailable>> + use<> {
        let asked = self.ask(Query::Nodes);
        async move {
            match asked.await? {
                QueryAnswer::Nodes(nodes) => Ok(nodes),
                _ => Err(Unavailable),
            }
        }
    }

    /// As [`super::Engine::connections`]: this node's own count is exact, the others' are as old as their last renewal.
    pub(super) fn connections(
        &self,
        app_id: &str,
    ) -> impl Future<Output = Result<usize, Unavailable>> + use<> {
        let (asked, app_id) = (self.node_counts(), app_id.to_owned());
        let here = self.state.hub().app(&app_id).connections();
        async move {
            let nodes = asked.await?;
            let others = nodes.iter().filter_map(|(_, counts)| counts.get(&app_id));
            Ok(here + others.sum::<usize>())
        }
    }

    /// As [`super::Engine::nodes`].
    pub(super) fn nodes(
        &self,
    ) -> impl Future<Output = Result<Vec<ClusterNode>, Unavailable>> + use<> {
        let (asked, here) = (self.node_counts(), self.state.hub().connections());
        async move {
            let nodes = asked.await?.into_iter().enumerate();
            let nodes = nodes.map(|(at, (epoch, counts))| ClusterNode {
                name: epoch.to_string(),
                is_this: at == 0,
                connections: if at == 0 { here } else { counts.values().sum() },
            });
            let mut nodes: Vec<_> = nodes.collect();
            nodes.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(nodes)
        }
    }

    /// Leaves the cluster.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        self.tell(Input::Close(Reply::Close(reply)));
        // The thread has ended, or ends now.
        let _ = answer.await;
    }
}

/// The number of a channel's bucket, for inspecting Redis.
#[must_use]
pub fn bucket_number(name: &str) -> u8 {
    bucket_of(name)
}
