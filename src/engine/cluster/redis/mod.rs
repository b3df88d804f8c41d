//! Runs the core: one thread that has the connection to Redis, carries inputs to the core and does what it says.

mod decode;
mod encode;
mod link;
mod names;
mod pushes;
mod scripts;
mod tls;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use redis::{PushInfo, PushKind, Value};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{Sleep, sleep, sleep_until},
};
use tracing::{debug, error, info, warn};

pub use self::{
    decode::{decode, fault},
    encode::{Command, Encoder},
    names::Names,
    scripts::{ALL as SCRIPTS, Script},
};
use self::{link::Link, pushes::Pushes};
use super::{
    apps::AppsHeard,
    core::{
        Answer, Call, CallError, CallId, Core, Effect, FlowLimits, Heard, Input, Notice, RedisMode,
        Settings, Topic,
    },
    envelope,
    mailbox::Mailbox,
    mirror::Mirror,
    reply::Reply,
};
use crate::{
    config::{self, Redis},
    engine::EdgeSink,
};

/// Inputs and messages taken in one turn.
const TURN: usize = 1024;

/// What happened outside the core.
enum Done {
    Connected(Result<(Link, Pushes), String>),
    Answered(CallId, Result<Answer, CallError>),
}

/// What the thread shares with the rest of the server.
pub(super) struct Outside {
    pub(super) node: u64,
    pub(super) mailbox: Arc<Mailbox<Reply>>,
    pub(super) mirror: Mirror,
    pub(super) edges: EdgeSink,
    pub(super) reachable: Arc<AtomicBool>,
    /// Where messages to this node go.
    pub(super) inbound: mpsc::Sender<Bytes>,
    pub(super) apps: AppsHeard,
}

/// Connects to Redis and begins to work, in a thread of its own.
///
/// # Errors
/// When Redis can't be reached.
pub(super) async fn start(settings: &Redis, outside: Outside) -> io::Result<()> {
    let addresses = settings.addresses();
    let settings = settings.clone();
    let (ready, started) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("redis".to_owned())
        .spawn(move || runtime.block_on(run(settings, outside, ready)))?;
    match started.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(unreachable(&addresses, &reason)),
        Err(_) => Err(io::Error::other("the cluster's thread ended")),
    }
}

/// Connects once, and no more.
///
/// # Errors
/// When Redis can't be reached.
pub(super) async fn reach(settings: &Redis) -> io::Result<()> {
    match Link::connect(settings, Pushes::default()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(unreachable(&settings.addresses(), &error.to_string())),
    }
}

fn unreachable(addresses: &str, reason: &str) -> io::Error {
    io::Error::other(format!("cannot reach Redis at {addresses}: {reason}"))
}

async fn run(settings: Redis, outside: Outside, ready: oneshot::Sender<Result<(), String>>) {
    let pushes = Pushes::default();
    match Link::connect(&settings, pushes.clone()).await {
        Ok(link) => {
            let mut runner = Runner::new(settings, outside);
            runner.attach(link, pushes);
            // A task, so that it and the connection's task wake each other without a system call.
            drop(tokio::spawn(runner.run(ready)).await);
        }
        Err(reason) => drop(ready.send(Err(reason))),
    }
}

/// The future's output, and whether it was pending at first.
async fn awaited<F: Future>(future: F) -> (F::Output, bool) {
    let (mut future, mut has_waited) = (pin!(future), false);
    let given = poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        has_waited |= polled.is_pending();
        polled
    });
    (given.await, has_waited)
}

/// The thread's own.
struct Runner {
    settings: Redis,
    encoder: Encoder,
    /// Where messages to this node alone are published.
    own_topic: String,
    core: Core<Reply>,
    outside: Outside,
    link: Option<Link>,
    /// Counts links, to tell results of an earlier one.
    link_number: u64,
    pushes: Pushes,
    work: FuturesUnordered<BoxFuture<'static, (u64, Done)>>,
    effects: Vec<Effect<Reply>>,
    /// Why Redis could not be used the last time.
    failure: String,
    stage: Stage,
}

/// Where in its life the thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has no lease yet.
    Starting,
    Running,
    Over,
}

impl Runner {
    fn new(settings: Redis, outside: Outside) -> Self {
        let mode = match settings.mode {
            config::RedisMode::Single => RedisMode::Single,
            _ => RedisMode::Replicated,
        };
        let node = outside.node;
        let settings_of_core = Settings {
            node,
            mode,
            flow: FlowLimits::default(),
        };
        let edges = Arc::clone(&outside.edges);
        let hooks = Box::new(move |app_id: &str, name: &str| edges.heard(app_id, name));
        let names = Names::new(&settings.key_prefix);
        Self {
            own_topic: names.node(node),
            encoder: Encoder {
                names,
                node,
                sharded: settings.mode == config::RedisMode::Cluster,
            },
            core: Core::new(settings_of_core, hooks, Instant::now()),
            settings,
            outside,
            link: None,
            link_number: 0,
            pushes: Pushes::default(),
            work: FuturesUnordered::new(),
            effects: Vec::new(),
            failure: String::new(),
            stage: Stage::Starting,
        }
    }

    /// Runs until the node has left the cluster. `ready` hears whether the first lease was taken.
    async fn run(mut self, ready: oneshot::Sender<Result<(), String>>) {
        let mut ready = Some(ready);
        let mut timer = pin!(sleep_until(self.core.next_due().into()));
        while self.stage != Stage::Over {
            let due = self.core.next_due().into();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            let (done, has_waited) = awaited(self.news(timer.as_mut())).await;
            if !has_waited {
                // The connection has a task of its own on this thread, which must not starve.
                yield_now().await;
            }
            if let Some((number, done)) = done {
                self.take_done(number, done);
            }
            while let Some(Some((number, done))) = self.work.next().now_or_never() {
                self.take_done(number, done);
            }
            self.take_pushes(TURN);
            self.take_inputs();
            self.proceed();
            if self.stage == Stage::Starting
                && let Some(result) = self.first_lease()
            {
                self.stage = if result.is_ok() {
                    Stage::Running
                } else {
                    Stage::Over
                };
                if let Some(ready) = ready.take() {
                    // The start of the server waits for this.
                    let _ = ready.send(result);
                }
            }
        }
    }

    /// Whether the node has come up, once that is known.
    fn first_lease(&self) -> Option<Result<(), String>> {
        if self.outside.reachable.load(Ordering::Relaxed) {
            return Some(Ok(()));
        }
        self.link.is_none().then(|| Err(self.failure.clone()))
    }

    /// Waits until something has happened, or something is due.
    async fn news(&mut self, timer: Pin<&mut Sleep>) -> Option<(u64, Done)> {
        tokio::select! {
            () = timer => None,
            () = self.outside.mailbox.filled() => None,
            () = self.pushes.filled() => None,
            Some(done) = self.work.next(), if !self.work.is_empty() => Some(done),
        }
    }

    // --- What comes in -----------------------------------------------------------------------------------

    fn take_inputs(&mut self) {
        let (mut inputs, now) = (Vec::new(), Instant::now());
        self.outside.mailbox.take(TURN, &mut inputs);
        for input in inputs {
            self.core.handle(input, now, &mut self.effects);
        }
    }

    fn take_pushes(&mut self, max: usize) {
        let (mut pushes, now) = (Vec::new(), Instant::now());
        let dropped = self.pushes.take(max, &mut pushes);
        for push in pushes {
            self.take_push(push, now);
        }
        if dropped > 0 {
            warn!(
                dropped,
                "messages of other nodes were dropped: this node is too slow"
            );
            self.core
                .handle(Input::HeardTooMuch, now, &mut self.effects);
        }
    }

    fn take_push(&mut self, push: PushInfo, now: Instant) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut values = push.data.into_iter();
                if let (Some(Value::BulkString(topic)), Some(Value::BulkString(message))) =
                    (values.next(), values.next())
                    && let Ok(topic) = str::from_utf8(&topic)
                {
                    self.take_message(topic, message.into(), now);
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(Value::BulkString(topic)) = push.data.into_iter().next()
                    && let Ok(topic) = str::from_utf8(&topic)
                    && let Some(topic) = self.encoder.names.parse(topic)
                {
                    let input = Input::Silenced(topic);
                    self.core.handle(input, now, &mut self.effects);
                }
            }
            PushKind::Disconnection => {
                let input = Input::LinkLost("the connection was closed".to_owned());
                self.core.handle(input, now, &mut self.effects);
            }
            _ => {}
        }
    }

    fn take_message(&mut self, topic: &str, message: Bytes, now: Instant) {
        if topic == self.own_topic {
            return self.take_own_message(message, now);
        }
        // A node that publishes gets each of its events back.
        if envelope::is_idle_echo(&message, self.outside.node) {
            return;
        }
        let Some(topic) = self.encoder.names.parse(topic) else {
            return;
        };
        match envelope::decode(message) {
            Some(message) => {
                let input = Input::Heard(Heard { topic, message });
                self.core.handle(input, now, &mut self.effects);
            }
            None => debug!(
                ?topic,
                "a damaged message, or one of another version, was ignored"
            ),
        }
    }

    /// Takes a message to this node alone: an answer to a mark, or a peer request.
    fn take_own_message(&mut self, message: Bytes, now: Instant) {
        if let Some(message) = envelope::decode(message.clone()) {
            let topic = Topic::Nodes;
            let input = Input::Heard(Heard { topic, message });
            return self.core.handle(input, now, &mut self.effects);
        }
        // Its sender has a deadline for the answer.
        let _ = self.outside.inbound.try_send(message);
    }

    fn take_done(&mut self, number: u64, done: Done) {
        // What Redis sent before this answer comes first: it may be about the same channel.
        self.take_pushes(usize::MAX);
        let now = Instant::now();
        match done {
            Done::Connected(Ok((link, pushes))) => self.attach(link, pushes),
            Done::Connected(Err(reason)) => {
                let input = Input::ConnectFailed(reason);
                self.core.handle(input, now, &mut self.effects);
            }
            Done::Answered(id, result) if number == self.link_number => {
                let input = Input::Answered(id, result);
                self.core.handle(input, now, &mut self.effects);
            }
            Done::Answered(..) => {}
        }
        self.act();
    }

    fn attach(&mut self, link: Link, pushes: Pushes) {
        self.link = Some(link);
        self.pushes = pushes;
        let now = Instant::now();
        self.core.handle(Input::Connected, now, &mut self.effects);
    }

    // --- What goes out -----------------------------------------------------------------------------------

    fn proceed(&mut self) {
        self.core.proceed(Instant::now(), &mut self.effects);
        self.act();
    }

    /// Does what the core says.
    fn act(&mut self) {
        let now = Instant::now();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.perform(effect, now);
        }
        if effects.capacity() <= TURN * 4 {
            self.effects = effects;
        }
    }

    fn perform(&mut self, effect: Effect<Reply>, now: Instant) {
        let mirror = &self.outside.mirror;
        match effect {
            Effect::Connect(after) => self.connect(after),
            Effect::Call(id, call) => self.call(id, call),
            Effect::Reachable(is) => self.outside.reachable.store(is, Ordering::Relaxed),
            Effect::Admit(reply, result) => reply.admit(result),
            Effect::Answer(reply, answer) => reply.answer(answer),
            Effect::Change(key, change) => mirror.change(&key, change, now),
            Effect::Deliver(key, event, delivered) => mirror.deliver(&key, event, delivered, now),
            Effect::Mark(mark) => {
                let mailbox = Arc::clone(&self.outside.mailbox);
                mirror.when_delivered(&Arc::clone(&mark.app_id), move || {
                    // Only what asks for an answer is ever refused.
                    drop(mailbox.push(Input::Delivered(mark)));
                });
            }
            Effect::Tell(app_id, told) => mirror.tell(&app_id, &told),
            Effect::Terminate { app_id, user_id } => mirror.terminate(&app_id, &user_id),
            Effect::Apps(apps) => self.outside.apps.take(apps),
            Effect::Report(notice) => self.report(notice),
            Effect::Closed(reply) => {
                self.stage = Stage::Over;
                reply.closed();
            }
        }
    }

    fn connect(&mut self, after: Duration) {
        self.link = None;
        self.link_number += 1;
        let (number, settings) = (self.link_number, self.settings.clone());
        self.work.push(Box::pin(async move {
            sleep(after).await;
            let pushes = Pushes::default();
            let link = Link::connect(&settings, pushes.clone()).await;
            (number, Done::Connected(link.map(|link| (link, pushes))))
        }));
    }

    fn call(&mut self, id: CallId, call: Call) {
        let Some(link) = self.link.clone() else {
            return;
        };
        let hub = self.outside.mirror.state().hub();
        let connections = match call {
            Call::Lease(_) => hub.connections_by_app(),
            _ => std::collections::HashMap::new(),
        };
        let commands = self.encoder.encode(&call, &connections);
        let number = self.link_number;
        self.work.push(Box::pin(async move {
            (number, Done::Answered(id, link.call(call, commands).await))
        }));
    }

    fn report(&mut self, notice: Notice) {
        match notice {
            Notice::LinkUp if self.stage == Stage::Starting => debug!("joined the cluster"),
            Notice::LinkUp => info!("link up: Redis can be reached again"),
            Notice::LinkDown(reason) => {
                warn!(
                    reason,
                    "link down: Redis can't be reached; local delivery goes on"
                );
                self.failure = reason;
            }
            Notice::StillDown(reason) => {
                debug!(reason, "Redis still can't be reached");
                self.failure = reason;
            }
            Notice::NewEpoch {
                former,
                epoch,
                reason,
            } => warn!(%former, %epoch, reason, "this node takes a new epoch"),
            Notice::ChannelFailed {
                app_id,
                name,
                error,
            } => error!(app = %app_id, channel = ?name, error, "Redis can't settle a channel"),
            Notice::BatchRefused { app_id, error } => {
                error!(app = %app_id, error, "Redis refused changes of several channels");
            }
            Notice::Reaped { node, channels } => {
                info!(%node, channels, "removed the rows of a dead node");
            }
            Notice::ClosedEarly => error!(
                "stopped before Redis had every change; other nodes notice when the lease has run out"
            ),
        }
    }
}
