//! The network between one node and Redis breaks: the others see a dead node, its own clients see no difference.

use std::time::Duration;

use serde_json::json;

use super::{
    AGREEMENT, SUCCEEDED, expect_not_ready, expect_ready, expect_users, setup, usual,
    watcher::{Watcher, sync},
};
use crate::support::{proxy::Proxy, redis::RedisServer, server::TestServer, setup::Setup, within};

const ROOM: &str = "presence-room";

/// Two nodes, the second of which reaches Redis through a proxy.
#[track_caller]
fn with_proxy() -> (RedisServer, Proxy, Vec<TestServer>) {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port);
    let near = setup(&redis.url());
    let far = near.clone().set("redis.url", proxy.url());
    let nodes = vec![TestServer::start(near), TestServer::start(far)];
    (redis, proxy, nodes)
}

#[test]
fn a_node_cut_off_for_longer_than_its_lease_is_removed_once_and_comes_back_once() {
    let (_redis, proxy, nodes) = with_proxy();
    let mut near = Watcher::join(&nodes[0], ROOM, "near");
    let mut far: Vec<_> = ["f0", "f1"]
        .iter()
        .map(|user| Watcher::join(&nodes[1], ROOM, user))
        .collect();
    for watcher in far.iter_mut().chain([&mut near]) {
        watcher.expect_members(AGREEMENT, &["f0", "f1", "near"]);
        watcher.edges();
    }
    proxy.hold_all();
    near.expect_members(Duration::from_secs(10), &["near"]);
    expect_not_ready(&nodes[1..]);
    nodes[1].api().publish(ROOM, "local", "");
    for watcher in &mut far {
        watcher.take_to("local");
    }
    proxy.release();
    expect_ready(Duration::from_secs(5), &nodes[1..]);
    for watcher in far.iter_mut().chain([&mut near]) {
        watcher.expect_members(AGREEMENT, &["f0", "f1", "near"]);
    }
    expect_users(&nodes, ROOM, &["f0", "f1", "near"]);
    sync(&nodes[1], &mut far);
    let mut edges = near.edges();
    edges.sort();
    assert_eq!(edges, ["+f0", "+f1", "-f0", "-f1"]);
    for watcher in &mut far {
        assert_eq!(watcher.edges(), [""; 0], "its own clients never left");
    }
}

#[test]
fn what_an_old_connection_still_delivers_changes_nothing() {
    let (redis, proxy, nodes) = with_proxy();
    let mut watcher = Watcher::join(&nodes[0], ROOM, "near");
    let mut page = nodes[1].client();
    page.join(ROOM, "far");
    page.subscribe("news");
    watcher.expect_members(AGREEMENT, &["far", "near"]);
    let mut listener = nodes[0].client();
    listener.subscribe("cache-a");
    listener.expect("pusher:cache_miss");
    proxy.hold_existing();
    nodes[1].api().publish("cache-a", "e", "old");
    // These two are written to the old connection and stay there.
    page.unsubscribe(ROOM);
    page.unsubscribe("news");
    page.expect_silence();
    // The node gives it up and takes a new one.
    assert_eq!(listener.expect("e").data(), "old");
    super::join_when_possible(&mut page, ROOM, "far");
    page.subscribe("news");
    expect_counts(&nodes, 1);
    watcher.expect_edges(3);
    assert_eq!(watcher.edges(), ["+far", "-far", "+far"]);
    nodes[0].api().publish("cache-a", "e", "new");
    assert_eq!(listener.expect("e").data(), "new");
    let commands = redis.info("stats", "total_commands_processed");
    proxy.release();
    within(AGREEMENT, "the old commands arrive", || {
        let now = redis.info("stats", "total_commands_processed");
        if now > commands + 4 {
            Ok(())
        } else {
            Err(now.to_string())
        }
    });
    watcher.client.expect_quiet_for(Duration::from_secs(1));
    expect_users(&nodes, ROOM, &["far", "near"]);
    expect_counts(&nodes, 1);
    sync(&nodes[0], std::slice::from_mut(&mut watcher));
    assert_eq!(watcher.edges(), [""; 0]);
    for node in &nodes {
        let mut late = node.client();
        late.subscribe("cache-a");
        assert_eq!(late.expect("e").data(), "new");
    }
    listener.expect_silence();
}

#[track_caller]
fn expect_counts(nodes: &[TestServer], expected: usize) {
    let expected = json!({"occupied": true, "subscription_count": expected});
    within(AGREEMENT, "the count is right", || {
        for node in nodes {
            let info = [("info", "subscription_count")];
            let answer = node.api().get("/channels/news", &info);
            if answer.status != 200 || answer.json() != expected {
                return Err(answer.body);
            }
        }
        Ok(())
    });
}

#[test]
fn who_joins_while_a_link_is_lost_and_found_is_not_refused() {
    let (_redis, proxy, nodes) = with_proxy();
    let mut near = Watcher::join(&nodes[0], ROOM, "near");
    let mut far = nodes[1].client();
    proxy.hold_all();
    far.ask_with(ROOM, r#"{"user_id":"far"}"#);
    far.ask_with("presence-other", r#"{"user_id":"far"}"#);
    far.expect_silence();
    proxy.cut();
    proxy.release();
    let mut entered = [far.next(), far.next()].map(|answer| {
        assert_eq!(answer.event(), SUCCEEDED, "{}", answer.text);
        answer.channel().map(str::to_owned)
    });
    entered.sort();
    assert_eq!(
        entered,
        ["presence-other", ROOM].map(|it| Some(it.to_owned()))
    );
    near.expect_members(AGREEMENT, &["far", "near"]);
}

#[test]
fn a_backlog_arrives_over_a_slow_line() {
    let redis = RedisServer::start_with(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let proxy = Proxy::start(redis.port);
    let near = Setup::new()
        .set("redis.url", redis.url())
        .set("server.max_request_bytes", 4 << 20)
        .set("websocket.max_outbox_bytes", 256 << 20)
        .app(usual().set("max_event_data_bytes", 2 << 20));
    let far = near.clone().set("redis.url", proxy.url());
    let nodes = [TestServer::start(near), TestServer::start(far)];
    let mut listener = nodes[0].client();
    listener.subscribe("news");
    proxy.hold_all();
    expect_not_ready(&nodes[1..]);
    let data = "x".repeat(1 << 20);
    for number in 0..24 {
        nodes[1].api().publish("news", &number.to_string(), &data);
    }
    proxy.limit(6 << 20);
    proxy.release();
    for number in 0..24 {
        assert_eq!(listener.next().event(), number.to_string());
    }
}
