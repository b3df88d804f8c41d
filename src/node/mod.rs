//! This process as a whole: the one place that knows apps, hub, engine, feed and webhooks, and what each request does to all of them.

mod apps;
mod handshakes;
mod inspect;
mod latency;
mod peers;
mod phase;
mod publish;
mod query;
mod rates;
mod storm;
mod subscribe;
mod users;
mod webhooks;

use std::{net::IpAddr, sync::Arc, time::Instant};

pub use apps::Revoked;
use latency::RecentLatency;
pub use peers::{Apps, AppsNews, Peers};
use phase::CurrentPhase;
pub use phase::Phase;
pub use publish::{ClientPublication, Overloaded, Publication, Reached};
pub use rates::{Rates, TooFast};
pub use storm::Storms;
pub use subscribe::{Client, Entrance, Subscribing, Welcome};
use tokio::sync::Semaphore;
pub use users::Online;
pub use webhooks::edges;

use crate::{
    address::Gate,
    app::{App, AppRegistry},
    engine::{Engine, Unavailable},
    feed::Feed,
    hub::{AppChannels, Capacity, ConnectionSlot, Hub, NoSlot},
    metrics::Incidents,
    settings::Count,
    webhook::Webhooks,
};

/// Why a node should get no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It is stopping.
    Draining,
    /// The cluster's state can't be reached.
    EngineAway,
}

/// The shared half of the server's state.
pub struct Node {
    /// The apps.
    pub apps: Arc<AppRegistry>,
    /// Who listens where.
    pub hub: Arc<Hub>,
    /// What happens, for whoever watches.
    pub feed: Feed,
    /// What went wrong or ended, counted.
    pub incidents: Incidents,
    /// What went wrong so often that the log is not told of each.
    pub storms: Storms,
    /// The same at the operator's listener.
    operator_storms: Storms,
    /// How fast the apps' backends may ask.
    pub rates: Rates,
    /// Where clients come from, and what each place may use.
    pub gate: Gate,
    /// What happens, for the apps' backends.
    pub webhooks: Arc<Webhooks>,
    engine: Arc<Engine>,
    /// Taken by the long listing that is under way.
    listings: Semaphore,
    /// Taken by counts of other nodes' subscribers for the feed.
    counts: Arc<Semaphore>,
    capacity: Capacity,
    phase: CurrentPhase,
    latency: RecentLatency,
    started: Instant,
}

impl Node {
    /// Puts the parts together. `capacity` is the node's own.
    #[must_use]
    pub fn new(
        apps: Arc<AppRegistry>,
        hub: Arc<Hub>,
        engine: Engine,
        webhooks: Arc<Webhooks>,
        feed: Feed,
        capacity: Capacity,
        gate: Gate,
    ) -> Self {
        Self {
            apps,
            hub,
            feed,
            incidents: Incidents::default(),
            storms: Storms::default(),
            operator_storms: Storms::default(),
            rates: Rates::default(),
            gate,
            webhooks,
            engine: Arc::new(engine),
            listings: Semaphore::new(1),
            counts: Arc::new(Semaphore::new(publish::COUNTS_MAX)),
            capacity,
            phase: CurrentPhase::default(),
            latency: RecentLatency::default(),
            started: Instant::now(),
        }
    }

    /// Where this node's channel state lives.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether every shard and the way to other nodes has room for what a publisher of the app brings.
    fn has_room(&self, channels: &AppChannels) -> bool {
        self.hub.has_room(channels) && self.engine.has_room(channels)
    }

    /// Counts a new connection of the app, unless a limit forbids it.
    ///
    /// # Errors
    /// [`NoSlot`] names the limit.
    pub fn take_slot(
        &self,
        app: &App,
        channels: &Arc<AppChannels>,
        ip: Option<IpAddr>,
    ) -> Result<ConnectionSlot, NoSlot> {
        let max = app.limits.max_connections.map(Count::get);
        self.hub.take_slot(channels, max, self.capacity, ip)
    }

    /// Where in its life the node is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Says where in its life the node is from now on.
    pub fn enter_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// Whether the node should get traffic.
    ///
    /// # Errors
    /// [`NotReady`] says why not.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.phase() != Phase::Running {
            return Err(NotReady::Draining);
        }
        self.engine
            .health()
            .map_err(|Unavailable| NotReady::EngineAway)
    }

    /// Whether new clients are sent elsewhere.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Closing
    }

    /// When the node began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Does what is due; called once a second.
    pub fn tick(&self, now: Instant) {
        self.engine.tick(now);
        self.gate.tick();
        self.latency.note(now, self.hub.latency.counts());
    }
}
