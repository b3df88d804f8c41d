//! §7.4: `POST /apps/{id}/batch_events`.

use serde_json::{Value, json};

use crate::support::server::TestServer;

fn event(name: &str, channel: &str) -> Value {
    json!({"name": name, "channel": channel, "data": name})
}

#[test]
fn events_are_delivered_in_order() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    for round in 0..20 {
        let events: Vec<_> = (0..10)
            .map(|number| event(&format!("{round}.{number}"), "news"))
            .collect();
        server.api().batch(&events).is_empty_object();
    }
    for round in 0..20 {
        for number in 0..10 {
            client.expect_on("news", &format!("{round}.{number}"));
        }
    }
}

#[test]
fn each_event_has_its_own_channel_data_and_exclusion() {
    let server = TestServer::usual();
    let (mut one, mut two) = (server.client(), server.client());
    for client in [&mut one, &mut two] {
        client.subscribe("a");
    }
    let mut for_two = event("for two", "a");
    for_two["socket_id"] = json!(one.socket_id);
    let mut for_one = event("for one", "a");
    for_one["socket_id"] = json!(two.socket_id);
    server
        .api()
        .batch(&[for_two, for_one, event("for both", "a")])
        .is_empty_object();
    one.expect_on("a", "for one");
    one.expect_on("a", "for both");
    two.expect_on("a", "for two");
    two.expect_on("a", "for both");
}

#[test]
fn an_item_may_name_several_channels() {
    let server = TestServer::usual();
    let (mut one, mut two) = (server.client(), server.client());
    one.subscribe("a");
    two.subscribe("b");
    let events = [json!({"name": "e", "channels": ["a", "b"], "data": ""})];
    server.api().batch(&events).is_empty_object();
    one.expect_on("a", "e");
    two.expect_on("b", "e");
}

#[test]
fn one_bad_event_stops_the_whole_batch_before_anything_is_sent() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    let bad = [
        (event("", "news"), 400),
        (event("e", "a b"), 400),
        (event("pusher:x", "news"), 400),
        (event(&"x".repeat(201), "news"), 400),
        (json!({"name": "e", "channel": "news"}), 400),
        (json!({"name": "e", "data": ""}), 400),
        (
            json!({"name": "e", "channel": "news", "data": "", "socket_id": "x"}),
            400,
        ),
        (
            json!({"name": "e", "channel": "news", "data": "x".repeat(10_241)}),
            413,
        ),
        (json!([]), 400),
        (json!(null), 400),
    ];
    for (bad, status) in bad {
        let response =
            server
                .api()
                .batch(&[event("first", "news"), event("second", "news"), bad.clone()]);
        assert_eq!(response.status, status, "{bad}: {response:?}");
        response.is_error(status);
    }
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn a_batch_is_a_non_empty_list() {
    let server = TestServer::usual();
    for body in [
        json!({}),
        json!({"batch": []}),
        json!({"batch": {}}),
        json!({"batch": null}),
        json!({"batch": "x"}),
        json!([event("e", "news")]),
        event("e", "news"),
    ] {
        let response = server.api().post("/batch_events", &body);
        assert_eq!(response.status, 400, "{body}: {response:?}");
        response.is_error(400);
    }
}
