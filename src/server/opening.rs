//! Opens the listeners and the apps and builds the node, before the first client is served.

use std::{collections::BTreeMap, io, net::TcpListener, sync::Arc};

use super::doors::{Doors, admin_tls};
#[cfg(feature = "sqlx")]
use crate::store::{Rules, SqlStore};
use crate::{
    acme,
    address::{Gate, Proxies},
    app::{App, AppRegistry},
    banner::Addresses,
    config::{self, Config, Loaded},
    door::{Inherited, bind_tcp},
    engine::Engine,
    feed::Feed,
    hub::{Capacity, Hub},
    keeper::{self, Opened},
    node::{self, Node},
    settings::Count,
    store::{FileStore, Reading, StoreError},
    tls::TlsListener,
    webhook::{Departures, Webhooks},
};

/// Every listening socket, before connections are taken from it.
pub(super) struct Listeners {
    pub(super) doors: Doors,
    pub(super) operator: (TcpListener, Option<TlsListener>),
    pub(super) acme: Option<acme::Opened>,
    pub(super) addresses: Addresses,
}

impl Listeners {
    /// Opens those that systemd does not pass.
    pub(super) fn open(config: &Config, variables: &BTreeMap<String, String>) -> io::Result<Self> {
        let names = variables.get("LISTEN_FDNAMES").map(String::as_str);
        let inherited = Inherited::take(config, names)?;
        let acme = config.server.tls.acme.as_ref();
        let acme = acme.map(acme::Opened::open).transpose()?;
        let issued = acme.as_ref().map(|acme| Arc::clone(&acme.issued));
        let doors = Doors::open(&config.server, issued, inherited.doors)?;
        let operator = match inherited.admin {
            Some(socket) => socket,
            None => bind_tcp("admin.port", config.admin.host.0, config.admin.port)?,
        };
        let operator_tls = admin_tls(&config.admin)?;
        let admin_scheme = operator_tls.as_ref().map_or("http", |_| "https");
        let addresses = doors.addresses(operator.local_addr()?, admin_scheme);
        Ok(Self {
            doors,
            operator: (operator, operator_tls),
            acme,
            addresses,
        })
    }
}

/// Reads the apps from where the configuration says that they are.
pub(super) async fn open_apps(
    loaded: Loaded,
    variables: BTreeMap<String, String>,
) -> io::Result<Opened> {
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

/// The node with its apps and webhooks; in a cluster, once Redis has answered.
pub(super) async fn build_node(config: &Config, apps: Vec<Arc<App>>) -> io::Result<Arc<Node>> {
    let server = &config.server;
    let hub = Arc::new(Hub::new(server.workers()));
    let apps = Arc::new(AppRegistry::new(apps));
    let feed = Feed::default();
    let allowed = server.webhook_allowed_addresses.clone();
    let webhooks = Arc::new(Webhooks::new(feed.clone(), allowed));
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
        connections: server.max_connections.map(Count::get),
        per_address: server.max_connections_per_ip.map(Count::get),
    };
    let gate = gate(server);
    let node = Node::new(apps, hub, engine, webhooks, feed, capacity, gate);
    Ok(Arc::new(node))
}

/// The budgets of addresses, and the proxies whose headers are believed.
fn gate(server: &config::Server) -> Gate {
    let networks = server.trusted_proxies.iter();
    Gate::new(
        Proxies::new(networks.map(|network| network.0).collect()),
        server.max_clients_per_ip.map(Count::get),
        server.max_http_connections.get(),
    )
}
