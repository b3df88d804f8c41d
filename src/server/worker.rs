//! What each thread of the public side has: one shard, with all that clients' connections use.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use actix_rt::time::interval;

use crate::{
    acme::HttpAnswers,
    config::Config,
    connection::{Turnstile, Worker},
    hub::{Shard, ShardSettings},
    node::Node,
    tls::Buffers,
    transport::{
        fallback::{Carrier, Fallback, Sessions},
        http::HttpConnections,
        websocket::Listener,
    },
};

/// One worker's part of the public side, whichever door a client comes in by.
pub(super) struct PublicWorker {
    pub(super) listener: Rc<Listener>,
    pub(super) connections: Rc<HttpConnections>,
    pub(super) fallback: Rc<Fallback>,
    pub(super) buffers: Buffers,
}

thread_local! {
    /// A factory of services runs once for each door on each thread, and a thread has one shard. The services keep it.
    static PUBLIC_WORKER: RefCell<Weak<PublicWorker>> = const { RefCell::new(Weak::new()) };
}

/// What the workers of the public side are made of.
#[derive(Clone)]
pub(super) struct PublicSide {
    pub(super) config: Config,
    pub(super) node: Arc<Node>,
    pub(super) sessions: Sessions,
    pub(super) carrier: Option<Arc<Carrier>>,
    pub(super) answers: Option<Arc<HttpAnswers>>,
}

impl PublicSide {
    pub(super) fn worker(&self) -> Rc<PublicWorker> {
        PUBLIC_WORKER.with_borrow_mut(|kept| {
            kept.upgrade().unwrap_or_else(|| {
                let worker = Rc::new(self.start_worker());
                *kept = Rc::downgrade(&worker);
                worker
            })
        })
    }

    fn start_worker(&self) -> PublicWorker {
        let (server, websocket) = (&self.config.server, &self.config.websocket);
        let worker = start_worker(&self.config, &self.node);
        let listener = Listener::new(
            Rc::clone(&worker),
            server.path_prefix.0.clone(),
            websocket.max_message_bytes.get(),
            websocket.max_outbox_bytes.get(),
        );
        let connections = start_http(&worker, server.request_timeout_s.get());
        let fallback = Fallback::new(
            worker,
            self.sessions.clone(),
            self.carrier.clone(),
            server.request_timeout_s.get(),
            websocket.max_message_bytes.get(),
            websocket.max_outbox_bytes.get(),
        );
        PublicWorker {
            listener: Rc::new(listener),
            connections,
            fallback: Rc::new(fallback),
            buffers: Buffers::default(),
        }
    }
}

/// Sets up this thread's shard with its two tasks, which live as long as the thread.
fn start_worker(config: &Config, node: &Arc<Node>) -> Rc<Worker> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let settings = ShardSettings {
        activity_timeout_ticks: seconds(config.websocket.activity_timeout_s.get()),
        pong_timeout_ticks: seconds(config.websocket.pong_timeout_s.get()),
    };
    let shard = Shard::claim(&node.hub, settings).expect("the hub has a place for every worker");
    tokio::task::spawn_local(Rc::clone(&shard).run());
    tokio::task::spawn_local(sweep_shard(Rc::clone(&shard)));
    let seating = Turnstile::default();
    Rc::new(Worker {
        node: Arc::clone(node),
        shard,
        activity_timeout_s: config.websocket.activity_timeout_s.get().as_secs(),
        require_protocol: config.websocket.require_protocol,
        turnstile: Turnstile::before(&seating),
        seating,
    })
}

/// Sets up this thread's HTTP connections with their two tasks, which live as long as the thread.
fn start_http(worker: &Rc<Worker>, request_timeout: Duration) -> Rc<HttpConnections> {
    let (connections, closing) = HttpConnections::new(Rc::clone(worker), request_timeout);
    tokio::task::spawn_local(closing.run());
    tokio::task::spawn_local(sweep_http(Rc::clone(&connections)));
    connections
}

async fn sweep_shard(shard: Rc<Shard>) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        shard.sweep();
    }
}

async fn sweep_http(connections: Rc<HttpConnections>) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        connections.sweep();
    }
}
