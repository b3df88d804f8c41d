//! What is refused, and in which words.

use super::*;

#[test]
fn a_bad_file_is_refused_with_its_key_and_name() {
    let app = |lines: &str| format!("{OWN_APP}{lines}");
    let second = |lines: &str| {
        format!("{OWN_APP}[[apps]]\nid = \"2\"\nkey = \"k2\"\nsecret = \"s\"\n{lines}")
    };
    let table: Vec<(String, &str)> = vec![
        // Keys.
        (
            "[server]\nprot = 1".into(),
            "FILE: unknown key server.prot; did you mean server.port?",
        ),
        (
            "[servers]\nport = 1".into(),
            "FILE: unknown key servers; did you mean server?",
        ),
        (
            "port = 1".into(),
            "FILE: unknown key port; did you mean server.port?",
        ),
        (
            "[server]\nactivity_timeout_s = 1".into(),
            "FILE: unknown key server.activity_timeout_s; did you mean websocket.activity_timeout_s?",
        ),
        (
            "[server]\ncolour = 1".into(),
            "FILE: unknown key server.colour; `loudhailer default-config` prints every key",
        ),
        (
            "\"server.port\" = 1".into(),
            "FILE: unknown key server.port; did you mean server.port?",
        ),
        (
            second("secert = \"x\""),
            "FILE: unknown key apps[1].secert; did you mean apps[1].secret?",
        ),
        (
            "[app]\nid = \"1\"".into(),
            "FILE: unknown key app; did you mean apps?",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"".into(),
            "FILE: apps[0].secret is missing",
        ),
        ("[[apps]]".into(), "FILE: apps[0].id is missing"),
        (
            "[apps]\nid = \"1\"".into(),
            "FILE: apps must be a list: write [[apps]]",
        ),
        ("apps = [1]".into(), "FILE: apps[0] must be a table, not 1"),
        ("server = 3".into(), "FILE: server must be a table, not 3"),
        // Kinds and ranges.
        (
            "[server]\nport = \"6001\"".into(),
            "FILE: server.port must be a whole number from 0 to 65535, not \"6001\"",
        ),
        (
            "[server]\nport = 70000".into(),
            "FILE: server.port must be a whole number from 0 to 65535, not 70000",
        ),
        (
            "[server]\nport = 1.5".into(),
            "FILE: server.port must be a whole number from 0 to 65535, not 1.5",
        ),
        (
            "[server]\nport = -1".into(),
            "FILE: server.port must be a whole number from 0 to 65535, not -1",
        ),
        (
            "[server]\nhost = 1".into(),
            "FILE: server.host must be text in quotes, not 1",
        ),
        (
            "[server]\nmax_connections = 0".into(),
            "FILE: server.max_connections must be at least 1; leave it out for no limit",
        ),
        (
            "[server]\nmax_request_bytes = 0".into(),
            "FILE: server.max_request_bytes must be at least 1",
        ),
        (
            "[websocket]\nactivity_timeout_s = 0".into(),
            "FILE: websocket.activity_timeout_s must be at least 1",
        ),
        (
            "[websocket]\nrequire_protocol = 1".into(),
            "FILE: websocket.require_protocol must be true or false, not 1",
        ),
        (
            app("max_connections = 0"),
            "FILE: apps[0].max_connections must be at least 1; leave it out for no limit",
        ),
        (
            app("max_event_channels = 0"),
            "FILE: apps[0].max_event_channels must be at least 1",
        ),
        (
            app("enabled = \"yes\""),
            "FILE: apps[0].enabled must be true or false, not \"yes\"",
        ),
        (
            app("allowed_origins = \"*\""),
            "FILE: apps[0].allowed_origins must be a list of texts in quotes, not \"*\"",
        ),
        (
            app("allowed_origins = [1]"),
            "FILE: apps[0].allowed_origins must be a list of texts in quotes, not a list of something else",
        ),
        // Meaning.
        (
            "[server]\nhost = \"example.com\"".into(),
            "FILE: server.host must be an IP address to listen on, such as 127.0.0.1 or 0.0.0.0, not \"example.com\"",
        ),
        (
            "[admin]\nhost = \"0.0.0.0\"".into(),
            "FILE: admin.host must be a loopback address such as 127.0.0.1, not 0.0.0.0, unless admin.token is set",
        ),
        (
            "[admin]\nport = 6001".into(),
            "FILE: admin.port must differ from server.port (6001)",
        ),
        (
            "[server]\npath_prefix = \"ws\"".into(),
            "FILE: server.path_prefix must start with \"/\", not \"ws\"",
        ),
        (
            "[server]\npath_prefix = \"/app\"".into(),
            "FILE: server.path_prefix must not be \"/app\": the server's own paths start so",
        ),
        (
            "[server]\npath_prefix = \"/users\"".into(),
            "FILE: server.path_prefix must not be \"/users\": the server's own paths start so",
        ),
        (
            "[server]\npath_prefix = \"/apps/x/\"".into(),
            "FILE: server.path_prefix must not be \"/apps/x/\": the server's own paths start so",
        ),
        (
            "[server]\npath_prefix = \"/a//b\"".into(),
            "FILE: server.path_prefix must be segments of letters, digits, and \"-\", \".\", \"_\", \"~\", such as \"/ws\", not \"/a//b\"",
        ),
        (
            "[redis]\nurl = \"10.0.0.1:6379\"".into(),
            "FILE: redis.url must be redis://… or rediss://… (several are separated by commas)",
        ),
        (
            "[redis]\nurl = \"redis://a,redis://b\"".into(),
            "FILE: redis.url has several addresses, which needs redis.mode = \"cluster\" or \"sentinel\"",
        ),
        (
            "[redis]\nurl = \"redis://a\"\nmode = \"sentinel\"".into(),
            "FILE: redis.mode is \"sentinel\", which needs redis.sentinel_master",
        ),
        (
            "[redis]\nurl = \"rediss://a, redis://b\"\nmode = \"sentinel\"\nsentinel_master = \"main\"".into(),
            "FILE: redis.url must be redis:// for all sentinels, or rediss:// for all",
        ),
        (
            "[log]\nlevel = \"inof\"".into(),
            "FILE: log.level must be error, warn, info, debug, trace or a filter such as \"info,loudhailer=debug\", not \"inof\"",
        ),
        (
            "[log]\nformat = \"xml\"".into(),
            "FILE: log.format must be \"text\" or \"json\", not \"xml\"",
        ),
        (
            app("[[apps]]\nid = \"1\"\nkey = \"k2\"\nsecret = \"s\""),
            "FILE: apps[1].id \"1\" is already that of apps[0]",
        ),
        (
            app("[[apps]]\nid = \"2\"\nkey = \"k1\"\nsecret = \"s\""),
            "FILE: apps[1].key \"k1\" is already that of apps[0]",
        ),
        (
            "[[apps]]\nid = \"\"\nkey = \"k\"\nsecret = \"s\"".into(),
            "FILE: apps[0].id must not be empty",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"\"\nsecret = \"s\"".into(),
            "FILE: apps[0].key must not be empty",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"\"".into(),
            "FILE: apps[0].secret must not be empty",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k:1\"\nsecret = \"s\"".into(),
            "FILE: apps[0].key may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not \"k:1\"",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"hidden\\n\"".into(),
            "FILE: apps[0].secret must not start or end with white space",
        ),
        (
            app("allowed_origins = [\"https://example.com/\"]"),
            "FILE: apps[0].allowed_origins has \"https://example.com/\", which is no origin: an origin has no path: leave out everything after the host and port",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(message(&text), expected, "{text}");
    }
}

#[test]
fn an_error_shows_no_secret() {
    for text in [
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = hidden",
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"hidden",
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"hidden\\q\"",
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = [\"hidden\"]",
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"hidden\"\nsecret = \"hidden\"",
        "[server]\nhost = \"0.0.0.0\"\n[[apps]]\nid = \"1\"\nkey = \"app-key\"\nsecret = \"hidden\"",
    ] {
        let message = message(text);
        assert!(
            message.starts_with("FILE: ") && !message.contains("hidden"),
            "{text}\n{message}"
        );
    }
    let loaded = load(OWN_APP, &[("PUSHER_APP_SECRET", "hidden2")]).expect("a valid app");
    assert!(!format!("{loaded:?}").contains("hidden"), "{loaded:?}");
    let loaded = from_variables(&[("PUSHER_APP_SECRET", "hidden")]).expect("a valid secret");
    assert!(!format!("{loaded:?}").contains("hidden"), "{loaded:?}");
}

#[test]
fn a_syntax_error_tells_the_line() {
    let message = message("[server]\nport = \n");
    assert!(
        message.starts_with("FILE: TOML parse error at line 2, column 8: "),
        "{message}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let missing = TempFile::new("").0.clone();
    let error = Config::load(Some(&missing), &BTreeMap::new()).expect_err("the file is gone");
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot read {}: ", missing.display()))
    );
}

#[test]
fn demo_credentials_are_refused_beyond_loopback() {
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "localhost",
        "::ffff:127.0.0.1",
    ] {
        load(&format!("[server]\nhost = {host:?}"), &[]).expect(host);
    }
    let app = |key, secret| {
        format!(
            "[server]\nhost = \"0.0.0.0\"\n{OWN_APP}[[apps]]\nid = \"2\"\nkey = {key:?}\nsecret = {secret:?}"
        )
    };
    let advice = "refused because server.host is 0.0.0.0 (FILE): give the app its own key and secret, in the file or as \
                  PUSHER_APP_KEY and PUSHER_APP_SECRET, or listen on 127.0.0.1";
    for (text, start) in [
        (
            "[server]\nhost = \"0.0.0.0\"".to_owned(),
            "the defaults: apps[0].key is the public demo key",
        ),
        (
            app("app-key", "own"),
            "FILE: apps[1].key is the public demo key",
        ),
        (
            app("own", "app-secret"),
            "FILE: apps[1].secret is the public demo secret",
        ),
    ] {
        assert_eq!(message(&text), format!("{start}, {advice}"));
    }
    load(&app("own", "own"), &[]).expect("own credentials may listen anywhere");
    let error = from_variables(&[("SOKETI_HOST", "::"), ("PUSHER_APP_KEY", "own")]);
    let error = error
        .expect_err("the secret is still the demo's")
        .to_string();
    assert!(
        error.starts_with("the defaults: apps[0].secret is the public demo secret"),
        "{error}"
    );
    assert!(error.contains("server.host is :: (SOKETI_HOST)"), "{error}");
}
