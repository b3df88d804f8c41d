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
            "FILE:2:8: server.prot is not a key; did you mean server.port?",
        ),
        (
            "[servers]\nport = 1".into(),
            "FILE:1:1: servers is not a key; did you mean server?",
        ),
        (
            "port = 1".into(),
            "FILE:1:8: port is not a key; did you mean server.port?",
        ),
        (
            "[server]\nactivity_timeout_s = 1".into(),
            "FILE:2:22: server.activity_timeout_s is not a key; did you mean websocket.activity_timeout_s?",
        ),
        (
            "[server]\ncolour = 1".into(),
            "FILE:2:10: server.colour is not a key; `loudhailer default-config` prints every key",
        ),
        (
            "\"server.port\" = 1".into(),
            "FILE:1:17: server.port is not a key; did you mean server.port?",
        ),
        (
            second("secert = \"x\""),
            "FILE:9:10: apps[1].secert is not a key; did you mean apps[1].secret?",
        ),
        (
            "[app]\nid = \"1\"".into(),
            "FILE:1:1: app is not a key; did you mean apps?",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"".into(),
            "FILE:1:1: apps[0].secret is missing",
        ),
        ("[[apps]]".into(), "FILE:1:1: apps[0].key is missing\nFILE:1:1: apps[0].secret is missing\nFILE:1:1: apps[0].id is missing"),
        (
            "[apps]\nid = \"1\"".into(),
            "FILE:1:1: apps must be a list of tables, each under [[…]], not a table",
        ),
        ("apps = [1]".into(), "FILE:1:9: apps[0] must be a table"),
        ("server = 3".into(), "FILE:1:10: server must be a table"),
        // Kinds and ranges.
        (
            "[server]\nport = \"6001\"".into(),
            "FILE:2:8: server.port must be a whole number from 0 to 65535, not \"6001\"",
        ),
        (
            "[server]\nport = 70000".into(),
            "FILE:2:8: server.port must be a whole number from 0 to 65535, not 70000",
        ),
        (
            "[server]\nport = 1.5".into(),
            "FILE:2:8: server.port must be a whole number from 0 to 65535, not 1.5",
        ),
        (
            "[server]\nport = -1".into(),
            "FILE:2:8: server.port must be a whole number from 0 to 65535, not -1",
        ),
        (
            "[server]\nhost = 1".into(),
            "FILE:2:8: server.host must be text in quotes, not 1",
        ),
        (
            "[server]\nmax_connections = 0".into(),
            "FILE:2:19: server.max_connections must be at least 1; leave it out for no limit",
        ),
        (
            "[server]\nmax_request_bytes = 0".into(),
            "FILE:2:21: server.max_request_bytes must be at least 1",
        ),
        (
            "[websocket]\nactivity_timeout_s = 0".into(),
            "FILE:2:22: websocket.activity_timeout_s must be at least 1",
        ),
        (
            "[websocket]\nrequire_protocol = 1".into(),
            "FILE:2:20: websocket.require_protocol must be true or false, not 1",
        ),
        (
            app("max_connections = 0"),
            "FILE:5:19: apps[0].max_connections must be at least 1; leave it out for no limit",
        ),
        (
            app("max_event_channels = 0"),
            "FILE:5:22: apps[0].max_event_channels must be at least 1",
        ),
        (
            app("enabled = \"yes\""),
            "FILE:5:11: apps[0].enabled must be true or false, not \"yes\"",
        ),
        (
            app("allowed_origins = \"*\""),
            "FILE:5:19: apps[0].allowed_origins must be a list of texts in quotes",
        ),
        (
            app("allowed_origins = [1]"),
            "FILE:5:20: apps[0].allowed_origins[0] must be text in quotes, not 1",
        ),
        // Meaning.
        (
            "[server]\nhost = \"example.com\"".into(),
            "FILE:2:8: server.host must be an IP address to listen on, such as 127.0.0.1 or 0.0.0.0, not \"example.com\"",
        ),
        (
            "[admin]\nhost = \"0.0.0.0\"".into(),
            "FILE:2:8: admin.host must be a loopback address such as 127.0.0.1, not 0.0.0.0, unless admin.token is set",
        ),
        (
            "[admin]\nport = 6001".into(),
            "FILE:2:8: admin.port must differ from server.port (6001)",
        ),
        (
            "[server]\npath_prefix = \"ws\"".into(),
            "FILE:2:15: server.path_prefix must start with \"/\", not \"ws\"",
        ),
        (
            "[server]\npath_prefix = \"/app\"".into(),
            "FILE:2:15: server.path_prefix must not be \"/app\": the server's own paths start so",
        ),
        (
            "[server]\npath_prefix = \"/users\"".into(),
            "FILE:2:15: server.path_prefix must not be \"/users\": the server's own paths start so",
        ),
        (
            "[server]\npath_prefix = \"/apps/x/\"".into(),
            "FILE:2:15: server.path_prefix must not be \"/apps/x/\": the server's own paths start so",
        ),
        (
            "[server]\npath_prefix = \"/a//b\"".into(),
            "FILE:2:15: server.path_prefix must be segments of letters, digits, and \"-\", \".\", \"_\", \"~\", such as \"/ws\", not \"/a//b\"",
        ),
        (
            "[server]\ntcp = false".into(),
            "FILE:2:7: server.tcp is false, which needs server.unix_socket",
        ),
        (
            "[server]\nproxy_protocol = true".into(),
            "FILE:2:18: server.proxy_protocol is true, which needs server.trusted_proxies: nobody else may connect",
        ),
        (
            "[server]\nunix_socket_mode = \"rw\"".into(),
            "FILE:2:20: server.unix_socket_mode must be a file's permissions in octal, such as \"0660\", not \"rw\"",
        ),
        (
            "[redis]\nurl = \"10.0.0.1:6379\"".into(),
            "FILE:2:7: redis.url must be redis://… or rediss://… (several are separated by commas)",
        ),
        (
            "[redis]\nurl = \"redis://a,redis://b\"".into(),
            "FILE:2:7: redis.url has several addresses, which needs redis.mode = \"cluster\" or \"sentinel\"",
        ),
        (
            "[redis]\nurl = \"redis://a\"\nmode = \"sentinel\"".into(),
            "FILE:3:8: redis.mode is \"sentinel\", which needs redis.sentinel_master",
        ),
        (
            "[redis]\nurl = \"rediss://a, redis://b\"\nmode = \"sentinel\"\nsentinel_master = \"main\"".into(),
            "FILE:2:7: redis.url must be redis:// for all sentinels, or rediss:// for all",
        ),
        (
            "[redis]\nurl = \"redis://a\"\nca_file = \"ca.pem\"".into(),
            "FILE:3:11: redis.ca_file needs rediss:// in redis.url",
        ),
        (
            "[redis]\nurl = \"rediss://a\"\ncert_file = \"c.pem\"".into(),
            "FILE:3:13: redis.cert_file needs redis.key_file",
        ),
        (
            "[redis]\nurl = \"rediss://a\"\nkey_file = \"c.key\"".into(),
            "FILE:3:12: redis.key_file needs redis.cert_file",
        ),
        (
            "[log]\nlevel = \"inof\"".into(),
            "FILE:2:9: log.level must be error, warn, info, debug, trace or a filter such as \"info,loudhailer=debug\", not \"inof\"",
        ),
        (
            "[log]\nformat = \"xml\"".into(),
            "FILE:2:10: log.format must be \"text\" or \"json\", not \"xml\"",
        ),
        (
            app("[[apps]]\nid = \"1\"\nkey = \"k2\"\nsecret = \"s\""),
            "FILE:6:6: apps[1].id \"1\" is already that of apps[0]",
        ),
        (
            app("[[apps]]\nid = \"2\"\nkey = \"k1\"\nsecret = \"s\""),
            "FILE:7:7: apps[1].key \"k1\" is already that of apps[0]",
        ),
        (
            "[[apps]]\nid = \"\"\nkey = \"k\"\nsecret = \"s\"".into(),
            "FILE:2:6: apps[0].id must not be empty",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"\"\nsecret = \"s\"".into(),
            "FILE:1:1: apps[0].key is missing",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"\"".into(),
            "FILE:1:1: apps[0].secret is missing",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k:1\"\nsecret = \"s\"".into(),
            "FILE:3:7: apps[0].key may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not \"k:1\"",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"hidden\\n\"".into(),
            "FILE:4:10: apps[0].secret must not start or end with white space",
        ),
        (
            "[[apps]]\nid = \"1\"\nkeys = []".into(),
            "FILE:1:1: apps[0].key is missing\nFILE:1:1: apps[0].secret is missing",
        ),
        (
            app("[[apps.keys]]\nkey = \"k1\"\nsecret = \"s\""),
            "FILE:6:7: apps[0].keys[0].key \"k1\" is there twice",
        ),
        (
            app("webhook_key = \"k2\""),
            "FILE:5:15: apps[0].webhook_key is \"k2\", which is none of the app's keys",
        ),
        (
            app("allowed_origins = [\"https://example.com/\"]"),
            "FILE:5:20: apps[0].allowed_origins[0] is \"https://example.com/\", which is no origin: an origin has no path: leave out everything after the host and port",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(message(&text), expected, "{text}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_their_lines() {
    let text = "[[apps]]\nid = \"a b\"\nkey = \"k\"\nmax_connections = 0\n[[apps.webhooks]]\nurl = \"nonsense\"\n\
                event_types = [\"member_added\", 3]\nheaders = { Content-Type = \"x\", Y = 1 }\n[server]\nport = \"x\"\n";
    let expected = [
        "FILE:1:1: apps[0].secret is missing",
        "FILE:2:6: apps[0].id may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not \"a b\"",
        "FILE:4:19: apps[0].max_connections must be at least 1; leave it out for no limit",
        "FILE:6:7: apps[0].webhooks[0].url must be an http:// or https:// URL",
        "FILE:7:32: apps[0].webhooks[0].event_types[1] must be \"channel_occupied\",",
        "FILE:8:37: apps[0].webhooks[0].headers.Y must be text in quotes",
        "FILE:10:8: server.port must be a whole number from 0 to 65535, not \"x\"",
    ];
    let message = message(text);
    assert_eq!(message.lines().count(), expected.len(), "{message}");
    for (line, expected) in message.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
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
            message.starts_with("FILE:") && !message.contains("hidden"),
            "{text}\n{message}"
        );
    }
    let loaded = load(OWN_APP, &[("PUSHER_APP_SECRET", "hidden2")]).expect("a valid app");
    assert!(!format!("{loaded:?}").contains("hidden"), "{loaded:?}");
    let app = [
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "k"),
        ("PUSHER_APP_SECRET", "hidden"),
    ];
    let loaded = from_variables(&app).expect("a valid secret");
    assert!(!format!("{loaded:?}").contains("hidden"), "{loaded:?}");
}

#[test]
fn a_syntax_error_tells_the_line() {
    let message = message("[server]\nport = \n");
    assert!(message.starts_with("FILE:2:8: "), "{message}");
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
    let advice = "refused because server.host is 0.0.0.0 (FILE:2:8): give the app its own key and secret, in the file or as \
                  PUSHER_APP_KEY and PUSHER_APP_SECRET, or listen on 127.0.0.1";
    for (text, start) in [
        (
            "[server]\nhost = \"0.0.0.0\"".to_owned(),
            "the defaults: apps[0].key is the public demo key",
        ),
        (
            app("app-key", "own"),
            "FILE:9:7: apps[1].key is the public demo key",
        ),
        (
            app("own", "app-secret"),
            "FILE:10:10: apps[1].secret is the public demo secret",
        ),
    ] {
        assert_eq!(message(&text), format!("{start}, {advice}"));
    }
    load(&app("own", "own"), &[]).expect("own credentials may listen anywhere");
    let error = from_variables(&[
        ("SOKETI_HOST", "::"),
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "own"),
        ("PUSHER_APP_SECRET", "app-secret"),
    ]);
    let error = error.expect_err("the secret is the demo's").to_string();
    assert!(
        error.starts_with("PUSHER_APP_SECRET: apps[0].secret is the public demo secret"),
        "{error}"
    );
    assert!(error.contains("server.host is :: (SOKETI_HOST)"), "{error}");
}

#[test]
fn values_come_from_variables_and_files() {
    let secret = TempFile::new("from a file\n");
    let folder = secret.0.parent().expect("a folder").display().to_string();
    let name = secret.0.file_name().and_then(|name| name.to_str());
    let name = name.expect("a plain name");
    let text = format!(
        "[server]\nport = \"${{PORT}}\"\n[[apps]]\nid = \"1\"\nkey = \"k-${{STAGE}}\"\nsecret = \"${{file:${{DIR}}/{name}}}\"\n\
         enabled = \"${{ON}}\"\nallowed_origins = \"${{ORIGINS}}\"\n[[apps.webhooks]]\nurl = \"https://a.test/\"\n\
         headers = {{ X-Token = \"${{STAGE}}\" }}\n"
    );
    let pairs = [
        ("PORT", "7001"),
        ("STAGE", "live"),
        ("DIR", folder.as_str()),
        ("ON", "off"),
        ("ORIGINS", "a.test,b.test"),
    ];
    let config = load(&text, &pairs).expect("all are set").config;
    let app = &config.apps[0];
    assert_eq!((config.server.port, key_of(app)), (7001, "k-live"));
    let secret = app.shown_key(Moment::now()).expect("a key").secret;
    assert_eq!(secret.expose_str(), "from a file");
    assert_eq!((app.enabled, app.allowed_origins.len()), (false, 2));
    assert!(app.webhooks[0].headers().all(|(_, value)| value == "live"));
    assert_eq!(
        load("[server]\nport = \"${PORT}\"\n", &[]).err().as_deref(),
        Some("FILE:2:8: server.port refers to the variable PORT, which is not set")
    );
    assert_eq!(
        load(
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"${NONE}\"\n",
            &[]
        )
        .err()
        .as_deref(),
        Some("FILE:4:10: apps[0].secret refers to the variable NONE, which is not set")
    );
    assert_eq!(
        load("[server]\nport = \"${PORT}\"\n", &[("PORT", "x")])
            .err()
            .as_deref(),
        Some("FILE:2:8: server.port must be a whole number from 0 to 65535, not \"x\"")
    );
}

/// #16: check-config said that these are valid, and the start refused them.
#[test]
fn an_address_that_no_start_takes_is_refused() {
    for (toml, expected) in [
        (
            "[redis]\nurl = \"redis://u:hidden@h:port\"",
            "FILE:2:7: redis.url is no valid address: invalid port number",
        ),
        (
            "[redis]\nurl = \"redis://:hidden@h/three\"",
            "FILE:2:7: redis.url must end with the number of a database, or with none",
        ),
        (
            "[redis]\nmode = \"cluster\"\nurl = \"redis://:hidden@h/3\"",
            "FILE:3:7: redis.url names a database, but a Redis Cluster has only number 0",
        ),
        (
            "[database]\nurl = \"postgres://u:hidden@h:port/x\"",
            "FILE:2:7: database.url is no valid URL: invalid port number",
        ),
    ] {
        assert_eq!(message(toml), expected);
    }
}
