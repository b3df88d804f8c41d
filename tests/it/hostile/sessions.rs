//! Sessions of the HTTP fallbacks that nobody means to use, and those that send too much.

use std::time::{Duration, Instant};

use serde_json::json;

use super::slow_app;
use crate::support::{
    eventually,
    fallback::{Line, POLLING, SEND, STREAMING, Session},
    server::TestServer,
    setup::Setup,
    within,
};

fn connections(server: &TestServer) -> u64 {
    let count = server.api().get("/connections", &[]).json()["connections"].as_u64();
    count.expect("a number")
}

#[test]
fn a_session_of_one_request_is_gone_after_5_s() {
    let server = TestServer::start(Setup::new().usual_with("max_connections", 2));
    let began = Instant::now();
    for kind in [POLLING, STREAMING] {
        drop(Session::new(&server, server.app()).open(kind));
    }
    assert_eq!(connections(&server), 2);
    within(
        Duration::from_secs(9),
        "both are gone",
        || match connections(&server) {
            0 => Ok(()),
            count => Err(format!("{count} connections")),
        },
    );
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    server.client();
}

#[test]
fn a_second_request_shows_that_there_is_a_client() {
    let server = TestServer::usual();
    let (by_receiving, by_sending) = (
        Session::new(&server, server.app()).open(POLLING).session,
        Session::new(&server, server.app()).open(POLLING).session,
    );
    let began = Instant::now();
    drop(by_receiving.receive(POLLING));
    by_sending.send(&[json!({"event": "pusher:ping", "data": {}})]);
    within(Duration::from_secs(9), "time passes", || {
        match began.elapsed() {
            time if time > Duration::from_secs(7) => Ok(()),
            time => Err(format!("{time:?}")),
        }
    });
    assert_eq!(connections(&server), 2);
}

#[test]
fn an_address_has_so_many_sessions_and_others_have_theirs() {
    let setup = Setup::new()
        .set("server.trusted_proxies", vec!["127.0.0.0/8"])
        .set("server.max_clients_per_ip", 6);
    let server = TestServer::start(setup);
    let session =
        |client: &str| Session::new(&server, server.app()).header("X-Forwarded-For", client);
    let _open: Vec<_> = (0..3)
        .map(|_| session("192.0.2.1").open(STREAMING))
        .collect();
    let mut refused = session("192.0.2.1").receive(STREAMING);
    refused.expect_line(&Line::Open);
    refused.expect_close(4100);
    session("192.0.2.2").open(STREAMING);
}

#[test]
fn an_app_may_do_without_the_fallbacks() {
    let server = TestServer::start(Setup::new().usual_with("fallbacks", false));
    let session = Session::new(&server, server.app());
    for kind in [POLLING, STREAMING, SEND] {
        session.ask("POST", kind, b"[]").is_error(404);
    }
    server.client();
}

#[test]
fn a_session_that_sends_too_fast_is_taken_more_slowly_and_loses_nothing() {
    let server = TestServer::start(Setup::new().app(slow_app()));
    let mut client = Session::new(&server, server.app()).open(STREAMING);
    let began = Instant::now();
    client
        .session
        .send(&vec![json!({"event": "pusher:ping", "data": {}}); 260]);
    for _ in 0..260 {
        client.receiving.expect("pusher:pong");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(3), "answered in {took:?}");
}

#[test]
fn what_waits_for_a_session_is_bounded() {
    let server = TestServer::start(Setup::new().app(slow_app()));
    let client = Session::new(&server, server.app()).open(STREAMING);
    let body = format!("[{}\"\"]", format!("{:?},", "x".repeat(60_000)).repeat(4));
    let refused = eventually("the session has no more room", || {
        let response = client.session.send_raw(&body);
        (response.status != 204).then_some(response)
    });
    assert_eq!(
        refused.is_error(503),
        "too many messages are waiting",
        "{refused:?}"
    );
}
