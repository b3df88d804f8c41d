//! Every way in which a request can be refused, by cause, and the one place that knows their statuses and words.

use std::{fmt, str::Utf8Error};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, RETRY_AFTER},
    },
};
use tracing::error;

use super::{reply, route::Methods};
use crate::{
    engine::Unavailable,
    http_body::BodyError,
    node::{Overloaded, TooFast},
    protocol::{InvalidChannelName, message::json_string},
};

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The path leads nowhere.
    NoSuchPath,
    /// The path takes only WebSockets, and the request is for none.
    NoUpgrade(Asked),
    /// No app has this id.
    NoSuchApp,
    /// The path takes other methods.
    MethodNotAllowed(Methods),
    /// The request is not rightly signed.
    Unauthorized(Unauthorized),
    /// The app is switched off.
    AppDisabled,
    /// A segment of the path is not UTF-8 once decoded.
    PathNotUtf8,
    /// The query has more parameters than this.
    TooManyParameters(usize),
    /// The value of this parameter is not UTF-8 once decoded.
    ParameterNotUtf8(&'static str),
    /// The body was not read.
    Body(BodyError),
    /// The body is not UTF-8.
    BodyNotUtf8(Utf8Error),
    /// The body is not JSON, or not what the endpoint takes.
    Json(serde_json::Error),
    /// The event of a publish may not go out.
    Event(EventError),
    /// One event of a batch may not go out.
    InBatch { position: usize, error: EventError },
    /// A batch is empty, or longer than the app's limit.
    BatchLength { count: usize, max: usize },
    /// This is no channel name.
    Channel(InvalidChannelName),
    /// `info` asks for what there is not.
    Info(UnknownAttribute),
    /// Users are asked for of a channel that has none.
    NotPresence,
    /// The cached event is asked for of a channel that keeps none.
    NotCache,
    /// A listing asks for the users of channels that have none.
    UserCountUnfiltered,
    /// There is no user without an id.
    NoUserId,
    /// A shard's inbox is full.
    Overloaded,
    /// The app asks more often than it may, or for more at once than it ever may.
    TooFast(TooFast),
    /// The cluster's state is out of reach.
    Unavailable,
    /// The address of the client sends too many requests without a valid key or signature.
    TooManyRefused,
    /// The server was put together wrongly.
    Misconfigured,
}

/// What a request without `Upgrade` to a path of WebSockets was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A handshake, as its other headers show: a proxy dropped `Upgrade`.
    Socket,
    /// Something else, such as a page or a check.
    Page,
}

/// Which element of a request's signature does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unauthorized {
    /// This parameter is not there.
    Missing(&'static str),
    /// Another app's key, or nobody's.
    Key,
    /// Another way to sign.
    Version,
    /// Not a number of seconds.
    Timestamp,
    /// Too old, or from the future.
    Clock { off_s: u64, tolerance_s: u64 },
    /// Another body's MD5.
    BodyMd5,
    /// Another request's signature, or another secret's. Carries what was to be signed, which holds no secret.
    Signature(Box<str>),
}

/// Why an event may not go out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventError {
    /// This field is not there.
    Missing(&'static str),
    /// No name.
    NameEmpty,
    /// A name of more characters than the app's limit.
    NameTooLong { length: usize, max: usize },
    /// A name that begins like the protocol's own.
    NameReserved(&'static str),
    /// Data of more bytes than the app's limit.
    DataTooLarge { size: usize, max: usize },
    /// Data with half of a pair of `\u` escapes, which is no text.
    LoneSurrogate,
    /// `channels` is empty.
    NoChannels,
    /// More `channels` than the app's limit.
    TooManyChannels { count: usize, max: usize },
    /// `channel`, or one of `channels`, is no channel name.
    Channel {
        position: Option<usize>,
        reason: InvalidChannelName,
    },
    /// The socket to leave out is none.
    SocketId,
    /// `info` asks for what there is not.
    Info(UnknownAttribute),
}

/// An attribute that no channel has, or not in this place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownAttribute {
    pub(super) name: String,
    pub(super) known: &'static [&'static str],
}

impl From<Unauthorized> for ApiError {
    fn from(error: Unauthorized) -> Self {
        Self::Unauthorized(error)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl From<Overloaded> for ApiError {
    fn from(Overloaded: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl From<TooFast> for ApiError {
    fn from(error: TooFast) -> Self {
        Self::TooFast(error)
    }
}

impl From<Unavailable> for ApiError {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl ApiError {
    /// Whether the request shows neither a valid key nor a valid signature.
    pub(super) fn is_a_strangers(&self) -> bool {
        matches!(
            self,
            Self::NoSuchPath | Self::NoUpgrade(_) | Self::NoSuchApp | Self::Unauthorized(_)
        )
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NoSuchPath | Self::NoSuchApp => StatusCode::NOT_FOUND,
            Self::NoUpgrade(_) => StatusCode::UPGRADE_REQUIRED,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::AppDisabled => StatusCode::FORBIDDEN,
            Self::Body(BodyError::TooLarge { .. })
            | Self::Event(EventError::DataTooLarge { .. })
            | Self::InBatch {
                error: EventError::DataTooLarge { .. },
                ..
            } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooFast(TooFast::Later { .. }) | Self::TooManyRefused => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Body(BodyError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded | Self::Unavailable | Self::Body(BodyError::NoRoom(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let (status, message) = (self.status_code(), self.to_string());
        if matches!(self, Self::Misconfigured) {
            error!(error = message, "an API request failed");
        }
        let mut response = reply::builder(status);
        match self {
            Self::MethodNotAllowed(methods) => response.insert_header((ALLOW, methods.allow())),
            Self::NoUpgrade(_) => response.upgrade("websocket"),
            Self::TooFast(TooFast::Later { retry_after, .. }) => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                response.insert_header((RETRY_AFTER, seconds.to_string()))
            }
            Self::Overloaded
            | Self::Unavailable
            | Self::TooManyRefused
            | Self::Body(BodyError::NoRoom(_)) => response.insert_header((RETRY_AFTER, "1")),
            _ => &mut response,
        };
        let code = status.as_u16();
        response.body(format!(
            r#"{{"error":{},"code":{code}}}"#,
            json_string(&message)
        ))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPath => f.write_str("there is nothing at this path"),
            Self::NoUpgrade(Asked::Page) => {
                f.write_str("this path takes only WebSockets, and the request has no Upgrade header")
            }
            Self::NoUpgrade(Asked::Socket) => f.write_str(
                "a proxy in front of this server dropped the Upgrade header of a WebSocket handshake; let it pass Upgrade and Connection on, with HTTP/1.1",
            ),
            Self::NoSuchApp => f.write_str("no app has this id"),
            Self::MethodNotAllowed(methods) => write!(f, "this path takes {}", methods.allow()),
            Self::Unauthorized(error) => error.fmt(f),
            Self::AppDisabled => f.write_str("the app is disabled"),
            Self::PathNotUtf8 => f.write_str("the path is not UTF-8"),
            Self::TooManyParameters(max) => {
                write!(f, "the query has more than {max} parameters, the most that are allowed")
            }
            Self::ParameterNotUtf8(name) => write!(f, "the parameter {name} is not UTF-8"),
            Self::Body(error) => error.fmt(f),
            Self::TooManyRefused => f.write_str(
                "too many requests without a valid key or signature come from this address; try again in a second",
            ),
            Self::BodyNotUtf8(error) => write!(f, "the body is not UTF-8: {error}"),
            Self::Json(error) if error.is_data() => error.fmt(f),
            Self::Json(error) => write!(f, "the body is not JSON: {error}"),
            Self::Event(error) => error.fmt(f),
            Self::InBatch { position, error } => write!(f, "batch[{position}]: {error}"),
            Self::BatchLength { count, max } => {
                write!(f, "batch has {count} events, 1 to {max} are allowed")
            }
            Self::Channel(reason) => reason.fmt(f),
            Self::Info(error) => error.fmt(f),
            Self::NotPresence => f.write_str("only presence channels have users"),
            Self::NotCache => f.write_str("only cache channels have a cached event"),
            Self::UserCountUnfiltered => f.write_str(
                "user_count needs a filter_by_prefix that begins with presence-: other channels have no users",
            ),
            Self::NoUserId => f.write_str("the user id is empty"),
            Self::TooFast(TooFast::Later { per_second, .. }) => {
                write!(f, "the app's limit is {per_second} per second")
            }
            Self::TooFast(TooFast::Never { per_second, count }) => write!(
                f,
                "batch has {count} events, but the app's limit is {per_second} per second: send at most {per_second} at once"
            ),
            Self::Unavailable => Unavailable.fmt(f),
            Self::Overloaded => f.write_str("too many events are waiting; try again in a second"),
            Self::Misconfigured => f.write_str("the server was put together wrongly"),
        }
    }
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "missing parameter {name}"),
            Self::Key => f.write_str("auth_key is not the app's key"),
            Self::Version => f.write_str("auth_version is not 1.0"),
            Self::Timestamp => f.write_str("auth_timestamp is not a number of seconds"),
            Self::Clock { off_s, tolerance_s } => write!(
                f,
                "auth_timestamp is {off_s} s off this server's clock, at most {tolerance_s} s are allowed"
            ),
            Self::BodyMd5 => f.write_str("body_md5 is not the MD5 of the body"),
            Self::Signature(text) => write!(
                f,
                "auth_signature does not fit: it must be the HMAC-SHA256, in lower-case hex, of {text:?}"
            ),
        }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "missing field `{field}`"),
            Self::NameEmpty => f.write_str("name is empty"),
            Self::NameTooLong { length, max } => {
                write!(f, "name has {length} characters, at most {max} are allowed")
            }
            Self::NameReserved(prefix) => {
                write!(
                    f,
                    "name begins with {prefix}, as only the server's own events do"
                )
            }
            Self::DataTooLarge { size, max } => {
                write!(f, "data has {size} bytes, at most {max} are allowed")
            }
            Self::LoneSurrogate => f.write_str("data has half of a surrogate pair"),
            Self::NoChannels => f.write_str("channels is empty"),
            Self::TooManyChannels { count, max } => {
                write!(f, "channels has {count} names, at most {max} are allowed")
            }
            Self::Channel {
                position: Some(position),
                reason,
            } => {
                write!(f, "channels[{position}]: {reason}")
            }
            Self::Channel {
                position: None,
                reason,
            } => reason.fmt(f),
            Self::SocketId => f.write_str("socket_id is not of the form 123.456"),
            Self::Info(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for UnknownAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, known } = self;
        write!(
            f,
            "info asks for {name:?}; what can be asked for is {}",
            known.join(", ")
        )
    }
}
