//! How a request's body arrives.

use actix_web::{
    HttpRequest,
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut, Payload},
};
use futures_util::StreamExt;

use super::error::ApiError;

/// Reads the whole body, whatever its content type.
pub(super) async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    max: usize,
) -> Result<Bytes, ApiError> {
    if let Some(declared) = declared_length(request).filter(|length| *length > max) {
        return Err(ApiError::BodyTooLarge {
            declared: Some(declared),
            max,
        });
    }
    // A body usually comes in one piece, which needs no copy.
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    let mut received = 0;
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(ApiError::BodyUnreadable)?;
        if received + piece.len() > max {
            return Err(ApiError::BodyTooLarge {
                declared: None,
                max,
            });
        }
        if received == 0 {
            first = piece.clone();
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
        received += piece.len();
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.freeze()
    })
}

fn declared_length(request: &HttpRequest) -> Option<usize> {
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
