//! The HTTP transports of pusher-js, for networks that let no WebSocket through: `xhr_streaming` and `xhr_polling`.
//!
//! A client is a session: it receives by one POST after another (`/xhr_streaming`, or `/xhr` for polling) and sends by others
//! (`/xhr_send`). The session lives on the thread that its first request reached; later requests find it by its name, also from
//! another node.

mod carrier;
mod lines;
mod route;
mod session;

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
            CONTENT_TYPE, ORIGIN,
        },
    },
    web::{self, Bytes, Payload},
};
use dashmap::DashMap;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;

pub use self::{carrier::Carrier, route::Target};
use self::{
    route::Kind,
    session::{Opened, Session, ToSession},
};
use crate::{connection::Worker, hub::Transport, transport::proxies::Proxies};

/// The body of a sending request may be so many times as long as one message: escaped quotes are two bytes.
const BODY_FACTOR: usize = 4;
/// Requests that may wait for a session; more are answered 503.
const SESSION_BACKLOG: usize = 256;
/// Pieces of a response that may wait for its connection.
const RESPONSE_BACKLOG: usize = 4;

/// All sessions of this node by app key and name.
#[derive(Clone, Default)]
pub struct Sessions(Arc<DashMap<String, mpsc::Sender<ToSession>, ahash::RandomState>>);

impl Sessions {
    fn find(&self, name: &str) -> Option<mpsc::Sender<ToSession>> {
        self.0.get(name).map(|session| session.clone())
    }
}

/// What the fallback side of one worker needs.
pub struct Fallback {
    worker: Rc<Worker>,
    sessions: Sessions,
    /// In a cluster.
    carrier: Option<Arc<Carrier>>,
    proxies: Proxies,
    max_message_bytes: usize,
    max_outbox_bytes: usize,
}

#[derive(Default, Deserialize)]
struct Parameters {
    protocol: Option<String>,
    client: Option<String>,
    version: Option<String>,
    /// Counts the page's requests; gives the order of sends.
    n: Option<u64>,
}

impl Fallback {
    /// The fallback side of a worker.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        sessions: Sessions,
        carrier: Option<Arc<Carrier>>,
        proxies: Proxies,
        max_message_bytes: usize,
        max_outbox_bytes: usize,
    ) -> Self {
        Self {
            worker,
            sessions,
            carrier,
            proxies,
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
        match *request.method() {
            Method::OPTIONS => preflight(),
            Method::POST if target.kind == Kind::Send => match self.read(body).await {
                Ok(body) => self.send(request, target, &body).await,
                Err(refusal) => refusal,
            },
            Method::POST => self.receive(request, target).await,
            _ => reply(StatusCode::METHOD_NOT_ALLOWED)
                .insert_header((ALLOW, "POST, OPTIONS"))
                .body("use POST"),
        }
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
            attach = match session.send(attach).await {
                Ok(()) => return response_of(body),
                Err(mpsc::error::SendError(attach)) => attach,
            };
        }
        if let Some(carrier) = &self.carrier
            && carrier.receive(&name, &response, streaming).await.is_some()
        {
            return response_of(body);
        }
        self.open(request, target, name, attach);
        response_of(body)
    }

    /// Begins a session with its first request.
    fn open(&self, request: &HttpRequest, target: &Target<'_>, name: String, attach: ToSession) {
        let streaming = target.kind == Kind::Streaming;
        let parameters = parameters(request);
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let forwarded = header(actix_web::http::header::X_FORWARDED_PROTO);
        let opened = Opened {
            key: target.key.to_owned(),
            protocol: parameters.protocol,
            client: parameters.client,
            version: parameters.version,
            origin: header(ORIGIN).map(str::to_owned),
            address: request
                .peer_addr()
                .map(|peer| self.proxies.client_of(peer, request.headers())),
            transport: if streaming {
                Transport::XhrStreaming
            } else {
                Transport::XhrPolling
            },
            secure: forwarded.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")),
        };
        let (sender, inbox) = mpsc::channel(SESSION_BACKLOG);
        // The channel is empty: there is room.
        let _ = sender.try_send(attach);
        self.sessions.0.insert(name.clone(), sender.clone());
        let session = Session::open(
            Rc::clone(&self.worker),
            opened,
            inbox,
            self.max_outbox_bytes,
        );
        let (sessions, carrier) = (self.sessions.clone(), self.carrier.clone());
        tokio::task::spawn_local(async move {
            session.run().await;
            let is_ours = |_: &String, current: &mpsc::Sender<_>| current.same_channel(&sender);
            let was_last = sessions.0.remove_if(&name, is_ours).is_some();
            if let Some(carrier) = carrier.filter(|_| was_last) {
                carrier.release(&name).await;
            }
        });
    }

    /// Reads the body of a sending request, or says why not.
    async fn read(&self, body: Payload) -> Result<Bytes, HttpResponse> {
        let max = self.max_message_bytes.saturating_mul(BODY_FACTOR);
        match body.to_bytes_limited(max).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(reply(StatusCode::BAD_REQUEST).body("the body could not be read")),
            // The rest of the body is still under way, and nobody will read it.
            Err(_) => Err(reply(StatusCode::PAYLOAD_TOO_LARGE)
                .force_close()
                .body(format!(
                    "the body has more than {max} bytes, the most that are allowed"
                ))),
        }
    }

    /// A sending request: messages of the client, or none as a sign of life.
    async fn send(&self, request: &HttpRequest, target: &Target<'_>, body: &[u8]) -> HttpResponse {
        let name = Self::name(target);
        let session = self.sessions.find(&name);
        if session.is_none() && self.carrier.is_none() {
            return no_such_session();
        }
        let messages = match self.messages(body) {
            Ok(messages) => messages,
            Err((status, error)) => return reply(status).body(error),
        };
        let number = parameters(request).n.unwrap_or_default();
        let Some(session) = session else {
            return self.send_on(&name, number, messages).await;
        };
        let carried = false;
        match session.try_send(ToSession::Messages {
            number,
            messages,
            carried,
        }) {
            Ok(()) => reply(StatusCode::NO_CONTENT).finish(),
            Err(mpsc::error::TrySendError::Full(_)) => {
                reply(StatusCode::SERVICE_UNAVAILABLE).body("too many messages are waiting")
            }
            Err(mpsc::error::TrySendError::Closed(_)) => no_such_session(),
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
            Err(error) => reply(StatusCode::SERVICE_UNAVAILABLE).body(error.to_string()),
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

fn no_such_session() -> HttpResponse {
    reply(StatusCode::NOT_FOUND).body("no such session")
}

fn parameters(request: &HttpRequest) -> Parameters {
    web::Query::from_query(request.query_string())
        .map(web::Query::into_inner)
        .unwrap_or_default()
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
    reply(StatusCode::OK)
        .insert_header((CONTENT_TYPE, "application/javascript; charset=UTF-8"))
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(pieces)
}

fn reply(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    builder
}

/// How long a session without a receiving request lives on.
fn patience(streaming: bool) -> Duration {
    Duration::from_secs(if streaming { 10 } else { 30 })
}
