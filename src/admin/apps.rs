//! An app's channels, and the event creator.

use std::{sync::Arc, time::Instant};

use actix_web::{
    HttpResponse,
    web::{self, Payload},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{AdminError, LIMIT, LIMIT_MAX, json, read};
use crate::{
    api,
    app::App,
    engine::{Cached, Occupied, Wanted},
    hub::Search,
    node::Node,
    presence::Member,
    protocol::{Access, ChannelKind, ChannelName},
};

/// Sockets of a channel that are shown.
const SOCKETS_MAX: usize = 200;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'static str,
    cache: bool,
    subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<usize>,
}

/// `GET /api/apps/{id}/channels`
pub(super) async fn channels(
    node: web::Data<Node>,
    id: web::Path<String>,
    query: web::Query<ListQuery>,
) -> Result<HttpResponse, AdminError> {
    let app = find(&node, &id)?;
    let wanted = Wanted {
        user_count: true,
        ..Wanted::default()
    };
    let sorted = |mut channels: Vec<Occupied>| {
        channels.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        channels
    };
    let channels = node
        .list_occupied(&app.id, &query.prefix, wanted, sorted)
        .await?;
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let rows = channels.iter().take(limit).map(|channel| {
        let kind = ChannelKind::of(&channel.name);
        Row {
            name: &channel.name,
            kind: kind_name(kind),
            cache: kind.cache,
            subscriptions: channel.subscriptions,
            users: kind.is_presence().then_some(channel.users),
        }
    });
    let rows: Vec<Row<'_>> = rows.collect();
    Ok(json(
        &serde_json::json!({"channels": rows, "total": channels.len()}),
    ))
}

#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    members: Vec<MemberRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached: Option<CachedEvent>,
    sockets: Vec<String>,
}

#[derive(Serialize)]
struct MemberRow {
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct CachedEvent {
    event: Value,
    data: Value,
    ttl_s: u64,
}

/// `GET /api/apps/{id}/channels/{name}`
pub(super) async fn channel(
    node: web::Data<Node>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, AdminError> {
    let (id, name) = path.into_inner();
    let app = find(&node, &id)?;
    let name = ChannelName::parse(&name, app.limits.name_lengths())?;
    let kind = name.kind();
    let wanted = Wanted {
        user_count: kind.is_presence(),
        subscription_count: true,
        cache: kind.cache,
    };
    let info = node.channel(&app.id, name, wanted, Instant::now()).await?;
    let search = Search {
        app_id: Some(app.id.to_string()),
        channel: Some(name.as_str().to_owned()),
        limit: SOCKETS_MAX,
        ..Search::default()
    };
    let (sockets, _) = node.find_connections(search).await;
    let row = Row {
        name: name.as_str(),
        kind: kind_name(kind),
        cache: kind.cache,
        subscriptions: info.subscription_count.unwrap_or_default(),
        users: info.user_count,
    };
    Ok(json(&Detail {
        row,
        members: members(&node, &app, name).await?,
        cached: info.cache.flatten().and_then(cached),
        sockets: sockets.iter().map(|socket| socket.id.to_string()).collect(),
    }))
}

/// The channel's users, on all nodes.
async fn members(
    node: &Node,
    app: &App,
    name: ChannelName<'_>,
) -> Result<Vec<MemberRow>, AdminError> {
    if !name.kind().is_presence() {
        return Ok(Vec::new());
    }
    let mut users = node.users(&app.id, name).await?;
    users.sort_unstable_by(|one, other| one.user_id.cmp(&other.user_id));
    let row = |member: Member| {
        let user_info = Some(member.user_info).filter(|info| **info != *"null");
        let user_info = user_info.and_then(|info| RawValue::from_string(info.to_string()).ok());
        MemberRow {
            user_id: member.user_id.to_string(),
            user_info,
        }
    };
    Ok(users.into_iter().map(row).collect())
}

fn cached(cached: Cached) -> Option<CachedEvent> {
    let mut event = serde_json::from_slice::<Value>(cached.frame.payload()).ok()?;
    Some(CachedEvent {
        event: event["event"].take(),
        data: event["data"].take(),
        ttl_s: cached.ttl_s,
    })
}

/// `POST /api/apps/{id}/events`
pub(super) async fn create_event(
    node: web::Data<Node>,
    id: web::Path<String>,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    let app = find(&node, &id)?;
    let body = read(body).await?;
    Ok(api::create_event(&node, &app, &body, Instant::now()).await)
}

fn find(node: &Node, id: &str) -> Result<Arc<App>, AdminError> {
    node.apps.by_id(id).ok_or(AdminError::NotFound("app"))
}

fn kind_name(kind: ChannelKind) -> &'static str {
    match kind.access {
        Access::Public => "public",
        Access::Private if kind.encrypted => "private-encrypted",
        Access::Private => "private",
        Access::Presence => "presence",
        Access::User | Access::Online | Access::Session => "user",
    }
}
