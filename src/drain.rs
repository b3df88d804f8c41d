//! The orderly end, in named phases, each with its own deadline and told once: not ready, closing, flushing, stopped.

use std::{
    io,
    net::{Shutdown, TcpListener},
    time::{Duration, Instant},
};

use actix_rt::time::sleep;
use actix_server::ServerHandle;
use socket2::SockRef;
use tracing::{debug, info, warn};

use crate::{
    config::Server,
    node::{Node, Phase},
    transport::fallback::Carrier,
};

/// What a client may need to answer a close frame, on top of the drain window; shards cut it off then.
const CLOSE_GRACE: Duration = Duration::from_secs(3);
/// More than a TCP handshake takes that is under way, and the accepting thread for what waits.
const HANDSHAKE_TIME: Duration = Duration::from_millis(300);
/// More than a busy machine's accepting thread takes to hear that it is to pause.
const PAUSE_TIME: Duration = Duration::from_millis(100);
/// How often a stopping server looks whether everyone has gone.
const POLL: Duration = Duration::from_millis(20);

/// Not ready; no new connections and every client told to reconnect; HTTP replies finished; webhooks sent.
pub async fn drain(
    server: &Server,
    node: &Node,
    carrier: Option<&Carrier>,
    doors: &[TcpListener],
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
    doors: &[TcpListener],
    clients: &ServerHandle,
) {
    node.enter_phase(Phase::Closing);
    let drain_window = server.drain_window_s.get();
    let (connections, window_s) = (node.hub.connections(), drain_window.as_secs());
    info!(
        connections,
        window_s, "closing: clients are told to reconnect"
    );
    close_doors(doors, clients).await;
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

/// Takes no new connections, and answers all that were made: what waits in a listening socket that is closed is reset.
async fn close_doors(doors: &[TcpListener], clients: &ServerHandle) {
    let doors: Vec<_> = doors.iter().map(SockRef::from).collect();
    for door in &doors {
        if let Err(error) = ignore_new_connections(door) {
            debug!(%error, "connections that are made while the door closes may be reset");
        }
    }
    sleep(HANDSHAKE_TIME).await;
    clients.pause().await;
    // The accepting thread is told, and does not answer; a socket shut under it would be logged as an error.
    sleep(PAUSE_TIME).await;
    // From here on new connections are refused, and a client's balancer finds another node at once; left hanging, pusher-js rests
    // for 15 s.
    for door in &doors {
        if let Err(error) = door.shutdown(Shutdown::Both) {
            warn!(%error, "the listening socket could not be closed early");
        }
    }
}

/// Has the kernel drop the first segment of each new connection, which the client sends again after a second. Connections that have begun
/// are completed.
#[cfg(target_os = "linux")]
fn ignore_new_connections(door: &SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
    // Classic BPF: of byte 13 of the TCP header, the flags SYN (2) and ACK (16); SYN alone is dropped.
    door.attach_filter(&[
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn ignore_new_connections(_door: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

async fn flush(server: &Server, node: &Node) {
    node.enter_phase(Phase::Flushing);
    let webhook_events = node.webhooks.counts().waiting;
    info!(webhook_events, "flushing: webhooks that wait are sent");
    node.engine().close().await;
    let deadline = Instant::now() + server.webhook_grace_s.get();
    node.webhooks.close(deadline).await;
}
