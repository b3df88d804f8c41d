//! A large channel under full publish load beside channels of one socket: these must not wait for it.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::host::Candidate::Server;
use crate::host::Host;
use crate::load::{Load, Subscriptions};
use crate::measure::{Bench, Shape};
use crate::report::{Finding, Run, Section, say_run, say_title};
use crate::scenario::{seconds, section};
use crate::schedule::Pace;

const QUIET: usize = 100;
const QUIET_EVENTS_PER_SECOND: f64 = 200.0;
/// Events on the way to the slowest of the many sockets: more would only fill the kernel's memory for them, which the quiet ones share.
const WINDOW: u64 = 64;
/// Tens of ms.
const QUIET_P99_MS: f64 = 50.0;

/// The latency of the quiet channels, alone and beside the large one.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let large = Shape {
        sockets: arguments.sockets.unwrap_or(10_000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Unpaced,
        duration: seconds(arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    let quiet = Shape {
        sockets: QUIET,
        channels: QUIET,
        first_channel: 1,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / QUIET_EVENTS_PER_SECOND)),
        publishers: 1,
        ..large
    };
    say_title(&format!(
        "fairness: {QUIET} channels of one socket, {QUIET_EVENTS_PER_SECOND} events/s over them; alone, then beside {} sockets under full load",
        large.sockets
    ))?;
    let (mut runs, mut p99) = (Vec::new(), Vec::new());
    for round in 1..=arguments.pairs {
        let runs_of_round = measure(large, quiet, round, arguments)?;
        p99.push(runs_of_round[1].latency.p99_us / 1e3);
        runs.extend(runs_of_round);
    }
    let finding = Finding::new(
        "p99 of the quiet channels beside the large one, ms",
        p99,
        Some(QUIET_P99_MS),
    );
    section("fairness", runs, vec![finding], arguments)
}

/// The quiet ones alone, beside the large one, and the large one.
fn measure(
    large: Shape,
    quiet: Shape,
    round: usize,
    arguments: &Arguments,
) -> Result<Vec<Run>, Failure> {
    let subscriptions = Subscriptions::spread(large.sockets, large.channels)?;
    let mut large_bench = Bench::start(Server, subscriptions, arguments)?;
    let mut bench = quiet_bench("quiet, alone", &large_bench.host, quiet)?;
    let mut alone = Contender::warm_up(&mut bench, quiet, u64::MAX, arguments)?;
    alone.measure(quiet.duration)?;
    let alone = alone.run(round, arguments)?;
    let mut bench = quiet_bench("quiet, beside", &large_bench.host, quiet)?;
    let mut beside = Contender::warm_up(&mut bench, quiet, u64::MAX, arguments)?;
    let mut full = Contender::warm_up(&mut large_bench, large, WINDOW, arguments)?;
    std::thread::scope(|scope| {
        let full = scope.spawn(|| full.measure(large.duration));
        let measured = beside.measure(quiet.duration);
        full.join().map_err(|_| "a publisher's thread panicked")??;
        measured
    })?;
    let runs = vec![
        alone,
        beside.run(round, arguments)?,
        full.run(round, arguments)?,
    ];
    for run in &runs {
        say_run(run)?;
    }
    Ok(runs)
}

/// The quiet channels' sockets on the same host.
fn quiet_bench(name: &'static str, host: &Host, quiet: Shape) -> Result<Bench, Failure> {
    let subscriptions = Subscriptions {
        first_channel: quiet.first_channel,
        ..Subscriptions::spread(quiet.sockets, quiet.channels)?
    };
    let mut host = host.again();
    host.name = name;
    Ok(Bench {
        load: Load::connect(&host, subscriptions)?,
        host,
        rss_empty: None,
        rss_subscribed: None,
    })
}
