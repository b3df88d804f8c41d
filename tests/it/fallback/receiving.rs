//! §9.3, §9.4: what the receiving requests bring.

use serde_json::json;

use crate::support::{
    fallback::{Line, Opened, POLLING, Receiving, STREAMING, Session},
    server::TestServer,
    setup::Setup,
};

/// UTF-16 units after which a streaming client asks anew.
const STREAM_UNITS: usize = 262_144;

fn session(server: &TestServer) -> Session {
    Session::new(server, server.app())
}

#[track_caller]
fn opened(server: &TestServer, kind: &str) -> Opened {
    session(server).open(kind)
}

#[track_caller]
fn is_never_cached(receiving: &Receiving) {
    let header = |name| receiving.head.header(name);
    assert_eq!(
        header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    assert_eq!(header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(header("x-accel-buffering"), Some("no"));
    assert_eq!(header("access-control-allow-origin"), Some("*"));
    assert_eq!(header("transfer-encoding"), Some("chunked"));
    assert_eq!(header("content-encoding"), None);
}

#[test]
fn a_stream_opens_with_o_and_the_greeting_and_goes_on() {
    let server = TestServer::usual();
    let mut client = opened(&server, STREAMING);
    is_never_cached(&client.receiving);
    client.subscribe("news");
    for number in 0..20 {
        server.api().publish("news", "n", &number.to_string());
        let event = client.receiving.expect_on("news", "n");
        assert_eq!(event.data(), number.to_string());
    }
}

#[test]
fn a_poll_brings_o_and_the_greeting_at_once_and_ends() {
    let server = TestServer::usual();
    let response = session(&server).ask("POST", POLLING, b"");
    assert_eq!(response.status, 200, "{response:?}");
    let lines: Vec<_> = response.body.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 2, "{response:?}");
    assert_eq!(lines[0], "o\n");
    let text = lines[1]
        .strip_prefix("a[")
        .and_then(|rest| rest.strip_suffix("]\n"))
        .expect("an array of messages in a line");
    let greeting: String = serde_json::from_str(text).expect("a string");
    assert!(
        greeting.starts_with(r#"{"event":"pusher:connection_established","data":"{\"socket_id\":"#),
        "{greeting}"
    );
}

#[test]
fn a_poll_is_answered_with_all_that_waits_and_without_another_o() {
    let server = TestServer::usual();
    let mut client = opened(&server, POLLING);
    client.subscribe("news");
    client.receiving.expect_end();
    for number in 0..50 {
        server.api().publish("news", "n", &number.to_string());
    }
    client.receive(POLLING);
    is_never_cached(&client.receiving);
    for number in 0..50 {
        let event = client.receiving.expect_on("news", "n");
        assert_eq!(event.data(), number.to_string());
    }
    client.receiving.expect_end();
}

#[test]
fn a_poll_waits_until_there_is_something() {
    let server = TestServer::usual();
    let mut client = opened(&server, POLLING);
    client.subscribe("news");
    client.receiving.expect_end();
    for number in 0..10 {
        client.receive(POLLING);
        server.api().publish("news", "n", &number.to_string());
        let event = client.receiving.expect_on("news", "n");
        assert_eq!(event.data(), number.to_string());
        client.receiving.expect_end();
    }
}

#[test]
fn a_polling_client_loses_nothing_of_what_comes_between_its_requests() {
    let server = TestServer::usual();
    let mut client = opened(&server, POLLING);
    client.subscribe("news");
    let api = server.api();
    let publisher = std::thread::spawn(move || {
        for number in 0..500 {
            api.publish("news", "n", &number.to_string());
        }
    });
    for number in 0..500 {
        assert_eq!(client.polled().data(), number.to_string());
    }
    publisher.join().expect("everything was published");
}

#[test]
fn a_new_request_takes_over_from_one_that_is_still_open() {
    let server = TestServer::usual();
    for kind in [STREAMING, POLLING] {
        let mut client = opened(&server, kind);
        client.subscribe("news");
        if kind == POLLING {
            client.receiving.expect_end();
        }
        let mut old = client.session.receive(kind);
        client.receive(kind);
        old.expect_end();
        server.api().publish("news", "later", "");
        client.receiving.expect_on("news", "later");
    }
}

#[test]
fn every_takeover_of_many_leaves_the_session_whole() {
    let server = TestServer::usual();
    let mut client = opened(&server, STREAMING);
    client.subscribe("news");
    for number in 0..50 {
        client.receive(STREAMING);
        server.api().publish("news", "n", &number.to_string());
        let event = client.receiving.expect_on("news", "n");
        assert_eq!(event.data(), number.to_string());
    }
}

/// Whether pusher-js would drop this response now and ask for a new one.
fn asks_anew(receiving: &Receiving) -> bool {
    receiving.is_read_up() && receiving.units > STREAM_UNITS
}

/// Reads events numbered from `next` until the server writes no more to this response, which is past the limit.
#[track_caller]
fn read_to_the_limit(receiving: &mut Receiving, mut next: usize) -> usize {
    while !asks_anew(receiving) {
        let event = receiving.expect_on("news", "n");
        let data = event.decoded();
        assert_eq!(data["n"], next, "in order, none lost");
        next += 1;
    }
    next
}

/// Publishes `count` events, numbered, each with this padding.
fn publish_numbered(server: &TestServer, count: usize, padding: &str) {
    let api = server.api();
    let mut http = crate::support::http::Http::connect(server.public);
    for first in (0..count).step_by(10) {
        let batch: Vec<_> = (first..count.min(first + 10))
            .map(|n| {
                let data = json!({"n": n, "padding": padding}).to_string();
                json!({"name": "n", "channel": "news", "data": data})
            })
            .collect();
        let body = json!({"batch": batch}).to_string();
        http.send(api.call("POST", "/batch_events").body(body).bytes());
        http.response().is_empty_object();
    }
}

#[test]
fn past_the_limit_a_stream_is_left_alone_and_the_next_goes_on_without_loss() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 64 << 20));
    // UTF-16 units are what the browser counts: of é one for two bytes, of 😀 two for four.
    for padding in ["x".repeat(3_000), "é".repeat(2_000), "😀".repeat(1_000)] {
        let mut client = opened(&server, STREAMING);
        client.subscribe("news");
        publish_numbered(&server, 400, &padding);
        let mut next = 0;
        let mut switches = 0;
        while next < 400 {
            while next < 400 && !asks_anew(&client.receiving) {
                let event = client.receiving.expect_on("news", "n");
                assert_eq!(event.decoded()["n"], next, "in order, none lost");
                next += 1;
            }
            if next < 400 {
                client.receive(STREAMING);
                switches += 1;
            }
        }
        assert!(switches >= 1, "the limit was not passed");
    }
}

#[test]
fn past_the_limit_nothing_more_is_written_and_the_response_does_not_end() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 64 << 20));
    let mut client = opened(&server, STREAMING);
    client.subscribe("news");
    publish_numbered(&server, 200, &"x".repeat(3_000));
    let mut next = read_to_the_limit(&mut client.receiving, 0);
    // What was written with the last line is still to be read; then the response is quiet, and not ended.
    loop {
        match client.receiving.read(std::time::Duration::from_millis(500)) {
            Ok(Some(Line::Message(_))) => next += 1,
            Ok(other) => panic!("expected quiet, got {other:?}"),
            Err(error) => break assert_eq!(error, crate::support::stream::ReadError::Quiet),
        }
    }
    assert!(next < 200, "the rest waits");
    client.receive(STREAMING);
    let event = client.receiving.expect_on("news", "n");
    assert_eq!(event.decoded()["n"], next);
}

#[test]
fn an_empty_send_is_answered_by_an_empty_array() {
    let server = TestServer::usual();
    for kind in [STREAMING, POLLING] {
        let mut client = opened(&server, kind);
        for _ in 0..3 {
            if kind == POLLING {
                client.receiving.expect_end();
                client.receive(kind);
            }
            assert_eq!(client.session.send_raw("[]").status, 204);
            client.receiving.expect_line(&Line::Nothing);
        }
    }
}

#[test]
fn between_two_polls_an_empty_send_is_answered_by_the_next() {
    let server = TestServer::usual();
    let mut client = opened(&server, POLLING);
    client.receiving.expect_end();
    assert_eq!(client.session.send_raw("[]").status, 204);
    client.receive(POLLING);
    client.receiving.expect_line(&Line::Nothing);
    client.receiving.expect_end();
}

#[test]
fn an_application_ping_is_answered_by_a_pong() {
    let server = TestServer::usual();
    let mut client = opened(&server, STREAMING);
    client.send(&[json!({"event": "pusher:ping", "data": {}})]);
    let pong = client.receiving.expect("pusher:pong");
    assert_eq!(pong.json, json!({"event": "pusher:pong", "data": "{}"}));
}

#[test]
fn what_a_receiving_request_carries_is_not_looked_at() {
    let server = TestServer::usual();
    let response = session(&server).ask("POST", POLLING, b"[\"x\"]");
    assert!(response.body.starts_with("o\na["), "{response:?}");
}

#[test]
fn each_session_has_a_socket_id_of_its_own() {
    let server = TestServer::usual();
    let ids: std::collections::BTreeSet<_> = (0..20)
        .map(|_| opened(&server, STREAMING).socket_id)
        .collect();
    assert_eq!(ids.len(), 20);
}

#[test]
fn any_http_path_will_do() {
    let setup = Setup::new().set("server.path_prefix", "/ws");
    let server = TestServer::start(setup);
    let key = &server.app().key;
    for before in ["/pusher", "", "/ws", "/ws/pusher", "/a/b/c"] {
        let path = format!("{before}/app/{key}/12/abcdefgh");
        let path = path.replace("abcdefgh", &format!("s{}", before.len()));
        session(&server).path(&path).open(STREAMING);
    }
}
