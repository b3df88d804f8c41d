//! `GET /channels` of an app with very many occupied channels.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Figure;
use super::world::World;
use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Host;
use crate::report::float;
use crate::scenario::swarm::Swarm;
use crate::websocket::http_head;

const CHANNELS: usize = 100_000;
const REQUESTS: u32 = 10;
const MS_MAX: f64 = 100.0;
const REDIS_MS_MAX: f64 = 30.0;

/// Asks again and again, for all and for none.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let world = World::start(arguments)?;
    let channels = arguments.channels.unwrap_or(CHANNELS);
    let mut swarm = Swarm::connect(&world.nodes[0], 40, 2)?;
    for channel in 0..channels {
        swarm.subscribe(channel % 40, &format!("crowd-{channel}"));
    }
    swarm.pump(|answers| answers.succeeded >= channels)?;
    let mut figures = Vec::new();
    for (what, prefix) in [("all", ""), ("none", "nothing-")] {
        let cpu = world.redis_cpu_ns()?;
        let mut times = Vec::new();
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            let bytes = list(&world.nodes[1], prefix)?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            let expected = if prefix.is_empty() { channels * 10 } else { 10 };
            if bytes < expected {
                return Err(format!("only {bytes} bytes for {what}").into());
            }
        }
        let cpu = float(world.redis_cpu_ns()? - cpu) / 1e6 / f64::from(REQUESTS);
        times.sort_by(f64::total_cmp);
        figures.push(Figure::at_most(
            &format!("{what}: median ms"),
            times[times.len() / 2],
            MS_MAX,
        ));
        figures.push(Figure::at_most(
            &format!("{what}: ms of Redis"),
            cpu,
            REDIS_MS_MAX,
        ));
    }
    Ok(figures)
}

/// The bytes of the answer's body.
fn list(host: &Host, prefix: &str) -> Result<usize, Failure> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let path = format!("/apps/{}/channels", host.app.id);
    let filter = if prefix.is_empty() {
        String::new()
    } else {
        format!("&filter_by_prefix={prefix}")
    };
    let query = format!(
        "auth_key={}&auth_timestamp={seconds}&auth_version=1.0{filter}",
        host.app.key
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(host.app.secret.as_bytes())?;
    mac.update(format!("GET\n{path}\n{query}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let mut stream = TcpStream::connect(host.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request = format!(
        "GET {path}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        host.authority
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = http_head(&answer).ok_or("no answer")?;
    if answer.get(9..12) != Some(b"200") {
        return Err(String::from_utf8_lossy(&answer[..end]).into_owned().into());
    }
    Ok(answer.len() - end)
}
