//! Access control: whoever presents the token, or without one this machine. A browser sends its pages' requests here too, and only
//! the headers tell them from an operator's.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, ResponseError,
    body::{EitherBody, MessageBody},
    cookie::{Cookie, SameSite},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap,
            HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    web::{self, Payload},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tracing::warn;

use super::{AdminError, AdminSettings, audit::Operator, read};
use crate::{app::Secret, node::Node};

/// What every answer says to browsers.
const POLICIES: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
/// Methods whose bodies must be JSON. A DELETE has none, and no page of another origin can send one unasked.
const CHANGING: [Method; 3] = [Method::POST, Method::PUT, Method::PATCH];
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Who may ask on this listener.
pub struct Access {
    token: Option<Secret>,
    /// `http` or `https`. A cookie of the latter is never sent without TLS.
    scheme: &'static str,
    /// Of this listener only: browsers keep cookies by host, whatever the port.
    cookie_name: String,
    /// What the cookie holds instead of the token; forgotten with the process.
    session: Secret,
}

impl Access {
    /// With a token whoever shows it, without one this machine.
    #[must_use]
    pub fn new(token: Option<Secret>, port: u16, scheme: &'static str) -> Self {
        Self {
            token,
            scheme,
            cookie_name: format!("loudhailer_{port}"),
            session: Secret::new(hex::encode(rand::random::<[u8; 32]>())),
        }
    }

    fn check(&self, request: &ServiceRequest) -> Result<Operator, AdminError> {
        let (path, headers) = (request.path(), request.headers());
        if matches!(path, "/live" | "/ready") {
            return Ok(Operator::ThisMachine);
        }
        if !self.knows_host(headers) || is_foreign(request) {
            return Err(AdminError::Foreign);
        }
        let is_open = matches!(path, "/" | "/session") || path.starts_with("/assets/");
        let operator = match self.operator(request) {
            None if is_open => Operator::ThisMachine,
            operator => operator.ok_or(match headers.contains_key(AUTHORIZATION) {
                true => AdminError::WrongToken,
                false => AdminError::NoToken,
            })?,
        };
        if CHANGING.contains(request.method()) && !is_json(headers) {
            return Err(AdminError::NotJson);
        }
        Ok(operator)
    }

    /// A name that only pretends to be this machine's is a page's way here. With a token a name does not matter.
    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let host = text(headers, &HOST);
        self.token.is_some() || host.is_some_and(is_loopback)
    }

    /// Who asks; `None`: somebody without the token that is needed.
    fn operator(&self, request: &ServiceRequest) -> Option<Operator> {
        let Some(token) = &self.token else {
            return Some(Operator::ThisMachine);
        };
        let given = text(request.headers(), &AUTHORIZATION);
        let bearer = given.and_then(|given| {
            let (scheme, given) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
        });
        if bearer.is_some_and(|given| is_same(given, token)) {
            return Some(Operator::Token);
        }
        let cookie = request.cookie(&self.cookie_name);
        let is_session = cookie.is_some_and(|cookie| is_same(cookie.value(), &self.session));
        is_session.then_some(Operator::Session)
    }

    fn cookie<'a>(&'a self, value: &'a str) -> Cookie<'a> {
        Cookie::build(&self.cookie_name, value)
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.scheme == "https")
            .finish()
    }
}

/// Compares in a time that tells nothing of either: their keyed digests are compared, whole.
fn is_same(given: &str, secret: &Secret) -> bool {
    let digest = |text: &[u8]| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose());
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(text);
        mac
    };
    let expected = digest(secret.expose()).finalize().into_bytes();
    digest(given.as_bytes()).verify(&expected).is_ok()
}

/// Lets a request through or refuses it, and has every answer say what browsers may do with it.
///
/// # Errors
/// What the request itself ends with.
pub async fn admit<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<EitherBody<B>>> {
    let settings = request.app_data::<web::Data<AdminSettings>>();
    let checked = settings.map_or(Err(AdminError::Foreign), |it| it.access.check(&request));
    let mut response = match checked {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.call(request).await?.map_into_left_body()
        }
        Err(error) => {
            if let Some(node) = request.app_data::<web::Data<Node>>() {
                report(node, request.peer_addr(), &error);
            }
            request
                .into_response(error.error_response())
                .map_into_right_body()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in POLICIES {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// Counts a request without the token, and tells operators of one with a wrong token.
fn report(node: &Node, peer: Option<SocketAddr>, error: &AdminError) {
    if !matches!(error, AdminError::NoToken | AdminError::WrongToken) {
        return;
    }
    node.incidents.auth_failures.increment("admin");
    let told = match error {
        AdminError::WrongToken => node.storms.tell("wrong admin token", Instant::now()),
        _ => None,
    };
    if let Some(suppressed) = told {
        let address = peer.map(|peer| peer.ip().to_string());
        warn!(
            address,
            suppressed, "somebody showed a wrong token to the admin listener"
        );
    }
}

/// Whether a browser made this request for a page of another origin. Images and the like come without an `Origin`, but browsers say
/// from where. A link to the page itself may stand anywhere.
fn is_foreign(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let host = text(headers, &HOST).unwrap_or_default();
    let is_own = |origin: &str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority == Some(host)
    };
    if headers.contains_key(ORIGIN) && !text(headers, &ORIGIN).is_some_and(is_own) {
        return true;
    }
    let is_link = request.path() == "/" && text(headers, &FETCH_MODE) == Some("navigate");
    match text(headers, &FETCH_SITE) {
        None | Some("same-origin" | "none") => false,
        Some(_) => !is_link,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[derive(Deserialize)]
struct Credentials {
    token: String,
}

/// `POST /session`: gives the cookie for the token.
pub(super) async fn begin_session(
    settings: web::Data<AdminSettings>,
    node: web::Data<Node>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    let body = read(body).await?;
    let credentials = serde_json::from_slice::<Credentials>(&body);
    let Credentials { token } =
        credentials.map_err(|error| AdminError::BadRequest(error.to_string()))?;
    let access = &settings.access;
    let Some(expected) = &access.token else {
        return Ok(HttpResponse::NoContent().finish());
    };
    if !is_same(&token, expected) {
        let error = AdminError::WrongToken;
        report(&node, request.peer_addr(), &error);
        return Err(error);
    }
    let cookie = access.cookie(access.session.expose_str());
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

/// `DELETE /session`: takes the cookie back.
pub(super) async fn end_session(
    settings: web::Data<AdminSettings>,
    _: HttpRequest,
) -> HttpResponse {
    let mut cookie = settings.access.cookie("");
    cookie.make_removal();
    HttpResponse::NoContent().cookie(cookie).finish()
}
