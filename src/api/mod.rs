//! The HTTP API: signed requests in, publishes and queries to the [`Node`], JSON out.
//!
//! Owns the wire form of requests and replies, and which status a mistake gets. Knows nothing of sockets: it hands checked
//! values to the node and has its answer at once; only the arrival of a body is waited for, and only if path, key and time are right.
//!
//! Routes are matched by hand (`route`): paths must be seen as they stand on the request line, because that is what was signed.

mod attributes;
mod channels;
mod creator;
mod data;
mod error;
mod event;
mod events;
mod parameters;
mod reply;
mod request_id;
mod route;
mod signed;
#[cfg(test)]
mod tests;
mod users;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    body::{BodySize, MessageBody},
    http::{
        Method,
        header::{ORIGIN, SEC_WEBSOCKET_KEY},
    },
    web::{self, Payload},
};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tracing::{debug, info};

pub use self::creator::create_event;
use self::{
    error::{ApiError, Asked, Unauthorized},
    parameters::{Parameters, Plus},
    request_id::RequestId,
    route::{AppName, Endpoint, Target},
    signed::{Clock, SignedRequest},
};
use crate::{
    address::Place,
    app::App,
    config::Config,
    feed::{Line, Trouble},
    http_body::{Body, BodyLimits},
    hub::AppChannels,
    node::{Node, Phase},
    protocol::path,
};

/// What the API must know of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ApiSettings {
    /// What a request body may be.
    pub body: BodyLimits,
    /// How far `auth_timestamp` may be from this server's clock, in seconds.
    pub timestamp_tolerance_s: u64,
}

impl ApiSettings {
    /// The settings of a checked configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            body: BodyLimits {
                max_bytes: config.server.max_request_bytes.get(),
                timeout: config.server.request_timeout_s.get(),
            },
            timestamp_tolerance_s: config.api.timestamp_tolerance_s.get() as u64,
        }
    }

    /// What a request's time is held against.
    fn clock(&self) -> Clock {
        Clock {
            now_s: unix_now(),
            tolerance_s: self.timestamp_tolerance_s,
        }
    }
}

/// Answers the API's paths, under `/apps` and `{prefix}/apps`, `/up` and its like, and all others with 404.
///
/// Needs `web::Data<Node>` and `web::Data<ApiSettings>` among the app's data.
pub async fn answer(request: &HttpRequest, body: Payload, prefix: &str) -> HttpResponse {
    let (id, mut body) = (RequestId::of(request), Body::from(body));
    let reply = attempt(request, &mut body, prefix, &id).await;
    let mut response = reply.unwrap_or_else(|error| {
        let error = within_budget(request, error);
        report(request, (prefix, body.seen()), &id, &error);
        error.error_response()
    });
    let (status, path) = (response.status().as_u16(), request.path());
    debug!(request_id = id.as_str(), status, path, "answered");
    response
        .headers_mut()
        .insert(request_id::HEADER, id.into_header());
    body.settle(response)
}

/// Counts a stranger's request against the budget of its place.
fn within_budget(request: &HttpRequest, error: ApiError) -> ApiError {
    match data::<Node>(request) {
        Ok(node) if error.is_a_strangers() && !node.gate.take_stranger(place_of(node, request)) => {
            ApiError::TooManyRefused
        }
        _ => error,
    }
}

fn place_of(node: &Node, request: &HttpRequest) -> Option<Place> {
    node.gate
        .place_of(request.peer_addr().into(), request.headers())
}

/// Counts a refused request, and shows it to whoever watches.
fn report(
    request: &HttpRequest,
    (prefix, body): (&str, Option<&[u8]>),
    id: &RequestId,
    error: &ApiError,
) {
    let Ok(node) = data::<Node>(request) else {
        return;
    };
    let trouble = match error {
        ApiError::Unauthorized(_) => {
            node.incidents.auth_failures.increment("api");
            Some("invalid signature")
        }
        ApiError::TooFast(_) => {
            node.incidents.rate_limited.increment("api");
            Some("an app exceeds its rate limit")
        }
        ApiError::TooManyRefused => {
            node.incidents.rate_limited.increment("strangers");
            Some("too many requests of one address without a valid key or signature")
        }
        ApiError::NoSuchApp => Some("unknown app"),
        ApiError::NoSuchPath => Some("unknown path"),
        ApiError::NoUpgrade(Asked::Socket) => Some("a proxy drops Upgrade"),
        _ => None,
    };
    let (request_id, path) = (id.as_str(), &*path::shown(request.path()));
    let message = match error {
        ApiError::NoSuchPath => format!("{error}: {path}"),
        _ => error.to_string(),
    };
    let (status, error) = (error.status_code().as_u16(), message.as_str());
    let suppressed = trouble.and_then(|trouble| node.storms.tell(trouble, Instant::now()));
    match suppressed {
        Some(suppressed) => {
            info!(
                request_id,
                path, status, trouble, error, suppressed, "an API request was refused"
            );
        }
        None => debug!(
            request_id,
            path, status, error, "an API request was refused"
        ),
    }
    node.feed.emit(|| {
        let (app, endpoint) = match Target::find(request.path(), prefix) {
            Some(Target::App { app, endpoint, .. }) => (Some(app), Some(endpoint)),
            _ => (None, None),
        };
        let named = body.map(Named::of).unwrap_or_default();
        let peer = request.peer_addr().into();
        let address = node.gate.client_of(peer, request.headers());
        let address = address.map(|address| address.to_string());
        let origin = request.headers().get(ORIGIN);
        Line::Error(Trouble {
            app: match app {
                Some(AppName::Id(id)) => Some(id),
                _ => None,
            },
            code: Some(status),
            message: error,
            address,
            origin: origin.and_then(|origin| origin.to_str().ok()),
            channel: match endpoint {
                Some(
                    Endpoint::Channel(name)
                    | Endpoint::ChannelUsers(name)
                    | Endpoint::ChannelEvents(name)
                    | Endpoint::ChannelStats(name),
                ) => decoded(name).ok(),
                _ => named.channel,
            },
            event: named.name,
            request_id: Some(request_id),
            ..Trouble::default()
        })
    });
}

/// What the body of a refused publish says of its event, for the feed.
#[derive(Default, Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channels: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    batch: Vec<Named<'a>>,
}

impl<'a> Named<'a> {
    /// The event of this body, or the first of several. A body that says nothing of the kind names none.
    fn of(body: &'a [u8]) -> Self {
        let mut named: Self = serde_json::from_slice(body).unwrap_or_default();
        if let Some(first) = std::mem::take(&mut named.batch).into_iter().next() {
            named = first;
        }
        let channel = named.channel.take();
        let first = std::mem::take(&mut named.channels).into_iter().next();
        named.channel = channel.or(first);
        named
    }
}

/// A request that was found to be signed, and what it takes to answer it.
struct Call<'a> {
    node: &'a Node,
    app: &'a App,
    channels: Arc<AppChannels>,
    request_id: &'a RequestId,
    parameters: &'a Parameters<'a>,
    body: &'a [u8],
    now: Instant,
}

async fn attempt(
    request: &HttpRequest,
    body: &mut Body,
    prefix: &str,
    request_id: &RequestId,
) -> Result<HttpResponse, ApiError> {
    let settings = data::<ApiSettings>(request)?;
    let node = data::<Node>(request)?;
    let reply = match Head::find(request, prefix, node) {
        Ok(Routed::ToApp(head)) => match head.signed.check(&head.app, settings.clock()) {
            Ok((parameters, secret)) => {
                let held = || node.gate.take_body(place_of(node, request));
                let body = body.read(request.headers(), settings.body, held).await?;
                let parameters = head.signed.verify(parameters, &body, secret, prefix)?;
                return answer_app(node, &head, &parameters, &body, request_id).await;
            }
            Err(error) => Err(error),
        },
        Ok(Routed::Answered(response)) => Ok(response),
        Err(error) => Err(error),
    };
    body.discard().await;
    reply
}

/// Answers a request that the app has signed.
async fn answer_app(
    node: &Node,
    head: &Head<'_>,
    parameters: &Parameters<'_>,
    body: &[u8],
    request_id: &RequestId,
) -> Result<HttpResponse, ApiError> {
    if !head.app.enabled {
        return Err(ApiError::AppDisabled);
    }
    let call = Call {
        node,
        app: &head.app,
        channels: node.hub.app(&head.app.id),
        request_id,
        parameters,
        body,
        now: Instant::now(),
    };
    let reply = serve(&call, head.endpoint).await;
    count(&call, &reply);
    reply
}

/// The app that signed a request whose path names none; whether it did is checked afterwards, as for every request.
fn app_by_key(node: &Node, query: &str) -> Result<Arc<App>, ApiError> {
    let parameters = Parameters::parse(query, Plus::Literal)?;
    let key = parameters
        .bytes(signed::KEY)
        .ok_or(Unauthorized::Missing(signed::KEY))?;
    let app = std::str::from_utf8(key).ok();
    let app = app.and_then(|key| node.apps.by_key(key));
    app.ok_or_else(|| Unauthorized::Key.into())
}

/// What the head of a request says.
enum Routed<'a> {
    /// It needs no body.
    Answered(HttpResponse),
    ToApp(Head<'a>),
}

/// A request to an app, before its body is read.
struct Head<'a> {
    app: Arc<App>,
    endpoint: Endpoint<'a>,
    signed: SignedRequest<'a>,
}

impl<'a> Head<'a> {
    /// Finds the app and the endpoint.
    fn find(request: &'a HttpRequest, prefix: &str, node: &Node) -> Result<Routed<'a>, ApiError> {
        let target = Target::find(request.path(), prefix);
        let target = target.ok_or_else(|| nothing_at(request, prefix))?;
        let methods = target.methods();
        if request.method() == Method::OPTIONS {
            return Ok(Routed::Answered(reply::options(methods)));
        }
        if !methods.contains(request.method()) {
            return Err(ApiError::MethodNotAllowed(methods));
        }
        let (path, app, endpoint) = match target {
            Target::App {
                path,
                app,
                endpoint,
            } => (path, app, endpoint),
            Target::Up => return Ok(Routed::Answered(reply::up())),
            Target::Ready => {
                let is_ready = node.phase() == Phase::Running;
                return Ok(Routed::Answered(reply::ready(is_ready)));
            }
        };
        let app = match app {
            AppName::Id(id) => node.apps.by_id(&decoded(id)?).ok_or(ApiError::NoSuchApp)?,
            AppName::Key => app_by_key(node, request.query_string())?,
        };
        let signed = SignedRequest {
            method: request.method().as_str(),
            path,
            query: request.query_string(),
        };
        Ok(Routed::ToApp(Self {
            app,
            endpoint,
            signed,
        }))
    }
}

/// Why there is nothing for a request at its path.
fn nothing_at(request: &HttpRequest, prefix: &str) -> ApiError {
    if request.method() != Method::GET || !Target::is_socket(request.path(), prefix) {
        return ApiError::NoSuchPath;
    }
    let is_handshake = request.headers().contains_key(SEC_WEBSOCKET_KEY);
    ApiError::NoUpgrade(if is_handshake {
        Asked::Socket
    } else {
        Asked::Page
    })
}

fn count(call: &Call<'_>, reply: &Result<HttpResponse, ApiError>) {
    let traffic = call.channels.traffic();
    traffic.api_calls.increment();
    traffic.api_bytes_received.add(call.body.len());
    if let Ok(reply) = reply
        && let BodySize::Sized(bytes) = reply.body().size()
    {
        traffic
            .api_bytes_sent
            .add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

async fn serve(call: &Call<'_>, endpoint: Endpoint<'_>) -> Result<HttpResponse, ApiError> {
    if !endpoint.publishes() {
        call.node.rates.take_read(call.app)?;
    }
    match endpoint {
        Endpoint::Events => events::publish(call).await,
        Endpoint::BatchEvents => events::publish_batch(call).await,
        Endpoint::ChannelEvents(channel) => events::publish_raw(call, &decoded(channel)?),
        Endpoint::Channels => channels::list(call).await,
        Endpoint::Channel(channel) => channels::show(call, &decoded(channel)?).await,
        Endpoint::ChannelUsers(channel) => channels::users(call, &decoded(channel)?).await,
        Endpoint::ChannelStats(channel) => channels::stats(call, &decoded(channel)?).await,
        Endpoint::Connections => users::connections(call).await,
        Endpoint::TerminateConnections(user_id) => users::terminate(call, &decoded(user_id)?),
    }
}

fn data<T: 'static>(request: &HttpRequest) -> Result<&T, ApiError> {
    let data = request.app_data::<web::Data<T>>();
    data.map(|data| data.get_ref())
        .ok_or(ApiError::Misconfigured)
}

/// A segment of the path without its percent-encoding.
fn decoded(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::PathNotUtf8)
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
