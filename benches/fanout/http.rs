//! One connection that publishes: signed requests out, answers in. A host that keeps no connection alive gets a new one for each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use sha2::Sha256;

use crate::Failure;
use crate::host::Host;
use crate::websocket::http_head;

/// Signs requests for one app and path.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    mac: Hmac<Sha256>,
    key: String,
    /// The path that is signed, without any prefix.
    path: String,
    prefix: String,
    authority: String,
}

impl Signer {
    /// For `POST /apps/{id}/{endpoint}` on `host`.
    pub(crate) fn new(host: &Host, endpoint: &str) -> Self {
        let api = host.api();
        Self {
            mac: Hmac::new_from_slice(host.app.secret.as_bytes()).expect("any length is a key"),
            key: host.app.key.clone(),
            path: format!("/apps/{}/{endpoint}", host.app.id),
            prefix: api.path_prefix,
            authority: api.authority,
        }
    }

    /// The whole request with this body, signed at this moment.
    pub(crate) fn request(&self, body: &[u8]) -> Vec<u8> {
        let Self {
            key,
            path,
            prefix,
            authority,
            ..
        } = self;
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let body_md5 = hex::encode(Md5::digest(body));
        let query =
            format!("auth_key={key}&auth_timestamp={seconds}&auth_version=1.0&body_md5={body_md5}");
        let mut mac = self.mac.clone();
        mac.update(format!("POST\n{path}\n{query}").as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        let mut request = format!(
            "POST {prefix}{path}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: {authority}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Whether the host will close the connection.
    closes: bool,
}

/// A connection with at most one request under way.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    registry: Registry,
    token: Token,
    stream: TcpStream,
    /// Whether the host has closed it, or said that it will.
    is_over: bool,
    request: Vec<u8>,
    written: usize,
    answer: Vec<u8>,
    waiting: bool,
}

impl Connection {
    /// Connects and waits until that is done: before the measurement, nobody minds.
    pub(crate) fn open(host: &Host, registry: &Registry, token: Token) -> Result<Self, Failure> {
        let address = host.api().address;
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            address,
            registry: registry.try_clone()?,
            token,
            stream: registered(TcpStream::from_std(stream), registry, token)?,
            is_over: false,
            request: Vec::new(),
            written: 0,
            answer: Vec::with_capacity(1024),
            waiting: false,
        })
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Sends a request. The last one must have been answered.
    pub(crate) fn send(&mut self, request: Vec<u8>) -> Result<(), Failure> {
        self.request = request;
        self.send_again()
    }

    /// Sends the same request once more.
    pub(crate) fn send_again(&mut self) -> Result<(), Failure> {
        if self.is_over {
            let stream = TcpStream::connect(self.address)?;
            self.stream = registered(stream, &self.registry, self.token)?;
            self.is_over = false;
        }
        (self.written, self.waiting) = (0, true);
        self.write()
    }

    /// Goes on after readiness. Returns an answer that is complete.
    pub(crate) fn advance(&mut self) -> Result<Option<Answer>, Failure> {
        self.write()?;
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.is_over = true;
                    break;
                }
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if is_early(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let answer = parse_answer(&self.answer);
        if let Some(answer) = &answer {
            self.answer.clear();
            self.waiting = false;
            self.is_over |= answer.closes;
        } else if self.is_over && self.waiting {
            return Err("the host closed a publishing connection".into());
        }
        Ok(answer)
    }

    fn write(&mut self) -> Result<(), Failure> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if is_early(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn registered(
    mut stream: TcpStream,
    registry: &Registry,
    token: Token,
) -> Result<TcpStream, Failure> {
    stream.set_nodelay(true)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// Whether it will work later: when something has come, was read, or when the connection is made.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}

fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    let end = http_head(bytes)?;
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end..]);
    let status = head.get(9..12)?.parse().ok()?;
    let whole = match field(&head, "content-length") {
        Some(length) => body.len() >= length.parse::<usize>().ok()?,
        None if field(&head, "transfer-encoding").is_some() => body.ends_with(b"0\r\n\r\n"),
        None => true,
    };
    let body = String::from_utf8_lossy(body).into_owned();
    let closes = field(&head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    whole.then_some(Answer {
        status,
        body,
        closes,
    })
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim());
    values.next()
}
