//! §4.5: cache channels remember the last event that the API published on them.

use serde_json::{Value, json};

use crate::support::{
    api::Api, app::App, client::TestClient, eventually, server::TestServer, setup::Setup,
};

#[track_caller]
fn expect_miss(client: &mut TestClient, channel: &str) {
    let miss = client.expect_on(channel, "pusher:cache_miss");
    assert_eq!(miss.data(), "{}");
}

/// A new client's subscription brings this event right after the confirmation, and nothing more.
#[track_caller]
fn replays(server: &TestServer, channel: &str, event: &str, data: &str) {
    let mut client = server.client();
    client.subscribe(channel);
    let cached = client.next();
    assert_eq!(
        cached.json,
        json!({"event": event, "channel": channel, "data": data})
    );
    client.expect_silence();
}

fn cached(api: &Api, channel: &str) -> Value {
    let response = api.get(&format!("/channels/{channel}"), &[("info", "cache")]);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["cache"].clone()
}

#[test]
fn an_empty_cache_channel_says_so_after_the_confirmation() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("cache-a");
    expect_miss(&mut client, "cache-a");
    client.expect_silence();
}

#[test]
fn an_event_published_to_nobody_is_kept_and_replayed() {
    let server = TestServer::usual();
    let api = server.api();
    for channel in ["cache-a", "private-cache-a", "private-encrypted-cache-a"] {
        api.publish(channel, "price", r#"{"p":1}"#);
        replays(&server, channel, "price", r#"{"p":1}"#);
        replays(&server, channel, "price", r#"{"p":1}"#);
    }
}

#[test]
fn a_presence_cache_channel_sends_the_hash_and_then_the_event() {
    let server = TestServer::usual();
    server.api().publish("presence-cache-a", "price", "1");
    let mut client = server.client();
    assert_eq!(client.join("presence-cache-a", "7").ids(), ["7"]);
    assert_eq!(client.expect_on("presence-cache-a", "price").data(), "1");
}

#[test]
fn the_last_event_wins() {
    let server = TestServer::usual();
    let api = server.api();
    for number in 0..5 {
        api.publish("cache-a", &format!("event-{number}"), &number.to_string());
    }
    replays(&server, "cache-a", "event-4", "4");
}

#[test]
fn the_last_event_of_a_batch_wins() {
    let server = TestServer::usual();
    let event = |name: &str, channel: &str| json!({"name": name, "channel": channel, "data": name});
    let batch = [
        event("one", "cache-a"),
        event("two", "cache-a"),
        event("other", "cache-b"),
    ];
    server.api().batch(&batch).is_empty_object();
    replays(&server, "cache-a", "two", "two");
    replays(&server, "cache-b", "other", "other");
}

#[test]
fn a_publish_to_several_channels_is_kept_on_each() {
    let server = TestServer::usual();
    let body = json!({"name": "price", "channels": ["cache-a", "news", "cache-b"], "data": "1"});
    server.api().events(&body).is_empty_object();
    for channel in ["cache-a", "cache-b"] {
        replays(&server, channel, "price", "1");
    }
    server.client().subscribe("news");
}

#[test]
fn the_legacy_endpoint_fills_the_cache_too() {
    let server = TestServer::usual();
    let call = server
        .api()
        .call("POST", "/channels/cache-a/events")
        .set("name", "price")
        .body("raw");
    assert_eq!(call.send().status, 202);
    replays(&server, "cache-a", "price", "raw");
}

#[test]
fn an_excluded_socket_finds_the_event_in_the_cache() {
    let server = TestServer::usual();
    let (mut client, api) = (server.client(), server.api());
    client.subscribe("cache-a");
    expect_miss(&mut client, "cache-a");
    let body =
        json!({"name": "price", "channel": "cache-a", "data": "1", "socket_id": client.socket_id});
    api.events(&body).is_empty_object();
    client.expect_silence();
    client.unsubscribe("cache-a");
    client.subscribe("cache-a");
    client.expect_on("cache-a", "price");
    replays(&server, "cache-a", "price", "1");
}

#[test]
fn an_event_is_forgotten_after_its_time() {
    let server = TestServer::start(Setup::new().usual_with("cache_ttl_s", 1));
    let api = server.api();
    api.publish("cache-a", "price", "1");
    replays(&server, "cache-a", "price", "1");
    eventually("the event is forgotten", || {
        cached(&api, "cache-a").is_null().then_some(())
    });
    let mut client = server.client();
    client.subscribe("cache-a");
    expect_miss(&mut client, "cache-a");
    api.publish("cache-a", "price", "2");
    assert_eq!(client.expect_on("cache-a", "price").data(), "2");
    replays(&server, "cache-a", "price", "2");
}

#[test]
fn the_api_shows_the_cached_data_and_how_long_it_stays() {
    let server = TestServer::usual();
    let api = server.api();
    assert_eq!(cached(&api, "cache-a"), Value::Null);
    let whole = api.get("/channels/cache-a", &[("info", "cache")]);
    whole.is(&json!({"occupied": false, "cache": null}));
    api.publish("cache-a", "price", r#"{"id":42}"#);
    let cached = cached(&api, "cache-a");
    assert_eq!(cached["data"], json!(r#"{"id":42}"#));
    let ttl = cached["ttl"].as_u64().expect("seconds");
    assert!((1740..=1800).contains(&ttl), "{cached}");
    assert_eq!(cached.as_object().unwrap().len(), 2, "{cached}");
}

#[test]
fn a_client_event_is_relayed_and_not_kept() {
    let server = TestServer::start(Setup::new().usual_with("client_events", true));
    let (mut sender, mut other) = (server.client(), server.client());
    for client in [&mut sender, &mut other] {
        client.subscribe("private-cache-a");
        expect_miss(client, "private-cache-a");
    }
    sender.trigger("private-cache-a", "client-typing", &json!({}));
    other.expect_on("private-cache-a", "client-typing");
    assert_eq!(cached(&server.api(), "private-cache-a"), Value::Null);
    server.api().publish("private-cache-a", "price", "1");
    other.expect_on("private-cache-a", "price");
    sender.trigger("private-cache-a", "client-typing", &json!({}));
    other.expect_on("private-cache-a", "client-typing");
    replays(&server, "private-cache-a", "price", "1");
}

#[test]
fn subscribers_hear_the_live_event_once() {
    let server = TestServer::usual();
    let (mut client, api) = (server.client(), server.api());
    client.subscribe("cache-a");
    expect_miss(&mut client, "cache-a");
    api.publish("cache-a", "price", "1");
    client.expect_on("cache-a", "price");
    client.expect_nothing_before_marker(&api, "cache-a");
}

#[test]
fn each_app_has_its_own_cache() {
    let server = TestServer::start(
        Setup::new()
            .app(App::new("1", "one"))
            .app(App::new("2", "two")),
    );
    server
        .api_of(&server.apps[0])
        .publish("cache-a", "price", "1");
    let mut other = server.client_of(&server.apps[1]);
    other.subscribe("cache-a");
    expect_miss(&mut other, "cache-a");
    assert_eq!(
        cached(&server.api_of(&server.apps[1]), "cache-a"),
        Value::Null
    );
}

#[test]
fn a_cached_event_keeps_its_bytes() {
    let server = TestServer::usual();
    let (event, data) = ("App\\Events\\\"Prices\"", "{\"é\":\"\\u00e9\\n😀\u{0}\"} ");
    server.api().publish("cache-a", event, data);
    replays(&server, "cache-a", event, data);
    assert_eq!(cached(&server.api(), "cache-a")["data"], json!(data));
}
