//! Settings that several of another server's variables make together: how to reach Redis or a database, and rates.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{is_set, names, reading::seconds};
use crate::settings::{Takes, ValueKind};

/// Variables that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Group {
    /// soketi's way to other nodes.
    SoketiCluster,
    /// Where soketi has its apps.
    SoketiApps,
    /// When soketi closes connections of nobody.
    SoketiSignIn,
    /// How Reverb and laravel-websockets get to other nodes.
    LaravelCluster,
    /// How fast Reverb's clients may send.
    ReverbRate,
}

/// All groups.
pub(super) const GROUPS: [Group; 5] = [
    Group::SoketiCluster,
    Group::SoketiApps,
    Group::SoketiSignIn,
    Group::LaravelCluster,
    Group::ReverbRate,
];

/// What a group's variables come to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// These variables set a key.
    Sets(Vec<&'static str>, &'static str, ValueKind),
    /// A variable changes nothing.
    Unused(&'static str, String),
    /// A variable can't be followed, and to leave it out would be dangerous.
    Refused(&'static str, String),
}

use Outcome::{Refused, Sets, Unused};

/// The variables that have a value.
#[derive(Clone, Copy)]
pub(super) struct Given<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Given<'a> {
    pub(super) fn get(self, name: &str) -> Option<&'a str> {
        let text = self.0.get(name).filter(|text| is_set(name, text))?;
        Some(text.trim())
    }

    fn is_on(self, name: &str) -> bool {
        let switch = self.get(name).map(|text| Takes::Switch.read(text, name));
        switch == Some(ValueKind::Boolean(true))
    }

    /// The variables of a group that have a value.
    fn of(self, group: Group) -> Vec<&'static str> {
        let members = names::NAMES.iter().filter(
            |(_, meaning)| matches!(meaning, names::Meaning::Grouped(other) if *other == group),
        );
        let names = members.map(|(name, _)| *name);
        names.filter(|name| self.get(name).is_some()).collect()
    }

    fn among(self, names: &[&'static str]) -> Vec<&'static str> {
        let names = names.iter().copied();
        names.filter(|name| self.get(name).is_some()).collect()
    }
}

impl Group {
    /// What the group's variables come to; nothing if none is set.
    pub(super) fn read(self, given: Given<'_>) -> Vec<Outcome> {
        let names = given.of(self);
        if names.is_empty() {
            return Vec::new();
        }
        let mut outcomes = match self {
            Self::SoketiCluster => soketi_cluster(given),
            Self::SoketiApps => soketi_apps(given),
            Self::SoketiSignIn => soketi_sign_in(given),
            Self::LaravelCluster => laravel_cluster(given),
            Self::ReverbRate => reverb_rate(given),
        };
        let is_told = |name: &str| {
            outcomes.iter().any(|outcome| match outcome {
                Sets(names, ..) => names.contains(&name),
                Unused(other, _) | Refused(other, _) => *other == name,
            })
        };
        // Laravel's own settings are for Laravel unless a server scales over them.
        let rest = names
            .into_iter()
            .filter(|name| !is_told(name) && !name.starts_with("REDIS_"));
        let rest: Vec<_> = rest
            .map(|name| Unused(name, self.without().to_owned()))
            .collect();
        outcomes.extend(rest);
        outcomes
    }

    /// Why a variable of the group changes nothing if the group's switch is off.
    fn without(self) -> &'static str {
        match self {
            Self::SoketiCluster => {
                "SOKETI_ADAPTER_DRIVER is not \"redis\", so this node is alone, as soketi was"
            }
            Self::SoketiApps => "SOKETI_APP_MANAGER_DRIVER names no such database",
            Self::SoketiSignIn => "SOKETI_DEFAULT_APP_USER_AUTHENTICATION is not on",
            Self::LaravelCluster => "scaling is not on, so this node is alone",
            Self::ReverbRate => {
                "REVERB_APP_RATE_LIMITING_ENABLED is not on; apps.max_messages_per_second always holds"
            }
        }
    }
}

/// The parts of an address with credentials.
#[derive(Clone, Copy)]
struct Place<'a> {
    scheme: &'a str,
    username: Option<&'a str>,
    password: Option<&'a str>,
    host: &'a str,
    port: Option<&'a str>,
    path: Option<&'a str>,
}

impl Place<'_> {
    fn url(&self) -> String {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut url = format!("{}://", self.scheme);
        if self.username.is_some() || self.password.is_some() {
            url.push_str(&self.username.map(encode).unwrap_or_default());
            if let Some(password) = self.password {
                url.push(':');
                url.push_str(&encode(password));
            }
            url.push('@');
        }
        match self.host {
            host if host.contains(':') && !host.starts_with('[') => {
                url.push_str(&format!("[{host}]"));
            }
            host => url.push_str(host),
        }
        if let Some(port) = self.port {
            url.push_str(&format!(":{port}"));
        }
        if let Some(path) = self.path {
            url.push_str(&format!("/{path}"));
        }
        url
    }
}

/// A sentinel or a node of a Redis Cluster, as soketi's JSON names it.
#[derive(Deserialize)]
struct RedisNode {
    host: String,
    port: u16,
}

const REDIS_NODES: &str =
    "must be a JSON list such as [{\"host\":\"10.0.0.1\",\"port\":26379}], as soketi has it";

const ADAPTER: &str = "SOKETI_ADAPTER_DRIVER";
const CLUSTER_MODE: &str = "SOKETI_ADAPTER_REDIS_CLUSTER_MODE";

fn soketi_cluster(given: Given<'_>) -> Vec<Outcome> {
    match given.get(ADAPTER) {
        None => Vec::new(),
        Some("local") => {
            let reason = "this node is alone unless redis.url is set".to_owned();
            vec![Unused(ADAPTER, reason)]
        }
        Some("redis") => soketi_redis(given).unwrap_or_else(|refused| vec![refused]),
        Some(other) => {
            let reason = format!(
                "is {other:?}, but nodes meet only in Redis: set it to redis, with SOKETI_DB_REDIS_HOST, or to local for a node alone"
            );
            vec![Refused(ADAPTER, reason)]
        }
    }
}

/// Where soketi's Redis is, and what answers there.
fn soketi_redis(given: Given<'_>) -> Result<Vec<Outcome>, Outcome> {
    let place = Place {
        scheme: "redis",
        username: given.get("SOKETI_DB_REDIS_USERNAME"),
        password: given.get("SOKETI_DB_REDIS_PASSWORD"),
        host: given.get("SOKETI_DB_REDIS_HOST").unwrap_or("127.0.0.1"),
        port: given.get("SOKETI_DB_REDIS_PORT"),
        path: given.get("SOKETI_DB_REDIS_DB"),
    };
    let mut names = vec![ADAPTER];
    let mut outcomes = Vec::new();
    let several = |name| given.get(name).map(|text| redis_nodes(place, name, text));
    let url = if let Some(urls) = several("SOKETI_DB_REDIS_SENTINELS") {
        let sentinels = "SOKETI_DB_REDIS_SENTINELS";
        outcomes.push(Sets(vec![sentinels], "redis.mode", "sentinel".into()));
        let master = "SOKETI_DB_REDIS_INSTANCE_NAME";
        let name = given.get(master).unwrap_or("mymaster").into();
        let of_master = given.among(&[master]);
        let of_master = if of_master.is_empty() {
            vec![sentinels]
        } else {
            of_master
        };
        outcomes.push(Sets(of_master, "redis.sentinel_master", name));
        names.push(sentinels);
        urls?
    } else if given.is_on(CLUSTER_MODE) {
        outcomes.push(Sets(vec![CLUSTER_MODE], "redis.mode", "cluster".into()));
        names.extend(given.among(&["SOKETI_DB_REDIS_CLUSTER_NODES"]));
        several("SOKETI_DB_REDIS_CLUSTER_NODES")
            .transpose()?
            .unwrap_or_else(|| place.url())
    } else {
        names.extend(given.among(&["SOKETI_DB_REDIS_HOST", "SOKETI_DB_REDIS_PORT"]));
        place.url()
    };
    names.extend(given.among(&[
        "SOKETI_DB_REDIS_USERNAME",
        "SOKETI_DB_REDIS_PASSWORD",
        "SOKETI_DB_REDIS_DB",
    ]));
    outcomes.push(Sets(names, "redis.url", url.into()));
    for (name, key) in [
        (
            "SOKETI_DB_REDIS_SENTINEL_PASSWORD",
            "redis.sentinel_password",
        ),
        ("SOKETI_DB_REDIS_KEY_PREFIX", "redis.key_prefix"),
        ("SOKETI_ADAPTER_REDIS_PREFIX", "redis.key_prefix"),
    ] {
        outcomes.extend(
            given
                .get(name)
                .map(|text| Sets(vec![name], key, text.into())),
        );
    }
    Ok(outcomes)
}

/// The addresses of soketi's list, separated by commas.
fn redis_nodes(place: Place<'_>, name: &'static str, text: &str) -> Result<String, Outcome> {
    let Ok(nodes) = serde_json::from_str::<Vec<RedisNode>>(text) else {
        return Err(Refused(name, REDIS_NODES.to_owned()));
    };
    let urls = nodes.iter().map(|RedisNode { host, port }| {
        let port = port.to_string();
        let place = Place {
            host,
            port: Some(&port),
            ..place
        };
        place.url()
    });
    Ok(urls.collect::<Vec<_>>().join(","))
}

/// The variables of one of soketi's databases.
struct SoketiDatabase {
    scheme: &'static str,
    table: &'static str,
    /// Host, port, user, password and name.
    parts: [&'static str; 5],
}

const MYSQL: SoketiDatabase = SoketiDatabase {
    scheme: "mysql",
    table: "SOKETI_APP_MANAGER_MYSQL_TABLE",
    parts: [
        "SOKETI_DB_MYSQL_HOST",
        "SOKETI_DB_MYSQL_PORT",
        "SOKETI_DB_MYSQL_USERNAME",
        "SOKETI_DB_MYSQL_PASSWORD",
        "SOKETI_DB_MYSQL_DATABASE",
    ],
};
const POSTGRES: SoketiDatabase = SoketiDatabase {
    scheme: "postgres",
    table: "SOKETI_APP_MANAGER_POSTGRES_TABLE",
    parts: [
        "SOKETI_DB_POSTGRES_HOST",
        "SOKETI_DB_POSTGRES_PORT",
        "SOKETI_DB_POSTGRES_USERNAME",
        "SOKETI_DB_POSTGRES_PASSWORD",
        "SOKETI_DB_POSTGRES_DATABASE",
    ],
};

fn soketi_apps(given: Given<'_>) -> Vec<Outcome> {
    const DRIVER: &str = "SOKETI_APP_MANAGER_DRIVER";
    let (database, user) = match given.get(DRIVER) {
        None => return Vec::new(),
        Some("array") => {
            let reason = "the apps are those of the configuration".to_owned();
            return vec![Unused(DRIVER, reason)];
        }
        Some("mysql") => (MYSQL, "root"),
        Some("postgres") => (POSTGRES, "postgres"),
        Some(other) => {
            let reason = format!(
                "is {other:?}, but apps can be in MySQL or PostgreSQL, or in the configuration: import them, see docs/migrate/soketi.md"
            );
            return vec![Refused(DRIVER, reason)];
        }
    };
    let [host, port, username, password, name] = database.parts;
    // What soketi takes where nothing is set.
    let place = Place {
        scheme: database.scheme,
        username: given.get(username).or(Some(user)),
        password: given.get(password).or(Some("password")),
        host: given.get(host).unwrap_or("127.0.0.1"),
        port: given.get(port),
        path: given.get(name).or(Some("main")),
    };
    let mut names = vec![DRIVER];
    names.extend(given.among(&database.parts));
    let mut outcomes = vec![
        Sets(names, "database.url", place.url().into()),
        Sets(vec![DRIVER], "database.layout", "soketi".into()),
    ];
    let table = given.get(database.table);
    outcomes.extend(table.map(|text| Sets(vec![database.table], "database.table", text.into())));
    outcomes
}

fn soketi_sign_in(given: Given<'_>) -> Vec<Outcome> {
    const SWITCH: &str = "SOKETI_DEFAULT_APP_USER_AUTHENTICATION";
    const TIMEOUT: &str = "SOKETI_USER_AUTHENTICATION_TIMEOUT";
    if !given.is_on(SWITCH) {
        return Vec::new();
    }
    let time = match given.get(TIMEOUT).map(|text| (text, text.parse::<i64>())) {
        None => ValueKind::I64(30),
        Some((_, Ok(milliseconds))) => ValueKind::I64(seconds(milliseconds)),
        Some((text, Err(_))) => text.into(),
    };
    let mut names = vec![SWITCH];
    names.extend(given.among(&[TIMEOUT]));
    vec![Sets(names, "apps.authorization_timeout_s", time)]
}

fn laravel_cluster(given: Given<'_>) -> Vec<Outcome> {
    const SCALING: &str = "REVERB_SCALING_ENABLED";
    const MODE: &str = "WEBSOCKETS_REPLICATION_MODE";
    const CONNECTION: &str = "WEBSOCKETS_REDIS_REPLICATION_CONNECTION";
    let switch = match given.get(MODE) {
        _ if given.is_on(SCALING) => SCALING,
        None | Some("local") => return Vec::new(),
        Some("redis") => MODE,
        Some(other) => {
            let reason = format!("is {other:?}, but it can be local or redis");
            return vec![Refused(MODE, reason)];
        }
    };
    if let Some(connection) = given.get(CONNECTION).filter(|name| *name != "default") {
        let reason = format!(
            "is {connection:?}, a connection of config/database.php, which is not read: set LOUDHAILER_REDIS__URL and remove it"
        );
        return vec![Refused(CONNECTION, reason)];
    }
    let mut names = vec![switch];
    let url = match given.get("REDIS_URL") {
        Some(url) => {
            names.push("REDIS_URL");
            url.strip_prefix("tls://")
                .map_or_else(|| url.to_owned(), |rest| format!("rediss://{rest}"))
        }
        None => {
            let host = given.get("REDIS_HOST").unwrap_or("127.0.0.1");
            let (scheme, host) = match host.strip_prefix("tls://") {
                Some(host) => ("rediss", host),
                None => ("redis", host),
            };
            names.extend(given.among(&REDIS_PARTS));
            let place = Place {
                scheme,
                username: given.get("REDIS_USERNAME"),
                password: given.get("REDIS_PASSWORD"),
                host,
                port: given.get("REDIS_PORT"),
                path: given.get("REDIS_DB"),
            };
            place.url()
        }
    };
    let mut outcomes = vec![Sets(names, "redis.url", url.into())];
    let channel = "REVERB_SCALING_CHANNEL";
    let prefix = given.get(channel);
    outcomes.extend(prefix.map(|text| Sets(vec![channel], "redis.key_prefix", text.into())));
    outcomes
}

const REDIS_PARTS: [&str; 5] = [
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_DB",
];

fn reverb_rate(given: Given<'_>) -> Vec<Outcome> {
    const SWITCH: &str = "REVERB_APP_RATE_LIMITING_ENABLED";
    const ATTEMPTS: &str = "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS";
    const DECAY: &str = "REVERB_APP_RATE_LIMIT_DECAY_SECONDS";
    const TERMINATE: &str = "REVERB_APP_RATE_LIMIT_TERMINATE";
    if !given.is_on(SWITCH) {
        return Vec::new();
    }
    let number = |name| given.get(name).unwrap_or("60").parse::<u32>();
    let rate = match (number(ATTEMPTS), number(DECAY)) {
        (Ok(attempts), Ok(decay @ 1..)) => ValueKind::I64(attempts.div_ceil(decay).into()),
        (Ok(_), _) => return vec![Refused(DECAY, "must be a number of seconds".to_owned())],
        (Err(_), _) => return vec![Refused(ATTEMPTS, "must be a number".to_owned())],
    };
    let mut names = vec![SWITCH];
    names.extend(given.among(&[ATTEMPTS, DECAY]));
    let mut outcomes = vec![Sets(names, "apps.max_messages_per_second", rate)];
    if given.get(TERMINATE).is_some() {
        let reason = "always on: a client that stays too fast for 30 s is closed with 4100";
        outcomes.push(Unused(TERMINATE, reason.to_owned()));
    }
    outcomes
}

#[cfg(test)]
impl Group {
    /// The key that a variable has a part in.
    pub(super) fn key_of(self, name: &str) -> &'static str {
        match (self, name) {
            (_, "SOKETI_DB_REDIS_SENTINEL_PASSWORD") => "redis.sentinel_password",
            (_, "SOKETI_DB_REDIS_INSTANCE_NAME") => "redis.sentinel_master",
            (_, CLUSTER_MODE) => "redis.mode",
            (_, "SOKETI_DB_REDIS_KEY_PREFIX" | "SOKETI_ADAPTER_REDIS_PREFIX")
            | (_, "REVERB_SCALING_CHANNEL") => "redis.key_prefix",
            (Self::SoketiCluster | Self::LaravelCluster, _) => "redis.url",
            (Self::SoketiApps, name) if name.ends_with("_TABLE") => "database.table",
            (Self::SoketiApps, _) => "database.url",
            (Self::SoketiSignIn, _) => "apps.authorization_timeout_s",
            (Self::ReverbRate, _) => "apps.max_messages_per_second",
        }
    }

    /// When the group counts, in words.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::SoketiCluster => {
                "with `SOKETI_ADAPTER_DRIVER=redis`; `local` is a node alone, `cluster` and `nats` are an error"
            }
            Self::SoketiApps => {
                "with `SOKETI_APP_MANAGER_DRIVER` `mysql` or `postgres`, whose table stays soketi's (`database.layout`); `array` is this configuration, `dynamodb` an error"
            }
            Self::SoketiSignIn => {
                "30 s with `SOKETI_DEFAULT_APP_USER_AUTHENTICATION` on; milliseconds there. A private or presence channel will do, too"
            }
            Self::LaravelCluster => {
                "with `REVERB_SCALING_ENABLED` on or `WEBSOCKETS_REPLICATION_MODE=redis`; else Laravel's Redis is left alone"
            }
            Self::ReverbRate => {
                "with `REVERB_APP_RATE_LIMITING_ENABLED` on: attempts by seconds. A faster client is read more slowly, not refused, and after 30 s closed"
            }
        }
    }
}
