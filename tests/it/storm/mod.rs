//! A hundred thousand bad inputs of many kinds from many connections: the server goes on as if nothing had happened.

mod http_inputs;
mod websocket_inputs;

use std::{net::SocketAddr, thread, time::Duration};

use serde_json::json;

use crate::support::{
    api::Api,
    app::App,
    eventually,
    http::Http,
    random::Random,
    server::TestServer,
    setup::Setup,
    stream::ReadError,
    websocket::{Frame, Incoming, Socket, Upgrade},
};

const THREADS: u64 = 4;
const SOCKETS: usize = 8;
/// Inputs after which a socket's answers are read up.
const BURST: usize = 32;

/// One thread's part of the storm.
struct Sender {
    address: SocketAddr,
    app: App,
    random: Random,
    sockets: Vec<Open>,
}

struct Open {
    socket: Socket,
    unread: usize,
}

impl Sender {
    fn new(server: &TestServer, seed: u64) -> Self {
        let mut sender = Self {
            address: server.public,
            app: server.app().clone(),
            random: Random::seeded(seed),
            sockets: Vec::new(),
        };
        for _ in 0..SOCKETS {
            let open = sender.open();
            sender.sockets.push(open);
        }
        sender
    }

    fn open(&self) -> Open {
        let upgrade = Upgrade::new(&format!("/app/{}?protocol=7", self.app.key));
        let mut socket = upgrade.connect(self.address);
        socket.expect_text();
        Open { socket, unread: 0 }
    }

    fn send(&mut self, inputs: usize) {
        for _ in 0..inputs {
            match self.random.below(20) {
                0..15 => self.send_message(),
                15..18 => self.send_fatal(),
                _ => self.send_http(),
            }
        }
        for open in &mut self.sockets {
            assert!(
                is_served(&mut open.socket),
                "an open socket is still served"
            );
        }
    }

    /// Something that a connection survives; its answers are read from time to time.
    fn send_message(&mut self) {
        let at = self.random.below(SOCKETS);
        let text = websocket_inputs::message(&mut self.random, &self.app);
        let open = &mut self.sockets[at];
        open.socket.send_text(&text);
        open.unread += 1;
        if open.unread == BURST {
            assert!(is_served(&mut open.socket), "a message should be survived");
            open.unread = 0;
        }
    }

    /// Something that ends the connection, or a connection that ends in the middle of something.
    fn send_fatal(&mut self) {
        let at = self.random.below(SOCKETS);
        let bytes = websocket_inputs::fatal(&mut self.random);
        let socket = &mut self.sockets[at].socket;
        socket.stream.send(&bytes);
        if self.random.below(4) > 0 {
            read_to_end(socket);
        }
        self.sockets[at] = self.open();
    }

    fn send_http(&mut self) {
        let api = Api::new(self.address, &self.app);
        let bytes = http_inputs::request(&mut self.random, &api);
        let mut http = Http::connect(self.address);
        http.send(bytes);
        if self.random.below(4) == 0 {
            return;
        }
        http.stream.shutdown_write();
        match http.try_response(Duration::from_secs(20)) {
            Ok(response) => assert!((200..500).contains(&response.status), "{response:?}"),
            Err(ReadError::Ended) => {}
            Err(ReadError::Quiet) => panic!("a request was left without an answer"),
        }
    }
}

/// Whether a ping is answered, after whatever else was still to be said.
fn is_served(socket: &mut Socket) -> bool {
    socket.send_text(r#"{"event":"pusher:ping"}"#);
    loop {
        match socket.read(Duration::from_secs(20)) {
            Ok(Incoming::Text(text)) if text.contains("pusher:pong") => return true,
            Ok(Incoming::Text(_) | Incoming::Ping(_) | Incoming::Pong(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The server may say what it likes, but it must end the connection.
fn read_to_end(socket: &mut Socket) {
    loop {
        match socket.read(Duration::from_secs(20)) {
            Ok(Incoming::Close(..)) => socket.send(&Frame::close(1000, "")),
            Ok(_) => {}
            Err(ReadError::Ended) => return,
            Err(ReadError::Quiet) => panic!("a fatal input did not end the connection"),
        }
    }
}

/// Sends that many inputs from all threads, and waits until every connection is gone again.
fn storm(server: &TestServer, inputs: usize, seed: u64) {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let mut sender = Sender::new(server, seed + thread);
            thread::spawn(move || sender.send(inputs / usize::try_from(THREADS).expect("few")))
        })
        .collect();
    for thread in threads {
        thread.join().expect("every sender is served to the end");
    }
    let gone = || {
        (server.api().get("/connections", &[]).json() == json!({"connections": 0})).then_some(())
    };
    eventually("every connection is gone", gone);
}

#[test]
fn a_hundred_thousand_bad_inputs_leave_no_trace() {
    let setup = Setup::new().set("log.level", "warn");
    let server = TestServer::start(setup.usual_with("client_events", true));
    storm(&server, 10_000, 1);
    let before = server.resident_kib();
    storm(&server, 100_000, 100);
    let after = server.resident_kib();
    assert!(
        after < before + 12 * 1024,
        "memory went from {before} to {after} KiB"
    );

    server
        .api()
        .get("/channels", &[])
        .is(&json!({"channels": {}}));
    let (mut client, mut other) = (server.client(), server.client());
    client.subscribe("private-room");
    other.subscribe("private-room");
    client.trigger("private-room", "client-hello", &json!({}));
    other.expect_on("private-room", "client-hello");
    other.expect_nothing_before_marker(&server.api(), "private-room");
}
