//! The admin API of the apps, on every database (#14).

use serde_json::{Value, json};

use super::{
    connects,
    store::{JSON, Stored},
};
use crate::support::{
    app::App,
    database::{Database, Kind, on_every_database},
    http::Response,
    server::TestServer,
    setup::Setup,
};

on_every_database! {
    an_app_is_made_changed_disabled_and_removed
    keys_are_made_disabled_and_removed
}

fn start(kind: Kind) -> Stored {
    Stored::start_on(Database::new(kind), Setup::new(), &[App::usual()])
}

fn call(server: &TestServer, line: &str, body: &Value) -> Response {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    server.admin_call(line, &JSON, &body)
}

#[track_caller]
fn done(server: &TestServer, line: &str, body: &Value) -> Value {
    let response = call(server, line, body);
    assert!(response.status < 300, "{line}: {response:?}");
    match response.status {
        204 => Value::Null,
        _ => response.json(),
    }
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
}

fn an_app_is_made_changed_disabled_and_removed(kind: Kind) {
    let mut stored = start(kind);
    let server = &mut stored.server;
    let settings = json!({"name": "Shop", "client_events": true, "allowed_origins": [], "max_batch_events": 3,
        "webhooks": [{"url": "http://user:hidden@127.0.0.1:1/hidden", "headers": {"X-Token": "hidden"}}]});
    let made = done(server, "POST /api/apps", &settings);
    let app = App::with_secret(text(&made["id"]), text(&made["key"]), text(&made["secret"]));
    assert_eq!((app.key.len(), app.secret.len()), (20, 40));
    server.apps.push(app.clone());
    let path = format!("/api/apps/{}", app.id);
    let shown = done(server, &format!("GET {path}"), &Value::Null);
    assert_eq!(shown["secret"], Value::Null, "a secret is shown once");
    assert_eq!(
        (&shown["name"], &shown["max_batch_events"]),
        (&json!("Shop"), &json!(3))
    );
    assert_eq!(shown["webhooks"][0]["url"], "http://127.0.0.1:1/…");
    let mut client = server.client_of(&app);
    client.subscribe("private-room");
    server.api_of(&app).publish("private-room", "order", "1");
    client.expect_on("private-room", "order");

    let list = done(server, "GET /api/apps?search=Shop", &Value::Null);
    let row = json!({"id": app.id, "name": "Shop", "enabled": true, "key": app.key, "keys": 1, "connections": 1});
    assert_eq!(list, json!({"apps": [row], "total": 1}));

    let changed = done(
        server,
        &format!("PATCH {path}"),
        &json!({"max_batch_events": null, "name": "Store"}),
    );
    assert_eq!(
        (&changed["name"], &changed["max_batch_events"]),
        (&json!("Store"), &json!(10))
    );
    client.expect_silence();
    done(server, &format!("PATCH {path}"), &json!({"enabled": false}));
    client.expect_closed(4003);
    done(server, &format!("PATCH {path}"), &json!({"enabled": true}));
    assert!(connects(server, &app));
    done(server, &format!("DELETE {path}"), &Value::Null);
    assert!(!connects(server, &app));
    call(server, &format!("GET {path}"), &Value::Null).is_error(404);
    call(server, &format!("DELETE {path}"), &Value::Null).is_error(404);

    let words = [
        "create an app",
        r#""name":["Shop","Store"]"#,
        r#""enabled":[true,false]"#,
        r#""enabled":[false,true]"#,
        "remove an app",
    ];
    let is_audit = |line: &&str| line.contains(" audit: ");
    let log = server.process.wait_stderr("line for each change", |log| {
        let audits = log.lines().filter(is_audit).count();
        (audits == words.len()).then(|| log.replace('\\', ""))
    });
    for (line, words) in log.lines().filter(is_audit).zip(words) {
        assert!(line.contains(words), "{line}");
        assert!(
            line.contains("this machine") && line.contains(&app.id),
            "{line}"
        );
    }
    assert!(!log.contains("hidden"), "{log}");
}

fn keys_are_made_disabled_and_removed(kind: Kind) {
    let mut stored = start(kind);
    let server = &mut stored.server;
    let old = server.app().clone();
    let mut by_old = server.client();
    let made = done(
        server,
        "POST /api/apps/1001/keys",
        &json!({"label": "October"}),
    );
    let new = App::with_secret("1001", text(&made["key"]), text(&made["secret"]));
    server.apps.push(new.clone());
    let mut by_new = server.client_of(&new);
    by_new.subscribe("private-room");
    let shown = done(server, "GET /api/apps/1001", &Value::Null);
    assert_eq!(shown["keys"][0]["label"], "October");
    assert_eq!(shown["keys"][0]["secret"], Value::Null);

    // The app's own key is disabled as any other.
    let line = format!("PATCH /api/apps/1001/keys/{}", old.key);
    done(server, &line, &json!({"disabled": "2020-01-01T00:00:00Z"}));
    assert!(!connects(server, &old) && connects(server, &new));
    by_old.expect_silence();
    done(server, &line, &json!({"disabled": null}));
    assert!(connects(server, &old));
    let line = format!(
        "DELETE /api/apps/1001/keys/{}?close_connections=true",
        old.key
    );
    done(server, &line, &Value::Null);
    by_old.expect_closed(4009);
    by_new.expect_silence();
    assert!(!connects(server, &old) && connects(server, &new));
    let line = format!("DELETE /api/apps/1001/keys/{}", new.key);
    let refused = call(server, &line, &Value::Null).is_error(422);
    assert!(refused.contains("key is missing"), "{refused}");
    call(server, "DELETE /api/apps/1001/keys/none", &Value::Null).is_error(404);
}

#[test]
fn a_bad_change_is_refused_with_all_that_is_wrong_and_changes_nothing() {
    let stored = start(Kind::Sqlite);
    let server = &stored.server;
    let bad = json!({"max_connections": 0, "colour": "red", "allowed_origins": ["a/b"]});
    let response = call(server, "PATCH /api/apps/1001", &bad);
    response.is_error(422);
    let expected = json!([
        {"key": "colour", "reason": "is not a key"},
        {"key": "allowed_origins[0]", "reason": "is \"a/b\", which is no origin: an origin has no path: leave out everything after the host and port"},
        {"key": "max_connections", "reason": "must be at least 1; leave it out for no limit"},
    ]);
    assert_eq!(response.json()["problems"], expected);
    call(server, "POST /api/apps", &json!({"id": "1001"})).is_error(409);
    call(
        server,
        "POST /api/apps",
        &json!({"id": "7", "key": "key-of-1001"}),
    )
    .is_error(409);
    call(server, "PATCH /api/apps/1001", &json!({"id": "7"})).is_error(409);
    call(server, "PATCH /api/apps/7", &json!({"name": "x"})).is_error(404);
    call(server, "POST /api/apps", &json!([])).is_error(400);
    assert_eq!(done(server, "GET /api/apps", &Value::Null)["total"], 1);
}

#[test]
fn connections_of_an_origin_that_was_removed_are_closed_if_that_is_asked_for() {
    let stored = start(Kind::Sqlite);
    let server = &stored.server;
    let mut without = server.client();
    let body = json!({"allowed_origins": ["a.test"]});
    done(server, "PATCH /api/apps/1001", &body);
    without.expect_silence();
    done(server, "PATCH /api/apps/1001?close_connections=true", &body);
    without.expect_closed(4009);
}

#[test]
fn changes_need_the_token_json_and_an_own_page() {
    let database = Database::new(Kind::Sqlite);
    let setup = Setup::new().set("admin.token", "a-token-of-24-characters");
    let setup = setup.set("database.url", database.url.clone());
    let config = crate::support::process::ConfigFile::new(&setup.toml());
    let server = TestServer::launch(&["--config", config.path()], &[]);
    let bearer = "Authorization: Bearer a-token-of-24-characters";
    let json = "Content-Type: application/json";
    let call = |line: &str, headers: &[&str]| {
        let headers = [&["Host: localhost"], headers].concat();
        server.admin_call(line, &headers, "{}").status
    };
    assert_eq!(call("POST /api/apps", &[bearer, json]), 201);
    for line in [
        "POST /api/apps",
        "PATCH /api/apps/1",
        "POST /api/apps/1/keys",
        "PATCH /api/apps/1/keys/k",
        "POST /api/reload",
    ] {
        assert_eq!(call(line, &[json]), 401, "{line}");
        assert_eq!(call(line, &[bearer]), 415, "{line}");
        assert_eq!(
            call(line, &[bearer, json, "Origin: http://evil.test"]),
            403,
            "{line}"
        );
    }
    for line in ["DELETE /api/apps/1", "DELETE /api/apps/1/keys/k"] {
        assert_eq!(call(line, &[]), 401, "{line}");
        assert_eq!(
            call(line, &[bearer, "Origin: http://evil.test"]),
            403,
            "{line}"
        );
    }
    let log = server.process.stderr();
    assert_eq!(log.matches("by=\"admin.token\"").count(), 1, "{log}");
}
