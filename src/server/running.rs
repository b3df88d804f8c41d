//! Everything that runs while clients are served, from its start to its stop.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_rt::{task::JoinHandle, time::interval};
use actix_server::{Server, ServerHandle};
use sd_notify::NotifyState;
use tracing::{info, warn};

use super::{
    doors::Doors,
    opening::Listeners,
    operator::admin_server,
    public::public_server,
    signals::{Asked, Signals, notify},
    worker::PublicSide,
};
use crate::{
    acme::{self, AcmeKeeper},
    admin::{Access, AdminSettings},
    banner::Addresses,
    certificates::CertificateKeeper,
    config::Config,
    drain::drain,
    engine::COUNT_TICKS_A_SECOND,
    memory::{self, Ebb},
    node::{Node, Peers},
    store::{AppControl, Loss},
    tls::TlsStatus,
    transport::fallback::{Carrier, Sessions},
};

/// Where the configuration was read from, and is read again.
pub(super) struct Sources {
    pub(super) file: Option<PathBuf>,
    pub(super) variables: BTreeMap<String, String>,
}

/// Everything that has to be stopped.
pub(super) struct Running {
    config: Config,
    node: Arc<Node>,
    doors: Doors,
    control: AppControl,
    clients: Serving,
    operators: Serving,
    certificates: CertificateKeeper,
    acme: Option<AcmeKeeper>,
    carrying: Option<Carrying>,
    ticker: JoinHandle<()>,
}

/// One of the two servers.
struct Serving {
    handle: ServerHandle,
    end: JoinHandle<io::Result<()>>,
}

impl Serving {
    fn start(server: Server) -> Self {
        Self {
            handle: server.handle(),
            end: actix_rt::spawn(server),
        }
    }

    async fn ended(self) -> io::Result<()> {
        self.end.await.map_err(io::Error::other)?
    }
}

/// What carries the requests of fallback sessions that another node has. Only in a cluster.
struct Carrying {
    carrier: Arc<Carrier>,
    task: JoinHandle<()>,
}

impl Carrying {
    fn start(config: &Config, node: &Arc<Node>, sessions: &Sessions) -> Option<Self> {
        let max_message_bytes = config.websocket.max_message_bytes.get();
        let carrier = Carrier::new(Peers::of(node)?, sessions.clone(), max_message_bytes);
        let task = actix_rt::spawn(Arc::clone(&carrier).run());
        Some(Self { carrier, task })
    }
}

/// How a stop ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Clients were told to reconnect, and requests were answered.
    Drained,
    /// A second signal came first.
    AtOnce,
}

impl Running {
    /// Serves clients and operators from now on.
    pub(super) fn start(
        config: Config,
        node: Arc<Node>,
        listeners: Listeners,
        control: AppControl,
    ) -> io::Result<Self> {
        let Listeners {
            doors,
            operator,
            acme,
            addresses,
        } = listeners;
        let public_tls = doors.tls().map(|(_, tls)| tls);
        let tls = Arc::new(TlsStatus::new(public_tls, operator.1.as_ref()));
        let certificates = CertificateKeeper::begin(&node, Arc::clone(&tls));
        let answers = acme.as_ref().and_then(acme::Opened::answers);
        let acme = acme.map(|acme| AcmeKeeper::begin(acme, &node, Arc::clone(&tls)));
        let sessions = Sessions::default();
        let carrying = Carrying::start(&config, &node, &sessions);
        let carrier = carrying.as_ref().map(|it| Arc::clone(&it.carrier));
        let side = PublicSide {
            config: config.clone(),
            node: Arc::clone(&node),
            sessions,
            carrier,
            answers,
        };
        let clients = Serving::start(public_server(side, &doors)?);
        let settings = admin_settings(&config, &addresses, tls);
        let operators = admin_server(&node, settings, control.clone(), operator)?;
        Ok(Self {
            operators: Serving::start(operators),
            ticker: actix_rt::spawn(tick_engine(Arc::clone(&node))),
            config,
            node,
            doors,
            control,
            clients,
            certificates,
            acme,
            carrying,
        })
    }

    /// Ends when a signal asks for a stop.
    pub(super) async fn serve(&self, signals: &mut Signals, sources: &Sources) {
        notify(&[NotifyState::Ready]);
        while let Asked::Reload = signals.next().await {
            // With `Type=notify-reload` systemd needs the time, so that it takes no earlier `READY` for the answer.
            let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
            notify(&[NotifyState::Reloading, now]);
            self.reload(sources).await;
            notify(&[NotifyState::Ready]);
        }
    }

    async fn reload(&self, sources: &Sources) {
        self.certificates.reload();
        if let Some(acme) = &self.acme {
            acme.reload(acme_names(sources).await);
        }
        // The log has the result.
        let _ = self.control.reload(Loss::Refused).await;
    }

    /// Brings everything to an orderly end, or to a quick one on a second signal.
    pub(super) async fn stop(mut self, signals: &mut Signals) -> io::Result<()> {
        notify(&[NotifyState::Stopping]);
        info!("stopping; a second signal stops at once");
        let stop = self.drain(signals).await;
        drop(self.control);
        if stop == Stop::AtOnce {
            warn!("stopped at once, on a second signal");
        }
        self.ticker.abort();
        self.certificates.stop();
        if let Some(acme) = self.acme {
            acme.stop();
        }
        self.operators.handle.stop(false).await;
        if stop == Stop::AtOnce {
            self.clients.handle.stop(false).await;
        }
        self.clients.ended().await?;
        self.operators.ended().await?;
        if let Some(carrying) = self.carrying {
            carrying.task.abort();
        }
        info!("stopped");
        Ok(())
    }

    async fn drain(&mut self, signals: &mut Signals) -> Stop {
        let carrier = self.carrying.as_ref().map(|carrying| &*carrying.carrier);
        let (server, doors) = (&self.config.server, self.doors.all());
        tokio::select! {
            () = drain(server, &self.node, carrier, doors, &self.clients.handle) => Stop::Drained,
            () = signals.stop() => Stop::AtOnce,
        }
    }
}

fn admin_settings(config: &Config, addresses: &Addresses, tls: Arc<TlsStatus>) -> AdminSettings {
    let token = config.admin.token.clone();
    AdminSettings {
        public: addresses.shown(),
        public_port: addresses.public().map_or(0, |address| address.port()),
        access: Access::new(token, addresses.admin.port(), addresses.admin_scheme),
        tls,
        close_window: config.server.drain_window_s.get(),
        metrics_prefix: config.metrics.prefix.0.clone(),
    }
}

/// The names that the configuration has for ACME now. `None`: it can't be read, or has no ACME any more.
async fn acme_names(sources: &Sources) -> Option<Vec<String>> {
    let (file, variables) = (sources.file.clone(), sources.variables.clone());
    let read = move || Config::load(file.as_deref(), &variables);
    let read = actix_rt::task::spawn_blocking(read).await.ok()?;
    let loaded = read.inspect_err(|problems| {
        let reason = problems.to_string();
        warn!(reason, "server.tls.acme.domains was not changed");
    });
    Some(loaded.ok()?.config.server.tls.acme?.names())
}

async fn tick_engine(node: Arc<Node>) {
    let mut times = interval(Duration::from_secs(1) / COUNT_TICKS_A_SECOND);
    let mut ebb = Ebb::new(Instant::now());
    for ticks in 0_u32.. {
        times.tick().await;
        let now = Instant::now();
        node.engine().send_due_counts(now);
        // All the rest is due once a second.
        if ticks.is_multiple_of(COUNT_TICKS_A_SECOND) {
            node.tick(now);
            let clients = node.hub.connections() + node.gate.http_connections();
            if ebb.note(clients, now) {
                // Nobody waits for it, and it can't fail.
                drop(actix_rt::task::spawn_blocking(memory::give_back));
            }
        }
    }
}
