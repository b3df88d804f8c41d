//! Cache channels: one last event for all nodes.

use std::{thread, time::Duration};

use serde_json::json;

use super::{AGREEMENT, delivery::expect_unbroken, nodes, three_nodes};
use crate::support::{
    client::TestClient, http::Http, redis::RedisServer, server::TestServer, setup::Setup, within,
};

/// What a new subscriber of this node is shown.
#[track_caller]
fn shown(node: &TestServer, channel: &str) -> String {
    let mut client = node.client();
    client.subscribe(channel);
    let cached = client.next();
    if cached.event() == "pusher:cache_miss" {
        return "miss".to_owned();
    }
    cached.data().to_owned()
}

#[track_caller]
fn every_node_shows(nodes: &[TestServer], channel: &str, expected: &str) {
    within(AGREEMENT, "every node shows the last event", || {
        for (at, node) in nodes.iter().enumerate() {
            let shown = shown(node, channel);
            if shown != expected {
                return Err(format!("node {at} shows {shown} instead of {expected}"));
            }
        }
        Ok(())
    });
}

#[test]
fn an_event_published_where_nobody_listens_is_shown_elsewhere() {
    let (_redis, nodes) = three_nodes();
    nodes[0].api().publish("cache-a", "e", "first");
    every_node_shows(&nodes, "cache-a", "first");
}

#[test]
fn the_last_event_wins_wherever_it_was_published() {
    let (_redis, nodes) = three_nodes();
    let _listeners: Vec<TestClient> = nodes[..2]
        .iter()
        .map(|node| {
            let mut client = node.client();
            client.subscribe("cache-a");
            client
        })
        .collect();
    for number in 0..60 {
        publish_and_await(&nodes, number % 3, "cache-a", &number.to_string());
    }
    every_node_shows(&nodes, "cache-a", "59");
    // Nodes that published long ago and had no listener must not show their own.
    for number in 0..6 {
        publish_and_await(&nodes, number % 3, "cache-b", &format!("x{number}"));
    }
    every_node_shows(&nodes, "cache-b", "x5");
}

#[test]
fn what_redis_has_lost_no_node_shows_any_more() {
    let (redis, nodes) = three_nodes();
    let mut listener = nodes[1].client();
    listener.subscribe("cache-a");
    listener.expect("pusher:cache_miss");
    nodes[0].api().publish("cache-a", "e", "first");
    every_node_shows(&nodes, "cache-a", "first");
    let () = redis.ask(&["FLUSHALL"]);
    every_node_shows(&nodes, "cache-a", "miss");
    nodes[2].api().publish("cache-a", "e", "second");
    every_node_shows(&nodes, "cache-a", "second");
}

/// Publishes through one node and waits until another reads it: which of two events that are under way from two nodes is the last is
/// not said.
#[track_caller]
fn publish_and_await(nodes: &[TestServer], from: usize, channel: &str, data: &str) {
    nodes[from].api().publish(channel, "e", data);
    let other = nodes[(from + 2) % 3].api();
    within(AGREEMENT, "another node reads the event", || {
        let read = other.get(&format!("/channels/{channel}"), &[("info", "cache")]);
        if read.json()["cache"]["data"] == data {
            Ok(())
        } else {
            Err(read.body)
        }
    });
}

#[test]
fn an_expired_event_is_shown_nowhere() {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(super::usual().set("cache_ttl_s", 2));
    let nodes = nodes(2, &setup);
    let mut listener = nodes[1].client();
    listener.subscribe("cache-a");
    nodes[0].api().publish("cache-a", "e", "old");
    within(Duration::from_secs(10), "it expires on every node", || {
        for node in &nodes {
            if shown(node, "cache-a") != "miss" {
                return Err("still shown".to_owned());
            }
            let cache = node.api().get("/channels/cache-a", &[("info", "cache")]);
            if !cache.json()["cache"].is_null() {
                return Err(cache.body);
            }
        }
        Ok(())
    });
}

/// Publishes numbers on fresh channels through one node, while clients of another subscribe in the middle.
#[track_caller]
fn subscribers_in_the_middle_miss_nothing(from: usize, to: usize) {
    const EVENTS: usize = 60;
    let (_redis, nodes) = three_nodes();
    for round in 0..25 {
        let channel = format!("cache-{round}");
        let (api, address, on) = (nodes[from].api(), nodes[from].public, channel.clone());
        let publisher = thread::spawn(move || {
            let mut http = Http::connect(address);
            for number in 0..EVENTS {
                let event = json!({"name": "e", "channel": on, "data": number.to_string()});
                http.send(api.call("POST", "/events").body(event.to_string()).bytes());
                http.response().is_empty_object();
            }
            let event = json!({"name": "end", "channel": on, "data": ""});
            api.events(&event).is_empty_object();
        });
        let mut clients: Vec<_> = (0..4).map(|_| nodes[to].client()).collect();
        for client in &mut clients {
            client.ask(&channel);
        }
        for client in &mut clients {
            client.expect_on(&channel, super::SUCCEEDED);
            if let Some(number) = first_number(client) {
                if number + 1 < EVENTS {
                    let next = client.next();
                    assert_eq!(next.data(), (number + 1).to_string(), "after {number}");
                }
                expect_unbroken(client, EVENTS - 1);
            }
        }
        publisher.join().expect("every publish succeeds");
    }
}

/// The number of the first event; none if that was the end already.
fn first_number(client: &mut TestClient) -> Option<usize> {
    loop {
        let message = client.next();
        match message.event() {
            "pusher:cache_miss" => {}
            "end" => return None,
            _ => return Some(message.data().parse().expect("a number")),
        }
    }
}

#[test]
fn a_subscriber_in_the_middle_of_its_own_nodes_events_misses_nothing() {
    subscribers_in_the_middle_miss_nothing(1, 1);
}

#[test]
fn a_subscriber_in_the_middle_of_another_nodes_events_misses_nothing() {
    subscribers_in_the_middle_miss_nothing(0, 1);
}

#[test]
fn a_busy_node_lets_clients_into_cache_channels() {
    let (_redis, nodes) = three_nodes();
    let mut listener = nodes[1].client();
    listener.subscribe("busy");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let (api, address) = (nodes[0].api(), nodes[0].public);
            let stop = std::sync::Arc::clone(&stop);
            thread::spawn(move || {
                let mut http = Http::connect(address);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let call = api.call("POST", "/events");
                    let body = json!({"name": "e", "channel": "busy", "data": "x"}).to_string();
                    http.send(call.body(body).bytes().repeat(20));
                    for _ in 0..20 {
                        http.response().is_empty_object();
                    }
                }
            })
        })
        .collect();
    for round in 0..30 {
        let mut client = nodes[0].client();
        client.subscribe(&format!("cache-{round}"));
        client.expect("pusher:cache_miss");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for publisher in publishers {
        publisher.join().expect("every publish succeeds");
    }
}
