//! Changes of the configuration file while the server runs (#14).

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::TestClient,
    eventually,
    feed::Feed,
    http::Response,
    server::TestServer,
    setup::Setup,
    websocket::{Incoming, Upgrade},
};

const JSON: [&str; 2] = ["Host: localhost", "Content-Type: application/json"];

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

fn other() -> App {
    App::new("1002", "key-of-1002")
}

fn connects(server: &TestServer, app: &App) -> bool {
    let target = format!("/app/{}?protocol=7", app.key);
    match Upgrade::new(&target).connect(server.public).next() {
        Incoming::Text(text) => text.contains("connection_established"),
        _ => false,
    }
}

/// The next line of this type.
#[track_caller]
fn line(feed: &mut Feed, kind: &str) -> Value {
    loop {
        match feed.next() {
            line if line["type"] == kind => return line,
            _ => {}
        }
    }
}

/// Everything works that the client could do before.
#[track_caller]
fn goes_on(server: &TestServer, client: &mut TestClient) {
    client.expect_nothing_before_marker(&server.api(), "news");
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
    let told = line(&mut feed, "apps_changed");
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
    assert_eq!(line(&mut feed, "apps_changed")["added"], json!(["1002"]));
    file.overwrite(&toml(&setup, &[&usual]));
    assert_eq!(line(&mut feed, "apps_changed")["removed"], json!(["1002"]));
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
    let refused = line(&mut feed, "apps_refused");
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
    assert_eq!(
        server.admin_json("/api/state")["app_store"]["error"],
        Value::Null
    );
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
fn a_disabled_app_is_closed_with_4003_and_a_removed_one_with_4001() {
    let (usual, other) = (App::usual(), other());
    let (server, setup) = start(&[usual.clone(), other.clone()]);
    let mut clients: Vec<_> = (0..20).map(|_| server.client_of(&usual)).collect();
    let mut others: Vec<_> = (0..20).map(|_| server.client_of(&other)).collect();
    let disabled = other.clone().set("enabled", false);
    reload(&server, &toml(&setup, &[&usual, &disabled]));
    for client in &mut others {
        client.expect_closed(4003);
    }
    server.api_of(&other).get("/channels", &[]).is_error(403);
    clients[0].subscribe("news");
    goes_on(&server, &mut clients[0]);
    reload(&server, &toml(&setup, &[&disabled]));
    for client in &mut clients {
        client.expect_closed(4001);
    }
    server.api_of(&usual).get("/channels", &[]).is_error(404);
}

#[test]
fn limits_and_switches_count_for_open_connections_at_their_next_message() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let mut client = server.client();
    client.subscribe("private-room");
    client.trigger("private-room", "client-a", &json!("x"));
    client.expect_error(Some(4301));
    let mut other = server.client();
    other.subscribe("private-room");
    let events = usual.clone().set("client_events", true);
    reload(&server, &toml(&setup, &[&events]));
    client.trigger("private-room", "client-a", &json!("x"));
    other.expect_on("private-room", "client-a");
    let short = events.set("max_event_data_bytes", 3);
    reload(&server, &toml(&setup, &[&short]));
    client.trigger("private-room", "client-a", &json!("long"));
    client.expect_error(Some(4301));
    let body = json!({"name": "e", "channel": "news", "data": "long"});
    server.api().events(&body).is_error(413);
}

#[test]
fn rules_count_for_channels_that_are_occupied_already() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let mut client = server.client();
    client.subscribe("news");
    let rules = json!([{"pattern": "news", "replay_events": 2}]);
    reload(&server, &toml(&setup, &[&usual.set("channels", rules)]));
    server.api().publish("news", "order", "1");
    client.expect_on("news", "order");
    let mut late = server.client();
    late.subscribe("news");
    late.expect_on("news", "order");
}

#[test]
fn a_lowered_connection_limit_closes_nobody() {
    let usual = App::usual();
    let (server, setup) = start(std::slice::from_ref(&usual));
    let mut clients = [server.client(), server.client()];
    clients[0].subscribe("news");
    clients[1].subscribe("news");
    let one = usual.clone().set("max_connections", 1);
    reload(&server, &toml(&setup, &[&one]));
    server
        .upgrade("7")
        .connect(server.public)
        .expect_close(4004);
    for client in &mut clients {
        client.expect_silence();
    }
}

#[test]
fn a_removed_origin_and_a_revoked_key_close_nobody() {
    let usual = App::usual();
    let old = json!([{"key": "old", "secret": "secret-of-old-never-printed"}]);
    let with_old = usual.clone().set("keys", old);
    let (server, setup) = start(&[with_old]);
    let by_old = App::with_secret("1001", "old", "secret-of-old-never-printed");
    let mut client = server.client_of(&by_old);
    client.subscribe("news");
    let strict = usual.clone().set("allowed_origins", json!(["a.test"]));
    reload(&server, &toml(&setup, &[&strict]));
    goes_on(&server, &mut client);
    assert!(!connects(&server, &by_old));
    assert!(!connects(&server, &usual), "a client without an origin");
}

#[test]
fn quota_counters_survive_a_change_of_something_else() {
    let usual = App::usual().set("max_backend_events_per_second", 3);
    let (server, setup) = start(std::slice::from_ref(&usual));
    let event = json!({"name": "e", "channel": "news", "data": ""});
    let batch = |count: usize| server.api().batch(&vec![event.clone(); count]).status;
    assert_eq!(batch(3), 200);
    let named = usual
        .set("name", "Shop")
        .set("max_read_requests_per_second", 9);
    reload(&server, &toml(&setup, &[&named]));
    assert_eq!(batch(3), 429, "the budget was spent before the change");
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
