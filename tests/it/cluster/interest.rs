//! What a node hears from Redis, and what is left there: nothing that nobody needs.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{AGREEMENT, expect_not_ready, expect_ready, three_nodes, usual};
use crate::support::{redis::RedisServer, within};

/// The longest that anything of an empty channel may stay in Redis.
const A_MINUTE: Duration = Duration::from_secs(60);

/// How many nodes listen to the channel's topic, in whichever bucket it is.
fn listening(redis: &RedisServer, channel: &str) -> usize {
    let pattern = format!("loudhailer:{{1001:*}}:{channel}");
    let topics: Vec<String> = redis.ask(&["PUBSUB", "CHANNELS", &pattern]);
    let Some(topic) = topics.first() else {
        return 0;
    };
    let counts: BTreeMap<String, usize> = redis.ask(&["PUBSUB", "NUMSUB", topic]);
    counts[topic]
}

#[track_caller]
fn expect_listening(redis: &RedisServer, channel: &str, expected: usize) {
    within(AGREEMENT, "so many nodes listen", || {
        match listening(redis, channel) {
            count if count == expected => Ok(()),
            count => Err(count.to_string()),
        }
    });
}

#[test]
fn a_node_listens_only_to_what_it_has_subscribers_of() {
    assert_eq!(usual().id, "1001");
    let (redis, nodes) = three_nodes();
    let mut first = nodes[0].client();
    first.subscribe("news");
    assert_eq!(listening(&redis, "news"), 1);
    let mut second = nodes[1].client();
    second.subscribe("news");
    assert_eq!(listening(&redis, "news"), 2);
    nodes[2].api().publish("news", "e", "");
    nodes[2].api().publish("other", "e", "");
    assert_eq!(listening(&redis, "other"), 0);
    second.expect("e");
    second.close();
    // A page that reloads costs nothing: the topic is held for some seconds.
    let mut back = nodes[1].client();
    back.subscribe("news");
    assert_eq!(listening(&redis, "news"), 2);
    back.close();
    expect_listening(&redis, "news", 1);
    let mut again = nodes[1].client();
    again.subscribe("news");
    nodes[2].api().publish("news", "again", "");
    again.expect("again");
}

#[test]
fn channels_that_come_back_as_they_are_let_go_hear_everything() {
    const CHANNELS: usize = 150;
    let (redis, nodes) = three_nodes();
    let name = |at: usize| format!("c{at}");
    let mut client = nodes[0].client();
    for round in 0..2 {
        (0..CHANNELS).for_each(|at| client.ask(&name(at)));
        (0..CHANNELS).for_each(|_| drop(client.expect(super::SUCCEEDED)));
        for at in 0..CHANNELS {
            nodes[1].api().publish(&name(at), "e", &round.to_string());
        }
        for _ in 0..CHANNELS {
            assert_eq!(client.expect("e").data(), round.to_string());
        }
        (0..CHANNELS).for_each(|at| client.unsubscribe(&name(at)));
        client.expect_silence();
        // At the very moment at which the first is let go, all come back.
        within(AGREEMENT, "the first is let go", || {
            let listening = listening(&redis, "c0");
            if listening == 0 {
                Ok(())
            } else {
                Err(listening.to_string())
            }
        });
    }
}

#[test]
fn nothing_is_left_in_redis_when_everyone_has_gone() {
    let (redis, nodes) = three_nodes();
    let mut clients: Vec<_> = (0..9).map(|at| nodes[at % 3].client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.ask("news");
        client.ask_with(
            "presence-room",
            &json!({"user_id": at.to_string()}).to_string(),
        );
    }
    super::expect_users(
        &nodes,
        "presence-room",
        &["0", "1", "2", "3", "4", "5", "6", "7", "8"],
    );
    drop(clients);
    within(A_MINUTE, "only leases are left", || {
        let keys: Vec<String> = redis.ask(&["KEYS", "*"]);
        let kept = ["{nodes}:leases", "{nodes}:connections"];
        let left: Vec<_> = keys
            .into_iter()
            .filter(|key| !kept.iter().any(|end| key.ends_with(end)))
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn what_was_left_while_redis_was_away_is_let_go_afterwards() {
    let (mut redis, nodes) = three_nodes();
    let mut client = nodes[0].client();
    client.subscribe("news");
    client.unsubscribe("news");
    client.expect_silence();
    redis.kill();
    expect_not_ready(&nodes);
    // Longer than a topic is held.
    client.expect_quiet_for(Duration::from_secs(8));
    redis.start_again();
    expect_ready(AGREEMENT, &nodes);
    expect_listening(&redis, "news", 0);
}
