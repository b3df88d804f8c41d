//! Every name that soketi, Reverb, laravel-websockets and Laravel's Pusher settings have for a server, and what it means here.

use super::{groups::Group, reading::Reading};
use Meaning::{Clients, Grouped, Nothing, Only, Refused, Sets};
use Reading::{
    AnyRate, ClientEvents, DebugLevel, Kilobytes, Milliseconds, NoLimit, Path, PublicPort, Same,
    TlsFile, Webhooks,
};

/// What a name of another server means here.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Meaning {
    /// It sets this key.
    Sets(&'static str, Reading),
    /// It sets keys together with others.
    Grouped(Group),
    /// It says where clients connect, which is compared with where the server listens.
    Clients,
    /// There is nothing to set, and nothing is lost: why.
    Nothing(&'static str),
    /// One of these words changes nothing, for the first reason. Any other is refused, for the second.
    Only(&'static [&'static str], &'static str, &'static str),
    /// To leave it out would be dangerous: what to do instead.
    Refused(&'static str),
}

/// How a name begins that belongs to one of the other servers.
pub(in crate::config) const PREFIXES: [&str; 6] = [
    "SOKETI_",
    "REVERB_",
    "LARAVEL_WEBSOCKETS_",
    "WEBSOCKETS_",
    "PUSHER_APP_",
    "PUSHER_",
];

const QUEUE: &str = "webhooks wait in this node's memory and are sent again until they arrive";
const MULTICAST: &str =
    "nodes meet in Redis, not by multicast: SOKETI_ADAPTER_DRIVER=redis or redis.url";
const NATS: &str = "nodes meet in Redis, not in NATS: SOKETI_ADAPTER_DRIVER=redis or redis.url";
const DYNAMODB: &str = "apps can't be in DynamoDB; see SOKETI_APP_MANAGER_DRIVER";
const PER_NODE: &str = "limits count on each node: divide them by the number of nodes";
const TIMEOUT: &str = "requests between nodes have a fixed time limit";
const CACHE: &str = "always on: cache channels are in Redis if redis.url is set, else in memory";
const POOL: &str = "one connection to the database is enough here";
const ROWS: &str = "always on: apps are in memory, and changes of the table are noticed";
const VERSION: &str = "any version of the database is spoken to";
const DASHBOARD: &str = "the dashboard is on the admin listener (admin.host, admin.port)";
const PULSE: &str =
    "there is no Pulse or Telescope here; metrics and a live feed are on the admin listener";
const PING: &str = "a client is pinged once it was silent for websocket.activity_timeout_s";
const PASSPHRASE: &str =
    "private keys must not be encrypted: decrypt yours with openssl pkey, and remove the variable";
const TLS_CA: &str = "clients are not asked for certificates: a chain belongs behind the certificate in its file, and to demand certificates put a proxy in front";

/// Name, meaning.
pub(in crate::config) const NAMES: &[(&str, Meaning)] = &[
    // Laravel's settings of Pusher, and laravel-websockets'.
    ("PUSHER_APP_ID", Sets("apps.id", Same)),
    ("PUSHER_APP_KEY", Sets("apps.key", Same)),
    ("PUSHER_APP_SECRET", Sets("apps.secret", Same)),
    (
        "PUSHER_APP_CLUSTER",
        Nothing("clients need one, but its value does not matter here"),
    ),
    ("PUSHER_HOST", Clients),
    ("PUSHER_PORT", Sets("server.port", PublicPort)),
    ("PUSHER_SCHEME", Clients),
    ("PUSHER_APP_HOST", Clients),
    ("PUSHER_APP_PORT", Clients),
    ("PUSHER_APP_SCHEME", Clients),
    ("PUSHER_APP_PATH", Sets("server.path_prefix", Path)),
    ("LARAVEL_WEBSOCKETS_PORT", Sets("server.port", Same)),
    ("LARAVEL_WEBSOCKETS_HOST", Sets("server.host", Same)),
    ("LARAVEL_WEBSOCKETS_DOMAIN", Nothing(DASHBOARD)),
    ("LARAVEL_WEBSOCKETS_PATH", Nothing(DASHBOARD)),
    (
        "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT",
        Sets("server.tls.cert", TlsFile),
    ),
    (
        "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK",
        Sets("server.tls.key", TlsFile),
    ),
    ("LARAVEL_WEBSOCKETS_SSL_CA", Refused(TLS_CA)),
    ("LARAVEL_WEBSOCKETS_SSL_PASSPHRASE", Refused(PASSPHRASE)),
    (
        "WEBSOCKETS_REPLICATION_MODE",
        Grouped(Group::LaravelCluster),
    ),
    (
        "WEBSOCKETS_REDIS_REPLICATION_CONNECTION",
        Grouped(Group::LaravelCluster),
    ),
    // Reverb.
    ("REVERB_SERVER", Nothing("there is one kind of server")),
    ("REVERB_SERVER_HOST", Sets("server.host", Same)),
    ("REVERB_SERVER_PORT", Sets("server.port", Same)),
    ("REVERB_SERVER_PATH", Sets("server.path_prefix", Path)),
    ("REVERB_HOST", Clients),
    ("REVERB_PORT", Clients),
    ("REVERB_SCHEME", Clients),
    (
        "REVERB_MAX_REQUEST_SIZE",
        Sets("server.max_request_bytes", Same),
    ),
    ("REVERB_SCALING_ENABLED", Grouped(Group::LaravelCluster)),
    ("REVERB_SCALING_CHANNEL", Grouped(Group::LaravelCluster)),
    ("REVERB_PULSE_INGEST_INTERVAL", Nothing(PULSE)),
    ("REVERB_TELESCOPE_INGEST_INTERVAL", Nothing(PULSE)),
    ("REVERB_ALLOWED_ORIGINS", Sets("apps.allowed_origins", Same)),
    ("REVERB_APP_ID", Sets("apps.id", Same)),
    ("REVERB_APP_KEY", Sets("apps.key", Same)),
    ("REVERB_APP_SECRET", Sets("apps.secret", Same)),
    (
        "REVERB_APP_MAX_CONNECTIONS",
        Sets("apps.max_connections", NoLimit),
    ),
    (
        "REVERB_APP_MAX_MESSAGE_SIZE",
        Sets("websocket.max_message_bytes", Same),
    ),
    (
        "REVERB_APP_ACTIVITY_TIMEOUT",
        Sets("websocket.activity_timeout_s", Same),
    ),
    ("REVERB_APP_PING_INTERVAL", Nothing(PING)),
    (
        "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
        Sets("apps.client_events", ClientEvents),
    ),
    (
        "REVERB_APP_RATE_LIMITING_ENABLED",
        Grouped(Group::ReverbRate),
    ),
    (
        "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS",
        Grouped(Group::ReverbRate),
    ),
    (
        "REVERB_APP_RATE_LIMIT_DECAY_SECONDS",
        Grouped(Group::ReverbRate),
    ),
    (
        "REVERB_APP_RATE_LIMIT_TERMINATE",
        Grouped(Group::ReverbRate),
    ),
    // soketi.
    ("SOKETI_HOST", Sets("server.host", Same)),
    ("SOKETI_PORT", Sets("server.port", Same)),
    ("SOKETI_PATH_PREFIX", Sets("server.path_prefix", Path)),
    ("SOKETI_DEBUG", Sets("log.level", DebugLevel)),
    (
        "SOKETI_MODE",
        Only(
            &["full", "server"],
            "always on: every node serves clients and sends its own webhooks",
            "there are no workers: every node sends its own webhooks, so do not start this one",
        ),
    ),
    (
        "SOKETI_SHUTDOWN_GRACE_PERIOD",
        Sets("server.drain_window_s", Milliseconds),
    ),
    (
        "SOKETI_HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD",
        Nothing("/accept-traffic does not look at memory: server.max_connections bounds it"),
    ),
    ("SOKETI_SSL_CERT", Sets("server.tls.cert", TlsFile)),
    ("SOKETI_SSL_KEY", Sets("server.tls.key", TlsFile)),
    ("SOKETI_SSL_PASS", Refused(PASSPHRASE)),
    ("SOKETI_SSL_CA", Refused(TLS_CA)),
    ("SOKETI_DEFAULT_APP_ID", Sets("apps.id", Same)),
    ("SOKETI_DEFAULT_APP_KEY", Sets("apps.key", Same)),
    ("SOKETI_DEFAULT_APP_SECRET", Sets("apps.secret", Same)),
    ("SOKETI_DEFAULT_APP_ENABLED", Sets("apps.enabled", Same)),
    (
        "SOKETI_DEFAULT_APP_MAX_CONNS",
        Sets("apps.max_connections", NoLimit),
    ),
    (
        "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES",
        Sets("apps.client_events", Same),
    ),
    (
        "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
        Sets("apps.max_client_events_per_second", AnyRate),
    ),
    (
        "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
        Sets("apps.max_backend_events_per_second", NoLimit),
    ),
    (
        "SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC",
        Sets("apps.max_read_requests_per_second", NoLimit),
    ),
    (
        "SOKETI_DEFAULT_APP_USER_AUTHENTICATION",
        Grouped(Group::SoketiSignIn),
    ),
    (
        "SOKETI_USER_AUTHENTICATION_TIMEOUT",
        Grouped(Group::SoketiSignIn),
    ),
    (
        "SOKETI_DEFAULT_APP_WEBHOOKS",
        Sets("apps.webhooks", Webhooks),
    ),
    (
        "SOKETI_WEBHOOKS_BATCHING",
        Sets("apps.webhook_batching", Same),
    ),
    (
        "SOKETI_WEBHOOKS_BATCHING_DURATION",
        Nothing("a batch always takes 50 ms"),
    ),
    (
        "SOKETI_EVENT_MAX_SIZE_IN_KB",
        Sets("apps.max_event_data_bytes", Kilobytes),
    ),
    (
        "SOKETI_EVENT_MAX_NAME_LENGTH",
        Sets("apps.max_event_name_length", Same),
    ),
    (
        "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE",
        Sets("apps.max_event_channels", Same),
    ),
    (
        "SOKETI_EVENT_MAX_BATCH_SIZE",
        Sets("apps.max_batch_events", Same),
    ),
    (
        "SOKETI_PRESENCE_MAX_MEMBERS",
        Sets("apps.max_presence_members", Same),
    ),
    (
        "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
        Sets("apps.max_presence_user_info_bytes", Kilobytes),
    ),
    (
        "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
        Sets("apps.max_channel_name_length", Same),
    ),
    ("SOKETI_CHANNEL_CACHE_TTL", Sets("apps.cache_ttl_s", Same)),
    ("SOKETI_CACHE_DRIVER", Nothing(CACHE)),
    ("SOKETI_CACHE_REDIS_CLUSTER_MODE", Nothing(CACHE)),
    ("SOKETI_CACHE_REDIS_OPTIONS", Nothing(CACHE)),
    (
        "SOKETI_METRICS_ENABLED",
        Nothing("always on: metrics are on the admin listener (admin.host, admin.port)"),
    ),
    ("SOKETI_METRICS_DRIVER", Nothing("always Prometheus")),
    ("SOKETI_METRICS_HOST", Sets("admin.host", Same)),
    ("SOKETI_METRICS_SERVER_PORT", Sets("admin.port", Same)),
    (
        "SOKETI_METRICS_PROMETHEUS_PREFIX",
        Sets("metrics.prefix", Same),
    ),
    ("SOKETI_ADAPTER_DRIVER", Grouped(Group::SoketiCluster)),
    ("SOKETI_ADAPTER_REDIS_PREFIX", Grouped(Group::SoketiCluster)),
    (
        "SOKETI_ADAPTER_REDIS_CLUSTER_MODE",
        Grouped(Group::SoketiCluster),
    ),
    ("SOKETI_ADAPTER_REDIS_REQUESTS_TIMEOUT", Nothing(TIMEOUT)),
    (
        "SOKETI_ADAPTER_REDIS_PUB_OPTIONS",
        Refused("put what it says of the connection into redis.url and remove the variable"),
    ),
    (
        "SOKETI_ADAPTER_REDIS_SUB_OPTIONS",
        Refused("put what it says of the connection into redis.url and remove the variable"),
    ),
    ("SOKETI_ADAPTER_CLUSTER_REQUESTS_TIMEOUT", Nothing(TIMEOUT)),
    ("SOKETI_ADAPTER_NATS_PREFIX", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_SERVERS", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_USER", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_PASSWORD", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_TOKEN", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_TIMEOUT", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_REQUESTS_TIMEOUT", Nothing(NATS)),
    ("SOKETI_ADAPTER_NATS_NODES_NUMBER", Nothing(NATS)),
    ("SOKETI_CLUSTER_CHECK_INTERVAL", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_HOST", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_IGNORE_PROCESS", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_BROADCAST_ADDRESS", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_KEEPALIVE_INTERVAL", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_MASTER_TIMEOUT", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_MULTICAST_ADDRESS", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_NODE_TIMEOUT", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_PORT", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_PREFIX", Nothing(MULTICAST)),
    ("SOKETI_CLUSTER_UNICAST_ADDRESSES", Nothing(MULTICAST)),
    ("SOKETI_DB_REDIS_HOST", Grouped(Group::SoketiCluster)),
    ("SOKETI_DB_REDIS_PORT", Grouped(Group::SoketiCluster)),
    ("SOKETI_DB_REDIS_DB", Grouped(Group::SoketiCluster)),
    ("SOKETI_DB_REDIS_USERNAME", Grouped(Group::SoketiCluster)),
    ("SOKETI_DB_REDIS_PASSWORD", Grouped(Group::SoketiCluster)),
    ("SOKETI_DB_REDIS_KEY_PREFIX", Grouped(Group::SoketiCluster)),
    ("SOKETI_DB_REDIS_SENTINELS", Grouped(Group::SoketiCluster)),
    (
        "SOKETI_DB_REDIS_SENTINEL_PASSWORD",
        Grouped(Group::SoketiCluster),
    ),
    (
        "SOKETI_DB_REDIS_CLUSTER_NODES",
        Grouped(Group::SoketiCluster),
    ),
    (
        "SOKETI_DB_REDIS_INSTANCE_NAME",
        Grouped(Group::SoketiCluster),
    ),
    ("SOKETI_APP_MANAGER_DRIVER", Grouped(Group::SoketiApps)),
    ("SOKETI_APP_MANAGER_CACHE_ENABLED", Nothing(ROWS)),
    ("SOKETI_APP_MANAGER_CACHE_TTL", Nothing(ROWS)),
    ("SOKETI_APP_MANAGER_DYNAMODB_TABLE", Nothing(DYNAMODB)),
    ("SOKETI_APP_MANAGER_DYNAMODB_REGION", Nothing(DYNAMODB)),
    ("SOKETI_APP_MANAGER_DYNAMODB_ENDPOINT", Nothing(DYNAMODB)),
    ("SOKETI_APP_MANAGER_MYSQL_TABLE", Grouped(Group::SoketiApps)),
    ("SOKETI_APP_MANAGER_MYSQL_VERSION", Nothing(VERSION)),
    ("SOKETI_APP_MANAGER_MYSQL_USE_V2", Nothing(VERSION)),
    (
        "SOKETI_APP_MANAGER_POSTGRES_TABLE",
        Grouped(Group::SoketiApps),
    ),
    ("SOKETI_APP_MANAGER_POSTGRES_VERSION", Nothing(VERSION)),
    ("SOKETI_DB_POOLING_ENABLED", Nothing(POOL)),
    ("SOKETI_DB_POOLING_MIN", Nothing(POOL)),
    ("SOKETI_DB_POOLING_MAX", Nothing(POOL)),
    ("SOKETI_DB_MYSQL_HOST", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_MYSQL_PORT", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_MYSQL_USERNAME", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_MYSQL_PASSWORD", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_MYSQL_DATABASE", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_POSTGRES_HOST", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_POSTGRES_PORT", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_POSTGRES_USERNAME", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_POSTGRES_PASSWORD", Grouped(Group::SoketiApps)),
    ("SOKETI_DB_POSTGRES_DATABASE", Grouped(Group::SoketiApps)),
    ("SOKETI_QUEUE_DRIVER", Nothing(QUEUE)),
    ("SOKETI_QUEUE_REDIS_CONCURRENCY", Nothing(QUEUE)),
    ("SOKETI_QUEUE_REDIS_OPTIONS", Nothing(QUEUE)),
    ("SOKETI_QUEUE_REDIS_CLUSTER_MODE", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_REGION", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_CLIENT_OPTIONS", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_URL", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_ENDPOINT", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_PROCESS_BATCH", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_BATCH_SIZE", Nothing(QUEUE)),
    ("SOKETI_QUEUE_SQS_POLLING_WAIT_TIME_MS", Nothing(QUEUE)),
    ("SOKETI_RATE_LIMITER_DRIVER", Nothing(PER_NODE)),
    ("SOKETI_RATE_LIMITER_REDIS_OPTIONS", Nothing(PER_NODE)),
    ("SOKETI_RATE_LIMITER_REDIS_CLUSTER_MODE", Nothing(PER_NODE)),
    // Laravel's Redis, which Reverb and laravel-websockets scale over.
    ("REDIS_URL", Grouped(Group::LaravelCluster)),
    ("REDIS_HOST", Grouped(Group::LaravelCluster)),
    ("REDIS_PORT", Grouped(Group::LaravelCluster)),
    ("REDIS_USERNAME", Grouped(Group::LaravelCluster)),
    ("REDIS_PASSWORD", Grouped(Group::LaravelCluster)),
    ("REDIS_DB", Grouped(Group::LaravelCluster)),
];

#[cfg(test)]
impl Meaning {
    /// The key that a name sets, in Markdown; what there is instead, where it sets none.
    pub(in crate::config) fn described(self, name: &str) -> (String, String) {
        let key = |key: &str| format!("`{key}`");
        match self {
            Sets(path, reading) => (key(path), reading.described().to_owned()),
            Grouped(group) => (key(group.key_of(name)), group.described().to_owned()),
            Clients => (
                "–".to_owned(),
                "where clients connect; the start compares it with where the server listens"
                    .to_owned(),
            ),
            Nothing(reason) => ("–".to_owned(), reason.to_owned()),
            Only(words, reason, otherwise) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                let words = words.join(", ");
                (
                    "–".to_owned(),
                    format!("{words}: {reason}. Others are an error: {otherwise}"),
                )
            }
            Refused(reason) => ("an error".to_owned(), reason.to_owned()),
        }
    }
}
