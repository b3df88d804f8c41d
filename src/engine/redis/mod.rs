//! The engine of many nodes: rows in Redis, and a mirror of them in this process.
//!
//! Clients are told what the mirror says, and the mirror changes only by edges that Redis numbered and by snapshots, so that every
//! client on every node sees the same edges in the same order, each once. One thread (`task`) owns the connection and the
//! bookkeeping; the shards' threads hand it intents and never wait. `docs/adr/0004-redis-engine.md` has the data model.

mod envelope;
mod intent;
mod keys;
mod lease;
mod link;
mod post;
mod query;
mod record;
mod scripts;
mod task;
mod write;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

pub use self::post::{NodeId, Post};
use self::{
    intent::{Intent, Keeping, Outside},
    link::Link,
    task::Task,
};
use super::{
    Answer, CacheableEvent, ChannelInfo, ClusterNode, EdgeSink, Engine, EnterError, Occupied,
    Snapshot, Unavailable, Wanted,
    channels::{ChannelStates, Key},
};
use crate::{
    app::Replay,
    config::Redis,
    feed::Feed,
    hub::{Channel, Hub},
    presence::Member,
    protocol::{ChannelName, Frame, SocketId},
};

/// Events that are held for other nodes while Redis is away.
const BACKLOG_EVENTS_MAX: usize = 65_536;
/// Bytes of those.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Carries messages and shared state through Redis.
pub struct RedisEngine {
    states: Arc<ChannelStates>,
    intents: mpsc::UnboundedSender<Intent>,
    shared: Arc<Shared>,
    post: Post,
}

/// What the engine's thread tells the others without being asked.
#[derive(Default)]
struct Shared {
    within_reach: AtomicBool,
    waiting_events: AtomicUsize,
    waiting_bytes: AtomicUsize,
}

impl Shared {
    fn hold(&self, bytes: usize) {
        self.waiting_events.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, bytes: usize) {
        self.waiting_events.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl RedisEngine {
    /// Connects to Redis and begins to work, in a thread of its own.
    ///
    /// # Errors
    /// When Redis can't be reached: a node that was told to be one of many must not come up alone.
    pub async fn start(
        settings: &Redis,
        hub: Arc<Hub>,
        feed: Feed,
        edges: EdgeSink,
    ) -> io::Result<Self> {
        let states = Arc::new(ChannelStates::new(hub, feed));
        let shared = Arc::new(Shared::default());
        let (intents, mailbox) = mpsc::unbounded_channel();
        let node = rand::random();
        let (post, letters) = Post::new(node, intents.clone());
        let (ready, started) = oneshot::channel();
        let outside = Outside {
            node,
            states: Arc::clone(&states),
            shared: Arc::clone(&shared),
            edges,
            letters,
        };
        let addresses = Link::addresses(settings);
        let settings = settings.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    match Task::connect(settings, mailbox, outside).await {
                        Ok(task) => {
                            let _ = ready.send(Ok(()));
                            task.run().await;
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                        }
                    }
                });
            })?;
        match started.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let reason = format!("cannot reach Redis at {addresses}: {error}");
                return Err(io::Error::other(reason));
            }
            Err(_) => return Err(io::Error::other("the Redis engine's thread ended")),
        }
        Ok(Self {
            states,
            intents,
            shared,
            post,
        })
    }

    fn intend(&self, intent: Intent) {
        // Fails only when the thread has ended, at the end of the process.
        let _ = self.intents.send(intent);
    }

    fn ask<T: 'static>(
        &self,
        intent: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Intent,
    ) -> Answer<Result<T, Unavailable>> {
        let (reply, answer) = oneshot::channel();
        self.intend(intent(reply));
        Answer::Later(Box::pin(
            async move { answer.await.unwrap_or(Err(Unavailable)) },
        ))
    }

    fn publish(&self, key: Key, frame: Frame, except: Option<SocketId>, keeping: Option<Keeping>) {
        self.shared.hold(frame.bytes().len());
        self.intend(Intent::Publish {
            key,
            frame,
            except,
            keeping,
        });
    }
}

/// The answer to a client that wants to enter. A refused one was counted when it came; when this is dropped, the hub has
/// forgotten it, and Redis is to be told.
struct Entering {
    answer: oneshot::Receiver<Result<(), EnterError>>,
    channel: Arc<Channel>,
    intents: mpsc::UnboundedSender<Intent>,
    is_refused: bool,
}

impl Future for Entering {
    type Output = Result<(), EnterError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        let answer = answer.unwrap_or(Err(EnterError::Unavailable));
        self.is_refused = answer.is_err();
        Poll::Ready(answer)
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        if self.is_refused {
            let channel = Arc::clone(&self.channel);
            // Fails only when the thread has ended, at the end of the process.
            let _ = self.intents.send(Intent::Recount { channel });
        }
    }
}

impl Engine for RedisEngine {
    fn has_room(&self) -> bool {
        self.shared.waiting_events.load(Ordering::Relaxed) < BACKLOG_EVENTS_MAX
            && self.shared.waiting_bytes.load(Ordering::Relaxed) < BACKLOG_BYTES_MAX
    }

    fn enter(
        &self,
        channel: &Arc<Channel>,
        socket: SocketId,
        member: Option<&Member>,
        max_members: usize,
        _now: Instant,
    ) -> Answer<Result<(), EnterError>> {
        let (reply, answer) = oneshot::channel();
        self.intend(Intent::Enter {
            channel: Arc::clone(channel),
            socket,
            member: member.cloned(),
            max_members,
            reply,
        });
        Answer::Later(Box::pin(Entering {
            answer,
            channel: Arc::clone(channel),
            intents: self.intents.clone(),
            is_refused: false,
        }))
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
        socket: SocketId,
        member: Option<&Member>,
        _now: Instant,
    ) {
        self.intend(Intent::Leave {
            channel: Arc::clone(channel),
            socket,
            user_id: member.map(|member| Arc::clone(&member.user_id)),
        });
    }

    fn missed(&self, channel: &Arc<Channel>) {
        self.intend(Intent::Missed {
            channel: Arc::clone(channel),
        });
    }

    fn spans_nodes(&self) -> bool {
        true
    }

    fn post(&self) -> Option<Post> {
        Some(self.post.clone())
    }

    fn forward(&self, app_id: &Arc<str>, name: &str, frame: &Frame, except: Option<SocketId>) {
        self.publish(
            (Arc::clone(app_id), name.into()),
            frame.clone(),
            except,
            None,
        );
    }

    fn remember(&self, event: CacheableEvent<'_>, ttl: Duration) {
        let (frame, except) = (event.frame.clone(), event.except);
        let ttl_s = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let key = event.key();
        self.states.remember_own(event, ttl, || {
            self.publish(key, frame, except, Some(Keeping::Last { ttl_s }));
        });
    }

    fn record(&self, event: CacheableEvent<'_>, replay: Replay) {
        let (frame, except) = (event.frame.clone(), event.except);
        let key = event.key();
        self.states.record_own(event, replay, || {
            self.publish(key, frame, except, Some(Keeping::History(replay)));
        });
    }

    fn terminate(&self, app_id: &Arc<str>, user_id: &Arc<str>) {
        self.shared.hold(0);
        let (app_id, user_id) = (Arc::clone(app_id), Arc::clone(user_id));
        self.intend(Intent::Terminate { app_id, user_id });
    }

    fn channel(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
        wanted: Wanted,
        _now: Instant,
    ) -> Answer<Result<ChannelInfo, Unavailable>> {
        let (key, kind) = ((app_id.into(), name.as_str().into()), name.kind());
        self.ask(|reply| Intent::Channel {
            key,
            kind,
            wanted,
            reply,
        })
    }

    fn users(
        &self,
        app_id: &str,
        name: ChannelName<'_>,
    ) -> Answer<Result<Vec<Member>, Unavailable>> {
        let key = (app_id.into(), name.as_str().into());
        self.ask(|reply| Intent::Users { key, reply })
    }

    fn occupied(&self, app_id: &str, prefix: &str) -> Answer<Result<Vec<Occupied>, Unavailable>> {
        let (app_id, prefix) = (app_id.into(), prefix.to_owned());
        self.ask(|reply| Intent::Occupied {
            app_id,
            prefix,
            reply,
        })
    }

    fn connections(&self, app_id: &str) -> Answer<Result<usize, Unavailable>> {
        let app_id = app_id.into();
        self.ask(|reply| Intent::Connections { app_id, reply })
    }

    fn users_here(&self, app_id: &str, name: &str) -> usize {
        self.states.user_count(&(app_id.into(), name.into()))
    }

    fn nodes(&self) -> Answer<Result<Vec<ClusterNode>, Unavailable>> {
        self.ask(|reply| Intent::Nodes { reply })
    }

    fn health(&self) -> Result<(), Unavailable> {
        if self.shared.within_reach.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(Unavailable)
        }
    }

    fn tick(&self, now: Instant) {
        self.states.tick(now);
    }

    fn close(&self) -> Answer<()> {
        let (reply, answer) = oneshot::channel();
        self.intend(Intent::Close { reply });
        Answer::Later(Box::pin(async move { answer.await.unwrap_or_default() }))
    }
}
