//! Apps in a database: rows that are wrong, databases that go away, tables of others (#14).

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    connects, goes_on, other,
    store::{JSON, Stored, statements},
};
use crate::support::{
    app::App,
    database::{Database, Kind, Server, on_every_database},
    feed::Feed,
    process::ConfigFile,
    proxy::Proxy,
    server::TestServer,
    setup::Setup,
    within,
};

const SOON: Duration = Duration::from_secs(10);

on_every_database! {
    a_row_that_is_not_valid_stays_as_it_was_and_the_others_change
    a_key_that_two_rows_have_stays_with_the_first
    a_table_that_is_emptied_by_mistake_changes_nothing
    changes_are_noticed_without_being_told
    a_user_who_may_only_read_suffices
    a_table_filled_by_soketi_serves
    a_column_that_is_missing_is_added
}

fn start(kind: Kind, apps: &[App]) -> Stored {
    Stored::start_on(Database::new(kind), Setup::new(), apps)
}

fn execute(stored: &Stored, statement: &str) {
    let database = stored.database.as_ref().expect("a database");
    let statement = statement.replace("\"key\"", &database.quoted("key"));
    database.execute(&[statement]);
}

fn store_state(server: &TestServer) -> Value {
    server.admin_json("/api/state")["app_store"].take()
}

fn problems(stored: &Stored) -> Vec<String> {
    let state = store_state(&stored.server);
    let problems = state["problems"].as_array().expect("a list").iter();
    problems
        .map(|it| it.as_str().expect("a text").to_owned())
        .collect()
}

#[track_caller]
fn soon_connects(server: &TestServer, app: &App) {
    within(SOON, "the app is served", || match connects(server, app) {
        true => Ok(()),
        false => Err(store_state(server).to_string()),
    });
}

fn a_row_that_is_not_valid_stays_as_it_was_and_the_others_change(kind: Kind) {
    let (usual, other) = (App::usual(), other());
    let stored = start(kind, &[usual.clone(), other.clone()]);
    let mut client = stored.server.client_of(&other);
    client.subscribe("news");
    execute(
        &stored,
        "UPDATE loudhailer_apps SET max_batch_events = 0 WHERE id = '1002'",
    );
    execute(
        &stored,
        "UPDATE loudhailer_apps SET enabled = false WHERE id = '1001'",
    );
    execute(
        &stored,
        "INSERT INTO loudhailer_apps (id, \"key\", secret) VALUES ('1003', 'not a key', 'hidden')",
    );
    stored.reload("");
    let expected = [
        "loudhailer_apps, app 1002: max_batch_events must be at least 1",
        "loudhailer_apps, app 1003: key may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not \"not a key\"",
    ];
    assert_eq!(problems(&stored), expected);
    assert!(connects(&stored.server, &other) && !connects(&stored.server, &usual));
    client.expect_nothing_before_marker(&stored.server.api_of(&other), "news");
    let metrics = stored.server.admin_get("/metrics").body;
    assert!(metrics.contains("loudhailer_app_problems 2"), "{metrics}");
    execute(
        &stored,
        "UPDATE loudhailer_apps SET \"key\" = 'k3' WHERE id = '1003'",
    );
    execute(
        &stored,
        "UPDATE loudhailer_apps SET max_batch_events = 1 WHERE id = '1002'",
    );
    stored.reload("");
    assert_eq!(problems(&stored), Vec::<String>::new());
    assert!(connects(
        &stored.server,
        &App::with_secret("1003", "k3", "hidden")
    ));
    let batch = [
        json!({"name": "e", "channel": "news", "data": ""}),
        json!({"name": "e", "channel": "news", "data": ""}),
    ];
    stored.server.api_of(&other).batch(&batch).is_error(400);
}

fn a_key_that_two_rows_have_stays_with_the_first(kind: Kind) {
    let (usual, other) = (App::usual(), other());
    let stored = start(kind, &[usual.clone(), other.clone()]);
    let mut client = stored.server.client_of(&other);
    client.subscribe("news");
    let keys = json!([{"key": other.key, "secret": "stolen"}]).to_string();
    let database = stored.database.as_ref().expect("a database");
    let column = database.quoted("keys");
    let statement = format!("UPDATE loudhailer_apps SET {column} = '{keys}' WHERE id = '1001'");
    database.execute(&[statement]);
    stored.reload("");
    stored.reload("");
    let expected = "loudhailer_apps, app 1001: key \"key-of-1002\" is a key of app 1002 already";
    assert_eq!(problems(&stored), [expected]);
    assert!(connects(&stored.server, &usual));
    stored.server.api_of(&other).publish("news", "order", "1");
    client.expect_on("news", "order");
}

fn a_table_that_is_emptied_by_mistake_changes_nothing(kind: Kind) {
    let stored = start(kind, &[App::usual()]);
    let mut client = stored.server.client();
    client.subscribe("news");
    let mut feed = Feed::connect(&stored.server);
    stored.write(&[]);
    let line = feed.next_of("apps_refused");
    let message = line["message"].as_str().expect("a message");
    assert!(message.contains("lists no apps any more"), "{message}");
    goes_on(&stored.server, &mut client);
    stored.reload("").is_error(422);
    let response = stored.reload(r#"{"force": true}"#);
    assert_eq!(response.status, 200, "{response:?}");
    client.expect_closed(4001);
    stored.write(&[App::usual()]);
    soon_connects(&stored.server, &App::usual());
}

fn changes_are_noticed_without_being_told(kind: Kind) {
    let usual = App::usual();
    let stored = start(kind, std::slice::from_ref(&usual));
    let other = other();
    stored.write(&[usual.clone(), other.clone()]);
    soon_connects(&stored.server, &other);
    stored.write(std::slice::from_ref(&other));
    within(SOON, "the app is gone", || {
        match connects(&stored.server, &usual) {
            true => Err("it is there".to_owned()),
            false => Ok(()),
        }
    });
}

fn a_user_who_may_only_read_suffices(kind: Kind) {
    let usual = App::usual();
    let stored = start(kind, std::slice::from_ref(&usual));
    let database = stored.database.as_ref().expect("a database");
    let reader = match kind {
        Kind::Sqlite => format!("{}?mode=ro", database.url),
        Kind::Postgres => {
            let name = format!(
                "reader_{}",
                database.url.rsplit('/').next().expect("a name")
            );
            database.execute(&[
                format!("CREATE ROLE {name} LOGIN"),
                format!("GRANT SELECT ON loudhailer_apps TO {name}"),
            ]);
            database.url.replace("tests@", &format!("{name}@"))
        }
        Kind::MariaDb => {
            let name = database.url.rsplit('/').next().expect("a name");
            database.execute(&[format!("GRANT SELECT ON {name}.loudhailer_apps TO reader_{name}@localhost IDENTIFIED BY 'r'")]);
            database.url.replace("root@", &format!("reader_{name}:r@"))
        }
    };
    let setup = Setup::new()
        .set("database.url", reader)
        .set("database.poll_s", 1);
    let config = ConfigFile::new(&setup.toml());
    let mut server = TestServer::launch(&["--config", config.path()], &[]);
    server.apps = vec![usual.clone()];
    assert!(connects(&server, &usual));
    let other = other();
    stored.write(&[usual, other.clone()]);
    soon_connects(&server, &other);
}

/// The columns that soketi's SQL app manager knows, some of which mean nothing here, and one more.
fn a_table_filled_by_soketi_serves(kind: Kind) {
    let database = Database::new(kind);
    let key = database.quoted("key");
    let json_type = match kind {
        Kind::Sqlite => "text",
        _ => "json",
    };
    let create = format!(
        "CREATE TABLE apps (id varchar(255) PRIMARY KEY, {key} varchar(255) NOT NULL, secret varchar(255) NOT NULL, \
         max_connections integer NOT NULL, enable_client_messages smallint NOT NULL, enabled smallint NOT NULL, \
         max_backend_events_per_sec integer NOT NULL, max_client_events_per_sec integer NOT NULL, \
         max_read_req_per_sec integer NOT NULL, webhooks {json_type}, max_presence_members_per_channel smallint NULL, \
         max_presence_member_size_in_kb smallint NULL, max_channel_name_length smallint NULL, \
         max_event_channels_at_once smallint NULL, max_event_name_length smallint NULL, \
         max_event_payload_in_kb smallint NULL, max_event_batch_size smallint NULL, \
         enable_user_authentication smallint NOT NULL, owner_of_the_app text NULL)"
    );
    let hook = r#"[{"url": "http://127.0.0.1:1/", "event_types": ["client_event"], "filter": {"channel_name_starts_with": "a"}}]"#;
    let insert = format!(
        "INSERT INTO apps VALUES ('1001', 'key-of-1001', 'never-printed-1', -1, 1, 1, -1, -1, -1, '{hook}', NULL, 2, NULL, 3, NULL, \
         1, NULL, 0, 'somebody'), ('1002', 'key-of-1002', 'never-printed-2', 1, 0, 0, 5, 5, 5, NULL, NULL, NULL, NULL, NULL, NULL, \
         NULL, NULL, 1, NULL)"
    );
    database.execute(&[create, insert]);
    let setup = Setup::new()
        .set("database.url", database.url.clone())
        .set("database.layout", "soketi")
        .set("database.poll_s", 1);
    let config = ConfigFile::new(&setup.toml());
    let mut server = TestServer::launch(&["--config", config.path()], &[]);
    let app = App::with_secret("1001", "key-of-1001", "never-printed-1");
    server.apps = vec![app.clone()];
    let mut client = server.client();
    client.subscribe("private-room");
    client.trigger("private-room", "client-a", &json!("x"));
    client.expect_silence();
    let state = server.admin_json("/api/state");
    let limits = &state["apps"][0]["limits"];
    let expected = [
        ("max_connections", Value::Null),
        ("max_backend_events_per_second", Value::Null),
        ("max_presence_user_info_bytes", json!(2048)),
        ("max_event_channels", json!(3)),
        ("max_event_data_bytes", json!(1024)),
        ("max_batch_events", json!(10)),
    ];
    for (name, value) in expected {
        assert_eq!(limits[name], value, "{name}");
    }
    assert_eq!(state["apps"][1]["enabled"], false);
    assert_eq!(state["app_store"]["problems"], json!([]));
    assert_eq!(state["app_store"]["writable"], false);
    database.execute(&["UPDATE apps SET enabled = 1 WHERE id = '1002'".to_owned()]);
    soon_connects(
        &server,
        &App::with_secret("1002", "key-of-1002", "never-printed-2"),
    );
}

fn a_column_that_is_missing_is_added(kind: Kind) {
    let database = Database::new(kind);
    let key = database.quoted("key");
    let app = App::usual();
    database.execute(&[
        format!(
            "CREATE TABLE loudhailer_apps (id varchar(50) PRIMARY KEY, {key} varchar(50), secret varchar(50), \
             note varchar(50))"
        ),
        format!("INSERT INTO loudhailer_apps VALUES ('{}', '{}', '{}', 'mine')", app.id, app.key, app.secret),
    ]);
    let setup = Setup::new().set("database.url", database.url.clone());
    let config = ConfigFile::new(&setup.toml());
    let mut server = TestServer::launch(&["--config", config.path()], &[]);
    server.apps = vec![app.clone()];
    assert!(connects(&server, &app));
    database.execute(&["UPDATE loudhailer_apps SET max_connections = 1".to_owned()]);
    server.admin_call("POST /api/reload", &super::store::JSON, "");
    let _client = server.client();
    server
        .upgrade("7")
        .connect(server.public)
        .expect_close(4004);
}

/// Rules of the operator hold wherever the apps are.
#[test]
fn an_endpoint_at_a_forbidden_address_is_refused_in_a_row_and_in_the_admin_api() {
    let setup = Setup::new().set("server.webhook_allowed_addresses", vec!["external"]);
    let usual = App::usual();
    let stored = Stored::start_on(
        Database::new(Kind::Sqlite),
        setup,
        std::slice::from_ref(&usual),
    );
    let webhooks = json!([{"url": "http://169.254.169.254/hidden"}]);
    let body = json!({"webhooks": webhooks}).to_string();
    let refused = stored
        .server
        .admin_call("PATCH /api/apps/1001", &JSON, &body);
    assert_eq!(refused.status, 422, "{refused:?}");
    let expected =
        "must not lead to 169.254.169.254, which is not among server.webhook_allowed_addresses";
    let problem = json!({"key": "webhooks[0].url", "reason": expected});
    assert_eq!(refused.json()["problems"], json!([problem]));
    stored.put(&[usual.set("webhooks", webhooks)]);
    let row = format!("loudhailer_apps, app 1001: webhooks[0].url {expected}");
    assert_eq!(problems(&stored), [row]);
    let as_it_was = stored.server.admin_json("/api/apps/1001");
    assert_eq!(as_it_was["webhooks"], json!([]));
}

#[test]
fn postgres_tells_of_changes_within_a_second() {
    let usual = App::usual();
    let database = Database::new(Kind::Postgres);
    let setup = Setup::new()
        .set("database.url", database.url.clone())
        .set("database.poll_s", 3600);
    let config = ConfigFile::new(&setup.toml());
    let server = TestServer::launch(&["--config", config.path()], &[]);
    database.execute(&statements(&database, std::slice::from_ref(&usual)));
    soon_connects(&server, &usual);
    let mut feed = Feed::connect(&server);
    let other = other();
    let begun = Instant::now();
    database.execute(&statements(&database, &[usual, other]));
    feed.next_of("apps_changed");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

/// Everything goes on while the database is away, and a change arrives when it is back.
#[track_caller]
fn outlives(stored: &Stored, go: impl FnOnce(), come_back: impl FnOnce()) {
    let server = &stored.server;
    let mut client = server.client();
    client.subscribe("news");
    go();
    within(SOON + SOON, "the outage is noticed", || {
        let state = store_state(server);
        match state["available"] == false {
            true => Ok(()),
            false => Err(state.to_string()),
        }
    });
    for _ in 0..50 {
        goes_on(server, &mut client);
    }
    assert!(connects(server, server.app()));
    assert!(server.is_ready());
    let metrics = server.admin_get("/metrics").body;
    assert!(
        metrics.contains("loudhailer_app_store_available 0"),
        "{metrics}"
    );
    let text = stored.reload("").is_error(503);
    assert!(!text.is_empty());
    come_back();
    let other = other();
    stored.write(&[server.app().clone(), other.clone()]);
    within(SOON * 3, "the change arrives", || {
        match connects(server, &other) {
            true => Ok(()),
            false => Err(store_state(server).to_string()),
        }
    });
    assert_eq!(store_state(server)["available"], true);
    goes_on(server, &mut client);
    let warnings = server
        .process
        .stderr()
        .matches("store does not answer")
        .count();
    assert_eq!(warnings, 1, "{}", server.process.stderr());
}

fn outlives_a_killed_server(kind: Kind) {
    let mut database_server = Server::start(kind);
    let stored = Stored::start_on(database_server.database(), Setup::new(), &[App::usual()]);
    let server = std::cell::RefCell::new(&mut database_server);
    outlives(
        &stored,
        || server.borrow_mut().kill(),
        || server.borrow_mut().run(),
    );
}

#[test]
fn a_killed_postgres_ends_nothing() {
    outlives_a_killed_server(Kind::Postgres);
}

#[test]
fn a_killed_mariadb_ends_nothing() {
    outlives_a_killed_server(Kind::MariaDb);
}

/// A server that reaches its database through a proxy.
fn start_behind_proxy(kind: Kind) -> (Proxy, Stored) {
    let database = Database::new(kind);
    let proxy = Proxy::start(database.port());
    let through = database.through(proxy.address.port());
    let apps = [App::usual()];
    let stored = Stored::start_through(&through, database, Setup::new(), &apps);
    (proxy, stored)
}

/// A change arrives although the way to the database is bad; meanwhile everything goes on, and the database counts as available.
#[track_caller]
fn arrives_on_a_bad_way(stored: &Stored) {
    let (server, other) = (&stored.server, other());
    let mut client = server.client();
    client.subscribe("news");
    stored.write(&[server.app().clone(), other.clone()]);
    within(SOON, "the change arrives", || {
        goes_on(server, &mut client);
        let state = store_state(server);
        assert_eq!(state["available"], true, "{state}");
        match connects(server, &other) {
            true => Ok(()),
            false => Err(state.to_string()),
        }
    });
}

fn a_database_that_is_slower_than_the_poll_serves(kind: Kind) {
    const LATE: Duration = Duration::from_millis(250);
    let (proxy, stored) = start_behind_proxy(kind);
    proxy.delay(LATE);
    let begun = Instant::now();
    assert_eq!(stored.reload("").status, 200);
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "the poll's second"
    );
    arrives_on_a_bad_way(&stored);
}

fn connections_to_the_database_that_are_cut_are_made_again(kind: Kind) {
    let (proxy, stored) = start_behind_proxy(kind);
    proxy.cut();
    arrives_on_a_bad_way(&stored);
}

mod on_a_bad_way {
    use super::*;

    #[test]
    fn slow_postgres() {
        a_database_that_is_slower_than_the_poll_serves(Kind::Postgres);
    }

    #[test]
    fn slow_mariadb() {
        a_database_that_is_slower_than_the_poll_serves(Kind::MariaDb);
    }

    #[test]
    fn cut_postgres() {
        connections_to_the_database_that_are_cut_are_made_again(Kind::Postgres);
    }

    #[test]
    fn cut_mariadb() {
        connections_to_the_database_that_are_cut_are_made_again(Kind::MariaDb);
    }
}

#[test]
fn a_database_that_hangs_ends_nothing() {
    let (proxy, stored) = start_behind_proxy(Kind::Postgres);
    outlives(&stored, || proxy.hold_all(), || proxy.release());
}

#[test]
fn an_sqlite_file_that_another_program_locks_ends_nothing() {
    let stored = start(Kind::Sqlite, &[App::usual()]);
    let database = stored.database.as_ref().expect("a database");
    let lock = std::cell::Cell::new(None);
    outlives(
        &stored,
        || lock.set(Some(database.lock())),
        || drop(lock.take()),
    );
}

/// Where the apps are.
fn file_of(stored: &Stored) -> &Path {
    let database = stored.database.as_ref().expect("a database");
    database.file.as_deref().expect("SQLite's file")
}

#[test]
fn an_sqlite_file_that_is_gone_ends_nothing() {
    let stored = start(Kind::Sqlite, &[App::usual()]);
    let file = file_of(&stored);
    let away = file.with_extension("away");
    let rename = |from: &Path, to: &Path| fs::rename(from, to).expect("its owner may");
    outlives(&stored, || rename(file, &away), || rename(&away, file));
}

#[test]
fn an_sqlite_file_that_takes_the_place_of_another_is_read_and_written_to() {
    let usual = App::usual();
    let stored = start(Kind::Sqlite, std::slice::from_ref(&usual));
    let (file, other) = (file_of(&stored), other());
    let next = Database {
        kind: Kind::Sqlite,
        url: format!("sqlite://{}", file.with_extension("next").display()),
        file: Some(file.with_extension("next")),
    };
    let put_in_place = |apps: &[App]| {
        fs::copy(file, file.with_extension("next")).expect("a copy");
        next.execute(&statements(&next, apps));
        fs::rename(file.with_extension("next"), file).expect("its owner may");
    };
    put_in_place(&[usual.clone(), other.clone()]);
    soon_connects(&stored.server, &other);
    let late = App::new("1003", "key-of-1003");
    put_in_place(&[usual, late.clone()]);
    // Its row is in the new file only.
    let body = json!({"name": "Shop"}).to_string();
    let changed = stored
        .server
        .admin_call("PATCH /api/apps/1003", &JSON, &body);
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(connects(&stored.server, &late) && !connects(&stored.server, &other));
}
