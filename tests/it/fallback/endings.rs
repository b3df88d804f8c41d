//! How a session ends: by the server, by too much that nobody fetched, or by a client that went away.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    eventually,
    fallback::{Line, Opened, POLLING, STREAMING, Session},
    feed::Feed,
    server::TestServer,
    setup::Setup,
};

#[track_caller]
fn opened(server: &TestServer, kind: &str) -> Opened {
    Session::new(server, server.app()).open(kind)
}

fn connections(server: &TestServer) -> u64 {
    server.api().get("/connections", &[]).json()["connections"]
        .as_u64()
        .expect("a number")
}

#[test]
fn a_stopping_server_tells_every_session_4200() {
    let mut server = TestServer::usual();
    let mut sessions: Vec<_> = (0..10).map(|_| opened(&server, STREAMING)).collect();
    let mut polls: Vec<_> = (0..10)
        .map(|_| {
            let mut client = opened(&server, POLLING);
            client.receiving.expect_end();
            client.receive(POLLING);
            // The answer to this proves that the request before it was taken.
            assert_eq!(client.session.send_raw("[]").status, 204);
            client.receiving.expect_line(&Line::Nothing);
            client.receiving.expect_end();
            client.receive(POLLING);
            client
        })
        .collect();
    server.terminate();
    for client in sessions.iter_mut().chain(&mut polls) {
        client.receiving.expect_close(4200);
    }
    server.expect_clean_exit();
}

#[test]
fn what_nobody_fetches_ends_in_4100() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 65_536));
    let mut client = opened(&server, POLLING);
    client.subscribe("news");
    client.receiving.expect_end();
    let mut feed = Feed::connect(&server);
    for _ in 0..10 {
        server.api().publish("news", "bulk", &"x".repeat(10_000));
        // The line comes when the event has been delivered.
        feed.expect("api_message");
    }
    client.receive(POLLING);
    loop {
        match client.receiving.next() {
            Line::Message(text) => assert!(text.contains("bulk"), "{text}"),
            Line::Close(code, reason) => {
                assert_eq!(code, 4100);
                assert!(!reason.is_empty());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    client.receiving.expect_end();
    eventually("its place is free", || {
        (connections(&server) == 0).then_some(())
    });
    assert_eq!(client.session.send_raw("[]").status, 404);
}

#[test]
fn a_stream_that_is_not_read_is_ended_within_its_bound() {
    let server = TestServer::start(Setup::new().set("websocket.max_outbox_bytes", 65_536));
    let mut watcher = server.client();
    watcher.subscribe("news");
    let mut client = opened(&server, STREAMING);
    client.subscribe("bulk");
    let bulk = json!({"name": "bulk", "channel": "bulk", "data": "x".repeat(10_000)});
    let before = server.resident_kib();
    eventually("the unread session is ended", || {
        server
            .api()
            .batch(&vec![bulk.clone(); 10])
            .is_empty_object();
        (connections(&server) == 1).then_some(())
    });
    let after = server.resident_kib();
    assert!(after < before + 16 * 1024, "from {before} to {after} KiB");
    watcher.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn the_feed_tells_of_a_session_as_of_a_socket_and_nothing_names_the_session() {
    let setup = Setup::new().set("log.level", "info,loudhailer=trace");
    let server = TestServer::start(setup);
    let mut feed = Feed::connect(&server);
    let mut client = Session::named(&server, server.app(), "777/bearersecret").open(STREAMING);
    let connected = feed.expect("connected");
    assert_eq!(connected["socket_id"], client.socket_id.as_str());
    assert_eq!(
        (&connected["protocol"], &connected["client"]),
        (&json!(7), &json!("js"))
    );
    client.subscribe("news");
    let subscribed = feed.expect("subscribed");
    assert_eq!(subscribed["channel"], "news");
    client.send(&[client.signin(r#"{"id":"7"}"#)]);
    client.receiving.expect("pusher:signin_success");
    let path = "/users/7/terminate_connections";
    server.api().post(path, &json!({})).is_empty_object();
    client.receiving.expect_close(4009);
    let disconnected = feed.expect("disconnected");
    assert_eq!(disconnected["code"], 4009);
    for line in [connected, subscribed, disconnected] {
        assert!(!line.to_string().contains("bearersecret"), "{line}");
    }
    let printed = server.printed();
    assert!(printed.contains(&client.socket_id), "it logs: {printed}");
    assert!(!printed.contains("bearersecret"), "{printed}");
}

#[test]
fn a_stream_that_was_dropped_is_waited_for_and_then_forgotten() {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join("presence-room", "watcher");
    let mut client = opened(&server, STREAMING);
    client.send(&[client.membership("presence-room", "7")]);
    client
        .receiving
        .expect_on("presence-room", "pusher_internal:subscription_succeeded");
    watcher.expect_on("presence-room", "pusher_internal:member_added");
    let Opened {
        session, receiving, ..
    } = client;
    drop(receiving);
    let gone = Instant::now();
    watcher.expect_on("presence-room", "pusher_internal:member_removed");
    let waited = gone.elapsed();
    let patience = Duration::from_secs(9)..Duration::from_secs(14);
    assert!(patience.contains(&waited), "{waited:?}");
    assert_eq!(session.send_raw("[]").status, 404);
    // The name is free: whoever asks with it gets a new session, which pusher-js takes as the loss of the old one.
    session.open(STREAMING);
}

#[test]
fn a_dropped_stream_may_come_back_and_finds_what_it_missed() {
    let server = TestServer::usual();
    let mut client = opened(&server, STREAMING);
    client.subscribe("news");
    let Opened {
        session,
        socket_id,
        receiving,
    } = client;
    drop(receiving);
    // The next request may reach the server before it has noticed the end of the last; both are allowed for.
    let mut receiving = session.receive(STREAMING);
    server.api().publish("news", "story", "");
    receiving.expect_on("news", "story");
    drop((socket_id, receiving));
}
