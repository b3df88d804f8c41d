//! Webhooks beside a flood: a client subscribes and unsubscribes public channels as fast as it can, and the endpoint takes 8 s for
//! each request. New members of another channel, and of another app, must be announced all the same.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::mixed::clients::Client;
use crate::Failure;
use crate::arguments::Arguments;
use crate::host::{App, Host, server_config, start_node};
use crate::report::{Finding, Section, float, say};
use crate::scenario::{seconds, section};

/// What the endpoint takes for a request while it is slow.
const SLOW: Duration = Duration::from_secs(8);
/// Presence channels of each app that the members join in turn.
const LOBBIES: usize = 20;
/// Between two members of an app.
const PAUSE: Duration = Duration::from_secs(1);
/// Subscriptions and unsubscriptions of the flood between two reads of the answers.
const ROUND: usize = 200;
/// From the subscription to the webhook: at the slow endpoint's app, no longer than one of its answers and a second; at the other, a
/// tenth of a second.
const SAME_APP_MS: f64 = 9_000.0;
const OTHER_APP_MS: f64 = 100.0;
/// After the flood, until what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both apps with their endpoints, one host.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let duration = seconds(arguments, 20.0);
    say(&format!(
        "\nhostile-webhooks, for {} s: public channels in a loop, an endpoint that takes {} s; members of 2 apps",
        duration.as_secs(),
        SLOW.as_secs()
    ))?;
    let (mut same, mut other, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=arguments.pairs {
        let (same_app, other_app, flooded) = measure(duration, arguments)?;
        say(&format!(
            "{round:>2} {flooded} channels came and went; the same app: {same_app}; the other: {other_app}"
        ))?;
        for (delays, slowest) in [(&same_app, &mut same), (&other_app, &mut other)] {
            slowest.push(delays.slowest_ms);
            if delays.missing > 0 {
                failures.push(format!(
                    "round {round}: {} members were not announced",
                    delays.missing
                ));
            }
        }
    }
    let findings = vec![
        Finding::new(
            "ms to a member's webhook beside the flood, the slowest",
            same,
            Some(SAME_APP_MS),
        ),
        Finding::new("the same in another app", other, Some(OTHER_APP_MS)),
    ];
    let mut section = section("hostile-webhooks", Vec::new(), findings, arguments)?;
    section.failures = failures;
    Ok(section)
}

/// How long members' webhooks took.
struct Delays {
    members: usize,
    missing: usize,
    slowest_ms: f64,
}

impl std::fmt::Display for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            members,
            missing,
            slowest_ms,
        } = self;
        write!(
            f,
            "{members} members, {missing} missing, the slowest after {slowest_ms:.0} ms"
        )
    }
}

fn measure(duration: Duration, arguments: &Arguments) -> Result<(Delays, Delays, u64), Failure> {
    let (slow, quick) = (Endpoint::start()?, Endpoint::start()?);
    let host = start_node("loudhailer", &config(&slow, &quick, arguments), arguments)?;
    let mut neighbour = host.again();
    neighbour.app = second_app(arguments);
    let residents = [
        Visitors::settle(&host, &slow)?,
        Visitors::settle(&neighbour, &quick)?,
    ];
    slow.is_slow.store(true, Ordering::Relaxed);
    let (over, flooded) = (AtomicBool::new(false), AtomicU64::new(0));
    let delays = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&host, &over, &flooded));
        let visits = residents.map(|residents| scope.spawn(move || residents.visit(duration)));
        let delays = visits.map(|visits| visits.join().map_err(panicked));
        over.store(true, Ordering::Relaxed);
        flood.join().map_err(panicked)??;
        let [same_app, other_app] = delays;
        Ok::<_, Failure>((same_app??, other_app??))
    })?;
    Ok((delays.0, delays.1, flooded.into_inner()))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Failure {
    "a thread of the load panicked".into()
}

fn second_app(arguments: &Arguments) -> App {
    App {
        id: format!("{}2", arguments.app_id),
        key: format!("{}-2", arguments.key),
        secret: format!("{}-2", arguments.secret),
    }
}

fn config(slow: &Endpoint, quick: &Endpoint, arguments: &Arguments) -> String {
    let endpoint = |endpoint: &Endpoint| {
        format!(
            "max_presence_members = 1000\nmax_messages_per_second = 100000000\n[[apps.webhooks]]\nurl = \"http://{}/\"\n",
            endpoint.address
        )
    };
    let App { id, key, secret } = second_app(arguments);
    format!(
        "{}{}[[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n{}",
        server_config(arguments),
        endpoint(slow),
        endpoint(quick)
    )
}

/// Subscribes to public channels that differ and leaves each at once, until it is over.
fn flood(host: &Host, over: &AtomicBool, flooded: &AtomicU64) -> Result<(), Failure> {
    let (mut client, mut number) = (Client::connect(host)?, 0_u64);
    while !over.load(Ordering::Relaxed) {
        for _ in 0..ROUND {
            let channel = format!("flood-{number}");
            client.send(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}))?;
            client.send(&json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}))?;
            number += 1;
        }
        for _ in 0..ROUND {
            client.expect("pusher_internal:subscription_succeeded")?;
        }
        flooded.store(number, Ordering::Relaxed);
    }
    Ok(())
}

/// Members that come to the presence channels of one app.
struct Visitors<'a> {
    host: &'a Host,
    endpoint: &'a Endpoint,
    /// Keep the channels occupied, so that a visit is one event.
    _residents: Vec<Client>,
}

impl<'a> Visitors<'a> {
    fn settle(host: &'a Host, endpoint: &'a Endpoint) -> Result<Self, Failure> {
        let mut residents = Vec::new();
        for lobby in 0..LOBBIES {
            let mut resident = Client::connect(host)?;
            resident.subscribe(host, &lobby_name(lobby))?;
            residents.push(resident);
        }
        endpoint.wait_for(LOBBIES, PATIENCE);
        Ok(Self {
            host,
            endpoint,
            _residents: residents,
        })
    }

    /// A member at a time, each in the next channel, for as long as this.
    fn visit(self, duration: Duration) -> Result<Delays, Failure> {
        let (began, mut visitors) = (Instant::now(), Vec::new());
        while began.elapsed() < duration {
            let (next, lobby) = (Instant::now() + PAUSE, visitors.len() % LOBBIES);
            let mut visitor = Client::connect(self.host)?;
            visitor.subscribe(self.host, &lobby_name(lobby))?;
            visitors.push((visitor, Instant::now()));
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let arrivals = self.endpoint.wait_for(LOBBIES + visitors.len(), PATIENCE);
        let mut slowest = Duration::ZERO;
        for lobby in 0..LOBBIES {
            let joined = visitors
                .iter()
                .skip(lobby)
                .step_by(LOBBIES)
                .map(|(_, at)| *at);
            let announced = arrivals.get(&lobby_name(lobby)).into_iter().flatten();
            // The first is the resident's.
            for (joined, announced) in joined.zip(announced.skip(1)) {
                slowest = slowest.max(announced.saturating_duration_since(joined));
            }
        }
        let arrived: usize = arrivals.values().map(Vec::len).sum();
        Ok(Delays {
            members: visitors.len(),
            missing: (LOBBIES + visitors.len()).saturating_sub(arrived),
            slowest_ms: float(u64::try_from(slowest.as_micros())?) / 1e3,
        })
    }
}

fn lobby_name(number: usize) -> String {
    format!("presence-lobby-{number}")
}

/// A backend that notes when each channel's members were announced.
struct Endpoint {
    address: SocketAddr,
    is_slow: Arc<AtomicBool>,
    arrivals: Arc<Mutex<HashMap<String, Vec<Instant>>>>,
}

impl Endpoint {
    fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = Self {
            address: listener.local_addr()?,
            is_slow: Arc::default(),
            arrivals: Arc::default(),
        };
        let (is_slow, arrivals) = (
            Arc::clone(&endpoint.is_slow),
            Arc::clone(&endpoint.arrivals),
        );
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (is_slow, arrivals) = (Arc::clone(&is_slow), Arc::clone(&arrivals));
                // Ends with the server's connection.
                thread::spawn(move || serve(stream, &is_slow, &arrivals));
            }
        });
        Ok(endpoint)
    }

    /// Waits for this many arrivals, or until the deadline. Returns those that came.
    fn wait_for(&self, members: usize, patience: Duration) -> HashMap<String, Vec<Instant>> {
        let deadline = Instant::now() + patience;
        loop {
            let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            let count: usize = arrivals.values().map(Vec::len).sum();
            if count >= members || Instant::now() >= deadline {
                return arrivals.clone();
            }
            drop(arrivals);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Answers the requests of one connection.
fn serve(
    stream: TcpStream,
    is_slow: &AtomicBool,
    arrivals: &Mutex<HashMap<String, Vec<Instant>>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        note(&serde_json::from_slice(&body).ok()?, arrivals);
        if is_slow.load(Ordering::Relaxed) {
            thread::sleep(SLOW);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        reader.get_mut().write_all(answer).ok()?;
    }
}

fn note(webhook: &Value, arrivals: &Mutex<HashMap<String, Vec<Instant>>>) {
    let events = webhook["events"].as_array().into_iter().flatten();
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    for event in events.filter(|event| event["name"] == "member_added") {
        let channel = event["channel"].as_str().unwrap_or_default().to_owned();
        arrivals.entry(channel).or_default().push(Instant::now());
    }
}
