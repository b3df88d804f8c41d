//! A socket that stops reading is closed within its bound; nobody else notices, and memory does not grow.

use serde_json::json;

use crate::support::{
    client::TestClient,
    eventually,
    http::Http,
    server::TestServer,
    setup::Setup,
    stream::{PATIENCE, ReadError},
    websocket::Incoming,
};

const OTHERS: usize = 200;
const ROUNDS: usize = 400;

fn connections(server: &TestServer) -> u64 {
    server.api().get("/connections", &[]).json()["connections"]
        .as_u64()
        .expect("a number")
}

/// Publishes one small event to all and a hundred kilobytes to the slow one, `ROUNDS` times; gives the peak of the
/// server's memory in KiB.
fn publish(server: &TestServer) -> usize {
    let api = server.api();
    let mut http = Http::connect(server.public);
    let bulk = json!({"name": "bulk", "channel": "bulk", "data": "x".repeat(10_240)});
    let bulk = json!({"batch": vec![bulk; 10]}).to_string();
    let mut peak = 0;
    for number in 0..ROUNDS {
        let small =
            json!({"name": "small", "channel": "news", "data": number.to_string()}).to_string();
        http.send(api.call("POST", "/events").body(small).bytes());
        http.response().is_empty_object();
        http.send(api.call("POST", "/batch_events").body(&bulk).bytes());
        http.response().is_empty_object();
        peak = peak.max(server.resident_kib());
    }
    peak
}

/// Reads until the end; gives how many messages came before it.
fn drain(slow: &mut TestClient) -> usize {
    let mut messages = 0;
    loop {
        match slow.socket.read(PATIENCE) {
            Ok(Incoming::Close(code, _)) => assert_eq!(code, Some(4100)),
            Ok(_) => messages += 1,
            Err(ReadError::Ended) => return messages,
            Err(ReadError::Quiet) => panic!("the slow socket was left open"),
        }
    }
}

#[test]
fn a_socket_that_stops_reading_is_closed_while_the_others_get_everything_in_order() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 262_144));
    let mut others: Vec<_> = (0..OTHERS).map(|_| server.client()).collect();
    for client in &mut others {
        client.subscribe("news");
    }
    let mut slow = server.client();
    slow.subscribe("news");
    slow.subscribe("bulk");
    let before = server.resident_kib();
    let peak = publish(&server);
    assert!(
        peak < before + 16 * 1024,
        "memory grew from {before} to {peak} KiB"
    );
    eventually("the slow socket is closed", || {
        (connections(&server) == OTHERS as u64).then_some(())
    });
    for client in &mut others {
        for number in 0..ROUNDS {
            assert_eq!(client.expect_on("news", "small").data(), number.to_string());
        }
    }
    let got = drain(&mut slow);
    assert!(
        got < ROUNDS * 11,
        "nothing was held back from the slow socket"
    );
    server.client().subscribe("news");
}

#[test]
fn what_waits_for_a_slow_socket_is_sent_when_it_reads_again() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 64 << 20));
    let mut slow = server.client();
    slow.subscribe("news");
    slow.subscribe("bulk");
    publish(&server);
    let mut small = 0;
    let mut bulk = 0;
    while small + bulk < ROUNDS * 11 {
        let message = slow.next();
        match message.event() {
            "small" => {
                assert_eq!(message.data(), small.to_string());
                small += 1;
            }
            _ => bulk += 1,
        }
    }
    assert_eq!((small, bulk), (ROUNDS, ROUNDS * 10));
    slow.expect_silence();
}

#[test]
fn a_client_that_asks_without_reading_the_answers_is_closed_too() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 65_536));
    let mut watcher = server.client();
    watcher.subscribe("news");
    let mut greedy = server.socket();
    let ask = crate::support::websocket::Frame::text(r#"{"event":"pusher:ping","data":{}}"#)
        .bytes()
        .repeat(1_000);
    let before = server.resident_kib();
    // The server closes, or stops reading: either way this ends.
    for _ in 0..2_000 {
        if greedy
            .stream
            .send_some(&ask, std::time::Duration::from_secs(1))
            < ask.len()
        {
            break;
        }
    }
    let after = server.resident_kib();
    assert!(
        after < before + 16 * 1024,
        "memory grew from {before} to {after} KiB"
    );
    watcher.expect_nothing_before_marker(&server.api(), "news");
    drop(greedy);
    eventually("the greedy socket is gone", || {
        (connections(&server) == 1).then_some(())
    });
}
