//! Subscribing and unsubscribing, and what is heard in between.

use serde_json::json;

use crate::support::{app::App, eventually, server::TestServer, setup::Setup};

#[test]
fn the_confirmation_has_its_documented_shape() {
    let server = TestServer::usual();
    let succeeded = server.client().subscribe("news");
    let expected =
        json!({"event": "pusher_internal:subscription_succeeded", "channel": "news", "data": "{}"});
    assert_eq!(succeeded.json, expected);
}

#[test]
fn an_event_reaches_each_subscriber_once() {
    let server = TestServer::usual();
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.subscribe("news");
    }
    let api = server.api();
    api.publish("news", "order.created", r#"{"id":42}"#);
    for client in &mut clients {
        let message = client.expect("order.created");
        assert_eq!(
            message.text,
            r#"{"event":"order.created","channel":"news","data":"{\"id\":42}"}"#
        );
    }
    api.publish("news", "marker", "");
    for client in &mut clients {
        client.expect_on("news", "marker");
    }
}

#[test]
fn an_event_reaches_nobody_else() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    for other in [
        "new",
        "newss",
        "News",
        "private-news",
        "presence-news",
        "cache-news",
    ] {
        server.api().publish(other, "elsewhere", "");
    }
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn unsubscribing_is_silent_and_ends_the_events() {
    let server = TestServer::usual();
    let (mut client, api) = (server.client(), server.api());
    client.subscribe("stays");
    for channel in ["news", "private-room"] {
        client.subscribe(channel);
        client.unsubscribe(channel);
        client.expect_silence();
        api.publish(channel, "too late", "");
        client.expect_nothing_before_marker(&api, "stays");
        client.subscribe(channel);
        api.publish(channel, "again", "");
        client.expect_on(channel, "again");
    }
}

#[test]
fn an_unsubscribe_leaves_the_other_subscribers_alone() {
    let server = TestServer::usual();
    let mut clients: Vec<_> = (0..6).map(|_| server.client()).collect();
    for client in &mut clients {
        client.subscribe("news");
    }
    for client in clients.iter_mut().step_by(2) {
        client.unsubscribe("news");
        client.expect_silence();
    }
    server.api().publish("news", "order", "");
    for client in clients.iter_mut().skip(1).step_by(2) {
        client.expect_on("news", "order");
    }
    let info = [("info", "subscription_count")];
    server
        .api()
        .get("/channels/news", &info)
        .is(&json!({"occupied": true, "subscription_count": 3}));
}

#[test]
fn a_disconnect_ends_every_subscription() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel in ["news", "sport", "private-room"] {
        client.subscribe(channel);
    }
    client.join("presence-room", "7");
    client.close();
    let empty = || (server.api().get("/channels", &[]).body == r#"{"channels":{}}"#).then_some(());
    eventually("no channel is occupied", empty);
}

#[test]
fn one_connection_may_subscribe_to_many_channels() {
    let server = TestServer::usual();
    let (mut client, api) = (server.client(), server.api());
    for number in 0..500 {
        client.ask(&format!("channel-{number}"));
    }
    for number in 0..500 {
        client.expect_on(
            &format!("channel-{number}"),
            "pusher_internal:subscription_succeeded",
        );
    }
    api.publish("channel-499", "order", "");
    client.expect_on("channel-499", "order");
}

#[test]
fn the_same_name_in_two_apps_is_two_channels() {
    let server = TestServer::start(
        Setup::new()
            .app(App::new("1", "one"))
            .app(App::new("2", "two")),
    );
    let apis = [
        server.api_of(&server.apps[0]),
        server.api_of(&server.apps[1]),
    ];
    let mut clients = [
        server.client_of(&server.apps[0]),
        server.client_of(&server.apps[1]),
    ];
    for client in &mut clients {
        client.subscribe("news");
        client.subscribe("private-room");
        assert_eq!(client.join("presence-room", "7").ids(), ["7"]);
    }
    for channel in ["news", "private-room", "presence-room"] {
        apis[0].publish(channel, "of the first", "");
        clients[0].expect_on(channel, "of the first");
        clients[1].expect_nothing_before_marker(&apis[1], channel);
    }
    let counts = [("info", "subscription_count")];
    for api in &apis {
        api.get("/channels/news", &counts)
            .is(&json!({"occupied": true, "subscription_count": 1}));
    }
}
