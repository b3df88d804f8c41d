//! Redis out of reach: what this node can do alone goes on, the rest is refused in a way that invites a retry, and everything
//! is back within two seconds of Redis' return.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    AGREEMENT, expect_not_ready, expect_ready, expect_users, nodes,
    presence::watchers,
    setup, three_nodes,
    watcher::{Watcher, sync},
};
use crate::support::{
    client::TestClient, http::Http, redis::RedisServer, server::TestServer, setup::Setup, within,
};

const ROOM: &str = "presence-room";
const BACK: Duration = Duration::from_secs(2);

#[track_caller]
fn is_refused_for_now(client: &mut TestClient, channel: &str) {
    let (kind, status) = client.expect_refusal(channel);
    assert_eq!((kind.as_str(), status), ("ServerError", 503));
}

/// What every node does while Redis is away.
#[track_caller]
fn is_degraded_not_dead(node: &TestServer, subscriber: &mut TestClient) {
    let ready = node.admin_get("/ready");
    assert_eq!(ready.status, 503, "{ready:?}");
    let expected = json!({"ready": false, "reason": "redis is out of reach"});
    assert_eq!(ready.json(), expected);
    assert_eq!(node.admin_get("/live").status, 200);
    node.api().publish("news", "local", "");
    subscriber.expect_on("news", "local");
    let mut client = node.client();
    client.subscribe("news");
    client.ask_with(ROOM, r#"{"user_id":"late"}"#);
    is_refused_for_now(&mut client, ROOM);
    client.ask("cache-a");
    is_refused_for_now(&mut client, "cache-a");
    for path in [
        "/channels",
        "/channels/news",
        "/channels/presence-room/users",
        "/connections",
    ] {
        let response = node.api().get(path, &[]);
        response.is_error(503);
        assert_eq!(response.header("retry-after"), Some("1"), "{response:?}");
    }
}

/// Takes Redis away, tries everything, and brings it back.
#[track_caller]
fn survives(
    redis: &mut RedisServer,
    nodes: &[TestServer],
    away: impl Fn(&mut RedisServer),
    back: impl Fn(&mut RedisServer),
) {
    let mut watchers = watchers(nodes);
    let mut subscribers: Vec<_> = nodes
        .iter()
        .map(|node| {
            let mut client = node.client();
            client.subscribe("news");
            client
        })
        .collect();
    away(redis);
    expect_not_ready(nodes);
    for (node, subscriber) in nodes.iter().zip(&mut subscribers) {
        is_degraded_not_dead(node, subscriber);
    }
    for number in 0..300 {
        let body = json!({"name": "held", "channels": ["news", ROOM], "data": number.to_string()});
        nodes[number % 3].api().events(&body).is_empty_object();
    }
    back(redis);
    let returned = Instant::now();
    expect_ready(BACK, nodes);
    join_everywhere(nodes, returned);
    for subscriber in &mut subscribers {
        expect_held(subscriber);
    }
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
    }
    for node in nodes {
        sync(node, &mut watchers);
    }
    for watcher in &mut watchers {
        let ours: Vec<_> = watcher.edges();
        assert!(ours.iter().all(|edge| edge.contains("back")), "{ours:?}");
        let held = watcher
            .events
            .iter()
            .filter(|event| event.event() == "held");
        assert_eq!(held.count(), 300);
    }
    expect_users(nodes, ROOM, &["w0", "w1", "w2"]);
}

/// Every node takes presence subscriptions again.
#[track_caller]
fn join_everywhere(nodes: &[TestServer], returned: Instant) {
    for (at, node) in nodes.iter().enumerate() {
        let mut client = node.client();
        super::join_when_possible(&mut client, ROOM, &format!("back{at}"));
    }
    let took = returned.elapsed();
    assert!(took <= BACK, "back after {took:?}");
}

/// The events of each node, once and in order, with what was local before.
#[track_caller]
fn expect_held(subscriber: &mut TestClient) {
    let mut next = [0, 1, 2];
    let mut locals = 0;
    while next != [300, 301, 302] {
        let message = subscriber.next();
        if message.event() == "local" {
            locals += 1;
            continue;
        }
        let number: usize = message.data().parse().expect("a number");
        let expected = &mut next[number % 3];
        assert_eq!(number, *expected, "{}", message.text);
        *expected += 3;
    }
    assert_eq!(locals, 2, "the other nodes' local events");
}

#[test]
fn a_redis_that_hangs_is_survived() {
    let (mut redis, nodes) = three_nodes();
    survives(&mut redis, &nodes, RedisServer::freeze, RedisServer::thaw);
}

#[test]
fn a_redis_that_is_gone_and_comes_back_empty_is_survived() {
    let (mut redis, nodes) = three_nodes();
    survives(
        &mut redis,
        &nodes,
        RedisServer::kill,
        RedisServer::start_again,
    );
}

#[test]
fn an_outage_longer_than_a_lease_removes_nobody() {
    let (mut redis, nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    redis.freeze();
    watchers[0].client.expect_quiet_for(Duration::from_secs(9));
    redis.thaw();
    expect_ready(BACK, &nodes);
    expect_users(&nodes, ROOM, &["w0", "w1", "w2"]);
    // Longer than it takes to notice and remove the rows of dead nodes.
    watchers[0].client.expect_quiet_for(Duration::from_secs(9));
    for node in &nodes {
        sync(node, &mut watchers);
    }
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), [""; 0]);
    }
}

#[test]
fn who_leaves_during_an_outage_is_removed_after_it() {
    let (mut redis, nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    let mut leaver = nodes[2].client();
    leaver.join(ROOM, "leaver");
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["leaver", "w0", "w1", "w2"]);
        watcher.edges();
    }
    redis.freeze();
    expect_not_ready(&nodes);
    leaver.close();
    redis.thaw();
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
        assert_eq!(watcher.edges(), ["-leaver"]);
    }
}

#[test]
fn more_than_the_backlog_holds_is_refused_until_there_is_room_again() {
    let mut redis = RedisServer::start_with(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .set("server.max_request_bytes", 4 << 20)
        .set("websocket.max_outbox_bytes", 256 << 20)
        .app(super::usual().set("max_event_data_bytes", 2 << 20));
    let nodes = nodes(2, &setup);
    let mut listener = nodes[1].client();
    listener.subscribe("news");
    redis.kill();
    expect_not_ready(&nodes);
    let data = "x".repeat(1 << 20);
    let (api, mut http) = (nodes[0].api(), Http::connect(nodes[0].public));
    let mut publish = |number: usize| {
        let body = json!({"name": number.to_string(), "channel": "news", "data": data});
        http.send(api.call("POST", "/events").body(body.to_string()).bytes());
        http.response()
    };
    let mut taken = 0;
    let refused = loop {
        let response = publish(taken);
        if response.status != 200 {
            break response;
        }
        taken += 1;
        assert!(taken < 80, "nothing was refused");
    };
    refused.is_error(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!((60..=65).contains(&taken), "{taken} were taken");
    redis.start_again();
    within(AGREEMENT, "there is room again", || {
        let response = publish(taken);
        if response.status == 200 {
            Ok(())
        } else {
            Err(response.body)
        }
    });
    for number in 0..=taken {
        assert_eq!(listener.next().event(), number.to_string());
    }
}

#[test]
fn a_redis_that_refuses_to_write_is_not_stormed() {
    let redis = RedisServer::start();
    let nodes = nodes(2, &setup(&redis.url()));
    let mut subscriber = nodes[0].client();
    subscriber.subscribe("news");
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    expect_not_ready(&nodes);
    let before = redis.info("stats", "total_connections_received");
    subscriber.expect_quiet_for(Duration::from_secs(3));
    let connections = redis.info("stats", "total_connections_received") - before;
    assert!(
        connections < 40,
        "{connections} connections in three seconds"
    );
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    expect_ready(BACK, &nodes);
    nodes[1].api().publish("news", "e", "");
    within(AGREEMENT, "events flow again", || {
        nodes[1].api().publish("news", "again", "");
        let message = subscriber.next();
        if message.event() == "again" {
            Ok(())
        } else {
            Err(message.text)
        }
    });
    let mut watcher = Watcher::join(&nodes[0], ROOM, "w");
    watcher.expect_members(AGREEMENT, &["w"]);
}
