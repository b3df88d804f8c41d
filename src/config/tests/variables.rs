//! `LOUDHAILER_` variables.

use super::*;

#[test]
fn our_variables_override_the_file() {
    let file = "[server]\nport = 1\nworkers = 2\n[websocket]\nrequire_protocol = true\n";
    let pairs = [
        ("LOUDHAILER_SERVER__PORT", " 7001 "),
        ("LOUDHAILER_SERVER__PATH_PREFIX", "/ws"),
        ("LOUDHAILER_SERVER__MAX_CONNECTIONS", "5"),
        ("LOUDHAILER_SERVER__WORKERS", ""),
        ("LOUDHAILER_WEBSOCKET__REQUIRE_PROTOCOL", "off"),
        ("LOUDHAILER_LOG__FORMAT", "json"),
        ("LOUDHAILER_API__TIMESTAMP_TOLERANCE_S", "60"),
        ("LOUDHAILER_ADMIN__PORT", "0"),
        ("HOME", "/nowhere"),
    ];
    let config = load(file, &pairs).expect("all are valid").config;
    let server = &config.server;
    assert_eq!((server.port, server.path_prefix.0.as_str()), (7001, "/ws"));
    assert_eq!(
        (server.max_connections.map(Count::get), server.workers()),
        (Some(5), 2)
    );
    assert!(!config.websocket.require_protocol);
    assert_eq!((config.log.format, config.admin.port), (LogFormat::Json, 0));
    assert_eq!(config.api.timestamp_tolerance_s.get(), 60);
}

#[test]
fn a_bad_variable_of_ours_is_refused_by_its_name() {
    for (name, value, expected) in [
        (
            "LOUDHAILER_SERVER__PORT",
            "x",
            "LOUDHAILER_SERVER__PORT: server.port must be a whole number from 0 to 65535, not \"x\"",
        ),
        (
            "LOUDHAILER_SERVER__MAX_CONNECTIONS",
            "0",
            "LOUDHAILER_SERVER__MAX_CONNECTIONS: server.max_connections must be at least 1; leave it out for no limit",
        ),
        (
            "LOUDHAILER_WEBSOCKET__REQUIRE_PROTOCOL",
            "maybe",
            "LOUDHAILER_WEBSOCKET__REQUIRE_PROTOCOL: websocket.require_protocol must be true or false, not \"maybe\"",
        ),
        (
            "LOUDHAILER_ADMIN__HOST",
            "10.0.0.1",
            "LOUDHAILER_ADMIN__HOST: admin.host must be a loopback address such as 127.0.0.1, not 10.0.0.1, unless admin.token is set",
        ),
        (
            "LOUDHAILER_SERVER__PROT",
            "1",
            "LOUDHAILER_SERVER__PROT stands for no key; did you mean LOUDHAILER_SERVER__PORT?",
        ),
        (
            "LOUDHAILER_SERVER_PORT",
            "1",
            "LOUDHAILER_SERVER_PORT stands for no key; did you mean LOUDHAILER_SERVER__PORT?",
        ),
        (
            "LOUDHAILER_PORT",
            "1",
            "LOUDHAILER_PORT stands for no key; did you mean LOUDHAILER_SERVER__PORT?",
        ),
        (
            "LOUDHAILER_server__port",
            "1",
            "LOUDHAILER_server__port stands for no key; did you mean LOUDHAILER_SERVER__PORT?",
        ),
        (
            "LOUDHAILER_COLOUR",
            "1",
            "LOUDHAILER_COLOUR stands for no key; `loudhailer default-config` prints every key",
        ),
        (
            "LOUDHAILER_APPS__0__KEY",
            "k 1",
            "LOUDHAILER_APPS__0__KEY: apps[0].key may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not \"k 1\"",
        ),
        (
            "LOUDHAILER_APPS__KEY",
            "k",
            "LOUDHAILER_APPS__KEY stands for no key; did you mean LOUDHAILER_APPS__0__KEY?",
        ),
    ] {
        let app = [
            ("LOUDHAILER_APPS__0__ID", "1"),
            ("LOUDHAILER_APPS__0__SECRET", "s"),
        ];
        let app = if name == "LOUDHAILER_APPS__0__KEY" {
            &app[..]
        } else {
            &app[..0]
        };
        let given = [app, &[(name, value)]].concat();
        let error = from_variables(&given).expect_err(name);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn an_app_is_completed_or_added_by_variables() {
    let pairs = [
        ("LOUDHAILER_APPS__0__SECRET", "from the environment"),
        ("LOUDHAILER_APPS__0__ALLOWED_ORIGINS", "a.test, b.test"),
        ("LOUDHAILER_APPS__0__WEBHOOKS__0__URL", "https://hook.test/"),
        ("LOUDHAILER_APPS__1__ID", "2"),
        ("LOUDHAILER_APPS__1__KEY", "k2"),
        ("LOUDHAILER_APPS__1__SECRET", "s2"),
        (
            "LOUDHAILER_APPS__1__CHANNELS",
            r#"[{"pattern": "a-*", "replay_events": 3}]"#,
        ),
    ];
    let apps = load("[[apps]]\nid = \"1\"\nkey = \"k1\"\n", &pairs);
    let apps = apps.expect("the apps are complete").config.apps;
    assert_eq!(
        apps[0]
            .shown_key(Moment::now())
            .expect("a key")
            .secret
            .expose_str(),
        "from the environment"
    );
    assert_eq!(apps[0].allowed_origins.len(), 2);
    assert_eq!(apps[0].webhooks.len(), 1);
    assert_eq!((&*apps[1].id, key_of(&apps[1])), ("2", "k2"));
    assert!(apps[1].replay("a-1").is_some());

    let skipped = from_variables(&[("LOUDHAILER_APPS__2__ID", "2")]).expect_err("a gap");
    assert_eq!(
        skipped.to_string(),
        "LOUDHAILER_APPS__2__ID skips apps: there are 1, counted from 0"
    );
}

#[test]
fn variables_that_a_cluster_injects_are_nobodys() {
    let loaded = from_variables(&[
        ("LOUDHAILER_PORT", "tcp://10.0.0.7:6001"),
        ("LOUDHAILER_SERVICE_HOST", "10.0.0.7"),
        ("LOUDHAILER_SERVICE_PORT", "6001"),
        ("LOUDHAILER_SERVICE_PORT_HTTP", "6001"),
        ("LOUDHAILER_PORT_6001_TCP", "tcp://10.0.0.7:6001"),
        ("LOUDHAILER_PORT_6001_TCP_ADDR", "10.0.0.7"),
        ("LOUDHAILER_ADMIN_PORT", "tcp://10.0.0.8:9601"),
        ("SOKETI_PORT", "tcp://10.0.0.9:6001"),
        ("SOKETI_SERVICE_HOST", "10.0.0.9"),
        ("PUSHER_PORT", "tcp://10.0.0.9:6001"),
    ]);
    let loaded = loaded.expect("nobody wrote them");
    assert_eq!(loaded.config.server.port, 6001);
    assert!(loaded.understood.aliases.is_empty() && loaded.understood.unused.is_empty());
}
