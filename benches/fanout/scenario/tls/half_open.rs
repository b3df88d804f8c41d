//! Clients that begin a handshake and say no more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::host::Candidate::Sealed;
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape, of_known};
use crate::proc::{rss_bytes, settled_rss_bytes};
use crate::report::{Finding, Section, float, say, say_run, say_title};
use crate::scenario::section;
use crate::schedule::Pace;

/// Of the server's 8,192 HTTP connections all are taken then, and the others are turned away.
const HALF_OPEN: usize = 10_000;
/// Sockets that hear events meanwhile.
const OTHERS: usize = 100;
const QUIET: Duration = Duration::from_secs(4);
/// The beginning of a hello whose rest is to come.
const BEGINNING: [u8; 64] = {
    let mut bytes = [0; 64];
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]] = [22, 3, 1, 2, 0];
    [bytes[5], bytes[6], bytes[7], bytes[8]] = [1, 0, 1, 252];
    bytes
};

/// What they hold, how long they stay, and what others notice.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let count = arguments.sockets.unwrap_or(HALF_OPEN);
    say_title(&format!(
        "tls-half-open: {count} handshakes that begin and do not go on"
    ))?;
    let subscriptions = Subscriptions::spread(OTHERS, 1)?;
    let mut bench = Bench::start_at_rest(Sealed, subscriptions, arguments)?;
    let address = bench.host.tls.ok_or("it has no TLS")?;
    let before = of_known(&bench.host, rss_bytes)?.ok_or("its process is not known")?;
    let shape = Shape {
        sockets: OTHERS,
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_millis(10)),
        duration: Duration::from_secs(5),
        publishers: 1,
        batch: 1,
    };
    // The publisher has its connection before the others take all that there are.
    let mut contender = Contender::warm_up(&mut bench, shape, u64::MAX, arguments)?;
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = TcpStream::connect(address)?;
        // One that is turned away may be closed already.
        let _ = client.write_all(&BEGINNING);
        clients.push(client);
    }
    let held = of_known(&contender.bench.host, rss_bytes)?.ok_or("its process is not known")?;
    contender.measure(shape.duration)?;
    let run = contender.run(1, arguments)?;
    say_run(&run)?;
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(60)))?;
        // An alert at most; what matters is the end.
        match client.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err("a half-open handshake was left open".into());
            }
            _ => {}
        }
    }
    let gone = began.elapsed().as_secs_f64();
    // The server gives memory back once no more clients have come or gone for 2 s.
    std::thread::sleep(QUIET);
    let after = of_known(&bench.host, settled_rss_bytes)?.ok_or("its process is not known")?;
    say(&format!("   all ended after {gone:.0} s"))?;
    let kb = |bytes: u64| float(bytes.saturating_sub(before)) / 1024.0;
    let findings = vec![
        Finding::new(
            "KB per half-open handshake",
            vec![kb(held) / float(u64::try_from(count)?)],
            None,
        ),
        Finding::new(
            "MB left when they have gone",
            vec![kb(after) / 1024.0],
            None,
        ),
        Finding::new("seconds until the last has gone", vec![gone], Some(25.0)),
        Finding::new(
            "p99 in ms of others meanwhile",
            vec![run.latency.p99_us / 1e3],
            Some(20.0),
        ),
    ];
    section("tls-half-open", vec![run], findings, arguments)
}
