//! The floor: what fanning out costs when nothing is done but the sends.
//!
//! A bare epoll loop on one thread, or several side by side that share the sockets. It answers the handshake and the
//! subscription with ready bytes, and for each order on the control connection writes one ready frame to every socket of
//! the channel, with one send each. It must not be made any cleverer: it is the ruler.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

use crate::Failure;
use crate::payload::{Stamp, Template, channel_number};
use crate::websocket::{TEXT, header, text_frame, text_header};
use crate::wire::{self, Wire};

/// Bytes of one order on the control connection.
pub(crate) const ORDER_BYTES: usize = 17;

/// Connects that wait to be accepted.
const BACKLOG: i32 = 4096;

const LISTENER: Token = Token(usize::MAX - 1);
const CONTROL_LISTENER: Token = Token(usize::MAX - 2);
const CONTROL: Token = Token(usize::MAX - 3);

const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const ESTABLISHED: &str = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}"#;

/// One order on the control connection: send this event to this channel.
pub(crate) fn write_order(channel: u32, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&channel.to_le_bytes());
    out.push(stamp.publisher);
    out.extend_from_slice(&stamp.sequence.to_le_bytes());
    out.extend_from_slice(&stamp.sent_ns.to_le_bytes());
}

fn read_order(order: &[u8]) -> Option<(u32, Stamp)> {
    let stamp = Stamp {
        publisher: order[4],
        sequence: u32::from_le_bytes(order[5..9].try_into().ok()?),
        sent_ns: u64::from_le_bytes(order[9..17].try_into().ok()?),
    };
    Some((u32::from_le_bytes(order[..4].try_into().ok()?), stamp))
}

/// Serves on so many threads until the process is ended. Each has a control connection of its own.
pub(crate) fn run(data_bytes: usize, threads: usize, tls: bool) -> Result<(), Failure> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let sessions = tls.then(wire::server).transpose()?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let first = Floor::bind(data_bytes, any, sessions.clone())?;
    let address = first.listener.local_addr()?;
    let others = (1..threads).map(|_| Floor::bind(data_bytes, address, sessions.clone()));
    for other in others.collect::<Result<Vec<_>, _>>()? {
        std::thread::spawn(move || serve(other).expect("a thread of the floor goes on"));
    }
    writeln!(io::stdout(), "Listening on http://{address}")?;
    if tls {
        writeln!(io::stdout(), "Listening on https://{address}")?;
    }
    serve(first)
}

fn serve(mut floor: Floor) -> Result<(), Failure> {
    let mut events = Events::with_capacity(1024);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept_sockets()?,
                CONTROL_LISTENER => floor.accept_control()?,
                CONTROL => floor.obey()?,
                Token(slot) => floor.read_socket(slot)?,
            }
        }
    }
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    control_listener: TcpListener,
    control: Option<TcpStream>,
    /// The part of an order that has not all arrived.
    orders: Vec<u8>,
    sockets: Vec<Option<Wire>>,
    /// Present where sockets have TLS.
    sessions: Option<Arc<ServerConfig>>,
    channels: HashMap<u32, Vec<usize>>,
    frame: Template,
    buffer: Box<[u8]>,
}

impl Floor {
    fn bind(
        data_bytes: usize,
        address: SocketAddr,
        sessions: Option<Arc<ServerConfig>>,
    ) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let mut listener = shared_listener(address)?;
        let mut control_listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        registry.register(&mut control_listener, CONTROL_LISTENER, Interest::READABLE)?;
        let control = control_listener.local_addr()?;
        writeln!(io::stdout(), "Control on {control}")?;
        let event = Template::event("event", data_bytes, false);
        let start = text_header(event.len());
        Ok(Self {
            poll,
            listener,
            control_listener,
            control: None,
            orders: Vec::new(),
            sockets: Vec::new(),
            sessions,
            channels: HashMap::new(),
            frame: event.after(&start),
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
        })
    }

    fn accept_sockets(&mut self) -> Result<(), Failure> {
        while let Some((mut socket, _)) = ready(self.listener.accept())? {
            socket.set_nodelay(true)?;
            let token = Token(self.sockets.len());
            self.poll
                .registry()
                .register(&mut socket, token, Interest::READABLE)?;
            let wire = match &self.sessions {
                None => Wire::Plain(socket),
                Some(sessions) => Wire::server(socket, sessions)?,
            };
            self.sockets.push(Some(wire));
        }
        Ok(())
    }

    fn accept_control(&mut self) -> io::Result<()> {
        while let Some((mut control, _)) = ready(self.control_listener.accept())? {
            self.poll
                .registry()
                .register(&mut control, CONTROL, Interest::READABLE)?;
            self.control = Some(control);
        }
        Ok(())
    }

    /// Reads what has arrived on the control connection and sends what it orders.
    fn obey(&mut self) -> io::Result<()> {
        while let Some(control) = &mut self.control {
            match ready(control.read(&mut self.buffer))? {
                None => break,
                Some(0) => self.control = None,
                Some(count) => {
                    self.orders.extend_from_slice(&self.buffer[..count]);
                    let orders = std::mem::take(&mut self.orders);
                    let (whole, rest) = orders.split_at(orders.len() - orders.len() % ORDER_BYTES);
                    for order in whole.chunks_exact(ORDER_BYTES) {
                        let (channel, stamp) =
                            read_order(order).expect("an order has all its bytes");
                        self.send(channel, stamp)?;
                    }
                    self.orders.extend_from_slice(rest);
                }
            }
        }
        Ok(())
    }

    /// The whole of the fan-out: one send for each socket.
    fn send(&mut self, channel: u32, stamp: Stamp) -> io::Result<()> {
        let frame = self.frame.fill(channel, stamp);
        for &slot in self.channels.get(&channel).map_or(&[][..], Vec::as_slice) {
            let Some(socket) = &mut self.sockets[slot] else {
                continue;
            };
            if socket.write(frame)? != frame.len() {
                return Err(io::Error::other(
                    "the floor has no queue: a socket took a part of a frame",
                ));
            }
        }
        Ok(())
    }

    fn read_socket(&mut self, slot: usize) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(slot).and_then(Option::as_mut) else {
            return Ok(());
        };
        let read = ready(socket.read(&mut self.buffer));
        let count = match read {
            Ok(None) => return Ok(()),
            Ok(Some(0)) | Err(_) => {
                self.sockets[slot] = None;
                self.channels
                    .values_mut()
                    .for_each(|slots| slots.retain(|other| *other != slot));
                return Ok(());
            }
            Ok(Some(count)) => count,
        };
        let bytes = &mut self.buffer[..count];
        if bytes.starts_with(b"GET ") {
            let mut answer = UPGRADED.as_bytes().to_vec();
            answer.extend_from_slice(&text_frame(ESTABLISHED));
            return socket.write_all(&answer);
        }
        if let Some(name) = subscribed_channel(bytes) {
            let answer = format!(
                r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{name}","data":"{{}}"}}"#
            );
            if let Some(number) = channel_number(&name) {
                self.channels.entry(number).or_default().push(slot);
            }
            return socket.write_all(&text_frame(&answer));
        }
        Ok(())
    }
}

/// A listener whose address others may share; the kernel spreads what comes.
fn shared_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// The channel in a client's `pusher:subscribe`, which is expected whole, alone and with a zero mask.
fn subscribed_channel(bytes: &[u8]) -> Option<String> {
    let frame = header(bytes).filter(|frame| frame.opcode == TEXT)?;
    let text = std::str::from_utf8(bytes.get(frame.start..frame.start + frame.payload)?).ok()?;
    let message: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(message.get("data")?.get("channel")?.as_str()?.to_owned())
}

/// `None` when it would block.
fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
