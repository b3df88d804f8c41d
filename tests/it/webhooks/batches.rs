//! Batching.

use std::time::Duration;

use serde_json::json;

use super::{Receiver, app_with};
use crate::support::{client::TestClient, server::TestServer, setup::Setup};

fn subscribed(server: &TestServer, channels: usize) -> TestClient {
    let mut client = server.client();
    for number in 0..channels {
        client.ask(&format!("room-{number}"));
    }
    for _ in 0..channels {
        client.expect("pusher_internal:subscription_succeeded");
    }
    client
}

#[test]
fn without_batching_each_event_comes_alone() {
    let receiver = Receiver::start();
    let server = super::server_for(&receiver);
    let _client = subscribed(&server, 50);
    for _ in 0..50 {
        receiver.event(server.app());
    }
}

#[test]
fn with_batching_events_share_requests_of_at_most_a_hundred() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": receiver.url("/")}])).set("webhook_batching", true);
    let server = TestServer::start(Setup::new().app(app));
    let _client = subscribed(&server, 450);
    let (mut events, mut sizes) = (Vec::new(), Vec::new());
    while events.len() < 450 {
        let batch = receiver.next().events(server.app());
        sizes.push(batch.len());
        events.extend(batch);
    }
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    assert!(sizes.len() < 100, "{sizes:?}");
    let mut channels: Vec<_> = events
        .iter()
        .map(|event| event["channel"].to_string())
        .collect();
    channels.sort_unstable();
    channels.dedup();
    assert_eq!(channels.len(), 450, "each once");
}

#[test]
fn a_lone_event_waits_only_for_the_window() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": receiver.url("/")}])).set("webhook_batching", true);
    let server = TestServer::start(Setup::new().app(app));
    let mut client = server.client();
    client.subscribe("orders");
    let request = receiver.next();
    assert_eq!(request.events(server.app()).len(), 1);
    receiver.expect_quiet_for(Duration::from_millis(200));
}
