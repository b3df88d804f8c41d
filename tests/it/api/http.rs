//! HTTP itself: connections that stay, requests that come in a row, in pieces, in chunks, or with reservations.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    api::Call,
    http::Http,
    server::TestServer,
    setup::Setup,
    websocket::{Frame, Upgrade},
};

const EVENT: &str = r#"{"name":"e","channel":"news","data":"x"}"#;

const MALFORMED: &[&str] = &[
    "nonsense\r\n\r\n",
    "GET\r\n\r\n",
    "GET /up\r\n\r\n",
    "GET /up HTTP/9.9\r\n\r\n",
    "GET /up HTTP/1.1\r\nno colon\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
];

fn event(server: &TestServer) -> Call {
    server.api().call("POST", "/events").body(EVENT)
}

/// The request with its body as chunks of `size` bytes.
fn chunked(call: &Call, body: &str, size: usize) -> Vec<u8> {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        call.target()
    );
    let mut bytes = head.into_bytes();
    for chunk in body.as_bytes().chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_connection_serves_many_requests() {
    let server = TestServer::usual();
    let mut http = Http::connect(server.public);
    for _ in 0..50 {
        http.send(event(&server).bytes());
        http.response().is_empty_object();
    }
    http.send(event(&server).secret("wrong").bytes());
    http.response().is_error(401);
    http.send(event(&server).bytes());
    http.response().is_empty_object();
}

#[test]
fn pipelined_requests_are_answered_and_delivered_in_order() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    let publish = |number: usize| {
        let body = json!({"name": format!("e{number}"), "channel": "news", "data": ""});
        server
            .api()
            .call("POST", "/events")
            .body(body.to_string())
            .bytes()
    };
    let mut http = Http::connect(server.public);
    let mut bytes: Vec<u8> = (0..30).flat_map(publish).collect();
    bytes.extend(server.api().call("GET", "/connections").bytes());
    http.send(bytes);
    for _ in 0..30 {
        http.response().is_empty_object();
    }
    http.response().is(&json!({"connections": 1}));
    for number in 0..30 {
        client.expect_on("news", &format!("e{number}"));
    }
}

#[test]
fn a_chunked_body_is_read() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    let mut http = Http::connect(server.public);
    for size in [1, 7, 1000] {
        http.send(chunked(&event(&server), EVENT, size));
        http.response().is_empty_object();
        client.expect_on("news", "e");
    }
}

#[test]
fn a_chunked_body_over_the_cap_is_413() {
    let server = TestServer::start(Setup::new().set("server.max_request_bytes", 2_000));
    let body = EVENT.to_owned() + &" ".repeat(5_000);
    let call = server.api().call("POST", "/events").body(&body);
    let mut http = Http::connect(server.public);
    http.send(chunked(&call, &body, 500));
    http.response().is_error(413);
    assert_eq!(server.get("/up").status, 200);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = TestServer::usual();
    let mut http = Http::connect(server.public);
    for byte in event(&server).bytes() {
        http.send([byte]);
    }
    http.response().is_empty_object();
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let server = TestServer::usual();
    let request = event(&server).header("Expect", "100-continue").bytes();
    let (head, body) = request.split_at(request.len() - EVENT.len());
    let mut http = Http::connect(server.public);
    http.send(head);
    let interim = http.head_response();
    assert_eq!(interim.status, 100, "{interim:?}");
    http.send(body);
    http.response().is_empty_object();
    http.send(event(&server).bytes());
    http.response().is_empty_object();
}

#[test]
fn connection_close_is_honoured() {
    let server = TestServer::usual();
    let mut http = Http::connect(server.public);
    http.send(event(&server).header("Connection", "close").bytes());
    http.response().is_empty_object();
    http.expect_end();
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let server = TestServer::start(Setup::new().set("server.keep_alive_s", 1));
    let mut http = Http::connect(server.public);
    assert_eq!(http.get("/up").status, 200);
    http.expect_end();
}

#[test]
fn content_types_do_not_matter() {
    let server = TestServer::usual();
    for kind in [
        "application/json; charset=utf-8",
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
    ] {
        let bytes = String::from_utf8(event(&server).bytes()).unwrap();
        let mut http = Http::connect(server.public);
        http.send(bytes.replace(
            "Content-Type: application/json",
            &format!("Content-Type: {kind}"),
        ));
        http.response().is_empty_object();
        let bytes = String::from_utf8(event(&server).bytes()).unwrap();
        http.send(bytes.replace("Content-Type: application/json\r\n", ""));
        http.response().is_empty_object();
    }
}

#[test]
fn malformed_http_is_refused_and_harms_nobody() {
    let server = TestServer::usual();
    for request in MALFORMED {
        let mut http = Http::connect(server.public);
        http.send(request);
        http.stream.shutdown_write();
        if let Ok(response) = http.try_response(Duration::from_secs(10)) {
            assert!(
                (400..600).contains(&response.status),
                "{request:?}: {response:?}"
            );
        }
    }
    assert_eq!(server.get("/up").status, 200);
}

#[test]
fn a_peers_mistakes_do_not_fill_the_log() {
    let mut server = TestServer::usual();
    for request in MALFORMED {
        let mut http = Http::connect(server.public);
        http.send(request);
        http.stream.shutdown_write();
        let _ = http.try_response(Duration::from_secs(10));
    }
    event(&server).secret("wrong").send().is_error(401);
    Upgrade::new("/app/nobody")
        .connect(server.public)
        .expect_close(4001);
    let mut client = server.client();
    client.socket.send_text("nonsense");
    client.expect_error(None);
    client.socket.send(&Frame::text("x").reserved(1));
    client.socket.expect_close(1002);
    server.terminate();
    server.expect_clean_exit();
    let log = server.process.stderr();
    let loud = |line: &&str| ["ERROR", "WARN"].iter().any(|level| line.contains(level));
    let lines: Vec<_> = log.lines().filter(loud).collect();
    assert!(
        lines.is_empty(),
        "anyone could fill the log:\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_request_harms_nobody() {
    let server = TestServer::usual();
    let bytes = event(&server).bytes();
    for cut in (1..bytes.len()).step_by(17) {
        let mut http = Http::connect(server.public);
        http.send(&bytes[..cut]);
    }
    event(&server).send().is_empty_object();
}
