//! Members of all nodes are members of one channel: announced once, limited together, removed with their node.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    AGREEMENT, expect_users, expect_users_within, nodes, sign_in, three_nodes,
    watcher::{Watcher, sync},
};
use crate::support::{
    client::Presence,
    redis::RedisServer,
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    websocket::{Frame, Incoming},
    within,
};

const ROOM: &str = "presence-room";

/// A watcher on each node, each of which has seen the others.
#[track_caller]
pub(super) fn watchers(nodes: &[TestServer]) -> Vec<Watcher> {
    let names: Vec<_> = (0..nodes.len()).map(|at| format!("w{at}")).collect();
    let joined = nodes
        .iter()
        .zip(&names)
        .map(|(node, name)| Watcher::join(node, ROOM, name));
    let mut watchers: Vec<_> = joined.collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &names);
        watcher.edges();
    }
    watchers
}

#[test]
fn a_member_of_several_nodes_is_announced_once_everywhere() {
    let (_redis, nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    let mut tabs: Vec<_> = nodes.iter().map(TestServer::client).collect();
    for tab in &mut tabs {
        let hash = tab.join(ROOM, "7").hash;
        assert_eq!(hash.len(), 4, "{hash:?}");
    }
    expect_users(&nodes, ROOM, &["7", "w0", "w1", "w2"]);
    for left in tabs.drain(..2) {
        left.close();
    }
    sync(&nodes[0], &mut watchers);
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), ["+7"]);
    }
    drop(tabs);
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
        assert_eq!(watcher.edges(), ["-7"]);
    }
}

#[test]
fn the_info_of_a_member_is_the_same_on_every_node() {
    let (_redis, nodes) = three_nodes();
    let info = json!({"name": "h\u{e9} / \"quoted\" \u{1f600}", "n": [1, 2.5, null]});
    let member = json!({"user_id": "ünï/\"7\"", "user_info": info});
    let mut first = nodes[0].client();
    first.join_with(ROOM, &member.to_string());
    let mut watcher = nodes[1].client();
    let presence = watcher.join(ROOM, "watcher");
    assert_eq!(presence.hash["ünï/\"7\""], info);
    let mut second = nodes[2].client();
    let other = json!({"user_id": "8", "user_info": info});
    second.join_with(ROOM, &other.to_string());
    let added = watcher.expect_on(ROOM, super::ADDED);
    assert_eq!(added.decoded(), other);
}

#[test]
fn the_member_limit_is_one_for_all_nodes() {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(super::usual().set("max_presence_members", 2));
    let nodes = nodes(3, &setup);
    let mut seated: Vec<_> = (0..2)
        .map(|at| {
            let mut client = nodes[at].client();
            client.join(ROOM, &format!("u{at}"));
            client
        })
        .collect();
    let mut late = nodes[2].client();
    late.ask_with(ROOM, r#"{"user_id":"late"}"#);
    assert_eq!(late.expect_refusal(ROOM), ("LimitReached".to_owned(), 4100));
    let mut second_tab = nodes[2].client();
    second_tab.join(ROOM, "u0");
    seated.remove(0).close();
    second_tab.close();
    within(AGREEMENT, "there is room again", || {
        late.ask_with(ROOM, r#"{"user_id":"late"}"#);
        let answer = late.next();
        if answer.event() == super::SUCCEEDED {
            return Ok(());
        }
        late.expect("pusher:error");
        Err(answer.text)
    });
    expect_users(&nodes, ROOM, &["late", "u1"]);
}

#[test]
fn of_a_crowd_that_comes_at_once_as_many_enter_as_may() {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(super::usual().set("max_presence_members", 7));
    let nodes = nodes(3, &setup);
    let mut crowd: Vec<_> = (0..30).map(|at| nodes[at % 3].client()).collect();
    for (at, client) in crowd.iter_mut().enumerate() {
        client.ask_with(ROOM, &json!({"user_id": format!("u{at}")}).to_string());
    }
    let mut entered = Vec::new();
    for (at, client) in crowd.iter_mut().enumerate() {
        let answer = client.next();
        if answer.event() == super::SUCCEEDED {
            assert!(Presence::of(&answer).hash.len() <= 7);
            entered.push(format!("u{at}"));
        } else {
            assert_eq!(answer.event(), "pusher:subscription_error");
        }
    }
    assert_eq!(entered.len(), 7, "{entered:?}");
    let entered: Vec<_> = entered.iter().map(String::as_str).collect();
    expect_users(&nodes, ROOM, &entered);
}

#[test]
fn a_refused_client_is_no_subscription() {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(super::usual().set("max_presence_members", 1));
    let nodes = nodes(3, &setup);
    let mut member = nodes[0].client();
    member.join(ROOM, "first");
    let mut refused: Vec<_> = (0..12)
        .map(|at| {
            let mut client = nodes[at % 3].client();
            client.ask_with(ROOM, r#"{"user_id":"late"}"#);
            client
        })
        .collect();
    for client in &mut refused {
        client.expect_refusal(ROOM);
    }
    member.close();
    let nobody = json!({"channels": {}});
    within(AGREEMENT, "the channel is vacated on every node", || {
        for node in &nodes {
            let channels = node.api().get("/channels", &[]).json();
            if channels != nobody {
                return Err(channels.to_string());
            }
        }
        Ok(())
    });
}

#[test]
fn members_of_a_killed_node_are_removed_once_within_ten_seconds() {
    let (_redis, mut nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    let mut tabs: Vec<_> = [0, 2].iter().map(|at| nodes[*at].client()).collect();
    for tab in &mut tabs {
        tab.join(ROOM, "both");
    }
    let mut victims: Vec<_> = (0..5).map(|_| nodes[2].client()).collect();
    for (at, victim) in victims.iter_mut().enumerate() {
        victim.join(ROOM, &format!("v{at}"));
    }
    watchers.truncate(2);
    let everyone = ["both", "v0", "v1", "v2", "v3", "v4", "w0", "w1", "w2"];
    for watcher in &mut watchers {
        watcher.expect_members(AGREEMENT, &everyone);
        watcher.edges();
    }
    let killed = Instant::now();
    nodes.remove(2).kill();
    let left = ["both", "w0", "w1"];
    for watcher in &mut watchers {
        watcher.expect_members(Duration::from_secs(10), &left);
    }
    let took = killed.elapsed();
    assert!(took <= Duration::from_secs(10), "it took {took:?}");
    expect_users(&nodes, ROOM, &left);
    sync(&nodes[1], &mut watchers);
    for watcher in &mut watchers {
        let mut edges = watcher.edges();
        edges.sort();
        assert_eq!(edges, ["-v0", "-v1", "-v2", "-v3", "-v4", "-w2"]);
    }
}

#[test]
fn a_killed_node_of_many_channels_is_cleared_in_time() {
    let (_redis, mut nodes) = three_nodes();
    let mut victims: Vec<_> = (0..4).map(|_| nodes[2].client()).collect();
    for at in 0..800 {
        let channel = format!("presence-many-{at}");
        victims[at % 4].ask_with(&channel, r#"{"user_id":"victim"}"#);
    }
    for victim in &mut victims {
        for _ in 0..200 {
            victim.expect(super::SUCCEEDED);
        }
    }
    let killed = Instant::now();
    nodes.remove(2).kill();
    within(Duration::from_secs(10), "every channel is vacated", || {
        let channels = nodes[0].api().get("/channels", &[]).json();
        let left = channels["channels"].as_object().map_or(0, |all| all.len());
        if left == 0 {
            Ok(())
        } else {
            Err(left.to_string())
        }
    });
    let took = killed.elapsed();
    assert!(took <= Duration::from_secs(10), "it took {took:?}");
}

#[test]
fn a_drained_node_leaves_no_member_behind() {
    let (_redis, mut nodes) = three_nodes();
    let mut watchers = watchers(&nodes);
    let mut members: Vec<_> = (0..5).map(|_| nodes[2].client()).collect();
    for (at, member) in members.iter_mut().enumerate() {
        member.join(ROOM, &format!("m{at}"));
    }
    let mut gone = watchers.remove(2);
    let mut drained = nodes.remove(2);
    drained.terminate();
    for client in members.iter_mut().chain([&mut gone.client]) {
        loop {
            match client.socket.next() {
                Incoming::Close(code, _) => {
                    assert_eq!(code, Some(4200));
                    client.socket.send(&Frame::close(4200, ""));
                    break;
                }
                _ => continue,
            }
        }
    }
    drained.expect_clean_exit();
    let exited = Instant::now();
    // Far less than a lease.
    expect_users_within(Duration::from_secs(1), &nodes, ROOM, &["w0", "w1"]);
    for watcher in &mut watchers {
        watcher.expect_members(Duration::from_secs(1), &["w0", "w1"]);
    }
    within(
        Duration::from_secs(4),
        "its connections are not counted",
        || {
            let connections = nodes[0].api().get("/connections", &[]).json();
            if connections["connections"] == 2 {
                Ok(())
            } else {
                Err(connections.to_string())
            }
        },
    );
    let took = exited.elapsed();
    assert!(took < Duration::from_secs(6), "a lease is longer: {took:?}");
}

#[test]
fn two_killed_nodes_are_cleared_by_the_third() {
    let (_redis, mut nodes) = three_nodes();
    let mut watcher = Watcher::join(&nodes[0], ROOM, "w");
    let mut victims: Vec<_> = nodes[1..].iter().map(TestServer::client).collect();
    for (at, victim) in victims.iter_mut().enumerate() {
        victim.join(ROOM, &format!("v{at}"));
    }
    watcher.expect_members(AGREEMENT, &["v0", "v1", "w"]);
    watcher.edges();
    nodes.drain(1..).for_each(|mut node| node.kill());
    watcher.expect_members(Duration::from_secs(10), &["w"]);
    assert_eq!(watcher.edges().len(), 2);
}

#[test]
fn terminating_a_user_closes_its_connections_on_every_node() {
    let (_redis, nodes) = three_nodes();
    let mut theirs: Vec<_> = nodes
        .iter()
        .map(|node| sign_in(node, r#"{"id":"7"}"#))
        .collect();
    let mut others: Vec<_> = nodes
        .iter()
        .map(|node| sign_in(node, r#"{"id":"8"}"#))
        .collect();
    let path = "/users/7/terminate_connections";
    nodes[1].api().post(path, &json!({})).is_empty_object();
    for client in &mut theirs {
        client.socket.expect_close(4009);
    }
    for client in &mut others {
        client.expect_silence();
    }
}

#[test]
fn a_watcher_that_comes_and_goes_keeps_true_views() {
    let (_redis, nodes) = three_nodes();
    let mut steady = watchers(&nodes);
    for round in 0..40 {
        let mut visitor = Watcher::join(&nodes[round % 3], ROOM, &format!("v{round}"));
        assert!(visitor.members().len() >= 4, "{:?}", visitor.members());
        if round % 2 == 0 {
            visitor.client.close();
        } else {
            visitor.client.unsubscribe(ROOM);
            visitor.client.expect_answered();
        }
    }
    for watcher in &mut steady {
        watcher.expect_edges(80);
        watcher.expect_members(PATIENCE, &["w0", "w1", "w2"]);
    }
    sync(&nodes[0], &mut steady);
    for watcher in &mut steady {
        assert_eq!(watcher.edges().len(), 80);
    }
}
