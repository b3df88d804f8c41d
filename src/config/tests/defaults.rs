//! What is taken, and what it means when it is left out.

use super::*;
use crate::{
    app::{Limits, WebhookTargets},
    settings::{Literal, Takes, fields},
};

#[test]
fn the_defaults_are_these() {
    let config = Config::default();
    let server = &config.server;
    assert_eq!(server.host, Host(IpAddr::from([127, 0, 0, 1])));
    assert_eq!((server.port, server.path_prefix.0.as_str()), (6001, ""));
    assert!(server.workers() >= 1);
    assert_eq!(server.max_request_bytes.get(), 1_048_576);
    assert_eq!(server.drain_window_s.get(), Duration::from_secs(2));
    assert_eq!(server.webhook_allowed_addresses, WebhookTargets::any());
    assert_eq!(
        (config.admin.host, config.admin.port, &config.admin.token),
        (server.host, 9601, &None)
    );
    assert!(config.redis.is_none());
    let [app] = config.apps.as_slice() else {
        panic!("one demo app, not {:?}", config.apps)
    };
    assert_eq!((&*app.id, key_of(app)), (DEMO_ID, DEMO_KEY));
    assert_eq!(
        app.shown_key(Moment::now())
            .expect("a key")
            .secret
            .expose_str(),
        DEMO_SECRET
    );
    assert!(app.enabled && !app.client_events && !app.tls_only && app.allowed_origins.is_empty());
    assert_eq!(app.limits, Limits::default());
    assert_eq!(app.limits.max_event_data_bytes.get(), 10 * 1024);
}

#[test]
fn the_sample_is_a_valid_file_with_the_same_meaning() {
    let written = load(&sample(), &[]).expect("the sample is valid").config;
    assert_eq!(format!("{written:?}"), format!("{:?}", Config::default()));
}

/// Files that are generated from the settings. `UPDATE=1 cargo test --lib generated` writes them.
#[test]
fn generated_files_are_up_to_date() {
    let page = "docs/configuration.md";
    let mut text = fs::read_to_string(in_tree(page)).expect("the page is there");
    for section in fields(Config::FIELDS) {
        replace_tables(&mut text, section, section.name);
    }
    for (file, text) in [("config/loudhailer.toml", sample()), (page, text)] {
        let path = in_tree(file);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).expect("the tree is writable");
        }
        let written = fs::read_to_string(path).expect("the file is there");
        assert!(
            written == text,
            "{file} is out of date: UPDATE=1 cargo test --lib generated"
        );
    }
}

pub(super) fn in_tree(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Puts a section's table, and those of the lists in it, under their headings.
fn replace_tables(page: &mut String, section: &settings::Field, path: &str) {
    let Some(keys) = section.takes.keys() else {
        return;
    };
    let heading = match section.takes {
        Takes::Table(_) => format!("### `[{path}]`"),
        _ => format!("### `[[{path}]]`"),
    };
    let from = page
        .find(&heading)
        .unwrap_or_else(|| panic!("no {heading}"));
    let begin = from + page[from..].find("| Key |").expect("a table");
    let end = begin + page[begin..].find("\n\n").expect("something follows") + 1;
    page.replace_range(begin..end, &settings::sample::markdown(keys));
    for field in fields(keys) {
        replace_tables(page, field, &format!("{path}.{}", field.name));
    }
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
        tcp = true
        unix_socket = "/run/public.sock"
        unix_socket_mode = "600"
        path_prefix = "/ws/"
        workers = 3
        max_connections = 5000
        max_connections_per_ip = 9
        max_clients_per_ip = 19
        max_http_connections = 20
        trusted_proxies = ["10.0.0.0/8", "::1"]
        proxy_protocol = true
        max_request_bytes = 1000
        request_timeout_s = 11
        keep_alive_s = 12
        not_ready_s = 16
        drain_window_s = 0
        webhook_grace_s = 17
        webhook_allowed_addresses = ["loopback"]
        [server.tls]
        cert = "a.pem"
        key = "a.key"
        port = 7443
        plain = "off"
        min_version = "1.3"
        certificates = [{ cert = "b.pem", key = "b.key" }]
        [server.tls.acme]
        domains = ["WS.example.org"]
        terms_of_service_agreed = true
        contact = "mailto:a@example.org"
        directory = "https://ca.test/directory"
        challenge = "tls-alpn-01"
        folder = "acme"
        ca_file = "ca.pem"
        external_account_id = "kid"
        external_account_key = "aGlkZGVu"
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
        tls = { cert = "c.pem", key = "c.key", client_ca = "d.pem" }
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
        webhook_key = "c"
        [[apps.keys]]
        key = "c"
        secret = "hidden too"
        label = "new"
        created = 2026-10-01T12:00:00Z
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
        "host: Host(::1), port: 7001, tcp: true, unix_socket: Some(\"/run/public.sock\"), unix_socket_mode: FileMode(384), path_prefix: PathPrefix(\"/ws\"), workers: 3, max_connections: Some(5000)",
        "max_connections_per_ip: Some(9), max_clients_per_ip: Some(19), max_http_connections: 20, trusted_proxies: [Network(10.0.0.0/8), Network(::1/128)]",
        "proxy_protocol: true, max_request_bytes: 1000, request_timeout_s: 11s",
        "webhook_allowed_addresses: WebhookTargets([Loopback])",
        "tls: ServerTls { cert: Some(\"a.pem\"), key: Some(\"a.key\"), port: 7443, plain: Off, min_version: Tls13",
        "certificates: [Certificate { cert: \"b.pem\", key: \"b.key\" }]",
        "acme: Some(Acme { domains: Domains([Domain(\"ws.example.org\")]), terms_of_service_agreed: true, contact: Some(Contact(\"a@example.org\"))",
        "challenge: TlsAlpn01, folder: \"acme\", ca_file: Some(\"ca.pem\"), external_account_id: Some(\"kid\"), external_account_key: Some(Secret(…)) })",
        "Admin { host: Host(127.0.0.1), port: 0, token: Some(Secret(…)), tls: AdminTls { cert: Some(\"c.pem\")",
        "client_ca: Some(\"d.pem\") }",
        "Metrics { prefix: MetricsPrefix(\"soketi\") }",
        "level: LogFilter(\"warn,loudhailer=trace\"), format: Json",
        "id: \"a\", key: Some(\"b\"), secret: Some(Secret(…)), name: \"Shop\", enabled: false",
        "webhooks: [WebhookEndpoint { url: https://a.test:8443/…, event_types: {MemberAdded, ClientEvent}, channel_starts_with: \"presence-\"",
        "channel_ends_with: \"-eu\", headers: 2 }, WebhookEndpoint { url: http://b.test/…",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let app = &config.apps[0];
    let expected: settings::Json = serde_json::from_str(r#"{
        "id": "a", "key": "b", "name": "Shop", "enabled": false, "client_events": true, "fallbacks": false, "tls_only": true,
        "allowed_origins": ["https://example.com", "*.example.org"], "require_origin": false, "max_connections": 1,
        "max_channel_name_length": 2, "max_event_name_length": 3, "max_event_data_bytes": 4,
        "max_event_channels": 5, "max_batch_events": 6, "max_presence_members": 7,
        "max_presence_user_id_length": 8, "max_presence_user_info_bytes": 9,
        "max_messages_per_second": 18, "max_client_events_per_second": 10, "max_backend_events_per_second": 12,
        "max_read_requests_per_second": 13, "max_channels_per_connection": 14, "authorization_timeout_s": 15,
        "subscription_counts": true, "compression": true, "compression_min_bytes": 16, "watchlists": true,
        "single_session": "refuse", "session_key": "sid", "session_event": "gone", "session_grace_s": 0,
        "cache_ttl_s": 11, "webhook_batching": true, "secret": null, "webhook_key": "c", "keys": [{"key": "c", "secret": null, "label": "new",
        "created": "2026-10-01T12:00:00Z", "disabled": null}],
        "webhooks": [
            {"url": "https://a.test:8443/…", "event_types": ["member_added", "client_event"],
             "channel_starts_with": "presence-", "channel_ends_with": "-eu",
             "headers": {"x-token": null, "x-dotted.name": null}},
            {"url": "http://b.test/…", "event_types": [], "channel_starts_with": "", "channel_ends_with": "",
             "headers": {}}
        ],
        "channels": [
            {"pattern": "private-outman-user-*", "single_session": "replace", "replay_events": 7, "replay_s": null},
            {"pattern": "news-*", "single_session": "off", "replay_events": null, "replay_s": 8}
        ]
    }"#)
    .expect("JSON");
    assert_eq!(app.write(settings::Secrets::Hidden), expected);
    for field in fields(App::FIELDS) {
        assert!(
            expected.get(field.name).is_some(),
            "{} is not tested",
            field.name
        );
    }
    let replay = |channel| app.replay(channel).map(|it| (it.events, it.age.as_secs()));
    assert_eq!(replay("private-outman-user-1"), Some((7, 3600)));
    assert_eq!(replay("news-1"), Some((100, 8)));
    assert_eq!(config.apps[0].allowed_origins.len(), 2);
    assert!(!shown.contains("hidden"), "{shown}");
    let headers: Vec<_> = app.webhooks[0].headers().collect();
    assert_eq!(headers.len(), 3, "the two, and Authorization");
    let whole = app.write(settings::Secrets::Shown);
    assert_eq!(whole["webhooks"][0]["headers"]["x-dotted.name"], "hidden");
    let reread = settings::of_json(whole, "");
    let reread = <App as Setting>::read(&reread, settings::Path::ROOT, &mut Problems::default());
    assert_eq!(reread.as_ref(), Some(&**app), "what is written can be read");
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
            max_batch_events: Literal::of(3),
            ..Limits::default()
        }
    );
    assert_eq!(apps[1].limits, Limits::default());
    assert_eq!((&*apps[1].id, apps[1].name.as_str()), ("2", ""));
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
        assert_eq!(config.server.path_prefix.0, expected, "{prefix}");
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
fn an_app_whose_text_has_not_changed_is_not_read_again() {
    let second = "[[apps]]\nid = \"2\"\nkey = \"k2\"\nsecret = \"s\"\n";
    let third = "[[apps]]\nid = \"3\"\nkey = \"k3\"\nsecret = \"${SECRET}\"\n";
    let file = TempFile::new(&format!("{OWN_APP}{second}{third}"));
    let read = |secret: &str, known: &KnownApps| {
        let loaded = Config::reload(Some(&file.0), &variables(&[("SECRET", secret)]), known);
        loaded.expect("the apps are valid")
    };
    let first = read("one", &KnownApps::default());
    fs::write(
        &file.0,
        format!("[server]\nport = 1\n{OWN_APP}{third}{second}max_batch_events = 3\n"),
    )
    .expect("the file is there");
    let again = read("two", &first.known);
    let [(own, second, third), (own_again, third_again, second_again)] =
        [&first, &again].map(|loaded| {
            let [a, b, c] = loaded.config.apps.as_slice() else {
                panic!("three apps")
            };
            (a, b, c)
        });
    assert!(Arc::ptr_eq(own, own_again));
    assert_eq!(second_again.limits.max_batch_events.get(), 3);
    assert_ne!(second, second_again);
    assert_ne!(third, third_again, "a variable has changed");
}
