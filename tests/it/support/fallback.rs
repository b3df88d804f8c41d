//! A client of the HTTP fallback transports by hand (§9): each request is one of the test's own, and each line is read as it comes.

use std::{
    cell::Cell,
    collections::VecDeque,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    app::App,
    client::Message,
    http::{Http, Response, read_head},
    server::TestServer,
    stream::{PATIENCE, ReadError},
};

static SESSIONS: AtomicU32 = AtomicU32::new(0);

pub(crate) const STREAMING: &str = "xhr_streaming";
pub(crate) const POLLING: &str = "xhr";
pub(crate) const SEND: &str = "xhr_send";

const QUERY: &str = "protocol=7&client=js&version=8.6.0";

/// One thing that a response said. The messages of one line are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    Message(String),
    /// `a[]`
    Nothing,
    Heartbeat,
    Close(u16, String),
}

impl Line {
    fn parse(line: &str) -> Vec<Self> {
        match line.split_at(1) {
            ("o", "") => vec![Self::Open],
            ("h", "") => vec![Self::Heartbeat],
            ("a", "[]") => vec![Self::Nothing],
            ("a", messages) => {
                let messages: Vec<String> = serde_json::from_str(messages)
                    .unwrap_or_else(|error| panic!("{error}: not strings: {line}"));
                messages.into_iter().map(Self::Message).collect()
            }
            ("c", close) => {
                let (code, reason) = serde_json::from_str(close)
                    .unwrap_or_else(|error| panic!("{error}: no code and reason: {line}"));
                vec![Self::Close(code, reason)]
            }
            _ => panic!("an unknown line: {line}"),
        }
    }
}

/// The names of one client's session. Requests are made by whoever holds it.
pub(crate) struct Session {
    address: SocketAddr,
    app: App,
    path: String,
    query: String,
    headers: String,
    number: Cell<u64>,
}

impl Session {
    /// A session of the app that nobody has used.
    pub(crate) fn new(server: &TestServer, app: &App) -> Self {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        Self::named(server, app, &format!("7/s{number}"))
    }

    pub(crate) fn named(server: &TestServer, app: &App, name: &str) -> Self {
        Self {
            address: server.public,
            app: app.clone(),
            path: format!("/pusher/app/{}/{name}", app.key),
            query: QUERY.to_owned(),
            headers: String::new(),
            number: Cell::new(0),
        }
    }

    /// Has the next requests go to this address.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// With a query other than pusher-js'.
    pub(crate) fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// With another header on each request.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// With another path before `/{kind}`.
    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Has the next requests go to this server.
    pub(crate) fn move_to(&mut self, server: &TestServer) {
        self.address = server.public;
    }

    fn next_number(&self) -> u64 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// The path of its requests of this kind.
    pub(crate) fn target(&self, kind: &str) -> String {
        format!("{}/{kind}", self.path)
    }

    /// The bytes of a request of the number `n`.
    pub(crate) fn request(&self, method: &str, kind: &str, n: u64, body: &[u8]) -> Vec<u8> {
        let Self {
            path,
            query,
            headers,
            ..
        } = self;
        let query = if kind == SEND { "" } else { query };
        let length = body.len();
        let head = format!(
            "{method} {path}/{kind}?{query}&t=1700000000000&n={n} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    /// Sends a request and gives its whole response.
    pub(crate) fn ask(&self, method: &str, kind: &str, body: &[u8]) -> Response {
        let mut http = Http::connect(self.address);
        http.send(self.request(method, kind, self.next_number(), body));
        http.response()
    }

    /// Asks for what there is; the response is read as it comes.
    #[track_caller]
    pub(crate) fn receive(&self, kind: &str) -> Receiving {
        let mut http = Http::connect(self.address);
        http.send(self.request("POST", kind, self.next_number(), b""));
        let head = read_head(&mut http.stream, PATIENCE).expect("the head of the response");
        assert_eq!(head.status, 200, "{head:?}");
        Receiving {
            http,
            head,
            bytes: Vec::new(),
            lines: VecDeque::new(),
            units: 0,
            ended: false,
        }
    }

    /// Opens the session by its first request; the response has brought the greeting.
    #[track_caller]
    pub(crate) fn open(self, kind: &str) -> Opened {
        let mut receiving = self.receive(kind);
        receiving.expect_line(&Line::Open);
        let greeting = receiving.expect("pusher:connection_established");
        let socket_id = greeting.decoded()["socket_id"]
            .as_str()
            .expect("a socket id")
            .to_owned();
        Opened {
            session: self,
            socket_id,
            receiving,
        }
    }

    /// Sends a body as it is.
    pub(crate) fn send_raw(&self, body: impl AsRef<[u8]>) -> Response {
        self.ask("POST", SEND, body.as_ref())
    }

    /// Sends messages in one request, which must be taken.
    #[track_caller]
    pub(crate) fn send(&self, messages: &[Value]) {
        let response = self.send_raw(body(messages));
        assert_eq!(response.status, 204, "{response:?}");
        assert_eq!(response.body, "");
    }

    /// A connection for several requests.
    pub(crate) fn connection(&self) -> Http {
        Http::connect(self.address)
    }
}

/// The body that carries these messages.
pub(crate) fn body(messages: &[Value]) -> Vec<u8> {
    let texts: Vec<_> = messages.iter().map(Value::to_string).collect();
    serde_json::to_vec(&texts).expect("strings")
}

/// The response of a receiving request.
pub(crate) struct Receiving {
    http: Http,
    pub(crate) head: Response,
    bytes: Vec<u8>,
    lines: VecDeque<Line>,
    /// How much came so far, in UTF-16 units as a browser counts.
    pub(crate) units: usize,
    ended: bool,
}

impl Receiving {
    /// The next line within `patience`; `None` where the response ends.
    pub(crate) fn read(&mut self, patience: Duration) -> Result<Option<Line>, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                assert!(self.bytes.is_empty(), "the last line has its end");
                return Ok(None);
            }
            self.read_chunk(deadline.saturating_duration_since(Instant::now()))?;
        }
    }

    fn read_chunk(&mut self, patience: Duration) -> Result<(), ReadError> {
        let stream = &mut self.http.stream;
        let size = stream.take_until(b"\r\n", patience)?;
        let size = String::from_utf8(size).expect("a chunk size");
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk size");
        let chunk = stream.take(size + 2, PATIENCE)?;
        self.ended = size == 0;
        self.bytes.extend_from_slice(&chunk[..size]);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8(line).expect("lines are UTF-8");
            self.units += line.encode_utf16().count();
            self.lines.extend(Line::parse(line.trim_end_matches('\n')));
        }
        Ok(())
    }

    /// The next line, which must come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Line {
        match self.read(PATIENCE) {
            Ok(Some(line)) => line,
            other => panic!("expected a line: {other:?}"),
        }
    }

    /// Whether all that came so far was read, which is when a client may ask anew.
    pub(crate) fn is_read_up(&self) -> bool {
        self.lines.is_empty() && self.bytes.is_empty()
    }

    #[track_caller]
    pub(crate) fn expect_line(&mut self, line: &Line) {
        assert_eq!(&self.next(), line);
    }

    /// The next message, with nothing else before it.
    #[track_caller]
    pub(crate) fn next_message(&mut self) -> Message {
        match self.next() {
            Line::Message(text) => Message::parse(text),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, event: &str) -> Message {
        let message = self.next_message();
        assert_eq!(message.event(), event, "{}", message.text);
        message
    }

    #[track_caller]
    pub(crate) fn expect_on(&mut self, channel: &str, event: &str) -> Message {
        let message = self.expect(event);
        assert_eq!(message.channel(), Some(channel), "{}", message.text);
        message
    }

    /// The next line must say goodbye with this code, and be the last.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.next() {
            Line::Close(got, reason) if got == code => reason,
            other => panic!("expected close {code}, got {other:?}"),
        };
        self.expect_end();
        reason
    }

    /// The response must end without another line.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.read(PATIENCE);
        assert_eq!(rest, Ok(None), "the response ends");
    }
}

/// A session that was opened, with the response to its last receiving request.
pub(crate) struct Opened {
    pub(crate) session: Session,
    pub(crate) socket_id: String,
    pub(crate) receiving: Receiving,
}

impl Opened {
    /// Asks once more; the response before is given up.
    #[track_caller]
    pub(crate) fn receive(&mut self, kind: &str) {
        self.receiving = self.session.receive(kind);
    }

    /// The next message; a poll that has ended is followed by another.
    #[track_caller]
    pub(crate) fn polled(&mut self) -> Message {
        loop {
            match self.receiving.read(PATIENCE) {
                Ok(Some(Line::Message(text))) => return Message::parse(text),
                Ok(Some(Line::Nothing | Line::Heartbeat)) => {}
                Ok(None) => self.receive(POLLING),
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    pub(crate) fn send(&self, messages: &[Value]) {
        self.session.send(messages);
    }

    /// The message that asks for a subscription, signed where the name asks for it.
    pub(crate) fn subscription(&self, channel: &str) -> Value {
        let auth = if channel.starts_with("private-") {
            self.session.app.auth(&self.socket_id, channel)
        } else {
            String::new()
        };
        serde_json::json!({"event": "pusher:subscribe", "data": {"auth": auth, "channel": channel}})
    }

    /// The message that asks to be a member of a presence channel.
    pub(crate) fn membership(&self, channel: &str, user_id: &str) -> Value {
        let channel_data = serde_json::json!({"user_id": user_id}).to_string();
        let auth = self
            .session
            .app
            .auth_with(&self.socket_id, channel, &channel_data);
        let data =
            serde_json::json!({"auth": auth, "channel": channel, "channel_data": channel_data});
        serde_json::json!({"event": "pusher:subscribe", "data": data})
    }

    /// The message that asks to be signed in.
    pub(crate) fn signin(&self, user_data: &str) -> Value {
        let auth = self.session.app.auth_user(&self.socket_id, user_data);
        serde_json::json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})
    }

    /// Subscribes, and has been told so.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, channel: &str) {
        self.send(&[self.subscription(channel)]);
        let succeeded = self.polled();
        assert_eq!(
            (succeeded.event(), succeeded.channel()),
            ("pusher_internal:subscription_succeeded", Some(channel)),
            "{}",
            succeeded.text
        );
    }
}
