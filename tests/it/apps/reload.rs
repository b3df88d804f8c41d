//! Changes of the configuration file while the server runs (#14).

use serde_json::{Value, json};

use super::{connects, goes_on, other, store::JSON};
use crate::support::{
    app::App, eventually, feed::Feed, http::Response, server::TestServer, setup::Setup,
};

/// A server with these apps, and what it was set up with.
fn start(apps: &[App]) -> (TestServer, Setup) {
    let setup = Setup::new();
    let all = apps.iter().cloned().fold(setup.clone(), Setup::app);
    (TestServer::start(all), setup)
}

fn toml(setup: &Setup, apps: &[&App]) -> String {
    let apps = apps.iter().map(|app| (*app).clone());
    apps.fold(setup.clone(), Setup::app).toml()
}

fn post_reload(server: &TestServer, body: &str) -> Response {
    server.admin_call("POST /api/reload", &JSON, body)
}

/// Reads the file again, which must succeed, and gives the report. The watch may have read it before.
#[track_caller]
fn reload(server: &TestServer, toml: &str) -> Value {
    server.config.as_ref().expect("a file").replace(toml);
    let response = post_reload(server, "");
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[test]
fn sighup_reads_the_file_again_and_ends_nobodys_connection() {
    let usual = App::usual();
    let (mut server, setup) = start(std::slice::from_ref(&usual));
    let mut client = server.client();
    client.subscribe("news");
    let mut feed = Feed::connect(&server);
    // The file is read by the signal or by the watch, whichever is first.
    let added = toml(&setup, &[&usual, &other()]);
    server.config.as_ref().expect("a file").replace(&added);
    server.process.signal("HUP");
    let told = feed.next_of("apps_changed");
    assert_eq!(told["added"], json!(["1002"]), "{told}");
    server.client_of(&App::usual());
    assert!(connects(&server, &other()));
    goes_on(&server, &mut client);
}

#[test]
fn sighup_without_a_file_is_no_end() {
    let ports = [
        ("LOUDHAILER_SERVER__PORT", "0"),
        ("LOUDHAILER_ADMIN__PORT", "0"),
    ];
    let mut server = TestServer::launch(&[], &ports);
    server.process.signal("HUP");
    let reloads = || server.admin_get("/metrics").body;
    eventually("the signal was heard", || {
        reloads()
            .contains("app_reloads_total{result=\"unchanged\"} 1")
            .then_some(())
    });
}

#[test]
fn the_file_is_watched_however_it_is_written() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let mut feed = Feed::connect(&server);
    let file = server.config.as_ref().expect("a file");
    file.replace(&toml(&setup, &[&usual, &other()]));
    assert_eq!(feed.next_of("apps_changed")["added"], json!(["1002"]));
    file.overwrite(&toml(&setup, &[&usual]));
    assert_eq!(feed.next_of("apps_changed")["removed"], json!(["1002"]));
}

#[test]
fn a_half_written_or_bad_file_changes_nothing_and_says_why() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let mut client = server.client();
    client.subscribe("news");
    let mut feed = Feed::connect(&server);
    let file = server.config.as_ref().expect("a file");
    let whole = toml(&setup, &[&usual, &other()]);
    let half = &whole[..whole.len() - 10];
    file.overwrite(half);
    let refused = feed.next_of("apps_refused");
    let message = refused["message"].as_str().expect("a message");
    let place = format!("{}:", file.path());
    assert!(message.starts_with(&place), "{message}");
    assert!(!message.contains("never-printed"), "{message}");
    let state = server.admin_json("/api/state");
    assert_eq!(state["app_store"]["error"], message);
    assert_eq!(state["apps"].as_array().map(Vec::len), Some(1));
    goes_on(&server, &mut client);
    let metrics = server.admin_get("/metrics").body;
    assert!(
        metrics.contains("loudhailer_app_reloads_total{result=\"refused\"} 1"),
        "{metrics}"
    );

    let bad = whole.replace("id = \"1002\"", "id = \"10 02\"");
    file.replace(&bad);
    let response = post_reload(&server, "");
    let text = response.is_error(422);
    assert!(text.contains("apps[1].id may hold only"), "{text}");

    file.replace(&whole);
    eventually("the whole file is taken", || {
        connects(&server, &other()).then_some(())
    });
    eventually("the state has no error any more", || {
        let state = server.admin_json("/api/state");
        state["app_store"]["error"].is_null().then_some(())
    });
}

#[test]
fn a_file_without_apps_is_refused_unless_it_is_forced() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let mut client = server.client();
    client.subscribe("news");
    server
        .config
        .as_ref()
        .expect("a file")
        .replace(&setup.toml());
    let text = post_reload(&server, "{}").is_error(422);
    assert!(text.contains("lists no apps any more"), "{text}");
    goes_on(&server, &mut client);
    let response = post_reload(&server, r#"{"force": true}"#);
    assert_eq!(response.status, 200, "{response:?}");
    client.expect_closed(4001);
}

#[test]
fn what_can_not_change_while_the_server_runs_is_named() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let moved = setup
        .set("server.max_request_bytes", 77_777)
        .set("redis.url", "redis://hidden:hidden@127.0.0.1:1");
    let report = reload(&server, &toml(&moved, &[&usual, &other()]));
    let keys = json!(["server.max_request_bytes", "redis.url"]);
    assert_eq!(report["needs_restart"], keys);
    assert!(connects(&server, &other()), "the apps change all the same");
    assert_eq!(
        server.admin_json("/api/state")["app_store"]["needs_restart"],
        keys
    );
    let log = server.process.wait_stderr("a warning", |log| {
        log.contains("need a restart").then(|| log.to_owned())
    });
    assert!(log.contains("server.max_request_bytes, redis.url"), "{log}");
    assert!(!log.contains("hidden"), "{log}");
}
