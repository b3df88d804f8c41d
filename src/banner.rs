//! What the start prints: where the server listens, what it understood, and what to paste into an app.
//!
//! Prints nothing itself, and never a secret but the demo app's, which the documentation prints too.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    app::{App, KeyRef, Moment, Name, Secret},
    config::{Config, DEMO_KEY, DEMO_SECRET, Understood},
    door::Address,
};

/// More apps than a screen has lines are counted, not listed.
const APPS_SHOWN_MAX: usize = 20;

/// Where the listeners accept.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Clients without TLS, and proxies.
    pub plain: Vec<Address>,
    /// Clients with TLS.
    pub tls: Option<SocketAddr>,
    /// The operator.
    pub admin: SocketAddr,
    /// The operator's `http` or `https`.
    pub admin_scheme: &'static str,
}

/// What clients are to use.
#[derive(Clone, Copy)]
struct Entry {
    address: SocketAddr,
    scheme: &'static str,
}

impl Addresses {
    /// The address and port that clients are to use: with TLS, if there is it. `None`: only proxies come, over a Unix socket.
    #[must_use]
    pub fn public(&self) -> Option<SocketAddr> {
        self.entry().map(|entry| entry.address)
    }

    /// The same, or else where proxies come in.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.public(), self.plain.first()) {
            (Some(address), _) => address.to_string(),
            (None, Some(plain)) => plain.to_string(),
            (None, None) => String::new(),
        }
    }

    fn entry(&self) -> Option<Entry> {
        let tls = self.tls.map(|address| Entry {
            address,
            scheme: "https",
        });
        let plain = self.plain.iter().find_map(Address::tcp);
        let plain = plain.map(|address| Entry {
            address,
            scheme: "http",
        });
        tls.or(plain)
    }
}

/// The whole start-up text, once the listeners accept at these addresses.
#[must_use]
pub fn banner(
    config: &Config,
    apps: &[Arc<App>],
    understood: &Understood,
    addresses: &Addresses,
) -> String {
    let mut lines = vec![format!("Loudhailer {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(addresses.plain.iter().map(|plain| match plain {
        Address::Tcp(address) => format!("Listening on http://{address}"),
        Address::Unix(_) => format!("Listening on {plain}"),
    }));
    let tls = addresses.tls.map(|it| format!("Listening on https://{it}"));
    lines.extend(tls);
    lines.push(format!(
        "Admin on {}://{}",
        addresses.admin_scheme, addresses.admin
    ));
    lines.push(summary(apps, understood));
    if let (Some(app), Some(entry)) = (apps.first(), addresses.entry()) {
        let public = entry.address;
        if public.ip().is_unspecified() {
            let host = public.ip();
            lines.push(format!(
                "{host} is every address of this machine; below, put the one that clients use."
            ));
            lines.push(String::new());
        }
        lines.push(env_block(app, entry));
        lines.push(echo_options(app, &config.server.path_prefix.0, entry));
    }
    lines.join("\n")
}

/// Where the configuration came from, and its apps; a block that ends with an empty line.
#[must_use]
pub fn summary(apps: &[Arc<App>], understood: &Understood) -> String {
    let mut lines = Vec::new();
    if let Some(file) = &understood.file {
        lines.push(format!("Configuration from {}", file.display()));
    }
    for alias in &understood.aliases {
        lines.push(format!("Understood {}: {}", alias.name, alias.set));
    }
    for unused in &understood.unused {
        lines.push(format!("Not used {}: {}", unused.name, unused.reason));
    }
    lines.extend(understood.notes.iter().cloned());
    lines.push("Apps:".to_owned());
    lines.extend(apps.iter().take(APPS_SHOWN_MAX).map(|app| app_line(app)));
    if let Some(more @ 1..) = apps.len().checked_sub(APPS_SHOWN_MAX) {
        lines.push(format!("  and {more} more"));
    }
    let warnings = apps.iter().filter_map(|app| key_warning(app));
    lines.extend(warnings.take(APPS_SHOWN_MAX));
    let warnings = apps.iter().filter_map(|app| quotes_warning(app));
    lines.extend(warnings.take(APPS_SHOWN_MAX));
    lines.push(String::new());
    lines.join("\n")
}

/// Works here, but not with every client and host.
fn key_warning(app: &App) -> Option<String> {
    let is_upper = |key: &&Name| key.bytes().any(|byte| byte.is_ascii_uppercase());
    let key = app.keys().map(|it| it.key).find(is_upper)?;
    let id = &app.id;
    Some(format!(
        "Warning: the key {key} of app {id} is not lower-case; PusherSwift signs with a lower-case key, which other Pusher hosts refuse"
    ))
}

/// Docker's `--env-file` takes quotes for a part of the value, so that every signature would be wrong.
fn quotes_warning(app: &App) -> Option<String> {
    let is_quoted = |secret: &Secret| {
        let text = secret.expose_str();
        let quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
        quoted('"') || quoted('\'')
    };
    let key = app.keys().find(|it| is_quoted(it.secret))?.key;
    let id = &app.id;
    Some(format!(
        "Warning: the secret of key {key} of app {id} begins and ends with quotes, which count as a part of it; `docker run --env-file` keeps quotes, so leave them out there"
    ))
}

fn app_line(app: &App) -> String {
    let App {
        id,
        name,
        limits,
        webhooks,
        ..
    } = app;
    let keys: Vec<_> = app.keys().map(|it| it.key.to_string()).collect();
    let mut line = format!("  id {id}, key {}", keys.join(", "));
    if !name.is_empty() {
        line.push_str(&format!(", {name:?}"));
    }
    if !app.enabled {
        line.push_str(", disabled");
    }
    if app.tls_only {
        line.push_str(", TLS only");
    }
    match limits.max_connections {
        Some(max) => line.push_str(&format!(", up to {} connections", max.get())),
        None => line.push_str(", any number of connections"),
    }
    line.push_str(&format!(
        ", events up to {} bytes",
        limits.max_event_data_bytes.get()
    ));
    if app.client_events {
        let rate = limits.max_client_events_per_second.get();
        line.push_str(&format!(", client events (up to {rate}/s each)"));
    } else {
        line.push_str(", no client events");
    }
    if !app.allowed_origins.is_empty() {
        line.push_str(&format!(
            ", {} allowed origin(s)",
            app.allowed_origins.len()
        ));
    }
    if let endpoints @ 1.. = webhooks.len() {
        line.push_str(&format!(", {endpoints} webhook endpoint(s)"));
    }
    line
}

fn env_block(app: &App, entry: Entry) -> String {
    let Some(KeyRef { key, secret, .. }) = app.shown_key(Moment::now()) else {
        return String::new();
    };
    let is_demo = *key == *DEMO_KEY && secret.expose_str() == DEMO_SECRET;
    let secret = if is_demo { DEMO_SECRET } else { "your-secret" };
    let (host, port) = (reachable_host(entry.address), entry.address.port());
    format!(
        "Laravel's .env:

  BROADCAST_CONNECTION=pusher
  PUSHER_APP_ID={id}
  PUSHER_APP_KEY={key}
  PUSHER_APP_SECRET={secret}
  PUSHER_HOST={host}
  PUSHER_PORT={port}
  PUSHER_SCHEME={scheme}
  PUSHER_APP_CLUSTER=mt1
  VITE_PUSHER_APP_KEY=\"${{PUSHER_APP_KEY}}\"
  VITE_PUSHER_HOST=\"${{PUSHER_HOST}}\"
  VITE_PUSHER_PORT=\"${{PUSHER_PORT}}\"
  VITE_PUSHER_SCHEME=\"${{PUSHER_SCHEME}}\"
  VITE_PUSHER_APP_CLUSTER=\"${{PUSHER_APP_CLUSTER}}\"
",
        id = app.id,
        scheme = entry.scheme,
    )
}

/// `cluster` is required by pusher-js even for a host of one's own; `enableStats` took the place of `disableStats`.
fn echo_options(app: &App, path_prefix: &str, entry: Entry) -> String {
    let (host, port) = (reachable_host(entry.address), entry.address.port());
    let ws_path = match path_prefix {
        "" => String::new(),
        prefix => format!("\n    wsPath: '{prefix}',"),
    };
    format!(
        "Laravel Echo:

  new Echo({{
    broadcaster: 'pusher',
    key: '{key}',
    cluster: 'mt1',
    wsHost: '{host}',
    wsPort: {port},
    wssPort: {port},{ws_path}
    forceTLS: {tls},
    enableStats: false,
  }})
",
        key = app.shown_key(Moment::now()).map_or("", |it| it.key),
        tls = entry.scheme == "https",
    )
}

/// A host that a client on this machine can use, in brackets if a port is to follow an IPv6 address.
fn reachable_host(public: SocketAddr) -> String {
    let host = match public.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    match host {
        IpAddr::V4(host) => host.to_string(),
        IpAddr::V6(host) => format!("[{host}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Alias, Unused},
        settings::Literal,
    };

    fn printed(config: &Config, understood: &Understood, public: &str) -> String {
        let public: SocketAddr = public.parse().expect("an address");
        let addresses = Addresses {
            plain: vec![
                Address::Tcp(public),
                Address::Unix("/run/public.sock".into()),
            ],
            tls: None,
            admin: "127.0.0.1:9601".parse().expect("an address"),
            admin_scheme: "http",
        };
        banner(config, &config.apps, understood, &addresses)
    }

    fn assert_has_line(text: &str, line: &str) {
        assert!(
            text.lines().any(|other| other.trim() == line),
            "no line {line:?} in:\n{text}"
        );
    }

    #[test]
    fn the_demo_app_is_ready_to_paste() {
        let text = printed(&Config::default(), &Understood::default(), "127.0.0.1:6001");
        for line in [
            "Listening on http://127.0.0.1:6001",
            "Listening on unix:/run/public.sock",
            "Admin on http://127.0.0.1:9601",
            "BROADCAST_CONNECTION=pusher",
            "PUSHER_APP_ID=1001",
            "PUSHER_APP_KEY=app-key",
            "PUSHER_APP_SECRET=app-secret",
            "PUSHER_HOST=127.0.0.1",
            "PUSHER_PORT=6001",
            "VITE_PUSHER_APP_KEY=\"${PUSHER_APP_KEY}\"",
            "key: 'app-key',",
            "wsHost: '127.0.0.1',",
            "wsPort: 6001,",
            "forceTLS: false,",
        ] {
            assert_has_line(&text, line);
        }
        assert!(!text.contains("wsPath"), "{text}");
        assert!(!text.contains("every address"), "{text}");
    }

    /// #16: the block of the start switched the fallbacks off, and those of the documents differed from it.
    #[test]
    fn documents_have_the_same_echo_options() {
        let read = |page: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            std::fs::read_to_string(path).expect("the page is there")
        };
        let public = Entry {
            address: "127.0.0.1:6001".parse().expect("an address"),
            scheme: "http",
        };
        let block = echo_options(&Config::default().apps[0], "", public);
        assert!(!block.contains("enabledTransports"), "{block}");
        assert!(
            read("README.md").contains(&block),
            "no {block} in README.md"
        );
        for page in ["docs/laravel.md", "docs/single-login.md"] {
            let text = read(page);
            let (_, echo) = text.split_once("new Echo({").expect("a block");
            let (echo, _) = echo.split_once("});").expect("it ends");
            let keys = |block: &str| -> Vec<String> {
                let lines = block
                    .lines()
                    .filter_map(|line| line.trim().split_once(": "));
                lines.map(|(key, _)| key.to_owned()).collect()
            };
            let (_, options) = block.split_once("new Echo({").expect("a block");
            assert_eq!(keys(echo), keys(options), "{page}");
        }
    }

    #[test]
    fn an_own_secret_is_never_printed() {
        let mut config = Config::default();
        let app = Arc::make_mut(&mut config.apps[0]);
        app.secret = Some(Secret::new("hidden"));
        let text = printed(&config, &Understood::default(), "127.0.0.1:6001");
        assert_has_line(&text, "PUSHER_APP_SECRET=your-secret");
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn the_address_is_one_that_a_client_can_use() {
        for (public, listening, host) in [
            (
                "0.0.0.0:8080",
                "Listening on http://0.0.0.0:8080",
                "wsHost: '127.0.0.1',",
            ),
            (
                "[::]:8080",
                "Listening on http://[::]:8080",
                "wsHost: '[::1]',",
            ),
            (
                "[::1]:8080",
                "Listening on http://[::1]:8080",
                "wsHost: '[::1]',",
            ),
            (
                "10.0.0.7:8080",
                "Listening on http://10.0.0.7:8080",
                "wsHost: '10.0.0.7',",
            ),
        ] {
            let text = printed(&Config::default(), &Understood::default(), public);
            assert_has_line(&text, listening);
            assert_has_line(&text, host);
            let is_unspecified = listening.contains("0.0.0.0") || listening.contains("[::]");
            assert_eq!(text.contains("every address"), is_unspecified, "{text}");
        }
    }

    #[test]
    fn a_path_prefix_is_an_echo_option() {
        let mut config = Config::default();
        config.server.path_prefix = Literal::of("/ws");
        let text = printed(&config, &Understood::default(), "127.0.0.1:6001");
        assert_has_line(&text, "wsPath: '/ws',");
    }

    #[test]
    fn the_summary_says_what_was_understood_and_what_was_not() {
        let understood = Understood {
            file: Some("/etc/loudhailer.toml".into()),
            is_demo: false,
            aliases: vec![Alias {
                name: "SOKETI_PORT".to_owned(),
                set: "server.port = 7001".to_owned(),
            }],
            unused: vec![Unused {
                name: "SOKETI_QUEUE_DRIVER".to_owned(),
                reason: "not needed".to_owned(),
            }],
            notes: vec!["Clients connect elsewhere".to_owned()],
        };
        let text = printed(&Config::default(), &understood, "127.0.0.1:7001");
        assert_has_line(&text, "Configuration from /etc/loudhailer.toml");
        assert_has_line(&text, "Understood SOKETI_PORT: server.port = 7001");
        assert_has_line(&text, "Not used SOKETI_QUEUE_DRIVER: not needed");
        assert_has_line(&text, "Clients connect elsewhere");
    }

    #[test]
    fn an_app_line_tells_its_switches_and_limits() {
        let mut app = App::clone(&Config::default().apps[0]);
        let plain = "  id 1001, key app-key, any number of connections, events up to 10240 bytes, \
                     no client events";
        assert_eq!(app_line(&app), plain);
        app.name = "Shop".to_owned();
        app.enabled = false;
        app.tls_only = true;
        app.client_events = true;
        app.limits.max_connections = Some(Literal::of(50));
        let full = "  id 1001, key app-key, \"Shop\", disabled, TLS only, up to 50 connections, \
                    events up to 10240 bytes, client events (up to 10/s each)";
        assert_eq!(app_line(&app), full);
    }

    #[test]
    fn many_apps_are_counted() {
        let app = Config::default().apps.remove(0);
        let text = |count| summary(&vec![Arc::clone(&app); count], &Understood::default());
        assert!(!text(APPS_SHOWN_MAX).contains("more"));
        let text = text(APPS_SHOWN_MAX + 3);
        assert_has_line(&text, "and 3 more");
        assert_eq!(text.matches("id 1001").count(), APPS_SHOWN_MAX);
    }
}
