//! The configuration of endpoints, and its errors.

use crate::support::process::{ConfigFile, Finished, Process};

const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n[[apps.webhooks]]\nurl = \"http://a.test/\"\n";

#[track_caller]
fn check(toml: &str, environment: &[(&str, &str)]) -> Finished {
    let config = ConfigFile::new(toml);
    Process::run(&["check-config", "--config", config.path()], environment)
}

/// The file is refused, its error names `key` and the file, and tells nothing that holds the word hidden.
#[track_caller]
fn is_refused(toml: &str, key: &str) {
    let config = ConfigFile::new(toml);
    let finished = Process::run(&["check-config", "--config", config.path()], &[]);
    assert_eq!(finished.code, Some(2), "{toml}: {finished:?}");
    for part in [key, config.path()] {
        assert!(finished.stderr.contains(part), "no {part}: {finished:?}");
    }
    assert!(!finished.stderr.contains("hidden"), "{finished:?}");
}

#[test]
fn what_is_wrong_with_an_endpoint_is_named_and_no_secret_told() {
    for (line, key) in [
        ("urls = \"hidden\"", "apps[0].webhooks[0].urls"),
        (
            "event_types = [\"channel_ocupied\"]",
            "webhooks[0].event_types",
        ),
        ("event_types = \"client_event\"", "webhooks[0].event_types"),
        ("channel_starts_with = 7", "webhooks[0].channel_starts_with"),
        ("headers = \"hidden\"", "webhooks[0].headers"),
        ("headers = { X-A = 7 }", "webhooks[0].headers"),
        (
            "headers = { \"X A\" = \"hidden\" }",
            "webhooks[0].headers.X A",
        ),
        (
            "headers = { X-A = \"hidden\\n\" }",
            "webhooks[0].headers.X-A",
        ),
        (
            "headers = { x-PUSHER-key = \"hidden\" }",
            "webhooks[0].headers.x-PUSHER-key",
        ),
        (
            "headers = { Content-Type = \"hidden\" }",
            "webhooks[0].headers.Content-Type",
        ),
        (
            "headers = { X-A = \"hidden\", x-a = \"hidden\" }",
            "webhooks[0].headers.x-a",
        ),
        (
            "[[apps.webhooks]]\nurl = \"ftp://hidden\"",
            "apps[0].webhooks[1].url",
        ),
        (
            "[[apps.webhooks]]\nurl = \"hidden\"",
            "apps[0].webhooks[1].url",
        ),
        ("[[apps.webhooks]]\nurl = 7", "apps[0].webhooks[1].url"),
        (
            "[[apps.webhooks]]\nevent_types = []",
            "apps[0].webhooks[1].url is missing",
        ),
        (
            "[[apps.webhooks]]\nurl = \"http://hidden:hidden@a.test\"\nheaders = { authorization = \"hidden\" }",
            "apps[0].webhooks[1].headers.Authorization",
        ),
    ] {
        is_refused(&format!("{APP}{line}\n"), key);
    }
    let no_list = APP.replace("[[apps.webhooks]]", "[apps.webhooks]");
    is_refused(&no_list, "apps[0].webhooks must be a list of tables");
    is_refused("[[webhooks]]\nurl = \"http://a.test\"\n", "webhooks");
}

#[test]
fn endpoints_belong_to_the_app_above_them() {
    let two = format!(
        "{APP}[[apps.webhooks]]\nurl = \"http://b.test/\"\n[[apps]]\nid = \"2\"\nkey = \"l\"\nsecret = \"t\"\n"
    );
    let finished = check(&two, &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let lines: Vec<_> = finished
        .stdout
        .lines()
        .filter(|line| line.contains("  id "))
        .collect();
    assert!(lines[0].contains("2 webhook endpoint(s)"), "{lines:?}");
    assert!(!lines[1].contains("webhook"), "{lines:?}");
}

#[test]
fn soketis_variable_is_understood() {
    let webhooks = r#"[{"url": "http://a.test/hidden", "event_types": ["client_event"],
        "headers": {"X-A": "hidden"}, "filter": {"channel_name_starts_with": "a"}}]"#;
    let name = "SOKETI_DEFAULT_APP_WEBHOOKS";
    let finished = check("", &[(name, webhooks), ("SOKETI_WEBHOOKS_BATCHING", "1")]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for line in [
        "Understood SOKETI_DEFAULT_APP_WEBHOOKS: apps[0].webhooks\n",
        "Understood SOKETI_WEBHOOKS_BATCHING: apps[0].webhook_batching = true\n",
        ", 1 webhook endpoint(s)",
    ] {
        assert!(finished.stdout.contains(line), "{finished:?}");
    }
    assert!(!finished.stdout.contains("hidden"), "{finished:?}");
    for bad in [
        "hidden",
        "{}",
        r#"[{"url": "http://a.test", "lambda_function": "hidden"}]"#,
        r#"[{"url": "hidden"}]"#,
        r#"["hidden"]"#,
        r#"[{"url": "http://a.test", "filter": {"hidden": "a"}}]"#,
    ] {
        let finished = check("", &[(name, bad)]);
        assert_eq!(finished.code, Some(2), "{bad}: {finished:?}");
        assert!(finished.stderr.contains(name), "{finished:?}");
    }
}
