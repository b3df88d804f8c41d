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
