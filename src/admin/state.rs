//! The node, its cluster and its apps at one glance.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::{AdminSettings, json as reply};
use crate::{
    app::{App, Limits},
    hub::AppChannels,
    metrics::Traffic,
    node::Node,
};

#[derive(Serialize)]
struct AppState<'a> {
    id: &'a str,
    key: &'a str,
    name: &'a str,
    enabled: bool,
    client_events: bool,
    connections: usize,
    channels: usize,
    limits: Value,
}

/// `GET /api/state`
pub(super) async fn show(
    node: web::Data<Node>,
    settings: web::Data<AdminSettings>,
) -> HttpResponse {
    let spans_nodes = node.engine().spans_nodes();
    let engine_ready = node.engine().health().is_ok();
    // Out of reach, the cluster is this node.
    let nodes = node.nodes().await.unwrap_or_default();
    let cluster: Vec<Value> = nodes
        .iter()
        .map(|n| json!({"node": n.name, "this": n.is_this, "connections": n.connections}))
        .collect();
    let this = nodes.iter().find(|node| node.is_this);
    let used = node.hub.apps();
    let total =
        |count: fn(&Traffic) -> u64| used.iter().map(|app| count(app.traffic())).sum::<u64>();
    let mut state = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": this.map(|node| &node.name),
        "engine": if spans_nodes { "redis" } else { "local" },
        "engine_ready": engine_ready,
        "ready": node.readiness().is_ok(),
        "phase": node.phase().name(),
        "uptime_s": node.started().elapsed().as_secs(),
        "public": settings.public.to_string(),
        "cluster": cluster,
        "apps": node.apps.all().iter().map(|app| app_state(app, &node)).collect::<Vec<_>>(),
        "messages_received": total(|traffic| traffic.messages_received.get()),
        "messages_sent": total(|traffic| traffic.messages_sent.get()),
        "api_messages": total(|traffic| traffic.api_messages.get()),
    });
    if let Some(latency) = node.publish_latency() {
        state["publish_latency_ms"] = json!({"p50": latency.p50_ms, "p99": latency.p99_ms});
    }
    reply(&state)
}

fn app_state(app: &App, node: &Node) -> Value {
    let channels = node.hub.app(&app.id);
    let state = AppState {
        id: &app.id,
        key: &app.key,
        name: &app.name,
        enabled: app.enabled,
        client_events: app.client_events,
        connections: channels.connections(),
        channels: listed(&channels),
        limits: limits(&app.limits),
    };
    json!(state)
}

/// The channels that have subscribers here, users' own left out.
fn listed(channels: &Arc<AppChannels>) -> usize {
    let names = channels.occupied("");
    names
        .iter()
        .filter(|(name, _)| !name.starts_with('#'))
        .count()
}

/// By the names of the configuration.
fn limits(limits: &Limits) -> Value {
    json!({
        "max_connections": limits.max_connections,
        "max_channel_name_length": limits.max_channel_name_length,
        "max_event_name_length": limits.max_event_name_length,
        "max_event_data_bytes": limits.max_event_data_bytes,
        "max_event_channels": limits.max_event_channels,
        "max_batch_events": limits.max_batch_events,
        "max_presence_members": limits.max_presence_members,
        "max_presence_user_id_length": limits.max_presence_user_id_length,
        "max_presence_user_info_bytes": limits.max_presence_user_info_bytes,
        "max_messages_per_second": limits.max_messages_per_second,
        "max_client_events_per_second": limits.max_client_events_per_second,
        "max_backend_events_per_second": limits.max_backend_events_per_second,
        "max_read_requests_per_second": limits.max_read_requests_per_second,
        "max_channels_per_connection": limits.max_channels_per_connection,
        "authorization_timeout_s": limits.authorization_timeout.as_ref().map(Duration::as_secs),
        "cache_ttl_s": limits.cache_ttl.as_secs(),
    })
}
