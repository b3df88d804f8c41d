//! What a stopping server still tells.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    Receiver, app_with,
    receiver::{Reply, free_address},
    server_for,
};
use crate::support::{server::TestServer, setup::Setup};

#[test]
fn a_stop_tells_of_all_departures_at_once() {
    let receiver = Receiver::start();
    let mut server = server_for(&receiver);
    let (mut left, mut present) = (server.client(), server.client());
    left.join("presence-a", "1");
    present.join("presence-b", "2");
    receiver.events(server.app(), 4);
    left.close();
    server.terminate();
    server.expect_clean_exit();
    let events: Vec<_> = receiver
        .rest()
        .iter()
        .flat_map(|request| request.events(server.app()))
        .collect();
    assert_eq!(events.len(), 4, "{events:?}");
    for (room, user) in [("presence-a", "1"), ("presence-b", "2")] {
        let names: Vec<_> = events
            .iter()
            .filter(|event| event["channel"] == room)
            .map(|event| event["name"].as_str().expect("text"))
            .collect();
        assert_eq!(names, ["member_removed", "channel_vacated"]);
        let removed = json!({"name": "member_removed", "channel": room, "user_id": user});
        assert!(events.contains(&removed), "{events:?}");
    }
}

#[test]
fn an_endpoint_that_is_not_there_holds_up_a_stop_only_so_long() {
    let hanging = Receiver::answering(|_| Reply::Hang);
    let app = app_with(&json!([
        {"url": format!("http://{}/", free_address())},
        {"url": hanging.url("/")},
    ]));
    let mut server = TestServer::start(Setup::new().app(app));
    server.client().subscribe("orders");
    hanging.next();
    let began = Instant::now();
    server.terminate();
    server.expect_clean_exit();
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
    let log = server.process.stderr();
    assert_eq!(
        log.matches("not delivered before the stop").count(),
        2,
        "{log}"
    );
}
