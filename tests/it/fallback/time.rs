//! §9.4, §9.5: heartbeats, silence, and how long a session outlives its last request. Slow: their times are fixed.

use std::time::{Duration, Instant};

use crate::support::{
    fallback::{Line, Opened, POLLING, STREAMING, Session},
    server::TestServer,
    setup::Setup,
    within,
};

const HEARTBEAT: std::ops::Range<Duration> = Duration::from_secs(24)..Duration::from_secs(40);
const LONG: Duration = Duration::from_secs(45);

#[track_caller]
fn opened(server: &TestServer, kind: &str) -> Opened {
    Session::new(server, server.app()).open(kind)
}

#[test]
fn after_25_s_a_stream_gets_a_heartbeat_and_a_poll_ends_with_one_and_after_30_s_an_unfetched_session_ends()
 {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join("presence-room", "watcher");
    let mut away = opened(&server, POLLING);
    away.send(&[away.membership("presence-room", "away")]);
    assert_eq!(
        away.polled().event(),
        "pusher_internal:subscription_succeeded"
    );
    away.receiving.expect_end();
    let left = Instant::now();
    watcher.expect_on("presence-room", "pusher_internal:member_added");

    let mut stream = opened(&server, STREAMING);
    let mut poll = opened(&server, POLLING);
    poll.receiving.expect_end();
    poll.receive(POLLING);
    let asked = Instant::now();
    for client in [&mut stream, &mut poll] {
        assert_eq!(client.receiving.read(LONG), Ok(Some(Line::Heartbeat)));
        assert!(
            HEARTBEAT.contains(&asked.elapsed()),
            "{:?}",
            asked.elapsed()
        );
    }
    poll.receiving.expect_end();
    assert_eq!(stream.session.send_raw("[]").status, 204);
    stream.receiving.expect_line(&Line::Nothing);

    let removed = watcher.read(LONG).expect("the end of the session");
    assert_eq!(removed.event(), "pusher_internal:member_removed");
    let patience = Duration::from_secs(29)..Duration::from_secs(44);
    assert!(patience.contains(&left.elapsed()), "{:?}", left.elapsed());
    within(LONG, "the session is gone", || {
        match away.session.send_raw("[]").status {
            404 => Ok(()),
            other => Err(other.to_string()),
        }
    });
}

fn impatient() -> TestServer {
    let setup = Setup::new().set("websocket.activity_timeout_s", 1);
    TestServer::start(setup.set("websocket.pong_timeout_s", 1))
}

/// The next line that is not one of the two pings.
#[track_caller]
fn past_pings(client: &mut Opened) -> Line {
    loop {
        match client.receiving.next() {
            Line::Heartbeat => {}
            Line::Message(text) => assert!(text.contains("pusher:ping"), "{text}"),
            other => return other,
        }
    }
}

#[test]
fn a_silent_client_is_pinged_and_then_closed_with_4201() {
    let server = impatient();
    let mut client = opened(&server, STREAMING);
    client.receiving.expect_line(&Line::Heartbeat);
    assert!(matches!(past_pings(&mut client), Line::Close(4201, _)));
    client.receiving.expect_end();
}

#[test]
fn an_empty_send_keeps_a_client() {
    let server = impatient();
    let mut client = opened(&server, STREAMING);
    for _ in 0..3 {
        client.receiving.expect_line(&Line::Heartbeat);
        assert_eq!(client.session.send_raw("[]").status, 204);
        assert_eq!(past_pings(&mut client), Line::Nothing);
    }
}

#[test]
fn a_poll_after_each_ping_keeps_a_client() {
    let server = impatient();
    let mut client = opened(&server, POLLING);
    client.receiving.expect_end();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        client.receive(POLLING);
        while let Some(line) = client.receiving.read(LONG).expect("an answer") {
            assert!(!matches!(line, Line::Open | Line::Close(..)), "{line:?}");
        }
    }
}
