//! The commands beside serving.

use std::net::TcpListener;

use super::check;
use crate::support::{
    app::App,
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
};

#[test]
fn version_is_printed() {
    let finished = Process::run(&["--version"], &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        finished.stdout.trim_end(),
        concat!("loudhailer ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_names_every_command() {
    let finished = Process::run(&["--help"], &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for word in [
        "--config",
        "check-config",
        "default-config",
        "apps",
        "trigger",
        "batch",
        "subscribe",
        "channels",
        "channel",
        "users",
        "terminate",
        "auth",
        "webhook",
        "doctor",
        "completions",
        "man",
        "--version",
    ] {
        assert!(
            finished.stdout.contains(word),
            "{word} is missing:\n{}",
            finished.stdout
        );
    }
}

#[test]
fn an_unknown_argument_is_an_error() {
    for arguments in [&["--nonsense"][..], &["nonsense"], &["--config"]] {
        let finished = Process::run(arguments, &[]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(!finished.stderr.is_empty());
    }
}

#[test]
fn check_config_says_yes_without_starting() {
    let (finished, _) = check(&Setup::new().usual_with("client_events", true).toml(), &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stdout.contains("Listening on"), "{finished:?}");
}

/// #13 row 8.
#[test]
fn check_config_warns_of_keys_that_are_not_lower_case() {
    let apps = Setup::new()
        .app(App::new("1", "MyKey"))
        .app(App::new("2", "my-key.2"));
    let (finished, _) = check(&apps.toml(), &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let warnings = finished.stdout.lines();
    let warnings: Vec<_> = warnings
        .filter(|line| line.starts_with("Warning"))
        .collect();
    assert_eq!(warnings.len(), 1, "{finished:?}");
    assert!(warnings[0].contains("MyKey"), "{warnings:?}");
}

#[test]
fn check_config_works_without_a_file() {
    let finished = Process::run(&["check-config"], &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn the_default_configuration_is_valid_and_changes_nothing() {
    let printed = Process::run(&["default-config"], &[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let (finished, _) = check(&printed.stdout, &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for key in [
        "[server]",
        "[websocket]",
        "[api]",
        "[admin]",
        "[log]",
        "[[apps]]",
        "activity_timeout_s",
        "cache_ttl_s",
    ] {
        assert!(
            printed.stdout.contains(key),
            "{key} is missing:\n{}",
            printed.stdout
        );
    }
    let config = ConfigFile::new(&printed.stdout);
    let ports = [
        ("LOUDHAILER_SERVER__PORT", "0"),
        ("LOUDHAILER_ADMIN__PORT", "0"),
    ];
    let server = TestServer::launch(&["--config", config.path()], &ports);
    assert!(server.process.stdout().contains("app-key"));
}

#[test]
fn the_default_configuration_with_every_comment_taken_as_setting_is_valid() {
    let printed = Process::run(&["default-config"], &[]).stdout;
    let lines = printed.lines().map(|line| match line.strip_prefix("# ") {
        // The apps are either in the file or in a database.
        Some(setting) if setting.starts_with("url = \"postgres:") => line,
        Some(heading) if heading.starts_with('[') && heading.ends_with(']') => heading,
        Some(setting)
            if setting
                .split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(' ')) =>
        {
            setting
        }
        _ => line,
    });
    let toml = lines.collect::<Vec<_>>().join("\n");
    let (finished, _) = check(&toml, &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}\n{toml}");
}

#[test]
fn a_port_in_use_is_a_start_failure_and_no_configuration_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for key in ["server.port", "admin.port"] {
        let config = ConfigFile::new(&Setup::new().set(key, port).toml());
        let finished = Process::run(&["--config", config.path()], &[]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(
            finished.stderr.contains(&port.to_string()),
            "{}",
            finished.stderr
        );
        assert!(
            !finished.stdout.contains("Listening on"),
            "{}",
            finished.stdout
        );
    }
}

/// #16: it named no listener, and nothing of what else a start sets up.
#[test]
fn check_config_says_what_a_start_would_set_up() {
    let setup = Setup::new()
        .set("server.port", 7001)
        .set("server.path_prefix", "/ws")
        .set("admin.port", 7002)
        .set("redis.url", "redis://:hidden@redis.test:6380/2")
        .usual_with("client_events", true);
    let (finished, _) = check(&setup.toml(), &[]);
    for line in [
        "Listeners: clients and backends on http://127.0.0.1:7001, also below /ws; admin on http://127.0.0.1:7002, for this machine only",
        "Redis: redis.test:6380 (one server), keys begin with \"loudhailer\"",
        "Apps: 1 in the configuration",
    ] {
        assert!(
            finished.stdout.lines().any(|it| it == line),
            "no {line:?} in {}",
            finished.stdout
        );
    }
    for word in [
        "TLS: ",
        "Limits: connections no limit, per address no limit",
    ] {
        assert!(finished.stdout.contains(word), "{finished:?}");
    }
    assert!(!finished.stdout.contains("hidden"), "{finished:?}");
}

/// #16
#[test]
fn check_config_tries_what_a_start_does_first() {
    let bind = |setup: &Setup| {
        let config = ConfigFile::new(&setup.toml());
        Process::run(&["check-config", "--bind", "--config", config.path()], &[])
    };
    let fine = bind(&Setup::new());
    assert_eq!(fine.code, Some(0), "{fine:?}");
    assert!(fine.stdout.contains("would start"), "{fine:?}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let failed = bind(
        &Setup::new()
            .set("server.port", address.port())
            .set("redis.url", "redis://127.0.0.1:1"),
    );
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let listen = format!("cannot listen on {address} (server.port)");
    for reason in [
        listen.as_str(),
        "another process listens there",
        "cannot reach Redis at 127.0.0.1:1",
    ] {
        assert!(failed.stderr.contains(reason), "{failed:?}");
    }
    assert!(failed.stdout.contains("Tried admin.port"), "{failed:?}");
}
