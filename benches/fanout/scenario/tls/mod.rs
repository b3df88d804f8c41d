//! The same sockets with TLS: what sealing costs beside a floor that has one session per socket and seals each frame by itself.

mod half_open;
mod handshakes;
mod proxied;

use std::time::Duration;

use crate::Failure;
use crate::arguments::{Arguments, Scenario};
use crate::host::Candidate::{Sealed, SealedFloor, Server};
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape, measure, measure_on};
use crate::report::{Finding, Run, Section, say_run, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

/// Events that may be on their way at full speed.
const FLOOR_WINDOW: u64 = 128;

/// All of it, or the part that was asked for.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Section>, Failure> {
    match arguments.scenario {
        Scenario::TlsHandshakes => Ok(vec![
            handshakes::run(arguments)?,
            handshakes::beside(arguments)?,
        ]),
        Scenario::TlsHalfOpen => Ok(vec![half_open::run(arguments)?]),
        Scenario::TlsProxied => proxied::run(arguments),
        _ => deliveries(arguments),
    }
}

/// Steady, as fast as it goes, and idle.
fn deliveries(arguments: &Arguments) -> Result<Vec<Section>, Failure> {
    let steady = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(
            1.0 / arguments.rate.unwrap_or(30.0),
        )),
        duration: seconds(arguments, 10.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    let full = Shape {
        pace: Pace::Unpaced,
        duration: seconds(arguments, 5.0),
        ..steady
    };
    // The floor merges nothing: what the server takes in a second it needs a minute for, and then the others' publishers are idle for too long.
    let few_waiting = Arguments {
        window: arguments.window.min(FLOOR_WINDOW),
        ..arguments.clone()
    };
    Ok(vec![
        one_channel("tls-steady", steady, 1.10, arguments)?,
        one_channel("tls-full", full, 0.25, &few_waiting)?,
        idle(arguments)?,
    ])
}

fn one_channel(
    name: &str,
    shape: Shape,
    target: f64,
    arguments: &Arguments,
) -> Result<Section, Failure> {
    say_title(&format!("{name}: {} sockets on one channel", shape.sockets))?;
    let shapes = [(Sealed, shape), (SealedFloor, shape), (Server, shape)];
    let rounds = (1..=arguments.pairs).map(|round| measure(&shapes, round, arguments));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    let ratio = |base: usize| {
        per_round(&rounds, |runs| {
            Some(runs[0].cpu_us_each()? / runs[base].cpu_us_each()?)
        })
    };
    let findings = vec![
        Finding::new("CPU per delivery, × floor with TLS", ratio(1), Some(target)),
        Finding::new("CPU per delivery, × the server without TLS", ratio(2), None),
    ];
    section(name, rounds.concat(), findings, arguments)
}

/// 1,000 sockets on one channel and 30 events a second.
fn thirty_a_second(arguments: &Arguments) -> Shape {
    Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / 30.0)),
        duration: seconds(arguments, 5.0),
        publishers: 4,
        batch: 1,
    }
}

fn idle(arguments: &Arguments) -> Result<Section, Failure> {
    let subscriptions = Subscriptions::spread(arguments.sockets.unwrap_or(15_000), 1)?;
    let one_event = Shape::one_event(subscriptions.sockets);
    say_title(&format!("tls-idle: {} sockets", subscriptions.sockets))?;
    let mut runs = Vec::new();
    for candidate in [SealedFloor, Server, Sealed] {
        let mut bench = Bench::start_at_rest(candidate, subscriptions, arguments)?;
        let run = measure_on(&mut bench, one_event, u64::MAX, arguments)?;
        say_run(&run)?;
        runs.push(run);
    }
    let each = |run: &Run| run.kb_per_socket().into_iter().collect();
    let findings = vec![
        Finding::new(
            "KB per subscribed socket with TLS",
            each(&runs[2]),
            Some(8.0),
        ),
        Finding::new("KB per subscribed socket without", each(&runs[1]), None),
    ];
    section("tls-idle", runs, findings, arguments)
}
