//! Publishing: single events, batches, and the legacy way.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use super::{
    Call,
    attributes::{self, Attributes},
    data::Data,
    error::ApiError,
    event::{CheckedEvent, GivenEvent, Object, Text},
    reply,
};
use crate::{engine::Wanted, node::Publication, protocol::ChannelName};

/// Channels and what was asked about them.
#[derive(Serialize)]
struct ChannelsReply<'a> {
    #[serde(serialize_with = "attributes::as_map")]
    channels: Vec<(&'a str, Attributes)>,
}

/// `POST events`
pub(super) async fn publish(call: &Call<'_>) -> Result<HttpResponse, ApiError> {
    let mut event = match text_of(call.body)? {
        "" => GivenEvent::default(),
        body => {
            serde_json::from_str::<Object<_>>(body)
                .map_err(ApiError::Json)?
                .0
        }
    };
    event.complete(call.parameters)?;
    let event = event.check(&call.app.limits)?;
    send(call, &[event.publication()])?;
    Ok(match event.wanted {
        Some(wanted) => reply::json(&about_channels(call, &event, wanted).await),
        None => reply::empty(),
    })
}

/// `POST batch_events`: all of them, or none if one is wrong.
pub(super) async fn publish_batch(call: &Call<'_>) -> Result<HttpResponse, ApiError> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        batch: Vec<Object<GivenEvent<'a>>>,
    }
    let body = serde_json::from_str::<Object<Batch<'_>>>(text_of(call.body)?);
    let Object(Batch { batch }) = body.map_err(ApiError::Json)?;
    let (count, max) = (batch.len(), call.app.limits.max_batch_events.get());
    if count == 0 || count > max {
        return Err(ApiError::BatchLength { count, max });
    }
    let checked = batch.iter().enumerate().map(|(position, Object(event))| {
        let in_batch = |error| ApiError::InBatch { position, error };
        event.check(&call.app.limits).map_err(in_batch)
    });
    let events = checked.collect::<Result<Vec<_>, _>>()?;
    let publications: Vec<_> = events.iter().map(CheckedEvent::publication).collect();
    send(call, &publications)?;
    Ok(batch_reply(call, &events).await)
}

/// `POST channels/{channel}/events`, the legacy way: the body is the data, everything else stands in the query.
pub(super) fn publish_raw(call: &Call<'_>, channel: &str) -> Result<HttpResponse, ApiError> {
    let mut event = GivenEvent {
        data: Some(Data::Text(text_of(call.body)?.into())),
        channel: Some(Text(channel.into())),
        ..GivenEvent::default()
    };
    event.complete(call.parameters)?;
    let event = event.check(&call.app.limits)?;
    send(call, &[event.publication()])?;
    Ok(reply::accepted())
}

pub(super) fn text_of(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(ApiError::BodyNotUtf8)
}

fn send(call: &Call<'_>, publications: &[Publication<'_>]) -> Result<(), ApiError> {
    call.node.rates.take_events(call.app, publications.len())?;
    let request_id = call.request_id.as_str();
    call.node
        .publish(call.app, &call.channels, publications, request_id, call.now)?;
    Ok(())
}

/// What a batch's reply says about one of its events.
#[derive(Serialize)]
#[serde(untagged)]
enum EventReply<'a> {
    OneChannel(Attributes),
    SeveralChannels(ChannelsReply<'a>),
}

async fn batch_reply(call: &Call<'_>, events: &[CheckedEvent<'_>]) -> HttpResponse {
    #[derive(Serialize)]
    struct Reply<'a> {
        batch: Vec<EventReply<'a>>,
    }
    if events.iter().all(|event| event.wanted.is_none()) {
        return reply::empty();
    }
    let mut batch = Vec::with_capacity(events.len());
    for event in events {
        batch.push(about_event(call, event).await);
    }
    reply::json(&Reply { batch })
}

async fn about_event<'a>(call: &Call<'_>, event: &CheckedEvent<'a>) -> EventReply<'a> {
    match (event.wanted, &event.channels[..]) {
        (None, _) => EventReply::OneChannel(Attributes::default()),
        (Some(wanted), [one]) => EventReply::OneChannel(about(call, *one, wanted).await),
        (Some(wanted), _) => EventReply::SeveralChannels(about_channels(call, event, wanted).await),
    }
}

async fn about_channels<'a>(
    call: &Call<'_>,
    event: &CheckedEvent<'a>,
    wanted: Wanted,
) -> ChannelsReply<'a> {
    let mut channels = Vec::with_capacity(event.channels.len());
    for channel in &event.channels {
        channels.push((channel.as_str(), about(call, *channel, wanted).await));
    }
    ChannelsReply { channels }
}

/// The event is out already, so what can't be told is left out: an error would have it published again.
async fn about(call: &Call<'_>, channel: ChannelName<'_>, wanted: Wanted) -> Attributes {
    let info = call.node.channel(&call.app.id, channel, wanted, call.now);
    info.await.unwrap_or_default().into()
}
