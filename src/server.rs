//! Binds both listeners, runs the workers, and brings everything to an orderly end.

use std::{
    cell::RefCell,
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
    App, HttpRequest, HttpResponse,
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
    banner::{Addresses, banner},
    certificates::CertificateKeeper,
    config::{self, Config, Loaded, PlainPort},
    connection::Worker,
    drain::drain,
    engine::Engine,
    feed::Feed,
    hub::{Capacity, Hub, Shard, ShardSettings},
    keeper::{self, Opened},
    node::{self, Node, Peers},
    settings::Count,
    store::{AppControl, FileStore, Loss, Reading, StoreError},
    tls::{
        Buffers, Certificates, ClientAuthority, ListenerName, PairFiles, Stream, TlsListener,
        TlsStatus, Versions,
    },
    transport::{
        Port,
        fallback::{self, Carrier, Fallback, Sessions},
        http::{HttpConnections, HttpStream},
        redirect,
        websocket::Listener,
    },
    webhook::{Departures, Webhooks},
};

/// Connections that the kernel may hold for us while a storm of them arrives.
const BACKLOG: u32 = 4096;
/// How often the engine does what is due.
const ENGINE_TICK: Duration = Duration::from_secs(1);
/// What the last answer to an operator may take.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
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
    let public = Doors::open(&config.server)?;
    let operator = bind(config.admin.host.0, config.admin.port)?;
    let operator_tls = admin_tls(&config.admin)?;
    let addresses = Addresses {
        plain: public.plain.as_ref().map(address_of).transpose()?,
        tls: public
            .tls
            .as_ref()
            .map(|(it, _)| address_of(it))
            .transpose()?,
        admin: operator.local_addr()?,
        admin_scheme: operator_tls.as_ref().map_or("http", |_| "https"),
    };

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

    let tls_status = tls_status(&public, operator_tls.as_ref());
    let certificates = CertificateKeeper::begin(&node, Arc::clone(&tls_status));
    let doors = public.duplicates()?;
    let sessions = Sessions::default();
    let peers = Peers::of(&node);
    let max_message_bytes = config.websocket.max_message_bytes.get();
    let carrier = peers.map(|peers| Carrier::new(peers, sessions.clone(), max_message_bytes));
    let carrying = carrier
        .clone()
        .map(|carrier| actix_rt::spawn(carrier.run()));
    let clients = public_server(config, &node, (sessions, carrier.clone()), public)?;
    let (clients_handle, clients) = (clients.handle(), actix_rt::spawn(clients));
    let access = Access::new(config.admin.token.clone(), addresses.admin.port());
    let settings = AdminSettings {
        public: addresses.public(),
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
        public = addresses.plain.map(tracing::field::display),
        tls = addresses.tls.map(tracing::field::display),
        admin = %addresses.admin,
        engine = if config.redis.is_some() { "redis" } else { "local" },
        apps = apps.len(),
        workers = config.server.workers(),
        "started"
    );
    while let Asked::Reload = signals.next().await {
        certificates.reload();
        // What came of it is told by the log.
        let _ = opened.control.reload(Loss::Refused).await;
    }
    info!("stopping; a second signal stops at once");
    let stopped = tokio::select! {
        () = drain(&config.server, &node, carrier.as_deref(), &doors, &clients_handle) => true,
        () = signals.stop() => false,
    };
    drop(opened.control);
    if !stopped {
        warn!("stopped at once, on a second signal");
    }
    ticker.abort();
    certificates.stop();
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

/// Where clients come in.
struct Doors {
    plain: Option<TcpListener>,
    tls: Option<(TcpListener, TlsListener)>,
    /// What the plain one does beside the other.
    beside: PlainPort,
}

impl Doors {
    fn open(server: &config::Server) -> io::Result<Self> {
        let (host, settings) = (server.host.0, &server.tls);
        let tls = match settings.is_on() {
            false => None,
            true => {
                let tls = tls_listener(settings.pairs(), settings.versions(), None)?;
                Some((bind(host, settings.port)?, tls))
            }
        };
        let plain = match settings.plain {
            PlainPort::Off => None,
            PlainPort::Serve | PlainPort::Redirect => Some(bind(host, server.port)?),
        };
        Ok(Self {
            plain,
            tls,
            beside: settings.plain,
        })
    }

    /// The same sockets once more, to close them early.
    fn duplicates(&self) -> io::Result<Vec<TcpListener>> {
        let tls = self.tls.as_ref().map(|(socket, _)| socket);
        let all = self.plain.iter().chain(tls);
        all.map(TcpListener::try_clone).collect()
    }

    /// What comes in by each of them.
    fn entrances(self) -> io::Result<Vec<(TcpListener, Entrance)>> {
        let tls_port = self
            .tls
            .as_ref()
            .map(|(it, _)| address_of(it))
            .transpose()?;
        let plain = match (self.beside, tls_port) {
            (PlainPort::Redirect, Some(address)) => Entrance::Redirect(address.port()),
            _ => Entrance::Plain,
        };
        let plain = self.plain.map(|socket| (socket, plain));
        let tls = self.tls.map(|(socket, tls)| (socket, Entrance::Tls(tls)));
        Ok(plain.into_iter().chain(tls).collect())
    }
}

/// How connections of a listening socket are taken.
#[derive(Clone)]
enum Entrance {
    Plain,
    /// Without TLS, and only to say that TLS is on this port.
    Redirect(u16),
    Tls(TlsListener),
}

impl Entrance {
    fn port(&self) -> Port {
        match self {
            Self::Plain => Port::Plain,
            Self::Redirect(port) => Port::Redirect(*port),
            Self::Tls(_) => Port::Tls,
        }
    }

    fn take(&self, tcp: TcpStream, buffers: &Buffers) -> io::Result<Stream> {
        match self {
            Self::Plain | Self::Redirect(_) => Ok(Stream::Plain(tcp)),
            Self::Tls(tls) => tls.accept(tcp, buffers),
        }
    }
}

fn address_of(socket: &TcpListener) -> io::Result<SocketAddr> {
    socket.local_addr()
}

fn tls_listener(
    pairs: Vec<PairFiles>,
    versions: Versions,
    clients: Option<&ClientAuthority>,
) -> io::Result<TlsListener> {
    let certificates = Certificates::read(pairs).map_err(io::Error::other)?;
    TlsListener::new(certificates, versions, clients).map_err(io::Error::other)
}

fn tls_status(public: &Doors, operator: Option<&TlsListener>) -> Arc<TlsStatus> {
    let public = public.tls.as_ref().map(|(_, tls)| tls);
    let public = public.map(|tls| (ListenerName::Public, Arc::clone(&tls.certificates)));
    let operator = operator.map(|tls| (ListenerName::Admin, Arc::clone(&tls.certificates)));
    Arc::new(TlsStatus::new(public.into_iter().chain(operator).collect()))
}

fn admin_tls(admin: &config::Admin) -> io::Result<Option<TlsListener>> {
    let Some(pair) = admin.tls.pair() else {
        return Ok(None);
    };
    let clients = admin.tls.client_ca.as_ref();
    let clients = clients.map(|file| ClientAuthority(file.into()));
    tls_listener(vec![pair], Versions::From12, clients.as_ref()).map(Some)
}

/// One worker's part of the public side, whichever door a client comes in by.
struct PublicWorker {
    listener: Rc<Listener>,
    connections: Rc<HttpConnections>,
    fallback: Rc<Fallback>,
    buffers: Buffers,
}

thread_local! {
    /// A worker thread serves every door; the first that it is set up for sets up the rest.
    static PUBLIC_WORKER: RefCell<Option<Rc<PublicWorker>>> = const { RefCell::new(None) };
}

/// What the workers of the public side are made of.
#[derive(Clone)]
struct PublicSide {
    config: Config,
    node: Arc<Node>,
    sessions: Sessions,
    carrier: Option<Arc<Carrier>>,
}

impl PublicSide {
    fn worker(&self) -> Rc<PublicWorker> {
        PUBLIC_WORKER.with_borrow_mut(|worker| {
            let worker = worker.get_or_insert_with(|| Rc::new(self.start_worker()));
            Rc::clone(worker)
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

fn public_server(
    config: &Config,
    node: &Arc<Node>,
    (sessions, carrier): (Sessions, Option<Arc<Carrier>>),
    doors: Doors,
) -> io::Result<Server> {
    let side = PublicSide {
        config: config.clone(),
        node: Arc::clone(node),
        sessions,
        carrier,
    };
    let mut builder = Server::build()
        .workers(config.server.workers())
        .disable_signals()
        .shutdown_timeout(HTTP_GRACE_S);
    let stopping = builder.graceful_shutdown_signal();
    for (socket, entrance) in doors.entrances()? {
        let (side, stopping) = (side.clone(), stopping.clone());
        builder = builder.listen("public", socket, move || {
            let PublicWorker {
                listener,
                connections,
                fallback,
                buffers,
            } = &*side.worker();
            let (listener, connections) = (Rc::clone(listener), Rc::clone(connections));
            let (fallback, buffers) = (Rc::clone(fallback), buffers.clone());
            let config = &side.config;
            let node = web::Data::from(Arc::clone(&side.node));
            let settings = web::Data::new(ApiSettings::of(config));
            let prefix: Rc<str> = config.server.path_prefix.0.as_str().into();
            let port = entrance.port();
            let answer = move |request: HttpRequest, body: Payload| {
                let (fallback, prefix) = (Rc::clone(&fallback), Rc::clone(&prefix));
                async move { answer(&fallback, &prefix, port, request, body).await }
            };
            let app = App::new()
                .app_data(node)
                .app_data(settings)
                .app_data(port)
                .default_service(web::to(answer));
            let stopping = stopping.clone();
            let http = HttpService::build()
                // Ends idle keep-alive connections, which would hold up the stop.
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                // A client that has shut its side of a streaming response is gone.
                .h1_allow_half_closed(false)
                .keep_alive(config.server.keep_alive_s.get())
                .client_request_timeout(config.server.request_timeout_s.get())
                .upgrade(fn_service(
                    move |(request, framed): (Request, Framed<HttpStream, h1::Codec>)| {
                        let parts = framed.into_parts();
                        let (io, received) = (parts.io, parts.read_buf);
                        listener.accept(&request, io, parts.codec, received, port);
                        async { Ok::<_, actix_web::Error>(()) }
                    },
                ))
                .h1(map_config(app, |()| AppConfig::default()));
            let entrance = entrance.clone();
            fn_service(move |tcp: TcpStream| {
                let peer = tcp.peer_addr().ok();
                // Fails only when the peer has gone.
                let _ = tcp.set_nodelay(true);
                let stream = entrance.take(tcp, &buffers).ok();
                let admitted = stream.and_then(|stream| connections.admit(stream, peer));
                let refused = DispatchError::DisconnectTimeout;
                ready(admitted.map(|stream| (stream, peer)).ok_or(refused))
            })
            .and_then(http)
        })?;
    }
    Ok(builder.run())
}

/// Answers a request that asks for no WebSocket.
async fn answer(
    fallback: &Rc<Fallback>,
    prefix: &str,
    port: Port,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    match (fallback::Target::find(request.path()), port) {
        (Some(target), _) => fallback.answer(&request, &target, body).await,
        (None, Port::Redirect(port)) => redirect(&request, port),
        (None, _) => api::answer(&request, body, prefix).await,
    }
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
    (socket, tls): (TcpListener, Option<TlsListener>),
) -> io::Result<Server> {
    let node = web::Data::from(Arc::clone(node));
    let settings = web::Data::new(settings);
    let control = web::Data::new(control);
    let entrance = tls.map_or(Entrance::Plain, Entrance::Tls);
    let builder = Server::build()
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1);
    let server = builder.listen("admin", socket, move || {
        let app = App::new()
            .wrap(from_fn(admin::admit))
            .app_data(node.clone())
            .app_data(settings.clone())
            .app_data(control.clone())
            .configure(admin::configure);
        let http = HttpService::build()
            .client_disconnect_timeout(ADMIN_GRACE)
            .h1(map_config(app, |()| AppConfig::default()));
        let (entrance, buffers) = (entrance.clone(), Buffers::default());
        fn_service(move |tcp: TcpStream| {
            let peer = tcp.peer_addr().ok();
            let stream = entrance.take(tcp, &buffers);
            let failed = |_| DispatchError::DisconnectTimeout;
            ready(stream.map(|stream| (stream, peer)).map_err(failed))
        })
        .and_then(http)
    })?;
    Ok(server.run())
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

fn bind(host: IpAddr, port: u16) -> io::Result<TcpListener> {
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
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
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
