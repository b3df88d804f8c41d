//! HTTP requests that never end, are too large, come too often, or are none.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use super::connect_from;
use crate::support::{
    fallback::{POLLING, STREAMING, Session},
    http::{Http, Response},
    server::TestServer,
    setup::Setup,
};

const EVENT: &str = r#"{"name":"e","channel":"news","data":"x"}"#;
/// Long enough to tell an answer at once from one after the time for a request.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A server that gives a request one second.
fn impatient() -> TestServer {
    TestServer::start(Setup::new().set("server.request_timeout_s", 1))
}

/// The head of a signed publish with a body of this length, or in chunks.
fn head(server: &TestServer, length: Option<usize>) -> String {
    let target = server.api().call("POST", "/events").body(EVENT).target();
    head_of(&target, length)
}

fn head_of(target: &str, length: Option<usize>) -> String {
    let body = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{body}\r\n\r\n")
}

/// A client that writes its whole request before it reads, as most libraries do.
#[track_caller]
fn is_told_413(server: &TestServer, request: &[u8]) {
    let mut http = Http::connect(server.public);
    let sent = http.stream.try_send(request);
    sent.expect("the server reads on until the client has sent everything");
    let response = http.response();
    response.is_error(413);
    http.expect_end();
}

fn chunked(bytes: usize) -> Vec<u8> {
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    [chunk.repeat(bytes >> 16), b"0\r\n\r\n".to_vec()].concat()
}

#[test]
fn every_client_reads_that_its_body_is_too_large() {
    let server = TestServer::usual();
    let bytes = 8 << 20;
    let fallback = format!("/pusher/app/{}/1/none/xhr_send", server.app().key);
    let client = Session::new(&server, server.app()).open(STREAMING);
    let send = client.session.target("xhr_send");
    let declared = [head(&server, Some(bytes)).as_bytes(), &vec![b'x'; bytes]].concat();
    let in_chunks = [head(&server, None).as_bytes(), &chunked(bytes)].concat();
    let sent = [head_of(&send, Some(bytes)).as_bytes(), &vec![b'x'; bytes]].concat();
    for _ in 0..7 {
        is_told_413(&server, &declared);
        is_told_413(&server, &in_chunks);
        is_told_413(&server, &sent);
    }
    let mut http = Http::connect(server.public);
    http.send(
        [
            head_of(&fallback, Some(bytes)).as_bytes(),
            &vec![b'x'; bytes],
        ]
        .concat(),
    );
    http.response().is_error(404);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let server = impatient();
    let client = Session::new(&server, server.app()).open(STREAMING);
    for target in [
        server.api().call("POST", "/events").body(EVENT).target(),
        client.session.target("xhr_send"),
    ] {
        for length in [Some(100), None] {
            let mut http = Http::connect(server.public);
            http.send(head_of(&target, length));
            http.response().is_error(408);
            http.expect_end();
        }
    }
}

#[test]
fn a_body_that_comes_byte_by_byte_is_408() {
    let server = impatient();
    let mut http = Http::connect(server.public);
    http.send(head(&server, Some(10_000)));
    let mut stream = http.stream.duplicate();
    thread::spawn(move || {
        while stream.write_all(b"x").is_ok() {
            thread::park_timeout(Duration::from_millis(50));
        }
    });
    http.response().is_error(408);
}

#[test]
fn a_body_that_stops_coming_is_408_however_much_came_at_first() {
    let server = impatient();
    let (mut http, began) = (Http::connect(server.public), Instant::now());
    http.send(head(&server, Some(1 << 20)));
    http.send(vec![b'x'; 900_000]);
    http.response().is_error(408);
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn a_later_head_that_does_not_end_ends_the_connection() {
    let server = impatient();
    let mut http = Http::connect(server.public);
    assert_eq!(http.get("/up").status, 200);
    let mut stream = http.stream.duplicate();
    thread::spawn(move || {
        let _ = stream.write_all(b"GET /up HTTP/1.1\r\n");
        while stream.write_all(b"A: b\r\n").is_ok() {
            thread::park_timeout(Duration::from_millis(50));
        }
    });
    http.expect_end();
}

#[test]
fn what_a_refused_request_still_sends_is_read_for_a_while_only() {
    let server = impatient();
    let mut http = Http::connect(server.public);
    http.send(head_of("/nowhere", None));
    http.response().is_error(404);
    let mut stream = http.stream.duplicate();
    thread::spawn(move || {
        while stream.write_all(b"5\r\nhello\r\n").is_ok() {
            thread::park_timeout(Duration::from_millis(5));
        }
    });
    http.expect_end();
}

#[test]
fn a_client_that_does_not_read_its_answers_is_given_up_after_30_s() {
    let server = impatient();
    let http = Http::connect(server.public);
    let mut stream = http.stream.duplicate();
    let requests = "GET /up HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    // The kernel's buffers fill up with answers, then with requests.
    let began = Instant::now();
    stream
        .set_write_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout is set");
    while stream.write_all(requests.as_bytes()).is_ok() {}
    let took = began.elapsed();
    assert!(
        (30..50).contains(&took.as_secs()),
        "given up after {took:?}"
    );
}

#[test]
fn path_key_and_time_are_checked_before_the_body_comes() {
    let server = TestServer::usual();
    let api = server.api();
    let events = |query: &str| format!("/apps/1001/events?{query}&auth_version=1.0");
    let began = Instant::now();
    for (target, status) in [
        ("/nowhere".to_owned(), 404),
        ("/apps/7/events".to_owned(), 404),
        ("/apps/1001/channels".to_owned(), 405),
        (events("auth_key=other&auth_timestamp=1"), 401),
        (events("auth_key=key-of-1001&auth_timestamp=1"), 401),
        (events("auth_key=key-of-1001"), 401),
        ("/pusher/app/key-of-1001/1/none/xhr_send".to_owned(), 404),
    ] {
        for length in [Some(1 << 20), None] {
            let mut http = Http::connect(server.public);
            http.send(head_of(&target, length));
            http.response().is_error(status);
        }
    }
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{took:?}");
    // A short body that is there already leaves the connection open.
    let mut http = Http::connect(server.public);
    http.send(api.call("POST", "/nowhere").body(EVENT).bytes());
    http.response().is_error(404);
    http.send(api.call("POST", "/events").body(EVENT).bytes());
    http.response().is_empty_object();
}

/// Sends `count` requests of almost a megabyte each whose last byte does not come; how much memory that takes, in KiB.
fn memory_of(server: &TestServer, target: &str, count: usize) -> (usize, Vec<Http>) {
    let length = 1 << 20;
    let before = server.resident_kib();
    let mut requests = Vec::new();
    for _ in 0..count {
        let mut http = Http::connect(server.public);
        let told = "X-Forwarded-For: 192.0.2.1";
        let head = head_of(target, Some(length));
        http.send(head.replacen("\r\n", &format!("\r\n{told}\r\n"), 1));
        http.stream
            .send_some(&vec![b'x'; length - 1], Duration::from_millis(300));
        requests.push(http);
    }
    assert_eq!(server.get("/up").status, 200);
    (server.resident_kib().saturating_sub(before), requests)
}

#[test]
fn bodies_without_a_right_key_take_no_memory() {
    let server = TestServer::usual();
    let (kib, _requests) = memory_of(&server, "/apps/1001/events", 60);
    assert!(kib < 12 * 1024, "{kib} KiB");
}

#[test]
fn bodies_that_do_not_end_take_a_share_of_the_memory() {
    let setup = Setup::new().set("server.trusted_proxies", vec!["127.0.0.0/8"]);
    let server = TestServer::start(setup);
    let target = server.api().call("POST", "/events").body(EVENT).target();
    let (kib, requests) = memory_of(&server, &target, 40);
    // 16 MiB, and what grows by doubling.
    assert!(kib < 40 * 1024, "{kib} KiB");
    let refused = requests
        .into_iter()
        .filter_map(|mut http| http.try_response(Duration::from_millis(20)).ok());
    let refused: Vec<_> = refused.collect();
    assert!(!refused.is_empty(), "the share of one address is used up");
    for response in refused {
        response.is_error(503);
    }
    server.api().publish("news", "others", "are not held up");
}

/// A connection from this address that was refused, with what it was told.
#[track_caller]
fn is_refused(server: &TestServer, from: &str) {
    let mut http = connect_from(from, server.public);
    http.response().is_error(503);
}

#[track_caller]
fn is_served(server: &TestServer, from: &str) -> Http {
    let mut http = connect_from(from, server.public);
    assert_eq!(http.get("/up").status, 200);
    http
}

#[test]
fn an_address_has_so_many_http_connections_and_others_have_theirs() {
    let server = TestServer::start(Setup::new().set("server.max_clients_per_ip", 3));
    let mut open: Vec<_> = (0..3).map(|_| is_served(&server, "127.0.0.2")).collect();
    is_refused(&server, "127.0.0.2");
    is_served(&server, "127.0.0.3");
    open.pop();
    crate::support::eventually("there is room again", || {
        let mut http = connect_from("127.0.0.2", server.public);
        (http.get("/up").status == 200).then_some(())
    });
}

#[test]
fn a_websocket_is_no_http_connection_any_more() {
    let server = TestServer::start(Setup::new().set("server.max_clients_per_ip", 3));
    let _clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    let _served: Vec<_> = (0..3).map(|_| is_served(&server, "127.0.0.1")).collect();
    is_refused(&server, "127.0.0.1");
}

#[test]
fn the_node_has_so_many_http_connections() {
    let server = TestServer::start(Setup::new().set("server.max_http_connections", 3));
    let _open: Vec<_> = (2..5)
        .map(|last| is_served(&server, &format!("127.0.0.{last}")))
        .collect();
    is_refused(&server, "127.0.0.9");
}

/// A server with few places, all of one worker.
fn with_places(number: u32) -> TestServer {
    let setup = Setup::new().set("server.max_http_connections", number);
    TestServer::start(setup.set("server.workers", 1))
}

/// A connection that has sent this much of its first request.
fn half_open(server: &TestServer, begun: &str) -> Http {
    let mut http = connect_from("127.0.0.2", server.public);
    http.send(begun);
    http
}

/// #12: they held every place until they timed out.
#[test]
fn connections_that_send_no_request_keep_no_publisher_out() {
    let server = with_places(3);
    let begun = ["", "GET /up HTTP/1.1\r\nHost: localhost\r\n", "G"];
    let _open = begun.map(|begun| half_open(&server, begun));
    for number in 0..10 {
        let _more = half_open(&server, "");
        server.api().publish("news", "order", &number.to_string());
    }
    let printed = server.printed();
    assert!(
        printed.contains("over server.max_http_connections"),
        "{printed}"
    );
}

/// #12
#[test]
fn places_are_given_up_by_those_that_were_silent_for_longest_and_never_by_a_request() {
    let server = with_places(4);
    let mut kept_alive = is_served(&server, "127.0.0.3");
    let head = head(&server, Some(EVENT.len())).replace("Host:", "Expect: 100-continue\r\nHost:");
    let mut uploading = half_open(&server, &head);
    assert_eq!(uploading.head_response().status, 100);
    let silent = [half_open(&server, ""), half_open(&server, "GET /")];
    let _served = silent.map(|mut silent| {
        let served = is_served(&server, "127.0.0.4");
        silent.response().is_error(503);
        served
    });
    is_refused(&server, "127.0.0.4");
    assert_eq!(kept_alive.get("/up").status, 200);
    uploading.send(EVENT);
    uploading.response().is_empty_object();
}

/// A server that counts the clients that the tests' own proxy tells of.
fn behind_a_proxy() -> TestServer {
    TestServer::start(Setup::new().set("server.trusted_proxies", vec!["127.0.0.0/8"]))
}

fn ask(http: &mut Http, target: &str, client: &str) -> Response {
    http.send(format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n"
    ));
    http.response()
}

#[test]
fn an_address_may_send_so_many_requests_without_a_right_key() {
    let server = behind_a_proxy();
    let mut http = Http::connect(server.public);
    let refused = (0..1000).find_map(|_| {
        let response = ask(&mut http, "/apps/9/channels", "192.0.2.1");
        (response.status != 404).then_some(response)
    });
    let refused = refused.expect("the budget has an end");
    refused.is_error(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    // The same address gets no WebSocket and no session for nothing, either.
    let upgrade = crate::support::websocket::Upgrade::new("/app/nobody?protocol=7");
    let upgrade = upgrade.header("X-Forwarded-For", "192.0.2.1");
    upgrade.refusal(server.public).is_error(429);
    let nobody = crate::support::app::App::new("9", "nobody");
    let session = Session::new(&server, &nobody).header("X-Forwarded-For", "192.0.2.1");
    session.ask("POST", POLLING, b"").is_error(429);
    // Its clients with a key go on, and so do others.
    let upgrade = server.upgrade("7").header("X-Forwarded-For", "192.0.2.1");
    let greeting = upgrade.connect(server.public).expect_text();
    assert!(greeting.contains("connection_established"), "{greeting}");
    assert_eq!(ask(&mut http, "/apps/9/channels", "192.0.2.2").status, 404);
    // Of IPv6, a network of 64 bits is one address.
    let of_network = |http: &mut Http, number: u32| {
        ask(http, "/nowhere", &format!("2001:db8:1:2::{number:x}")).status
    };
    assert!((0..1000).any(|number| of_network(&mut http, number) == 429));
}

#[test]
fn an_address_may_connect_so_often() {
    let setup = Setup::new()
        .set("server.trusted_proxies", vec!["127.0.0.0/8"])
        .set("server.max_clients_per_ip", 5);
    let server = TestServer::start(setup);
    let connect = |client: &str| {
        let upgrade = server.upgrade("7").header("X-Forwarded-For", client);
        upgrade.connect(server.public)
    };
    for _ in 0..5 {
        let greeting = connect("192.0.2.1").expect_text();
        assert!(greeting.contains("connection_established"), "{greeting}");
    }
    let reason = connect("192.0.2.1").expect_close(4100);
    assert_eq!(reason, "Too many handshakes from this address.");
    let greeting = connect("192.0.2.2").expect_text();
    assert!(greeting.contains("connection_established"), "{greeting}");
}

#[test]
fn what_is_no_request_is_told_so_in_json() {
    let server = impatient();
    for (request, status) in [
        (
            "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
            400,
        ),
        ("GET /up HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET /up HTTP/1.1\r\n", 408),
    ] {
        let mut http = Http::connect(server.public);
        http.send(request);
        http.response().is_error(status);
        http.expect_end();
    }
    let mut http = Http::connect(server.public);
    let head = format!(
        "GET /up HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "x".repeat(400_000)
    );
    http.send(head);
    http.response().is_error(431);
    // Behind an answered request, too.
    let mut http = Http::connect(server.public);
    http.send("GET /up HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n");
    assert_eq!(http.response().status, 200);
    http.response().is_error(400);
}

#[test]
fn an_answer_of_the_fallbacks_that_is_none_of_theirs_is_json() {
    let server = TestServer::usual();
    let mut http = Http::connect(server.public);
    let path = format!("/pusher/app/{}/1/none", server.app().key);
    for (line, status) in [
        (format!("POST {path}/xhr_send"), 404),
        (format!("GET {path}/xhr"), 405),
    ] {
        http.send(format!(
            "{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        ));
        let response = http.response();
        response.is_error(status);
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    }
}
