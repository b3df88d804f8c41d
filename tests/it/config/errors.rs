//! Configuration errors: exit code 2, with the key and the file.

use super::{check, is_config_error};
use crate::support::process::ConfigFile;

const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"never-printed-secret\"\n";

/// Serving and checking both refuse this file, naming the file and each of `named`.
#[track_caller]
fn is_refused(toml: &str, named: &[&str]) {
    let config = ConfigFile::new(toml);
    let file = config.path().rsplit('/').next().unwrap();
    let named = [named, &[file]].concat();
    for arguments in [
        &["check-config", "--config", config.path()][..],
        &["--config", config.path()],
    ] {
        is_config_error(arguments, &[], &named);
    }
    let (finished, _) = check(toml, &[]);
    assert!(
        !finished.stderr.contains("never-printed-secret"),
        "{}",
        finished.stderr
    );
}

#[test]
fn an_unknown_key_is_named() {
    is_refused("[server]\nprot = 6001\n", &["prot"]);
    is_refused("[servers]\nport = 6001\n", &["servers"]);
    is_refused("port = 6001\n", &["port"]);
    is_refused("[websocket]\nactivity_timeout = 5\n", &["activity_timeout"]);
    is_refused("[api]\nunknown_key = 1\n", &["unknown_key"]);
    is_refused("[admin]\nunknown_key = 1\n", &["unknown_key"]);
    is_refused("[log]\nunknown_key = 1\n", &["unknown_key"]);
    is_refused(&format!("{APP}unknown_key = 1\n"), &["unknown_key"]);
}

#[test]
fn a_duplicate_app_key_or_id_is_named() {
    let other = APP.replace("id = \"1\"", "id = \"2\"");
    is_refused(&(APP.to_owned() + &other), &["key", "\"k\""]);
    let other = APP.replace("key = \"k\"", "key = \"l\"");
    is_refused(&(APP.to_owned() + &other), &["id", "\"1\""]);
}

#[test]
fn an_app_of_the_environment_that_repeats_one_of_the_file_is_named() {
    let config = ConfigFile::new(APP);
    let app = |id, key| {
        let secret = ("LOUDHAILER_APPS__1__SECRET", "s");
        [
            ("LOUDHAILER_APPS__1__ID", id),
            ("LOUDHAILER_APPS__1__KEY", key),
            secret,
        ]
    };
    let arguments = ["check-config", "--config", config.path()];
    is_config_error(&arguments, &app("1", "l"), &["apps[1].id \"1\"", "apps[0]"]);
    is_config_error(
        &arguments,
        &app("2", "k"),
        &["apps[1].key \"k\"", "apps[0]"],
    );
}

#[test]
fn a_missing_part_of_an_app_is_named() {
    for part in ["id", "key", "secret"] {
        let lines = APP.lines().filter(|line| !line.starts_with(part));
        let toml = lines.collect::<Vec<_>>().join("\n") + "\n";
        is_refused(&toml, &[part]);
    }
    is_refused(&APP.replace("id = \"1\"", "id = \"\""), &["id"]);
    is_refused(&APP.replace("key = \"k\"", "key = \"\""), &["key"]);
    is_refused(
        &APP.replace("\"never-printed-secret\"", "\"\""),
        &["secret"],
    );
}

#[test]
fn a_bad_value_is_named_with_its_key() {
    let cases = [
        ("[server]\nport = \"abc\"\n", "port"),
        ("[server]\nport = 70000\n", "port"),
        ("[server]\nport = -1\n", "port"),
        ("[server]\nhost = \"not a host\"\n", "host"),
        ("[server]\nworkers = -1\n", "workers"),
        ("[server]\nworkers = \"many\"\n", "workers"),
        ("[server]\nmax_request_bytes = true\n", "max_request_bytes"),
        (
            "[websocket]\nactivity_timeout_s = 0\n",
            "activity_timeout_s",
        ),
        (
            "[websocket]\nrequire_protocol = \"perhaps\"\n",
            "require_protocol",
        ),
        (
            "[websocket]\nmax_message_bytes = [1]\n",
            "max_message_bytes",
        ),
        (
            "[api]\ntimestamp_tolerance_s = -1\n",
            "timestamp_tolerance_s",
        ),
        ("[log]\nformat = \"xml\"\n", "format"),
        ("[admin]\nport = 1.5\n", "port"),
    ];
    for (toml, key) in cases {
        is_refused(toml, &[key]);
    }
    for option in [
        "client_events = \"perhaps\"",
        "allowed_origins = [7, [8]]",
        "max_connections = -1",
        "max_event_data_bytes = \"large\"",
        "cache_ttl_s = -5",
        "enabled = \"off and on\"",
    ] {
        let key = option.split(' ').next().unwrap();
        is_refused(&format!("{APP}{option}\n"), &[key]);
    }
}

#[test]
fn an_admin_listener_beyond_loopback_is_refused() {
    for host in ["0.0.0.0", "192.0.2.1", "::"] {
        is_refused(
            &format!("[admin]\nhost = \"{host}\"\n{APP}"),
            &["admin", "host"],
        );
    }
}

#[test]
fn a_file_that_is_no_toml_is_named() {
    for toml in [
        "[server\nport = 1",
        "port = ",
        "= 5",
        "[server]\nport = 1\nport = 2\n",
        "\u{0}",
        "{\"server\":{}}",
    ] {
        is_refused(toml, &[]);
    }
}

#[test]
fn a_missing_file_is_named() {
    is_config_error(
        &["--config", "no/such/file.toml"],
        &[],
        &["no/such/file.toml"],
    );
    is_config_error(
        &["check-config", "--config", "no/such/file.toml"],
        &[],
        &["no/such/file.toml"],
    );
}

#[test]
fn the_demo_app_is_refused_on_any_other_address_than_loopback() {
    is_refused(
        "[server]\nhost = \"0.0.0.0\"\nport = 0\n",
        &["demo", "server.host"],
    );
    is_refused(
        "[server]\nhost = \"::\"\nport = 0\n",
        &["demo", "server.host"],
    );
    let spelled_out = "[[apps]]\nid = \"1001\"\nkey = \"app-key\"\nsecret = \"app-secret\"\n";
    is_refused(
        &format!("[server]\nhost = \"0.0.0.0\"\nport = 0\n{spelled_out}"),
        &["demo", "server.host"],
    );
    let (finished, _) = check(
        &format!("[server]\nhost = \"127.0.0.1\"\nport = 0\n{spelled_out}"),
        &[],
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let (finished, _) = check("[server]\nhost = \"::1\"\nport = 0\n", &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn a_path_prefix_is_a_path() {
    for prefix in [
        "ws", "/a b", "/ws?x", "/ws#x", "/ws//x", "/../ws", "/app", "/%77s",
    ] {
        is_refused(
            &format!("[server]\npath_prefix = \"{prefix}\"\n"),
            &["path_prefix"],
        );
    }
}
