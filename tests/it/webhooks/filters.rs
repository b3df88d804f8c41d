//! Who gets what.

use serde_json::{Value, json};

use super::{Receiver, app_with};
use crate::support::{app::App, server::TestServer, setup::Setup};

fn names(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    events
        .iter()
        .map(|event| format!("{} {}", text(&event["name"]), text(&event["channel"])))
        .collect()
}

#[test]
fn each_endpoint_gets_its_kinds_on_its_channels() {
    let (kinds, prefix, suffix, all) = (
        Receiver::start(),
        Receiver::start(),
        Receiver::start(),
        Receiver::start(),
    );
    let app = app_with(&json!([
        {"url": kinds.url("/"), "event_types": ["member_added", "client_event"]},
        {"url": prefix.url("/"), "channel_starts_with": "presence-"},
        {"url": suffix.url("/"), "channel_ends_with": "-eu", "event_types": ["channel_occupied"]},
        {"url": all.url("/")},
    ]));
    let server = TestServer::start(Setup::new().app(app));
    let mut client = server.client();
    client.subscribe("orders-eu");
    client.join("presence-eu", "7");
    client.trigger("presence-eu", "client-x", &json!(1));
    client.subscribe("presence");
    let app = server.app();
    assert_eq!(
        names(&kinds.events(app, 2)),
        ["member_added presence-eu", "client_event presence-eu"]
    );
    assert_eq!(
        names(&prefix.events(app, 3)),
        [
            "channel_occupied presence-eu",
            "member_added presence-eu",
            "client_event presence-eu"
        ]
    );
    assert_eq!(names(&suffix.events(app, 2)).len(), 2);
    assert_eq!(all.events(app, 5).len(), 5);
    for receiver in [&kinds, &prefix, &suffix, &all] {
        assert!(receiver.rest().is_empty());
    }
}

#[test]
fn what_is_filtered_out_is_neither_in_the_batch_nor_in_its_signature() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": receiver.url("/"), "channel_starts_with": "a"}]))
        .set("webhook_batching", true);
    let server = TestServer::start(Setup::new().app(app));
    let mut client = server.client();
    for channel in ["a1", "b1", "a2", "b2", "a3"] {
        client.subscribe(channel);
    }
    let mut channels: Vec<_> = receiver.events(server.app(), 3);
    channels.sort_by_key(|event| event["channel"].to_string());
    assert_eq!(
        names(&channels),
        [
            "channel_occupied a1",
            "channel_occupied a2",
            "channel_occupied a3"
        ]
    );
}

#[test]
fn apps_are_told_only_of_themselves_and_sign_for_themselves() {
    let (one, two) = (Receiver::start(), Receiver::start());
    let app = |id: &str, receiver: &Receiver| {
        App::new(id, &format!("key-{id}"))
            .set("webhook_batching", true)
            .set("webhooks", json!([{"url": receiver.url("/")}]))
    };
    let server = TestServer::start(Setup::new().app(app("1", &one)).app(app("2", &two)));
    let (mut first, mut second) = (server.client(), server.client_of(&server.apps[1]));
    for number in 0..10 {
        first.subscribe(&format!("one-{number}"));
        second.subscribe(&format!("two-{number}"));
    }
    for (receiver, app, prefix) in [
        (&one, &server.apps[0], "one"),
        (&two, &server.apps[1], "two"),
    ] {
        for event in receiver.events(app, 10) {
            assert!(
                event["channel"].as_str().expect("text").starts_with(prefix),
                "{event}"
            );
        }
    }
}
