//! Binds both listeners, runs the workers, and brings everything to an orderly end.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::ready,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_codec::Framed;
use actix_http::{HttpService, Request, error::DispatchError, h1};
use actix_rt::time::interval;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::AppConfig,
    middleware::from_fn,
    web::{self, Payload},
};
use sd_notify::NotifyState;
use tokio::{
    net::{TcpStream, UnixStream},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{info, warn};

#[cfg(feature = "sqlx")]
use crate::store::{Rules, SqlStore};
use crate::{
    acme::{self, AcmeKeeper, HttpAnswers},
    address::{Gate, Peer, Proxies},
    admin::{self, Access, AdminSettings},
    api::{self, ApiSettings},
    app::AppRegistry,
    banner::{Addresses, banner},
    certificates::CertificateKeeper,
    config::{self, Config, Loaded, PlainPort},
    connection::{Turnstile, Worker},
    door::{self, Address, Door, Inherited, InheritedDoors, Listening, bind_tcp},
    drain::drain,
    engine::{COUNT_TICKS_A_SECOND, Engine},
    feed::Feed,
    hub::{Capacity, Hub, Shard, ShardSettings},
    keeper::{self, Opened},
    memory::{self, Ebb},
    node::{self, Node, Peers},
    settings::Count,
    store::{AppControl, FileStore, Loss, Reading, StoreError},
    tls::{
        Buffers, Certificates, ClientAuthority, Issued, Stream, TlsListener, TlsStatus, Versions,
    },
    transport::{
        Port,
        fallback::{self, Carrier, Fallback, Sessions},
        http::{HttpConnections, HttpStream, Introduced, OperatorStream},
        redirect,
        websocket::Listener,
    },
    webhook::{Departures, Webhooks},
};

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

/// Where clients come in: the sockets, and how connections are taken from each.
struct Doors(Vec<(Door, Entrance)>);

impl Doors {
    /// Opens those that the settings ask for, but for what systemd holds.
    fn open(
        server: &config::Server,
        issued: Option<Arc<Issued>>,
        inherited: InheritedDoors,
    ) -> io::Result<Self> {
        let tls = tls_door(server, issued, inherited.tls)?;
        let tls_port = tls.as_ref().and_then(|(door, _)| door.address().tcp());
        let plain = match inherited.public {
            held if !held.is_empty() => held,
            _ => plain_doors(server)?,
        };
        let plain = plain.into_iter().map(|door| {
            let entrance = match (door.address(), server.tls.plain, tls_port) {
                (Address::Tcp(_), PlainPort::Redirect, Some(tls)) => Entrance::Redirect(tls.port()),
                _ => Entrance::Plain,
            };
            (door, entrance)
        });
        Ok(Self(plain.chain(tls).collect()))
    }

    fn all(&mut self) -> Vec<&mut Door> {
        self.0.iter_mut().map(|(door, _)| door).collect()
    }

    fn tls(&self) -> Option<(&Door, &TlsListener)> {
        self.0.iter().find_map(|(door, entrance)| match entrance {
            Entrance::Tls(tls) => Some((door, tls)),
            Entrance::Plain | Entrance::Redirect(_) => None,
        })
    }

    fn addresses(&self, admin: SocketAddr, admin_scheme: &'static str) -> Addresses {
        let plain = self.0.iter();
        let plain = plain.filter(|(_, entrance)| !matches!(entrance, Entrance::Tls(_)));
        Addresses {
            plain: plain.map(|(door, _)| door.address().clone()).collect(),
            tls: self.tls().and_then(|(door, _)| door.address().tcp()),
            admin,
            admin_scheme,
        }
    }
}

fn plain_doors(server: &config::Server) -> io::Result<Vec<Door>> {
    let has_port = server.has_plain_port();
    let tcp = has_port.then(|| Door::tcp("server.port", server.host.0, server.port));
    let unix = server.unix_socket.as_deref();
    let unix = unix.map(|path| Door::unix(path.as_ref(), server.unix_socket_mode.0));
    tcp.into_iter().chain(unix).collect()
}

fn tls_door(
    server: &config::Server,
    issued: Option<Arc<Issued>>,
    inherited: Option<Door>,
) -> io::Result<Option<(Door, Entrance)>> {
    let settings = &server.tls;
    if !settings.is_on() {
        let reason = "the socket named \"tls\" needs server.tls.cert or server.tls.acme";
        return inherited.map_or(Ok(None), |_| Err(io::Error::other(reason)));
    }
    let tls = public_tls(settings, issued)?;
    let door = inherited.map_or_else(
        || Door::tcp("server.tls.port", server.host.0, settings.port),
        Ok,
    )?;
    Ok(Some((door, Entrance::Tls(tls))))
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

pub(crate) fn public_tls(
    settings: &config::ServerTls,
    issued: Option<Arc<Issued>>,
) -> io::Result<TlsListener> {
    let certificates = Certificates::read(settings.pairs(), issued).map_err(io::Error::other)?;
    TlsListener::new(certificates, settings.versions(), None).map_err(io::Error::other)
}

pub(crate) fn admin_tls(admin: &config::Admin) -> io::Result<Option<TlsListener>> {
    let Some(pair) = admin.tls.pair() else {
        return Ok(None);
    };
    let clients = admin.tls.client_ca.as_ref();
    let clients = clients.map(|file| ClientAuthority(file.into()));
    let certificates = Certificates::read(vec![pair], None).map_err(io::Error::other)?;
    let listener = TlsListener::new(certificates, Versions::From12, clients.as_ref());
    listener.map(Some).map_err(io::Error::other)
}

/// One worker's part of the public side, whichever door a client comes in by.
struct PublicWorker {
    listener: Rc<Listener>,
    connections: Rc<HttpConnections>,
    fallback: Rc<Fallback>,
    buffers: Buffers,
}

thread_local! {
    /// A factory of services runs once for each door on each thread, and a thread has one shard. The services keep it.
    static PUBLIC_WORKER: RefCell<Weak<PublicWorker>> = const { RefCell::new(Weak::new()) };
}

/// What the workers of the public side are made of.
#[derive(Clone)]
struct PublicSide {
    config: Config,
    node: Arc<Node>,
    sessions: Sessions,
    carrier: Option<Arc<Carrier>>,
    answers: Option<Arc<HttpAnswers>>,
}

impl PublicSide {
    fn worker(&self) -> Rc<PublicWorker> {
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

/// How one thread takes the connections of one door.
struct Entry {
    worker: Rc<PublicWorker>,
    entrance: Entrance,
    proxy_protocol: bool,
    stopping: GracefulShutdownSignal,
}

impl Entry {
    /// The connection, with what HTTP takes for its peer.
    async fn admit(
        &self,
        tcp: TcpStream,
        peer: Peer,
    ) -> Result<(HttpStream, Option<SocketAddr>), DispatchError> {
        let introduced = if self.proxy_protocol {
            // Apart, so that other connections stay small.
            Box::pin(self.introduce(tcp, peer)).await
        } else {
            Some(Introduced {
                tcp,
                peer,
                told_secure: None,
            })
        };
        let introduced = introduced.ok_or(DispatchError::DisconnectTimeout)?;
        let PublicWorker {
            connections,
            buffers,
            ..
        } = &*self.worker;
        let stream = self.entrance.take(introduced.tcp, buffers)?;
        let admitted = connections.admit(stream, introduced.peer);
        let stream = admitted.ok_or(DispatchError::DisconnectTimeout)?;
        stream.tell_secure(introduced.told_secure);
        Ok((stream, introduced.peer.address()))
    }

    /// A proxy that has said nothing yet does not hold up a stop.
    async fn introduce(&self, tcp: TcpStream, proxy: Peer) -> Option<Introduced> {
        tokio::select! {
            introduced = self.worker.connections.introduce(tcp, proxy) => introduced,
            () = self.stopping.notified() => None,
        }
    }
}

fn public_server(side: PublicSide, doors: &Doors) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(side.config.server.workers())
        .disable_signals()
        .shutdown_timeout(HTTP_GRACE_S);
    let stopping = builder.graceful_shutdown_signal();
    for (door, entrance) in &doors.0 {
        let (side, stopping, entrance) = (side.clone(), stopping.clone(), entrance.clone());
        builder = match door.listening()? {
            Listening::Tcp(socket) => builder.listen("public", socket, move || {
                let entry = side.entry(&entrance, &stopping);
                let http = side.http(&entry);
                fn_service(move |tcp: TcpStream| {
                    // Both fail only when the peer has gone.
                    let peer = tcp.peer_addr().map(Peer::At);
                    let _ = tcp.set_nodelay(true);
                    let entry = Rc::clone(&entry);
                    async move { entry.admit(tcp, peer?).await }
                })
                .and_then(http)
            }),
            Listening::Unix(socket) => builder.listen_uds("public", socket, move || {
                let entry = side.entry(&entrance, &stopping);
                let http = side.http(&entry);
                fn_service(move |stream: UnixStream| {
                    let tcp = door::as_tcp(stream);
                    let entry = Rc::clone(&entry);
                    async move { entry.admit(tcp?, Peer::Local).await }
                })
                .and_then(http)
            }),
        }?;
    }
    Ok(builder.run())
}

impl PublicSide {
    fn entry(&self, entrance: &Entrance, stopping: &GracefulShutdownSignal) -> Rc<Entry> {
        Rc::new(Entry {
            worker: self.worker(),
            entrance: entrance.clone(),
            proxy_protocol: self.config.server.proxy_protocol,
            stopping: stopping.clone(),
        })
    }

    /// What answers on the connections of one door.
    fn http(
        &self,
        entry: &Entry,
    ) -> impl ServiceFactory<
        (HttpStream, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let (server, port) = (&self.config.server, entry.entrance.port());
        let prefix: Rc<str> = server.path_prefix.0.as_str().into();
        let fallback = Rc::clone(&entry.worker.fallback);
        let answers = self.answers.clone();
        let answer = move |request: HttpRequest, body: Payload| {
            let (fallback, prefix) = (Rc::clone(&fallback), Rc::clone(&prefix));
            let answers = answers.clone();
            async move {
                if let Some(answers) = answers.filter(|_| acme::may_ask(&request))
                    && let Some(answer) = Box::pin(answers.find(&request)).await
                {
                    return answer;
                }
                answer(&fallback, &prefix, port, request, body).await
            }
        };
        let app = App::new()
            .app_data(web::Data::from(Arc::clone(&self.node)))
            .app_data(web::Data::new(ApiSettings::of(&self.config)))
            .app_data(port)
            .default_service(web::to(answer));
        let (stopping, listener) = (entry.stopping.clone(), Rc::clone(&entry.worker.listener));
        let mut http = HttpService::build();
        if server.proxy_protocol {
            http = http.on_connect_ext(|stream: &HttpStream, data| {
                if let Some(told) = stream.told_secure() {
                    data.insert(told);
                }
            });
        }
        http
            // Ends idle keep-alive connections, which would hold up the stop.
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // A client that has shut its side of a streaming response is gone.
            .h1_allow_half_closed(false)
            .keep_alive(server.keep_alive_s.get())
            .client_request_timeout(server.request_timeout_s.get())
            .upgrade(fn_service(
                move |(request, framed): (Request, Framed<HttpStream, h1::Codec>)| {
                    let parts = framed.into_parts();
                    let (io, received) = (parts.io, parts.read_buf);
                    listener.accept(&request, io, parts.codec, received, port);
                    async { Ok::<_, actix_web::Error>(()) }
                },
            ))
            .h1(map_config(app, |()| AppConfig::default()))
    }
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

fn admin_server(
    node: &Arc<Node>,
    settings: AdminSettings,
    control: AppControl,
    (socket, tls): (TcpListener, Option<TlsListener>),
) -> io::Result<Server> {
    let (node, told) = (web::Data::from(Arc::clone(node)), Arc::clone(node));
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
        let told = Arc::clone(&told);
        fn_service(move |tcp: TcpStream| {
            let take = || {
                let peer = tcp.peer_addr()?;
                let stream = entrance.take(tcp, &buffers)?;
                let stream = OperatorStream::new(stream, Peer::At(peer), Arc::clone(&told));
                Ok((stream, Some(peer)))
            };
            ready(take().map_err(|_: io::Error| DispatchError::DisconnectTimeout))
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

/// Tells systemd, if it started this process and asks for that (`Type=notify`).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told of a change");
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
