//! The whole life of the process: opens the listeners, builds the node, runs both servers, and brings everything to an orderly end.

mod apps;
mod doors;
mod operator;
mod public;
mod signals;
mod worker;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_rt::time::interval;
use sd_notify::NotifyState;
use tracing::{info, warn};

pub(crate) use self::doors::{admin_tls, public_tls};
use self::{
    apps::open_apps,
    doors::Doors,
    operator::admin_server,
    public::public_server,
    signals::{Asked, Signals, notify},
    worker::PublicSide,
};
use crate::{
    acme::{self, AcmeKeeper},
    address::{Gate, Proxies},
    admin::{Access, AdminSettings},
    app::AppRegistry,
    banner::banner,
    certificates::CertificateKeeper,
    config::{self, Config, Loaded},
    door::{Inherited, bind_tcp},
    drain::drain,
    engine::{COUNT_TICKS_A_SECOND, Engine},
    feed::Feed,
    hub::{Capacity, Hub},
    memory::{self, Ebb},
    node::{self, Node, Peers},
    settings::Count,
    store::Loss,
    tls::TlsStatus,
    transport::fallback::{Carrier, Sessions},
    webhook::{Departures, Webhooks},
};

/// Serves until a signal says stop.
///
/// # Errors
/// When a listener can't be bound or a worker can't start.
pub fn run(loaded: Loaded, variables: BTreeMap<String, String>) -> io::Result<()> {
    actix_rt::System::new().block_on(serve(loaded, variables))
}

async fn serve(loaded: Loaded, variables: BTreeMap<String, String>) -> io::Result<()> {
    let mut config = loaded.config.clone();
    let mut signals = Signals::listen()?;
    let names = variables.get("LISTEN_FDNAMES").map(String::as_str);
    let inherited = Inherited::take(&config, names)?;
    let acme = config.server.tls.acme.as_ref();
    let acme = acme.map(acme::Opened::open).transpose()?;
    let issued = acme.as_ref().map(|acme| Arc::clone(&acme.issued));
    let mut public = Doors::open(&config.server, issued, inherited.doors)?;
    let operator = match inherited.admin {
        Some(socket) => socket,
        None => bind_tcp("admin.port", config.admin.host.0, config.admin.port)?,
    };
    let operator_tls = admin_tls(&config.admin)?;
    let admin_scheme = operator_tls.as_ref().map_or("http", |_| "https");
    let addresses = public.addresses(operator.local_addr()?, admin_scheme);

    let hub = Arc::new(Hub::new(config.server.workers()));
    let understood = loaded.understood.clone();
    let sources = (understood.file.clone(), variables.clone());
    config.apps = Vec::new();
    let config = &config;
    let opened = open_apps(loaded, variables).await?;
    let apps = AppRegistry::new(opened.reading.apps);
    let feed = Feed::default();
    let webhooks = Webhooks::new(
        feed.clone(),
        config.server.webhook_allowed_addresses.clone(),
    );
    let (apps, webhooks) = (Arc::new(apps), Arc::new(webhooks));
    let edges = node::edges(Arc::clone(&apps), Arc::clone(&webhooks));
    let engine = match &config.redis {
        Some(redis) => Engine::clustered(redis, Arc::clone(&hub), feed.clone(), edges).await?,
        None => Engine::local(Arc::clone(&hub), feed.clone(), edges),
    };
    let departures = match &config.redis {
        Some(_) => Departures::Settled,
        None => Departures::Fresh,
    };
    webhooks.start(&apps.all(), departures)?;
    let capacity = Capacity {
        connections: config.server.max_connections.map(Count::get),
        per_address: config.server.max_connections_per_ip.map(Count::get),
    };
    let gate = gate(&config.server);
    let node = Node::new(apps, hub, engine, webhooks, feed, capacity, gate);
    let node = Arc::new(node);
    let kept = (Arc::clone(&node), config.server.drain_window_s.get());
    // Fails only if the thread has panicked.
    let _ = opened.keep.send(kept);

    let public_tls = public.tls().map(|(_, tls)| tls);
    let tls_status = Arc::new(TlsStatus::new(public_tls, operator_tls.as_ref()));
    let certificates = CertificateKeeper::begin(&node, Arc::clone(&tls_status));
    let answers = acme.as_ref().and_then(acme::Opened::answers);
    let acme = acme.map(|acme| AcmeKeeper::begin(acme, &node, Arc::clone(&tls_status)));
    let sessions = Sessions::default();
    let peers = Peers::of(&node);
    let max_message_bytes = config.websocket.max_message_bytes.get();
    let carrier = peers.map(|peers| Carrier::new(peers, sessions.clone(), max_message_bytes));
    let carrying = carrier
        .clone()
        .map(|carrier| actix_rt::spawn(carrier.run()));
    let side = PublicSide {
        config: config.clone(),
        node: Arc::clone(&node),
        sessions,
        carrier: carrier.clone(),
        answers,
    };
    let clients = public_server(side, &public)?;
    let (clients_handle, clients) = (clients.handle(), actix_rt::spawn(clients));
    let token = config.admin.token.clone();
    let access = Access::new(token, addresses.admin.port(), addresses.admin_scheme);
    let settings = AdminSettings {
        public: addresses.shown(),
        public_port: addresses.public().map_or(0, |address| address.port()),
        access,
        tls: tls_status,
        close_window: config.server.drain_window_s.get(),
        metrics_prefix: config.metrics.prefix.0.clone(),
    };
    let operator = (operator, operator_tls);
    let operators = admin_server(&node, settings, opened.control.clone(), operator)?;
    let (operators_handle, operators) = (operators.handle(), actix_rt::spawn(operators));
    let ticker = actix_rt::spawn(tick_engine(Arc::clone(&node)));

    let apps = node.apps.all();
    show(&banner(config, &apps, &understood, &addresses))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        public = addresses.shown(),
        tls = addresses.tls.map(tracing::field::display),
        admin = %addresses.admin,
        engine = if config.redis.is_some() { "redis" } else { "local" },
        apps = apps.len(),
        workers = config.server.workers(),
        "started"
    );
    notify(&[NotifyState::Ready]);
    while let Asked::Reload = signals.next().await {
        // A service of the type notify-reload is told of the time, lest an earlier "ready" is taken for the answer.
        let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
        notify(&[NotifyState::Reloading, now]);
        certificates.reload();
        if let Some(acme) = &acme {
            acme.reload(acme_names(sources.clone()).await);
        }
        // What came of it is told by the log.
        let _ = opened.control.reload(Loss::Refused).await;
        notify(&[NotifyState::Ready]);
    }
    notify(&[NotifyState::Stopping]);
    info!("stopping; a second signal stops at once");
    let stopped = tokio::select! {
        () = drain(&config.server, &node, carrier.as_deref(), public.all(), &clients_handle) => true,
        () = signals.stop() => false,
    };
    drop(opened.control);
    if !stopped {
        warn!("stopped at once, on a second signal");
    }
    ticker.abort();
    certificates.stop();
    if let Some(acme) = acme {
        acme.stop();
    }
    operators_handle.stop(false).await;
    if !stopped {
        clients_handle.stop(false).await;
    }
    for server in [clients, operators] {
        server.await.map_err(io::Error::other)??;
    }
    if let Some(carrying) = carrying {
        carrying.abort();
    }
    info!("stopped");
    Ok(())
}

/// The names that the configuration has for ACME now. `None`: it can't be read, or has no ACME any more.
async fn acme_names(
    (file, variables): (Option<PathBuf>, BTreeMap<String, String>),
) -> Option<Vec<String>> {
    let read = move || Config::load(file.as_deref(), &variables);
    let read = actix_rt::task::spawn_blocking(read).await.ok()?;
    let loaded = read.inspect_err(|problems| {
        let reason = problems.to_string();
        warn!(reason, "server.tls.acme.domains was not changed");
    });
    Some(loaded.ok()?.config.server.tls.acme?.names())
}

/// What each place may use, and who is believed about places.
fn gate(server: &config::Server) -> Gate {
    let networks = server.trusted_proxies.iter();
    Gate::new(
        Proxies::new(networks.map(|network| network.0).collect()),
        server.max_clients_per_ip.map(Count::get),
        server.max_http_connections.get(),
    )
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

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // A closed stdout is no reason not to serve.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
