//! A client of the WebSocket protocol, as pusher-js is one.

use std::{fmt, io, time::Duration};

use actix_http::ws::{self, Codec, Frame, Item, Message};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderName, Method, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::{
    http::{HttpError, Reply, Upgraded, begin, finish, request},
    network::Dialler,
    target::{Endpoint, socket_path},
};
use hyper_util::rt::TokioIo;

/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

const KEY_BYTES: usize = 16;

/// What came from the host.
#[derive(Debug)]
pub(super) enum Arrival {
    Event(Event),
    /// It closed the connection properly, with or without a code.
    Closed {
        code: Option<u16>,
        reason: String,
    },
    /// The connection ended without a word.
    Broken(Option<io::Error>),
}

/// A message of the protocol.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) channel: Option<String>,
    /// As it was sent: a string in nearly all events.
    pub(super) data: Value,
    pub(super) user_id: Option<String>,
}

impl Event {
    fn read(text: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(text).ok()?;
        let text = |key: &str| message[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("event")?,
            channel: text("channel"),
            data: message["data"].clone(),
            user_id: text("user_id"),
        })
    }

    /// The data with one level of JSON in a string taken off, as pusher-js gives it to applications.
    pub(super) fn decoded(&self) -> Value {
        match &self.data {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| self.data.clone()),
            other => other.clone(),
        }
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub(super) enum OpenError {
    Http(HttpError),
    /// The answer was not 101.
    NotUpgraded(Reply),
    /// The answer was 101 without what belongs to it.
    BadUpgrade(&'static str),
    /// Upgraded, but then this came in the place of a greeting.
    NotGreeted(Arrival),
    /// Upgraded, but then nothing came.
    Silent(Duration),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::NotUpgraded(reply) => write!(f, "no WebSocket, but {}", reply.shown()),
            Self::BadUpgrade(what) => write!(f, "the WebSocket handshake lacks {what}"),
            Self::NotGreeted(arrival) => arrival.fmt(f),
            Self::Silent(patience) => {
                write!(
                    f,
                    "upgraded, but no message within {} s",
                    patience.as_secs()
                )
            }
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => write!(f, "{} {}", event.name, event.decoded()),
            Self::Closed {
                code: Some(code),
                reason,
            } => write!(f, "closed with {code} {reason:?}"),
            Self::Closed { code: None, .. } => f.write_str("closed without a code"),
            Self::Broken(Some(error)) => write!(f, "the connection broke: {error}"),
            Self::Broken(None) => f.write_str("the connection ended without a close frame"),
        }
    }
}

/// An upgraded connection.
pub(super) struct Socket {
    framed: Framed<Upgraded, Codec>,
    partial: Vec<u8>,
    /// How long the host may take to read.
    patience: Duration,
    /// Bytes of the messages that came.
    pub(super) received_bytes: u64,
}

/// A connection that was greeted.
pub(super) struct Greeted {
    pub(super) socket: Socket,
    pub(super) socket_id: String,
    pub(super) activity_timeout: Duration,
}

/// What a client says when it connects.
#[derive(Clone, Copy)]
pub(super) struct Hello<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) key: &'a str,
    pub(super) origin: Option<&'a str>,
}

impl Socket {
    /// Connects and upgrades.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) async fn open(dialler: &Dialler, hello: Hello<'_>) -> Result<Self, OpenError> {
        let nonce: [u8; KEY_BYTES] = rand::random();
        let key = STANDARD.encode(nonce);
        let target = hello.endpoint.join(&socket_path(hello.key));
        let mut builder = request(Method::GET, hello.endpoint, &target)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        if let Some(origin) = hello.origin {
            builder = builder.header(header::ORIGIN, origin);
        }
        let request = builder
            .body(Full::new(Bytes::new()))
            .map_err(|error| OpenError::Http(HttpError::Body(error.to_string())))?;
        let response = begin(dialler, hello.endpoint, request)
            .await
            .map_err(OpenError::Http)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let reply = finish(dialler.patience, response).await;
            return Err(reply.map_or_else(OpenError::Http, OpenError::NotUpgraded));
        }
        let has = |name: HeaderName, value: &[u8]| {
            let held = response.headers().get(name);
            held.is_some_and(|held| held.as_bytes().eq_ignore_ascii_case(value))
        };
        if !has(header::UPGRADE, b"websocket") {
            return Err(OpenError::BadUpgrade("Upgrade: websocket"));
        }
        if !has(header::SEC_WEBSOCKET_ACCEPT, &ws::hash_key(key.as_bytes())) {
            return Err(OpenError::BadUpgrade("the right Sec-WebSocket-Accept"));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| OpenError::Http(HttpError::Exchange(error)))?;
        let codec = Codec::new().client_mode().max_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            framed: Framed::new(TokioIo::new(upgraded), codec),
            partial: Vec::new(),
            patience: dialler.patience,
            received_bytes: 0,
        })
    }

    /// Connects, and waits for `pusher:connection_established`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) async fn greeted(dialler: &Dialler, hello: Hello<'_>) -> Result<Greeted, OpenError> {
        let mut socket = Self::open(dialler, hello).await?;
        let first = timeout(dialler.patience, socket.next())
            .await
            .map_err(|_| OpenError::Silent(dialler.patience))?;
        let greeting = match first {
            Arrival::Event(event) if event.name == "pusher:connection_established" => {
                event.decoded()
            }
            other => return Err(OpenError::NotGreeted(other)),
        };
        let Some(socket_id) = greeting["socket_id"].as_str() else {
            return Err(OpenError::BadUpgrade("a socket_id in its greeting"));
        };
        let activity_timeout = greeting["activity_timeout"].as_u64().unwrap_or(120);
        Ok(Greeted {
            socket_id: socket_id.to_owned(),
            activity_timeout: Duration::from_secs(activity_timeout),
            socket,
        })
    }

    /// The next message. Pings are answered on the way.
    pub(super) async fn next(&mut self) -> Arrival {
        loop {
            let frame = match self.framed.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(ws::ProtocolError::Io(error))) => return Arrival::Broken(Some(error)),
                Some(Err(error)) => {
                    return Arrival::Broken(Some(io::Error::other(error.to_string())));
                }
                None => return Arrival::Broken(None),
            };
            let text = match frame {
                Frame::Text(text) => text,
                Frame::Continuation(_) if self.partial.len() > MESSAGE_BYTES_MAX => {
                    let too_long = io::Error::other("a message is too long");
                    return Arrival::Broken(Some(too_long));
                }
                Frame::Continuation(item) => match self.assemble(item) {
                    Some(text) => text,
                    None => continue,
                },
                Frame::Ping(payload) => {
                    if let Err(broken) = self.write(Message::Pong(payload)).await {
                        return broken;
                    }
                    continue;
                }
                Frame::Close(reason) => {
                    // The host may be gone already; what it said is known.
                    let _ = self.write(Message::Close(reason.clone())).await;
                    return closed(reason);
                }
                Frame::Binary(_) | Frame::Pong(_) => continue,
            };
            self.received_bytes += u64::try_from(text.len()).expect("16 MiB fit");
            let Some(event) = Event::read(&String::from_utf8_lossy(&text)) else {
                continue;
            };
            if event.name != "pusher:ping" {
                return Arrival::Event(event);
            }
            if let Err(broken) = self.send("pusher:pong", None, json!({})).await {
                return broken;
            }
        }
    }

    fn assemble(&mut self, item: Item) -> Option<Bytes> {
        match item {
            Item::FirstText(part) | Item::FirstBinary(part) => self.partial = part.to_vec(),
            Item::Continue(part) => self.partial.extend_from_slice(&part),
            Item::Last(part) => {
                self.partial.extend_from_slice(&part);
                return Some(std::mem::take(&mut self.partial).into());
            }
        }
        None
    }

    /// Sends an event.
    ///
    /// # Errors
    /// [`Arrival::Broken`] when the connection is gone.
    pub(super) async fn send(
        &mut self,
        name: &str,
        channel: Option<&str>,
        data: Value,
    ) -> Result<(), Arrival> {
        let mut message = json!({"event": name, "data": data});
        if let Some(channel) = channel {
            message["channel"] = channel.into();
        }
        self.write(Message::Text(message.to_string().into())).await
    }

    /// Sends a close frame.
    pub(super) async fn close(&mut self) {
        // A connection that is gone is closed too.
        let _ = self
            .write(Message::Close(Some(ws::CloseCode::Normal.into())))
            .await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Arrival> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the host does not read");
        let sent = timeout(self.patience, self.framed.send(message)).await;
        let sent = sent.map_err(|elapsed| Arrival::Broken(Some(late(elapsed))))?;
        sent.map_err(|error| match error {
            ws::ProtocolError::Io(error) => Arrival::Broken(Some(error)),
            other => Arrival::Broken(Some(io::Error::other(other.to_string()))),
        })
    }
}

fn closed(reason: Option<ws::CloseReason>) -> Arrival {
    match reason {
        Some(reason) => Arrival::Closed {
            code: Some(reason.code.into()),
            reason: reason.description.unwrap_or_default(),
        },
        None => Arrival::Closed {
            code: None,
            reason: String::new(),
        },
    }
}
