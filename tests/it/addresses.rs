//! How many connections one address may have, who that is behind proxies, and that each is counted out however it ends.

use serde_json::{Value, json};

use crate::support::{
    client::TestClient,
    eventually,
    fallback::{Line, POLLING, STREAMING, Session},
    feed::Feed,
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
    websocket::{Frame, Incoming, Socket},
};

const FORWARDED: &str = "X-Forwarded-For";

/// At most so many connections from one address; the tests' own address is a trusted proxy.
fn server(max: usize) -> TestServer {
    let setup = Setup::new()
        .set("server.max_connections_per_ip", max)
        .set("server.trusted_proxies", json!(["127.0.0.0/8"]));
    TestServer::start(setup)
}

/// A socket of a client whom the proxy says to be at this address.
fn socket(server: &TestServer, client: &str) -> Socket {
    let upgrade = server.upgrade("7").header(FORWARDED, client);
    upgrade.connect(server.public)
}

#[track_caller]
fn client(server: &TestServer, address: &str) -> TestClient {
    TestClient::greeted(socket(server, address), server.app())
}

#[track_caller]
fn is_refused(server: &TestServer, address: &str) {
    let reason = socket(server, address).expect_close(4100);
    assert_eq!(reason, "Too many connections from this address.");
}

/// Whether this address has room, without taking it.
#[track_caller]
fn has_room(server: &TestServer, address: &str) -> bool {
    let mut socket = socket(server, address);
    match socket.next() {
        Incoming::Text(_) => {
            socket.send(&Frame::close(1000, ""));
            while !matches!(socket.next(), Incoming::Close(..)) {}
            true
        }
        _ => false,
    }
}

#[test]
fn one_address_has_so_many_connections_and_another_has_its_own() {
    let server = server(2);
    let first = client(&server, "192.0.2.1");
    let _second = client(&server, "192.0.2.1");
    is_refused(&server, "192.0.2.1");
    is_refused(&server, "6.6.6.6, 192.0.2.1");
    let _other = client(&server, "192.0.2.2");
    first.close();
    eventually("there is room again", || {
        has_room(&server, "192.0.2.1").then_some(())
    });
}

#[test]
fn an_ipv6_network_is_one_address() {
    let server = server(1);
    let _client = client(&server, "2001:db8:0:1::1");
    is_refused(&server, "2001:db8:0:1:ffff::2");
    let _neighbour = client(&server, "2001:db8:0:2::1");
}

#[test]
fn without_trusted_proxies_the_header_is_nothing() {
    let setup = Setup::new().set("server.max_connections_per_ip", 1);
    let server = TestServer::start(setup);
    let _client = client(&server, "192.0.2.1");
    is_refused(&server, "192.0.2.2");
}

#[test]
fn the_fallbacks_count_too_and_are_refused_alike() {
    let server = server(1);
    for (kind, address) in [(STREAMING, "192.0.2.1"), (POLLING, "192.0.2.2")] {
        let session = || Session::new(&server, server.app()).header(FORWARDED, address);
        let opened = session().open(kind);
        let mut refused = session().receive(kind);
        refused.expect_line(&Line::Open);
        refused.expect_close(4100);
        is_refused(&server, address);
        assert_eq!(opened.session.send_raw("[]").status, 204);
    }
}

/// A client at this address, if there is room.
fn try_client(server: &TestServer, address: &str) -> Option<Socket> {
    let mut socket = socket(server, address);
    matches!(socket.next(), Incoming::Text(_)).then_some(socket)
}

#[test]
fn however_a_connection_ends_it_is_counted_out() {
    let server = server(3);
    let address = "192.0.2.1";
    for way in 0..4 {
        // That all three places are there again shows that those before were counted out.
        let places = eventually("all places are free", || {
            let places: Vec<_> = (0..3).map_while(|_| try_client(&server, address)).collect();
            (places.len() == 3).then_some(places)
        });
        is_refused(&server, address);
        for mut socket in places {
            match way {
                0 => socket.send(&Frame::close(1000, "")),
                1 => {
                    socket.send(&Frame::new(0x3, ""));
                    socket.expect_close(1002);
                }
                2 => {
                    socket.send_text(&"x".repeat(70_000));
                    socket.expect_close(1009);
                }
                _ => {
                    // Cut off in the middle of a message.
                    socket.send(&Frame::text("{").unfinished());
                }
            }
        }
    }
    eventually("the last places are free", || {
        has_room(&server, address).then_some(())
    });
}

#[test]
fn refused_clients_leave_nothing_counted() {
    let server = server(1);
    let held = client(&server, "192.0.2.1");
    for _ in 0..50 {
        is_refused(&server, "192.0.2.1");
    }
    held.close();
    eventually("there is room again", || {
        has_room(&server, "192.0.2.1").then_some(())
    });
}

#[test]
fn the_feed_shows_the_clients_own_address() {
    let server = server(5);
    let mut feed = Feed::connect(&server);
    let _client = client(&server, "6.6.6.6, 192.0.2.1");
    assert_eq!(feed.expect("connected")["address"], "192.0.2.1");
    let session = Session::new(&server, server.app()).header("Forwarded", "for=192.0.2.9");
    let _opened = session.open(STREAMING);
    assert_eq!(feed.expect("connected")["address"], "192.0.2.9");
    let rows: Value = server.admin_get("/api/connections").json();
    let mut shown: Vec<_> = rows["connections"]
        .as_array()
        .expect("rows")
        .iter()
        .collect();
    shown.sort_by_key(|row| row["address"].as_str());
    let shown: Vec<_> = shown.iter().map(|row| &row["address"]).collect();
    assert_eq!(shown, ["192.0.2.1", "192.0.2.9"]);
}

#[test]
fn what_is_no_network_is_refused() {
    for proxies in [r#"["10.0.0.0/33"]"#, r#"["proxy.test"]"#, r#"[""]"#] {
        let config = ConfigFile::new(&format!("[server]\ntrusted_proxies = {proxies}\n"));
        let finished = Process::run(&["check-config", "--config", config.path()], &[]);
        assert_eq!(finished.code, Some(2), "{proxies}: {finished:?}");
        assert!(
            finished
                .stderr
                .contains("server.trusted_proxies[0] must be an address or a network"),
            "{finished:?}"
        );
    }
}
