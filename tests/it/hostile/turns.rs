//! One socket that sends as fast as it can.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Probe, alone, one_worker, slow_app, unpaced};
use crate::support::{
    eventually,
    feed::Feed,
    server::TestServer,
    setup::Setup,
    websocket::{COMPRESSED, Frame, Incoming, PING, Socket},
};

/// What a debug build on a busy machine may take. Without turns it is half a second and more.
const QUIET_MAX: Duration = Duration::from_millis(400);
/// How long others are beside a flood at least.
const BESIDE: Duration = Duration::from_secs(1);

fn ping() -> Vec<u8> {
    Frame::new(PING, "").bytes()
}

fn text(text: &str) -> Vec<u8> {
    Frame::text(text).bytes()
}

/// A message of 60 KB that is a few hundred bytes on the wire.
fn deflated() -> Vec<u8> {
    let text = json!({"event": "pusher:ping", "data": "a".repeat(60_000)}).to_string();
    let mut payload = Vec::with_capacity(64 << 10);
    flate2::Compress::new(flate2::Compression::best(), false)
        .compress_vec(text.as_bytes(), &mut payload, flate2::FlushCompress::Sync)
        .expect("it fits");
    payload.truncate(payload.len() - 4);
    let mut frame = Frame::text(payload).bytes();
    frame[0] |= COMPRESSED;
    frame
}

/// A socket that sends the same bytes over and over, and reads all answers away.
struct Flood {
    stops: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    stream: TcpStream,
}

impl Flood {
    fn from(socket: &Socket, bytes: &[u8]) -> Self {
        let stream = socket.stream.duplicate();
        let (stops, sent) = (Arc::default(), Arc::default());
        let flood = Self {
            stops: Arc::clone(&stops),
            sent: Arc::clone(&sent),
            stream: stream.try_clone().expect("the socket is cloned"),
        };
        let mut reader = stream.try_clone().expect("the socket is cloned");
        thread::spawn(move || {
            let mut answers = [0; 64 << 10];
            while reader.read(&mut answers).is_ok_and(|read| read > 0) {}
        });
        let (mut writer, bytes) = (stream, bytes.repeat(1 + (256 << 10) / bytes.len()));
        thread::spawn(move || {
            while !stops.load(Ordering::Relaxed) && writer.write_all(&bytes).is_ok() {
                sent.fetch_add(bytes.len(), Ordering::Relaxed);
            }
        });
        flood
    }

    /// The longest that somebody else waits while the flood goes on.
    #[track_caller]
    fn longest_beside(&self, probe: &mut Probe) -> Duration {
        let sent = || self.sent.load(Ordering::Relaxed);
        eventually("the kernel's buffers are full of it", || {
            (sent() >= 1 << 20).then_some(())
        });
        let (began, before, mut longest) = (Instant::now(), sent(), Duration::ZERO);
        eventually("the flood goes on", || {
            longest = longest.max(probe.longest_of(50));
            (began.elapsed() >= BESIDE && sent() > before).then_some(())
        });
        longest
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn flooded_by(bytes: &[u8]) {
    let _alone = alone();
    let server = TestServer::start(one_worker().app(unpaced().set("compression", true)));
    let mut probe = Probe::of(&server);
    let upgrade = server
        .upgrade("7")
        .header("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut socket = upgrade.connect(server.public);
    socket.expect_text();
    let flood = Flood::from(&socket, bytes);
    let longest = flood.longest_beside(&mut probe);
    assert!(longest < QUIET_MAX, "others wait {longest:?}");
}

#[test]
fn a_flood_of_control_pings_holds_nobody_up() {
    flooded_by(&ping());
}

#[test]
fn a_flood_of_nonsense_holds_nobody_up() {
    flooded_by(&text("3"));
}

#[test]
fn a_flood_of_pings_in_text_holds_nobody_up() {
    flooded_by(&text(r#"{"event":"pusher:ping","data":{}}"#));
}

#[test]
fn a_flood_of_wrong_subscriptions_holds_nobody_up() {
    let data = json!({"channel": "private-x", "auth": format!("key-of-1001:{}", "0".repeat(64))});
    flooded_by(&text(
        &json!({"event": "pusher:subscribe", "data": data}).to_string(),
    ));
}

#[test]
fn a_flood_of_subscriptions_that_come_and_go_holds_nobody_up() {
    let ask = |event: &str| text(&json!({"event": event, "data": {"channel": "x"}}).to_string());
    flooded_by(&[ask("pusher:subscribe"), ask("pusher:unsubscribe")].concat());
}

#[test]
fn a_flood_of_compressed_messages_holds_nobody_up() {
    flooded_by(&deflated());
}

#[test]
fn a_flood_of_empty_fragments_holds_nobody_up() {
    let fragment = Frame::new(crate::support::websocket::CONTINUATION, "").unfinished();
    let begins = Frame::text("").unfinished();
    let _alone = alone();
    let server = TestServer::start(one_worker().app(unpaced()));
    let (mut probe, mut socket) = (Probe::of(&server), server.socket());
    socket.send(&begins);
    let flood = Flood::from(&socket, &fragment.bytes());
    let longest = flood.longest_beside(&mut probe);
    assert!(longest < QUIET_MAX, "others wait {longest:?}");
}

#[test]
fn the_answers_to_what_came_at_once_leave_in_few_writes() {
    let server = TestServer::usual();
    let mut socket = server.socket();
    let before = socket.stream.segments_received();
    socket.stream.send(&ping().repeat(300));
    for _ in 0..300 {
        assert_eq!(socket.next(), Incoming::Pong(Vec::new()));
    }
    let segments = socket.stream.segments_received() - before;
    assert!(segments <= 30, "{segments} writes for 300 answers");
}

#[test]
fn a_reconnect_to_300_channels_is_not_slowed() {
    let server = TestServer::usual();
    let mut client = server.client();
    for number in 0..300 {
        client.ask(&format!("private-{number}"));
    }
    for number in 0..300 {
        client.expect_on(
            &format!("private-{number}"),
            "pusher_internal:subscription_succeeded",
        );
    }
    client.expect_silence();
    let metrics = server.admin_get("/metrics").body;
    assert!(!metrics.contains(r#"limiter_type="messages""#), "{metrics}");
}

#[test]
fn a_client_that_sends_too_fast_is_read_more_slowly_and_loses_nothing() {
    let server = TestServer::start(Setup::new().app(slow_app()));
    let mut feed = Feed::connect(&server);
    let mut socket = server.socket();
    let began = Instant::now();
    let pings = 260;
    for number in 0..pings {
        socket.send(&Frame::new(PING, format!("{number}")));
    }
    for number in 0..pings {
        assert_eq!(
            socket.next(),
            Incoming::Pong(number.to_string().into_bytes())
        );
    }
    // 11 a second, and 221 at once.
    let least = Duration::from_secs(3);
    let took = began.elapsed();
    assert!(took > least, "{pings} pings were answered in {took:?}");
    feed.expect("connected");
    let told = "The client sends faster than its app allows; it is read more slowly.";
    assert_eq!(feed.expect("error")["message"], told);
}

#[test]
fn a_client_that_goes_on_sending_too_fast_is_closed_with_4100() {
    let server = TestServer::start(Setup::new().app(slow_app()));
    let mut socket = server.socket();
    let mut stream = socket.stream.duplicate();
    thread::spawn(move || while stream.write_all(&ping().repeat(1000)).is_ok() {});
    let deadline = Instant::now() + Duration::from_secs(60);
    let code = loop {
        assert!(Instant::now() < deadline, "it is not closed");
        match socket.next() {
            Incoming::Close(code, _) => break code,
            Incoming::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(4100));
    let _ = socket.stream.duplicate().shutdown(std::net::Shutdown::Both);
    let metrics = eventually("it is counted", || {
        let metrics = server.admin_get("/metrics").body;
        metrics.contains(r#"code="4100""#).then_some(metrics)
    });
    let slow_readers = r#"loudhailer_slow_consumer_total{action="closed"} 0"#;
    assert!(metrics.contains(slow_readers), "{metrics}");
}
