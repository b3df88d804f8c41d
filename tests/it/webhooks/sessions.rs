//! Events about sessions, where only one may be.

use serde_json::json;

use super::{Receiver, app_with};
use crate::support::{app::App, server::TestServer, setup::Setup};

fn app_that_reports(receiver: &Receiver, rule: &str) -> App {
    let kinds = ["session_replaced", "session_refused"];
    let endpoints = json!([{"url": receiver.url("/"), "event_types": kinds}]);
    app_with(&endpoints).set("single_session", rule)
}

#[test]
fn a_session_that_replaces_another_is_reported_with_the_replaced_one() {
    let receiver = Receiver::start();
    let app = app_that_reports(&receiver, "replace");
    let server = TestServer::start(Setup::new().app(app));
    let (mut old, mut tab, mut new) = (server.client(), server.client(), server.client());
    old.sign_in_with(r#"{"id":"7","session_id":"old"}"#);
    tab.sign_in_with(r#"{"id":"7","session_id":"old"}"#);
    new.sign_in_with(r#"{"id":"7","session_id":"new"}"#);
    let expected = json!({"name": "session_replaced", "channel": "#server-to-user-7", "user_id": "7",
        "session_id": "new", "replaced_session_id": "old"});
    assert_eq!(receiver.event(server.app()), expected);
}

#[test]
fn each_replaced_session_has_an_event_of_its_own() {
    let receiver = Receiver::start();
    // While the grace lasts, a session that has to go is still there.
    let app = app_that_reports(&receiver, "replace").set("session_grace_s", 60);
    let server = TestServer::start(Setup::new().app(app));
    let mut sessions = ["first", "second", "third"].map(|_| server.client());
    for (client, id) in sessions.iter_mut().zip(["first", "second", "third"]) {
        client.sign_in_with(&format!(r#"{{"id":"7","session_id":"{id}"}}"#));
    }
    let events = receiver.events(server.app(), 3);
    let mut pairs: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event["session_id"].as_str(),
                event["replaced_session_id"].as_str(),
            )
        })
        .collect();
    pairs[1..].sort_unstable();
    let expected = [("second", "first"), ("third", "first"), ("third", "second")];
    assert_eq!(pairs, expected.map(|(new, old)| (Some(new), Some(old))));
}

#[test]
fn a_refused_session_is_reported() {
    let receiver = Receiver::start();
    let app = app_that_reports(&receiver, "refuse");
    let server = TestServer::start(Setup::new().app(app));
    let (mut old, mut new) = (server.client(), server.client());
    old.sign_in_with(r#"{"id":"7","session_id":"old"}"#);
    new.ask_sign_in(r#"{"id":"7","session_id":"new"}"#);
    new.expect_error(None);
    let expected = json!({"name": "session_refused", "channel": "#server-to-user-7", "user_id": "7",
        "session_id": "new"});
    assert_eq!(receiver.event(server.app()), expected);
}

#[test]
fn sessions_of_a_channel_are_reported_with_its_name() {
    let receiver = Receiver::start();
    let rule = json!([{"pattern": "private-user-*", "single_session": "replace"}]);
    let app = app_that_reports(&receiver, "off").set("channels", rule);
    let server = TestServer::start(Setup::new().app(app));
    let (mut old, mut new) = (server.client(), server.client());
    old.subscribe("private-user-7");
    new.subscribe("private-user-7");
    let expected = json!({"name": "session_replaced", "channel": "private-user-7",
        "session_id": new.socket_id, "replaced_session_id": old.socket_id});
    assert_eq!(receiver.event(server.app()), expected);
}

#[test]
fn an_endpoint_that_does_not_name_the_kinds_of_sessions_gets_none() {
    let receiver = Receiver::start();
    let endpoints = json!([{"url": receiver.url("/")}]);
    let app = app_with(&endpoints).set("single_session", "replace");
    let server = TestServer::start(Setup::new().app(app));
    let (mut old, mut new) = (server.client(), server.client());
    old.sign_in_with(r#"{"id":"7","session_id":"old"}"#);
    new.sign_in_with(r#"{"id":"7","session_id":"new"}"#);
    new.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}
