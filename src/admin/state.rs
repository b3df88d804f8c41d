//! The node, its cluster and its apps at one glance.

use std::{cmp::Reverse, sync::Arc, time::SystemTime};

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::{AdminSettings, json as reply};
use crate::{
    app::{App, Moment},
    hub::AppChannels,
    metrics::Traffic,
    node::Node,
    settings::{Secrets, Setting},
    store::AppControl,
    tls::TlsStatus,
};

/// Apps that are shown; `GET /api/apps` has all of them.
const APPS_MAX: usize = 200;

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
    control: web::Data<AppControl>,
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
        "public": &settings.public,
        "cluster": cluster,
        "app_store": control.status.get(),
        "connections": node.hub.connections(),
        "apps": busiest(&node).iter().map(|app| app_state(app, &node)).collect::<Vec<_>>(),
        "apps_total": node.apps.all().len(),
        "messages_received": total(|traffic| traffic.messages_received.get()),
        "messages_sent": total(|traffic| traffic.messages_sent.get()),
        "api_messages": total(|traffic| traffic.api_messages.get()),
    });
    if !settings.tls.listeners().is_empty() {
        state["tls"] = tls_state(&settings.tls, SystemTime::now());
    }
    if let Some(latency) = node.publish_latency() {
        state["publish_latency_ms"] = json!({"p50": latency.p50_ms, "p99": latency.p99_ms});
    }
    reply(&state)
}

/// The certificates that are served, why a change of them was refused, and the names that ACME is asked for.
fn tls_state(tls: &TlsStatus, now: SystemTime) -> Value {
    let states = tls.states().into_iter();
    let certificates = states.map(|(listener, state)| {
        json!({
            "listener": listener.name(),
            "file": state.files.cert,
            "names": state.certificate.names,
            "days_left": state.certificate.days_left(now),
        })
    });
    let mut state = json!({"certificates": certificates.collect::<Vec<_>>(), "error": tls.error()});
    let acme = tls.acme().into_iter().map(|name| {
        let next = name.next_order.and_then(|at| at.duration_since(now).ok());
        json!({
            "name": name.name,
            "next_order_s": next.unwrap_or_default().as_secs(),
            "error": name.error,
        })
    });
    let acme: Vec<_> = acme.collect();
    if !acme.is_empty() {
        state["acme"] = acme.into();
    }
    state
}

/// The apps with the most connections, in the order of the store. A dashboard asks for them again and again.
fn busiest(node: &Node) -> Vec<Arc<App>> {
    let all = node.apps.all();
    if all.len() <= APPS_MAX {
        return all.to_vec();
    }
    let connections = node.hub.connections_by_app();
    let mut apps: Vec<(usize, &Arc<App>)> = all.iter().enumerate().collect();
    apps.sort_by_key(|(_, app)| Reverse(connections.get(&*app.id).copied().unwrap_or_default()));
    apps.truncate(APPS_MAX);
    apps.sort_unstable_by_key(|(place, _)| *place);
    apps.into_iter().map(|(_, app)| Arc::clone(app)).collect()
}

fn app_state(app: &App, node: &Node) -> Value {
    let used = node.hub.used_app(&app.id);
    let state = AppState {
        id: &app.id,
        key: app.shown_key(Moment::now()).map_or("", |it| it.key),
        name: &app.name,
        enabled: app.enabled,
        client_events: app.client_events,
        connections: used.as_ref().map_or(0, |app| app.connections()),
        channels: used.as_ref().map_or(0, listed),
        limits: app.limits.write(Secrets::Hidden),
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
