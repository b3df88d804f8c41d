//! From the merged text to a [`Config`]: everything that one key's kind and range cannot say.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    thread,
    time::Duration,
};

use ipnet::IpNet;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{
    Admin, Api, Config, DEMO_KEY, DEMO_SECRET, Log, LogFormat, Metrics, Redis, RedisMode,
    Sentinels, Server, WebSocket, channels,
    error::ConfigError,
    raw::{Merged, RawAdmin, RawApp, RawLog, RawMetrics, RawRedis, RawServer, RawWebSocket},
    schema::APPS,
    webhooks,
};
use crate::app::{App, Limits, MissingOrigin, Newest, OriginPattern, Secret, SingleSession};

/// What can't be guessed through a slow door.
const TOKEN_LENGTH_MIN: usize = 16;

/// Checks the merged configuration.
pub(super) fn check(merged: &Merged) -> Result<Config, ConfigError> {
    let raw = merged.raw()?;
    let config = Config {
        server: server(raw.server, merged)?,
        websocket: websocket(&raw.websocket),
        api: Api {
            timestamp_tolerance: Duration::from_secs(raw.api.timestamp_tolerance_s),
        },
        admin: admin(raw.admin, merged)?,
        metrics: metrics(&raw.metrics, merged)?,
        redis: redis(raw.redis, merged)?,
        log: log(raw.log, merged)?,
        apps: apps(raw.apps, merged)?,
    };
    if config.admin.port == config.server.port && config.server.port != 0 {
        let port = config.server.port;
        let reason = format!("must differ from server.port ({port})");
        return Err(bad(merged, "admin", "port", reason));
    }
    refuse_demo_in_public(&config, merged)?;
    webhooks::refuse_forbidden(&config, merged)?;
    Ok(config)
}

fn bad(merged: &Merged, section: &str, name: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::BadValue {
        place: merged.place(section, name),
        key: format!("{section}.{name}"),
        reason: reason.into(),
    }
}

fn bad_app(merged: &Merged, index: usize, name: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::BadValue {
        place: merged.app_place(index, name),
        key: format!("{APPS}[{index}].{name}"),
        reason: reason.into(),
    }
}

fn server(raw: RawServer, merged: &Merged) -> Result<Server, ConfigError> {
    let host = address(&raw.host).map_err(|reason| bad(merged, "server", "host", reason))?;
    let path_prefix = path_prefix(&raw.path_prefix)
        .map_err(|reason| bad(merged, "server", "path_prefix", reason))?;
    let trusted_proxies = raw.trusted_proxies.iter().map(|entry| network(entry));
    let trusted_proxies = trusted_proxies
        .collect::<Result<_, _>>()
        .map_err(|reason| bad(merged, "server", "trusted_proxies", reason))?;
    let webhook_targets = webhooks::targets(&raw.webhook_allowed_addresses)
        .map_err(|reason| bad(merged, "server", "webhook_allowed_addresses", reason))?;
    let workers = match raw.workers {
        0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        workers => workers,
    };
    Ok(Server {
        host,
        port: raw.port,
        path_prefix,
        workers,
        max_connections: raw.max_connections,
        max_connections_per_ip: raw.max_connections_per_ip,
        max_clients_per_ip: raw.max_clients_per_ip,
        max_http_connections: raw.max_http_connections,
        trusted_proxies,
        max_request_bytes: raw.max_request_bytes,
        request_timeout: Duration::from_secs(raw.request_timeout_s),
        keep_alive: Duration::from_secs(raw.keep_alive_s),
        not_ready: Duration::from_secs(raw.not_ready_s),
        drain_window: Duration::from_secs(raw.drain_window_s),
        webhook_grace: Duration::from_secs(raw.webhook_grace_s),
        webhook_targets,
    })
}

fn websocket(raw: &RawWebSocket) -> WebSocket {
    WebSocket {
        activity_timeout: Duration::from_secs(raw.activity_timeout_s),
        pong_timeout: Duration::from_secs(raw.pong_timeout_s),
        max_message_bytes: raw.max_message_bytes,
        max_outbox_bytes: raw.max_outbox_bytes,
        require_protocol: raw.require_protocol,
    }
}

fn admin(raw: RawAdmin, merged: &Merged) -> Result<Admin, ConfigError> {
    let host = address(&raw.host).map_err(|reason| bad(merged, "admin", "host", reason))?;
    if raw.token.is_empty() && !is_loopback(host) {
        let reason = format!(
            "must be a loopback address such as 127.0.0.1, not {host}, unless admin.token is set"
        );
        return Err(bad(merged, "admin", "host", reason));
    }
    let is_visible = raw.token.bytes().all(|byte| byte.is_ascii_graphic());
    if !raw.token.is_empty() && (raw.token.len() < TOKEN_LENGTH_MIN || !is_visible) {
        let reason =
            format!("must have at least {TOKEN_LENGTH_MIN} characters, all of them visible ASCII");
        return Err(bad(merged, "admin", "token", reason));
    }
    Ok(Admin {
        host,
        port: raw.port,
        token: (!raw.token.is_empty()).then(|| Secret::new(raw.token)),
    })
}

fn metrics(raw: &RawMetrics, merged: &Merged) -> Result<Metrics, ConfigError> {
    // soketi's own variable ends with the underscore.
    let prefix = raw.prefix.trim_end_matches('_');
    let mut characters = prefix.chars();
    let begins = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    if !begins || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let reason = format!(
            "must be letters, digits and \"_\", a letter first, such as \"loudhailer\", not {:?}",
            raw.prefix
        );
        return Err(bad(merged, "metrics", "prefix", reason));
    }
    Ok(Metrics {
        prefix: prefix.to_owned(),
    })
}

fn redis(raw: RawRedis, merged: &Merged) -> Result<Option<Redis>, ConfigError> {
    let urls: Vec<&str> = raw
        .url
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .collect();
    if urls.is_empty() {
        return Ok(None);
    }
    if !urls
        .iter()
        .all(|url| url.starts_with("redis://") || is_tls(url))
    {
        let reason = "must be redis://… or rediss://… (several are separated by commas)";
        return Err(bad(merged, "redis", "url", reason));
    }
    let mode = match raw.mode.as_str() {
        "single" if urls.len() > 1 => {
            let reason =
                "has several addresses, which needs redis.mode = \"cluster\" or \"sentinel\"";
            return Err(bad(merged, "redis", "url", reason));
        }
        "single" => RedisMode::Single,
        "cluster" => RedisMode::Cluster,
        "sentinel" if raw.sentinel_master.is_empty() => {
            let reason = "is \"sentinel\", which needs redis.sentinel_master";
            return Err(bad(merged, "redis", "mode", reason));
        }
        "sentinel" => {
            if urls.iter().any(|url| is_tls(url) != is_tls(urls[0])) {
                let reason = "must be redis:// for all sentinels, or rediss:// for all";
                return Err(bad(merged, "redis", "url", reason));
            }
            let given = |text: String| (!text.is_empty()).then_some(text);
            RedisMode::Sentinel(Box::new(Sentinels {
                master: raw.sentinel_master,
                username: given(raw.sentinel_username),
                password: given(raw.sentinel_password).map(Secret::new),
            }))
        }
        other => {
            let reason = format!("must be \"single\", \"sentinel\" or \"cluster\", not {other:?}");
            return Err(bad(merged, "redis", "mode", reason));
        }
    };
    if raw.key_prefix.is_empty() || raw.key_prefix.contains(['{', '}']) {
        let reason =
            "must not be empty and must not contain { or }, which name Redis Cluster's slots";
        return Err(bad(merged, "redis", "key_prefix", reason));
    }
    Ok(Some(Redis {
        urls: urls.into_iter().map(Secret::new).collect(),
        mode,
        key_prefix: raw.key_prefix,
    }))
}

fn is_tls(url: &str) -> bool {
    url.starts_with("rediss://")
}

fn log(raw: RawLog, merged: &Merged) -> Result<Log, ConfigError> {
    log_filter(&raw.level).map_err(|reason| bad(merged, "log", "level", reason))?;
    let format = match raw.format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => {
            let reason = format!("must be \"text\" or \"json\", not {other:?}");
            return Err(bad(merged, "log", "format", reason));
        }
    };
    Ok(Log {
        level: raw.level,
        format,
    })
}

/// A bare word in a tracing filter names a target, so that a misspelt level would be taken for one and silence all.
fn log_filter(level: &str) -> Result<(), String> {
    let is_level = |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    let parts_are_known = level.contains('[') || level.split(',').all(|part| is_level(part.trim()));
    if level.trim().is_empty() || !parts_are_known || EnvFilter::try_new(level).is_err() {
        return Err(format!(
            "must be error, warn, info, debug, trace or a filter such as \
             \"info,loudhailer=debug\", not {level:?}"
        ));
    }
    Ok(())
}

fn address(host: &str) -> Result<IpAddr, String> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let hint = "an IP address to listen on, such as 127.0.0.1 or 0.0.0.0";
    bare.parse()
        .map_err(|_| format!("must be {hint}, not {host:?}"))
}

/// A network, or one address.
fn network(entry: &str) -> Result<IpNet, String> {
    let address = || entry.parse::<IpAddr>().map(IpNet::from);
    entry.parse().or_else(|_| address()).map_err(|_| {
        format!("must hold addresses or networks such as \"10.0.0.0/8\", not {entry:?}")
    })
}

fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}

/// Takes `/`, a slash at the end and nothing at all for what they mean.
fn path_prefix(prefix: &str) -> Result<String, String> {
    let trimmed = prefix.trim_end_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let Some(path) = trimmed.strip_prefix('/') else {
        return Err(format!("must start with \"/\", not {prefix:?}"));
    };
    let mut segments = path.split('/');
    if matches!(segments.clone().next(), Some("app" | "apps" | "users")) {
        return Err(format!(
            "must not be {prefix:?}: the server's own paths start so"
        ));
    }
    if !segments.all(is_path_segment) {
        let allowed = "segments of letters, digits, and \"-\", \".\", \"_\", \"~\"";
        return Err(format!(
            "must be {allowed}, such as \"/ws\", not {prefix:?}"
        ));
    }
    Ok(trimmed.to_owned())
}

/// What stands in a URL path as it is, without percent-encoding.
fn is_path_segment(segment: &str) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    !matches!(segment, "" | "." | "..") && segment.chars().all(unreserved)
}

fn apps(raw: Vec<RawApp>, merged: &Merged) -> Result<Vec<App>, ConfigError> {
    let mut apps: Vec<App> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let app = app(raw, index, merged)?;
        let repeats = |name, value: &str, other: usize| {
            let reason = format!("{value:?} is already that of {APPS}[{other}]");
            Err(bad_app(merged, index, name, reason))
        };
        if let Some(other) = apps.iter().position(|other| other.id == app.id) {
            return repeats("id", &app.id, other);
        }
        if let Some(other) = apps.iter().position(|other| other.key == app.key) {
            return repeats("key", &app.key, other);
        }
        apps.push(app);
    }
    Ok(apps)
}

/// The app's words for sessions, with who gives way.
fn session_of(raw: &RawApp) -> impl Fn(Newest) -> SingleSession + use<> {
    let settings = SingleSession {
        newest: Newest::Wins,
        session_key: raw.session_key.clone(),
        event: raw.session_event.clone(),
        grace: Duration::from_secs(raw.session_grace_s),
    };
    move |newest| SingleSession {
        newest,
        ..settings.clone()
    }
}

fn app(raw: RawApp, index: usize, merged: &Merged) -> Result<App, ConfigError> {
    for (name, text) in [("id", &raw.id), ("key", &raw.key)] {
        if !is_path_segment(text) {
            let reason = match text.as_str() {
                "" => "must not be empty".to_owned(),
                _ => format!(
                    "may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not {text:?}"
                ),
            };
            return Err(bad_app(merged, index, name, reason));
        }
    }
    if raw.secret.is_empty() {
        return Err(bad_app(merged, index, "secret", "must not be empty"));
    }
    if raw.secret.trim() != raw.secret {
        return Err(bad_app(
            merged,
            index,
            "secret",
            "must not start or end with white space",
        ));
    }
    let limits = limits(&raw);
    let session = session_of(&raw);
    let single_session = channels::newest(&raw.single_session)
        .map_err(|reason| bad_app(merged, index, "single_session", reason))?
        .map(&session);
    let channels = channels::check(raw.channels, session, index, merged)?;
    let webhooks = webhooks::check(raw.webhook_batching, raw.webhooks, index, merged)?;
    let parse = |entry: &String| {
        OriginPattern::parse(entry)
            .map_err(|error| bad_app(merged, index, "allowed_origins", error.to_string()))
    };
    let allowed_origins = raw
        .allowed_origins
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    Ok(App {
        id: raw.id,
        key: raw.key,
        secret: Secret::new(raw.secret),
        name: raw.name,
        enabled: raw.enabled,
        client_events: raw.client_events,
        fallbacks: raw.fallbacks,
        subscription_counts: raw.subscription_counts,
        compression_from_bytes: raw.compression.then_some(raw.compression_min_bytes),
        watchlists: raw.watchlists,
        single_session,
        channels,
        tls_only: raw.tls_only,
        allowed_origins,
        missing_origin: if raw.require_origin {
            MissingOrigin::Refused
        } else {
            MissingOrigin::Allowed
        },
        limits,
        webhooks,
    })
}

fn limits(raw: &RawApp) -> Limits {
    Limits {
        max_connections: raw.max_connections,
        max_channel_name_length: raw.max_channel_name_length,
        max_event_name_length: raw.max_event_name_length,
        max_event_data_bytes: raw.max_event_data_bytes,
        max_event_channels: raw.max_event_channels,
        max_batch_events: raw.max_batch_events,
        max_presence_members: raw.max_presence_members,
        max_presence_user_id_length: raw.max_presence_user_id_length,
        max_presence_user_info_bytes: raw.max_presence_user_info_bytes,
        max_messages_per_second: raw.max_messages_per_second,
        max_client_events_per_second: raw.max_client_events_per_second,
        max_backend_events_per_second: raw.max_backend_events_per_second,
        max_read_requests_per_second: raw.max_read_requests_per_second,
        max_channels_per_connection: raw.max_channels_per_connection,
        authorization_timeout: raw.authorization_timeout_s.map(Duration::from_secs),
        cache_ttl: Duration::from_secs(raw.cache_ttl_s),
    }
}

/// The demo key and secret are in the documentation, so whoever reaches the port could use them.
fn refuse_demo_in_public(config: &Config, merged: &Merged) -> Result<(), ConfigError> {
    if is_loopback(config.server.host) {
        return Ok(());
    }
    for (index, app) in config.apps.iter().enumerate() {
        let name = match app {
            app if app.key == DEMO_KEY => "key",
            app if app.secret.expose() == DEMO_SECRET.as_bytes() => "secret",
            _ => continue,
        };
        let host = config.server.host;
        let place = merged.place("server", "host");
        let reason = format!(
            "is the public demo {name}, refused because server.host is {host} ({place}): give the \
             app its own key and secret, in the file or as PUSHER_APP_KEY and PUSHER_APP_SECRET, \
             or listen on 127.0.0.1"
        );
        return Err(bad_app(merged, index, name, reason));
    }
    Ok(())
}
