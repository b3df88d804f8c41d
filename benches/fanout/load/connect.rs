//! Getting the sockets connected and subscribed.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::subscribe::Names;
use super::{Load, PATIENCE, Received, Stage, Subscriber, Subscriptions, wait};
use crate::Failure;
use crate::host::Host;
use crate::wire::{self, Wire};

/// One local address has some 28,000 ports to connect from.
const SOCKETS_PER_SOURCE: usize = 20_000;
/// Linux's number for a connect that goes on in the background; `ErrorKind::InProgress` is not stable yet.
const EINPROGRESS: i32 = 115;
impl Load {
    /// Connects and subscribes all sockets, a bounded number at a time.
    pub(crate) fn connect(host: &Host, subscriptions: Subscriptions) -> Result<Self, Failure> {
        let mut load = Self {
            poll: Poll::new()?,
            subscribers: Vec::with_capacity(subscriptions.sockets),
            buffer: vec![0; 256 * 1024],
            stamp_hint: 0,
            inflated: Vec::new(),
            stalled: false,
            received: Received::new(),
            names: Names::of(host, subscriptions),
            sessions: host.tls.map(|_| wire::client()).transpose()?,
        };
        let request = upgrade_request(host);
        let mut events = Events::with_capacity(1024);
        let (mut ready, mut deadline) = (0, Instant::now() + PATIENCE);
        while ready < subscriptions.sockets {
            while load.subscribers.len() < subscriptions.sockets.min(ready + subscriptions.at_once)
            {
                load.open(host.tls.unwrap_or(host.address), subscriptions)?;
            }
            wait(&mut load.poll, &mut events, Duration::from_millis(100))?;
            for event in &events {
                let before = load.subscribers[event.token().0].stage;
                load.advance(event.token().0, &request)?;
                if before != Stage::Subscribed
                    && load.subscribers[event.token().0].stage == Stage::Subscribed
                {
                    ready += 1;
                    deadline = Instant::now() + PATIENCE;
                }
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "only {ready} of {} sockets got subscribed",
                    subscriptions.sockets
                )
                .into());
            }
        }
        Ok(load)
    }

    fn open(&mut self, address: SocketAddr, subscriptions: Subscriptions) -> Result<(), Failure> {
        let index = self.subscribers.len();
        let receive_bytes = subscriptions.first_receive_bytes.filter(|_| index == 0);
        let mut stream = start_connect(address, index, receive_bytes)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)?;
        let stream = match &self.sessions {
            None => Wire::Plain(stream),
            Some(sessions) => Wire::client(stream, sessions)?,
        };
        self.subscribers.push(Subscriber {
            stream,
            stage: Stage::Connecting,
            channel: u32::try_from(index)? % subscriptions.channels,
            next: Vec::new(),
            rest: Vec::new(),
        });
        Ok(())
    }

    /// One step of a socket's way to its subscription.
    fn advance(&mut self, index: usize, request: &[u8]) -> Result<(), Failure> {
        let subscriber = &mut self.subscribers[index];
        if subscriber.stage == Stage::Connecting {
            if let Some(error) = subscriber.stream.tcp().take_error()? {
                return Err(format!("a connect failed: {error}").into());
            }
            subscriber.stream.tcp().set_nodelay(true)?;
            subscriber.stream.write_all(request)?;
            self.poll.registry().reregister(
                subscriber.stream.tcp(),
                Token(index),
                Interest::READABLE,
            )?;
            subscriber.stage = Stage::Upgrading;
        }
        self.read(index)?;
        match self.subscribers[index].stage {
            Stage::Closed(code) => {
                Err(format!("a socket was closed while it subscribed, code {code:?}").into())
            }
            _ => Ok(()),
        }
    }
}

/// What asks the host for a WebSocket.
pub(crate) fn upgrade_request(host: &Host) -> Vec<u8> {
    let extensions = if host.compresses {
        "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    } else {
        ""
    };
    format!(
        "GET {}/app/{}?protocol=7&client=loudhailer-fanout&version=1.0 HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extensions}\r\n",
        host.path_prefix, host.app.key, host.authority
    )
    .into_bytes()
}

/// Begins to connect. On loopback every 20,000 sockets come from an address of their own.
fn start_connect(
    address: SocketAddr,
    index: usize,
    receive_bytes: Option<usize>,
) -> Result<TcpStream, Failure> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // Ends at once, so that its port is free for the next run, which may come within the minute of TIME_WAIT.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    let source = u8::try_from(index / SOCKETS_PER_SOURCE)?;
    if source > 0 && address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        socket.bind(&SocketAddr::from(([127, 0, 0, source + 1], 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error.into()),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
