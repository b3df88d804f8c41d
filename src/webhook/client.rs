//! The HTTP client: HTTP/1.1, TLS by rustls with the system's certificates, no redirects followed, no proxy.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::time::timeout;

use super::{connector::Connector, parcel::sign};
use crate::app::{App, WebhookEndpoint, WebhookTargets};

/// How long an endpoint may take to answer, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept. Below the 5 s of Node and Apache, so that they don't close it under a request.
const IDLE: Duration = Duration::from_secs(4);
/// How long an answer's body is read, so that its connection can serve again.
const BODY_TIME_MAX: Duration = Duration::from_secs(1);

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("loudhailer/", env!("CARGO_PKG_VERSION")));

/// Sends requests; clones share their connections.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
}

impl HttpClient {
    /// A client that trusts the system's certificates and connects only to `targets`.
    ///
    /// # Errors
    /// When TLS is needed and there are no certificates.
    pub(super) fn new(needs_tls: bool, targets: WebhookTargets) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() && needs_tls {
            let why = found.errors.first().map(ToString::to_string);
            return Err(io::Error::other(format!(
                "an app has an https webhook, but the system has no trusted certificates ({}): \
                 install ca-certificates",
                why.unwrap_or_else(|| "none were found".to_owned())
            )));
        }
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::to(targets));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_title_case_headers(true)
            .build(connector);
        Ok(Self { client })
    }

    /// Posts a body and returns the status of the answer.
    ///
    /// # Errors
    /// Why there was no answer, without path or headers, which may hold secrets.
    pub(super) async fn post(
        &self,
        app: &App,
        endpoint: &WebhookEndpoint,
        body: String,
    ) -> Result<StatusCode, String> {
        let request = request(app, endpoint, body).map_err(|error| error.to_string())?;
        let answer = timeout(TIMEOUT, self.client.request(request))
            .await
            .map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?
            .map_err(|error| causes(&error))?;
        let (head, body) = answer.into_parts();
        // If the rest can't be had, the connection is closed, and that is all.
        let _ = timeout(BODY_TIME_MAX, body.collect()).await;
        Ok(head.status)
    }
}

fn request(
    app: &App,
    endpoint: &WebhookEndpoint,
    body: String,
) -> http::Result<Request<Full<Bytes>>> {
    let mut signature = HeaderValue::try_from(sign(app.secret.expose(), &body))?;
    signature.set_sensitive(true);
    let protocol = |request: Builder| {
        request
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-pusher-key", &app.key)
            .header("x-pusher-signature", signature)
    };
    let mut request = protocol(
        Request::builder()
            .method(Method::POST)
            .uri(endpoint.url.uri.clone())
            .header(header::USER_AGENT, USER_AGENT),
    )
    .body(Full::from(body))?;
    // The configuration's check refuses reserved names.
    for (name, value) in &endpoint.headers {
        request.headers_mut().insert(name, value.clone());
    }
    Ok(request)
}

/// The causes of an error; it says itself only that there was one.
fn causes(error: &dyn Error) -> String {
    let first = error.source().unwrap_or(error);
    let mut text = first.to_string();
    let mut cause = first.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
