//! HTTP: bodies that never end, requests without a key, sessions that nobody uses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{query, read_until, signed_get};
use super::{Figure, Ground};
use crate::Failure;
use crate::proc::rss_bytes;
use crate::report::{float, megabytes};
use crate::websocket::http_head;

const BODIES: usize = 120;
const BODY_BYTES: usize = 1 << 20;
const SESSIONS: usize = 5000;
/// Limit for a read, and for the server to end abandoned sessions.
const PATIENCE: Duration = Duration::from_secs(20);

/// Half without a signature, half with the right key and time: each sends all but the last byte.
pub(super) fn endless_bodies(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let (host, before) = (ground.host, rss_bytes(&ground.host.pids)?);
    let query = query(host)?;
    let (body, mut open, mut most) = (vec![b'x'; BODY_BYTES - 1], Vec::new(), before);
    for number in 0..BODIES {
        let query = if number % 2 == 0 { "" } else { &query };
        let mut stream = TcpStream::connect(host.address)?;
        let head = format!(
            "POST /apps/{}/events?{query} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: {BODY_BYTES}\r\n\r\n",
            host.app.id
        );
        stream.set_write_timeout(Some(Duration::from_millis(50)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Who is refused meanwhile may see the end.
        let sent = stream.write_all(head.as_bytes());
        sent.and_then(|()| stream.write_all(&body)).ok();
        most = most.max(rss_bytes(&host.pids)?);
        open.push(stream);
    }
    let began = Instant::now();
    for mut stream in open {
        stream.read_to_end(&mut Vec::new()).ok();
    }
    Ok(vec![
        Figure {
            what: "MB that 120 of them hold",
            value: megabytes(most.saturating_sub(before)),
            target: Some(32.0),
        },
        Figure {
            what: "s until all are ended",
            value: began.elapsed().as_secs_f64(),
            target: Some(10.0),
        },
    ])
}

/// From one address, as fast as they are answered.
pub(super) fn strangers(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let (began, mut asked) = (Instant::now(), 0);
    while began.elapsed() < ground.time {
        for request in [
            "GET /apps/9/channels HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n",
            "GET /app/nobody?protocol=7 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(ground.host.address)?;
            stream.write_all(request.as_bytes())?;
            read_until(&mut stream, |bytes| http_head(bytes).is_some())?;
            asked += 1;
        }
    }
    Ok(vec![Figure {
        what: "requests per second",
        value: f64::from(asked) / began.elapsed().as_secs_f64(),
        target: None,
    }])
}

/// From one address, over one connection; each is opened by one request and never used.
pub(super) fn sessions(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let (host, before) = (ground.host, rss_bytes(&ground.host.pids)?);
    let mut stream = TcpStream::connect(host.address)?;
    for number in 0..SESSIONS {
        let request = format!(
            "POST /pusher/app/{}/1/s{number}/xhr?protocol=7 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 0\r\n\r\n",
            host.app.key
        );
        stream.write_all(request.as_bytes())?;
        read_until(&mut stream, |bytes| bytes.ends_with(b"0\r\n\r\n"))?;
    }
    let held = rss_bytes(&host.pids)?.saturating_sub(before);
    let (began, most) = (Instant::now(), clients(ground)?);
    while clients(ground)? > 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(vec![
        Figure {
            what: "sessions at most",
            value: float(most),
            target: Some(1024.0),
        },
        Figure {
            what: "MB that they hold",
            value: megabytes(held),
            target: Some(8.0),
        },
        Figure {
            what: "s until all are gone",
            value: began.elapsed().as_secs_f64(),
            target: Some(7.0),
        },
    ])
}

/// Clients besides the probes.
fn clients(ground: &Ground<'_>) -> Result<u64, Failure> {
    let answer: Value = serde_json::from_str(&signed_get(ground.host, "connections")?)?;
    let all = answer["connections"].as_u64().ok_or("no number")?;
    Ok(all.saturating_sub(ground.probes as u64))
}
