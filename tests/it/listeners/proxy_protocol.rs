//! The PROXY protocol on the public listener: who may speak it, and what the address in it means.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use serde_json::json;

use rustls::ALL_VERSIONS;

use crate::support::{
    api::Api,
    app::App,
    authority::Authority,
    balancer::Balancer,
    bridge::{Bridge, Target},
    client::TestClient,
    eventually,
    feed::Feed,
    http::Http,
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
    stream::PATIENCE,
    tunnel::Tunnel,
    websocket::Upgrade,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const IPV4: &[u8] = &[192, 0, 2, 1, 127, 0, 0, 1, 0xdc, 0x04, 0x17, 0x71];

/// A listener for proxies alone; the tests' own address is one.
fn setup() -> Setup {
    Setup::new()
        .set("server.proxy_protocol", true)
        .set("server.trusted_proxies", json!(["127.0.0.0/8"]))
}

fn text(family: &str, client: &str) -> Vec<u8> {
    let server = if family == "TCP4" { "127.0.0.1" } else { "::1" };
    format!("PROXY {family} {client} {server} 56324 6001\r\n").into_bytes()
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short");
    let fixed = [0x20 | command, family];
    [SIGNATURE, &fixed, &length.to_be_bytes(), block].concat()
}

fn ipv6() -> Vec<u8> {
    let client: std::net::Ipv6Addr = "2001:db8::7".parse().expect("an address");
    [&client.octets()[..], &[0; 16], &[0xdc, 0x04, 0x17, 0x71]].concat()
}

/// A proxy before the server that begins each connection with this header.
fn proxy(server: &TestServer, header: &[u8]) -> Bridge {
    Bridge::with_preamble(Target::Tcp(server.public), header)
}

#[test]
fn the_address_in_the_header_is_shown_and_counted() {
    let server = TestServer::start(setup().set("server.max_connections_per_ip", 1));
    let (mut feed, mut clients) = (Feed::connect(&server), Vec::new());
    let additions = [IPV4, &[0x04, 0, 3, 1, 2, 3]].concat();
    for (header, expected) in [
        (text("TCP4", "192.0.2.9"), "192.0.2.9:56324"),
        (text("TCP6", "2001:db8:1::7"), "[2001:db8:1::7]:56324"),
        (binary(1, 0x11, &additions), "192.0.2.1:56324"),
        (binary(1, 0x21, &ipv6()), "[2001:db8::7]:56324"),
    ] {
        let proxy = proxy(&server, &header);
        clients.push(TestClient::connect(proxy.address, server.app()));
        assert_eq!(feed.expect("connected")["address"], expected);
        // What the client itself says of its address means nothing.
        let again = server.upgrade("7").header("X-Forwarded-For", "192.0.2.77");
        again.connect(proxy.address).expect_close(4100);
        feed.expect("error");
        let rows = server.admin_json("/api/connections");
        let rows = rows["connections"].as_array().expect("rows");
        assert!(
            rows.iter().any(|row| row["address"] == expected),
            "{rows:?}"
        );
    }
}

#[test]
fn a_backend_publishes_through_a_proxy_and_a_connection_carries_many_requests() {
    let server = TestServer::start(setup());
    let proxy = proxy(&server, &binary(1, 0x11, IPV4));
    let mut client = TestClient::connect(proxy.address, server.app());
    client.subscribe("news");
    Api::new(proxy.address, server.app()).publish("news", "e", "it came");
    assert_eq!(client.expect("e").data(), "it came");
    let mut http = Http::connect(proxy.address);
    for _ in 0..3 {
        assert_eq!(http.get("/up").status, 200);
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_is_known_by_its_own_address() {
    let server = TestServer::start(setup());
    let (mut feed, mut clients) = (Feed::connect(&server), Vec::new());
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        binary(0, 0, b""),
        binary(1, 0x31, &[b'/'; 216]),
    ] {
        let proxy = proxy(&server, &header);
        clients.push(TestClient::connect(proxy.address, server.app()));
        let line = feed.expect("connected");
        let address = line["address"].as_str().expect("an address");
        assert!(address.starts_with("127.0.0.1:"), "{line}");
    }
}

#[test]
fn a_header_may_come_in_any_pieces() {
    let server = TestServer::start(setup());
    let request = b"GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let long = [IPV4, &[0xe0, 0x0f, 0x00], &[7; 0x0f00]].concat();
    for header in [text("TCP4", "192.0.2.9"), binary(1, 0x11, &long)] {
        let bytes = [&header[..], request].concat();
        for size in [1, 7, 1000, bytes.len()] {
            let mut stream = TcpStream::connect(server.public).expect("it accepts");
            stream.set_nodelay(true).expect("an option is set");
            for piece in bytes.chunks(size) {
                stream.write_all(piece).expect("it takes them");
            }
            assert_eq!(Http::over(stream).response().status, 200, "{size}");
        }
    }
}

/// All that the server says until it closes the connection.
fn said_to(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.public).expect("it accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout is set");
    // It may have closed already.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    // It may reset what it does not read.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8(said).expect("text")
}

#[test]
fn an_address_that_is_no_trusted_proxy_is_refused_and_told_once() {
    let setup = setup().set("server.trusted_proxies", json!(["192.0.2.0/24"]));
    let server = TestServer::start(setup);
    for _ in 0..20 {
        let said = said_to(&server, b"");
        assert!(said.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{said}");
        assert!(
            said.contains("this address may not connect directly"),
            "{said}"
        );
    }
    let log = server.process.stderr();
    let trouble = "not among server.trusted_proxies, which server.proxy_protocol needs";
    assert_eq!(log.matches(trouble).count(), 1, "{log}");
}

#[test]
fn what_is_no_header_closes_the_connection_and_is_told_once() {
    let server = TestServer::start(setup());
    let good = proxy(&server, &binary(1, 0x11, IPV4));
    let mut client = TestClient::connect(good.address, server.app());
    for (bytes, trouble) in [
        (
            b"GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "the connection begins without a PROXY protocol header",
        ),
        (
            text("TCP4", "192.0.2.300"),
            "the PROXY protocol header is malformed",
        ),
        (
            binary(1, 0x11, &[0; 5000]),
            "the PROXY protocol header is too long",
        ),
    ] {
        for _ in 0..20 {
            assert_eq!(said_to(&server, &bytes), "");
        }
        let log = server.process.stderr();
        assert_eq!(log.matches(trouble).count(), 1, "{log}");
    }
    // A balancer that only looks whether somebody listens is nothing to talk about.
    let lines = server.process.stderr().lines().count();
    for _ in 0..20 {
        let stream = TcpStream::connect(server.public).expect("it accepts");
        stream.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(
            Http::over(stream).stream.take_rest(PATIENCE),
            Ok(Vec::new())
        );
    }
    assert_eq!(server.process.stderr().lines().count(), lines);
    client.subscribe("news");
}

#[test]
fn a_header_that_does_not_come_in_time_holds_its_place_no_longer() {
    let setup = setup()
        .set("server.request_timeout_s", 1)
        .set("server.max_http_connections", 2);
    let server = TestServer::start(setup);
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(server.public).expect("it accepts");
            stream.write_all(b"PROXY TCP4 192.").expect("it is taken");
            Http::over(stream)
        })
        .collect();
    let proxy = proxy(&server, &binary(1, 0x11, IPV4));
    for mut slow in slow {
        assert_eq!(slow.stream.take_rest(PATIENCE), Ok(Vec::new()));
    }
    eventually("there is room again", || {
        let mut http = Http::connect(proxy.address);
        http.send("GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let response = http.try_response(PATIENCE).ok()?;
        (response.status == 200).then_some(())
    });
    let log = server.process.stderr();
    assert!(
        log.contains("no whole PROXY protocol header came in time"),
        "{log}"
    );
}

#[test]
fn a_proxy_that_has_said_nothing_yet_does_not_hold_up_a_stop() {
    let mut server = TestServer::start(setup().set("server.request_timeout_s", 3600));
    let mut silent = Http::connect(server.public);
    let good = proxy(&server, &binary(1, 0x11, IPV4));
    // Connections are taken in order.
    TestClient::connect(good.address, server.app()).close();
    let began = std::time::Instant::now();
    server.terminate();
    server.expect_clean_exit();
    // The window of 1 s, and what the doors take; five seconds are what HTTP replies get.
    assert!(began.elapsed().as_secs() < 5, "{}", server.process.stderr());
    silent.expect_end();
}

#[test]
fn the_header_says_that_the_client_uses_tls() {
    let app = App::usual().set("tls_only", true);
    let server = TestServer::start(setup().app(app.clone()));
    let upgrade = Upgrade::new(&format!("/app/{}?protocol=7", app.key));
    let with_tls = |bits: u8| {
        let block = [IPV4, &[0x20, 0, 5, bits, 0, 0, 0, 0]].concat();
        proxy(&server, &binary(1, 0x11, &block))
    };
    let socket = upgrade.connect(with_tls(1).address);
    let _client = TestClient::greeted(socket, &app);
    upgrade.connect(with_tls(0).address).expect_close(4000);
    let plain = proxy(&server, &text("TCP4", "192.0.2.9"));
    let lying = upgrade.header("X-Forwarded-Proto", "https");
    lying.connect(plain.address).expect_close(4000);
}

#[test]
fn the_header_comes_before_the_handshake_of_tls() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let issued = authority.issue(&folder, "server");
    let setup = setup()
        .set("server.tls.port", 0)
        .set("server.tls.cert", issued.cert_file.as_str())
        .set("server.tls.key", issued.key_file.as_str())
        .app(App::usual().set("tls_only", true));
    let server = TestServer::start(setup);
    let tls = printed_address(&server.process.stdout(), "Listening on https");
    let target = Target::Tcp(tls.expect("a TLS port"));
    let proxy = Bridge::with_preamble(target, &binary(1, 0x11, IPV4));
    let tunnel = Tunnel::to(proxy.address, authority.client(ALL_VERSIONS));
    let mut feed = Feed::connect(&server);
    let mut client = TestClient::connect(tunnel.address, server.app());
    assert_eq!(feed.expect("connected")["address"], "192.0.2.1:56324");
    client.subscribe("news");
}

#[test]
fn a_proxy_may_come_over_the_unix_socket() {
    let folder = Folder::new();
    let path = folder.file("public.sock");
    let setup = Setup::new()
        .set("server.proxy_protocol", true)
        .set("server.unix_socket", path.as_str());
    let server = TestServer::start(setup);
    let mut feed = Feed::connect(&server);
    let proxy = Bridge::with_preamble(Target::Unix(path), &text("TCP4", "192.0.2.9"));
    let mut client = TestClient::connect(proxy.address, server.app());
    assert_eq!(feed.expect("connected")["address"], "192.0.2.9:56324");
    client.subscribe("news");
}

#[test]
fn haproxy_sends_either_version() {
    let (server, mut kept) = (TestServer::start(setup()), Vec::new());
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 check check-send-proxy inter 100ms",
    ] {
        let haproxy = Balancer::haproxy(&format!("{} {option}", server.public));
        let mut feed = Feed::connect(&server);
        let tcp = TcpStream::connect(haproxy.address).expect("it accepts");
        let own = tcp.local_addr().expect("an address").to_string();
        let mut http = Http::over(tcp);
        http.send(server.upgrade("7").bytes());
        let line = feed.expect("connected");
        assert_eq!(line["address"], own, "{option}");
        let mut client = TestClient::connect(haproxy.address, server.app());
        client.subscribe("news");
        Api::new(haproxy.address, server.app()).publish("news", "e", "it came");
        assert_eq!(client.expect("e").data(), "it came");
        kept.push((http, client));
    }
}
