//! Which addresses an operator lets webhooks be sent to.

use serde_json::json;

use super::{Receiver, app_with};
use crate::support::{
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
};

const KEY: &str = "server.webhook_allowed_addresses";

/// The receiver by a name whose address only the resolver knows.
fn by_name(receiver: &Receiver) -> String {
    receiver.url("/hook").replace("127.0.0.1", "localhost")
}

fn server_that_allows(allowed: &[&str], url: &str) -> TestServer {
    let app = app_with(&json!([{"url": url}]));
    let setup = Setup::new().set("server.webhook_grace_s", 0);
    TestServer::start(setup.set(KEY, allowed.to_vec()).app(app))
}

#[test]
fn a_name_that_resolves_to_a_forbidden_address_is_never_connected_to() {
    let receiver = Receiver::start();
    for allowed in [&["external"][..], &["private", "10.0.0.0/8"], &[]] {
        let server = server_that_allows(allowed, &by_name(&receiver));
        server.client().subscribe("orders");
        let log = server.process.wait_stderr("the refusal", |log| {
            log.contains("does not take events").then(|| log.to_owned())
        });
        assert!(
            log.contains("is not among server.webhook_allowed_addresses"),
            "{log}"
        );
        assert_eq!(receiver.connections(), 0, "{allowed:?}");
    }
}

#[test]
fn a_name_that_resolves_to_an_allowed_address_gets_webhooks() {
    for allowed in [&["*"][..], &["loopback"], &["external", "127.0.0.0/8"]] {
        let receiver = Receiver::start();
        let server = server_that_allows(allowed, &by_name(&receiver));
        server.client().subscribe("orders");
        assert_eq!(receiver.event(server.app())["channel"], "orders");
    }
}

#[test]
fn by_default_an_application_on_this_machine_gets_webhooks() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": by_name(&receiver)}]));
    let server = TestServer::start(Setup::new().app(app));
    server.client().subscribe("orders");
    assert_eq!(receiver.event(server.app())["channel"], "orders");
}

#[test]
fn a_url_with_a_forbidden_address_is_refused_at_the_start() {
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let app = app_with(&json!([{"url": format!("http://{host}/hidden")}]));
        let setup = Setup::new().set(KEY, vec!["external"]).app(app);
        let config = ConfigFile::new(&setup.toml());
        let finished = Process::run(&["check-config", "--config", config.path()], &[]);
        assert_eq!(finished.code, Some(2), "{host}: {finished:?}");
        for part in ["apps[0].webhooks[0].url", KEY] {
            assert!(finished.stderr.contains(part), "{host}: {finished:?}");
        }
        assert!(!finished.stderr.contains("hidden"), "{finished:?}");
    }
}

#[test]
fn public_addresses_and_names_are_external() {
    for host in [
        "93.184.215.14",
        "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]",
        "shop.example",
    ] {
        let app = app_with(&json!([{"url": format!("http://{host}/")}]));
        let setup = Setup::new().set(KEY, vec!["external"]).app(app);
        let config = ConfigFile::new(&setup.toml());
        let finished = Process::run(&["check-config", "--config", config.path()], &[]);
        assert_eq!(finished.code, Some(0), "{host}: {finished:?}");
    }
}

#[test]
fn what_is_no_address_and_no_set_of_them_is_refused() {
    for bad in ["internal", "shop.example", "10.0.0.0/33", ""] {
        let setup = Setup::new().set(KEY, vec![bad]).app(app_with(&json!([])));
        let config = ConfigFile::new(&setup.toml());
        let finished = Process::run(&["check-config", "--config", config.path()], &[]);
        assert_eq!(finished.code, Some(2), "{bad}: {finished:?}");
        assert!(finished.stderr.contains(KEY), "{finished:?}");
    }
}
