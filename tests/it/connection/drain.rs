//! The phases of a stop: what each promises, to balancers, to clients and to whoever reads the log.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    eventually,
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    websocket::{Incoming, Socket},
};

const SOCKETS: usize = 300;
const WINDOW: Duration = Duration::from_secs(4);

/// When the socket was told 4200; everything before must have been whole messages, and nothing may follow but the end.
fn told_to_reconnect(mut socket: Socket) -> (Socket, Instant) {
    loop {
        match socket
            .read(PATIENCE)
            .expect("whole messages, then the close")
        {
            Incoming::Text(text) => assert!(text.ends_with('}'), "{text}"),
            Incoming::Close(code, _) => {
                assert_eq!(code, Some(4200));
                return (socket, Instant::now());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_socket_is_told_once_evenly_over_the_window_and_never_in_the_middle_of_a_message() {
    let mut server = TestServer::start(Setup::new().set("server.drain_window_s", WINDOW.as_secs()));
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| server.socket()).collect();
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    for socket in &mut sockets {
        socket.send_text(subscribe);
        assert!(socket.expect_text().contains("subscription_succeeded"));
    }
    let data = "x".repeat(10_000);
    for _ in 0..20 {
        server.api().publish("news", "large", &data);
    }
    let began = Instant::now();
    server.terminate();
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|socket| thread::spawn(move || told_to_reconnect(socket)))
        .collect();
    let told = readers
        .into_iter()
        .map(|reader| reader.join().expect("it was told"));
    let (sockets, mut times): (Vec<_>, Vec<_>) = told.unzip();
    server.expect_clean_exit();
    for mut socket in sockets {
        socket.expect_end();
    }
    times.sort_unstable();
    // A busy machine makes it later, never earlier: half of the clients are not told before half of the window is over.
    let after = |share: usize| times[SOCKETS * share / 100 - 1].duration_since(began);
    for share in [25, 50, 75, 100] {
        let due = WINDOW * u32::try_from(share).expect("a percentage") / 100;
        assert!(
            after(share) >= due.mul_f64(0.8),
            "{share} % after {:?}",
            after(share)
        );
    }
}

#[test]
fn readiness_fails_first_and_everything_else_goes_on() {
    let setup = Setup::new().set("server.not_ready_s", 2);
    let mut server = TestServer::start(setup);
    let mut client = server.client();
    client.subscribe("news");
    server.terminate();
    eventually("not ready", || (!server.is_ready()).then_some(()));
    let state = server.admin_json("/api/state");
    assert_eq!(
        (&state["phase"], &state["ready"]),
        (&"not_ready".into(), &false.into())
    );
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.get("/up").status, 200);
    let metrics = server.admin_get("/metrics").body;
    assert!(
        metrics.contains("loudhailer_phase{phase=\"not_ready\"} 1"),
        "{metrics}"
    );
    let mut late = server.client();
    late.subscribe("news");
    server.api().publish("news", "order", "");
    client.expect_on("news", "order");
    late.expect_on("news", "order");
    client.expect_closed(4200);
    late.expect_closed(4200);
    server.expect_clean_exit();
    let log = server.process.stderr();
    let phases = ["not ready: ", "closing: ", "flushing: ", " stopped"];
    let places = phases.map(|phase| {
        assert_eq!(log.matches(phase).count(), 1, "{phase}: {log}");
        log.find(phase)
    });
    assert!(places.is_sorted(), "{log}");
}
