//! Events from any node to any node: all of them, in order, and not to the one who is left out.

use std::{collections::BTreeMap, thread};

use serde_json::{Value, json};

use super::{three_nodes, watcher::Watcher};
use crate::support::{
    client::{Message, TestClient},
    http::Http,
    server::TestServer,
};

const EVENTS: usize = 150;

/// One client of each node, subscribed.
#[track_caller]
fn listeners(nodes: &[TestServer], channel: &str) -> Vec<TestClient> {
    let subscribed = nodes.iter().map(|node| {
        let mut client = node.client();
        client.subscribe(channel);
        client
    });
    subscribed.collect()
}

/// Publishes 0, 1, 2, … from a thread, over one connection.
fn publish_from(
    node: &TestServer,
    name: &str,
    channels: &'static [&str],
) -> thread::JoinHandle<()> {
    let (api, address, name) = (node.api(), node.public, name.to_owned());
    thread::spawn(move || {
        let mut http = Http::connect(address);
        for number in 0..EVENTS {
            let event = json!({"name": name, "channels": channels, "data": number.to_string()});
            http.send(api.call("POST", "/events").body(event.to_string()).bytes());
            http.response().is_empty_object();
        }
    })
}

#[test]
fn each_publishers_events_reach_every_node_in_order() {
    let (_redis, nodes) = three_nodes();
    let channels: &[&str] = &["news", "weather"];
    let mut clients = listeners(&nodes, "news");
    clients.iter_mut().for_each(|client| {
        client.subscribe("weather");
    });
    let publishers: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| publish_from(node, &format!("p{at}"), channels))
        .collect();
    for publisher in publishers {
        publisher.join().expect("every publish succeeds");
    }
    for client in &mut clients {
        let mut next: BTreeMap<(String, String), usize> = BTreeMap::new();
        for _ in 0..EVENTS * nodes.len() * channels.len() {
            let message = client.next();
            let channel = message.channel().expect("a channel").to_owned();
            let expected = next
                .entry((channel, message.event().to_owned()))
                .or_default();
            assert_eq!(message.data(), expected.to_string(), "{}", message.text);
            *expected += 1;
        }
        client.expect_silence();
    }
}

#[test]
fn an_excluded_socket_is_left_out_on_whichever_node_it_is() {
    let (_redis, nodes) = three_nodes();
    let mut clients = listeners(&nodes, "news");
    for (from, node) in nodes.iter().enumerate() {
        for excluded in 0..clients.len() {
            let author = clients[excluded].socket_id.clone();
            let event = format!("e{from}{excluded}");
            let body = json!({"name": event, "channel": "news", "data": "", "socket_id": author});
            node.api().events(&body).is_empty_object();
            node.api().publish("news", "marker", "");
            for (at, client) in clients.iter_mut().enumerate() {
                if at != excluded {
                    client.expect_on("news", &event);
                }
                client.expect_on("news", "marker");
            }
        }
    }
}

#[test]
fn a_client_event_reaches_the_others_on_every_node() {
    let (_redis, nodes) = three_nodes();
    let mut members: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| Watcher::join(node, "presence-room", &format!("u{at}")))
        .collect();
    let everyone = ["u0", "u1", "u2"];
    for member in &mut members {
        member.expect_members(super::AGREEMENT, &everyone);
    }
    for sender in 0..members.len() {
        for number in 0..20 {
            let data = json!({"n": number});
            members[sender]
                .client
                .trigger("presence-room", "client-typing", &data);
        }
        for at in (0..members.len()).filter(|at| *at != sender) {
            for number in 0..20 {
                let message = members[at]
                    .client
                    .expect_on("presence-room", "client-typing");
                assert_eq!(message.decoded(), json!({"n": number}));
                assert_eq!(message.json["user_id"], everyone[sender]);
            }
        }
        members[sender].client.expect_silence();
    }
}

#[test]
fn whoever_was_told_of_its_subscription_hears_the_next_event_of_any_node() {
    let (_redis, nodes) = three_nodes();
    for round in 0..60 {
        let channel = format!("fresh-{round}");
        let mut client = nodes[round % 3].client();
        client.subscribe(&channel);
        nodes[(round + 1) % 3].api().publish(&channel, "e", "");
        client.expect_on(&channel, "e");
    }
}

#[test]
fn a_subscriber_that_comes_in_the_middle_hears_an_unbroken_rest() {
    let (_redis, nodes) = three_nodes();
    let publisher = publish_from(&nodes[0], "p", &["news"]);
    let mut clients = Vec::new();
    while !publisher.is_finished() {
        if clients.len() < 30 {
            clients.extend(listeners(&nodes, "news"));
        } else {
            thread::yield_now();
        }
    }
    publisher.join().expect("every publish succeeds");
    nodes[0].api().publish("news", "end", "");
    for client in &mut clients {
        expect_unbroken(client, EVENTS - 1);
    }
}

/// Numbers one above the other, up to the last one and the end.
#[track_caller]
pub(super) fn expect_unbroken(client: &mut TestClient, last_of_all: usize) {
    let mut last: Option<usize> = None;
    loop {
        let message = client.next();
        if message.event() == "end" {
            break;
        }
        let number: usize = message.data().parse().expect("a number");
        assert!(
            last.is_none_or(|last| number == last + 1),
            "{number} after {last:?}"
        );
        last = Some(number);
    }
    assert!(
        last.is_none_or(|last| last == last_of_all),
        "the last event was lost: {last:?}"
    );
}

#[test]
fn a_large_event_arrives_byte_for_byte() {
    let (_redis, nodes) = three_nodes();
    let mut client = nodes[1].client();
    client.subscribe("news");
    let data: String = "h\u{e9}\u{1f600}\"\\\n\u{0}".repeat(500);
    nodes[0].api().publish("news", "e", &data);
    let message: Message = client.expect_on("news", "e");
    assert_eq!(message.data(), data);
    let Value::Object(envelope) = &message.json else {
        panic!("{}", message.text)
    };
    assert_eq!(envelope.len(), 3, "{}", message.text);
}

#[test]
fn a_batch_goes_to_every_node_in_order() {
    let (_redis, nodes) = three_nodes();
    let mut clients = listeners(&nodes, "news");
    for batch in 0..20 {
        let events: Vec<_> = (batch * 10..(batch + 1) * 10)
            .map(|number| json!({"name": "e", "channel": "news", "data": number.to_string()}))
            .collect();
        nodes[2].api().batch(&events).is_empty_object();
    }
    for client in &mut clients {
        for number in 0..200 {
            assert_eq!(client.expect_on("news", "e").data(), number.to_string());
        }
    }
}

/// 1,000 events of 10 KB are twice what the kernel and an outbox hold for a client that does not read.
#[test]
fn clients_that_read_later_than_another_node_publishes_miss_nothing() {
    let (_redis, nodes) = three_nodes();
    let mut clients: Vec<TestClient> = (0..4).map(|_| nodes[1].client()).collect();
    clients.iter_mut().for_each(|client| {
        client.subscribe("news");
    });
    // Nodes that have just come may not know each other yet.
    let mut listener = nodes[0].client();
    listener.subscribe("greetings");
    for node in &nodes {
        node.api().publish("greetings", "hello", "");
        listener.expect_on("greetings", "hello");
    }
    let padding = "x".repeat(10_000);
    let (requests, events) = (100, 10);
    for request in 0..requests {
        let batch: Vec<Value> = (0..events)
            .map(|at| {
                let name = format!("e{}", request * events + at);
                json!({"name": name, "channel": "news", "data": padding})
            })
            .collect();
        assert_eq!(nodes[0].api().batch(&batch).status, 200);
    }
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for number in 0..requests * events {
                    client.expect_on("news", &format!("e{number}"));
                }
            });
        }
    });
}
