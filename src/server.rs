//! Binds both listeners, runs the workers, and brings everything to an orderly end.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
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
    App, HttpRequest, HttpServer,
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
    address::{Gate, Peer, Proxies},
    admin::{self, Access, AdminSettings},
    api::{self, ApiSettings},
    app::AppRegistry,
    banner::banner,
    config::{self, Config, Loaded},
    connection::Worker,
    door::{self, Address, Door, Inherited, Listening, bind_tcp},
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
    let names = variables.get("LISTEN_FDNAMES").map(String::as_str);
    let inherited = Inherited::take(&config, names)?;
    let mut doors = inherited.public;
    if doors.is_empty() {
        doors = Door::open_all(&config.server)?;
    }
    let operator = match inherited.admin {
        Some(socket) => socket,
        None => bind_tcp(config.admin.host.0, config.admin.port)?,
    };
    let admin_address = operator.local_addr()?;
    let addresses: Vec<_> = doors.iter().map(|door| door.address().clone()).collect();
    let tcp = addresses.iter().find_map(Address::tcp);

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

    let sessions = Sessions::default();
    let peers = Peers::of(&node);
    let max_message_bytes = config.websocket.max_message_bytes.get();
    let carrier = peers.map(|peers| Carrier::new(peers, sessions.clone(), max_message_bytes));
    let carrying = carrier
        .clone()
        .map(|carrier| actix_rt::spawn(carrier.run()));
    let public = Public {
        config: config.clone(),
        node: Arc::clone(&node),
        sessions,
        carrier: carrier.clone(),
    };
    let clients = public_server(public, &doors)?;
    let (clients_handle, clients) = (clients.handle(), actix_rt::spawn(clients));
    let access = Access::new(config.admin.token.clone(), admin_address.port());
    let public: Vec<_> = addresses.iter().map(Address::to_string).collect();
    let public = public.join(", ");
    let settings = AdminSettings {
        public: public.clone(),
        public_port: tcp.map_or(0, |address| address.port()),
        access,
        close_window: config.server.drain_window_s.get(),
        metrics_prefix: config.metrics.prefix.0.clone(),
    };
    let operators = admin_server(&node, settings, opened.control.clone(), operator)?;
    let (operators_handle, operators) = (operators.handle(), actix_rt::spawn(operators));
    let ticker = actix_rt::spawn(tick_engine(Arc::clone(&node)));

    let apps = node.apps.all();
    let shown = (&addresses[..], admin_address);
    show(&banner(config, &apps, &understood, shown))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        public,
        admin = %admin_address,
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
        // What came of it is told by the log.
        let _ = opened.control.reload(Loss::Refused).await;
        notify(&[NotifyState::Ready]);
    }
    notify(&[NotifyState::Stopping]);
    info!("stopping; a second signal stops at once");
    let stopped = tokio::select! {
        () = drain(&config.server, &node, carrier.as_deref(), &mut doors, &clients_handle) => true,
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

/// What serves the public listener's doors.
#[derive(Clone)]
struct Public {
    config: Config,
    node: Arc<Node>,
    sessions: Sessions,
    carrier: Option<Arc<Carrier>>,
}

/// One thread's part of it, which serves all doors.
struct PublicWorker {
    connections: Rc<HttpConnections>,
    listener: Rc<Listener>,
    fallback: Rc<Fallback>,
}

thread_local! {
    /// A factory of services runs once for each door on each thread, and a thread has one shard. The services keep it.
    static PUBLIC_WORKER: RefCell<Weak<PublicWorker>> = const { RefCell::new(Weak::new()) };
}

fn public_server(public: Public, doors: &[Door]) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(public.config.server.workers())
        .disable_signals()
        .shutdown_timeout(HTTP_GRACE_S);
    let stopping = builder.graceful_shutdown_signal();
    for door in doors {
        let (public, stopping) = (public.clone(), stopping.clone());
        builder = match door.listening()? {
            Listening::Tcp(socket) => builder.listen("public", socket, move || {
                let worker = public.worker();
                let entry = public.entry(&worker, &stopping);
                fn_service(move |stream: TcpStream| {
                    // Both fail only when the peer has gone.
                    let peer = stream.peer_addr().map(Peer::At);
                    let _ = stream.set_nodelay(true);
                    let entry = Rc::clone(&entry);
                    async move { entry.admit(stream, peer?).await }
                })
                .and_then(public.http(&worker, &stopping))
            }),
            Listening::Unix(socket) => builder.listen_uds("public", socket, move || {
                let worker = public.worker();
                let entry = public.entry(&worker, &stopping);
                fn_service(move |stream: UnixStream| {
                    let stream = door::as_tcp(stream);
                    let entry = Rc::clone(&entry);
                    async move { entry.admit(stream?, Peer::Local).await }
                })
                .and_then(public.http(&worker, &stopping))
            }),
        }?;
    }
    Ok(builder.run())
}

/// How one thread takes connections.
struct Entry {
    worker: Rc<PublicWorker>,
    proxy_protocol: bool,
    stopping: GracefulShutdownSignal,
}

impl Entry {
    /// The connection, with what HTTP takes for its peer.
    async fn admit(
        &self,
        stream: TcpStream,
        peer: Peer,
    ) -> Result<(HttpStream, Option<SocketAddr>), DispatchError> {
        let admitted = if self.proxy_protocol {
            // Apart, so that other connections stay small.
            Box::pin(self.admit_proxied(stream, peer)).await
        } else {
            let admitted = self.worker.connections.admit(stream, peer);
            admitted.map(|stream| (stream, peer))
        };
        let (stream, peer) = admitted.ok_or(DispatchError::DisconnectTimeout)?;
        Ok((stream, peer.address()))
    }

    /// A proxy that has said nothing yet does not hold up a stop.
    async fn admit_proxied(&self, stream: TcpStream, proxy: Peer) -> Option<(HttpStream, Peer)> {
        tokio::select! {
            admitted = self.worker.connections.admit_proxied(stream, proxy) => admitted,
            () = self.stopping.notified() => None,
        }
    }
}

impl Public {
    /// This thread's part, made at its first use.
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
        let Config {
            server, websocket, ..
        } = &self.config;
        let worker = start_worker(&self.config, &self.node);
        PublicWorker {
            connections: start_http(&worker, server.request_timeout_s.get()),
            listener: Rc::new(Listener::new(
                Rc::clone(&worker),
                server.path_prefix.0.clone(),
                websocket.max_message_bytes.get(),
                websocket.max_outbox_bytes.get(),
            )),
            fallback: Rc::new(Fallback::new(
                worker,
                self.sessions.clone(),
                self.carrier.clone(),
                server.request_timeout_s.get(),
                websocket.max_message_bytes.get(),
                websocket.max_outbox_bytes.get(),
            )),
        }
    }

    fn entry(&self, worker: &Rc<PublicWorker>, stopping: &GracefulShutdownSignal) -> Rc<Entry> {
        Rc::new(Entry {
            worker: Rc::clone(worker),
            proxy_protocol: self.config.server.proxy_protocol,
            stopping: stopping.clone(),
        })
    }

    /// What answers on the connections of one door.
    fn http(
        &self,
        worker: &PublicWorker,
        stopping: &GracefulShutdownSignal,
    ) -> impl ServiceFactory<
        (HttpStream, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let server = &self.config.server;
        let prefix: Rc<str> = server.path_prefix.0.as_str().into();
        let fallback = Rc::clone(&worker.fallback);
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
            .app_data(web::Data::from(Arc::clone(&self.node)))
            .app_data(web::Data::new(ApiSettings::of(&self.config)))
            .default_service(web::to(answer));
        let (stopping, listener) = (stopping.clone(), Rc::clone(&worker.listener));
        let mut http = HttpService::build();
        if server.proxy_protocol {
            http = http.on_connect_ext(|stream: &HttpStream, data| {
                if let Some(told) = stream.told_secure() {
                    data.insert(told);
                }
            });
        }
        http // Ends idle keep-alive connections, which would hold up the stop.
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
                    listener.accept(&request, parts.io, parts.codec, parts.read_buf);
                    async { Ok::<_, actix_web::Error>(()) }
                },
            ))
            .h1(map_config(app, |()| AppConfig::default()))
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
