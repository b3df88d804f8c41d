//! Binds both listeners, runs the workers, and brings everything to an orderly end.

use std::{
    collections::BTreeMap,
    future::ready,
    io::{self, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_codec::Framed;
use actix_http::{HttpService, Request, error::DispatchError, h1};
use actix_rt::time::interval;
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpRequest, HttpServer,
    dev::AppConfig,
    middleware::from_fn,
    web::{self, Payload},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{info, warn};

#[cfg(feature = "sqlx")]
use crate::store::{Rules, SqlStore};
use crate::{
    address::{Gate, Proxies},
    admin::{self, Access, AdminSettings},
    api::{self, ApiSettings},
    app::AppRegistry,
    banner::banner,
    config::{self, Config, Loaded},
    connection::Worker,
    drain::drain,
    engine::Engine,
    feed::Feed,
    hub::{Capacity, Hub, Shard, ShardSettings},
    keeper::{self, Opened},
    node::{self, Node, Peers},
    settings::Count,
    store::{AppControl, FileStore, Loss, Reading, StoreError},
    transport::{
        fallback::{self, Carrier, Fallback, Sessions},
        http::{HttpConnections, HttpStream},
        websocket::Listener,
    },
    webhook::{Departures, Webhooks},
};

/// Connections that the kernel may hold for us while a storm of them arrives.
const BACKLOG: u32 = 4096;
/// Below this, a process needs privileges to listen.
const UNPRIVILEGED_PORT_MIN: u16 = 1024;
/// How often the engine does what is due.
const ENGINE_TICK: Duration = Duration::from_secs(1);
/// What HTTP replies may take after the clients have gone.
const HTTP_GRACE_S: u64 = 5;

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
    let public = bind("server.port", config.server.host.0, config.server.port)?;
    let operator = bind("admin.port", config.admin.host.0, config.admin.port)?;
    let (public_address, admin_address) = (public.local_addr()?, operator.local_addr()?);

    let hub = Arc::new(Hub::new(config.server.workers()));
    let understood = loaded.understood.clone();
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

    let door = public.try_clone()?;
    let sessions = Sessions::default();
    let peers = Peers::of(&node);
    let max_message_bytes = config.websocket.max_message_bytes.get();
    let carrier = peers.map(|peers| Carrier::new(peers, sessions.clone(), max_message_bytes));
    let carrying = carrier
        .clone()
        .map(|carrier| actix_rt::spawn(carrier.run()));
    let clients = public_server(config, &node, (sessions, carrier.clone()), public)?;
    let (clients_handle, clients) = (clients.handle(), actix_rt::spawn(clients));
    let access = Access::new(config.admin.token.clone(), admin_address.port());
    let settings = AdminSettings {
        public: public_address,
        access,
        close_window: config.server.drain_window_s.get(),
        metrics_prefix: config.metrics.prefix.0.clone(),
    };
    let operators = admin_server(&node, settings, opened.control.clone(), operator)?;
    let (operators_handle, operators) = (operators.handle(), actix_rt::spawn(operators));
    let ticker = actix_rt::spawn(tick_engine(Arc::clone(&node)));

    let apps = node.apps.all();
    let addresses = (public_address, admin_address);
    show(&banner(config, &apps, &understood, addresses))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        public = %public_address,
        admin = %admin_address,
        engine = if config.redis.is_some() { "redis" } else { "local" },
        apps = apps.len(),
        workers = config.server.workers(),
        "started"
    );
    while let Asked::Reload = signals.next().await {
        // What came of it is told by the log.
        let _ = opened.control.reload(Loss::Refused).await;
    }
    info!("stopping; a second signal stops at once");
    let stopped = tokio::select! {
        () = drain(&config.server, &node, carrier.as_deref(), &door, &clients_handle) => true,
        () = signals.stop() => false,
    };
    drop(opened.control);
    if !stopped {
        warn!("stopped at once, on a second signal");
    }
    ticker.abort();
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

/// What each place may use, and who is believed about places.
fn gate(server: &config::Server) -> Gate {
    let networks = server.trusted_proxies.iter();
    Gate::new(
        Proxies::new(networks.map(|network| network.0).collect()),
        server.max_clients_per_ip.map(Count::get),
        server.max_http_connections.get(),
    )
}

fn public_server(
    config: &Config,
    node: &Arc<Node>,
    (sessions, carrier): (Sessions, Option<Arc<Carrier>>),
    socket: TcpListener,
) -> io::Result<Server> {
    let (config, node, workers) = (config.clone(), Arc::clone(node), config.server.workers());
    let builder = Server::build()
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(HTTP_GRACE_S);
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("public", socket, move || {
        let worker = start_worker(&config, &node);
        let listener = Rc::new(Listener::new(
            Rc::clone(&worker),
            config.server.path_prefix.0.clone(),
            config.websocket.max_message_bytes.get(),
            config.websocket.max_outbox_bytes.get(),
        ));
        let connections = start_http(&worker, config.server.request_timeout_s.get());
        let fallback = Rc::new(Fallback::new(
            worker,
            sessions.clone(),
            carrier.clone(),
            config.server.request_timeout_s.get(),
            config.websocket.max_message_bytes.get(),
            config.websocket.max_outbox_bytes.get(),
        ));
        let node = web::Data::from(Arc::clone(&node));
        let settings = web::Data::new(ApiSettings::of(&config));
        let prefix: Rc<str> = config.server.path_prefix.0.as_str().into();
        let answer = move |request: HttpRequest, body: Payload| {
            let (fallback, prefix) = (Rc::clone(&fallback), Rc::clone(&prefix));
            async move {
                match fallback::Target::find(request.path()) {
                    Some(target) => fallback.answer(&request, &target, body).await,
                    None => api::answer(&request, body, &prefix).await,
                }
            }
        };
        let app = App::new()
            .app_data(node)
            .app_data(settings)
            .default_service(web::to(answer));
        let stopping = stopping.clone();
        let http = HttpService::build()
            // Ends idle keep-alive connections, which would hold up the stop.
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // Who has shut his side of a streaming response is gone.
            .h1_allow_half_closed(false)
            .keep_alive(config.server.keep_alive_s.get())
            .client_request_timeout(config.server.request_timeout_s.get())
            .upgrade(fn_service(
                move |(request, framed): (Request, Framed<HttpStream, h1::Codec>)| {
                    let parts = framed.into_parts();
                    listener.accept(&request, parts.io, parts.codec, parts.read_buf);
                    async { Ok::<_, actix_web::Error>(()) }
                },
            ))
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            // Fails only when the peer has gone.
            let _ = stream.set_nodelay(true);
            let admitted = connections.admit(stream, peer);
            let refused = DispatchError::DisconnectTimeout;
            ready(admitted.map(|stream| (stream, peer)).ok_or(refused))
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

/// Reads the apps from where the configuration says that they are.
async fn open_apps(loaded: Loaded, variables: BTreeMap<String, String>) -> io::Result<Opened> {
    #[cfg(feature = "sqlx")]
    if let Some(url) = loaded.config.database.url.clone() {
        let rules = Rules::of(&loaded.config.server);
        let settings = loaded.config.database;
        return keeper::open(move || SqlStore::open(url, settings, rules)).await;
    }
    keeper::open(move || open_file(loaded, variables)).await
}

/// The apps of the configuration, which were read with it.
async fn open_file(
    loaded: Loaded,
    variables: BTreeMap<String, String>,
) -> Result<(FileStore, Reading), StoreError> {
    let (store, apps) = FileStore::new(loaded, variables);
    let reading = Reading {
        apps,
        ..Reading::default()
    };
    Ok((store, reading))
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
    Rc::new(Worker {
        node: Arc::clone(node),
        shard,
        activity_timeout_s: config.websocket.activity_timeout_s.get().as_secs(),
        require_protocol: config.websocket.require_protocol,
    })
}

/// Sets up this thread's HTTP connections with their two tasks, which live as long as the thread.
fn start_http(worker: &Rc<Worker>, request_timeout: Duration) -> Rc<HttpConnections> {
    let (connections, closing) = HttpConnections::new(Rc::clone(worker), request_timeout);
    tokio::task::spawn_local(closing.run());
    tokio::task::spawn_local(sweep_http(Rc::clone(&connections)));
    connections
}

fn admin_server(
    node: &Arc<Node>,
    settings: AdminSettings,
    control: AppControl,
    socket: TcpListener,
) -> io::Result<actix_web::dev::Server> {
    let node = web::Data::from(Arc::clone(node));
    let settings = web::Data::new(settings);
    let control = web::Data::new(control);
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(admin::admit))
            .app_data(node.clone())
            .app_data(settings.clone())
            .app_data(control.clone())
            .configure(admin::configure)
    });
    Ok(server
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(socket)?
        .run())
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

async fn tick_engine(node: Arc<Node>) {
    let mut times = interval(ENGINE_TICK);
    loop {
        times.tick().await;
        node.tick(Instant::now());
    }
}

/// Listens on the port of a key.
///
/// # Errors
/// Why it can't, and how to mend it.
pub(crate) fn bind(key: &str, host: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(host, port);
    let listen = || {
        let socket = if host.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    listen().map_err(|error| {
        let cure = cure(error.kind(), port);
        let text = format!("cannot listen on {address} ({key}): {error}{cure}");
        io::Error::new(error.kind(), text)
    })
}

/// How to get a port that was refused.
fn cure(error: io::ErrorKind, port: u16) -> &'static str {
    match error {
        io::ErrorKind::PermissionDenied if port < UNPRIVILEGED_PORT_MIN => {
            "; a port below 1024 needs privileges (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE): let a proxy listen there, and choose another port for this server"
        }
        io::ErrorKind::AddrInUse => "; another process listens there, maybe the server before this",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
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

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
}

/// SIGTERM and SIGINT stop, SIGHUP reloads.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    async fn stop(&mut self) {
        while let Asked::Reload = self.next().await {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// #16: `PUSHER_PORT=443` ended in a bare "Permission denied".
    #[test]
    fn a_port_that_needs_privileges_is_refused_with_the_cure() {
        let denied = io::ErrorKind::PermissionDenied;
        assert!(cure(denied, 443).contains("CAP_NET_BIND_SERVICE"));
        assert!(cure(denied, 6001).is_empty());
        assert!(cure(io::ErrorKind::AddrInUse, 443).contains("another process"));
    }
}
