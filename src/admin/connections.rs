//! The connection inspector: this node's clients, and an end to one of them.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::{AdminError, LIMIT, LIMIT_MAX, json};
use crate::{
    hub::{ConnectionView, Direction, SORTS, Search, SortBy},
    node::Node,
    protocol::SocketId,
};

/// Connections before a page: sorting costs memory for each of them.
const OFFSET_MAX: usize = 100_000;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    app: Option<String>,
    channel: Option<String>,
    user: Option<String>,
    search: Option<String>,
    sort: Option<String>,
    order: Option<String>,
    offset: Option<usize>,
    limit: Option<usize>,
}

impl ListQuery {
    fn search(self) -> Result<Search, AdminError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let sort = match given(self.sort) {
            None => SortBy::default(),
            Some(name) => {
                let known = SORTS.iter().find(|(known, _)| *known == name);
                let (_, sort) =
                    known.ok_or_else(|| unknown("sort", SORTS.map(|(name, _)| name)))?;
                *sort
            }
        };
        let direction = match given(self.order).as_deref() {
            None | Some("asc") => Direction::Ascending,
            Some("desc") => Direction::Descending,
            Some(_) => return Err(unknown("order", ["asc", "desc"])),
        };
        Ok(Search {
            app_id: given(self.app),
            channel: given(self.channel),
            user_id: given(self.user),
            text: given(self.search),
            id: None,
            sort,
            direction,
            offset: self.offset.unwrap_or_default().min(OFFSET_MAX),
            limit: self.limit.unwrap_or(LIMIT).min(LIMIT_MAX),
        })
    }
}

fn unknown<const N: usize>(parameter: &str, known: [&str; N]) -> AdminError {
    AdminError::BadRequest(format!("{parameter} must be one of {}", known.join(", ")))
}

#[derive(Serialize)]
struct Row<'a, C: Serialize> {
    app: &'a str,
    socket_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    channels: C,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_version: Option<&'a str>,
    protocol: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    connected_ms: u64,
    backlog_bytes: usize,
}

impl<'a, C: Serialize> Row<'a, C> {
    fn of(view: &'a ConnectionView, channels: C, now_ms: u64) -> Self {
        let profile = &view.profile;
        Self {
            app: &profile.app_id,
            socket_id: view.id.to_string(),
            user_id: view.user_id.as_deref(),
            channels,
            transport: profile.transport.name(),
            client: profile.client.as_deref(),
            client_version: profile.version.as_deref(),
            protocol: profile.protocol,
            address: view.address.map(|address| address.to_string()),
            origin: profile.origin.as_deref(),
            connected_ms: now_ms.saturating_sub(u64::from(view.age_s) * 1000),
            backlog_bytes: view.backlog_bytes,
        }
    }
}

/// `GET /api/connections`
pub(super) async fn list(
    node: web::Data<Node>,
    query: web::Query<ListQuery>,
) -> Result<HttpResponse, AdminError> {
    let search = query.into_inner().search()?;
    let offset = search.offset;
    let (found, total) = node.find_connections(search).await;
    let now_ms = unix_ms();
    let rows = found
        .iter()
        .map(|view| Row::of(view, view.channels.len(), now_ms));
    let rows: Vec<_> = rows.collect();
    let list = serde_json::json!({"connections": rows, "offset": offset, "total": total});
    Ok(json(&list))
}

/// `GET /api/connections/{socket_id}`
pub(super) async fn show(
    node: web::Data<Node>,
    id: web::Path<String>,
) -> Result<HttpResponse, AdminError> {
    let search = Search {
        id: Some(parse(&id)?),
        limit: 1,
        ..Search::default()
    };
    let (found, _) = node.find_connections(search).await;
    let view = found.first().ok_or(AdminError::NotFound("connection"))?;
    let channels: Vec<&str> = view.channels.iter().map(|name| &**name).collect();
    Ok(json(&Row::of(view, channels, unix_ms())))
}

/// `DELETE /api/connections/{socket_id}`
pub(super) async fn disconnect(
    node: web::Data<Node>,
    id: web::Path<String>,
) -> Result<HttpResponse, AdminError> {
    if node.disconnect(parse(&id)?).await {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(AdminError::NotFound("connection"))
    }
}

fn parse(id: &str) -> Result<SocketId, AdminError> {
    let id = SocketId::parse(id);
    let id = id.map_err(|_| AdminError::BadRequest("a socket id is digits.digits".to_owned()))?;
    id.ok_or(AdminError::NotFound("connection"))
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
