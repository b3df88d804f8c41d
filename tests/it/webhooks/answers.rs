//! Endpoints whose answers are slow, endless, huge or no HTTP: each costs a bounded time and memory, one line of the log, and
//! nothing of another app's webhooks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Receiver, receiver::Reply};
use crate::support::{app::App, feed::Feed, server::TestServer, setup::Setup};

/// Channels whose events the strange endpoint gets.
const CHANNELS: usize = 30;
/// What an event of another app may take on a busy machine.
const SOON: Duration = Duration::from_secs(2);
/// What all of it may add to the resident memory.
const MEMORY_KIB: usize = 24 * 1024;
/// A request that is not answered in this time has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The next line about a request of this app.
fn told(feed: &mut Feed, app: &App) -> Value {
    loop {
        let line = feed.next();
        if line["type"] == "webhook" && line["app"] == *app.id {
            return line;
        }
    }
}

/// Sends events to an endpoint that answers like this, while another app's are taken; gives the line of the first request.
fn meet(reply: Reply) -> Value {
    let (strange, other) = (
        Receiver::answering(move |_| reply.clone()),
        Receiver::start(),
    );
    let app = |id: &str, receiver: &Receiver| {
        App::new(id, &format!("key-{id}"))
            .set("webhooks", json!([{"url": receiver.url("/")}]))
            // As many as there is time for.
            .set("max_channels_per_connection", 100_000)
    };
    let setup = Setup::new().set("server.webhook_grace_s", 0);
    let mut server = TestServer::start(setup.app(app("1", &strange)).app(app("2", &other)));
    let mut feed = Feed::connect(&server);
    let (mut client, mut neighbour) = (server.client(), server.client_of(&server.apps[1]));
    let before = server.resident_kib();
    for number in 0..CHANNELS {
        client.subscribe(&format!("room-{number}"));
    }
    let began = Instant::now();
    let line = told(&mut feed, &server.apps[0]);
    let mut rooms = 0;
    while rooms < 20 || began.elapsed() < Duration::from_secs(1) {
        let sent = Instant::now();
        neighbour.subscribe(&format!("room-{rooms}"));
        let took = other.next().at - sent;
        assert!(took < SOON, "room {rooms}: {took:?}");
        rooms += 1;
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < MEMORY_KIB, "{grown} KiB");
    server.terminate();
    server.expect_clean_exit();
    let log = server.process.stderr();
    assert!(log.matches("does not take events").count() <= 1, "{log}");
    line
}

#[track_caller]
fn expect_failure(line: &Value, reason: &str) {
    assert_eq!(
        (&line["outcome"], line.get("status")),
        (&json!("retry"), None),
        "{line}"
    );
    let error = line["error"].as_str().expect("a reason");
    assert!(error.contains(reason), "{line}");
}

#[track_caller]
fn expect_delivery(line: &Value) {
    assert_eq!(
        (&line["outcome"], &line["status"]),
        (&json!("delivered"), &json!(200))
    );
    let took = line["took_ms"].as_u64().map(Duration::from_millis);
    assert!(took < Some(TIMEOUT / 2), "{line}");
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_given_ten_seconds() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let line = meet(Reply::Drip(answer, Duration::from_millis(400)));
    expect_failure(&line, "no answer within 10 s");
    let took = line["took_ms"].as_u64().map(Duration::from_millis);
    assert!(took < Some(TIMEOUT + SOON), "{line}");
}

#[test]
fn heads_without_end_are_cut_off() {
    let too_long = "more than 128 KiB";
    for (head, repeated, reason) in [
        (
            "HTTP/1.1 200 OK\r\n",
            "X-Header: value\r\n",
            "head is too large",
        ),
        ("HTTP/1.1 200 OK\r\nX-Header: ", "value", too_long),
        (
            "",
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
            too_long,
        ),
    ] {
        let line = meet(Reply::Endless(head, repeated));
        // Of the two bounds one is met first, depending on how much has arrived when the head is read.
        let error = line["error"].as_str().unwrap_or_default();
        let is_too_long = error.contains(too_long);
        expect_failure(&line, if is_too_long { too_long } else { reason });
        let took = line["took_ms"].as_u64().map(Duration::from_millis);
        assert!(took < Some(TIMEOUT / 2), "{line}");
    }
}

#[test]
fn of_a_body_without_end_only_the_status_counts() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
    ] {
        expect_delivery(&meet(Reply::Endless(head, "5\r\nvalue\r\n")));
    }
}

#[test]
fn of_a_body_that_stalls_only_the_status_counts() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok";
    expect_delivery(&meet(Reply::Drip(answer, Duration::from_millis(1))));
}

#[test]
fn what_is_not_http_is_a_failure_with_a_reason() {
    for text in [
        "",
        "\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 2 X\r\n\r\n",
    ] {
        expect_failure(&meet(Reply::Verbatim(text)), "");
    }
}
