//! Redis lost everything: the nodes put their rows back, and no client hears of it.

use std::time::Duration;

use super::{
    AGREEMENT, expect_not_ready, expect_ready, expect_users, expect_users_within,
    presence::watchers,
    three_nodes,
    watcher::{Watcher, sync},
};
use crate::support::{client::TestClient, server::TestServer, within};

const ROOM: &str = "presence-room";

/// Watchers on every node and a user on two.
#[track_caller]
fn room(nodes: &[TestServer]) -> (Vec<Watcher>, Vec<TestClient>) {
    let mut watchers = watchers(nodes);
    let tabs = nodes[1..].iter().map(|node| {
        let mut client = node.client();
        client.join(ROOM, "both");
        client
    });
    let tabs = tabs.collect();
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["both", "w0", "w1", "w2"]);
        watcher.edges();
    }
    (watchers, tabs)
}

#[track_caller]
fn nobody_heard_of_it(nodes: &[TestServer], watchers: &mut [Watcher]) {
    for node in nodes {
        sync(node, watchers);
    }
    for watcher in watchers {
        assert_eq!(watcher.edges(), [""; 0], "{} heard of it", watcher.user);
    }
}

#[test]
fn flushall_is_repaired_without_an_edge() {
    let (redis, nodes) = three_nodes();
    let (mut watchers, tabs) = room(&nodes);
    let () = redis.ask(&["FLUSHALL"]);
    expect_users(&nodes, ROOM, &["both", "w0", "w1", "w2"]);
    nobody_heard_of_it(&nodes, &mut watchers);
    // After the time in which nobody is removed, too.
    for watcher in &mut watchers {
        let quiet = Duration::from_secs(3);
        watcher.client.expect_quiet_for(quiet);
    }
    nobody_heard_of_it(&nodes, &mut watchers);
    let mut comer = Watcher::join(&nodes[0], ROOM, "comer");
    assert_eq!(comer.members().len(), 5);
    drop(tabs);
    let left = ["comer", "w0", "w1", "w2"];
    for watcher in watchers.iter_mut().chain([&mut comer]) {
        watcher.expect_members(AGREEMENT, &left);
    }
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), ["+comer", "-both"]);
    }
}

#[test]
fn who_leaves_right_after_the_loss_is_removed_everywhere_once() {
    let (redis, nodes) = three_nodes();
    let (mut watchers, tabs) = room(&nodes);
    let () = redis.ask(&["FLUSHALL"]);
    drop(tabs);
    for watcher in &mut watchers {
        watcher.expect_members(Duration::from_secs(15), &["w0", "w1", "w2"]);
    }
    sync(&nodes[0], &mut watchers);
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), ["-both"]);
    }
    expect_users(&nodes, ROOM, &["w0", "w1", "w2"]);
    // And those who come later are not shown it either.
    for (at, node) in nodes.iter().enumerate() {
        let comer = Watcher::join(node, ROOM, &format!("late{at}"));
        assert!(!comer.members().contains("both"), "{:?}", comer.members());
    }
}

#[test]
fn whoever_leaves_one_node_after_the_loss_stays_by_the_other() {
    let (redis, nodes) = three_nodes();
    let (mut watchers, mut tabs) = room(&nodes);
    for _ in 0..4 {
        let () = redis.ask(&["FLUSHALL"]);
        // The node that it leaves may have written it again before, the other not yet, or the other way round.
        let left = tabs.remove(0);
        nodes[0].api().publish(ROOM, "e", "");
        left.close();
        expect_users(&nodes, ROOM, &["both", "w0", "w1", "w2"]);
        let mut back = nodes[1].client();
        back.join(ROOM, "both");
        tabs.insert(0, back);
    }
    nobody_heard_of_it(&nodes, &mut watchers);
}

#[test]
fn a_node_that_dies_with_the_data_leaves_no_ghost() {
    let (redis, mut nodes) = three_nodes();
    let (mut watchers, _tabs) = room(&nodes);
    let () = redis.ask(&["FLUSHALL"]);
    nodes.remove(2).kill();
    watchers.truncate(2);
    for watcher in &mut watchers {
        watcher.expect_members(Duration::from_secs(15), &["both", "w0", "w1"]);
    }
    sync(&nodes[0], &mut watchers);
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), ["-w2"]);
    }
    expect_users(&nodes, ROOM, &["both", "w0", "w1"]);
}

#[test]
fn clients_enter_and_leave_while_the_data_is_lost_again_and_again() {
    let (redis, nodes) = three_nodes();
    let (mut watchers, tabs) = room(&nodes);
    for round in 0..30 {
        let mut clients: Vec<_> = nodes.iter().map(TestServer::client).collect();
        for (at, client) in clients.iter_mut().enumerate() {
            client.ask_with(ROOM, &format!(r#"{{"user_id":"r{round}-{at}"}}"#));
        }
        if round % 5 == 0 {
            let () = redis.ask(&["FLUSHALL"]);
        }
        for client in &mut clients {
            client.expect(super::SUCCEEDED);
        }
    }
    drop(tabs);
    expect_users(&nodes, ROOM, &["w0", "w1", "w2"]);
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
    }
}

#[test]
fn a_restart_without_data_is_repaired_without_an_edge() {
    let (mut redis, nodes) = three_nodes();
    let (mut watchers, _tabs) = room(&nodes);
    redis.kill();
    expect_not_ready(&nodes);
    redis.start_again();
    expect_ready(AGREEMENT, &nodes);
    expect_users_within(AGREEMENT, &nodes, ROOM, &["both", "w0", "w1", "w2"]);
    nobody_heard_of_it(&nodes, &mut watchers);
}

#[test]
fn what_a_node_wrote_after_the_loss_dies_with_it() {
    let (redis, mut nodes) = three_nodes();
    let mut watcher = Watcher::join(&nodes[0], ROOM, "w");
    let mut victims: Vec<_> = (0..6).map(|_| nodes[2].client()).collect();
    for (at, victim) in victims.iter_mut().enumerate().take(3) {
        victim.join(ROOM, &format!("v{at}"));
    }
    watcher.expect_members(AGREEMENT, &["v0", "v1", "v2", "w"]);
    let () = redis.ask(&["FLUSHALL"]);
    // Rows of a node that does not know yet that its lease is gone: in a channel that it knows, and in a new one.
    for (at, victim) in victims.iter_mut().enumerate().skip(3) {
        victim.ask_with(ROOM, &format!(r#"{{"user_id":"v{at}"}}"#));
        victim.ask_with("presence-new", &format!(r#"{{"user_id":"v{at}"}}"#));
        victim.expect(super::SUCCEEDED);
    }
    nodes.remove(2).kill();
    watcher.expect_members(AGREEMENT, &["w"]);
    expect_users(&nodes, ROOM, &["w"]);
    expect_users(&nodes, "presence-new", &[]);
    let info = [("info", "subscription_count")];
    within(AGREEMENT, "nothing is counted", || {
        let count = nodes[0]
            .api()
            .get(&format!("/channels/{ROOM}"), &info)
            .json();
        if count["subscription_count"] == 1 {
            Ok(())
        } else {
            Err(count.to_string())
        }
    });
}
