//! `loudhailer check-config`: what a configuration comes to, and whether a start with it would succeed.

use std::io;

#[cfg(feature = "sqlx")]
use crate::store::SqlStore;
use crate::{
    acme, banner,
    config::{Config, Loaded, RedisMode, Server},
    door::bind_tcp,
    engine::Engine,
    server::{admin_tls, public_tls},
    settings::Count,
};

/// Where the configuration came from, its apps, and what it sets up.
#[must_use]
pub fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut text = banner::summary(&config.apps, &loaded.understood);
    for line in [
        listeners(config),
        tls(config),
        redis(config),
        apps(config),
        limits(config),
    ] {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn listeners(config: &Config) -> String {
    let url = |scheme, host, port| match port {
        0 => format!("{scheme}, a free port of {host}"),
        port => format!("{scheme}://{}", std::net::SocketAddr::new(host, port)),
    };
    let (server, admin) = (&config.server, &config.admin);
    let mut public = Vec::new();
    if server.has_plain_port() {
        public.push(url("http", server.host.0, server.port));
    }
    if server.tcp && server.tls.is_on() {
        public.push(url("https", server.host.0, server.tls.port));
    }
    public.extend(server.unix_socket.iter().map(|path| format!("unix:{path}")));
    let admin_scheme = match admin.tls.pair() {
        Some(_) => "https",
        None => "http",
    };
    let prefix = match server.path_prefix.0.as_str() {
        "" => String::new(),
        prefix => format!(", also below {prefix}"),
    };
    let access = match admin.token {
        Some(_) => "with the token",
        None => "for this machine only",
    };
    format!(
        "Listeners: clients and backends on {}{prefix}; admin on {}, {access}",
        public.join(" and "),
        url(admin_scheme, admin.host.0, admin.port),
    )
}

fn tls(config: &Config) -> String {
    let settings = &config.server.tls;
    let files = settings.cert.as_ref().map(|cert| {
        let further = settings.certificates.len();
        format!("{cert}, and {further} certificates for other names")
    });
    let acme = settings.acme.as_ref().map(|acme| {
        let names = acme.names().join(", ");
        format!("ACME at {} for {names}", acme.directory.0)
    });
    let parts: Vec<_> = files.into_iter().chain(acme).collect();
    if !parts.is_empty() {
        return format!("TLS: {}", parts.join("; "));
    }
    match config.server.trusted_proxies.len() {
        0 => "TLS: none here; a proxy in front may have it (server.trusted_proxies names none)"
            .to_owned(),
        proxies => format!(
            "TLS: none here; {proxies} trusted proxies or networks may say that clients use it"
        ),
    }
}

fn redis(config: &Config) -> String {
    let Some(redis) = &config.redis else {
        return "Redis: none; this node is alone".to_owned();
    };
    let mode = match &redis.mode {
        RedisMode::Single => "one server".to_owned(),
        RedisMode::Cluster => "a Redis Cluster".to_owned(),
        RedisMode::Sentinel(sentinels) => format!("sentinels of {}", sentinels.master),
    };
    format!(
        "Redis: {} ({mode}), keys begin with {:?}",
        redis.addresses(),
        redis.key_prefix
    )
}

fn apps(config: &Config) -> String {
    match &config.database.url {
        Some(url) => format!(
            "Apps: in table {} of {}",
            config.database.table(),
            url.shown
        ),
        None => format!("Apps: {} in the configuration", config.apps.len()),
    }
}

fn limits(config: &Config) -> String {
    let server = &config.server;
    let number = |limit: Option<Count>| match limit {
        Some(limit) => limit.get().to_string(),
        None => "no limit".to_owned(),
    };
    format!(
        "Limits: connections {}, per address {}; bytes per request {}, per message {}; threads {}",
        number(server.max_connections),
        number(server.max_connections_per_ip),
        server.max_request_bytes.get(),
        config.websocket.max_message_bytes.get(),
        server.workers(),
    )
}

/// Does what a start does first, and undoes it: a line for each that succeeded, and the reason for each that did not.
#[must_use]
pub fn try_out(loaded: &Loaded) -> Vec<Result<String, String>> {
    let config = &loaded.config;
    actix_rt::System::new().block_on(async {
        let mut tried = Vec::new();
        let server = &config.server;
        let mut ports = vec![("admin.port", config.admin.host, config.admin.port)];
        if server.has_plain_port() {
            ports.push(("server.port", server.host, server.port));
        }
        if server.tcp && server.tls.is_on() {
            ports.push(("server.tls.port", server.host, server.tls.port));
            tried.extend(try_tls(server));
        }
        if config.admin.tls.pair().is_some() {
            let read = admin_tls(&config.admin);
            tried.push(told(read.map(|_| {
                "Tried admin.tls: the certificate and key fit".to_owned()
            })));
        }
        for (key, host, port) in ports {
            let bound = bind_tcp(key, host.0, port).and_then(|it| it.local_addr());
            tried.push(told(
                bound.map(|address| format!("Tried {key}: {address} is free")),
            ));
        }
        if let Some(redis) = &config.redis {
            let reached = Engine::try_out(redis).await;
            tried.push(told(
                reached.map(|()| format!("Tried Redis: {} answers", redis.addresses())),
            ));
        }
        #[cfg(feature = "sqlx")]
        if let Some(url) = &config.database.url {
            let reached = SqlStore::try_out(url).await;
            let reached = reached.map(|()| format!("Tried the database: {} answers", url.shown));
            tried.push(reached.map_err(|error| error.to_string()));
        }
        tried
    })
}

fn try_tls(server: &Server) -> Vec<Result<String, String>> {
    let mut tried = Vec::new();
    let mut issued = None;
    if let Some(settings) = &server.tls.acme {
        let opened = acme::try_out(settings);
        tried.push(told(opened.map(|names| {
            issued = Some(names);
            format!(
                "Tried server.tls.acme: {} can be written to",
                settings.folder
            )
        })));
    }
    let read = public_tls(&server.tls, issued);
    let read = read.map(|_| "Tried server.tls: the certificates and keys fit".to_owned());
    tried.push(told(read));
    tried
}

fn told(tried: io::Result<String>) -> Result<String, String> {
    tried.map_err(|error| error.to_string())
}
