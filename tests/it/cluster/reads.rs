//! The HTTP API's reads: the same answer from every node, about all of them.

use serde_json::{Value, json};

use super::{AGREEMENT, three_nodes};
use crate::support::{server::TestServer, within};

/// Waits until every node gives this answer.
#[track_caller]
fn every_node_says(
    nodes: &[TestServer],
    path: &str,
    parameters: &[(&str, &str)],
    expected: &Value,
) {
    within(AGREEMENT, "every node says the same", || {
        for node in nodes {
            let response = node.api().get(path, parameters);
            if response.status != 200 || response.json() != *expected {
                return Err(format!("{path}: {response:?} instead of {expected}"));
            }
        }
        Ok(())
    });
}

#[test]
fn every_read_is_the_same_on_every_node() {
    let (_redis, nodes) = three_nodes();
    let mut clients: Vec<_> = (0..6).map(|at| nodes[at % 3].client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.subscribe("news");
        client.ask_with(
            "presence-room",
            &json!({"user_id": format!("u{}", at % 4)}).to_string(),
        );
    }
    clients[1].ask("private-one");
    nodes[0].api().publish("cache-last", "e", "\"d\"");
    clients[2].ask("cache-last");
    every_node_says(
        &nodes,
        "/channels",
        &[],
        &json!({"channels": {"news": {}, "presence-room": {}, "private-one": {}, "cache-last": {}}}),
    );
    every_node_says(
        &nodes,
        "/channels",
        &[("filter_by_prefix", "presence-"), ("info", "user_count")],
        &json!({"channels": {"presence-room": {"user_count": 4}}}),
    );
    every_node_says(
        &nodes,
        "/channels/news",
        &[("info", "subscription_count")],
        &json!({"occupied": true, "subscription_count": 6}),
    );
    every_node_says(
        &nodes,
        "/channels/presence-room",
        &[("info", "user_count,subscription_count")],
        &json!({"occupied": true, "user_count": 4, "subscription_count": 6}),
    );
    every_node_says(
        &nodes,
        "/channels/nobody",
        &[("info", "subscription_count")],
        &json!({"occupied": false, "subscription_count": 0}),
    );
    every_node_says(&nodes, "/connections", &[], &json!({"connections": 6}));
    super::expect_users(&nodes, "presence-room", &["u0", "u1", "u2", "u3"]);
    for node in &nodes {
        let cache = node.api().get("/channels/cache-last", &[("info", "cache")]);
        assert_eq!(cache.json()["cache"]["data"], "\"d\"", "{cache:?}");
    }
    let published = json!({"name": "e", "channels": ["news", "presence-room"], "data": "",
        "info": "user_count,subscription_count"});
    for node in &nodes {
        node.api().events(&published).is(&json!({"channels": {
            "news": {"subscription_count": 6},
            "presence-room": {"user_count": 4, "subscription_count": 6},
        }}));
    }
}

#[test]
fn counts_follow_whoever_comes_and_goes_on_any_node() {
    let (_redis, nodes) = three_nodes();
    let mut clients: Vec<_> = (0..30).map(|at| nodes[at % 3].client()).collect();
    for client in &mut clients {
        client.ask("news");
    }
    let count = |count: usize| json!({"occupied": count > 0, "subscription_count": count});
    let info = [("info", "subscription_count")];
    every_node_says(&nodes, "/channels/news", &info, &count(30));
    for left in [17, 3, 0] {
        clients.truncate(left);
        every_node_says(&nodes, "/channels/news", &info, &count(left));
    }
    every_node_says(&nodes, "/channels", &[], &json!({"channels": {}}));
    every_node_says(&nodes, "/connections", &[], &json!({"connections": 0}));
}

#[test]
fn a_channel_left_here_and_entered_there_at_once_stays_listed() {
    let (_redis, nodes) = three_nodes();
    for round in 0..60 {
        let channel = format!("moving-{round}");
        let mut leaver = nodes[round % 3].client();
        leaver.subscribe(&channel);
        let mut comer = nodes[(round + 1) % 3].client();
        leaver.unsubscribe(&channel);
        comer.subscribe(&channel);
        every_node_says(
            &nodes,
            "/channels",
            &[("filter_by_prefix", &channel)],
            &json!({"channels": {(channel.as_str()): {}}}),
        );
    }
}

/// #13 row 16, on nodes with and without subscribers of the channel.
#[test]
fn every_node_tells_the_info_of_every_member() {
    let (_redis, nodes) = three_nodes();
    let infos = [json!({"name": "Ann"}), json!(null)];
    let mut clients: Vec<_> = nodes[..2].iter().map(TestServer::client).collect();
    for (at, (client, info)) in clients.iter_mut().zip(&infos).enumerate() {
        let member = json!({"user_id": at.to_string(), "user_info": info});
        client.join_with("presence-room", &member.to_string());
    }
    for node in &nodes {
        let parameters = [("with_user_info", "1")];
        let response = node.api().get("/channels/presence-room/users", &parameters);
        let mut users = response.json()["users"].as_array().unwrap().clone();
        users.sort_by_key(|user| user["id"].to_string());
        let expected = [
            json!({"id": "0", "user_info": infos[0]}),
            json!({"id": "1", "user_info": infos[1]}),
        ];
        assert_eq!(users, expected);
    }
}
