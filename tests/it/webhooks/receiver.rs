//! A backend that receives webhooks: a small HTTP server that answers as a test says and keeps the requests.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver as Channel, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::{app::App, signing::hmac_hex, stream::PATIENCE};

/// How a request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// This status.
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// No answer; the connection stays open.
    Hang,
    /// These bytes, one at a time with this pause between them.
    Drip(&'static str, Duration),
    /// The first text once, then the second without end.
    Endless(&'static str, &'static str),
    /// This text, HTTP or not; then the connection is closed.
    Verbatim(&'static str),
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    /// As they came, in their order and letter case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

impl Request {
    /// A header's only value.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self
            .headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let (_, value) = values
            .next()
            .unwrap_or_else(|| panic!("no {name}: {self:?}"));
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.json()["time_ms"].as_u64().expect("a time")
    }

    /// The events, after everything that Pusher's libraries check and a little more.
    #[track_caller]
    pub(crate) fn events(&self, app: &App) -> Vec<Value> {
        assert!(self.line.starts_with("POST /"), "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("x-pusher-key"), app.key);
        assert_eq!(
            self.header("x-pusher-signature"),
            hmac_hex(&app.secret, &self.body)
        );
        assert!(self.body.starts_with("{\"time_ms\":"), "{}", self.body);
        let body = self.json();
        assert_eq!(
            body.as_object().map(serde_json::Map::len),
            Some(2),
            "{body}"
        );
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let age = i128::try_from(now.as_millis()).expect("small") - i128::from(self.time_ms());
        assert!((-1000..300_000).contains(&age), "{age} ms old: {body}");
        let events = body["events"].as_array().expect("a list of events");
        assert!(!events.is_empty(), "{body}");
        for event in events {
            assert!(
                event["name"].is_string() && event["channel"].is_string(),
                "{event}"
            );
            // Typed libraries read events into maps of strings; see docs/webhooks.md.
            let fields = event.as_object().expect("an event is an object").values();
            assert!(
                fields
                    .into_iter()
                    .all(|field| field.is_string() || field.is_number()),
                "not a scalar: {event}"
            );
        }
        events.clone()
    }
}

/// Holds answers back until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().expect("nobody panics with it") = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let is_open = self.0.0.lock().expect("nobody panics with it");
        let passed = self
            .0
            .1
            .wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
        drop(passed.expect("nobody panics with it"));
    }
}

type Answer = Box<dyn Fn(&Request) -> Reply + Send + Sync>;
/// Makes a connection of a socket, perhaps an encrypted one.
type Open = Box<dyn Fn(TcpStream) -> Box<dyn Connection> + Send + Sync>;

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

/// The server; ends with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Channel<Request>,
    connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) fn start() -> Self {
        Self::answering(|_| Reply::Status(200))
    }

    pub(crate) fn answering(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let open = Box::new(|tcp| -> Box<dyn Connection> { Box::new(tcp) });
        Self::on(any_port(), open, Box::new(answer))
    }

    /// One that takes everything as soon as the gate is open.
    pub(crate) fn gated() -> (Self, Gate) {
        let gate = Gate::default();
        let inner = gate.clone();
        let receiver = Self::answering(move |_| {
            inner.pass();
            Reply::Status(200)
        });
        (receiver, gate)
    }

    /// One that takes everything, over TLS.
    pub(crate) fn secure(config: Arc<ServerConfig>) -> Self {
        let open = move |tcp| -> Box<dyn Connection> {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            Box::new(StreamOwned::new(tls, tcp))
        };
        Self::on(any_port(), Box::new(open), Box::new(|_| Reply::Status(200)))
    }

    /// One that takes everything, on a port that was [`free`](free_address).
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the port is still free");
        let open = Box::new(|tcp| -> Box<dyn Connection> { Box::new(tcp) });
        Self::on(listener, open, Box::new(|_| Reply::Status(200)))
    }

    fn on(listener: TcpListener, open: Open, answer: Answer) -> Self {
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = channel();
        let (stopped, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stop, answer) = (Arc::clone(&stopped), Arc::new(answer));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (sender, answer, stop) =
                    (sender.clone(), Arc::clone(&answer), Arc::clone(&stop));
                stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .expect("a timeout is set");
                let connection = open(stream);
                thread::spawn(move || serve(connection, &sender, &**answer, &stop));
            }
        });
        Self {
            address,
            requests,
            connections,
            stopped,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    #[track_caller]
    pub(crate) fn next(&self) -> Request {
        match self.requests.recv_timeout(PATIENCE) {
            Ok(request) => request,
            Err(error) => panic!("no webhook came: {error}"),
        }
    }

    /// The only event of the next request.
    #[track_caller]
    pub(crate) fn event(&self, app: &App) -> Value {
        let events = self.next().events(app);
        assert_eq!(events.len(), 1, "one event a request: {events:?}");
        events[0].clone()
    }

    /// This number of events, in one request or several.
    #[track_caller]
    pub(crate) fn events(&self, app: &App, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().events(app));
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }

    /// Waits that long, in which nothing may come. For tests whose subject is time itself.
    #[track_caller]
    pub(crate) fn expect_quiet_for(&self, time: Duration) {
        match self.requests.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("expected quiet, got {other:?}"),
        }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that arrived and were not read yet.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// An address on which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    any_port().local_addr().expect("an address")
}

fn any_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// Serves one connection, of any number of requests, until it ends.
fn serve(
    connection: Box<dyn Connection>,
    requests: &Sender<Request>,
    answer: &dyn Fn(&Request) -> Reply,
    stopped: &AtomicBool,
) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read(&mut reader, stopped) {
        // Before the answer, which may take its time.
        let _ = requests.send(request.clone());
        let reply = answer(&request);
        // The peer may have closed the connection meanwhile.
        if !matches!(send(reader.get_mut(), &reply, stopped), Ok(true)) {
            return;
        }
    }
}

/// Sends a reply; whether another request may come.
fn send(to: &mut impl Write, reply: &Reply, stopped: &AtomicBool) -> io::Result<bool> {
    let whole = |head: &str| format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nok");
    match reply {
        Reply::Status(status) => to.write_all(whole(&format!("{status} X")).as_bytes())?,
        Reply::Redirect(there) => {
            to.write_all(whole(&format!("307 X\r\nLocation: {there}")).as_bytes())?;
        }
        Reply::Hang => {}
        Reply::Drip(text, pause) => {
            for byte in text.as_bytes() {
                to.write_all(&[*byte])?;
                thread::sleep(*pause);
            }
        }
        Reply::Endless(head, text) => {
            to.write_all(head.as_bytes())?;
            let text = text.repeat(1 + 16_384 / text.len());
            while !stopped.load(Ordering::SeqCst) {
                to.write_all(text.as_bytes())?;
            }
        }
        Reply::Verbatim(text) => {
            to.write_all(text.as_bytes())?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(reader: &mut BufReader<Box<dyn Connection>>, stopped: &AtomicBool) -> Option<Request> {
    let line = read_line(reader, stopped)?;
    let mut headers = Vec::new();
    loop {
        let header = read_line(reader, stopped)?;
        match header.split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let mut request = Request {
        line,
        headers,
        body: String::new(),
        at: Instant::now(),
    };
    let length: usize = request.header("content-length").parse().expect("a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).expect("a body is text");
    Some(request)
}

/// A line without its end; waits for it as long as the receiver lives.
fn read_line(reader: &mut BufReader<Box<dyn Connection>>, stopped: &AtomicBool) -> Option<String> {
    let mut line = String::new();
    loop {
        match reader.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => return Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stopped.load(Ordering::SeqCst) {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}
