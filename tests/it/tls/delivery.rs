//! What clients get over TLS, and in which order.

use serde_json::json;

use super::TlsServer;
use crate::support::{
    app::App,
    fallback::Session,
    http::Http,
    server::TestServer,
    setup::Setup,
    stream::{PATIENCE, ReadError},
    websocket::{Frame, Incoming},
};

const ROUNDS: usize = 300;

#[test]
fn events_published_over_https_reach_clients_on_wss_and_on_ws() {
    let it = TlsServer::usual();
    let (mut sealed, mut plain) = (it.client(), it.server.client());
    sealed.subscribe("orders");
    plain.subscribe("orders");
    it.api().publish("orders", "paid", "7");
    it.server.api().publish("orders", "sent", "8");
    for client in [&mut sealed, &mut plain] {
        assert_eq!(client.expect_on("orders", "paid").data(), "7");
        assert_eq!(client.expect_on("orders", "sent").data(), "8");
    }
}

#[test]
fn events_larger_than_a_record_arrive_whole() {
    let app = App::usual().set("max_event_data_bytes", 200_000);
    let setup = Setup::new()
        .app(app)
        .set("websocket.max_message_bytes", 300_000);
    let it = TlsServer::start(setup.set("server.max_request_bytes", 1_000_000));
    let mut client = it.client();
    client.subscribe("orders");
    for bytes in [16_383, 16_384, 16_385, 100_000, 200_000] {
        let data = "x".repeat(bytes);
        it.api().publish("orders", "large", &data);
        assert_eq!(client.expect_on("orders", "large").data(), data, "{bytes}");
    }
    let long = json!({"event": "pusher:ping", "data": "y".repeat(200_000)});
    client.send(&long);
    client.expect("pusher:pong");
}

#[test]
fn many_messages_in_one_record_and_one_in_many_are_all_answered() {
    let it = TlsServer::usual();
    let mut client = it.client();
    let ping = Frame::text(r#"{"event":"pusher:ping","data":{}}"#).bytes();
    client.socket.stream.send(&ping.repeat(50));
    for _ in 0..50 {
        client.expect("pusher:pong");
    }
    for byte in &ping {
        client.socket.stream.send(&[*byte]);
    }
    client.expect("pusher:pong");
}

/// Publishes one small event and a hundred kilobytes, again and again.
fn publish(server: &TestServer) {
    let api = server.api();
    let mut http = Http::connect(server.public);
    let bulk = json!({"name": "bulk", "channel": "bulk", "data": "x".repeat(10_240)});
    let bulk = json!({"batch": vec![bulk; 10]}).to_string();
    for number in 0..ROUNDS {
        let small = json!({"name": "small", "channel": "news", "data": number.to_string()});
        http.send(api.call("POST", "/events").body(small.to_string()).bytes());
        http.response().is_empty_object();
        http.send(api.call("POST", "/batch_events").body(&bulk).bytes());
        http.response().is_empty_object();
    }
}

#[test]
fn what_waits_for_a_slow_socket_is_sealed_and_sent_in_order_when_it_reads_again() {
    let it = TlsServer::start(Setup::new().set("websocket.max_outbox_bytes", 64 << 20));
    let mut slow = it.client();
    slow.subscribe("news");
    slow.subscribe("bulk");
    publish(&it.server);
    let (mut small, mut bulk) = (0, 0);
    while small + bulk < ROUNDS * 11 {
        let message = slow.next();
        match message.event() {
            "small" => {
                assert_eq!(message.data(), small.to_string());
                assert_eq!(bulk, small * 10, "an event overtook another");
                small += 1;
            }
            _ => bulk += 1,
        }
    }
    slow.expect_silence();
    assert_eq!(it.tunnel.failures(), Vec::<String>::new());
}

#[test]
fn a_socket_that_stops_reading_is_closed_with_4100_between_two_frames() {
    let it = TlsServer::start(Setup::new().set("websocket.max_outbox_bytes", 262_144));
    let (mut slow, mut other) = (it.client(), it.client());
    slow.subscribe("news");
    slow.subscribe("bulk");
    other.subscribe("news");
    publish(&it.server);
    for number in 0..ROUNDS {
        assert_eq!(other.expect_on("news", "small").data(), number.to_string());
    }
    let mut messages = 0;
    loop {
        match slow.socket.read(PATIENCE) {
            Ok(Incoming::Close(code, _)) => {
                assert_eq!(code, Some(4100));
                break;
            }
            Ok(_) => messages += 1,
            // The close waits for two seconds for a client that reads nothing.
            Err(ReadError::Ended) => break,
            Err(ReadError::Quiet) => panic!("the slow socket was left open"),
        }
    }
    assert!(messages < ROUNDS * 11, "nothing was held back");
}

#[test]
fn a_session_ends_as_tls_asks_whoever_closes() {
    let it = TlsServer::usual();
    let mut leaves = it.client();
    leaves.socket.send(&Frame::close(1000, ""));
    assert!(matches!(
        leaves.socket.next(),
        Incoming::Close(Some(1000), _)
    ));
    leaves.socket.expect_end();
    let mut breaks = it.client();
    breaks.socket.send(&Frame::text("{}").unmasked());
    breaks.socket.expect_close(1002);
    let mut http = Http::connect(it.tunnel.address);
    http.send("GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(http.response().status, 200);
    http.expect_end();
    assert_eq!(it.tunnel.failures(), Vec::<String>::new());
}

#[test]
fn a_stop_tells_clients_on_tls_to_reconnect_and_ends_their_sessions() {
    let mut it = TlsServer::usual();
    let mut clients: Vec<_> = (0..20).map(|_| it.client()).collect();
    it.server.terminate();
    for client in &mut clients {
        client.socket.expect_close(4200);
    }
    it.server.expect_clean_exit();
    assert_eq!(it.tunnel.failures(), Vec::<String>::new());
}

#[test]
fn the_http_fallbacks_work_over_https() {
    let it = TlsServer::usual();
    for kind in ["xhr_streaming", "xhr"] {
        let session = Session::new(&it.server, it.app()).at(it.tunnel.address);
        let mut opened = session.open(kind);
        opened.send(&[json!({"event": "pusher:subscribe", "data": {"channel": "orders"}})]);
        let subscribed = opened.polled();
        assert_eq!(subscribed.event(), "pusher_internal:subscription_succeeded");
        it.api().publish("orders", "paid", "7");
        assert_eq!(opened.polled().data(), "7");
    }
}
