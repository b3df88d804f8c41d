//! Reloads and rotations of keys under load: nobody is disconnected, and nothing is lost (#14).

use std::{
    net::SocketAddr,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread::{self, JoinHandle},
};

use serde_json::json;

#[cfg(feature = "sql")]
use super::nodes::Nodes;
use super::store::{StoreKind, Stored, on_every_store};
#[cfg(feature = "sql")]
use crate::support::database::Kind;
use crate::support::{
    api::Api,
    app::App,
    websocket::{Socket, Upgrade},
};

/// How many keys are rotated. `LOUDHAILER_ROTATIONS=20` makes it 20, with 1,000 sockets and 100 reloads.
const ROTATIONS: usize = 2;
const SOCKETS_PER_ROTATION: usize = 50;
/// Changes of something else between the steps of a rotation, which has two reloads of its own.
const OTHER_CHANGES: usize = 3;
const CHANNELS: [&str; 2] = ["news", "private-news"];

on_every_store! {
    nobody_misses_an_event_through_reloads_and_rotations
}

fn rotations() -> usize {
    let given = std::env::var("LOUDHAILER_ROTATIONS").ok();
    given.map_or(ROTATIONS, |given| given.parse().expect("a number"))
}

fn nobody_misses_an_event_through_reloads_and_rotations(kind: StoreKind) {
    let rotations = rotations();
    let mut current = App::usual();
    let stored = Stored::start(kind, std::slice::from_ref(&current));
    let address = stored.server.public;
    let mut sockets: Vec<_> = (0..rotations * SOCKETS_PER_ROTATION)
        .map(|number| subscribed(address, &current, CHANNELS[number % 2]))
        .collect();
    let publisher = Publisher::start(vec![address], &current);
    let mut change = 0;
    for rotation in 0..rotations {
        let next = App::new("1001", &format!("key-{rotation}"));
        let keys = json!([{"key": next.key, "secret": next.secret}]);
        stored.put(&[current.clone().set("keys", keys.clone())]);
        publisher.sign_as(&next);
        let mut late = subscribed(address, &next, CHANNELS[1]);
        number_of(&late.expect_text());
        for _ in 0..OTHER_CHANGES {
            change += 1;
            let both = current.clone().set("keys", keys.clone());
            stored.put(&[both.set("name", format!("Shop {change}"))]);
        }
        stored.put(std::slice::from_ref(&next));
        current = next;
    }
    let published = publisher.stop();
    assert!(published > rotations, "only {published} events");
    for socket in &mut sockets {
        for number in 0..published {
            assert_eq!(number_of(&socket.expect_text()), number);
        }
    }
}

/// A socket that has subscribed to the channel.
#[track_caller]
fn subscribed(address: SocketAddr, app: &App, channel: &str) -> Socket {
    let target = format!("/app/{}?protocol=7", app.key);
    let mut socket = Upgrade::new(&target).connect(address);
    let greeting = socket.expect_text();
    let (_, rest) = greeting
        .split_once(r#"socket_id\":\""#)
        .expect("a socket id");
    let (socket_id, _) = rest.split_once('\\').expect("its end");
    let data = json!({"channel": channel, "auth": app.auth(socket_id, channel)});
    socket.send_text(&json!({"event": "pusher:subscribe", "data": data}).to_string());
    let answer = socket.expect_text();
    assert!(answer.contains("subscription_succeeded"), "{answer}");
    socket
}

/// The number that an event carries.
#[track_caller]
fn number_of(text: &str) -> usize {
    let (_, rest) = text
        .split_once(r#""data":""#)
        .unwrap_or_else(|| panic!("an event, not {text}"));
    let (number, _) = rest.split_once('"').expect("its end");
    number
        .parse()
        .unwrap_or_else(|_| panic!("a number in {text}"))
}

/// A backend that publishes numbered events, one after the other, to every server in turn. Each must be accepted.
struct Publisher {
    orders: Sender<Order>,
    thread: JoinHandle<usize>,
}

enum Order {
    /// Sign as this app from now on.
    Sign(App, Sender<()>),
    Stop,
}

impl Publisher {
    fn start(servers: Vec<SocketAddr>, app: &App) -> Self {
        let (orders, received) = channel();
        let app = app.clone();
        let thread = thread::spawn(move || publish(&servers, app, &received));
        Self { orders, thread }
    }

    /// Returns when no request that is signed otherwise is on its way.
    fn sign_as(&self, app: &App) {
        let (done, signed) = channel();
        let order = Order::Sign(app.clone(), done);
        self.orders.send(order).expect("the publisher publishes");
        signed.recv().expect("the publisher publishes");
    }

    /// How many events there were.
    fn stop(self) -> usize {
        self.orders
            .send(Order::Stop)
            .expect("the publisher publishes");
        self.thread.join().expect("every event was accepted")
    }
}

fn publish(servers: &[SocketAddr], mut app: App, orders: &Receiver<Order>) -> usize {
    let mut number = 0;
    loop {
        match orders.try_recv() {
            Ok(Order::Sign(other, done)) => {
                app = other;
                done.send(()).expect("the test waits");
            }
            Err(TryRecvError::Empty) => {}
            Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return number,
        }
        let api = Api::new(servers[number % servers.len()], &app);
        let event = json!({"name": "tick", "channels": CHANNELS, "data": number.to_string()});
        api.events(&event).is_empty_object();
        number += 1;
    }
}

/// Every change is made on the first node.
#[cfg(feature = "sql")]
#[test]
fn three_nodes_miss_nothing_through_rotations_made_on_one_of_them() {
    let rotations = rotations();
    let nodes = Nodes::start(Kind::MariaDb);
    let mut current = App::usual();
    nodes.create(&current);
    let mut sockets: Vec<_> = (0..rotations * SOCKETS_PER_ROTATION)
        .map(|number| {
            let node = &nodes.all[number % nodes.all.len()];
            subscribed(node.public, &current, CHANNELS[number % 2])
        })
        .collect();
    let servers = nodes.all.iter().map(|node| node.public).collect();
    let publisher = Publisher::start(servers, &current);
    for _ in 0..rotations {
        let next = nodes.rotate(&current);
        publisher.sign_as(&next);
        for number in 0..OTHER_CHANGES {
            let name = json!({"name": format!("Shop {number}")});
            nodes.change("PATCH /api/apps/1001", &name);
        }
        let line = format!("DELETE /api/apps/1001/keys/{}", current.key);
        nodes.change(&line, &json!(null));
        current = next;
    }
    let published = publisher.stop();
    assert!(published > rotations, "only {published} events");
    for socket in &mut sockets {
        // Nodes pass events on independently of each other.
        let mut numbers: Vec<_> = (0..published)
            .map(|_| number_of(&socket.expect_text()))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..published));
    }
}
