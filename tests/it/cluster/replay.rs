//! A channel's past is the same on every node.

use serde_json::json;

use super::{AGREEMENT, expect_not_ready, expect_ready, nodes};
use crate::{
    replay::{app, come_and_go_while_others_publish},
    support::{
        client::TestClient, proxy::Proxy, redis::RedisServer, server::TestServer, setup::Setup,
        within,
    },
};

const CHANNEL: &str = "past-a";

fn started(events: usize) -> (RedisServer, Vec<TestServer>) {
    let redis = RedisServer::start();
    let setup = Setup::new().set("redis.url", redis.url());
    let nodes = nodes(3, &setup.app(app(&json!({"replay_events": events}))));
    (redis, nodes)
}

/// A new subscriber of the node, and what it is shown at once.
#[track_caller]
fn shown(node: &TestServer) -> (TestClient, Vec<String>) {
    let mut client = node.client();
    client.subscribe(CHANNEL);
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    let mut shown = Vec::new();
    loop {
        let message = client.next();
        if message.event() == "pusher:pong" {
            return (client, shown);
        }
        shown.push(message.data().to_owned());
    }
}

/// Waits until a new subscriber of every node is shown this.
#[track_caller]
fn expect_past(nodes: &[TestServer], expected: &[&str]) {
    within(AGREEMENT, "every node shows the past", || {
        for node in nodes {
            let (_, shown) = shown(node);
            if shown != expected {
                return Err(format!("{shown:?} instead of {expected:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn what_one_node_published_every_node_shows() {
    let (_redis, nodes) = started(3);
    for number in 1..=5 {
        nodes[0].api().publish(CHANNEL, "e", &number.to_string());
    }
    expect_past(&nodes, &["3", "4", "5"]);
    nodes[1].api().publish(CHANNEL, "e", "6");
    expect_past(&nodes, &["4", "5", "6"]);
}

#[test]
fn who_was_left_out_stays_left_out_on_every_node() {
    let (_redis, nodes) = started(3);
    let mut author = nodes[2].client();
    let mut event = json!({"name": "e", "channel": CHANNEL, "data": "1"});
    event["socket_id"] = json!(author.socket_id);
    nodes[0].api().events(&event).is_empty_object();
    expect_past(&nodes, &["1"]);
    author.subscribe(CHANNEL);
    author.expect_silence();
}

#[test]
fn nothing_is_missed_and_nothing_comes_twice_while_nodes_publish() {
    let (_redis, nodes) = started(1000);
    come_and_go_while_others_publish(&nodes, 300);
}

#[test]
fn what_was_published_while_redis_was_away_is_shown_once() {
    let (mut redis, nodes) = started(10);
    nodes[0].api().publish(CHANNEL, "e", "1");
    expect_past(&nodes, &["1"]);
    let (mut before, _) = shown(&nodes[1]);
    redis.freeze();
    expect_not_ready(&nodes);
    nodes[0].api().publish(CHANNEL, "e", "2");
    let mut refused = nodes[0].client();
    refused.ask(CHANNEL);
    assert_eq!(
        refused.expect_refusal(CHANNEL),
        ("ServerError".to_owned(), 503)
    );
    redis.thaw();
    expect_ready(AGREEMENT, &nodes);
    expect_past(&nodes, &["1", "2"]);
    assert_eq!(before.expect_on(CHANNEL, "e").data(), "2");
    before.expect_silence();
}

#[test]
fn what_redis_has_lost_no_node_shows_any_more() {
    let (redis, nodes) = started(10);
    for data in ["1", "2"] {
        nodes[0].api().publish(CHANNEL, "e", data);
    }
    expect_past(&nodes, &["1", "2"]);
    let (mut before, _) = shown(&nodes[1]);
    let () = redis.ask(&["FLUSHALL"]);
    expect_past(&nodes, &[]);
    nodes[2].api().publish(CHANNEL, "e", "3");
    expect_past(&nodes, &["3"]);
    assert_eq!(before.expect_on(CHANNEL, "e").data(), "3");
    before.expect_silence();
}

#[test]
fn a_node_that_was_cut_off_shows_what_it_missed_and_what_it_said() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port);
    let app = app(&json!({"replay_events": 10}));
    let near = Setup::new().set("redis.url", redis.url()).app(app);
    let far = near.clone().set("redis.url", proxy.url());
    let nodes = [TestServer::start(near), TestServer::start(far)];
    nodes[0].api().publish(CHANNEL, "e", "1");
    expect_past(&nodes, &["1"]);
    let (mut there, _) = shown(&nodes[1]);
    proxy.hold_all();
    expect_not_ready(&nodes[1..]);
    nodes[1].api().publish(CHANNEL, "e", "theirs");
    for data in ["2", "3"] {
        nodes[0].api().publish(CHANNEL, "e", data);
    }
    proxy.release();
    expect_ready(AGREEMENT, &nodes);
    expect_past(&nodes, &["1", "2", "3", "theirs"]);
    assert_eq!(there.expect_on(CHANNEL, "e").data(), "theirs");
    nodes[0].api().publish(CHANNEL, "e", "4");
    expect_past(&nodes, &["1", "2", "3", "theirs", "4"]);
}

#[test]
fn clients_events_are_no_past_on_other_nodes() {
    let (_redis, nodes) = started(10);
    let mut all: Vec<_> = nodes.iter().map(TestServer::client).collect();
    for client in &mut all {
        client.subscribe("private-past-a");
    }
    all[0].trigger("private-past-a", "client-x", &json!(1));
    for client in &mut all[1..] {
        client.expect_on("private-past-a", "client-x");
    }
    let mut late = nodes[1].client();
    late.subscribe("private-past-a");
    late.expect_silence();
}
