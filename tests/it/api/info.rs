//! `info`: what a publish may ask about its channels.

use serde_json::{Value, json};

use crate::support::{client::TestClient, server::TestServer};

/// Two users, three connections in `presence-room`; one subscriber of `news`.
fn audience(server: &TestServer) -> Vec<TestClient> {
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for (client, user) in clients.iter_mut().zip(["7", "7", "8"]) {
        client.join("presence-room", user);
    }
    clients[0].expect("pusher_internal:member_added");
    clients[1].expect("pusher_internal:member_added");
    clients[0].subscribe("news");
    clients
}

fn event(channels: &[&str], info: &str) -> Value {
    json!({"name": "e", "data": "", "channels": channels, "info": info})
}

#[test]
fn a_publish_answers_what_it_was_asked_about_each_channel() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let channels = ["presence-room", "news", "cache-x"];
    server
        .api()
        .events(&event(&channels, "user_count,subscription_count"))
        .is(&json!({"channels": {
            "presence-room": {"user_count": 2, "subscription_count": 3},
            "news": {"subscription_count": 1},
            "cache-x": {"subscription_count": 0},
        }}));
    server
        .api()
        .events(&event(&channels, "user_count"))
        .is(&json!({"channels": {
            "presence-room": {"user_count": 2}, "news": {}, "cache-x": {},
        }}));
    server
        .api()
        .events(&event(&channels, "subscription_count"))
        .is(&json!({"channels": {
            "presence-room": {"subscription_count": 3},
            "news": {"subscription_count": 1},
            "cache-x": {"subscription_count": 0},
        }}));
}

#[test]
fn a_single_channel_is_answered_the_same_way() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let body = json!({"name": "e", "data": "", "channel": "presence-room", "info": "user_count"});
    server
        .api()
        .events(&body)
        .is(&json!({"channels": {"presence-room": {"user_count": 2}}}));
}

#[test]
fn empty_channels_have_counts_of_zero() {
    let server = TestServer::usual();
    let body = event(&["presence-nobody"], "user_count,subscription_count");
    let expected =
        json!({"channels": {"presence-nobody": {"user_count": 0, "subscription_count": 0}}});
    server.api().events(&body).is(&expected);
}

#[test]
fn a_batch_answers_one_object_per_event() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let events = [
        json!({"name": "a", "channel": "presence-room", "data": "", "info": "user_count,subscription_count"}),
        json!({"name": "b", "channel": "presence-room", "data": ""}),
        json!({"name": "c", "channel": "news", "data": "", "info": "subscription_count"}),
        json!({"name": "d", "channel": "news", "data": "", "info": "user_count"}),
    ];
    server.api().batch(&events).is(&json!({"batch": [
        {"user_count": 2, "subscription_count": 3}, {}, {"subscription_count": 1}, {},
    ]}));
}

#[test]
fn a_batch_without_info_answers_an_empty_object() {
    let server = TestServer::usual();
    server
        .api()
        .batch(&[json!({"name": "a", "channel": "news", "data": ""})])
        .is_empty_object();
}

#[test]
fn an_info_that_is_no_string_is_400() {
    let server = TestServer::usual();
    for info in [json!(7), json!({}), json!(true)] {
        let body = json!({"name": "e", "data": "", "channel": "news", "info": info});
        server.api().events(&body).is_error(400);
    }
}

#[test]
fn an_asked_publish_is_delivered_too() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    let response = server.api().events(&event(&["news"], "subscription_count"));
    response.is(&json!({"channels": {"news": {"subscription_count": 1}}}));
    client.expect_on("news", "e");
}
