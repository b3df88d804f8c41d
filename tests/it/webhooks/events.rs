//! The events, their fields and their order.

use serde_json::{Value, json};

use super::{Receiver, app_with, server_for};
use crate::support::{eventually, server::TestServer, setup::Setup};

#[test]
fn a_channel_is_occupied_once_and_vacated_once() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let (mut first, mut second) = (server.client(), server.client());
    first.subscribe("orders");
    assert_eq!(
        receiver.event(server.app()),
        json!({"name": "channel_occupied", "channel": "orders"})
    );
    second.subscribe("orders");
    first.unsubscribe("orders");
    first.expect_silence();
    // The channel that is known to be told of next is this one.
    first.subscribe("other");
    assert_eq!(receiver.event(server.app())["channel"], "other");
    second.close();
    assert_eq!(
        receiver.event(server.app()),
        json!({"name": "channel_vacated", "channel": "orders"})
    );
}

#[test]
fn a_member_is_added_after_the_channel_and_removed_before_it() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let room = "presence-room";
    let (mut tab, mut other_tab) = (server.client(), server.client());
    tab.join(room, "7");
    other_tab.join(room, "7");
    let events = receiver.events(server.app(), 2);
    assert_eq!(
        events,
        [
            json!({"name": "channel_occupied", "channel": room}),
            json!({"name": "member_added", "channel": room, "user_id": "7"}),
        ]
    );
    tab.close();
    let mut marker = server.client();
    marker.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
    other_tab.close();
    let events = receiver.events(server.app(), 2);
    assert_eq!(
        events,
        [
            json!({"name": "member_removed", "channel": room, "user_id": "7"}),
            json!({"name": "channel_vacated", "channel": room}),
        ]
    );
}

#[test]
fn a_refused_member_is_not_told_of() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": receiver.url("/")}])).set("max_presence_members", 1);
    let server = TestServer::start(Setup::new().app(app));
    let (mut first, mut second) = (server.client(), server.client());
    first.join("presence-room", "1");
    receiver.events(server.app(), 2);
    second.ask_with("presence-room", r#"{"user_id":"2"}"#);
    second.expect_refusal("presence-room");
    second.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}

#[test]
fn a_client_event_is_told_as_it_was_relayed() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let (mut sender, mut other) = (server.client(), server.client());
    sender.subscribe("private-room");
    other.subscribe("private-room");
    receiver.events(server.app(), 1);
    let plain = json!({"event": "client-x", "channel": "private-room"});
    for (data, told) in [
        (json!({"a": [1, "ä"]}), Some(r#"{"a":[1,"ä"]}"#)),
        (json!("text \" \u{1}"), Some("text \" \u{1}")),
        (json!(7), Some("7")),
        (Value::Null, None),
    ] {
        let mut message = plain.clone();
        if told.is_some() {
            message["data"] = data;
        }
        sender.send(&message);
        let relayed = other.expect_on("private-room", "client-x");
        let mut expected = json!({"name": "client_event", "channel": "private-room",
            "event": "client-x", "socket_id": sender.socket_id});
        if let Some(told) = told {
            assert_eq!(relayed.json["data"], told);
            expected["data"] = told.into();
        }
        assert_eq!(receiver.event(server.app()), expected);
    }
}

#[test]
fn a_client_event_names_the_user_on_a_presence_channel() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let mut sender = server.client();
    sender.join_with("presence-room", r#"{"user_id":7}"#);
    receiver.events(server.app(), 2);
    sender.trigger("presence-room", "client-x", &json!({}));
    assert_eq!(
        receiver.event(server.app()),
        json!({"name": "client_event", "channel": "presence-room", "event": "client-x",
            "data": "{}", "socket_id": sender.socket_id, "user_id": "7"})
    );
    // What is refused is not told.
    sender.trigger("private-elsewhere", "client-x", &json!({}));
    sender.expect_error(Some(4301));
    sender.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}

#[test]
fn a_cache_miss_is_told_once_while_the_channel_stays_empty() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let miss = json!({"name": "cache_miss", "channel": "cache-a"});
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        client.subscribe("cache-a");
        client.expect("pusher:cache_miss");
    }
    let events = receiver.events(server.app(), 2);
    assert_eq!(events[0]["name"], "channel_occupied");
    assert_eq!(events[1], miss);
    // An event, and it is full; its name in another channel does not matter.
    server.api().publish("cache-a", "news", "1");
    let mut late = server.client();
    late.subscribe("cache-a");
    late.expect_on("cache-a", "news");
    late.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}

#[test]
fn a_cache_miss_is_told_again_when_the_cached_event_has_expired() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": receiver.url("/"), "event_types": ["cache_miss"]}]))
        .set("cache_ttl_s", 1);
    let server = TestServer::start(Setup::new().app(app));
    let mut first = server.client();
    first.subscribe("cache-a");
    receiver.event(server.app());
    server.api().publish("cache-a", "news", "1");
    eventually("the cached event expires", || {
        let mut client = server.client();
        client.subscribe("cache-a");
        (client.next().event() == "pusher:cache_miss").then_some(())
    });
    assert_eq!(receiver.event(server.app())["channel"], "cache-a");
    // And when everybody has gone in between.
    first.close();
    eventually("another miss", || {
        let mut client = server.client();
        client.subscribe("cache-a");
        client.expect("pusher:cache_miss");
        client.close();
        (!receiver.rest().is_empty()).then_some(())
    });
}

#[test]
fn a_users_own_channel_is_nobodys_business() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let mut client = server.client();
    let user_data = r#"{"id":"7"}"#;
    let auth = server
        .app()
        .auth(&client.socket_id, &format!(":user::{user_data}"));
    client.send(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}));
    client.expect("pusher:signin_success");
    client.subscribe("#server-to-user-7");
    client.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}

#[test]
fn a_changed_number_of_subscribers_is_told_where_the_app_counts_them() {
    let receiver = Receiver::start();
    let counts = json!([{"url": receiver.url("/"), "event_types": ["subscription_count"]}]);
    let app = app_with(&counts).set("subscription_counts", true);
    let server = TestServer::start(Setup::new().app(app));
    let (mut first, mut second) = (server.client(), server.client());
    let count = |count: usize| json!({"name": "subscription_count", "channel": "orders", "subscription_count": count});
    first.ask("orders");
    assert_eq!(receiver.event(server.app()), count(1));
    second.join("presence-room", "7");
    second.ask("orders");
    assert_eq!(receiver.event(server.app()), count(2));
    first.close();
    assert_eq!(receiver.event(server.app()), count(1));
}
