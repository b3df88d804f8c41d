//! #16: files that other servers' users carry over, written after those that the servers document, in `carried/`. Each starts right, or
//! fails with the line that says why; nothing of it is left out without a line. Comments at the top of a file say what is expected.

use std::{fs, path::PathBuf};

use rustls::ALL_VERSIONS;

use crate::support::{
    app::App,
    authority::{Authority, Issued},
    client::TestClient,
    process::{ConfigFile, Finished, Process},
    redis::{Folder, free_port},
    server::{TestServer, printed_address},
    tunnel::Tunnel,
};

/// How names begin that are for a server of this kind.
const PREFIXES: [&str; 5] = [
    "SOKETI_",
    "REVERB_",
    "LARAVEL_WEBSOCKETS_",
    "WEBSOCKETS_",
    "PUSHER_",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/config/carried")
}

fn file(name: &str) -> String {
    folder().join(name).display().to_string()
}

/// The files of this extension: name and text.
fn files(extension: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder()).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .map(|path| {
            let name = path.file_name().expect("a name").display().to_string();
            (name, fs::read_to_string(&path).expect("text"))
        })
        .collect();
    files.sort();
    files
}

/// What follows `# WORD: ` in comments.
fn expected<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let start = format!("# {word}: ");
    text.lines()
        .filter_map(|line| line.strip_prefix(start.as_str()))
        .collect()
}

#[test]
fn every_env_file_is_taken_or_refused_with_the_reason() {
    let files = files("env");
    assert_eq!(files.len(), 15);
    for (name, text) in files {
        let Finished {
            code,
            stdout,
            stderr,
        } = Process::run(&["check-config", "--env-file", &file(&name)], &[]);
        let errors = expected(&text, "error");
        if errors.is_empty() {
            assert_eq!(code, Some(0), "{name}: {stderr}");
        } else {
            assert_eq!(code, Some(2), "{name}: {stdout}");
            assert_eq!(stderr.lines().count(), errors.len(), "{name}: {stderr}");
        }
        for error in errors {
            let error = format!("error: {error}");
            assert!(
                stderr.lines().any(|line| line.starts_with(&error)),
                "{name}: {stderr}"
            );
        }
        for line in expected(&text, "says") {
            assert!(stdout.contains(line), "{name}: no {line:?} in {stdout}");
        }
        if code == Some(0) {
            nothing_is_left_out(&name, &text, &stdout);
        }
    }
}

/// Each variable that is for a server is named.
#[track_caller]
fn nothing_is_left_out(name: &str, text: &str, stdout: &str) {
    for line in text.lines() {
        let line = line.trim_start_matches("export ");
        let Some((variable, value)) = line.split_once('=') else {
            continue;
        };
        let is_theirs = PREFIXES.iter().any(|prefix| variable.starts_with(prefix));
        if is_theirs && !matches!(value, "" | "null") {
            assert!(
                stdout.contains(variable),
                "{name}: {variable} is left out of {stdout}"
            );
        }
    }
}

#[test]
fn the_app_of_an_env_file_is_served() {
    let mut served = 0;
    for (name, text) in files("env") {
        let Some(app) = expected(&text, "app").pop() else {
            continue;
        };
        let parts: Vec<_> = app.splitn(3, ' ').collect();
        let own_ports = [
            ("LOUDHAILER_SERVER__PORT", "0"),
            ("LOUDHAILER_ADMIN__PORT", "0"),
        ];
        let mut server = TestServer::launch(&["--env-file", &file(&name)], &own_ports);
        server.apps = vec![App::with_secret(parts[0], parts[1], parts[2])];
        let mut client = server.client();
        client.subscribe("private-room");
        server.api().publish("private-room", "order", "");
        client.expect_on("private-room", "order");
        served += 1;
    }
    assert_eq!(served, 6);
}

/// Imports a file and checks what it gives.
#[track_caller]
fn imported(name: &str, environment: &[(&str, &str)]) -> (String, String) {
    let import = Process::run(&["import", &file(name)], environment);
    assert_eq!(import.code, Some(0), "{import:?}");
    let config = ConfigFile::new(&import.stdout);
    let check = Process::run(&["check-config", "--config", config.path()], &[]);
    assert_eq!(check.code, Some(0), "{check:?}\n{}", import.stdout);
    (import.stdout, check.stdout)
}

#[track_caller]
fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|it| it == *line), "no {line:?} in {text}");
    }
}

#[test]
fn soketis_json_becomes_a_file_of_ours() {
    let (toml, checked) = imported("soketi.json", &[]);
    has_lines(
        &toml,
        &[
            "port = 7001",
            "path_prefix = \"/ws\"",
            "drain_window_s = 3",
            "max_connections = 100",
            "client_events = true",
            "event_types = [\"member_added\"]",
            "channel_starts_with = \"presence-\"",
            "# - unheardOf = 7: nothing corresponds to it",
            "# - appManager.array.apps[1].colour = \"red\": nothing corresponds to it",
            "# - metrics.enabled: always on: metrics are on the admin listener (admin.host, admin.port)",
        ],
    );
    assert!(
        toml.contains("cors: every origin may use the HTTP API"),
        "{toml}"
    );
    assert!(
        toml.contains("apps[0].enableUserAuthentication: set authorization_timeout_s"),
        "{toml}"
    );
    assert!(checked.contains("id 2, key second-key"), "{checked}");
    assert!(
        checked.contains("http://127.0.0.1:7001, also below /ws"),
        "{checked}"
    );
}

#[test]
fn the_php_of_laravel_websockets_becomes_a_file_of_ours() {
    let environment = [
        ("PUSHER_APP_ID", "12345"),
        ("PUSHER_APP_KEY", "first-key"),
        ("PUSHER_APP_SECRET", "first-secret"),
        ("LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT", "/etc/ssl/ws.pem"),
    ];
    let (toml, checked) = imported("websockets.php", &environment);
    has_lines(
        &toml,
        &[
            "name = \"Shop\"",
            "allowed_origins = [\"shop.example.com\"]",
            "max_connections = 1000",
            "# - audit (line 58) was not read, because it is an expression: storage_path('websockets.log')",
            "# - managers: apps are in this file or in a database",
            "# - ssl.verify_peer: clients are not asked for certificates",
        ],
    );
    // PHP finds the key in the certificate's file.
    has_lines(
        &toml,
        &[
            "[server.tls]",
            "cert = \"/etc/ssl/ws.pem\"",
            "key = \"/etc/ssl/ws.pem\"",
            "port = 7001",
            "plain = \"off\"",
        ],
    );
    assert!(checked.contains("https://127.0.0.1:7001"), "{checked}");
    assert!(checked.contains("id 12345, key first-key"), "{checked}");
    assert!(checked.contains("id second, key second-key"), "{checked}");
}

#[test]
fn the_php_of_reverb_becomes_a_file_of_ours() {
    let env = ConfigFile::new(
        "REVERB_APP_ID=7\nREVERB_APP_KEY=k\nREVERB_APP_SECRET='s'\nREVERB_SCALING_ENABLED=true\nREDIS_HOST=redis.test\n",
    );
    let import = Process::run(
        &["import", "--env-file", env.path(), &file("reverb.php")],
        &[],
    );
    assert_eq!(import.code, Some(0), "{import:?}");
    has_lines(
        &import.stdout,
        &[
            "port = 8080",
            "url = \"redis://redis.test\"",
            "key_prefix = \"reverb\"",
            "id = \"7\"",
            "allowed_origins = [\"*\"]",
            "client_events = true",
        ],
    );
    let config = ConfigFile::new(&import.stdout);
    let check = Process::run(&["check-config", "--config", config.path()], &[]);
    assert_eq!(check.code, Some(0), "{check:?}\n{}", import.stdout);
}

#[test]
fn an_env_file_becomes_a_file_of_ours() {
    let (toml, checked) = imported("soketi-docker.env", &[]);
    has_lines(
        &toml,
        &[
            "level = \"debug\"",
            "prefix = \"soketi\"",
            "max_event_data_bytes = 102400",
            "# - SOKETI_QUEUE_DRIVER: webhooks wait in this node's memory and are sent again until they arrive",
        ],
    );
    assert!(checked.contains("id some-id, key some-key"), "{checked}");
    let (toml, checked) = imported("soketi-tls.env", &[]);
    has_lines(&toml, &["cert = \"/etc/ssl/ws.crt\"", "port = 6001"]);
    assert!(checked.contains("https://127.0.0.1:6001"), "{checked}");
    let (toml, _) = imported("soketi-tls-passphrase.env", &[]);
    assert!(
        toml.contains("# - NOT CARRIED OVER: SOKETI_SSL_PASS can't be followed"),
        "{toml}"
    );
}

#[test]
fn reverbs_tls_becomes_the_one_port() {
    let php = ConfigFile::new(
        "<?php return ['servers' => ['reverb' => ['host' => '127.0.0.1', 'port' => 8080, 'options' => ['tls' => [\
         'local_cert' => '/etc/ssl/ws.crt', 'local_pk' => '/etc/ssl/ws.key', 'verify_peer' => false]]]]];",
    );
    let path = PathBuf::from(php.path()).with_extension("php");
    fs::rename(php.path(), &path).unwrap();
    let import = Process::run(&["import", &path.display().to_string()], &[]);
    fs::remove_file(path).unwrap();
    assert_eq!(import.code, Some(0), "{import:?}");
    has_lines(
        &import.stdout,
        &[
            "key = \"/etc/ssl/ws.key\"",
            "port = 8080",
            "plain = \"off\"",
            "# - servers.reverb.options.tls: clients are not asked for certificates",
        ],
    );
}

/// Another server's port has TLS alone, as it had there, and no port without is opened.
#[test]
fn the_certificate_of_an_env_file_is_served_on_its_port_alone() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let Issued {
        cert_file,
        key_file,
    } = authority.issue(&folder, "server");
    for [port, cert, key] in [
        ["SOKETI_PORT", "SOKETI_SSL_CERT", "SOKETI_SSL_KEY"],
        [
            "LARAVEL_WEBSOCKETS_PORT",
            "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT",
            "LARAVEL_WEBSOCKETS_SSL_LOCAL_PK",
        ],
    ] {
        let free = free_port();
        let text = format!("{port}={free}\n{cert}={cert_file}\n{key}={key_file}\n");
        let env = ConfigFile::new(&text);
        let admin = ("LOUDHAILER_ADMIN__PORT", "0");
        let process = Process::start(&["--env-file", env.path()], &[admin]);
        let tls = process.wait_stdout("an address", |text| {
            printed_address(text, "Listening on https")
        });
        assert_eq!(tls.port(), free);
        process.wait_stdout("the end of the start", |text| {
            text.contains("app-key").then_some(())
        });
        assert!(
            !process.stdout().contains("Listening on http:"),
            "{}",
            process.stdout()
        );
        let tunnel = Tunnel::to(tls, authority.client(ALL_VERSIONS));
        let mut client = TestClient::connect(
            tunnel.address,
            &App::with_secret("1001", "app-key", "app-secret"),
        );
        client.subscribe("private-room");
    }
}

#[test]
fn what_is_no_such_file_is_refused_with_its_line() {
    let json = ConfigFile::new("{\n  \"port\": }");
    let php = ConfigFile::new("<?php\nreturn [1, 2");
    for (from, extension, place) in [(&json, "json", ":2:"), (&php, "php", ":2: ")] {
        let path = PathBuf::from(from.path()).with_extension(extension);
        fs::rename(from.path(), &path).unwrap();
        let refused = Process::run(&["import", &path.display().to_string()], &[]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(place), "{refused:?}");
        fs::remove_file(path).unwrap();
    }
}
