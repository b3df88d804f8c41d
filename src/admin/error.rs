//! Why an operator's request is refused, and with which status.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use serde_json::json;

use super::BODY_BYTES_MAX;
use crate::{
    engine::Unavailable,
    protocol::InvalidChannelName,
    store::{StoreError, WriteError},
};

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum AdminError {
    /// By a page of another origin, or by a name that only pretends to be this machine's.
    Foreign,
    /// The token is missing.
    NoToken,
    /// Another token was presented.
    WrongToken,
    /// A change must come as JSON, which no page can send elsewhere unasked.
    NotJson,
    /// The body is too large.
    TooLarge,
    /// What is asked makes no sense.
    BadRequest(String),
    /// There is no such thing, or no more.
    NotFound(&'static str),
    /// The path takes another method.
    MethodNotAllowed,
    /// The cluster's state is out of reach.
    Unavailable,
    /// The apps could not be read again.
    Reload(StoreError),
    /// An app could not be changed.
    Write(WriteError),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str(
                "this listener is for its own page only, not for other origins, and without a token only by a loopback name",
            ),
            Self::NoToken => f.write_str("admin.token is needed, as a bearer token or by POST /session"),
            Self::WrongToken => f.write_str("this is not admin.token"),
            Self::NotJson => f.write_str("Content-Type must be application/json"),
            Self::TooLarge => write!(f, "the body has more than {BODY_BYTES_MAX} bytes"),
            Self::BadRequest(reason) => f.write_str(reason),
            Self::NotFound(what) => write!(f, "no such {what}"),
            Self::MethodNotAllowed => f.write_str("the path does not take this method"),
            Self::Unavailable => Unavailable.fmt(f),
            Self::Reload(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
        }
    }
}

impl ResponseError for AdminError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Reload(StoreError::Invalid(_)) | Self::Write(WriteError::Invalid(_)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Write(WriteError::NotFound) => StatusCode::NOT_FOUND,
            Self::Write(WriteError::ReadOnly(_) | WriteError::Exists(_)) => StatusCode::CONFLICT,
            Self::Unavailable | Self::Reload(_) | Self::Write(WriteError::Unavailable(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut body = json!({"error": self.to_string(), "code": status.as_u16()});
        if let Self::Write(WriteError::Invalid(problems)) = self {
            let problems = problems.iter();
            body["problems"] = problems
                .map(|it| json!({"key": it.key, "reason": it.reason}))
                .collect();
        }
        HttpResponse::build(status).json(body)
    }
}

impl From<Unavailable> for AdminError {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Reload(error)
    }
}

impl From<WriteError> for AdminError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<serde_json::Error> for AdminError {
    fn from(error: serde_json::Error) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<InvalidChannelName> for AdminError {
    fn from(reason: InvalidChannelName) -> Self {
        Self::BadRequest(reason.to_string())
    }
}
