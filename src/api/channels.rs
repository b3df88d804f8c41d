//! What the API tells about channels.

use std::sync::Arc;

use actix_web::{HttpResponse, http::StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Call,
    attributes::{self, Attributes},
    error::ApiError,
    reply,
};
use crate::{
    engine::{Occupied, Wanted},
    protocol::{ChannelKind, ChannelName},
};

/// `GET channels`: the occupied ones, by name.
pub(super) async fn list(call: &Call<'_>) -> Result<HttpResponse, ApiError> {
    #[derive(Serialize)]
    struct Listing {
        #[serde(serialize_with = "attributes::as_map")]
        channels: Vec<(Arc<str>, Attributes)>,
    }
    let prefix = call
        .parameters
        .text("filter_by_prefix")?
        .unwrap_or_default();
    let info = call.parameters.text("info")?.unwrap_or_default();
    let wanted = attributes::of_listing(&info).map_err(ApiError::Info)?;
    if wanted.user_count && !ChannelKind::of(&prefix).is_presence() {
        return Err(ApiError::UserCountUnfiltered);
    }
    let list = move |occupied: Vec<Occupied>| {
        let channels = occupied.into_iter().map(|channel| {
            let attributes = Attributes {
                user_count: wanted.user_count.then_some(channel.users),
                subscription_count: wanted.subscription_count.then_some(channel.subscriptions),
                cache: None,
            };
            (channel.name, attributes)
        });
        reply::json_text(&Listing {
            channels: channels.collect(),
        })
    };
    let listing = call
        .node
        .list_occupied(&call.app.id, &prefix, wanted, list)
        .await?;
    Ok(reply::builder(StatusCode::OK).body(listing))
}

/// `GET channels/{channel}`: one, whether occupied or not.
pub(super) async fn show(call: &Call<'_>, channel: &str) -> Result<HttpResponse, ApiError> {
    #[derive(Serialize)]
    struct Channel {
        occupied: bool,
        #[serde(flatten)]
        attributes: Attributes,
    }
    let name = named(call, channel)?;
    let kind = name.kind();
    let info = call.parameters.text("info")?.unwrap_or_default();
    let wanted = attributes::of_channel(&info).map_err(ApiError::Info)?;
    if wanted.user_count && !kind.is_presence() {
        return Err(ApiError::NotPresence);
    }
    if wanted.cache && !kind.cache {
        return Err(ApiError::NotCache);
    }
    let channel = call
        .node
        .channel(&call.app.id, name, wanted, call.now)
        .await?;
    Ok(reply::json(&Channel {
        occupied: channel.occupied,
        attributes: channel.into(),
    }))
}

/// `GET channels/{channel}/users`: the members of a presence channel; with their info if `with_user_info=1` asks for it, as soketi has it.
pub(super) async fn users(call: &Call<'_>, channel: &str) -> Result<HttpResponse, ApiError> {
    #[derive(Serialize)]
    struct Users<'a> {
        users: Vec<User<'a>>,
    }
    #[derive(Serialize)]
    struct User<'a> {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_info: Option<&'a RawValue>,
    }
    let name = named(call, channel)?;
    if !name.kind().is_presence() {
        return Err(ApiError::NotPresence);
    }
    let with_info = call.parameters.bytes("with_user_info") == Some(b"1");
    let members = call.node.users(&call.app.id, name).await?;
    let users = members.iter().map(|member| User {
        id: &member.user_id,
        user_info: with_info
            .then(|| serde_json::from_str(&member.user_info).unwrap_or(RawValue::NULL)),
    });
    Ok(reply::json(&Users {
        users: users.collect(),
    }))
}

/// `GET channels/{channel}/stats`: the counts under their old names.
pub(super) async fn stats(call: &Call<'_>, channel: &str) -> Result<HttpResponse, ApiError> {
    #[derive(Serialize)]
    struct Stats {
        occupied: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_count: Option<usize>,
        connection_count: usize,
    }
    let name = named(call, channel)?;
    let wanted = Wanted {
        user_count: true,
        subscription_count: true,
        cache: false,
    };
    let channel = call
        .node
        .channel(&call.app.id, name, wanted, call.now)
        .await?;
    Ok(reply::json(&Stats {
        occupied: channel.occupied,
        user_count: channel.user_count,
        connection_count: channel.subscription_count.unwrap_or_default(),
    }))
}

fn named<'a>(call: &Call<'_>, channel: &'a str) -> Result<ChannelName<'a>, ApiError> {
    ChannelName::parse(channel, call.app.limits.name_lengths()).map_err(ApiError::Channel)
}
