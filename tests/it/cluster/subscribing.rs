//! A subscription in a cluster waits for Redis. Redis stands still here while a client sends, so that the first subscribe is always
//! under way.

use serde_json::{Value, json};

use super::{AGREEMENT, SUCCEEDED, expect_users, nodes, usual, watcher::Watcher};
use crate::support::{
    client::TestClient, redis::RedisServer, server::TestServer, setup::Setup, websocket::Frame,
};

const ROOM: &str = "presence-room";
const ALONE: &str = "private-alone";

/// Two nodes with a channel that replays and one for a single session.
fn started() -> (RedisServer, Vec<TestServer>) {
    let redis = RedisServer::start();
    let rules = json!([
        {"pattern": "replayed-*", "replay_events": 5},
        {"pattern": "private-alone*", "single_session": "replace"},
    ]);
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(usual().set("channels", rules));
    let nodes = nodes(2, &setup);
    (redis, nodes)
}

fn subscribe(client: &TestClient, channel: &str) -> Value {
    let data = if channel == ROOM {
        let member = r#"{"user_id":"7"}"#;
        json!({"channel": channel, "auth": client.auth_with(channel, member), "channel_data": member})
    } else {
        json!({"channel": channel, "auth": client.auth(channel)})
    };
    json!({"event": "pusher:subscribe", "data": data})
}

fn unsubscribe(channel: &str) -> Value {
    json!({"event": "pusher:unsubscribe", "data": {"channel": channel}})
}

/// Sends several messages in one write.
fn send_at_once(client: &mut TestClient, messages: &[Value]) {
    let frames = messages
        .iter()
        .map(|message| Frame::text(message.to_string()).bytes());
    client
        .socket
        .stream
        .send(&frames.collect::<Vec<_>>().concat());
}

/// #13 row 2.
#[test]
fn a_second_subscribe_while_the_first_is_under_way_is_an_error() {
    let (mut redis, nodes) = started();
    for channel in ["news", ROOM, ALONE, "replayed-news", "cache-news"] {
        let mut client = nodes[0].client();
        let subscribe = subscribe(&client, channel);
        redis.freeze();
        send_at_once(&mut client, &[subscribe.clone(), subscribe]);
        client.expect_existing(channel);
        redis.thaw();
        client.expect_on(channel, SUCCEEDED);
        if channel == "cache-news" {
            client.expect("pusher:cache_miss");
        }
        client.expect_silence();
        nodes[1].api().publish(channel, "once", "");
        client.expect_on(channel, "once");
        client.expect_nothing_before_marker(&nodes[0].api(), channel);
    }
}

/// #13 row 3: Pysher, asyncpusher, Java's and old pusher-js' clients forget the channel as they send this.
#[test]
fn an_unsubscribe_while_the_subscribe_is_under_way_leaves_the_client_unsubscribed() {
    let (mut redis, nodes) = started();
    let mut watcher = Watcher::join(&nodes[1], ROOM, "watcher");
    for channel in ["news", ROOM, ALONE, "replayed-news", "cache-news"] {
        let mut client = nodes[0].client();
        client.subscribe("private-marker");
        let subscribe = subscribe(&client, channel);
        redis.freeze();
        send_at_once(&mut client, &[subscribe.clone(), unsubscribe(channel)]);
        client.expect_silence();
        redis.thaw();
        client.unsubscribe(channel);
        client.expect_no_subscription(channel);
        nodes[0].api().publish(channel, "too late", "");
        client.expect_nothing_before_marker(&nodes[0].api(), "private-marker");
        client.send(&subscribe);
        client.expect_on(channel, SUCCEEDED);
        client.close();
    }
    expect_users(&nodes, ROOM, &["watcher"]);
    watcher.expect_members(AGREEMENT, &["watcher"]);
}

#[test]
fn a_sign_in_as_another_user_while_the_first_is_under_way_is_refused() {
    let mut redis = RedisServer::start();
    let app = usual().set("single_session", "replace");
    let setup = Setup::new().set("redis.url", redis.url()).app(app.clone());
    let nodes = nodes(2, &setup);
    let mut client = nodes[0].client();
    let signin = |user_data: &str| {
        let auth = app.auth_user(&client.socket_id, user_data);
        json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})
    };
    let messages = [r#"{"id":"7"}"#, r#"{"id":"8"}"#].map(signin);
    redis.freeze();
    send_at_once(&mut client, &messages);
    client.expect_error(None);
    redis.thaw();
    let success = client.expect("pusher:signin_success");
    assert_eq!(success.decoded(), json!({"user_data": r#"{"id":"7"}"#}));
    client.subscribe("#server-to-user-7");
}

#[test]
fn a_subscribe_that_follows_a_cancelled_one_succeeds_once() {
    let (mut redis, nodes) = started();
    for channel in ["news", ROOM, ALONE, "replayed-news"] {
        let mut client = nodes[0].client();
        let subscribe = subscribe(&client, channel);
        redis.freeze();
        send_at_once(
            &mut client,
            &[subscribe.clone(), unsubscribe(channel), subscribe],
        );
        client.expect_silence();
        redis.thaw();
        client.expect_on(channel, SUCCEEDED);
        client.expect_silence();
        nodes[1].api().publish(channel, "once", "");
        client.expect_on(channel, "once");
        client.expect_nothing_before_marker(&nodes[0].api(), channel);
    }
}
