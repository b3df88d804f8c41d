//! Reloads and rotations of keys under load: nobody is disconnected, and nothing is lost (#14).

use std::{
    net::SocketAddr,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread::{self, JoinHandle},
};

use serde_json::json;

use super::store::{StoreKind, Stored, on_every_store};
use crate::support::{
    api::Api,
    app::App,
    websocket::{Socket, Upgrade},
};
#[cfg(feature = "sql")]
use crate::support::{
    database::{Database, Kind},
    http::Response,
    process::ConfigFile,
    redis::RedisServer,
    server::TestServer,
    setup::Setup,
    within,
};

const SOCKETS: usize = 1_000;
const ROTATIONS: usize = 20;
/// Changes of something else between the steps of a rotation; with its two, 100 reloads in all.
const OTHER_CHANGES: usize = 3;
const CHANNELS: [&str; 2] = ["news", "private-news"];

on_every_store! {
    nobody_misses_an_event_through_a_hundred_reloads_and_twenty_rotations
}

fn nobody_misses_an_event_through_a_hundred_reloads_and_twenty_rotations(kind: StoreKind) {
    let mut current = App::usual();
    let stored = Stored::start(kind, std::slice::from_ref(&current));
    let address = stored.server.public;
    let mut sockets: Vec<_> = (0..SOCKETS)
        .map(|number| subscribed(address, &current, CHANNELS[number % 2]))
        .collect();
    let publisher = Publisher::start(vec![address], &current);
    let mut change = 0;
    for rotation in 0..ROTATIONS {
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
    assert!(published > ROTATIONS, "only {published} events");
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

/// Three nodes on one Redis and one PostgreSQL. The change is made on one node and must be in force on all within a second.
#[cfg(feature = "sql")]
#[test]
fn three_nodes_miss_nothing_through_twenty_rotations_made_on_one_of_them() {
    let redis = RedisServer::start();
    let database = Database::new(Kind::Postgres);
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .set("database.url", database.url.clone());
    let config = ConfigFile::new(&setup.toml());
    let nodes: Vec<_> = (0..3)
        .map(|_| TestServer::launch(&["--config", config.path()], &[]))
        .collect();
    let mut current = App::usual();
    let credentials = json!({"id": current.id, "key": current.key, "secret": current.secret});
    admin(&nodes[0], "POST /api/apps", &credentials.to_string());
    in_force(&nodes, &current);
    let mut sockets: Vec<_> = (0..SOCKETS)
        .map(|number| {
            let node = &nodes[number % nodes.len()];
            subscribed(node.public, &current, CHANNELS[number % 2])
        })
        .collect();
    let servers = nodes.iter().map(|node| node.public).collect();
    let publisher = Publisher::start(servers, &current);
    for _ in 0..ROTATIONS {
        let made = admin(&nodes[0], "POST /api/apps/1001/keys", "{}").json();
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let next = App::with_secret("1001", &text("key"), &text("secret"));
        in_force(&nodes, &next);
        publisher.sign_as(&next);
        let line = format!("DELETE /api/apps/1001/keys/{}", current.key);
        admin(&nodes[0], &line, "");
        current = next;
    }
    let published = publisher.stop();
    assert!(published > ROTATIONS, "only {published} events");
    for socket in &mut sockets {
        // Nodes pass events on independently of each other.
        let mut numbers: Vec<_> = (0..published)
            .map(|_| number_of(&socket.expect_text()))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..published));
    }
}

#[cfg(feature = "sql")]
#[track_caller]
fn admin(node: &TestServer, line: &str, body: &str) -> Response {
    let response = node.admin_call(line, &super::store::JSON, body);
    assert!(response.status < 300, "{response:?}");
    response
}

#[cfg(feature = "sql")]
#[track_caller]
fn in_force(nodes: &[TestServer], app: &App) {
    let second = std::time::Duration::from_secs(1);
    within(second, "every node serves the key", || {
        match nodes.iter().all(|node| super::connects(node, app)) {
            true => Ok(()),
            false => Err("a node refuses it".to_owned()),
        }
    });
}
