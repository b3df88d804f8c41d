//! permessage-deflate (RFC 7692): who gets it, what goes compressed, and what comes.

use flate2::{Compress, Compression, FlushCompress};
use serde_json::json;

use crate::support::{
    app::App,
    client::TestClient,
    server::TestServer,
    setup::Setup,
    websocket::{CONTINUATION, Frame, PING, TEXT},
};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// Larger than the usual `compression_min_bytes`, and easily compressed.
const LONG: usize = 4000;
/// `Frame::reserved` takes the three bits as a number.
const RSV1: u8 = 4;

fn server() -> TestServer {
    TestServer::start(Setup::new().usual_with("compression", true))
}

fn client_that_offers(server: &TestServer, offer: &str) -> TestClient {
    let upgrade = server
        .upgrade("7")
        .header("Sec-WebSocket-Extensions", offer);
    TestClient::greeted(upgrade.connect(server.public), server.app())
}

fn answer_to(server: &TestServer, offer: &str) -> Option<String> {
    let client = client_that_offers(server, offer);
    let answer = client.socket.response.header("sec-websocket-extensions");
    answer.map(str::to_owned)
}

fn deflated(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 100);
    Compress::new(Compression::best(), false)
        .compress_vec(text.as_bytes(), &mut bytes, FlushCompress::Sync)
        .expect("room for all of it");
    bytes.truncate(bytes.len() - 4);
    bytes
}

fn compressed(text: &str) -> Frame {
    Frame::text(deflated(text)).reserved(RSV1)
}

#[test]
fn an_app_without_compression_declines_every_offer() {
    let server = TestServer::usual();
    assert_eq!(answer_to(&server, OFFER), None);
    let mut client = client_that_offers(&server, OFFER);
    client
        .socket
        .send(&compressed(r#"{"event":"pusher:ping"}"#));
    client.socket.expect_close(1002);
}

#[test]
fn an_app_with_compression_accepts_what_it_can_meet() {
    let server = server();
    assert_eq!(
        server
            .client()
            .socket
            .response
            .header("sec-websocket-extensions"),
        None
    );
    for offer in [
        "permessage-deflate",
        OFFER,
        ANSWER,
        "x-other, permessage-deflate",
    ] {
        assert_eq!(
            answer_to(&server, offer).as_deref(),
            Some(ANSWER),
            "{offer}"
        );
    }
    for offer in [
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; unheard_of",
        "permessage-bzip2",
    ] {
        assert_eq!(answer_to(&server, offer), None, "{offer}");
    }
}

#[test]
fn long_events_go_compressed_to_those_who_negotiated_it_and_only_to_them() {
    let server = server();
    let mut clients = [
        client_that_offers(&server, OFFER),
        server.client(),
        client_that_offers(&server, OFFER),
    ];
    for client in &mut clients {
        client.subscribe("news");
    }
    let (long, short) = ("é".repeat(LONG / 2), "short");
    for data in [&long, short, &long] {
        server.api().publish("news", "told", data);
    }
    for (client, expected) in clients.iter_mut().zip([2, 0, 2]) {
        for data in [&long, short, &long] {
            assert_eq!(client.expect_on("news", "told").data(), data);
        }
        assert_eq!(client.socket.compressed, expected);
    }
}

#[test]
fn merged_events_of_several_channels_keep_their_order_and_their_forms() {
    let server = server();
    let mut with = client_that_offers(&server, OFFER);
    let mut without = server.client();
    for client in [&mut with, &mut without] {
        client.subscribe("one");
        client.subscribe("two");
    }
    let data = |number: usize| format!("{number} {}", "x".repeat(LONG * (number % 2)));
    let event = |number: usize| {
        let channel = ["one", "two"][number / 2 % 2];
        json!({"name": "told", "channel": channel, "data": data(number)})
    };
    let events: Vec<_> = (0..10).map(event).collect();
    server.api().batch(&events).is_empty_object();
    for client in [&mut with, &mut without] {
        for number in 0..10 {
            assert_eq!(client.next().data(), data(number));
        }
    }
    assert_eq!((with.socket.compressed, without.socket.compressed), (5, 0));
}

#[test]
fn client_events_go_compressed_too() {
    let app = App::usual()
        .set("compression", true)
        .set("client_events", true);
    let server = TestServer::start(Setup::new().app(app));
    let mut sender = client_that_offers(&server, OFFER);
    let mut receiver = client_that_offers(&server, OFFER);
    for client in [&mut sender, &mut receiver] {
        client.subscribe("private-room");
    }
    let data = json!("x".repeat(LONG));
    let event = json!({"event": "client-said", "channel": "private-room", "data": data});
    sender.socket.send(&compressed(&event.to_string()));
    assert_eq!(receiver.expect("client-said").data(), data);
    assert_eq!(receiver.socket.compressed, 1);
    sender.expect_silence();
}

#[test]
fn compressed_messages_are_read_in_one_piece_and_in_fragments() {
    let server = server();
    let mut client = client_that_offers(&server, OFFER);
    let ping = r#"{"event":"pusher:ping","data":{}}"#;
    client.socket.send(&compressed(ping));
    client.expect("pusher:pong");
    let bytes = deflated(ping);
    let (first, rest) = bytes.split_at(5);
    client
        .socket
        .send(&Frame::text(first).reserved(RSV1).unfinished());
    client.socket.send(&Frame::new(PING, "between"));
    client.socket.send(&Frame::new(CONTINUATION, rest));
    client.expect("pusher:pong");
    // In single bytes: what is known of a frame must outlast the wait for its rest.
    for byte in compressed(ping).bytes() {
        client.socket.stream.send(&[byte]);
    }
    client.expect("pusher:pong");
    client.socket.send_text(ping);
    client.expect("pusher:pong");
}

#[test]
fn broken_rules_of_compression_close_with_their_codes() {
    let server = server();
    let ping = r#"{"event":"pusher:ping","data":{}}"#;
    let bomb = deflated(&"x".repeat(1 << 20));
    assert!(bomb.len() < 4096);
    for (frames, code) in [
        (vec![Frame::text([0xff, 0xff]).reserved(RSV1)], 1007),
        (vec![Frame::text(ping).reserved(RSV1)], 1007),
        (vec![Frame::text(bomb).reserved(RSV1)], 1009),
        (vec![Frame::text(deflated(ping)).reserved(2)], 1002),
        (vec![Frame::new(PING, "x").reserved(RSV1)], 1002),
        (
            vec![
                Frame::new(TEXT, "{").unfinished(),
                Frame::new(CONTINUATION, "}").reserved(RSV1),
            ],
            1002,
        ),
    ] {
        let mut client = client_that_offers(&server, OFFER);
        for frame in &frames {
            client.socket.send(frame);
        }
        client.socket.expect_close(code);
    }
    server.client().expect_silence();
}
