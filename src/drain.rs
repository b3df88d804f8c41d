//! The orderly end, in named phases, each with its own deadline and told once: not ready, closing, flushing, stopped.

use std::time::{Duration, Instant};

use actix_rt::time::sleep;
use actix_server::ServerHandle;
use tracing::{info, warn};

use crate::{
    config::Server,
    door::{self, Door},
    node::{Node, Phase},
    transport::fallback::Carrier,
};

/// What a client may need to answer a close frame, on top of the drain window; shards cut it off then.
const CLOSE_GRACE: Duration = Duration::from_secs(3);
/// How often a stopping server looks whether everyone has gone.
const POLL: Duration = Duration::from_millis(20);

/// Not ready; no new connections and every client told to reconnect; HTTP replies finished; webhooks sent.
pub async fn drain(
    server: &Server,
    node: &Node,
    carrier: Option<&Carrier>,
    doors: Vec<&mut Door>,
    clients: &ServerHandle,
) {
    let not_ready = server.not_ready_s.get();
    if !not_ready.is_zero() {
        let seconds = not_ready.as_secs();
        info!(
            seconds,
            "not ready: balancers may notice before anyone is sent away"
        );
        node.enter_phase(Phase::NotReady);
        sleep(not_ready).await;
    }
    if let Some(carrier) = carrier {
        carrier.stop();
    }
    close_clients(server, node, doors, clients).await;
    // What a backend was told is accepted must still reach the other nodes.
    clients.stop(true).await;
    flush(server, node).await;
    node.enter_phase(Phase::Stopped);
}

async fn close_clients(
    server: &Server,
    node: &Node,
    doors: Vec<&mut Door>,
    clients: &ServerHandle,
) {
    node.enter_phase(Phase::Closing);
    let drain_window = server.drain_window_s.get();
    let (connections, window_s) = (node.hub.connections(), drain_window.as_secs());
    info!(
        connections,
        window_s, "closing: clients are told to reconnect"
    );
    door::close(doors, clients).await;
    node.hub.drain(drain_window);
    let deadline = Instant::now() + drain_window + CLOSE_GRACE;
    while node.hub.connections() > 0 && Instant::now() < deadline {
        sleep(POLL).await;
    }
    let left = node.hub.connections();
    if left > 0 {
        warn!(connections = left, "clients did not finish closing in time");
    }
}

async fn flush(server: &Server, node: &Node) {
    node.enter_phase(Phase::Flushing);
    let webhook_events = node.webhooks.counts().waiting;
    info!(webhook_events, "flushing: webhooks that wait are sent");
    node.engine().close().await;
    let deadline = Instant::now() + server.webhook_grace_s.get();
    node.webhooks.close(deadline).await;
}
