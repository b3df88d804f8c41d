//! A server of very many apps: how fast it starts, what it holds, and what a reload with one change costs it and its clients.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use super::mixed::clients::Client;
use crate::Failure;
use crate::arguments::Arguments;
use crate::host::{Host, server_config, start_node};
use crate::proc::settled_rss_bytes;
use crate::report::{Finding, Section, float, megabytes, say};
use crate::scenario::section;

const APPS: usize = 10_000;
/// Of them with a client each, when the metrics are read.
const USED: usize = 3_000;
const RELOADS: usize = 50;
/// Clients that ping while the server reloads, so that each worker has some.
const PINGING: usize = 4;
/// Between two pings of a client.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts, reloads, reads the metrics.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    say(&format!(
        "\nmany-apps: {APPS} apps, {RELOADS} reloads with one change"
    ))?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.pairs {
        rounds.push(measure(arguments)?);
    }
    let each = |figure: fn(&Figures) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
    let findings = vec![
        Finding::new("s until it listens", each(|it| it.start_s), Some(1.0)),
        Finding::new("MB with all apps", each(|it| it.resident_mb), Some(40.0)),
        Finding::new("ms of a reload, the median", each(|it| it.reload_ms), None),
        Finding::new("the slowest", each(|it| it.slowest_ms), Some(50.0)),
        Finding::new("ms of a ping meanwhile, p99", each(|it| it.busy.0), None),
        Finding::new("the slowest", each(|it| it.busy.1), None),
        Finding::new(
            "ms of a ping without reloads, p99",
            each(|it| it.alone.0),
            None,
        ),
        Finding::new("the slowest", each(|it| it.alone.1), None),
        Finding::new(
            "MB of metrics of 3,000 apps with a client each",
            each(|it| it.metrics_mb),
            Some(2.0),
        ),
    ];
    section("many-apps", Vec::new(), findings, arguments)
}

struct Figures {
    start_s: f64,
    resident_mb: f64,
    reload_ms: f64,
    slowest_ms: f64,
    /// p99 and maximum of a ping.
    busy: (f64, f64),
    alone: (f64, f64),
    metrics_mb: f64,
}

fn measure(arguments: &Arguments) -> Result<Figures, Failure> {
    let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let began = Instant::now();
    let host = start_node("loudhailer", &config(admin, 0, arguments), arguments)?;
    let start_s = began.elapsed().as_secs_f64();
    let resident_mb = megabytes(settled_rss_bytes(&host.pids)?);
    let mut reloads = Histogram::<u64>::new(3)?;
    let busy = pings_beside(&host, || {
        for number in 1..=RELOADS {
            host.replace_config(&config(admin, number, arguments))?;
            let began = Instant::now();
            let answer = ask(admin, "POST /api/reload", "{}")?;
            if answer.contains(r#""changed":[]"#) {
                // The watch was faster, and how long it took is not known.
                continue;
            }
            reloads.record(micros(began.elapsed()))?;
            if !answer.contains(r#""changed":["t9999"]"#) {
                return Err(format!("not one change: {answer}").into());
            }
        }
        Ok(())
    })?;
    let lasting = Duration::from_secs(2);
    let alone = pings_beside(&host, || {
        thread::sleep(lasting);
        Ok(())
    })?;
    let ms = |us: u64| float(us) / 1e3;
    Ok(Figures {
        start_s,
        resident_mb,
        reload_ms: ms(reloads.value_at_quantile(0.5)),
        slowest_ms: ms(reloads.max()),
        busy,
        alone,
        metrics_mb: metrics_mb(&host, admin)?,
    })
}

/// The first app is that of all scenarios. `change` is the name of the last.
fn config(admin: SocketAddr, change: usize, arguments: &Arguments) -> String {
    let port = format!("[admin]\nport = {}\n", admin.port());
    let mut text = server_config(arguments).replace("[admin]\nport = 0\n", &port);
    for number in 1..APPS {
        let name = if number == APPS - 1 { change } else { 0 };
        let _ = write!(
            text,
            "\n[[apps]]\nid = \"t{number}\"\nkey = \"key-of-{number}\"\nsecret = \"secret-of-{number}\"\nname = \"Shop {name}\"\n\
             client_events = true\nmax_connections = 500\nallowed_origins = [\"shop-{number}.example\"]\nrequire_origin = false\n"
        );
    }
    text
}

/// p99 and maximum of a ping, in milliseconds, while `work` is done.
fn pings_beside(
    host: &Host,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<(f64, f64), Failure> {
    let over = AtomicBool::new(false);
    let mut all = Histogram::<u64>::new(3)?;
    thread::scope(|scope| {
        let over = &over;
        let pinging = [(); PINGING].map(|()| scope.spawn(move || ping(host, over)));
        let done = work();
        over.store(true, Ordering::Relaxed);
        for pinging in pinging {
            let pings = pinging
                .join()
                .map_err(|_| "a thread of the load panicked")?;
            all.add(pings?)?;
        }
        done
    })?;
    let ms = |us: u64| float(us) / 1e3;
    Ok((ms(all.value_at_quantile(0.99)), ms(all.max())))
}

fn ping(host: &Host, over: &AtomicBool) -> Result<Histogram<u64>, Failure> {
    let mut client = Client::connect(host)?;
    let mut pings = Histogram::new(3)?;
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.send(&json!({"event": "pusher:ping", "data": {}}))?;
        client.expect("pusher:pong")?;
        pings.record(micros(began.elapsed()))?;
        thread::sleep(PAUSE);
    }
    Ok(pings)
}

fn metrics_mb(host: &Host, admin: SocketAddr) -> Result<f64, Failure> {
    let mut clients = Vec::with_capacity(USED);
    for number in 1..=USED {
        let mut tenant = host.again();
        tenant.app.key = format!("key-of-{number}");
        clients.push(Client::connect(&tenant)?);
    }
    let text = ask(admin, "GET /metrics", "")?;
    Ok(megabytes(u64::try_from(text.len())?))
}

fn ask(admin: SocketAddr, line: &str, body: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(admin)?;
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
