//! #13: what does not depend on the protocol's version is the same on 5, 6 and 7.

use serde_json::{Value, json};

use crate::support::{
    app::App, client::TestClient, server::TestServer, setup::Setup, websocket::Upgrade,
};

/// A server with everything that an app can turn on.
fn server() -> TestServer {
    let rules = json!([{"pattern": "past-*", "replay_events": 5}]);
    let app = App::usual()
        .set("client_events", true)
        .set("watchlists", true)
        .set("subscription_counts", true)
        .set("channels", rules);
    TestServer::start(Setup::new().app(app))
}

fn connect(server: &TestServer, protocol: &str) -> TestClient {
    let target = format!("/app/{}?protocol={protocol}", server.app().key);
    TestClient::greeted(Upgrade::new(&target).connect(server.public), server.app())
}

/// Everything that a client of this protocol hears while it uses all features once, sorted.
fn transcript(protocol: &str) -> Vec<String> {
    let server = server();
    let api = server.api();
    api.publish("cache-prices", "price", "1");
    api.publish("past-news", "old", "1");
    let mut other = connect(&server, protocol);
    other.sign_in("bob");
    let mut client = connect(&server, protocol);
    client.ask_sign_in(r#"{"id":"ann","user_info":{"name":"Ann"},"watchlist":["bob","eve"]}"#);
    client.ask("#server-to-user-ann");
    for channel in [
        "news",
        "private-room",
        "cache-prices",
        "cache-empty",
        "past-news",
    ] {
        client.ask(channel);
    }
    // A member by the sign-in alone.
    let room = json!({"channel": "presence-room", "auth": client.auth("presence-room")});
    client.send(&json!({"event": "pusher:subscribe", "data": room}));
    client.send(&json!({"event": "pusher:ping"}));
    let mut heard = hear_until(&mut client, &["pusher:pong"]);
    other.join("presence-room", "bob");
    other.subscribe("private-room");
    other.expect("pusher_internal:subscription_count");
    other.trigger("private-room", "client-typing", &json!({"on": true}));
    other.trigger("presence-room", "client-typing", &json!(null));
    other.expect_answered();
    api.publish("news", "order", r#"{"id":1}"#);
    api.publish("#server-to-user-ann", "invoice", "{}");
    for mistake in ["news", "not a name", "private-forged"] {
        client.send(&json!({"event": "pusher:subscribe", "data": {"channel": mistake}}));
    }
    client.unsubscribe("never");
    client.trigger("news", "client-typing", &json!({}));
    client.ask_sign_in(r#"{"id":"bob"}"#);
    client.send(&json!({"event": "pusher:ping"}));
    api.publish("news", "marker", "");
    heard.extend(hear_until(&mut client, &["pusher:pong", "marker"]));
    // What comes from others may come before or after the answers to what the client said.
    heard.sort();
    heard
}

/// What the client hears until each of these events was among it.
fn hear_until(client: &mut TestClient, awaited: &[&str]) -> Vec<String> {
    let mut awaited = awaited.to_vec();
    let mut heard = Vec::new();
    while !awaited.is_empty() {
        let message = client.next();
        awaited.retain(|event| message.event() != *event);
        heard.push(message.text);
    }
    heard
}

#[test]
fn sign_in_counts_watchlists_and_all_else_are_the_same_on_every_protocol() {
    let expected = transcript("7");
    let events: Vec<String> = expected
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap())
        .map(|message| message["event"].as_str().unwrap().to_owned())
        .collect();
    for event in [
        "pusher:signin_success",
        "pusher_internal:watchlist_events",
        "pusher_internal:subscription_succeeded",
        "pusher_internal:subscription_count",
        "pusher_internal:member_added",
        "pusher:cache_miss",
        "pusher:subscription_error",
        "pusher:error",
        "price",
        "old",
        "order",
        "invoice",
        "client-typing",
    ] {
        assert!(
            events.iter().any(|heard| heard == event),
            "{event}: {events:?}"
        );
    }
    for protocol in ["5", "6"] {
        assert_eq!(transcript(protocol), expected, "protocol {protocol}");
    }
}
