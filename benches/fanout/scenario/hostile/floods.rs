//! Sockets that send as fast as they can.

use std::net::TcpStream;

use flate2::{Compress, Compression, FlushCompress};
use serde_json::json;

use super::client::{Flood, go_on, websocket};
use super::{Figure, Ground};
use crate::Failure;
use crate::proc::Cpu;
use crate::report::float;
use crate::websocket::{COMPRESSED, PING, TEXT, client_frame};

const COMPRESSES: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
/// Of an empty pong.
const PONG_BYTES: u64 = 2;

pub(super) fn pings(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 1, &client_frame(PING, b""))
}

pub(super) fn pings_of_many(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 50, &client_frame(PING, b""))
}

pub(super) fn nonsense(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 1, &client_frame(TEXT, b"3"))
}

pub(super) fn text_pings(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(
        ground,
        1,
        &text(&json!({"event": "pusher:ping", "data": {}})),
    )
}

pub(super) fn wrong_subscribes(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let auth = format!("{}:{}", ground.host.app.key, "0".repeat(64));
    let data = json!({"channel": "private-x", "auth": auth});
    let unit = text(&json!({"event": "pusher:subscribe", "data": data}));
    flood(ground, 1, &unit)
}

pub(super) fn pairs(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 1, &pair())
}

pub(super) fn pairs_of_many(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 50, &pair())
}

pub(super) fn deflated(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 1, &deflated_message()?)
}

pub(super) fn deflated_of_many(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    flood(ground, 50, &deflated_message()?)
}

/// Requests one behind the other, without waiting for answers.
pub(super) fn pipelined(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let stream = TcpStream::connect(ground.host.address)?;
    let flood = Flood::over(stream, b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")?;
    go_on(ground.time);
    flood.end();
    Ok(Vec::new())
}

/// The same as [`pings`], and what each costs the server.
pub(super) fn pings_counted(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let flood = Flood::over(websocket(ground.host, "")?, &client_frame(PING, b""))?;
    let (before, received) = (Cpu::of(&ground.host.pids)?, flood.received());
    go_on(ground.time);
    let spent = Cpu::of(&ground.host.pids)?.since(before);
    let pings = (flood.received() - received) / PONG_BYTES;
    flood.end();
    Ok(vec![Figure {
        what: "µs of CPU per ping",
        value: float(spent.total_ns) / 1e3 / float(pings.max(1)),
        target: Some(1.0),
    }])
}

fn flood(ground: &Ground<'_>, sockets: usize, unit: &[u8]) -> Result<Vec<Figure>, Failure> {
    let floods = (0..sockets).map(|_| Flood::over(websocket(ground.host, COMPRESSES)?, unit));
    let floods = floods.collect::<Result<Vec<_>, _>>()?;
    go_on(ground.time);
    floods.into_iter().for_each(Flood::end);
    Ok(Vec::new())
}

fn text(message: &serde_json::Value) -> Vec<u8> {
    client_frame(TEXT, message.to_string().as_bytes())
}

fn pair() -> Vec<u8> {
    let ask = |event: &str| text(&json!({"event": event, "data": {"channel": "x"}}));
    [ask("pusher:subscribe"), ask("pusher:unsubscribe")].concat()
}

/// 60 KB in some 100 bytes.
fn deflated_message() -> Result<Vec<u8>, Failure> {
    let message = json!({"event": "pusher:ping", "data": "a".repeat(60_000)}).to_string();
    let mut payload = Vec::with_capacity(64 << 10);
    let mut deflate = Compress::new(Compression::best(), false);
    deflate.compress_vec(message.as_bytes(), &mut payload, FlushCompress::Sync)?;
    // The tail that is left out on the wire (RFC 7692).
    payload.truncate(payload.len() - 4);
    let mut frame = client_frame(TEXT, &payload);
    frame[0] |= COMPRESSED;
    Ok(frame)
}
