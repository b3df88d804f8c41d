//! An operator's event: read and checked as a backend's, but not signed, and answered with whom it reached.

use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::{
    error::ApiError,
    event::{GivenEvent, Object},
    events::text_of,
    reply, request_id,
};
use crate::{
    app::App,
    node::{Node, Reached},
};
use std::time::Instant;

#[derive(Serialize)]
struct Reply<'a> {
    delivered: usize,
    request_id: &'a str,
    channels: Vec<ChannelReply<'a>>,
}

#[derive(Serialize)]
struct ChannelReply<'a> {
    name: &'a str,
    delivered: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Publishes the event of a `POST events` body for an operator.
pub async fn create_event(node: &Node, app: &App, body: &[u8], now: Instant) -> HttpResponse {
    let created = create(node, app, body, now).await;
    created.unwrap_or_else(|error| error.error_response())
}

async fn create(
    node: &Node,
    app: &App,
    body: &[u8],
    now: Instant,
) -> Result<HttpResponse, ApiError> {
    let event = serde_json::from_str::<Object<GivenEvent<'_>>>(text_of(body)?);
    let Object(event) = event.map_err(ApiError::Json)?;
    if !app.enabled {
        return Err(ApiError::AppDisabled);
    }
    let event = event.check(&app.limits)?;
    let request_id = request_id::random();
    let channels = node.hub.app(&app.id);
    let reached = node
        .publish_and_count(app, &channels, &event.publication(), &request_id, now)
        .await?;
    let shown = event.channels.iter().zip(&reached);
    Ok(reply::json(&Reply {
        delivered: reached.iter().map(|reached| reached.delivered).sum(),
        request_id: &request_id,
        channels: shown
            .map(|(name, Reached { delivered, why })| ChannelReply {
                name: name.as_str(),
                delivered: *delivered,
                why: why.as_deref(),
            })
            .collect(),
    }))
}
