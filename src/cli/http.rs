//! Single HTTP requests, each on a connection of its own.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    network::{DialError, Dialler},
    target::Endpoint,
};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Characters of an answer's text that are shown.
const SHOWN_LENGTH_MAX: usize = 200;

const USER_AGENT: &str = concat!("loudhailer/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum HttpError {
    /// There is no connection.
    Dial(DialError),
    /// What came is no HTTP, or it broke off.
    Exchange(hyper::Error),
    /// The answer does not end, or is too long.
    Body(String),
    /// Nothing came.
    Silent(Duration),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Exchange(error) => write!(f, "no HTTP answer: {error}"),
            Self::Body(error) => write!(f, "the answer broke off: {error}"),
            Self::Silent(patience) => write!(f, "no answer within {} s", patience.as_secs()),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// The body, if it is a JSON object: a Pusher host answers so, and a proxy's own pages do not.
    pub(super) fn json(&self) -> Option<Value> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        value.is_object().then_some(value)
    }

    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The status and the text, on one line.
    pub(super) fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let words: Vec<_> = text.split_whitespace().collect();
        let mut line = words.join(" ");
        if let Some((end, _)) = line.char_indices().nth(SHOWN_LENGTH_MAX) {
            line.truncate(end);
            line.push('…');
        }
        match line.as_str() {
            "" => self.status.to_string(),
            line => format!("{}: {line}", self.status),
        }
    }
}

/// A request to an endpoint, its usual headers set.
pub(super) fn request(method: Method, endpoint: &Endpoint, target: &str) -> Builder {
    let target = if target.is_empty() { "/" } else { target };
    Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, endpoint.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
}

/// A connection for requests, one after another.
pub(super) struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    patience: Duration,
}

impl Line {
    /// # Errors
    /// [`HttpError`].
    pub(super) async fn open(dialler: &Dialler, endpoint: &Endpoint) -> Result<Self, HttpError> {
        let stream = dialler.connect(endpoint).await.map_err(HttpError::Dial)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::Exchange)?;
        let driver = driver.with_upgrades();
        tokio::spawn(async move {
            // Whoever waits for the answer learns how the connection fares.
            let _ = driver.await;
        });
        Ok(Self {
            sender,
            patience: dialler.patience,
        })
    }

    /// Whether the host has not closed it.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`HttpError`].
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, HttpError> {
        let ready = timeout(self.patience, self.sender.ready()).await;
        ready
            .map_err(|_| HttpError::Silent(self.patience))?
            .map_err(HttpError::Exchange)?;
        let response = self.begin(request).await?;
        finish(self.patience, response).await
    }

    async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, HttpError> {
        timeout(self.patience, self.sender.send_request(request))
            .await
            .map_err(|_| HttpError::Silent(self.patience))?
            .map_err(HttpError::Exchange)
    }
}

/// Sends a request and gives the answer's head; the body is still under way.
///
/// # Errors
/// [`HttpError`].
pub(super) async fn begin(
    dialler: &Dialler,
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, HttpError> {
    Line::open(dialler, endpoint).await?.begin(request).await
}

/// The rest of an answer.
///
/// # Errors
/// [`HttpError`].
pub(super) async fn finish(
    patience: Duration,
    response: http::Response<Incoming>,
) -> Result<Reply, HttpError> {
    let (head, body) = response.into_parts();
    let collected = timeout(patience, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
    let body = collected
        .map_err(|_| HttpError::Silent(patience))?
        .map_err(|error| HttpError::Body(error.to_string()))?
        .to_bytes();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// [`HttpError`].
pub(super) async fn send(
    dialler: &Dialler,
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
) -> Result<Reply, HttpError> {
    let response = begin(dialler, endpoint, request).await?;
    finish(dialler.patience, response).await
}

/// What an upgraded connection is made of.
pub(super) type Upgraded = TokioIo<hyper::upgrade::Upgraded>;
