//! What an operator sees of a cluster from one node of it.

use serde_json::{Value, json};

use super::{AGREEMENT, expect_not_ready, three_nodes};
use crate::support::{
    server::TestServer,
    websocket::{Socket, Upgrade},
    within,
};

/// Waits until a JSON answer of the admin listener is as it must be.
#[track_caller]
fn shows(node: &TestServer, target: &str, is_right: impl Fn(&Value) -> bool) {
    within(AGREEMENT, target, || {
        let answer = node.admin_get(target);
        if answer.status == 200 && is_right(&answer.json()) {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });
}

/// Waits until a sample of the metrics has this value.
#[track_caller]
fn measures(node: &TestServer, sample: &str) {
    within(AGREEMENT, sample, || {
        let text = node.admin_get("/metrics").body;
        if text.lines().any(|line| line == sample) {
            Ok(())
        } else {
            Err(text)
        }
    });
}

#[test]
fn every_node_shows_the_whole_cluster() {
    let (_redis, nodes) = three_nodes();
    let mut feed = Upgrade::new("/feed?types=member_added").connect(nodes[0].admin);
    let mut clients: Vec<_> = nodes.iter().map(TestServer::client).collect();
    clients[0].subscribe("news");
    clients[1].subscribe("news");
    let ada = r#"{"user_id":"ada","user_info":{"name":"Ada"}}"#;
    clients[0].join_with("presence-room", ada);
    clients[2].join("presence-room", "bob");
    for user in ["ada", "bob"] {
        let text = feed.expect_text();
        let added: Value = serde_json::from_str(&text).expect("a line is JSON");
        assert_eq!(added["channel"], json!("presence-room"), "{added}");
        assert_eq!(added["user_id"], json!(user), "{added}");
    }
    for node in &nodes {
        shows(node, "/api/state", |state| {
            let cluster = state["cluster"].as_array().expect("a list");
            let these: Vec<_> = cluster.iter().filter(|node| node["this"] == true).collect();
            let connections = cluster.iter().map(|node| node["connections"].as_u64());
            state["engine"] == "redis"
                && state["engine_ready"] == true
                && cluster.len() == 3
                && these.len() == 1
                && these[0]["node"] == state["node"]
                && connections.flatten().sum::<u64>() == 3
        });
        shows(node, "/api/apps/1001/channels?prefix=news", |list| {
            list["channels"][0]["subscriptions"] == 2 && list["total"] == 1
        });
        measures(node, "loudhailer_cluster_peers 2");
        measures(node, "loudhailer_engine_ready 1");
    }
    shows(&nodes[2], "/api/apps/1001/channels/presence-room", |room| {
        room["members"]
            == json!([{"user_id": "ada", "user_info": {"name": "Ada"}}, {"user_id": "bob"}])
    });
    shows(&nodes[0], "/api/connections", |list| list["total"] == 1);
}

#[test]
fn an_event_created_on_one_node_reaches_the_others_and_says_so() {
    let (_redis, nodes) = three_nodes();
    let mut client = nodes[1].client();
    client.subscribe("news");
    let create = |channel: &str| {
        let event = json!({"name": "order", "channels": [channel], "data": ""}).to_string();
        let headers = ["Host: localhost", "Content-Type: application/json"];
        nodes[0]
            .admin_call("POST /api/apps/1001/events", &headers, &event)
            .json()
    };
    let elsewhere = "no subscriber here, 1 on other nodes";
    let expected = json!([{"name": "news", "delivered": 0, "why": elsewhere}]);
    assert_eq!(create("news")["channels"], expected);
    client.expect_on("news", "order");
    assert_eq!(
        create("nobody")["channels"][0]["why"],
        json!("nobody is subscribed")
    );
    let port = nodes[0].public.port();
    let labels = format!(r#"{{app_id="1001",port="{port}"}}"#);
    measures(
        &nodes[0],
        &format!("loudhailer_horizontal_adapter_sent_requests{labels} 2"),
    );
    let port = nodes[1].public.port();
    let labels = format!(r#"{{app_id="1001",port="{port}"}}"#);
    measures(
        &nodes[1],
        &format!("loudhailer_horizontal_adapter_received_requests{labels} 1"),
    );
}

#[test]
fn without_redis_a_node_shows_what_it_knows_and_says_what_it_lacks() {
    let (mut redis, nodes) = three_nodes();
    let mut client = nodes[0].client();
    client.subscribe("news");
    redis.kill();
    expect_not_ready(&nodes);
    let node = &nodes[0];
    let state = node.admin_json("/api/state");
    assert_eq!(
        (&state["engine_ready"], &state["ready"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(state["phase"], "running");
    assert_eq!(
        node.get("/ready").status,
        200,
        "balancers keep a node that delivers"
    );
    node.admin_get("/api/apps/1001/channels").is_error(503);
    shows(node, "/api/connections?channel=news", |list| {
        list["total"] == 1
    });
    measures(node, "loudhailer_engine_ready 0");
    measures(node, "loudhailer_cluster_peers 0");
}

/// #16: the publisher's node said that nobody is subscribed, and the subscriber's node showed nothing.
#[test]
fn the_feeds_of_two_nodes_tell_what_is_true_of_the_cluster() {
    let (_redis, nodes) = three_nodes();
    let mut clients = [nodes[1].client(), nodes[1].client()];
    for client in &mut clients {
        client.subscribe("news");
    }
    let watch =
        |node: &TestServer| Upgrade::new("/feed?types=api_message,peer_event").connect(node.admin);
    let (mut publishers, mut subscribers) = (watch(&nodes[0]), watch(&nodes[1]));
    let next = |feed: &mut Socket| -> Value {
        serde_json::from_str(&feed.expect_text()).expect("a line is JSON")
    };
    nodes[0].api().publish("news", "order", "{\"id\":42}");
    let line = next(&mut publishers);
    assert_eq!(
        (&line["delivered"], &line["elsewhere"]),
        (&json!(0), &json!(2)),
        "{line}"
    );
    assert_eq!(
        line["why"],
        json!("no subscriber here, 2 on other nodes"),
        "{line}"
    );
    let line = next(&mut subscribers);
    let state = nodes[0].admin_json("/api/state");
    let name = state["node"].as_str().expect("a name");
    assert_eq!(line["type"], "peer_event", "{line}");
    assert!(
        name.starts_with(line["node"].as_str().expect("a node")),
        "{line}, {name}"
    );
    assert_eq!(
        (
            &line["app"],
            &line["channel"],
            &line["event"],
            &line["data"],
            &line["size"],
            &line["delivered"]
        ),
        (
            &json!("1001"),
            &json!("news"),
            &json!("order"),
            &json!("{\"id\":42}"),
            &json!(9),
            &json!(2)
        ),
        "{line}"
    );
    let mut here = nodes[0].client();
    here.subscribe("news");
    nodes[0].api().publish("news", "order", "");
    let line = next(&mut publishers);
    assert_eq!(
        (&line["delivered"], &line["elsewhere"]),
        (&json!(1), &json!(2)),
        "{line}"
    );
    nodes[0].api().publish("cache-nobody", "order", "");
    let line = next(&mut publishers);
    assert_eq!(
        (&line["why"], line.get("elsewhere")),
        (&json!("nobody is subscribed"), None),
        "{line}"
    );
}
