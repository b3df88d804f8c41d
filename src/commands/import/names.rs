//! Where soketi's JSON and the PHP files of Laravel's servers have what a variable of theirs says, too.

use crate::config::Reading;
use Reading::{AnyRate, ClientEvents, Kilobytes, NoLimit, Same, Webhooks};

/// What a file of a kind holds.
pub(super) struct Names {
    /// Which server's it is.
    pub(super) server: &'static str,
    /// Where its apps are listed.
    pub(super) apps: &'static str,
    /// Paths, and the variables that say the same.
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// Keys of an app, and ours.
    pub(super) app: &'static [(&'static str, &'static str, Reading)],
    /// How paths begin, an app's too, of what is not carried over, and why.
    pub(super) without: &'static [(&'static str, &'static str)],
}

pub(super) const SOKETI: Names = Names {
    server: "soketi",
    apps: "appManager.array.apps",
    variables: &[
        ("host", "SOKETI_HOST"),
        ("port", "SOKETI_PORT"),
        ("pathPrefix", "SOKETI_PATH_PREFIX"),
        ("mode", "SOKETI_MODE"),
        ("debug", "SOKETI_DEBUG"),
        ("shutdownGracePeriod", "SOKETI_SHUTDOWN_GRACE_PERIOD"),
        (
            "userAuthenticationTimeout",
            "SOKETI_USER_AUTHENTICATION_TIMEOUT",
        ),
        ("ssl.certPath", "SOKETI_SSL_CERT"),
        ("ssl.keyPath", "SOKETI_SSL_KEY"),
        ("ssl.passphrase", "SOKETI_SSL_PASS"),
        ("ssl.caPath", "SOKETI_SSL_CA"),
        ("adapter.driver", "SOKETI_ADAPTER_DRIVER"),
        ("adapter.redis.prefix", "SOKETI_ADAPTER_REDIS_PREFIX"),
        (
            "adapter.redis.clusterMode",
            "SOKETI_ADAPTER_REDIS_CLUSTER_MODE",
        ),
        (
            "adapter.redis.redisPubOptions",
            "SOKETI_ADAPTER_REDIS_PUB_OPTIONS",
        ),
        (
            "adapter.redis.redisSubOptions",
            "SOKETI_ADAPTER_REDIS_SUB_OPTIONS",
        ),
        ("database.redis.host", "SOKETI_DB_REDIS_HOST"),
        ("database.redis.port", "SOKETI_DB_REDIS_PORT"),
        ("database.redis.db", "SOKETI_DB_REDIS_DB"),
        ("database.redis.username", "SOKETI_DB_REDIS_USERNAME"),
        ("database.redis.password", "SOKETI_DB_REDIS_PASSWORD"),
        ("database.redis.keyPrefix", "SOKETI_DB_REDIS_KEY_PREFIX"),
        ("database.redis.sentinels", "SOKETI_DB_REDIS_SENTINELS"),
        (
            "database.redis.sentinelPassword",
            "SOKETI_DB_REDIS_SENTINEL_PASSWORD",
        ),
        (
            "database.redis.clusterNodes",
            "SOKETI_DB_REDIS_CLUSTER_NODES",
        ),
        ("database.redis.name", "SOKETI_DB_REDIS_INSTANCE_NAME"),
        ("database.mysql.host", "SOKETI_DB_MYSQL_HOST"),
        ("database.mysql.port", "SOKETI_DB_MYSQL_PORT"),
        ("database.mysql.user", "SOKETI_DB_MYSQL_USERNAME"),
        ("database.mysql.password", "SOKETI_DB_MYSQL_PASSWORD"),
        ("database.mysql.database", "SOKETI_DB_MYSQL_DATABASE"),
        ("database.postgres.host", "SOKETI_DB_POSTGRES_HOST"),
        ("database.postgres.port", "SOKETI_DB_POSTGRES_PORT"),
        ("database.postgres.user", "SOKETI_DB_POSTGRES_USERNAME"),
        ("database.postgres.password", "SOKETI_DB_POSTGRES_PASSWORD"),
        ("database.postgres.database", "SOKETI_DB_POSTGRES_DATABASE"),
        ("appManager.driver", "SOKETI_APP_MANAGER_DRIVER"),
        ("appManager.mysql.table", "SOKETI_APP_MANAGER_MYSQL_TABLE"),
        (
            "appManager.postgres.table",
            "SOKETI_APP_MANAGER_POSTGRES_TABLE",
        ),
        (
            "channelLimits.maxNameLength",
            "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
        ),
        ("channelLimits.cacheTtl", "SOKETI_CHANNEL_CACHE_TTL"),
        ("eventLimits.maxPayloadInKb", "SOKETI_EVENT_MAX_SIZE_IN_KB"),
        ("eventLimits.maxNameLength", "SOKETI_EVENT_MAX_NAME_LENGTH"),
        (
            "eventLimits.maxChannelsAtOnce",
            "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE",
        ),
        ("eventLimits.maxBatchSize", "SOKETI_EVENT_MAX_BATCH_SIZE"),
        (
            "presence.maxMembersPerChannel",
            "SOKETI_PRESENCE_MAX_MEMBERS",
        ),
        (
            "presence.maxMemberSizeInKb",
            "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
        ),
        ("webhooks.batching.enabled", "SOKETI_WEBHOOKS_BATCHING"),
        ("metrics.enabled", "SOKETI_METRICS_ENABLED"),
        ("metrics.host", "SOKETI_METRICS_HOST"),
        ("metrics.port", "SOKETI_METRICS_SERVER_PORT"),
        (
            "metrics.prometheus.prefix",
            "SOKETI_METRICS_PROMETHEUS_PREFIX",
        ),
        ("queue.driver", "SOKETI_QUEUE_DRIVER"),
        ("rateLimiter.driver", "SOKETI_RATE_LIMITER_DRIVER"),
        ("cache.driver", "SOKETI_CACHE_DRIVER"),
    ],
    app: &[
        ("id", "id", Same),
        ("key", "key", Same),
        ("secret", "secret", Same),
        ("enabled", "enabled", Same),
        ("enableClientMessages", "client_events", Same),
        ("maxConnections", "max_connections", NoLimit),
        (
            "maxBackendEventsPerSecond",
            "max_backend_events_per_second",
            NoLimit,
        ),
        (
            "maxClientEventsPerSecond",
            "max_client_events_per_second",
            AnyRate,
        ),
        (
            "maxReadRequestsPerSecond",
            "max_read_requests_per_second",
            NoLimit,
        ),
        (
            "maxPresenceMembersPerChannel",
            "max_presence_members",
            AnyRate,
        ),
        (
            "maxPresenceMemberSizeInKb",
            "max_presence_user_info_bytes",
            Kilobytes,
        ),
        ("maxChannelNameLength", "max_channel_name_length", AnyRate),
        ("maxEventChannelsAtOnce", "max_event_channels", AnyRate),
        ("maxEventNameLength", "max_event_name_length", AnyRate),
        ("maxEventPayloadInKb", "max_event_data_bytes", Kilobytes),
        ("maxEventBatchSize", "max_batch_events", AnyRate),
        ("webhooks", "webhooks", Webhooks),
    ],
    without: &[
        ("adapter.nats", "nodes meet in Redis, not in NATS"),
        ("cluster", "nodes meet in Redis, not by multicast"),
        (
            "cors",
            "every origin may use the HTTP API, whose requests are signed",
        ),
        ("httpApi.requestLimitInMb", "set server.max_request_bytes"),
        ("httpApi", "/accept-traffic does not look at memory"),
        ("queue", "webhooks wait in this node's memory"),
        ("rateLimiter", "limits count on each node"),
        (
            "databasePooling",
            "one connection to the database is enough",
        ),
        (
            "enableUserAuthentication",
            "set authorization_timeout_s, the seconds within which a client must sign in or enter a private or presence channel",
        ),
    ],
};

pub(super) const LARAVEL_WEBSOCKETS: Names = Names {
    server: "laravel-websockets",
    apps: "apps",
    variables: &[
        ("dashboard.port", "LARAVEL_WEBSOCKETS_PORT"),
        ("dashboard.domain", "LARAVEL_WEBSOCKETS_DOMAIN"),
        ("dashboard.path", "LARAVEL_WEBSOCKETS_PATH"),
        ("path", "LARAVEL_WEBSOCKETS_PATH"),
        ("replication.mode", "WEBSOCKETS_REPLICATION_MODE"),
        (
            "replication.modes.redis.connection",
            "WEBSOCKETS_REDIS_REPLICATION_CONNECTION",
        ),
        ("ssl.local_cert", "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT"),
        ("ssl.local_pk", "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK"),
        ("ssl.capath", "LARAVEL_WEBSOCKETS_SSL_CA"),
        ("ssl.passphrase", "LARAVEL_WEBSOCKETS_SSL_PASSPHRASE"),
    ],
    app: &[
        ("id", "id", Same),
        ("name", "name", Same),
        ("key", "key", Same),
        ("secret", "secret", Same),
        ("capacity", "max_connections", NoLimit),
        ("enable_client_messages", "client_events", Same),
        ("allowed_origins", "allowed_origins", Same),
    ],
    without: &[
        ("managers", "apps are in this file or in a database"),
        ("app_provider", "apps are in this file or in a database"),
        ("channel_manager", "nodes meet in Redis (redis.url)"),
        ("replication.modes", "nodes meet in Redis (redis.url)"),
        (
            "dashboard.middleware",
            "the dashboard is on the admin listener",
        ),
        ("middleware", "the dashboard is on the admin listener"),
        ("statistics", "metrics are on the admin listener"),
        ("enable_statistics", "metrics are on the admin listener"),
        ("handlers", "they are PHP classes"),
        ("promise_resolver", "it is a PHP class"),
        ("ssl.verify_peer", "clients are not asked for certificates"),
        (
            "ssl.allow_self_signed",
            "clients are not asked for certificates",
        ),
        ("host", "it says where clients connect"),
        (
            "path",
            "set server.path_prefix if clients connect below a path",
        ),
        (
            "max_request_size_in_kb",
            "set websocket.max_message_bytes (1024 times it) if clients send more than 64 KiB",
        ),
        ("allowed_origins", "set allowed_origins of the apps"),
    ],
};

pub(super) const REVERB: Names = Names {
    server: "Reverb",
    apps: "apps.apps",
    variables: &[
        ("servers.reverb.host", "REVERB_SERVER_HOST"),
        ("servers.reverb.port", "REVERB_SERVER_PORT"),
        ("servers.reverb.path", "REVERB_SERVER_PATH"),
        ("servers.reverb.max_request_size", "REVERB_MAX_REQUEST_SIZE"),
        ("servers.reverb.scaling.enabled", "REVERB_SCALING_ENABLED"),
        ("servers.reverb.scaling.channel", "REVERB_SCALING_CHANNEL"),
        ("servers.reverb.scaling.server.url", "REDIS_URL"),
        ("servers.reverb.scaling.server.host", "REDIS_HOST"),
        ("servers.reverb.scaling.server.port", "REDIS_PORT"),
        ("servers.reverb.scaling.server.username", "REDIS_USERNAME"),
        ("servers.reverb.scaling.server.password", "REDIS_PASSWORD"),
        ("servers.reverb.scaling.server.database", "REDIS_DB"),
        (
            "servers.reverb.options.tls.local_cert",
            "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT",
        ),
        (
            "servers.reverb.options.tls.local_pk",
            "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK",
        ),
        (
            "servers.reverb.options.tls.passphrase",
            "LARAVEL_WEBSOCKETS_SSL_PASSPHRASE",
        ),
        (
            "servers.reverb.options.tls.cafile",
            "LARAVEL_WEBSOCKETS_SSL_CA",
        ),
    ],
    app: &[
        ("app_id", "id", Same),
        ("key", "key", Same),
        ("secret", "secret", Same),
        ("allowed_origins", "allowed_origins", Same),
        ("max_connections", "max_connections", NoLimit),
        ("accept_client_events_from", "client_events", ClientEvents),
    ],
    without: &[
        ("default", "there is one kind of server"),
        ("servers.reverb.hostname", "it says where clients connect"),
        (
            "servers.reverb.options.tls",
            "clients are not asked for certificates",
        ),
        ("servers.reverb.scaling.server.timeout", "it is fixed"),
        (
            "servers.reverb.pulse_ingest_interval",
            "metrics are on the admin listener",
        ),
        (
            "servers.reverb.telescope_ingest_interval",
            "metrics are on the admin listener",
        ),
        ("apps.provider", "apps are in this file or in a database"),
        ("options", "it says where clients and the backend connect"),
        (
            "ping_interval",
            "a client is pinged once it was silent for websocket.activity_timeout_s",
        ),
        (
            "activity_timeout",
            "set websocket.activity_timeout_s, which is for all apps",
        ),
        (
            "max_message_size",
            "set websocket.max_message_bytes, which is for all apps",
        ),
        (
            "rate_limiting",
            "set max_messages_per_second, which always holds",
        ),
    ],
};
