//! Other servers' variables.

use super::{
    super::aliases::names::{Meaning, NAMES},
    *,
};
use crate::app::Limits;

#[test]
fn an_alias_sets_its_key_and_is_reported() {
    let table = [
        ("PUSHER_APP_ID", "42", "apps[0].id = \"42\"", "id: \"42\""),
        (
            "PUSHER_APP_KEY",
            "k",
            "apps[0].key = \"k\"",
            "key: Some(\"k\")",
        ),
        ("PUSHER_PORT", "7001", "server.port = 7001", "port: 7001"),
        (
            "LARAVEL_WEBSOCKETS_PORT",
            "7001",
            "server.port = 7001",
            "port: 7001",
        ),
        (
            "SOKETI_HOST",
            "127.0.0.2",
            "server.host = \"127.0.0.2\"",
            "host: Host(127.0.0.2)",
        ),
        ("SOKETI_PORT", "7001", "server.port = 7001", "port: 7001"),
        (
            "LARAVEL_WEBSOCKETS_HOST",
            "127.0.0.2",
            "server.host = \"127.0.0.2\"",
            "host: Host(127.0.0.2)",
        ),
        (
            "PUSHER_APP_PATH",
            "/ws",
            "server.path_prefix = \"/ws\"",
            "path_prefix: PathPrefix(\"/ws\")",
        ),
        (
            "SOKETI_DEBUG",
            "1",
            "log.level = \"debug\"",
            "level: LogFilter(\"debug\")",
        ),
        (
            "SOKETI_SHUTDOWN_GRACE_PERIOD",
            "3001",
            "server.drain_window_s = 4",
            "drain_window_s: 4s",
        ),
        (
            "SOKETI_METRICS_HOST",
            "127.0.0.2",
            "admin.host = \"127.0.0.2\"",
            "host: Host(127.0.0.2)",
        ),
        (
            "SOKETI_METRICS_SERVER_PORT",
            "9700",
            "admin.port = 9700",
            "port: 9700",
        ),
        (
            "SOKETI_PATH_PREFIX",
            "ws/",
            "server.path_prefix = \"/ws\"",
            "path_prefix: PathPrefix(\"/ws\")",
        ),
        (
            "SOKETI_DEFAULT_APP_ID",
            "42",
            "apps[0].id = \"42\"",
            "id: \"42\"",
        ),
        (
            "SOKETI_DEFAULT_APP_KEY",
            "k",
            "apps[0].key = \"k\"",
            "key: Some(\"k\")",
        ),
        (
            "SOKETI_DEFAULT_APP_ENABLED",
            "0",
            "apps[0].enabled = false",
            "enabled: false",
        ),
        (
            "SOKETI_DEFAULT_APP_MAX_CONNS",
            "9",
            "apps[0].max_connections = 9",
            "max_connections: Some(9)",
        ),
        (
            "SOKETI_DEFAULT_APP_MAX_CONNS",
            "-1",
            "apps[0].max_connections: no limit",
            "max_connections: None",
        ),
        (
            "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES",
            "true",
            "apps[0].client_events = true",
            "client_events: true",
        ),
        (
            "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
            "20",
            "apps[0].max_client_events_per_second = 20",
            "max_client_events_per_second: 20",
        ),
        (
            "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
            "-1",
            "apps[0].max_client_events_per_second = 4294967295",
            "max_client_events_per_second: 4294967295",
        ),
        (
            "SOKETI_EVENT_MAX_SIZE_IN_KB",
            "100",
            "apps[0].max_event_data_bytes = 102400",
            "max_event_data_bytes: 102400",
        ),
        (
            "SOKETI_EVENT_MAX_NAME_LENGTH",
            "50",
            "apps[0].max_event_name_length = 50",
            "max_event_name_length: 50",
        ),
        (
            "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE",
            "7",
            "apps[0].max_event_channels = 7",
            "max_event_channels: 7",
        ),
        (
            "SOKETI_EVENT_MAX_BATCH_SIZE",
            "7",
            "apps[0].max_batch_events = 7",
            "max_batch_events: 7",
        ),
        (
            "SOKETI_PRESENCE_MAX_MEMBERS",
            "7",
            "apps[0].max_presence_members = 7",
            "max_presence_members: 7",
        ),
        (
            "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
            "2",
            "apps[0].max_presence_user_info_bytes = 2048",
            "max_presence_user_info_bytes: 2048",
        ),
        (
            "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
            "100",
            "apps[0].max_channel_name_length = 100",
            "max_channel_name_length: 100",
        ),
        (
            "SOKETI_CHANNEL_CACHE_TTL",
            "3600",
            "apps[0].cache_ttl_s = 3600",
            "cache_ttl_s: 3600s",
        ),
        (
            "SOKETI_METRICS_PROMETHEUS_PREFIX",
            "soketi_",
            "metrics.prefix = \"soketi_\"",
            "prefix: MetricsPrefix(\"soketi\")",
        ),
        (
            "SOKETI_DEFAULT_APP_WEBHOOKS",
            r#"[{"url":"http://a.test/hidden","event_types":["cache_miss"],"headers":{"X-A":"hidden"},
                "filter":{"channel_name_starts_with":"a","channel_name_ends_with":"b"}}]"#,
            "apps[0].webhooks",
            "webhooks: [WebhookEndpoint { url: http://a.test/…, event_types: {CacheMiss}, \
             channel_starts_with: \"a\", channel_ends_with: \"b\", headers: 1 }]",
        ),
        (
            "SOKETI_WEBHOOKS_BATCHING",
            "true",
            "apps[0].webhook_batching = true",
            "webhook_batching: true",
        ),
        (
            "REVERB_SERVER_HOST",
            "::1",
            "server.host = \"::1\"",
            "host: Host(::1)",
        ),
        (
            "REVERB_SERVER_PORT",
            "8080",
            "server.port = 8080",
            "port: 8080",
        ),
        (
            "REVERB_SERVER_PATH",
            "/ws",
            "server.path_prefix = \"/ws\"",
            "path_prefix: PathPrefix(\"/ws\")",
        ),
        (
            "REVERB_MAX_REQUEST_SIZE",
            "10000",
            "server.max_request_bytes = 10000",
            "max_request_bytes: 10000",
        ),
        (
            "REVERB_ALLOWED_ORIGINS",
            "a.test, b.test",
            "apps[0].allowed_origins = [\"a.test\", \"b.test\"]",
            "allowed_origins: [OriginPattern { scheme: None, host: \"a.test\"",
        ),
        (
            "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
            "5",
            "apps[0].max_backend_events_per_second = 5",
            "max_backend_events_per_second: Some(5)",
        ),
        (
            "SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC",
            "-1",
            "apps[0].max_read_requests_per_second: no limit",
            "max_read_requests_per_second: None",
        ),
        ("REVERB_APP_ID", "42", "apps[0].id = \"42\"", "id: \"42\""),
        (
            "REVERB_APP_KEY",
            "k",
            "apps[0].key = \"k\"",
            "key: Some(\"k\")",
        ),
        (
            "REVERB_APP_MAX_CONNECTIONS",
            "9",
            "apps[0].max_connections = 9",
            "max_connections: Some(9)",
        ),
        (
            "REVERB_APP_MAX_MESSAGE_SIZE",
            "10000",
            "websocket.max_message_bytes = 10000",
            "max_message_bytes: 10000",
        ),
        (
            "REVERB_APP_ACTIVITY_TIMEOUT",
            "30",
            "websocket.activity_timeout_s = 30",
            "activity_timeout_s: 30s",
        ),
        (
            "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
            "all",
            "apps[0].client_events = true",
            "client_events: true",
        ),
        (
            "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
            "members",
            "apps[0].client_events = true",
            "client_events: true",
        ),
        (
            "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
            "none",
            "apps[0].client_events = false",
            "client_events: false",
        ),
        (
            "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT",
            "/ws.crt",
            "server.tls.cert = \"/ws.crt\", server.tls.port = 6001, server.tls.plain = \"off\"",
            "cert: Some(\"/ws.crt\")",
        ),
        (
            "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK",
            "/ws.key",
            "server.tls.key = \"/ws.key\"",
            "key: Some(\"/ws.key\")",
        ),
        (
            "SOKETI_SSL_CERT",
            "/ws.crt",
            "server.tls.cert = \"/ws.crt\", server.tls.port = 6001, server.tls.plain = \"off\"",
            "cert: Some(\"/ws.crt\")",
        ),
        (
            "SOKETI_SSL_KEY",
            "/ws.key",
            "server.tls.key = \"/ws.key\"",
            "key: Some(\"/ws.key\")",
        ),
    ];
    for (name, value, set, part) in table {
        let loaded = from_variables(&with_credentials(name, value)).expect(name);
        let expected = Alias {
            name: name.to_owned(),
            set: set.to_owned(),
        };
        let aliases = &loaded.understood.aliases;
        assert!(aliases.contains(&expected), "{name}: {aliases:?}");
        let shown = format!("{:?}", loaded.config);
        assert!(
            shown.contains(part),
            "{name}={value}: no {part:?} in {shown}"
        );
    }
    let known: std::collections::BTreeSet<_> = table.iter().map(|row| row.0).collect();
    for (name, meaning) in NAMES {
        assert!(
            !matches!(meaning, Meaning::Sets(..))
                || known.contains(name)
                || name.ends_with("_SECRET"),
            "{name} is not tested"
        );
    }
}

/// The variable; with the others of its app if it is an id, key or secret, and with the other file of a certificate.
fn with_credentials<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let of = |other: &'a str| (other, if other == name { value } else { "other" });
    let names = match name {
        "SOKETI_SSL_CERT" | "SOKETI_SSL_KEY" => {
            return ["SOKETI_SSL_CERT", "SOKETI_SSL_KEY"].map(of).to_vec();
        }
        "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT" | "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK" => {
            let names = [
                "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT",
                "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK",
            ];
            return names.map(of).to_vec();
        }
        "PUSHER_APP_ID" | "PUSHER_APP_KEY" | "PUSHER_APP_SECRET" => {
            ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"]
        }
        "REVERB_APP_ID" | "REVERB_APP_KEY" | "REVERB_APP_SECRET" => {
            ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET"]
        }
        "SOKETI_DEFAULT_APP_ID" | "SOKETI_DEFAULT_APP_KEY" | "SOKETI_DEFAULT_APP_SECRET" => [
            "SOKETI_DEFAULT_APP_ID",
            "SOKETI_DEFAULT_APP_KEY",
            "SOKETI_DEFAULT_APP_SECRET",
        ],
        _ => return vec![(name, value)],
    };
    names.map(of).to_vec()
}

/// #16: what the file or a `LOUDHAILER_…` variable says of ports holds.
#[test]
fn a_certificate_of_another_server_leaves_our_own_settings_alone() {
    let theirs = [
        ("SOKETI_SSL_CERT", "/ws.crt"),
        ("SOKETI_SSL_KEY", "/ws.key"),
        ("SOKETI_PORT", "7001"),
    ];
    for (ours, tls_port, has_plain_port) in [
        (vec![], 7001, false),
        (vec![("LOUDHAILER_SERVER__PORT", "7002")], 7001, true),
        (vec![("LOUDHAILER_SERVER__TLS__PORT", "7003")], 7003, false),
    ] {
        let loaded = from_variables(&[&theirs[..], &ours].concat()).expect("it is valid");
        let server = loaded.config.server;
        assert_eq!(server.tls.port, tls_port, "{ours:?}");
        assert_eq!(server.has_plain_port(), has_plain_port, "{ours:?}");
    }
    let ours = [
        ("LOUDHAILER_SERVER__TLS__CERT", "/own.crt"),
        ("LOUDHAILER_SERVER__TLS__KEY", "/own.key"),
    ];
    let server = from_variables(&[&theirs[..], &ours].concat());
    let server = server.expect("it is valid").config.server;
    assert_eq!((server.port, server.tls.port), (7001, 6443));
    assert!(server.has_plain_port());
}

#[test]
fn an_alias_of_the_secret_is_reported_without_its_value() {
    for name in [
        "PUSHER_APP_SECRET",
        "SOKETI_DEFAULT_APP_SECRET",
        "REVERB_APP_SECRET",
    ] {
        let loaded = from_variables(&with_credentials(name, "hidden")).expect(name);
        assert_eq!(
            loaded.config.apps[0]
                .shown_key(Moment::now())
                .expect("a key")
                .secret
                .expose_str(),
            "hidden"
        );
        let expected = Alias {
            name: name.to_owned(),
            set: "apps[0].secret".to_owned(),
        };
        assert!(loaded.understood.aliases.contains(&expected));
    }
}

#[test]
fn a_bad_alias_is_refused_by_its_name() {
    for (name, value, expected) in [
        (
            "PUSHER_PORT",
            "https",
            "PUSHER_PORT: server.port must be a whole number from 0 to 65535, not \"https\"",
        ),
        (
            "SOKETI_HOST",
            "soketi",
            "SOKETI_HOST: server.host must be an IP address to listen on, such as 127.0.0.1 or 0.0.0.0, not \"soketi\"",
        ),
        (
            "REVERB_APP_MAX_CONNECTIONS",
            "0",
            "REVERB_APP_MAX_CONNECTIONS: apps[0].max_connections must be at least 1; leave it out for no limit",
        ),
        (
            "SOKETI_EVENT_MAX_SIZE_IN_KB",
            "1.5",
            "SOKETI_EVENT_MAX_SIZE_IN_KB: apps[0].max_event_data_bytes must be a whole number from 1 to 4294967295, not \"1.5\"",
        ),
        (
            "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
            "some",
            "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM: apps[0].client_events must be true or false, not \"some\"",
        ),
        (
            "PUSHER_APP_KEY",
            "a b",
            "PUSHER_APP_KEY: apps[0].key may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not \"a b\"",
        ),
    ] {
        let given = with_credentials(name, value);
        let error = from_variables(&given).expect_err(name).to_string();
        assert_eq!(error, expected);
    }
}

#[test]
fn aliases_that_disagree_are_refused_until_something_stronger_decides() {
    let ports = [("PUSHER_PORT", "8443"), ("SOKETI_PORT", "6001")];
    let error = from_variables(&ports)
        .expect_err("they disagree")
        .to_string();
    assert_eq!(
        error,
        "PUSHER_PORT and SOKETI_PORT set server.port to different values; remove one, or set LOUDHAILER_SERVER__PORT"
    );
    let decided = from_variables(&[ports[0], ports[1], ("LOUDHAILER_SERVER__PORT", "7001")]);
    assert_eq!(decided.expect("ours decides").config.server.port, 7001);
    let decided = load("[server]\nport = 7002", &ports);
    assert_eq!(decided.expect("the file decides").config.server.port, 7002);

    let keys = [
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "k"),
        ("PUSHER_APP_SECRET", "hidden1"),
        ("REVERB_APP_SECRET", "hidden2"),
    ];
    let error = from_variables(&keys)
        .expect_err("they disagree")
        .to_string();
    assert_eq!(
        error,
        "PUSHER_APP_SECRET and REVERB_APP_SECRET set apps[0].secret to different values; \
         remove one, or list the app in a configuration file"
    );
    load(OWN_APP, &keys).expect("the file decides");

    let agreed = from_variables(&[("PUSHER_PORT", "7001"), ("SOKETI_PORT", "7001")]);
    assert_eq!(agreed.expect("they agree").understood.aliases.len(), 2);
}

#[test]
fn what_is_stronger_than_an_alias_is_named() {
    let pairs = [
        ("PUSHER_APP_KEY", "k"),
        ("SOKETI_HOST", "127.0.0.2"),
        ("SOKETI_PORT", "7001"),
        ("LOUDHAILER_SERVER__PORT", "7002"),
    ];
    let file = TempFile::new(&format!("[server]\nhost = \"127.0.0.3\"\n{OWN_APP}"));
    let loaded = Config::load(Some(&file.0), &variables(&pairs)).expect("all are valid");
    assert_eq!(loaded.config.server.host.to_string(), "127.0.0.3");
    assert_eq!(
        (loaded.config.server.port, key_of(&loaded.config.apps[0])),
        (7002, "k1")
    );
    assert!(loaded.understood.aliases.is_empty());
    let file = file.0.display();
    let reasons: Vec<_> = loaded
        .understood
        .unused
        .into_iter()
        .map(|u| (u.name, u.reason))
        .collect();
    let expected = [
        (
            "PUSHER_APP_KEY".to_owned(),
            format!("the apps are those of {file}:3:1"),
        ),
        (
            "SOKETI_HOST".to_owned(),
            format!("{file}:2:8 sets server.host"),
        ),
        (
            "SOKETI_PORT".to_owned(),
            "LOUDHAILER_SERVER__PORT sets server.port".to_owned(),
        ),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn aliases_of_one_app_make_one_app() {
    let loaded = from_variables(&[
        ("SOKETI_HOST", "0.0.0.0"),
        ("PUSHER_APP_ID", "42"),
        ("REVERB_APP_KEY", "k"),
        ("SOKETI_DEFAULT_APP_SECRET", "hidden"),
    ]);
    let apps = loaded
        .expect("own credentials may listen anywhere")
        .config
        .apps;
    assert_eq!(apps.len(), 1);
    assert_eq!((&*apps[0].id, key_of(&apps[0])), ("42", "k"));
    assert_eq!(apps[0].limits, Limits::default());
}

#[test]
fn empty_and_null_aliases_are_no_aliases() {
    for value in ["", " ", "null", "(null)", "NULL", "empty", "(empty)"] {
        let loaded = from_variables(&[
            ("PUSHER_APP_KEY", value),
            ("REVERB_APP_MAX_CONNECTIONS", value),
            ("SOKETI_MODE", value),
            ("SOKETI_SSL_CERT", value),
        ]);
        let understood = loaded.expect(value).understood;
        assert!(
            understood.aliases.is_empty() && understood.unused.is_empty(),
            "{value:?}"
        );
    }
}

/// What variables come to that several set together; `understood` is each name's line.
#[track_caller]
fn comes_to(given: &[(&str, &str)], understood: &[(&str, &str)], part: &str) {
    let loaded = from_variables(given).unwrap_or_else(|error| panic!("{given:?}: {error}"));
    for (name, set) in understood {
        let expected = Alias {
            name: (*name).to_owned(),
            set: (*set).to_owned(),
        };
        let aliases = &loaded.understood.aliases;
        assert!(
            aliases.contains(&expected),
            "no {expected:?} in {aliases:?}"
        );
    }
    let written = loaded.config.write(Secrets::Shown).to_string();
    assert!(written.contains(part), "no {part} in {written}");
}

/// #16: the variables were left out, so that a cluster became single nodes.
#[test]
fn soketis_redis_is_redis() {
    let one = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        ("SOKETI_DB_REDIS_HOST", "redis.test"),
        ("SOKETI_DB_REDIS_PORT", "6380"),
        ("SOKETI_DB_REDIS_DB", "2"),
        ("SOKETI_DB_REDIS_USERNAME", "user"),
        ("SOKETI_DB_REDIS_PASSWORD", "p@ss/word"),
        ("SOKETI_DB_REDIS_KEY_PREFIX", "shop"),
    ];
    comes_to(
        &one,
        &[
            ("SOKETI_ADAPTER_DRIVER", "redis.url"),
            ("SOKETI_DB_REDIS_PASSWORD", "redis.url"),
            ("SOKETI_DB_REDIS_KEY_PREFIX", "redis.key_prefix = \"shop\""),
        ],
        r#""url":"redis://user:p%40ss%2Fword@redis.test:6380/2""#,
    );
    comes_to(
        &[("SOKETI_ADAPTER_DRIVER", "redis")],
        &[],
        r#""url":"redis://127.0.0.1""#,
    );
    let sentinels = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        (
            "SOKETI_DB_REDIS_SENTINELS",
            r#"[{"host":"a.test","port":26379},{"host":"::1","port":26380}]"#,
        ),
        ("SOKETI_DB_REDIS_INSTANCE_NAME", "main"),
        ("SOKETI_DB_REDIS_SENTINEL_PASSWORD", "hidden"),
    ];
    comes_to(
        &sentinels,
        &[
            (
                "SOKETI_DB_REDIS_SENTINELS",
                "redis.mode = \"sentinel\", redis.url",
            ),
            (
                "SOKETI_DB_REDIS_INSTANCE_NAME",
                "redis.sentinel_master = \"main\"",
            ),
            (
                "SOKETI_DB_REDIS_SENTINEL_PASSWORD",
                "redis.sentinel_password",
            ),
        ],
        r#""url":"redis://a.test:26379,redis://[::1]:26380""#,
    );
    let cluster = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        ("SOKETI_ADAPTER_REDIS_CLUSTER_MODE", "true"),
        (
            "SOKETI_DB_REDIS_CLUSTER_NODES",
            r#"[{"host":"a.test","port":7000}]"#,
        ),
    ];
    comes_to(&cluster, &[], r#""mode":"cluster""#);
    comes_to(&cluster, &[], r#""url":"redis://a.test:7000""#);
}

/// #16
#[test]
fn reverbs_scaling_is_redis() {
    comes_to(
        &[
            ("REVERB_SCALING_ENABLED", "true"),
            ("REVERB_SCALING_CHANNEL", "shop"),
            ("REDIS_HOST", "tls://redis.test"),
            ("REDIS_PASSWORD", "hidden"),
        ],
        &[
            ("REVERB_SCALING_ENABLED", "redis.url"),
            ("REDIS_PASSWORD", "redis.url"),
            ("REVERB_SCALING_CHANNEL", "redis.key_prefix = \"shop\""),
        ],
        r#""url":"rediss://:hidden@redis.test""#,
    );
    comes_to(
        &[
            ("WEBSOCKETS_REPLICATION_MODE", "redis"),
            ("REDIS_URL", "redis://redis.test/1"),
        ],
        &[("REDIS_URL", "redis.url")],
        r#""url":"redis://redis.test/1""#,
    );
    let alone = from_variables(&[
        ("REVERB_SCALING_ENABLED", "false"),
        ("REDIS_HOST", "redis.test"),
    ]);
    let alone = alone.expect("no scaling");
    assert!(alone.config.redis.is_none());
    let unused: Vec<_> = alone.understood.unused.iter().map(|it| &*it.name).collect();
    assert_eq!(
        unused,
        ["REVERB_SCALING_ENABLED"],
        "Laravel's Redis is its own matter"
    );
}

/// #16
#[test]
fn other_groups_set_their_keys() {
    comes_to(
        &[
            ("REVERB_APP_RATE_LIMITING_ENABLED", "true"),
            ("REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS", "90"),
            ("REVERB_APP_RATE_LIMIT_TERMINATE", "true"),
        ],
        &[(
            "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS",
            "apps[0].max_messages_per_second = 2",
        )],
        "",
    );
    comes_to(
        &[
            ("SOKETI_DEFAULT_APP_USER_AUTHENTICATION", "1"),
            ("SOKETI_USER_AUTHENTICATION_TIMEOUT", "5000"),
        ],
        &[(
            "SOKETI_USER_AUTHENTICATION_TIMEOUT",
            "apps[0].authorization_timeout_s = 5",
        )],
        "",
    );
}

/// #16
#[cfg(feature = "mysql")]
#[test]
fn soketis_database_is_a_database() {
    let given = [
        ("SOKETI_APP_MANAGER_DRIVER", "mysql"),
        ("SOKETI_APP_MANAGER_MYSQL_TABLE", "ws_apps"),
        ("SOKETI_DB_MYSQL_HOST", "db.test"),
        ("SOKETI_DB_MYSQL_PASSWORD", "hidden"),
        ("SOKETI_DEFAULT_APP_KEY", "ignored"),
    ];
    comes_to(
        &given,
        &[("SOKETI_DB_MYSQL_HOST", "database.url")],
        r#""layout":"soketi""#,
    );
    comes_to(&given, &[], r#""url":"mysql://root:hidden@db.test/main""#);
    let unused = from_variables(&given).expect("valid").understood.unused;
    assert_eq!(unused[0].reason, "the apps are those of database.url");
}

/// #16: what would be missed must not be left out.
#[test]
fn what_is_dangerous_to_leave_out_is_refused() {
    for (name, value) in [
        ("SOKETI_SSL_CERT", "/cert.pem"),
        ("LARAVEL_WEBSOCKETS_SSL_LOCAL_PK", "/key.pem"),
        ("SOKETI_ADAPTER_DRIVER", "nats"),
        ("SOKETI_ADAPTER_DRIVER", "cluster"),
        ("SOKETI_APP_MANAGER_DRIVER", "dynamodb"),
        ("SOKETI_MODE", "worker"),
        ("WEBSOCKETS_REPLICATION_MODE", "other"),
        ("SOKETI_ADAPTER_REDIS_PUB_OPTIONS", "{}"),
    ] {
        let error = from_variables(&[(name, value)])
            .expect_err(name)
            .to_string();
        assert!(
            error.starts_with(name) && error.lines().count() == 1,
            "{error}"
        );
    }
    let nodes = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        ("SOKETI_DB_REDIS_SENTINELS", "a.test:26379"),
    ];
    let error = from_variables(&nodes).expect_err("no JSON").to_string();
    assert!(
        error.starts_with("SOKETI_DB_REDIS_SENTINELS must be a JSON list"),
        "{error}"
    );
    let other = [
        ("REVERB_SCALING_ENABLED", "true"),
        ("WEBSOCKETS_REDIS_REPLICATION_CONNECTION", "pubsub"),
    ];
    let error = from_variables(&other)
        .expect_err("another connection")
        .to_string();
    assert!(error.contains("LOUDHAILER_REDIS__URL"), "{error}");
}

/// #16: the demo secret signed for a key of one's own, and behind a proxy that was open to the world.
#[test]
fn an_app_of_variables_gets_nothing_of_the_demo_apps() {
    for (given, expected) in [
        (
            &[("REVERB_APP_ID", "7"), ("REVERB_APP_KEY", "prodkey")][..],
            "REVERB_APP_ID: apps[0].secret is missing: set REVERB_APP_SECRET",
        ),
        (
            &[("PUSHER_APP_ID", "7")],
            "PUSHER_APP_ID: apps[0].key is missing: set PUSHER_APP_KEY\n\
             PUSHER_APP_ID: apps[0].secret is missing: set PUSHER_APP_SECRET",
        ),
        (
            &[
                ("SOKETI_DEFAULT_APP_SECRET", "hidden"),
                ("SOKETI_DEFAULT_APP_KEY", "k"),
            ],
            "SOKETI_DEFAULT_APP_KEY: apps[0].id is missing: set SOKETI_DEFAULT_APP_ID",
        ),
        (
            &[
                ("LOUDHAILER_APPS__0__KEY", "k"),
                ("LOUDHAILER_APPS__0__ID", "1"),
            ],
            "LOUDHAILER_APPS__0__ID: apps[0].secret is missing: set LOUDHAILER_APPS__0__SECRET",
        ),
    ] {
        let error = from_variables(given)
            .expect_err("a part is missing")
            .to_string();
        assert_eq!(error, expected);
    }
    let limits = from_variables(&[("SOKETI_DEFAULT_APP_ENABLED", "false")]);
    assert!(limits.expect("no credentials").understood.is_demo);
}

/// #16: `PUSHER_PORT=443` is Laravel's default.
#[test]
fn a_proxys_port_is_not_listened_on() {
    let loaded = from_variables(&[("PUSHER_PORT", "443"), ("SOKETI_PORT", "7001")]);
    let loaded = loaded.expect("they do not disagree");
    assert_eq!(loaded.config.server.port, 7001);
    let unused = &loaded.understood.unused;
    assert_eq!(unused.len(), 1, "{unused:?}");
    assert!(
        unused[0].reason.contains("LOUDHAILER_SERVER__PORT=443"),
        "{unused:?}"
    );
}

/// #16: nothing said that clients use another port than the server.
#[test]
fn where_clients_connect_is_compared_with_where_the_server_listens() {
    for (given, expected) in [
        (
            &[
                ("REVERB_HOST", "localhost"),
                ("REVERB_PORT", "8080"),
                ("REVERB_SCHEME", "http"),
            ][..],
            "Clients connect to http://localhost:8080 (REVERB_HOST, REVERB_PORT, REVERB_SCHEME), but this server listens on port 6001: \
             set LOUDHAILER_SERVER__PORT=8080, or REVERB_PORT=6001 for the app, unless a proxy forwards one to the other",
        ),
        (
            &[("PUSHER_HOST", "ws.test")],
            "Clients connect to https://ws.test:443 (PUSHER_HOST); this server listens on port 6001 without TLS: \
             a proxy with a certificate must forward from there to here",
        ),
        (
            &[
                ("PUSHER_HOST", "::1"),
                ("PUSHER_PORT", "6002"),
                ("PUSHER_SCHEME", "http"),
            ],
            "Clients connect to http://[::1]:6002 (PUSHER_HOST, PUSHER_PORT, PUSHER_SCHEME); this server listens on port 6002",
        ),
        (
            &[
                ("PUSHER_APP_HOST", "ws.test"),
                ("PUSHER_APP_PORT", "6001"),
                ("PUSHER_APP_SCHEME", "https"),
            ],
            "Clients connect to https://ws.test:6001 (PUSHER_APP_HOST, PUSHER_APP_PORT, PUSHER_APP_SCHEME), but this server listens on \
             port 6001 without TLS: set PUSHER_APP_SCHEME=http for the app, or give the port to a proxy with a certificate and \
             LOUDHAILER_SERVER__PORT to this server",
        ),
    ] {
        let notes = from_variables(given).expect("valid").understood.notes;
        assert_eq!(notes, [expected.to_owned()]);
    }
    let notes = from_variables(&[("PUSHER_PORT", "6001")])
        .expect("valid")
        .understood
        .notes;
    assert_eq!(notes, [""; 0], "a port alone is the server's");
}

/// #16: a Laravel app that was once on Pusher has both.
#[test]
fn the_broadcaster_decides_between_two_apps() {
    let both = [
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "pushers"),
        ("PUSHER_APP_SECRET", "hidden1"),
        ("REVERB_APP_ID", "2"),
        ("REVERB_APP_KEY", "reverbs"),
        ("REVERB_APP_SECRET", "hidden2"),
    ];
    for (name, broadcaster, key) in [
        ("BROADCAST_CONNECTION", "reverb", "reverbs"),
        ("BROADCAST_DRIVER", "pusher", "pushers"),
    ] {
        let given = [&both[..], &[(name, broadcaster)]].concat();
        let loaded = from_variables(&given).expect(broadcaster);
        assert_eq!(key_of(&loaded.config.apps[0]), key);
        assert_eq!(
            loaded.understood.unused.len(),
            3,
            "{:?}",
            loaded.understood.unused
        );
    }
    from_variables(&both).expect_err("nothing decides");
}

/// #16: nothing is left out without a line.
#[test]
fn every_name_of_another_server_is_told_of() {
    for (name, meaning) in NAMES {
        let value = match meaning {
            Meaning::Only(words, ..) => words[0],
            _ => "1",
        };
        let lines = match from_variables(&with_credentials(name, value)) {
            Ok(loaded) => format!("{:?}", loaded.understood),
            Err(error) => error.to_string(),
        };
        assert!(
            lines.contains(name) || name.starts_with("REDIS_"),
            "{name}: {lines}"
        );
    }
    let unknown = from_variables(&[
        ("SOKETI_PROT", "1"),
        ("REVERB_NEW_THING", "1"),
        ("PUSHER_BEAMS", "x"),
    ]);
    let unused = unknown.expect("nothing is ours").understood.unused;
    let reasons: Vec<_> = unused.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "no server has such a setting",
            "no server has such a setting",
            "no server has such a setting; did you mean SOKETI_PORT?",
        ]
    );
}
