//! A TCP proxy in front of Redis or a database, to break the network of one node only.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

/// Forwards every connection to one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// Connections with a smaller number pass nothing on to the server; what they say is kept.
    held_below: usize,
    /// Pieces that were passed on to the server.
    passed: usize,
    /// Bytes a second towards the server.
    bytes_per_second: Option<usize>,
    /// By how much each piece towards the server is late.
    delay: Duration,
    /// Both ends of every connection.
    streams: Vec<TcpStream>,
}

impl State {
    /// How long so many bytes take towards the server.
    fn time_of(&self, bytes: usize) -> Duration {
        let rate = self
            .bytes_per_second
            .map_or(f64::INFINITY, |rate| rate as f64);
        self.delay + Duration::from_secs_f64(bytes as f64 / rate)
    }
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no thread panics"));
        self.changed.notify_all();
    }

    /// Waits until this connection may pass something on.
    fn wait(&self, connection: usize) {
        let state = self.state.lock().expect("no thread panics");
        let open = self
            .changed
            .wait_while(state, |state| connection < state.held_below);
        drop(open.expect("no thread panics"));
    }

    /// Counts a piece towards the server, and tells how long it takes.
    fn count(&self, bytes: usize) -> Duration {
        let mut state = self.state.lock().expect("no thread panics");
        state.passed += 1;
        state.time_of(bytes)
    }
}

impl Proxy {
    pub(crate) fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let gate = Arc::<Gate>::default();
        let gate_of_all = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue; // Closed with `client`, as the server's own refusal.
                };
                let mut number = 0;
                gate_of_all.change(|state| {
                    number = state.connections;
                    state.connections += 1;
                    state.streams.extend([clone(&client), clone(&server)]);
                });
                let (client_in, server_in) = (clone(&client), clone(&server));
                let gate = Arc::clone(&gate_of_all);
                thread::spawn(move || pass(client_in, server, &gate, number, true));
                let gate = Arc::clone(&gate_of_all);
                thread::spawn(move || pass(server_in, client, &gate, number, false));
            }
        });
        Self { address, gate }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Connections that exist pass nothing on any more; new ones do.
    pub(crate) fn hold_existing(&self) {
        self.gate
            .change(|state| state.held_below = state.connections);
    }

    /// No connection passes anything on, new ones neither.
    pub(crate) fn hold_all(&self) {
        self.gate.change(|state| state.held_below = usize::MAX);
    }

    /// Everything that was held is passed on now.
    pub(crate) fn release(&self) {
        self.gate.change(|state| state.held_below = 0);
    }

    /// From now on each piece towards the server is late by so much.
    #[cfg(feature = "sql")]
    pub(crate) fn delay(&self, delay: Duration) {
        self.gate.change(|state| state.delay = delay);
    }

    /// Every connection that exists ends; new ones are made.
    pub(crate) fn cut(&self) {
        self.gate.change(|state| {
            for stream in state.streams.drain(..) {
                // It may have ended by itself.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    /// How many pieces were passed on to the server; a request is at least one.
    #[cfg(feature = "sql")]
    pub(crate) fn passed(&self) -> usize {
        self.gate.state.lock().expect("no thread panics").passed
    }

    /// From now on no connection is faster than this towards the server.
    pub(crate) fn limit(&self, bytes_per_second: usize) {
        self.gate
            .change(|state| state.bytes_per_second = Some(bytes_per_second));
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle")
}

/// Passes one direction on until its end.
fn pass(mut from: TcpStream, mut to: TcpStream, gate: &Gate, number: usize, is_upwards: bool) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut chunk).unwrap_or(0);
        gate.wait(number);
        if is_upwards && read > 0 {
            thread::park_timeout(gate.count(read));
        }
        if read == 0 || to.write_all(&chunk[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            let _ = from.shutdown(Shutdown::Read);
            return;
        }
    }
}
