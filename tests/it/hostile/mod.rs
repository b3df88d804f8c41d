//! What one client, page or backend does to others: nothing that they would notice (#12).

mod listings;
mod requests;
mod sessions;
mod subscriptions;
mod turns;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::support::{
    app::App,
    http::Http,
    server::TestServer,
    setup::Setup,
    websocket::{Frame, Incoming, PING, Socket},
};

/// An HTTP connection from one of this machine's own addresses.
fn connect_from(address: &str, to: SocketAddr) -> Http {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let from: IpAddr = address.parse().expect("an address");
    socket
        .bind(&SocketAddr::new(from, 0).into())
        .expect("it is this machine's");
    socket.connect(&to.into()).expect("the server accepts");
    Http::over(socket.into())
}

/// One worker, so that everyone shares it.
fn one_worker() -> Setup {
    Setup::new().set("server.workers", 1)
}

/// An app whose clients may send as fast as they can, so that only the length of a turn holds them back.
fn unpaced() -> App {
    App::usual().unpaced()
}

/// An app whose connections may send 11 messages a second: 221 at once, one of them for the only channel that they may have.
pub(crate) fn slow_app() -> App {
    App::usual()
        .set("max_messages_per_second", 10)
        .set("max_client_events_per_second", 1)
        .set("max_event_data_bytes", 1)
        .set("max_channels_per_connection", 1)
}

/// Held by a test that measures, so that another one does not take the processor from it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// CPU time of all threads of the server so far.
fn cpu(server: &TestServer) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process.pid)).expect("it runs");
    let spent = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        // A thread may end meanwhile.
        let text = fs::read_to_string(path).unwrap_or_default();
        let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    });
    spent.sum()
}

/// A client that only wants to know how long the server takes to answer a ping.
struct Probe(Socket);

impl Probe {
    fn of(server: &TestServer) -> Self {
        Self(server.socket())
    }

    #[track_caller]
    fn round_trip(&mut self) -> Duration {
        let began = Instant::now();
        self.0.send(&Frame::new(PING, "probe"));
        assert_eq!(self.0.next(), Incoming::Pong(b"probe".to_vec()));
        began.elapsed()
    }

    /// The longest of many.
    #[track_caller]
    fn longest_of(&mut self, round_trips: usize) -> Duration {
        let times = (0..round_trips).map(|_| self.round_trip());
        times.max().expect("at least one")
    }
}
