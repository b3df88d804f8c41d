//! §6.1: an app may have its connections show who they are within a time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    client::TestClient,
    fallback::{POLLING, STREAMING, Session},
    server::TestServer,
    setup::Setup,
    stream::ReadError,
    websocket::Incoming,
};

const REASON: &str = "Connection not authorized within timeout.";

fn within(seconds: usize) -> TestServer {
    TestServer::start(Setup::new().usual_with("authorization_timeout_s", seconds))
}

/// Waits until a connection that says nothing, made after the others, has been closed.
#[track_caller]
fn outlive_a_silent_one(server: &TestServer) {
    assert_eq!(server.client().expect_closed(4009), REASON);
}

#[test]
fn who_shows_nothing_is_closed_with_4009_when_the_time_is_over() {
    let server = within(2);
    let began = Instant::now();
    let mut silent = server.client();
    assert_eq!(silent.expect_closed(4009), REASON);
    let waited = began.elapsed();
    let expected = Duration::from_secs(2)..Duration::from_secs(6);
    assert!(expected.contains(&waited), "{waited:?}");
}

#[test]
fn who_signed_in_or_entered_a_private_or_presence_channel_stays() {
    let server = within(2);
    let mut signed_in = server.client();
    signed_in.sign_in("7");
    let mut private = server.client();
    private.subscribe("private-room");
    let mut presence = server.client();
    presence.join("presence-room", "8");
    let mut encrypted = server.client();
    encrypted.subscribe("private-encrypted-room");
    let mut left = server.client();
    left.subscribe("private-left");
    left.unsubscribe("private-left");
    outlive_a_silent_one(&server);
    for client in [
        &mut signed_in,
        &mut private,
        &mut presence,
        &mut encrypted,
        &mut left,
    ] {
        client.expect_silence();
    }
}

#[test]
fn pings_public_channels_and_refusals_are_not_enough() {
    let server = within(1);
    let mut client = server.client();
    client.subscribe("news");
    client.ask("cache-news");
    client.expect("pusher_internal:subscription_succeeded");
    client.expect("pusher:cache_miss");
    client.expect_silence();
    let data = json!({"auth": "wrong", "channel": "private-room"});
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
    client.expect_refusal("private-room");
    client.send(&json!({"event": "pusher:signin", "data": {"auth": "x", "user_data": "{}"}}));
    client.expect_error(None);
    client.ask("#server-to-user-7");
    client.expect_refusal("#server-to-user-7");
    assert_eq!(client.expect_closed(4009), REASON);
}

#[test]
fn a_talkative_client_is_closed_too() {
    let server = within(1);
    let mut client = server.client();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "it was left open");
        client.send(&json!({"event": "pusher:ping", "data": {}}));
        match client.socket.read(Duration::from_secs(5)) {
            Ok(Incoming::Text(text)) => assert!(text.contains("pusher:pong"), "{text}"),
            Ok(Incoming::Close(code, _)) => return assert_eq!(code, Some(4009)),
            Err(ReadError::Ended) => panic!("ended without a word"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_the_apps_timeout_nobody_is_closed() {
    let setup = Setup::new()
        .app(crate::support::app::App::usual())
        .app(crate::support::app::App::new("2", "strict").set("authorization_timeout_s", 1));
    let server = TestServer::start(setup);
    let mut lenient = server.client();
    let mut strict = TestClient::connect(server.public, &server.apps[1]);
    assert_eq!(strict.expect_closed(4009), REASON);
    lenient.expect_silence();
}

#[test]
fn a_fallback_session_has_the_same_time() {
    let server = within(1);
    for kind in [STREAMING, POLLING] {
        let mut silent = Session::new(&server, server.app()).open(kind);
        let mut signed_in = Session::new(&server, server.app()).open(kind);
        signed_in.send(&[signed_in.signin(r#"{"id":"7"}"#)]);
        assert_eq!(signed_in.polled().event(), "pusher:signin_success");
        if kind == POLLING {
            silent.receiving.expect_end();
            silent.receive(kind);
            signed_in.receiving.expect_end();
            signed_in.receive(kind);
        }
        assert_eq!(silent.receiving.expect_close(4009), REASON);
        outlive_a_silent_one(&server);
        signed_in.subscribe("news");
    }
}
