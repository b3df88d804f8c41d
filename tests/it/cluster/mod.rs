//! Many nodes on real Redis processes: whatever a client or a backend asks, it can't tell which node it talks to.

mod admin;
mod apart;
mod cache;
mod chaos;
mod delivery;
mod fallback;
mod interest;
mod leases;
mod loss;
mod outage;
mod partition;
mod presence;
mod reads;
mod redis_cluster;
mod replay;
mod sentinel;
mod start;
mod subscribing;
mod tls;
mod users;
mod watcher;
mod webhooks;

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::support::{
    app::App, client::TestClient, redis::RedisServer, server::TestServer, setup::Setup, within,
};

const ADDED: &str = "pusher_internal:member_added";
const REMOVED: &str = "pusher_internal:member_removed";
const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

/// How long a test waits for nodes to agree. What has a promised time says so itself.
const AGREEMENT: Duration = Duration::from_secs(30);

/// One app for all nodes that are started with it.
fn setup(url: &str) -> Setup {
    Setup::new().set("redis.url", url).app(usual())
}

fn usual() -> App {
    App::usual()
        .set("client_events", true)
        .set("max_client_events_per_second", 1000)
}

/// Nodes of one cluster.
#[track_caller]
fn nodes(count: usize, setup: &Setup) -> Vec<TestServer> {
    (0..count)
        .map(|_| TestServer::start(setup.clone()))
        .collect()
}

/// A Redis and three nodes on it. Bind the Redis first: what is bound last is ended first.
#[track_caller]
fn three_nodes() -> (RedisServer, Vec<TestServer>) {
    let redis = RedisServer::start();
    let nodes = nodes(3, &setup(&redis.url()));
    (redis, nodes)
}

/// The user ids that a node's API tells, or why it does not.
fn try_users(node: &TestServer, channel: &str) -> Result<BTreeSet<String>, String> {
    let path = format!("/channels/{channel}/users");
    let response = node.api().get(&path, &[]);
    if response.status != 200 {
        return Err(format!("{response:?}"));
    }
    let ids = |users: &Value| -> Option<BTreeSet<String>> {
        let ids = users.as_array()?.iter();
        ids.map(|user| Some(user["id"].as_str()?.to_owned()))
            .collect()
    };
    Ok(ids(&response.json()["users"]).expect("a list of users"))
}

fn set(users: &[&str]) -> BTreeSet<String> {
    users.iter().map(|user| (*user).to_owned()).collect()
}

/// Waits until every node's API tells these users.
#[track_caller]
fn expect_users(nodes: &[TestServer], channel: &str, expected: &[&str]) {
    expect_users_within(AGREEMENT, nodes, channel, expected);
}

#[track_caller]
fn expect_users_within(patience: Duration, nodes: &[TestServer], channel: &str, expected: &[&str]) {
    let expected = set(expected);
    within(patience, "every node tells the members", || {
        for node in nodes {
            let users = try_users(node, channel)?;
            if users != expected {
                return Err(format!("{users:?} instead of {expected:?}"));
            }
        }
        Ok(())
    });
}

/// Waits until every node is ready.
#[track_caller]
fn expect_ready(patience: Duration, nodes: &[TestServer]) {
    within(patience, "every node is ready", || {
        let unready = nodes.iter().position(|node| !node.is_ready());
        unready.map_or(Ok(()), |at| Err(format!("node {at} is not")))
    });
}

/// Waits until no node is ready.
#[track_caller]
fn expect_not_ready(nodes: &[TestServer]) {
    within(AGREEMENT, "every node notices", || {
        let ready = nodes.iter().position(TestServer::is_ready);
        ready.map_or(Ok(()), |at| Err(format!("node {at} is ready")))
    });
}

/// Asks for a subscription until it is granted; refusals for want of Redis are what may come before.
#[track_caller]
fn join_when_possible(client: &mut TestClient, channel: &str, user_id: &str) {
    within(AGREEMENT, "the subscription is granted", || {
        client.ask_with(
            channel,
            &serde_json::json!({"user_id": user_id}).to_string(),
        );
        let answer = client.next();
        if answer.event() == SUCCEEDED {
            return Ok(());
        }
        assert_eq!(
            answer.event(),
            "pusher:subscription_error",
            "{}",
            answer.text
        );
        client.expect("pusher:error");
        Err(answer.text)
    });
}

fn ask_sign_in(client: &mut TestClient, app: &App, user_data: &str) {
    // `key:signature` over `{socket_id}::user::{user_data}`.
    let auth = app.auth(&client.socket_id, &format!(":user::{user_data}"));
    let data = serde_json::json!({"auth": auth, "user_data": user_data});
    client.send(&serde_json::json!({"event": "pusher:signin", "data": data}));
}

/// A client that is signed in.
#[track_caller]
fn sign_in(node: &TestServer, user_data: &str) -> TestClient {
    let mut client = node.client();
    ask_sign_in(&mut client, node.app(), user_data);
    client.expect("pusher:signin_success");
    client
}
