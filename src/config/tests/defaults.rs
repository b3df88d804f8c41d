//! What is taken, and what it means when it is left out.

use super::*;
use crate::app::{Limits, WebhookSettings};

#[test]
fn the_sample_says_what_the_defaults_are() {
    let config = Config::default();
    let server = &config.server;
    assert_eq!(server.host, IpAddr::from([127, 0, 0, 1]));
    assert_eq!((server.port, server.path_prefix.as_str()), (6001, ""));
    assert!(server.workers >= 1);
    assert_eq!(
        (server.max_connections, server.max_connections_per_ip),
        (None, None)
    );
    assert!(server.trusted_proxies.is_empty());
    assert_eq!(server.max_request_bytes, 1_048_576);
    let seconds = Duration::from_secs;
    assert_eq!(
        (server.request_timeout, server.keep_alive),
        (seconds(10), seconds(75))
    );
    assert_eq!(
        (server.not_ready, server.drain_window),
        (seconds(0), seconds(2))
    );
    assert_eq!(server.webhook_grace, seconds(5));
    assert_eq!(server.webhook_targets, WebhookTargets::any());
    let websocket = &config.websocket;
    assert_eq!(websocket.activity_timeout, seconds(120));
    assert_eq!(websocket.pong_timeout, seconds(30));
    assert_eq!(
        (websocket.max_message_bytes, websocket.max_outbox_bytes),
        (65_536, 1_048_576)
    );
    assert!(!websocket.require_protocol);
    assert_eq!(config.api.timestamp_tolerance, seconds(600));
    assert_eq!((config.admin.host, config.admin.port), (server.host, 9601));
    assert_eq!(config.admin.token, None);
    assert_eq!(config.metrics.prefix, "loudhailer");
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("info", LogFormat::Text)
    );
    let [app] = config.apps.as_slice() else {
        panic!("one demo app, not {:?}", config.apps)
    };
    assert_eq!((app.id.as_str(), app.key.as_str()), ("1001", DEMO_KEY));
    assert_eq!(app.secret.expose(), DEMO_SECRET.as_bytes());
    assert!(app.enabled && !app.client_events && !app.tls_only && app.allowed_origins.is_empty());
    assert_eq!(app.limits, Limits::default());
    assert_eq!(app.webhooks, WebhookSettings::default());
}

#[test]
fn the_sample_documents_every_key() {
    for key in schema::KEYS {
        let form = match key.kind {
            schema::Kind::Tables(section) => format!("[[{section}]]"),
            _ => format!("{} = ", key.name),
        };
        let is_there = DEFAULT_TOML
            .lines()
            .any(|line| line.trim_start_matches("# ").starts_with(&form));
        assert!(is_there, "{} is not in the sample", key.name);
    }
}

#[test]
fn the_sample_is_a_valid_file_with_the_same_meaning() {
    let written = load(DEFAULT_TOML, &[]).expect("the sample is valid").config;
    assert_eq!(format!("{written:?}"), format!("{:?}", Config::default()));
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in [
        "",
        "# only a comment\n",
        "apps = []",
        "[server]\n[websocket]",
    ] {
        let config = load(text, &[]).expect(text).config;
        assert_eq!(
            format!("{config:?}"),
            format!("{:?}", Config::default()),
            "{text}"
        );
    }
}

#[test]
fn every_key_of_the_file_is_taken() {
    let text = r#"
        [server]
        host = "::1"
        port = 7001
        path_prefix = "/ws/"
        workers = 3
        max_connections = 5000
        max_connections_per_ip = 9
        max_clients_per_ip = 19
        max_http_connections = 20
        trusted_proxies = ["10.0.0.0/8", "::1"]
        max_request_bytes = 1000
        request_timeout_s = 11
        keep_alive_s = 12
        not_ready_s = 16
        drain_window_s = 0
        webhook_grace_s = 17
        webhook_allowed_addresses = ["loopback"]
        [websocket]
        activity_timeout_s = 13
        pong_timeout_s = 14
        max_message_bytes = 2000
        max_outbox_bytes = 3000
        require_protocol = true
        [api]
        timestamp_tolerance_s = 15
        [admin]
        host = "localhost"
        port = 0
        token = "hidden-hidden-hidden"
        [metrics]
        prefix = "soketi_"
        [log]
        level = "warn,loudhailer=trace"
        format = "json"
        [[apps]]
        id = "a"
        key = "b"
        secret = "hidden"
        name = "Shop"
        enabled = false
        client_events = true
        fallbacks = false
        tls_only = true
        allowed_origins = ["https://example.com", "*.example.org"]
        require_origin = false
        max_connections = 1
        max_channel_name_length = 2
        max_event_name_length = 3
        max_event_data_bytes = 4
        max_event_channels = 5
        max_batch_events = 6
        max_presence_members = 7
        max_presence_user_id_length = 8
        max_presence_user_info_bytes = 9
        max_messages_per_second = 18
        max_client_events_per_second = 10
        max_backend_events_per_second = 12
        max_read_requests_per_second = 13
        max_channels_per_connection = 14
        authorization_timeout_s = 15
        subscription_counts = true
        compression = true
        compression_min_bytes = 16
        watchlists = true
        single_session = "refuse"
        session_key = "sid"
        session_event = "gone"
        session_grace_s = 0
        cache_ttl_s = 11
        webhook_batching = true
        [[apps.webhooks]]
        url = "https://user:hidden@a.test:8443/hidden?hidden"
        event_types = ["member_added", "client_event"]
        channel_starts_with = "presence-"
        channel_ends_with = "-eu"
        headers = { X-Token = "hidden", "X-Dotted.Name" = "hidden" }
        [[apps.webhooks]]
        url = "http://b.test"
        [[apps.channels]]
        pattern = "private-outman-user-*"
        single_session = "replace"
        replay_events = 7
        [[apps.channels]]
        pattern = "news-*"
        replay_s = 8
    "#;
    let config = load(text, &[]).expect("every key is known").config;
    let shown = format!("{config:?}");
    for part in [
        "host: ::1, port: 7001, path_prefix: \"/ws\", workers: 3, max_connections: Some(5000)",
        "max_connections_per_ip: Some(9), max_clients_per_ip: Some(19), max_http_connections: 20, trusted_proxies: [10.0.0.0/8, ::1/128]",
        "max_request_bytes: 1000, request_timeout: 11s, keep_alive: 12s, not_ready: 16s, drain_window: 0ns, webhook_grace: 17s",
        "webhook_targets: WebhookTargets([Loopback])",
        "activity_timeout: 13s, pong_timeout: 14s, max_message_bytes: 2000, max_outbox_bytes: 3000",
        "require_protocol: true",
        "timestamp_tolerance: 15s",
        "Admin { host: 127.0.0.1, port: 0, token: Some(Secret(…)) }",
        "Metrics { prefix: \"soketi\" }",
        "level: \"warn,loudhailer=trace\", format: Json",
        "id: \"a\", key: \"b\", secret: Secret(…), name: \"Shop\", enabled: false",
        "client_events: true, fallbacks: false, subscription_counts: true, compression_from_bytes: Some(16), watchlists: true",
        "newest: IsRefused, session_key: \"sid\", event: \"gone\", grace: 0ns",
        "tls_only: true",
        "missing_origin: Allowed",
        "replay: Some(Replay { events: 7, age: 3600s })",
        "replay: Some(Replay { events: 100, age: 8s })",
        "ChannelRule { pattern: \"private-outman-user-*\", single_session: Some(SingleSession { newest: Wins",
        "max_connections: Some(1), max_channel_name_length: 2, max_event_name_length: 3",
        "max_event_data_bytes: 4, max_event_channels: 5, max_batch_events: 6",
        "max_presence_members: 7, max_presence_user_id_length: 8, max_presence_user_info_bytes: 9",
        "max_messages_per_second: 18, max_client_events_per_second: 10, max_backend_events_per_second: Some(12)",
        "max_read_requests_per_second: Some(13), max_channels_per_connection: 14",
        "authorization_timeout: Some(15s), cache_ttl: 11s",
        "batching: true, endpoints: [WebhookEndpoint { url: https://a.test:8443/…",
        "kinds: {MemberAdded, ClientEvent}, channel_starts_with: \"presence-\"",
        "channel_ends_with: \"-eu\", headers: 3 }, WebhookEndpoint { url: http://b.test/…",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert_eq!(config.apps[0].allowed_origins.len(), 2);
    assert!(!shown.contains("hidden"), "{shown}");
    let headers = &config.apps[0].webhooks.endpoints[0].headers;
    assert_eq!(headers["x-dotted.name"], "hidden");
    assert!(headers.contains_key("authorization"));
}

#[test]
fn an_app_gets_the_defaults_of_what_it_leaves_out() {
    let text = format!(
        "{OWN_APP}max_batch_events = 3\n[[apps]]\nid = \"2\"\nkey = \"k2\"\nsecret = \"s\"\n"
    );
    let apps = load(&text, &[]).expect("both are complete").config.apps;
    assert_eq!(
        apps[0].limits,
        Limits {
            max_batch_events: 3,
            ..Limits::default()
        }
    );
    assert_eq!(apps[1].limits, Limits::default());
    assert_eq!((apps[1].id.as_str(), apps[1].name.as_str()), ("2", ""));
}

#[test]
fn a_variable_names_the_file_when_the_command_line_does_not() {
    let (first, second) = (
        TempFile::new("[server]\nport = 1"),
        TempFile::new("[server]\nport = 2"),
    );
    let named = first.0.display().to_string();
    let named = variables(&[("LOUDHAILER_CONFIG", &named)]);
    let loaded = Config::load(None, &named).expect("a valid file");
    assert_eq!(
        (loaded.config.server.port, loaded.understood.file),
        (1, Some(first.0.clone()))
    );
    let loaded = Config::load(Some(&second.0), &named).expect("a valid file");
    assert_eq!(
        (loaded.config.server.port, loaded.understood.file),
        (2, Some(second.0.clone()))
    );
    let none = from_variables(&[("LOUDHAILER_CONFIG", "")]).expect("no file");
    assert_eq!(none.understood.file, None);
}

#[test]
fn what_several_spellings_mean_is_normal() {
    for (prefix, expected) in [
        ("", ""),
        ("/", ""),
        ("/ws", "/ws"),
        ("/ws/", "/ws"),
        ("/a/b//", "/a/b"),
        ("/apple", "/apple"),
    ] {
        let config = load(&format!("[server]\npath_prefix = {prefix:?}"), &[])
            .expect(prefix)
            .config;
        assert_eq!(config.server.path_prefix, expected, "{prefix}");
    }
    for (host, expected) in [
        ("LocalHost", "127.0.0.1"),
        ("127.0.0.9", "127.0.0.9"),
        ("[::1]", "::1"),
        ("::1", "::1"),
    ] {
        let config = load(&format!("[server]\nhost = {host:?}"), &[])
            .expect(host)
            .config;
        assert_eq!(config.server.host.to_string(), expected, "{host}");
    }
    for level in [
        "ERROR",
        "off",
        "debug",
        "info,actix_server=warn",
        "loudhailer::api[request]=trace",
    ] {
        load(&format!("[log]\nlevel = {level:?}"), &[]).expect(level);
    }
    let both_chosen = load("[server]\nport = 0\n[admin]\nport = 0", &[]);
    assert!(
        both_chosen.is_ok(),
        "the system chooses two different ports"
    );
}

#[test]
fn the_documentation_has_every_key_default_and_alias() {
    let page = include_str!("../../../docs/configuration.md");
    let sections: Vec<_> = page.split("\n### `[").collect();
    let mut section = "";
    for line in DEFAULT_TOML.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']);
        } else if let Some((name, value)) =
            line.split_once(" = ").filter(|_| !line.starts_with('#'))
        {
            let table = sections.iter().find(|text| {
                text.trim_start_matches('[')
                    .starts_with(&format!("{section}]"))
            });
            let row = format!("| `{name}` |");
            let row = table.and_then(|table| table.lines().find(|line| line.starts_with(&row)));
            assert!(
                row.is_some_and(|row| row.contains(&format!("`{value}`"))),
                "{section}.{name}: {row:?}"
            );
        }
    }
    for (name, key, _) in super::super::aliases::ALIASES {
        let row = page
            .lines()
            .find(|line| line.contains(&format!("`{name}`")) && line.starts_with("| `"));
        assert!(
            row.is_some_and(|row| row.starts_with(&format!("| `{key}` |"))),
            "{name}: {row:?}"
        );
    }
}
