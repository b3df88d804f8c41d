//! Several events that wait for one socket leave in one write, whatever their channels.

use serde_json::json;

use crate::support::{client::TestClient, server::TestServer, setup::Setup};

const CHANNELS: [&str; 3] = ["one", "two", "three"];

/// A server whose only shard gets a batch as a whole.
fn server() -> TestServer {
    TestServer::start(Setup::new().set("server.workers", 1))
}

/// Publishes one batch of nine events over these channels.
fn publish_nine(server: &TestServer, channels: &[&str]) {
    let event = |number: usize| json!({"name": "told", "channel": channels[number % channels.len()], "data": number.to_string()});
    let events: Vec<_> = (0..9).map(event).collect();
    server.api().batch(&events).is_empty_object();
}

/// How many writes brought the events of these numbers.
#[track_caller]
fn writes_for(client: &mut TestClient, numbers: &[usize], publish: impl FnOnce()) -> u32 {
    let before = client.socket.stream.segments_received();
    publish();
    for number in numbers {
        assert_eq!(client.next().data(), number.to_string());
    }
    client.socket.stream.segments_received() - before
}

#[test]
fn a_socket_on_three_busy_channels_gets_one_write() {
    let server = server();
    let mut client = server.client();
    for channel in CHANNELS {
        client.subscribe(channel);
    }
    let all: Vec<_> = (0..9).collect();
    let publish = || publish_nine(&server, &CHANNELS);
    assert_eq!(writes_for(&mut client, &all, publish), 1);
}

#[test]
fn each_socket_gets_one_write_for_those_of_the_channels_that_it_listens_to() {
    let server = server();
    let (mut first, mut others) = (server.client(), server.client());
    first.subscribe("one");
    others.subscribe("two");
    others.subscribe("three");
    let publish = || publish_nine(&server, &CHANNELS);
    let publish_and_read_first = || {
        assert_eq!(writes_for(&mut first, &[0, 3, 6], publish), 1);
    };
    let theirs = [1, 2, 4, 5, 7, 8];
    assert_eq!(writes_for(&mut others, &theirs, publish_and_read_first), 1);
}

#[test]
fn events_that_come_one_by_one_are_not_held_back_to_be_merged() {
    let server = server();
    let mut client = server.client();
    client.subscribe("one");
    for number in 0..3 {
        let publish = || server.api().publish("one", "told", &number.to_string());
        assert_eq!(writes_for(&mut client, &[number], publish), 1);
    }
}
