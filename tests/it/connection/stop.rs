//! SIGTERM: every client is told to come back at once (4200), then the process ends.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    eventually,
    http::Http,
    server::TestServer,
    setup::Setup,
    stream::{PATIENCE, Stream},
    websocket::{Incoming, Socket},
};

fn sockets(server: &TestServer, count: usize) -> Vec<Socket> {
    (0..count).map(|_| server.socket()).collect()
}

#[test]
fn every_socket_is_closed_with_4200_and_the_process_exits_0() {
    let mut server = TestServer::usual();
    let mut sockets = sockets(&server, 30);
    let mut subscriber = server.client();
    subscriber.subscribe("news");
    server.terminate();
    for socket in &mut sockets {
        socket.expect_close(4200);
    }
    subscriber.socket.expect_close(4200);
    server.expect_clean_exit();
}

#[test]
fn interrupt_ends_it_the_same_way() {
    let mut server = TestServer::usual();
    let mut socket = server.socket();
    server.process.signal("INT");
    socket.expect_close(4200);
    server.expect_clean_exit();
}

#[test]
fn clients_that_do_not_answer_the_close_do_not_hold_the_process() {
    let mut server = TestServer::usual();
    let mut sockets = sockets(&server, 5);
    server.terminate();
    server.expect_clean_exit();
    for socket in &mut sockets {
        assert!(matches!(socket.next(), Incoming::Close(Some(4200), _)));
        socket.expect_end();
    }
}

#[test]
fn a_server_without_clients_ends_before_its_drain_window() {
    let mut server = TestServer::start(Setup::new().set("server.drain_window_s", 60));
    server.terminate();
    server.expect_clean_exit();
}

#[test]
fn while_draining_it_is_not_ready_and_takes_no_new_clients() {
    let mut server = TestServer::start(Setup::new().set("server.drain_window_s", 6));
    let mut sockets = sockets(&server, 40);
    assert_eq!(server.admin_get("/ready").status, 200);
    server.terminate();
    let ready = || Some(server.admin_get("/ready")).filter(|ready| ready.status != 200);
    let not_ready = eventually("not ready", ready);
    assert_eq!(not_ready.status, 503);
    assert_eq!(
        not_ready.json(),
        serde_json::json!({"ready": false, "reason": "draining"})
    );
    assert_eq!(server.admin_get("/live").status, 200);
    refuses_new_clients(&server);
    for socket in &mut sockets {
        socket.expect_close(4200);
    }
    server.expect_clean_exit();
}

/// A closed door, a cut connection or 4200: nothing that looks like an accepted client.
#[track_caller]
fn refuses_new_clients(server: &TestServer) {
    let mut stream = match Stream::try_connect(server.public) {
        Ok(stream) => stream,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
    };
    stream.send(&server.upgrade("7").bytes());
    let answer = stream.take_rest(PATIENCE).expect("the connection ends");
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("connection_established"), "{answer}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = TestServer::start(Setup::new().set("server.drain_window_s", 60));
    let sockets = sockets(&server, 20);
    server.terminate();
    let draining = || (server.admin_get("/ready").status == 503).then_some(());
    eventually("draining", draining);
    let asked = Instant::now();
    server.terminate();
    server.process.wait_exit(PATIENCE).expect("it ends");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    drop(sockets);
}

/// Asks until nobody listens any more; how many requests on connections that were made went without an answer.
fn ask_until_the_end(address: SocketAddr) -> usize {
    let mut unanswered = 0;
    loop {
        let Ok(stream) = Stream::try_connect(address) else {
            return unanswered;
        };
        let mut http = Http { stream };
        http.send("GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        unanswered += usize::from(http.try_response(PATIENCE).is_err());
    }
}

#[test]
fn a_stop_answers_every_connection_that_was_made() {
    for _ in 0..4 {
        let mut server = TestServer::usual();
        let address = server.public;
        let askers: Vec<_> = (0..8)
            .map(|_| thread::spawn(move || ask_until_the_end(address)))
            .collect();
        let mut socket = server.socket();
        server.terminate();
        socket.expect_close(4200);
        let unanswered: usize = askers
            .into_iter()
            .map(|asker| asker.join().expect("it ends"))
            .sum();
        assert_eq!(unanswered, 0);
        server.expect_clean_exit();
    }
}
