//! `/metrics`: soketi's names, and what operators miss there. Gauges are read from the state when they are asked for.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web};

use super::{
    AdminSettings,
    exposition::{Exposition, Labels, Row, Unit},
};
use crate::{
    hub::{AppChannels, ShardGauges},
    metrics::{Labelled, Traffic},
    node::{Node, Phase},
    protocol::ChannelKind,
    store::{AppControl, StoreStatus},
    tls::TlsStatus,
};

/// Client libraries and versions that are told apart. Clients choose what they say.
const LIBRARIES_MAX: usize = 50;

/// A counter's name, its help, and what it counts.
type Count = (&'static str, &'static str, fn(&Traffic) -> u64);

/// soketi's, besides its gauge and its histogram.
const AS_SOKETI: [Count; 14] = [
    ("new_connections_total", "Clients that were let in.", |t| {
        t.connections.get()
    }),
    ("new_disconnections_total", "Clients that have gone.", |t| {
        t.disconnections.get()
    }),
    (
        "socket_received_bytes",
        "Bytes of messages from clients.",
        |t| t.bytes_received.get(),
    ),
    (
        "socket_transmitted_bytes",
        "Bytes of messages to clients, with frame headers, before compression.",
        |t| t.bytes_sent.get(),
    ),
    (
        "ws_messages_received_total",
        "Messages from clients.",
        |t| t.messages_received.get(),
    ),
    (
        "ws_messages_sent_total",
        "Messages to clients: deliveries and answers; pings are left out.",
        |t| t.messages_sent.get(),
    ),
    (
        "http_received_bytes",
        "Bytes of bodies of signed API requests.",
        |t| t.api_bytes_received.get(),
    ),
    (
        "http_transmitted_bytes",
        "Bytes of bodies of the answers to them.",
        |t| t.api_bytes_sent.get(),
    ),
    ("http_calls_received_total", "Signed API requests.", |t| {
        t.api_calls.get()
    }),
    (
        "horizontal_adapter_resolved_promises",
        "Questions about the cluster's state that Redis answered.",
        |t| t.queries_answered.get(),
    ),
    (
        "horizontal_adapter_uncomplete_promises",
        "Questions about the cluster's state that were not answered.",
        |t| t.queries_failed.get(),
    ),
    (
        "horizontal_adapter_sent_requests",
        "Events that went to other nodes through Redis.",
        |t| t.peer_events_sent.get(),
    ),
    (
        "horizontal_adapter_received_requests",
        "Events that came from other nodes through Redis.",
        |t| t.peer_events_received.get(),
    ),
    (
        "horizontal_adapter_received_responses",
        "Answers of Redis; as resolved promises, because one answer is enough.",
        |t| t.queries_answered.get(),
    ),
];
/// What soketi lacks.
const OURS: [Count; 2] = [
    (
        "api_messages_total",
        "Events that backends published.",
        |t| t.api_messages.get(),
    ),
    (
        "client_events_total",
        "Events of clients that were relayed.",
        |t| t.client_events.get(),
    ),
];

/// `GET /metrics`
pub(super) async fn show(
    node: web::Data<Node>,
    settings: web::Data<AdminSettings>,
    control: web::Data<AppControl>,
) -> HttpResponse {
    let mut exposition = Exposition::new(&settings.metrics_prefix);
    let apps = used_apps(&node);
    let port = settings.public_port.to_string();
    as_soketi(&mut exposition, &apps, &port);
    channels(&mut exposition, &node, &apps);
    incidents(&mut exposition, &node);
    webhooks(&mut exposition, &node);
    app_store(&mut exposition, &node, &control.status);
    certificates(&mut exposition, &settings.tls, SystemTime::now());
    clients(&mut exposition, measure(&node).await);
    this_node(&mut exposition, &node).await;
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(exposition.into_text())
}

/// The apps that were used since the start, also those that are gone.
fn used_apps(node: &Node) -> Vec<Arc<AppChannels>> {
    let mut apps = node.hub.apps();
    apps.sort_unstable_by(|one, other| one.app_id().cmp(other.app_id()));
    apps
}

/// Those that had clients.
fn with_clients(apps: &[Arc<AppChannels>]) -> impl Iterator<Item = &Arc<AppChannels>> {
    apps.iter()
        .filter(|app| app.traffic().connections.get() > 0)
}

/// A counter's rows: one for each app whose count is not 0. Of thousands of apps each uses a few of the features.
fn counted(
    apps: &[Arc<AppChannels>],
    count: fn(&Traffic) -> u64,
    labels: impl Fn(&AppChannels) -> Labels,
) -> impl Iterator<Item = Row> {
    apps.iter().filter_map(move |app| {
        let count = count(app.traffic());
        (count > 0).then(|| (labels(app), count as f64))
    })
}

fn number(count: usize) -> f64 {
    count as f64
}

fn alone(value: f64) -> [Row; 1] {
    [(Vec::new(), value)]
}

/// soketi's sixteen.
fn as_soketi(exposition: &mut Exposition, apps: &[Arc<AppChannels>], port: &str) {
    let labels = |app: &AppChannels| {
        vec![
            ("app_id", app.app_id().to_string()),
            ("port", port.to_owned()),
        ]
    };
    exposition.gauge(
        "connected",
        "Clients that are connected now.",
        with_clients(apps).map(|app| (labels(app), number(app.connections()))),
    );
    for (name, help, count) in AS_SOKETI {
        exposition.counter(name, help, counted(apps, count, labels));
    }
    exposition.times(
        "horizontal_adapter_resolve_time",
        "Milliseconds until Redis answered a question about the cluster's state.",
        Unit::Milliseconds,
        apps.iter()
            .filter(|app| !app.traffic().query_time.is_empty())
            .map(|app| (labels(app), &app.traffic().query_time)),
    );
    let labels = |app: &AppChannels| vec![("app_id", app.app_id().to_string())];
    for (name, help, count) in OURS {
        exposition.counter(name, help, counted(apps, count, labels));
    }
}

/// What is in the channels now.
fn channels(exposition: &mut Exposition, node: &Node, apps: &[Arc<AppChannels>]) {
    let (mut occupied, mut subscriptions, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for app in with_clients(apps) {
        let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut seats, mut users) = (0, 0);
        for (name, count) in app.occupied("") {
            let kind = ChannelKind::of(&name);
            if name.starts_with('#') {
                continue;
            }
            *by_kind.entry(kind_name(kind)).or_default() += 1;
            seats += count;
            if kind.is_presence() {
                users += node.engine().users_here(app.app_id(), &name);
            }
        }
        let app_id = || ("app_id", app.app_id().to_string());
        occupied.extend(by_kind.into_iter().map(|(kind, count)| {
            let labels = vec![app_id(), ("channel_type", kind.to_owned())];
            (labels, number(count))
        }));
        subscriptions.push((vec![app_id()], number(seats)));
        if users > 0 {
            members.push((vec![app_id()], number(users)));
        }
    }
    exposition.gauge(
        "active_channels",
        "Channels that have subscribers on this node.",
        occupied,
    );
    exposition.gauge(
        "subscriptions",
        "Subscriptions on this node.",
        subscriptions,
    );
    exposition.gauge(
        "presence_members",
        "Distinct users of the presence channels that have subscribers on this node, of the whole cluster.",
        members,
    );
}

fn kind_name(kind: ChannelKind) -> &'static str {
    if kind.is_presence() {
        "presence"
    } else if kind.takes_client_events() || kind.encrypted {
        "private"
    } else {
        "public"
    }
}

fn incidents(exposition: &mut Exposition, node: &Node) {
    let incidents = &node.incidents;
    let rows = |label: &'static str, counts: &Labelled| {
        let counts = counts.get().into_iter();
        let rows = counts.map(|(value, count)| (vec![(label, value)], count as f64));
        rows.collect::<Vec<Row>>()
    };
    exposition.counter(
        "disconnections_total",
        "Clients that have gone, by the server's close code; client: closed by the client, none: without a close.",
        rows("code", &incidents.disconnections),
    );
    exposition.counter(
        "connection_errors_total",
        "Clients that were not let in, by close code.",
        rows("code", &incidents.refusals),
    );
    exposition.counter(
        "auth_failures_total",
        "Signatures and tokens that did not fit.",
        rows("kind", &incidents.auth_failures),
    );
    exposition.counter(
        "rate_limit_triggered_total",
        "API requests and client events beyond a rate, and clients that began to be read more slowly.",
        rows("limiter_type", &incidents.rate_limited),
    );
    exposition.counter(
        "tls_failures_total",
        "TLS sessions that did not begin, and connections that took one port for the other.",
        rows("reason", &incidents.tls_failures),
    );
    exposition.counter(
        "slow_consumer_total",
        "Clients that were closed because too much waited for them.",
        [(
            vec![("action", "closed".to_owned())],
            incidents.slow_consumers.get() as f64,
        )],
    );
}

fn webhooks(exposition: &mut Exposition, node: &Node) {
    let counts = node.webhooks.counts();
    let results = [
        ("delivered", counts.delivered),
        ("superseded", counts.superseded),
        ("overflow", counts.overflow.total()),
        ("expired", counts.expired.total()),
    ];
    exposition.counter(
        "webhook_deliveries_total",
        "Webhook events, by what became of them.",
        results.map(|(result, count)| (vec![("result", result.to_owned())], count as f64)),
    );
    let dropped = [("overflow", counts.overflow), ("expired", counts.expired)];
    let dropped = dropped.iter().flat_map(|(reason, tally)| {
        tally.iter().map(|(kind, count)| {
            let event = ("event", kind.word().to_owned());
            (vec![event, ("reason", (*reason).to_owned())], count as f64)
        })
    });
    exposition.counter(
        "webhook_dropped_total",
        "Webhook events that were dropped, by kind and reason.",
        dropped,
    );
    exposition.gauge(
        "webhook_queue_depth",
        "Webhook events that wait for an endpoint.",
        alone(number(counts.waiting)),
    );
    exposition.times(
        "webhook_latency_seconds",
        "From a request's oldest event to the endpoint's taking it.",
        Unit::Seconds,
        [(Vec::new(), node.webhooks.latency())],
    );
}

fn app_store(exposition: &mut Exposition, node: &Node, status: &StoreStatus) {
    let state = status.get();
    exposition.gauge(
        "apps",
        "Apps that are served.",
        alone(number(node.apps.all().len())),
    );
    exposition.gauge(
        "app_store_available",
        "1 while the file or database of the apps can be read.",
        alone(f64::from(u8::from(state.available))),
    );
    exposition.gauge(
        "app_problems",
        "Apps that are not valid and were left as they were.",
        alone(number(state.problems.len())),
    );
    let reloads = status.reloads.get().into_iter();
    exposition.counter(
        "app_reloads_total",
        "Readings of the apps, by what came of them: changed, unchanged, refused, unavailable.",
        reloads.map(|(result, count)| (vec![("result", result)], count as f64)),
    );
}

fn certificates(exposition: &mut Exposition, tls: &TlsStatus, now: SystemTime) {
    if tls.listeners().is_empty() {
        return;
    }
    let states = tls.states().into_iter();
    exposition.gauge(
        "tls_certificate_days_left",
        "Days until a certificate expires; negative once it has.",
        states.map(|(listener, state)| {
            let labels = vec![
                ("listener", listener.name().to_owned()),
                ("file", state.files.cert.display().to_string()),
            ];
            (labels, state.certificate.days_left(now) as f64)
        }),
    );
    let reloads = tls.reloads.get().into_iter();
    exposition.counter(
        "tls_certificate_reloads_total",
        "Readings of changed certificates, by what came of them: changed, refused.",
        reloads.map(|(result, count)| (vec![("result", result)], count as f64)),
    );
    let orders = tls.acme_orders.get().into_iter();
    exposition.counter(
        "acme_orders_total",
        "Orders of certificates, by what came of them: issued, failed.",
        orders.map(|(result, count)| (vec![("result", result)], count as f64)),
    );
}

async fn measure(node: &Node) -> ShardGauges {
    let mut all = ShardGauges::default();
    for answer in node.hub.ask(|shard| shard.measure()) {
        // A shard that ends has no clients any more.
        let ShardGauges {
            waiting_bytes,
            profiles,
        } = answer.await.unwrap_or_default();
        all.waiting_bytes += waiting_bytes;
        all.profiles.extend(profiles);
    }
    all
}

fn clients(exposition: &mut Exposition, gauges: ShardGauges) {
    exposition.gauge(
        "send_queue_bytes",
        "Bytes that wait for clients that read slowly.",
        alone(number(gauges.waiting_bytes)),
    );
    let mut libraries: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (profile, clients) in gauges.profiles {
        let said = |text: &Option<Box<str>>| text.as_deref().unwrap_or("unknown").to_owned();
        let mut library = (said(&profile.client), said(&profile.version));
        if libraries.len() >= LIBRARIES_MAX && !libraries.contains_key(&library) {
            library = ("other".to_owned(), "other".to_owned());
        }
        *libraries.entry(library).or_default() += clients;
    }
    let rows = libraries.into_iter().map(|((library, version), clients)| {
        let labels = vec![("library", library), ("version", version)];
        (labels, number(clients))
    });
    exposition.gauge(
        "client_info",
        "Clients that are connected now, by what they say they are.",
        rows,
    );
}

async fn this_node(exposition: &mut Exposition, node: &Node) {
    exposition.times(
        "publish_to_deliver_seconds",
        "From a backend's event to its last subscriber on a worker; of events that left together, the first.",
        Unit::Seconds,
        [(Vec::new(), &node.hub.latency)],
    );
    // Out of reach, there is nobody to count.
    let peers = node
        .nodes()
        .await
        .map_or(0, |nodes| nodes.len().saturating_sub(1));
    exposition.gauge(
        "cluster_peers",
        "Other nodes in the cluster.",
        alone(number(peers)),
    );
    let engine_ready = f64::from(u8::from(node.engine().health().is_ok()));
    exposition.gauge(
        "engine_ready",
        "1 while the cluster's state is within reach.",
        alone(engine_ready),
    );
    let phases = Phase::ALL.map(|phase| {
        let is_now = f64::from(u8::from(node.phase() == phase));
        (vec![("phase", phase.name().to_owned())], is_now)
    });
    exposition.gauge("phase", "1 for the phase that the node is in.", phases);
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    exposition.gauge("build_info", "1.", [(version, 1.0)]);
}
