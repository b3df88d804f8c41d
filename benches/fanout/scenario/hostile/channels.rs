//! Very many channels: on one socket, and in one listing.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::json;

use super::client::{read_until, signed_get, websocket};
use super::{Figure, Ground};
use crate::Failure;
use crate::host::Host;
use crate::proc::Cpu;
use crate::report::float;
use crate::websocket::{TEXT, client_frame};

const ON_ONE_SOCKET: usize = 40_000;
const LISTED: usize = 100_000;
/// Subscriptions that are asked for at once.
const AT_ONCE: usize = 1000;

/// One socket listens to 40,000 channels: what the first and the last thousand cost.
pub(super) fn subscribe(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let costs = subscribe_to(ground.host, ON_ONE_SOCKET)?.1;
    let figure = |what, value| Figure {
        what,
        value,
        target: Some(6.0),
    };
    Ok(vec![
        figure("µs of CPU for each of the first 1,000", costs[0]),
        figure(
            "µs of CPU for each of the last 1,000",
            costs[costs.len() - 1],
        ),
    ])
}

/// A backend lists 100,000 channels again and again.
pub(super) fn list(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let (_socket, _) = subscribe_to(ground.host, LISTED)?;
    let (began, mut listings, mut bytes) = (Instant::now(), 0, 0);
    while began.elapsed() < ground.time {
        bytes = signed_get(ground.host, "channels")?.len();
        listings += 1;
    }
    if bytes < LISTED {
        return Err(format!("a listing has only {bytes} bytes").into());
    }
    Ok(vec![Figure {
        what: "ms for each listing",
        value: began.elapsed().as_secs_f64() * 1e3 / f64::from(listings),
        target: None,
    }])
}

/// Subscribes one socket to this many channels. Returns the server's CPU time per subscription in µs, for each batch in order.
fn subscribe_to(host: &Host, channels: usize) -> Result<(TcpStream, Vec<f64>), Failure> {
    let mut stream = websocket(host, "")?;
    let mut costs = Vec::new();
    for first in (0..channels).step_by(AT_ONCE) {
        let names = (first..first + AT_ONCE).map(|number| format!("room-{number}"));
        let asks = names.map(|name| {
            let ask = json!({"event": "pusher:subscribe", "data": {"channel": name}});
            client_frame(TEXT, ask.to_string().as_bytes())
        });
        let asks = asks.collect::<Vec<_>>().concat();
        let before = Cpu::of(&host.pids)?;
        stream.write_all(&asks)?;
        read_until(&mut stream, |bytes| {
            let succeeded = b"subscription_succeeded";
            bytes.len() > AT_ONCE * succeeded.len() && count(bytes, succeeded) == AT_ONCE
        })?;
        let spent = Cpu::of(&host.pids)?.since(before);
        costs.push(float(spent.total_ns) / 1e3 / float(AT_ONCE as u64));
    }
    Ok((stream, costs))
}

fn count(bytes: &[u8], part: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, part).count()
}
