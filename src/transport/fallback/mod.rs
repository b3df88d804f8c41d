//! The HTTP transports of pusher-js, for networks that let no WebSocket through: `xhr_streaming` and `xhr_polling`.
//!
//! A client is a session: it receives by one POST after another (`/xhr_streaming`, or `/xhr` for polling) and sends by others
//! (`/xhr_send`). The session lives on the thread that its first request reached; later requests find it by its name, also from
//! another node.

mod carrier;
mod lines;
mod route;
mod session;

use std::{
    future::ready,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
            CONTENT_TYPE, HeaderValue,
        },
    },
    web::{Bytes, Payload},
};
use dashmap::DashMap;
use futures_util::stream;
use tokio::sync::mpsc;

pub use self::{carrier::Carrier, route::Target};
use self::{
    lines::Lines,
    route::Kind,
    session::{Messages, Session, ToSession, Waiting, Way},
};
use super::opening::{FirstRequest, Parameters, Port};
use crate::{
    address::Place,
    connection::{Destination, Worker},
    http_body::{Body, BodyError, BodyLimits},
    hub::Transport,
    protocol::message::json_string,
};

/// The body of a sending request may be so many times as long as one message: escaped quotes are two bytes.
const BODY_FACTOR: usize = 4;
/// Requests that may wait for a session; more are answered 503.
const SESSION_BACKLOG: usize = 256;
/// Pieces of a response that may wait for its connection.
const RESPONSE_BACKLOG: usize = 4;

/// All sessions of this node by app key and name.
#[derive(Clone, Default)]
pub struct Sessions(Arc<DashMap<String, SessionInbox, ahash::RandomState>>);

impl Sessions {
    fn find(&self, name: &str) -> Option<SessionInbox> {
        self.0.get(name).map(|session| session.clone())
    }
}

/// The way into a session.
#[derive(Clone)]
struct SessionInbox {
    requests: mpsc::Sender<ToSession>,
    /// Bytes of messages that it has not taken yet.
    waiting_bytes: Arc<AtomicUsize>,
}

/// Why a session does not take messages.
enum NotTaken {
    Full,
    Gone,
}

impl SessionInbox {
    /// Hands messages over, unless as much waits as one request may bring.
    fn send(&self, messages: Messages, max_bytes: usize) -> Result<(), NotTaken> {
        let bytes = messages.bytes;
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let result = if before > 0 && before + bytes > max_bytes {
            Err(NotTaken::Full)
        } else {
            let sent = self.requests.try_send(ToSession::Messages(messages));
            sent.map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotTaken::Full,
                mpsc::error::TrySendError::Closed(_) => NotTaken::Gone,
            })
        };
        if result.is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        result
    }
}

/// What the fallback side of one worker needs.
pub struct Fallback {
    worker: Rc<Worker>,
    sessions: Sessions,
    /// In a cluster.
    carrier: Option<Arc<Carrier>>,
    body: BodyLimits,
    max_message_bytes: usize,
    max_outbox_bytes: usize,
}

impl Fallback {
    /// The fallback side of a worker.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        sessions: Sessions,
        carrier: Option<Arc<Carrier>>,
        request_timeout: Duration,
        max_message_bytes: usize,
        max_outbox_bytes: usize,
    ) -> Self {
        let body = BodyLimits {
            max_bytes: max_body_bytes(max_message_bytes),
            timeout: request_timeout,
        };
        Self {
            worker,
            sessions,
            carrier,
            body,
            max_message_bytes,
            max_outbox_bytes,
        }
    }

    /// Answers a request to one of the transports' paths.
    pub async fn answer(
        self: &Rc<Self>,
        request: &HttpRequest,
        target: &Target<'_>,
        body: Payload,
    ) -> HttpResponse {
        let mut body = Body::from(body);
        let response = if request.method() == Method::OPTIONS {
            preflight()
        } else if let Some(refusal) = self.refusal(request, target) {
            refusal
        } else if target.kind == Kind::Send {
            self.send(request, target, &mut body).await
        } else {
            self.receive(request, target).await
        };
        body.discard().await;
        body.settle(response)
    }

    /// The answer to a request that is refused, whatever its body.
    fn refusal(&self, request: &HttpRequest, target: &Target<'_>) -> Option<HttpResponse> {
        if request.method() != Method::POST {
            let mut refusal = error(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            let allowed = HeaderValue::from_static("POST, OPTIONS");
            refusal.headers_mut().insert(ALLOW, allowed);
            return Some(refusal);
        }
        let node = &self.worker.node;
        match node.apps.by_key(target.key) {
            Some(app) if !app.fallbacks => Some(error(
                StatusCode::NOT_FOUND,
                "the HTTP fallbacks are switched off for this app",
            )),
            Some(_) => None,
            None if node.gate.take_stranger(self.place_of(request)) => None,
            None => {
                node.incidents.rate_limited.increment("strangers");
                Some(error(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many requests without a valid key come from this address",
                ))
            }
        }
    }

    fn place_of(&self, request: &HttpRequest) -> Option<Place> {
        let gate = &self.worker.node.gate;
        gate.place_of(request.peer_addr().into(), request.headers())
    }

    fn port_of(request: &HttpRequest) -> Port {
        let port = request.app_data::<Port>();
        port.copied().unwrap_or(Port::Plain)
    }

    fn name(target: &Target<'_>) -> String {
        format!("{}/{}/{}", target.key, target.server, target.session)
    }

    /// A receiving request: the known session's next, or a new session's first.
    async fn receive(self: &Rc<Self>, request: &HttpRequest, target: &Target<'_>) -> HttpResponse {
        let name = Self::name(target);
        let (response, body) = mpsc::channel(RESPONSE_BACKLOG);
        let streaming = target.kind == Kind::Streaming;
        let mut attach = ToSession::Attach {
            response: response.clone(),
            streaming,
        };
        if let Some(session) = self.sessions.find(&name) {
            attach = match session.requests.send(attach).await {
                Ok(()) => return response_of(body),
                Err(mpsc::error::SendError(attach)) => attach,
            };
        }
        if let Some(carrier) = &self.carrier
            && carrier.receive(&name, &response, streaming).await.is_some()
        {
            return response_of(body);
        }
        match self.open(request, target, name.clone(), attach) {
            Ok(()) => response_of(body),
            Err(goodbye) => {
                if let Some(carrier) = &self.carrier {
                    carrier.release(&name).await;
                }
                let piece = Ok::<_, actix_web::Error>(Bytes::from(goodbye.text));
                lines_reply().streaming(stream::once(ready(piece)))
            }
        }
    }

    /// Begins a session with its first request.
    fn open(
        &self,
        request: &HttpRequest,
        target: &Target<'_>,
        name: String,
        attach: ToSession,
    ) -> Result<(), Lines> {
        let parameters = Parameters::of(request.query_string());
        let first = FirstRequest {
            destination: Destination::App(target.key),
            parameters: &parameters,
            headers: request.headers(),
            peer: request.peer_addr().into(),
            told_secure: request.conn_data().copied(),
            port: Self::port_of(request),
        };
        let transport = match target.kind {
            Kind::Streaming => Transport::XhrStreaming,
            Kind::Polling | Kind::Send => Transport::XhrPolling,
        };
        let opening = first.opening(&self.worker.node.gate, transport);
        let (requests, waiting) = mpsc::channel(SESSION_BACKLOG);
        // The channel is empty: there is room.
        let _ = requests.try_send(attach);
        let inbox = SessionInbox {
            requests,
            waiting_bytes: Arc::default(),
        };
        let waiting = Waiting {
            requests: waiting,
            bytes: Arc::clone(&inbox.waiting_bytes),
        };
        let worker = Rc::clone(&self.worker);
        let session = Session::open(worker, &opening, waiting, self.max_outbox_bytes)?;
        self.sessions.0.insert(name.clone(), inbox.clone());
        let (sessions, carrier) = (self.sessions.clone(), self.carrier.clone());
        tokio::task::spawn_local(async move {
            session.run().await;
            let is_ours =
                |_: &String, current: &SessionInbox| current.requests.same_channel(&inbox.requests);
            let was_last = sessions.0.remove_if(&name, is_ours).is_some();
            if let Some(carrier) = carrier.filter(|_| was_last) {
                carrier.release(&name).await;
            }
        });
        Ok(())
    }

    /// A sending request: messages of the client, or none as a sign of life.
    async fn send(
        &self,
        request: &HttpRequest,
        target: &Target<'_>,
        body: &mut Body,
    ) -> HttpResponse {
        let name = Self::name(target);
        let session = self.sessions.find(&name);
        if session.is_none() && self.carrier.is_none() {
            return no_such_session();
        }
        let held = || self.worker.node.gate.take_body(self.place_of(request));
        let body = match body.read(request.headers(), self.body, held).await {
            Ok(body) => body,
            Err(error) => return unread(&error),
        };
        let messages = match self.messages(&body) {
            Ok(messages) => messages,
            Err((status, text)) => return error(status, &text),
        };
        let parameters = Parameters::of(request.query_string());
        let number = parameters.n.unwrap_or_default();
        let Some(session) = session else {
            return self.send_on(&name, number, messages).await;
        };
        let messages = Messages::new(number, messages, Way::Direct);
        match session.send(messages, self.body.max_bytes) {
            Ok(()) => reply(StatusCode::NO_CONTENT).finish(),
            Err(NotTaken::Full) => error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many messages are waiting",
            ),
            Err(NotTaken::Gone) => no_such_session(),
        }
    }

    /// A sending request whose session is on another node, or nowhere.
    async fn send_on(&self, name: &str, number: u64, messages: Vec<String>) -> HttpResponse {
        let Some(carrier) = &self.carrier else {
            return no_such_session();
        };
        match carrier.send(name, number, messages).await {
            Ok(true) => reply(StatusCode::NO_CONTENT).finish(),
            Ok(false) => no_such_session(),
            Err(unavailable) => error(StatusCode::SERVICE_UNAVAILABLE, &unavailable.to_string()),
        }
    }

    fn messages(&self, body: &[u8]) -> Result<Vec<String>, (StatusCode, String)> {
        let Ok(messages) = serde_json::from_slice::<Vec<String>>(body) else {
            let error = "the body must be a JSON array of strings".to_owned();
            return Err((StatusCode::BAD_REQUEST, error));
        };
        let max = self.max_message_bytes;
        match messages.iter().find(|text| text.len() > max) {
            Some(message) => {
                let bytes = message.len();
                let error = format!("a message has {bytes} bytes, at most {max} are allowed");
                Err((StatusCode::PAYLOAD_TOO_LARGE, error))
            }
            None => Ok(messages),
        }
    }
}

/// Bytes of a sending request.
fn max_body_bytes(max_message_bytes: usize) -> usize {
    max_message_bytes.saturating_mul(BODY_FACTOR)
}

fn no_such_session() -> HttpResponse {
    error(StatusCode::NOT_FOUND, "no such session")
}

/// Says why a body was not read.
fn unread(why: &BodyError) -> HttpResponse {
    let status = match why {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Unreadable(_) => StatusCode::BAD_REQUEST,
        BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        BodyError::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, &why.to_string())
}

/// Every URL is new to the browser (`t` and `n` change), so it asks before each request: this must be cheap.
fn preflight() -> HttpResponse {
    reply(StatusCode::NO_CONTENT)
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}

fn response_of(body: mpsc::Receiver<Bytes>) -> HttpResponse {
    let pieces = stream::unfold(body, |mut body| async {
        let piece = body.recv().await?;
        Some((Ok::<_, actix_web::Error>(piece), body))
    });
    lines_reply().streaming(pieces)
}

fn lines_reply() -> HttpResponseBuilder {
    let mut builder = reply(StatusCode::OK);
    builder
        .insert_header((CONTENT_TYPE, "application/javascript; charset=UTF-8"))
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"));
    builder
}

fn error(status: StatusCode, text: &str) -> HttpResponse {
    let code = status.as_u16();
    reply(status)
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(format!(
            r#"{{"error":{},"code":{code}}}"#,
            json_string(text)
        ))
}

fn reply(status: StatusCode) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    builder
}
