//! An endpoint that is down, and clients that trigger events without end.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{app_with, receiver::free_address};
use crate::support::{client::TestClient, server::TestServer, setup::Setup};

const EVENTS: usize = 100_000;
/// What a sender sends before the other side has heard it all, well within every bound of a delivery.
const ROUND: usize = 500;
const ROOM: &str = "private-room";

/// Triggers events, all of which the listener gets in order.
fn talk(sender: &mut TestClient, listener: &mut TestClient, numbers: std::ops::Range<usize>) {
    let padding = "x".repeat(200);
    for round in numbers.step_by(ROUND) {
        for number in round..round + ROUND {
            sender.trigger(ROOM, "client-x", &json!(format!("{number} {padding}")));
        }
        for number in round..round + ROUND {
            let heard = listener.expect_on(ROOM, "client-x");
            let text = heard.json["data"].as_str().expect("text");
            assert_eq!(text.split(' ').next(), Some(number.to_string().as_str()));
        }
    }
}

#[test]
fn a_dead_endpoint_takes_bounded_memory_and_nothing_from_delivery() {
    let endpoint = |url: String| json!({"url": url});
    let app = app_with(&json!([endpoint(format!("http://{}/", free_address()))]))
        .set("max_client_events_per_second", 1_000_000);
    let mut server = TestServer::start(Setup::new().app(app));
    let (mut sender, mut listener) = (server.client(), server.client());
    sender.subscribe(ROOM);
    listener.subscribe(ROOM);
    let idle = server.resident_kib();
    talk(&mut sender, &mut listener, 0..EVENTS / 2);
    let half = server.resident_kib();
    talk(&mut sender, &mut listener, EVENTS / 2..EVENTS);
    let full = server.resident_kib();
    assert!(half - idle < 64 * 1024, "{idle} KiB, then {half} KiB");
    assert!(
        full < half + 8 * 1024,
        "{idle} KiB, then {half} KiB, then {full} KiB"
    );
    // Edges still find room, and a publish is as quick as ever.
    listener.subscribe("orders");
    let began = Instant::now();
    server.api().publish("orders", "order", "1");
    listener.expect_on("orders", "order");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    server.terminate();
    server.expect_clean_exit();
    let log = server.process.stderr();
    let (dropped, left) = (sum(&log, " overflow="), sum(&log, " events="));
    assert!(dropped > EVENTS / 2, "{dropped} events were dropped: {log}");
    // Two channels were occupied and vacated; of one that was not sent yet, that cancels out.
    let edges = (dropped + left).saturating_sub(EVENTS);
    assert!([2, 4].contains(&edges), "every loss is counted: {log}");
}

/// The sum of a field over all log lines.
fn sum(log: &str, field: &str) -> usize {
    let values = log.split(field).skip(1);
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    values
        .map(|text| digits(text).parse::<usize>().expect("a number"))
        .sum()
}
