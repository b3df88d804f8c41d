//! Takes client sockets over from actix-http and serves each with one small task.
//!
//! An idle client owns its socket, its registration and this task's few words; read buffers are the worker's.

use std::{
    cell::RefCell,
    io, iter, mem,
    pin::Pin,
    rc::Rc,
    str,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_http::{
    HttpMessage, Request, Response, StatusCode, Version,
    body::{BodySize, BoxBody},
    h1, header, ws,
};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio_util::codec::Encoder;

use super::{
    depart,
    http::HttpStream,
    input::{Input, Received, Violation},
    opening::{FirstRequest, Parameters, Port},
    pace::{Allowance, Pace, TooFast, Turn, units, yield_turn},
    subprotocol,
};
use crate::{
    connection::{Connection, Destination, Refusal, Taken, Worker},
    hub::{End, Outbox, Subscriber, Transport},
    protocol::{CloseCode, Frame, SocketId, deflate, path},
    tls::{Opened, Read},
};

/// Bytes taken from a socket at once.
const READ_BYTES: usize = 16 << 10;

/// What the WebSocket side of one worker needs.
pub struct Listener {
    worker: Rc<Worker>,
    path_prefix: String,
    max_message_bytes: usize,
    max_outbox_bytes: usize,
    /// Shared by all of the worker's clients: each uses it within one turn.
    buffer: RefCell<BytesMut>,
}

/// The answer to a handshake, and what it agrees to.
struct Head {
    bytes: Bytes,
    /// Whether compression was negotiated.
    is_compressed: bool,
}

impl Listener {
    /// The WebSocket side of a worker.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        path_prefix: String,
        max_message_bytes: usize,
        max_outbox_bytes: usize,
    ) -> Self {
        Self {
            worker,
            path_prefix,
            max_message_bytes,
            max_outbox_bytes,
            buffer: RefCell::default(),
        }
    }

    /// Answers an upgrade request and serves the client from a task of its own, so that actix-http's is done with it.
    pub fn accept(
        self: &Rc<Self>,
        request: &Request,
        stream: HttpStream,
        mut codec: h1::Codec,
        received: BytesMut,
        port: Port,
    ) {
        let destination = self.destination(request.path());
        if let Err(refusal) = self.check(request, destination) {
            tokio::task::spawn_local(refuse_upgrade(stream, refusal));
            return;
        }
        let mut head = BytesMut::new();
        let mut parameters = Parameters::of(request.uri().query().unwrap_or_default());
        let asked = parameters.protocol.as_deref();
        let version = subprotocol::select(request.headers(), asked);
        let compression = self.compression(request, destination);
        let mut response = ws::handshake_response(request.head());
        if let Some(version) = version {
            let name = format!("{}{version}", subprotocol::PREFIX);
            response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, name));
            parameters
                .protocol
                .get_or_insert_with(|| version.to_owned());
        }
        if let Some(answer) = compression {
            response.insert_header((header::SEC_WEBSOCKET_EXTENSIONS, answer));
        }
        let response = response.finish().drop_body();
        let item = h1::Message::Item((response, BodySize::None));
        if codec.encode(item, &mut head).is_err() {
            return;
        }
        let head = Head {
            bytes: head.freeze(),
            is_compressed: compression.is_some(),
        };
        let first = FirstRequest {
            destination,
            parameters: &parameters,
            headers: request.headers(),
            peer: request.peer_addr().into(),
            told_secure: stream.told_secure(),
            port,
        };
        let session = self.session(&first, stream, &head, received);
        tokio::task::spawn_local(session);
    }

    /// Whether the request deserves a WebSocket, in which a client without a right hears why it has none.
    fn check(&self, request: &Request, destination: Destination<'_>) -> Result<(), UpgradeRefusal> {
        let verified = ws::verify_handshake(request.head());
        verified.map_err(|error| match Response::<BoxBody>::from(error).status() {
            StatusCode::UPGRADE_REQUIRED => UpgradeRefusal::Version,
            _ => UpgradeRefusal::Handshake,
        })?;
        // RFC 6455 sections 4.2.1 and 11.3.1.
        let keys = request.headers().get_all(header::SEC_WEBSOCKET_KEY);
        if request.version() < Version::HTTP_11 || keys.count() != 1 {
            return Err(UpgradeRefusal::Handshake);
        }
        let node = &self.worker.node;
        if let Destination::App(key) = destination
            && node.apps.by_key(key).is_some()
        {
            return Ok(());
        }
        let peer = request.peer_addr().into();
        let place = node.gate.place_of(peer, request.headers());
        if node.gate.take_stranger(place) {
            return Ok(());
        }
        node.incidents.rate_limited.increment("strangers");
        Err(UpgradeRefusal::TooMany)
    }

    /// The answer to a client that offers compression to an app that has it.
    fn compression(&self, request: &Request, destination: Destination<'_>) -> Option<&'static str> {
        let mut offers = request.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS);
        let first = offers.next()?;
        let apps = &self.worker.node.apps;
        let Destination::App(key) = destination else {
            return None;
        };
        let app = apps.by_key(key)?;
        app.compression_from_bytes()?;
        let offers = iter::once(first).chain(offers);
        deflate::negotiate(offers.filter_map(|offer| offer.to_str().ok()))
    }

    fn session(
        self: &Rc<Self>,
        first: &FirstRequest<'_>,
        stream: HttpStream,
        head: &Head,
        mut received: BytesMut,
    ) -> Session {
        let Opened {
            socket,
            received: opened,
            unsent,
        } = stream.open();
        received.unsplit(opened);
        let outbox = Outbox::bounded(socket, self.max_outbox_bytes)
            .behind(unsent)
            .compressed(head.is_compressed);
        let subscriber = Rc::new(Subscriber::new(SocketId::random(), outbox));
        self.worker.shard.admit(&subscriber);
        let opening = first.opening(&self.worker.node.gate, Transport::WebSocket);
        let connection = match Connection::open(&self.worker, &subscriber, &opening) {
            Ok(connection) => {
                let first = [&head.bytes[..], connection.greeting().bytes()].concat();
                subscriber.outbox.write(&first.into());
                if head.is_compressed {
                    connection.compress();
                }
                Some(connection)
            }
            Err(refusal) => {
                refuse(&subscriber, &head.bytes, &refusal);
                None
            }
        };
        let unread = if received.is_empty() {
            Unread::Nothing
        } else {
            Unread::Bytes
        };
        let input = Input::beginning_with(received, head.is_compressed);
        Session {
            listener: Rc::clone(self),
            subscriber,
            connection,
            input,
            unread,
            stage: Stage::Open,
            pace: Pace::new(Instant::now()),
            kept: None,
        }
    }

    /// Reads `[prefix]/app/{key}`.
    fn destination<'a>(&self, path: &'a str) -> Destination<'a> {
        let bare = path::behind(path, &self.path_prefix).unwrap_or(path);
        let mut segments = path::segments(bare);
        match (segments.next(), segments.next(), segments.next()) {
            (Some("app"), Some(key), None) => Destination::App(key),
            _ => Destination::Elsewhere(path),
        }
    }
}

/// Answers the handshake all the same: a browser can only read a reason that comes in a close frame.
fn refuse(subscriber: &Subscriber, head: &Bytes, refusal: &Refusal) {
    subscriber.outbox.write(head);
    subscriber.outbox.close(refusal.code, refusal.reason);
}

/// Why a request gets no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpgradeRefusal {
    Handshake,
    Version,
    TooMany,
}

/// Says by HTTP why there is no WebSocket, and hangs up.
async fn refuse_upgrade(mut stream: HttpStream, refusal: UpgradeRefusal) {
    let (status, reason, extra) = match refusal {
        UpgradeRefusal::Handshake => (
            StatusCode::BAD_REQUEST,
            "this is no valid WebSocket handshake (RFC 6455 section 4.2.1)",
            "",
        ),
        UpgradeRefusal::Version => (
            StatusCode::UPGRADE_REQUIRED,
            "only WebSocket version 13 is supported",
            "Sec-WebSocket-Version: 13\r\n",
        ),
        UpgradeRefusal::TooMany => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests without a valid key come from this address; try again in a second",
            "Retry-After: 1\r\n",
        ),
    };
    let body = format!(r#"{{"error":"{reason}","code":{}}}"#, status.as_u16());
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n",
        body.len()
    );
    // The peer may have gone; there is nobody else to tell.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// One client's task.
struct Session {
    listener: Rc<Listener>,
    subscriber: Rc<Subscriber>,
    /// `None` for a client that was refused and only has to hear why.
    connection: Option<Connection>,
    input: Input,
    unread: Unread,
    stage: Stage,
    pace: Pace,
    /// A message that asks for what takes long, until its turn comes.
    kept: Option<Box<str>>,
}

/// Whether `input` has bytes that were not looked at: they came with the handshake, or the turn before was over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    Nothing,
    Bytes,
}

/// How far the end of the connection has come. Beyond the first stage input means nothing; it is read away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client broke a rule.
    Violated,
    /// The same, and the writing half was shut, so that the client sees the end.
    Shut,
    /// The client's close frame came.
    Closed,
}

impl Future for Session {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let subscriber = Rc::clone(&self.subscriber);
        let outbox = &subscriber.outbox;
        let socket = outbox.socket().expect("a WebSocket client has a socket");
        let mut turn = None;
        loop {
            if let Some(connection) = &mut self.connection
                && connection.poll_entrances(cx)
            {
                yield_turn(cx);
                return Poll::Pending;
            }
            outbox.poll_flush(cx);
            if outbox.is_broken() {
                return Poll::Ready(());
            }
            if self.stage == Stage::Closed && !outbox.is_waiting() {
                outbox.end_session();
                return Poll::Ready(());
            }
            if self.stage == Stage::Violated && !outbox.is_waiting() {
                self.stage = Stage::Shut;
                outbox.end_session();
                socket.shutdown_write();
            }
            ready!(self.pace.poll_pause(cx));
            if self.unread == Unread::Nothing
                && let Err(_gone) = ready!(socket.poll_read_ready(cx))
            {
                outbox.break_off("the socket could not be read");
                continue;
            }
            let turn = turn.get_or_insert_with(Turn::begin);
            self.receive(turn);
            let Self { pace, listener, .. } = &mut *self;
            if pace.use_pass(&listener.worker.turnstile, turn.now()) || turn.is_over() {
                yield_turn(cx);
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let end = self.subscriber.outbox.end();
        if let Some(mut connection) = self.connection.take() {
            let end = end.unwrap_or(End {
                code: None,
                reason: "the client went away",
            });
            depart(connection.close(end, Instant::now()));
        }
        self.listener.worker.shard.dismiss(&self.subscriber);
    }
}

impl Session {
    /// Takes what was left unread, or else what one read brings.
    fn receive(&mut self, turn: &mut Turn) {
        let mut partial = mem::take(&mut self.input.partial);
        if self.unread == Unread::Bytes {
            self.take(&mut partial, turn);
            return self.keep(partial);
        }
        let listener = Rc::clone(&self.listener);
        let mut buffer = listener.buffer.take();
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let outbox = &self.subscriber.outbox;
        match outbox.try_read(&mut buffer) {
            Ok(Read::Ended) => outbox.break_off("the client went away"),
            Ok(Read::Bytes) => {
                self.subscriber.heard(listener.worker.shard.tick());
                if partial.is_empty() {
                    self.take(&mut buffer, turn);
                    partial.extend_from_slice(&buffer);
                } else {
                    partial.extend_from_slice(&buffer);
                    self.take(&mut partial, turn);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => outbox.break_off("the client went away"),
        }
        self.keep(partial);
        listener.buffer.replace(buffer);
    }

    /// Keeps what was left. An idle client keeps no memory for it.
    fn keep(&mut self, partial: BytesMut) {
        if !partial.is_empty() {
            self.input.partial = partial;
        }
    }

    /// Takes the messages in `buffer` until it has no whole one, or it is others' turn. The answers leave in one write.
    fn take(&mut self, buffer: &mut BytesMut, turn: &mut Turn) {
        let allowance = self.allowance();
        let max_message_bytes = self.listener.max_message_bytes;
        // What completes no frame counts, too.
        let mut counted = units(0);
        self.unread = Unread::Nothing;
        if let Some(text) = self.kept.take()
            && !self.subscriber.outbox.is_closing()
        {
            self.on_text(&text, turn.now());
            turn.step();
        }
        while self.stage == Stage::Open && self.kept.is_none() {
            match self.input.next(buffer, max_message_bytes) {
                Ok(Some(received)) => {
                    counted = units(received.bytes());
                    if !buffer.is_empty() {
                        self.subscriber.outbox.hold();
                    }
                    self.on_received(received, turn.now());
                }
                Ok(None) => break,
                Err(violation) => self.violated(&violation),
            }
            let may_go_on = self.pace.take(counted, allowance, turn.now());
            counted = 0;
            turn.step();
            if (turn.is_over() || !may_go_on) && !buffer.is_empty() {
                self.unread = Unread::Bytes;
                break;
            }
        }
        if self.kept.is_some() {
            self.unread = Unread::Bytes;
        }
        if self.stage != Stage::Open {
            counted += units(buffer.len());
            buffer.clear();
            self.unread = Unread::Nothing;
        }
        if counted > 0 {
            turn.step();
            self.pace.take(counted, allowance, turn.now());
        }
        // A message that is kept belongs to this turn: it may be the return to a channel that the one before it left.
        if let (Some(connection), None) = (&mut self.connection, &self.kept) {
            self.pace.rest(connection.end_turn(turn.now()), turn.now());
        }
        self.subscriber.outbox.release();
        self.slow_down(allowance, turn.now());
    }

    /// A client that was refused may send as little as its close frame needs.
    fn allowance(&mut self) -> Allowance {
        let connection = self.connection.as_mut();
        let limits = connection.map(Connection::limits);
        limits.map_or(Allowance::REFUSED, Allowance::of)
    }

    /// Pauses reading, if the client sends faster than its app allows.
    fn slow_down(&mut self, allowance: Allowance, now: Instant) {
        let (Some(too_fast), Some(connection)) =
            (self.pace.pause(allowance, now), &self.connection)
        else {
            return;
        };
        match too_fast {
            TooFast::Slowed => connection.slowed(now),
            TooFast::StillSlowed => {}
            TooFast::ForTooLong => {
                let outbox = &self.subscriber.outbox;
                outbox.close(CloseCode::TooFast, TooFast::FAREWELL);
            }
        }
    }

    fn on_received(&mut self, received: Received, now: Instant) {
        let outbox = &self.subscriber.outbox;
        match received {
            Received::Close(code) => self.on_close(code),
            _ if outbox.is_closing() => {}
            Received::Ping(payload) => {
                outbox.send(&Frame::pong(&payload));
            }
            Received::Pong => self.subscriber.answered_ping(),
            Received::Fragment(_) => {}
            Received::Text(payload) => match (str::from_utf8(&payload), &self.connection) {
                (Ok(text), Some(_)) => self.on_text(text, now),
                (Ok(_), None) => {}
                (Err(_), _) => self.violated(&Violation {
                    code: CloseCode::InvalidPayload,
                    reason: "Text must be valid UTF-8.",
                }),
            },
        }
    }

    /// Takes a message, or keeps it until its turn comes.
    fn on_text(&mut self, text: &str, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.on_message(text, self.pace.may(), now) == Taken::NotYet {
            self.kept = Some(text.into());
            self.pace.queue(&self.listener.worker.turnstile);
        }
    }

    /// The client says goodbye, or answers ours; either way the socket is done once the echo is out.
    fn on_close(&mut self, code: Option<u16>) {
        let code = code.map(CloseCode::Peer);
        let echo = code.map_or_else(Frame::empty_close, |code| Frame::close(code, ""));
        self.subscriber.outbox.echo_close(
            &echo,
            End {
                code,
                reason: "closed by the client",
            },
        );
        self.stage = Stage::Closed;
    }

    fn violated(&mut self, violation: &Violation) {
        self.subscriber
            .outbox
            .close(violation.code, violation.reason);
        self.stage = Stage::Violated;
    }
}
