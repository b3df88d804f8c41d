//! A node that stood still for longer than its lease counts as dead; when it comes back, it puts everything right.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    AGREEMENT, expect_users, nodes,
    presence::watchers,
    three_nodes,
    watcher::{Watcher, sync},
};
use crate::support::{redis::RedisServer, setup::Setup, within};

const ROOM: &str = "presence-room";
const TEN_SECONDS: Duration = Duration::from_secs(10);

#[test]
fn a_paused_nodes_members_go_and_come_back_once() {
    let (_redis, mut nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    let mut member = nodes[2].client();
    member.join(ROOM, "m");
    let mut elsewhere_too: Vec<_> = [1, 2].iter().map(|at| nodes[*at].client()).collect();
    for tab in &mut elsewhere_too {
        tab.join(ROOM, "both");
    }
    let everyone = ["both", "m", "w0", "w1", "w2"];
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &everyone);
        watcher.edges();
    }
    nodes[2].freeze();
    let frozen = Instant::now();
    for watcher in &mut watchers[..2] {
        watcher.expect_members(TEN_SECONDS, &["both", "w0", "w1"]);
    }
    assert!(frozen.elapsed() <= TEN_SECONDS, "{:?}", frozen.elapsed());
    expect_users(&nodes[..2], ROOM, &["both", "w0", "w1"]);
    nodes[2].thaw();
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &everyone);
    }
    expect_users(&nodes, ROOM, &everyone);
    for node in &nodes {
        sync(node, &mut watchers);
    }
    for watcher in &mut watchers[..2] {
        let mut edges = watcher.edges();
        edges.sort();
        assert_eq!(edges, ["+m", "+w2", "-m", "-w2"]);
    }
    // Its own clients never left: they hear nothing of it.
    assert_eq!(watchers[2].edges(), [""; 0]);
    drop(member);
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["both", "w0", "w1", "w2"]);
        assert_eq!(watcher.edges(), ["-m"]);
    }
}

#[test]
fn who_left_while_its_node_stood_still_does_not_come_back() {
    let (_redis, mut nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    let mut member = nodes[2].client();
    member.join(ROOM, "m");
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["m", "w0", "w1", "w2"]);
    }
    nodes[2].freeze();
    drop(member);
    for watcher in &mut watchers[..2] {
        watcher.expect_members(TEN_SECONDS, &["w0", "w1"]);
    }
    nodes[2].thaw();
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
    }
    expect_users(&nodes, ROOM, &["w0", "w1", "w2"]);
}

#[test]
fn a_node_that_comes_back_to_a_full_channel_keeps_its_members_and_stays_calm() {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(super::usual().set("max_presence_members", 2));
    let mut nodes = nodes(2, &setup);
    let mut theirs: Vec<_> = (0..2)
        .map(|at| Watcher::join(&nodes[1], ROOM, &format!("t{at}")))
        .collect();
    nodes[1].freeze();
    within(TEN_SECONDS, "their places are free", || {
        let users = super::try_users(&nodes[0], ROOM)?;
        if users.is_empty() {
            Ok(())
        } else {
            Err(format!("{users:?}"))
        }
    });
    let mut taker = Watcher::join(&nodes[0], ROOM, "taker");
    nodes[1].thaw();
    let everyone = ["t0", "t1", "taker"];
    for watcher in theirs.iter_mut().chain([&mut taker]) {
        watcher.expect_members(AGREEMENT, &everyone);
    }
    expect_users(&nodes, ROOM, &everyone);
    let mut late = nodes[1].client();
    late.ask_with(ROOM, &json!({"user_id": "late"}).to_string());
    late.expect_refusal(ROOM);
    let before = redis.info("stats", "total_commands_processed");
    late.expect_quiet_for(Duration::from_secs(2));
    let commands = redis.info("stats", "total_commands_processed") - before;
    assert!(commands < 100, "{commands} commands while nothing happened");
}

#[test]
fn events_reach_a_node_that_stood_still_for_a_moment() {
    let (_redis, mut nodes) = three_nodes();
    let mut client = nodes[1].client();
    client.subscribe("news");
    nodes[1].freeze();
    for number in 0..50 {
        nodes[0].api().publish("news", "e", &number.to_string());
    }
    nodes[1].thaw();
    for number in 0..50 {
        assert_eq!(client.expect_on("news", "e").data(), number.to_string());
    }
}
