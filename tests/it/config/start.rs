//! What the start prints.

use std::net::TcpListener;

use crate::support::{
    app::App,
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
};

/// What a start had printed when it was ready, and the public port.
fn printed(setup: Setup) -> (String, u16) {
    let mut server = TestServer::start(setup);
    let port = server.public.port();
    server.terminate();
    server.expect_clean_exit();
    (server.process.stdout(), port)
}

#[test]
fn the_apps_are_printed_without_their_secrets() {
    let apps = [
        App::new("1001", "first-key"),
        App::new("1002", "second-key"),
    ];
    let (text, _) = printed(Setup::new().app(apps[0].clone()).app(apps[1].clone()));
    for app in &apps {
        assert!(text.contains(&app.id) && text.contains(&app.key), "{text}");
        assert!(!text.contains(&app.secret), "{text}");
    }
}

#[test]
fn the_env_block_and_the_echo_options_are_for_this_very_address() {
    let (text, port) = printed(Setup::new());
    let port = port.to_string();
    for word in [
        "PUSHER_APP_ID=",
        "PUSHER_APP_KEY=",
        "PUSHER_HOST=",
        "PUSHER_SCHEME=http",
    ] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    assert!(text.contains(&format!("PUSHER_PORT={port}")), "{text}");
    for word in ["broadcaster", "wsHost", "wsPort", "key-of-1001"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    assert!(text.matches(&port).count() >= 3, "{text}");
}

#[test]
fn a_path_prefix_shows_in_the_echo_options() {
    let (text, _) = printed(Setup::new().set("server.path_prefix", "/ws"));
    assert!(text.contains("wsPath") && text.contains("/ws"), "{text}");
}

#[test]
fn the_lines_are_plain_whatever_the_log_format() {
    for format in ["text", "json"] {
        let (text, port) = printed(Setup::new().set("log.format", format));
        let line = format!("Listening on http://127.0.0.1:{port}");
        assert!(text.lines().any(|printed| printed == line), "{text}");
        assert!(!text.contains('\u{1b}'), "colours on a pipe: {text:?}");
    }
}

#[test]
fn every_interface_may_be_served_with_an_own_app() {
    let (text, _) = printed(Setup::new().set("server.host", "0.0.0.0"));
    assert!(text.contains("Listening on http://0.0.0.0:"), "{text}");
}

#[test]
fn ipv6_is_served() {
    if TcpListener::bind("[::1]:0").is_err() {
        return; // A machine without IPv6.
    }
    let setup = Setup::new().set("server.host", "::1").app(App::usual());
    let config = ConfigFile::new(&setup.toml());
    let mut process = Process::start(&["--config", config.path()], &[]);
    process.wait_stdout("an IPv6 address", |text| {
        text.contains("Listening on http://[::1]:").then_some(())
    });
    process.signal("TERM");
    let status = process.wait_exit(crate::support::stream::PATIENCE);
    assert!(status.is_some_and(|status| status.success()));
}
