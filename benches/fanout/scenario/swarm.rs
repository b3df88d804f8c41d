//! Sockets that ask for very much, on one thread.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use crate::Failure;
use crate::host::Host;
use crate::load::{upgrade_request, wait};
use crate::websocket::{CLOSE, TEXT, client_frame, header, http_head};

/// How long nothing may happen while something is awaited.
const PATIENCE: Duration = Duration::from_secs(30);

struct Socket {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    rest: Vec<u8>,
    is_upgraded: bool,
    socket_id: String,
}

/// What the sockets were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) established: usize,
    pub(super) succeeded: usize,
    pub(super) refused: usize,
    pub(super) closed: usize,
    pub(super) signed_in: usize,
}

/// The sockets.
pub(super) struct Swarm {
    poll: Poll,
    sockets: Vec<Socket>,
    pub(super) answers: Answers,
}

impl Swarm {
    /// Connects; each is greeted before this returns.
    pub(super) fn connect(host: &Host, sockets: usize, first_source: u8) -> Result<Self, Failure> {
        let mut swarm = Self {
            poll: Poll::new()?,
            sockets: Vec::with_capacity(sockets),
            answers: Answers::default(),
        };
        let request = upgrade_request(host);
        while swarm.sockets.len() < sockets {
            let some = (sockets - swarm.sockets.len()).min(200);
            for _ in 0..some {
                let index = swarm.sockets.len();
                let source = first_source + u8::try_from(index / 20_000)?;
                let mut stream = connect_from(source, host)?;
                let registry = swarm.poll.registry();
                registry.register(
                    &mut stream,
                    Token(index),
                    Interest::READABLE | Interest::WRITABLE,
                )?;
                swarm.sockets.push(Socket {
                    stream,
                    out: request.clone(),
                    written: 0,
                    rest: Vec::new(),
                    is_upgraded: false,
                    socket_id: String::new(),
                });
            }
            let all = swarm.sockets.len();
            swarm.pump(|answers| answers.established >= all)?;
        }
        Ok(swarm)
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// What the host calls this socket.
    pub(super) fn socket_id(&self, socket: usize) -> &str {
        &self.sockets[socket].socket_id
    }

    /// Writes a subscription to a public channel behind what the socket has yet to write.
    pub(super) fn subscribe(&mut self, socket: usize, channel: &str) {
        let data = json!({"channel": channel});
        self.send(socket, &json!({"event": "pusher:subscribe", "data": data}));
    }

    /// Writes a message behind what the socket has yet to write.
    pub(super) fn send(&mut self, socket: usize, message: &Value) {
        let frame = client_frame(TEXT, message.to_string().as_bytes());
        self.sockets[socket].out.extend(frame);
    }

    /// Goes on until something is so of the answers.
    pub(super) fn pump(&mut self, is_done: impl Fn(&Answers) -> bool) -> Result<(), Failure> {
        for index in 0..self.sockets.len() {
            self.write(index);
        }
        let mut events = Events::with_capacity(1024);
        let (mut last, mut since) = (self.answers, Instant::now());
        while !is_done(&self.answers) {
            wait(&mut self.poll, &mut events, Duration::from_millis(100))?;
            for event in &events {
                self.write(event.token().0);
                self.read(event.token().0);
            }
            if self.answers != last {
                (last, since) = (self.answers, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(format!("nothing happens any more: {:?}", self.answers).into());
            }
        }
        Ok(())
    }

    fn write(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        while socket.written < socket.out.len() {
            match socket.stream.write(&socket.out[socket.written..]) {
                Ok(count) => socket.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        socket.out.clear();
        socket.written = 0;
    }

    fn read(&mut self, index: usize) {
        let mut buffer = [0; 65_536];
        loop {
            let socket = &mut self.sockets[index];
            match socket.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    socket.rest.extend_from_slice(&buffer[..count]);
                    let rest = std::mem::take(&mut socket.rest);
                    let used = self.parse(index, &rest);
                    self.sockets[index].rest = rest[used..].to_vec();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn parse(&mut self, index: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        if !self.sockets[index].is_upgraded {
            let Some(end) = http_head(bytes) else {
                return 0;
            };
            self.sockets[index].is_upgraded = true;
            at = end;
        }
        while let Some(frame) = header(&bytes[at..]) {
            let start = at + frame.start;
            let Some(payload) = bytes.get(start..start + frame.payload) else {
                break;
            };
            if frame.opcode == CLOSE {
                self.answers.closed += 1;
            } else if frame.opcode == TEXT {
                let begins =
                    |text: &str| payload.starts_with(format!(r#"{{"event":"{text}"#).as_bytes());
                if begins("pusher_internal:subscription_succeeded") {
                    self.answers.succeeded += 1;
                } else if begins("pusher:connection_established") {
                    self.sockets[index].socket_id = socket_id_in(payload).unwrap_or_default();
                    self.answers.established += 1;
                } else if begins("pusher:signin_success") {
                    self.answers.signed_in += 1;
                } else if begins("pusher:subscription_error") {
                    self.answers.refused += 1;
                }
            }
            at = start + frame.payload;
        }
        at
    }
}

/// What `pusher:connection_established` says.
pub(super) fn socket_id_in(established: &[u8]) -> Option<String> {
    let message: Value = serde_json::from_slice(established).ok()?;
    let data: Value = serde_json::from_str(message["data"].as_str()?).ok()?;
    data["socket_id"].as_str().map(str::to_owned)
}

fn connect_from(source: u8, host: &Host) -> Result<TcpStream, Failure> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let from = std::net::SocketAddr::from(([127, 0, 0, source], 0));
    socket.bind(&from.into())?;
    socket.connect(&host.address.into())?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(TcpStream::from_std(socket.into()))
}
