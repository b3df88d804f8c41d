//! Issue #13 row 14: an endpoint that was away gets what waits soon after its return.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Receiver, app_with,
    receiver::{Reply, free_address},
    server_for,
};
use crate::support::{client::TestClient, feed::Feed, server::TestServer, setup::Setup};

/// Channels whose events wait.
const CHANNELS: usize = 40;
/// The longest pause before an endpoint that is away is asked again, and some patience for a busy machine.
const RETURN: Duration = Duration::from_millis(6000 + 1500);
/// From the first success to the last of those events.
const RELEASE: Duration = Duration::from_millis(1500);

fn subscribe(client: &mut TestClient) {
    for number in 0..CHANNELS {
        client.subscribe(&format!("room-{number}"));
    }
}

/// Waits for a failed request that long after the first.
fn wait_for_late_failure(feed: &mut Feed, after: Duration) {
    let mut times = std::iter::from_fn(|| Some(feed.next()))
        .filter(|line| line["type"] == "webhook" && line["outcome"] == "retry")
        .map(|line| line["time_ms"].as_u64().expect("a time"));
    let first = times.next().expect("a failure");
    let late = times.find(|time| Duration::from_millis(time - first) >= after);
    late.expect("a late failure");
}

#[test]
fn an_endpoint_that_was_down_gets_everything_soon_after_its_return() {
    let address = free_address();
    let app = app_with(&json!([{"url": format!("http://{address}/")}]));
    let server = TestServer::start(Setup::new().app(app));
    let (mut feed, mut client) = (Feed::connect(&server), server.client());
    subscribe(&mut client);
    // By then pauses that doubled without a bound would be 16 s.
    wait_for_late_failure(&mut feed, Duration::from_secs(12));
    let back = Instant::now();
    let receiver = Receiver::at(address);
    let first = receiver.next().at;
    assert!(first - back < RETURN, "{:?}", first - back);
    let last = (1..CHANNELS).map(|_| receiver.next().at).max();
    let took = last.expect("a request") - first;
    assert!(took < RELEASE, "{took:?}");
    let log = server.process.stderr();
    assert_eq!(log.matches("does not take events").count(), 1, "{log}");
    assert_eq!(log.matches("takes events again").count(), 1, "{log}");
}

#[test]
fn a_proxy_that_answers_for_an_absent_backend_is_asked_by_one_request_at_a_time() {
    thread::scope(|scope| {
        for status in [502, 503, 504, 429] {
            scope.spawn(move || expect_absence_of(status));
        }
    });
}

fn expect_absence_of(status: u16) {
    let back = Instant::now() + Duration::from_secs(8);
    let receiver = Receiver::answering(move |_| match Instant::now() < back {
        true => Reply::Status(status),
        false => Reply::Status(200),
    });
    let server = server_for(&receiver);
    let mut client = server.client();
    subscribe(&mut client);
    let mut refused = 0;
    let first = loop {
        match receiver.next() {
            request if request.at < back => refused += 1,
            request => break request.at,
        }
    };
    // Those that were sent before the first answer, and one after each pause of 1, 2, 4 s.
    assert!(refused <= 16, "{status}: {refused} requests");
    assert!(first - back < RETURN, "{status}: {:?}", first - back);
    let last = (1..CHANNELS).map(|_| receiver.next().at).max();
    let took = last.expect("a request") - first;
    assert!(took < RELEASE, "{status}: {took:?}");
}

#[test]
fn once_one_refused_webhook_is_taken_the_others_are_tried_again_at_once() {
    let tries = AtomicUsize::new(0);
    // Each channel is refused four times, which makes the next pause 8 s or more.
    let receiver = Receiver::answering(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        tries if tries < 4 * CHANNELS => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = server_for(&receiver);
    let mut client = server.client();
    subscribe(&mut client);
    let requests: Vec<_> = (0..5 * CHANNELS).map(|_| receiver.next()).collect();
    let first_taken = requests[4 * CHANNELS].at;
    let took = requests.last().expect("a request").at - first_taken;
    assert!(took < RELEASE, "{took:?}");
}
