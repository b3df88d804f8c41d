//! The HTTP client that speaks to the ACME server, which is not trusted further than its certificates are: every request has a deadline,
//! every answer a bound, and no request goes to another server.

use std::{
    error::Error as _,
    fmt,
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::time::timeout;
use url::Url;

use crate::tls::roots_in;

/// How long a request may take, connecting and the whole answer included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer's body; a chain of certificates has some 5 KB.
const BODY_BYTES_MAX: usize = 256 << 10;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(10);
/// Characters of what an ACME server says that are passed on.
const SAID_LENGTH_MAX: usize = 500;
/// The longest `Retry-After` that is understood: sums with any time stay valid.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("loudhailer/", env!("CARGO_PKG_VERSION")));

const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// In words, with what the ACME server has said.
    pub(super) text: String,
    /// How long the ACME server asks to wait.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The ACME server, or something that this server needs, can't be used just now.
    Unavailable,
    /// The ACME server refuses the order.
    Refused,
    /// The ACME server does not know the account.
    NoAccount,
}

impl Failure {
    pub(super) fn unavailable(text: impl fmt::Display) -> Self {
        Self::of(Cause::Unavailable, &text.to_string())
    }

    pub(super) fn refused(text: impl fmt::Display) -> Self {
        Self::of(Cause::Refused, &text.to_string())
    }

    fn of(cause: Cause, text: &str) -> Self {
        Self {
            cause,
            text: shown(text),
            retry_after: None,
        }
    }

    /// What an answer means that is no success.
    fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let problem = serde_json::from_slice::<Problem>(body).ok();
        let problem = problem.filter(|problem| problem.r#type.is_some());
        let failure = match problem {
            Some(problem) if status.is_client_error() => Self::of_problem(&problem),
            Some(problem) => Self::unavailable(said(&problem)),
            None => Self::unavailable(format!("the ACME server answers {status}")),
        };
        Self {
            retry_after: retry_after(headers),
            ..failure
        }
    }

    /// What a problem means that has come as the answer to a request or as a part of one.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let cause = match problem.r#type.as_deref() {
            Some(NO_ACCOUNT) => Cause::NoAccount,
            Some(BAD_NONCE) => Cause::Unavailable,
            _ => Cause::Refused,
        };
        Self::of(cause, &said(problem))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::of_problem(&problem),
            Error::Other(other) => match other.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(other) => Self::unavailable(other),
            },
            Error::Timeout(_) => {
                Self::unavailable("the ACME server did not come to a decision in time")
            }
            other => Self::unavailable(format!("unexpected answer of the ACME server: {other}")),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::unavailable(error)
    }
}

/// Sends requests to one server. Clones share their connections.
#[derive(Clone)]
pub(super) struct Client {
    client: HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// The only server that is spoken to: host and port.
    server: Arc<(String, u16)>,
}

impl Client {
    /// A client that trusts the authorities in this file, else the system's.
    ///
    /// # Errors
    /// When there are no authorities to trust.
    pub(super) fn new(directory: &Url, ca_file: Option<&str>) -> io::Result<Self> {
        let roots = match ca_file {
            Some(file) => roots_in(Path::new(file))
                .map_err(|reason| io::Error::other(format!("server.tls.acme.ca_file: {reason}")))?,
            None => system_roots()?,
        };
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let host = directory.host_str().unwrap_or_default().to_owned();
        let port = directory.port_or_known_default().unwrap_or(443);
        Ok(Self {
            client,
            server: Arc::new((host, port)),
        })
    }

    fn is_own(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(443);
        uri.scheme_str() == Some("https") && (host, port) == *self.server
    }

    async fn send(
        self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, Failure> {
        if !self.is_own(request.uri()) {
            let text = format!(
                "the ACME server names {}, which is another server",
                request.uri()
            );
            return Err(Failure::refused(text));
        }
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, USER_AGENT);
        let answered = timeout(REQUEST_TIME_MAX, self.exchange(request)).await;
        let (mut head, body) = answered.map_err(|_| {
            let seconds = REQUEST_TIME_MAX.as_secs();
            Failure::unavailable(format!(
                "no complete answer of the ACME server within {seconds} s"
            ))
        })??;
        let is_success = head.status.is_success();
        if !is_success && !is_bad_nonce(&body) {
            return Err(Failure::of_answer(head.status, &head.headers, &body));
        }
        bound_retry_after(&mut head.headers);
        Ok(BytesResponse::from(Response::from_parts(
            head,
            Full::new(body),
        )))
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<(http::response::Parts, Bytes), Failure> {
        let answer = self.client.request(request).await.map_err(|error| {
            Failure::unavailable(format!(
                "the ACME server can't be reached: {}",
                causes(&error)
            ))
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            Failure::unavailable(format!(
                "the ACME server's answer broke off or is too long: {error}"
            ))
        })?;
        Ok((head, body.to_bytes()))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let sent = self.clone().send(request);
        Box::pin(async move {
            sent.await
                .map_err(|failure| Error::Other(Box::new(failure)))
        })
    }
}

/// The next layer repeats a request whose nonce is not accepted.
fn is_bad_nonce(body: &[u8]) -> bool {
    let problem = serde_json::from_slice::<Problem>(body);
    problem.is_ok_and(|problem| problem.r#type.as_deref() == Some(BAD_NONCE))
}

/// What the ACME server says of a problem.
fn said(problem: &Problem) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let mut text = format!("{}: {}", part(&problem.r#type), part(&problem.detail));
    for sub in &problem.subproblems {
        text.push_str(&format!("; {sub}"));
    }
    text
}

/// Text from outside as logs and pages can show it.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = plain.take(SAID_LENGTH_MAX).collect();
    if text.chars().nth(SAID_LENGTH_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let left = date.duration_since(SystemTime::now());
    Some(left.unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Replaces a `Retry-After` that can't be added to the time.
fn bound_retry_after(headers: &mut HeaderMap) {
    if let Some(after) = retry_after(headers) {
        headers.insert(header::RETRY_AFTER, after.as_secs().into());
    } else {
        headers.remove(header::RETRY_AFTER);
    }
}

/// The causes of an error; it says itself only that there was one.
fn causes(error: &hyper_util::client::legacy::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    match texts.is_empty() {
        true => error.to_string(),
        false => texts.join(": "),
    }
}

fn system_roots() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "server.tls.acme needs trusted certificates, and the system has none: install ca-certificates, or set server.tls.acme.ca_file",
        ));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(retry_after: &str) -> HeaderMap {
        let value = HeaderValue::from_str(retry_after).expect("a header");
        HeaderMap::from_iter([(header::RETRY_AFTER, value)])
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let seconds = |text| retry_after(&headers(text)).map(|it| it.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(
            seconds("18446744073709551615"),
            Some(RETRY_AFTER_MAX.as_secs())
        );
        assert_eq!(seconds("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0));
        let far = seconds("Tue, 31 Dec 2999 23:59:59 GMT");
        assert_eq!(far, Some(RETRY_AFTER_MAX.as_secs()));
        for text in ["", "-1", "soon", "99999999999999999999999"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_server_says_is_cut_and_has_no_control_characters() {
        let text = shown(&format!("a\nb\u{1b}[31m{}", "x".repeat(600)));
        assert!(text.starts_with("a b [31mx"), "{text}");
        assert_eq!(text.chars().count(), SAID_LENGTH_MAX + 1);
    }

    #[test]
    fn an_answer_says_whether_the_server_refuses_or_can_t_be_used() {
        let of = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            Failure::of_answer(status, &headers("7"), body.as_bytes())
        };
        let limited = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "slow"}"#;
        let refused = of(429, limited);
        assert_eq!(refused.cause, Cause::Refused);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(refused.text, "urn:ietf:params:acme:error:rateLimited: slow");
        for (status, body) in [(503, limited), (503, "<html>"), (302, ""), (429, "[]")] {
            assert_eq!(of(status, body).cause, Cause::Unavailable, "{status}");
        }
        let gone = r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist"}"#;
        assert_eq!(of(400, gone).cause, Cause::NoAccount);
    }
}
