//! The connections of one worker that speak HTTP, from the accept to the upgrade or the end.
//!
//! actix-http parses requests and writes answers. What it leaves open is bounded here: how many connections there are, how long a
//! request may take to arrive, how much of it is read in one turn. It also makes an object of JSON of the answers that actix-http
//! itself leaves empty, and closes a connection so that the client can read the last answer.

mod answer;
mod closing;
mod operator;
mod proxied;
mod silent;
mod stream;

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use slab::Slab;
use socket2::SockRef;
use tokio::{net::TcpStream, sync::mpsc};
use tracing::info;

use closing::Closing;
pub use operator::OperatorStream;
use proxied::NoHeader;
use silent::Silent;
pub use stream::{HttpStream, ToldSecure};

use crate::{
    address::{Held, NoRoom, Peer, Place},
    connection::Worker,
    http_body::request_time,
    tls::{NO_ROOM, Stream},
};

/// Seconds that a request may take beyond its time, in which whoever waits for its body can still answer.
const GRACE_TICKS: u32 = 2;
/// Seconds in which a client that gets an answer has to read some of it.
const WRITE_TICKS: u32 = 30;

const HELD: &str = "a connection counts until it closes or gives up its place";

/// All of them.
pub struct HttpConnections {
    worker: Rc<Worker>,
    request_timeout: Duration,
    states: RefCell<Slab<Rc<State>>>,
    /// Those of them that have sent no request yet.
    silent: RefCell<Silent<Rc<State>>>,
    tick: Cell<u32>,
    closing: mpsc::Sender<Closing>,
}

/// One of them, as it is seen from outside its task.
struct State {
    connections: Rc<HttpConnections>,
    /// Its place among the others.
    at: usize,
    /// Its number among the silent ones; `None` once it has sent a request.
    silent: Cell<Option<u64>>,
    /// Who is at its other end.
    peer: Peer,
    task: RefCell<Option<Waker>>,
    request: Cell<Request>,
    answer: Cell<Answer>,
    stage: Cell<Stage>,
    /// Bytes that were read in this turn.
    turn_bytes: Cell<usize>,
    /// What a proxy has said of the client's side.
    told_secure: Cell<Option<ToldSecure>>,
    /// What is written instead of an answer that had no body.
    unsent: RefCell<Bytes>,
    /// It counts among all, and among those of its place.
    held: RefCell<Option<Held>>,
}

/// What the client may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It was not answered yet.
    New,
    /// It was.
    Answered,
    /// It has ended its side, or is gone.
    Ended,
    /// Another connection has its place.
    Displaced,
}

/// A connection of a proxy that has said for whom it speaks.
pub struct Introduced {
    /// What follows is the client's.
    pub tcp: TcpStream,
    /// The client, or the proxy itself.
    pub peer: Peer,
    /// Whether the client's side is encrypted.
    pub told_secure: Option<ToldSecure>,
}

/// A connection's first request, which may never come.
pub struct FirstRequest(Weak<State>);

impl FirstRequest {
    /// Its head is whole. The connection keeps its place from now on.
    pub fn has_come(&self) {
        if let Some(state) = self.0.upgrade() {
            state.note_request();
        }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The node has no room for more.
    OverAll,
    /// Its place has none.
    OverPlace,
    /// Proxies alone may connect, and this is none that is trusted.
    NoProxy,
}

impl From<NoRoom> for Refused {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::Node => Self::OverAll,
            NoRoom::Place => Self::OverPlace,
        }
    }
}

impl Refused {
    /// The status, the trouble in the log's words, and what the client reads.
    fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::OverAll => (
                503,
                "over server.max_http_connections",
                "the server has as many connections as it takes",
            ),
            Self::OverPlace => (
                503,
                "over server.max_clients_per_ip",
                "this address has as many connections as one may have",
            ),
            Self::NoProxy => (
                403,
                "not among server.trusted_proxies, which server.proxy_protocol needs",
                "this address may not connect directly",
            ),
        }
    }
}

/// How far the request has come that is not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Request {
    /// There is none.
    #[default]
    None,
    /// It has begun to arrive.
    Arriving {
        since: u32,
        bytes: usize,
        /// When the last of it came.
        last: u32,
    },
    /// It took too long. The connection is treated as if the client had ended it.
    TooSlow,
}

/// How far the answer has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    /// The kernel takes it, or there is none.
    #[default]
    Flowing,
    /// The client does not read.
    Stalled { since: u32 },
    /// For too long. The connection is given up.
    TooSlow,
}

impl Request {
    /// One of which nothing has come yet.
    fn begun(tick: u32) -> Self {
        Self::Arriving {
            since: tick,
            bytes: 0,
            last: tick,
        }
    }
}

impl HttpConnections {
    /// None yet. The second part has to run beside it.
    #[must_use]
    pub fn new(worker: Rc<Worker>, request_timeout: Duration) -> (Rc<Self>, ClosingConnections) {
        let (closing, waiting) = mpsc::channel(closing::WAITING_MAX);
        let connections = Rc::new(Self {
            worker,
            request_timeout,
            states: RefCell::default(),
            silent: RefCell::default(),
            tick: Cell::new(0),
            closing,
        });
        (connections, ClosingConnections(waiting))
    }

    /// Takes a new connection; `None` when there are too many, which it is told.
    #[must_use]
    pub fn admit(self: &Rc<Self>, stream: Stream, peer: Peer) -> Option<HttpStream> {
        match self.take_place(self.worker.node.gate.place_of_peer(peer)) {
            Ok(held) => {
                let begun = match stream {
                    Stream::Plain(_) => Request::None,
                    // The handshake has the time of a request's head.
                    Stream::Sealed(_) => Request::begun(self.tick.get()),
                };
                Some(HttpStream::new(stream, self.state(held, peer, begun)))
            }
            Err(no_room) => {
                self.refuse(&stream, peer, no_room.into());
                None
            }
        }
    }

    /// Counts one more connection. When there are as many as may be, the one that has been silent for longest without ever having sent a
    /// request gives up its place.
    fn take_place(&self, place: Option<Place>) -> Result<Held, NoRoom> {
        let gate = &self.worker.node.gate;
        match gate.take_http(place) {
            Err(NoRoom::Node) => {}
            taken => return taken,
        }
        let first = self.silent.borrow().first().map(Rc::clone);
        let first = first.ok_or(NoRoom::Node)?;
        gate.pass_http(first.held.borrow_mut().as_mut().expect(HELD), place)?;
        Ok(first.displace())
    }

    /// Has a proxy say for whom it speaks, before anything else; `None` when it may not, or says nothing that can be read.
    pub async fn introduce(&self, mut tcp: TcpStream, proxy: Peer) -> Option<Introduced> {
        let gate = &self.worker.node.gate;
        if !gate.trusts(proxy) {
            self.refuse(&Stream::Plain(tcp), proxy, Refused::NoProxy);
            return None;
        }
        let waiting = match self.take_place(None) {
            Ok(held) => held,
            Err(no_room) => {
                self.refuse(&Stream::Plain(tcp), proxy, no_room.into());
                return None;
            }
        };
        let header = match proxied::header(&mut tcp, self.request_timeout).await {
            Ok(header) => header,
            Err(no_header) => {
                self.tell_no_header(proxy, &no_header);
                return None;
            }
        };
        drop(waiting);
        Some(Introduced {
            tcp,
            peer: header.client.map_or(proxy, Peer::At),
            told_secure: header.secure.then_some(ToldSecure),
        })
    }

    fn tell_no_header(&self, proxy: Peer, no_header: &NoHeader) {
        let trouble = match no_header {
            NoHeader::Gone => return,
            NoHeader::Late => "no whole PROXY protocol header came in time",
            NoHeader::Wrong(error) => error.reason(),
        };
        let node = &self.worker.node;
        if let Some(suppressed) = node.storms.tell(trouble, Instant::now()) {
            info!(%proxy, trouble, suppressed, "a proxy's connection was closed");
        }
    }

    fn state(self: &Rc<Self>, held: Held, peer: Peer, request: Request) -> Rc<State> {
        let mut states = self.states.borrow_mut();
        let place = states.vacant_entry();
        let state = Rc::new(State {
            connections: Rc::clone(self),
            at: place.key(),
            silent: Cell::default(),
            task: RefCell::default(),
            peer,
            request: Cell::new(request),
            answer: Cell::default(),
            stage: Cell::new(Stage::New),
            turn_bytes: Cell::new(0),
            told_secure: Cell::new(None),
            unsent: RefCell::default(),
            held: RefCell::new(Some(held)),
        });
        place.insert(Rc::clone(&state));
        let number = self.silent.borrow_mut().push(Rc::clone(&state));
        state.silent.set(Some(number));
        state
    }

    /// Answers before anything was read. It is not waited until the client has read that: there are too many already.
    fn refuse(&self, stream: &Stream, peer: Peer, refused: Refused) {
        let node = &self.worker.node;
        let (status, trouble, text) = refused.words();
        if refused != Refused::NoProxy {
            node.incidents.rate_limited.increment("http_connections");
        }
        if let Some(suppressed) = node.storms.tell(trouble, Instant::now()) {
            info!(%peer, trouble, suppressed, "HTTP connections are refused");
        }
        // It fits into the empty buffer of a new socket, or the client has gone. The runtime does not know yet that the socket is writable.
        // A client of TLS gets an alert: an answer would cost the handshake that there is no room for.
        let answer = match stream {
            Stream::Plain(_) => answer::whole(status, text),
            Stream::Sealed(_) => NO_ROOM.to_vec(),
        };
        let _ = SockRef::from(stream.tcp()).send(&answer);
    }

    /// Once a second: ends those whose request takes too long to arrive.
    pub fn sweep(&self) {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        for (_, state) in self.states.borrow().iter() {
            state.check(tick, self.request_timeout);
        }
    }
}

impl State {
    fn tick(&self) -> u32 {
        self.connections.tick.get()
    }

    /// The connection is none of them any more.
    fn leave(&self) {
        self.note_request();
        self.connections.states.borrow_mut().try_remove(self.at);
    }

    /// A request has come.
    fn note_request(&self) {
        if let Some(number) = self.silent.take() {
            self.connections.silent.borrow_mut().remove(number);
        }
    }

    /// Something has come.
    fn rise(&self) {
        if let Some(number) = self.silent.get() {
            let mut silent = self.connections.silent.borrow_mut();
            self.silent.set(silent.rise(number));
        }
    }

    /// Gives its place to another connection.
    fn displace(&self) -> Held {
        self.note_request();
        self.stage.set(Stage::Displaced);
        self.wake();
        self.held.take().expect(HELD)
    }

    /// Closes the socket so that the client can read what it was answered.
    fn close(&self, stream: Stream) {
        let Some(held) = self.held.take() else {
            return;
        };
        let unsent = self.unsent.take();
        // When too many close at a time, this one is closed at once.
        let _ = self.connections.closing.try_send(Closing {
            stream,
            unsent,
            held,
        });
    }

    fn check(&self, tick: u32, timeout: Duration) {
        if let Request::Arriving { since, bytes, last } = self.request.get() {
            let is_over = |since: u32, time: Duration| {
                let ticks = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                tick.wrapping_sub(since) > ticks.saturating_add(GRACE_TICKS)
            };
            if is_over(last, timeout) || is_over(since, request_time(timeout, bytes)) {
                self.request.set(Request::TooSlow);
                self.wake();
            }
        }
        if let Answer::Stalled { since } = self.answer.get()
            && tick.wrapping_sub(since) > WRITE_TICKS
        {
            self.answer.set(Answer::TooSlow);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Notes whom to wake.
    fn wait(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }
}

/// Connections that were answered for the last time, and whose clients may still send.
pub struct ClosingConnections(mpsc::Receiver<Closing>);

impl ClosingConnections {
    /// Closes them one beside the other, for as long as the worker lives.
    pub async fn run(self) {
        closing::run(self.0).await;
    }
}
