//! How to reach Redis.

use std::borrow::Cow;

use redis::{ConnectionInfo, IntoConnectionInfo};
use url::Url;

use crate::{
    app::Secret,
    settings::{
        Json, Path, Problems, Secrets, Setting, Settings, Table, Takes, Text, Value, settings,
        words,
    },
};

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Redis {
    /// One address, or several of sentinels or cluster nodes. They may hold a password.
    pub urls: Vec<Secret>,
    /// What answers there.
    pub mode: RedisMode,
    /// The files of TLS.
    pub tls: RedisTls,
    /// Stands before every key and topic.
    pub key_prefix: String,
}

/// The files of TLS to Redis and its sentinels, in PEM. They are read at every connect.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// Authorities that sign the servers' certificates, instead of the system's.
    pub ca_file: Option<String>,
    /// What this node shows of itself.
    pub client: Option<ClientFiles>,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate's file.
    pub cert_file: String,
    /// The key's file.
    pub key_file: String,
}

impl Redis {
    /// The addresses as a message may show them, without user and password.
    #[must_use]
    pub fn addresses(&self) -> String {
        let shown = self.urls.iter().map(|url| {
            let info = connection_info(url.expose_str());
            info.map_or_else(|reason| reason, |info| info.addr().to_string())
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// What answers at Redis' addresses.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Sentinels that know where the master is.
    Sentinel(Box<Sentinels>),
    /// Nodes of a Redis Cluster; pub/sub is sharded.
    Cluster,
}

/// What sentinels are asked, and the credentials that they ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinels {
    /// The master's name among them.
    pub master: String,
    /// The user that the sentinels know; the master's is in the first address.
    pub username: Option<String>,
    /// That user's password.
    pub password: Option<Secret>,
}

settings! {
    /// The keys, before they make a [`Redis`].
    #[derive(Clone, Debug)]
    pub(super) struct Keys {
        /// `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS. Several addresses (of sentinels or cluster nodes) are
        /// separated by commas. Without it this node is alone.
        url: Option<Urls> => "\"rediss://redis.internal:6379\"",
        /// What answers at the address.
        mode: Mode = "single",
        /// The master's name among the sentinels.
        sentinel_master: Option<String> => "\"mymaster\"",
        /// The user that the sentinels themselves ask for, if they do; `url` has the master's.
        sentinel_username: Option<String> => "\"sentinel\"",
        /// That user's password.
        sentinel_password: Option<Secret> => "\"secret\"",
        /// PEM file of the authorities that sign the certificates of Redis and its sentinels. Without it, those that this system trusts.
        /// It and the next two are read at every connect, so that renewed files need no restart.
        ca_file: Option<String> => "\"/etc/loudhailer/redis-ca.pem\"",
        /// PEM file of this node's certificate and its chain, for a Redis that asks for one. Needs `key_file`.
        cert_file: Option<String> => "\"/etc/loudhailer/redis.pem\"",
        /// PEM file of that certificate's key.
        key_file: Option<String> => "\"/etc/loudhailer/redis.key\"",
        /// Before every key, so that several clusters can share a Redis.
        key_prefix: KeyPrefix = "loudhailer",
    }
    check check;
}

fn check(keys: &Keys, table: &Table<'_>, problems: &mut Problems) {
    check_tls(keys, table, problems);
    let Some(Urls(urls)) = &keys.url else {
        return;
    };
    match keys.mode {
        Mode::Single if urls.len() > 1 => {
            let reason =
                "has several addresses, which needs redis.mode = \"cluster\" or \"sentinel\"";
            table.refuse("url", problems, reason);
        }
        Mode::Cluster if urls.iter().any(|url| database_of(url) != 0) => {
            let reason = "names a database, but a Redis Cluster has only number 0";
            table.refuse("url", problems, reason);
        }
        Mode::Sentinel if keys.sentinel_master.is_none() => {
            let reason = "is \"sentinel\", which needs redis.sentinel_master";
            table.refuse("mode", problems, reason);
        }
        Mode::Sentinel if urls.iter().any(|url| is_tls(url) != is_tls(&urls[0])) => {
            let reason = "must be redis:// for all sentinels, or rediss:// for all";
            table.refuse("url", problems, reason);
        }
        _ => {}
    }
}

fn check_tls(keys: &Keys, table: &Table<'_>, problems: &mut Problems) {
    let files = [
        ("ca_file", &keys.ca_file),
        ("cert_file", &keys.cert_file),
        ("key_file", &keys.key_file),
    ];
    match (&keys.cert_file, &keys.key_file) {
        (Some(_), None) => table.refuse("cert_file", problems, "needs redis.key_file"),
        (None, Some(_)) => table.refuse("key_file", problems, "needs redis.cert_file"),
        _ => {}
    }
    let mut urls = keys.url.iter().flat_map(|Urls(urls)| urls);
    if !urls.all(is_tls)
        && let Some((name, _)) = files.iter().find(|(_, file)| file.is_some())
    {
        table.refuse(name, problems, "needs rediss:// in redis.url");
    }
}

impl Keys {
    fn redis(self) -> Option<Redis> {
        let mode = match self.mode {
            Mode::Single => RedisMode::Single,
            Mode::Cluster => RedisMode::Cluster,
            Mode::Sentinel => RedisMode::Sentinel(Box::new(Sentinels {
                master: self.sentinel_master.unwrap_or_default(),
                username: self.sentinel_username,
                password: self.sentinel_password,
            })),
        };
        Some(Redis {
            urls: self.url?.0,
            mode,
            tls: RedisTls {
                ca_file: self.ca_file,
                client: self.cert_file.zip(self.key_file).map(ClientFiles::from),
            },
            key_prefix: self.key_prefix.0,
        })
    }
}

impl From<(String, String)> for ClientFiles {
    fn from((cert_file, key_file): (String, String)) -> Self {
        Self {
            cert_file,
            key_file,
        }
    }
}

/// The table as a whole; without an address there is no Redis.
impl Setting for Option<Redis> {
    const TAKES: Takes = Takes::Table(Keys::FIELDS);

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        Table::read_whole(value, path, problems).map(Keys::redis)
    }

    fn write(&self, secrets: Secrets) -> Json {
        let Some(redis) = self else {
            let keys = Keys::absent().expect("every key has a default");
            return keys.write(secrets);
        };
        let sentinels = match &redis.mode {
            RedisMode::Sentinel(sentinels) => Some(&**sentinels),
            _ => None,
        };
        let client = redis.tls.client.as_ref();
        let keys = Keys {
            url: Some(Urls(redis.urls.clone())),
            mode: match redis.mode {
                RedisMode::Single => Mode::Single,
                RedisMode::Sentinel(_) => Mode::Sentinel,
                RedisMode::Cluster => Mode::Cluster,
            },
            sentinel_master: sentinels.map(|it| it.master.clone()),
            sentinel_username: sentinels.and_then(|it| it.username.clone()),
            sentinel_password: sentinels.and_then(|it| it.password.clone()),
            ca_file: redis.tls.ca_file.clone(),
            cert_file: client.map(|it| it.cert_file.clone()),
            key_file: client.map(|it| it.key_file.clone()),
            key_prefix: KeyPrefix(redis.key_prefix.clone()),
        };
        keys.write(secrets)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Urls(Vec<Secret>);

impl Text for Urls {
    const TAKES: Takes = Takes::Secret;

    fn parse(text: &str) -> Result<Self, String> {
        let urls = text.split(',').map(str::trim);
        let urls: Vec<_> = urls
            .filter(|url| !url.is_empty())
            .map(Secret::new)
            .collect();
        let is_redis = |url: &Secret| url.expose_str().starts_with("redis://") || is_tls(url);
        if urls.is_empty() || !urls.iter().all(is_redis) {
            let reason = "must be redis://… or rediss://… (several are separated by commas)";
            return Err(reason.to_owned());
        }
        for url in &urls {
            connection_info(url.expose_str())?;
        }
        Ok(Self(urls))
    }

    fn text(&self, secrets: Secrets) -> Cow<'_, str> {
        let urls = self.0.iter().map(|url| url.text(secrets));
        urls.collect::<Vec<_>>().join(",").into()
    }
}

fn database_of(url: &Secret) -> i64 {
    let info = connection_info(url.expose_str());
    info.map_or(0, |info| info.redis_settings().db())
}

/// What the client library reads in an address. The error is the rest of a sentence that begins with the key.
fn connection_info(url: &str) -> Result<ConnectionInfo, String> {
    // Says more of what is wrong than the client library does, and as little of the password.
    let parsed = Url::parse(url).map_err(|error| format!("is no valid address: {error}"))?;
    let database = parsed.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err("must end with the number of a database, or with none".to_owned());
    }
    let info = url.into_connection_info();
    info.map_err(|error| format!("is no valid address: {error}"))
}

fn is_tls(url: &Secret) -> bool {
    url.expose_str().starts_with("rediss://")
}

words! {
    pub(super) enum Mode {
        Single = "single",
        Sentinel = "sentinel",
        Cluster = "cluster",
    }
}

#[derive(Clone, Debug)]
pub(super) struct KeyPrefix(String);

impl Text for KeyPrefix {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(['{', '}']) {
            let reason =
                "must not be empty and must not contain { or }, which name Redis Cluster's slots";
            return Err(reason.to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}
