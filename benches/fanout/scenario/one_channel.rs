//! All sockets on one channel: at a fixed rate, and as fast as it goes.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Floor, Other, Server};
use crate::measure::{Shape, measure};
use crate::report::{Finding, Run, Section, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

/// Events at a fixed rate.
pub(super) fn steady(arguments: &Arguments) -> Result<Section, Failure> {
    let rate = arguments.rate.unwrap_or(30.0);
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / rate)),
        duration: seconds(arguments, 10.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "steady: {} sockets on one channel, {rate} events/s",
        shape.sockets
    ))?;
    let rounds = pairs(shape, arguments)?;
    let p99 = per_round(&rounds, |pair| {
        Some(pair[1].latency.p99_us / pair[0].latency.p99_us)
    });
    let findings = vec![
        cpu_ratio(&rounds, 1.12),
        Finding::new("p99, × floor", p99, Some(1.3)),
        other_ratio(&rounds),
    ];
    section("steady", rounds.concat(), findings, arguments)
}

/// Each publisher sends its next event as soon as the last one was answered.
pub(super) fn full(arguments: &Arguments) -> Result<Section, Failure> {
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Unpaced,
        duration: seconds(arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "full: {} sockets on one channel, {} publishers, unpaced",
        shape.sockets, shape.publishers
    ))?;
    let rounds = pairs(shape, arguments)?;
    let findings = vec![cpu_ratio(&rounds, 0.2), other_ratio(&rounds)];
    section("full", rounds.concat(), findings, arguments)
}

/// Floor and server in turn, and another build of the server if one is named.
fn pairs(shape: Shape, arguments: &Arguments) -> Result<Vec<Vec<Run>>, Failure> {
    let other = arguments.against.as_ref().map(|_| (Other, shape));
    let candidates: Vec<_> = [(Floor, shape), (Server, shape)]
        .into_iter()
        .chain(other)
        .collect();
    (1..=arguments.pairs)
        .map(|round| measure(&candidates, round, arguments))
        .collect()
}

fn cpu_ratio(rounds: &[Vec<Run>], target: f64) -> Finding {
    let ratios = per_round(rounds, |pair| {
        Some(pair[1].cpu_us_each()? / pair[0].cpu_us_each()?)
    });
    Finding::new("CPU per delivery, × floor", ratios, Some(target))
}

/// Against the other build, if one is named; else it has no rounds.
fn other_ratio(rounds: &[Vec<Run>]) -> Finding {
    let ratios = per_round(rounds, |runs| {
        Some(runs[1].cpu_us_each()? / runs.get(2)?.cpu_us_each()?)
    });
    Finding::new("CPU per delivery, × the other build", ratios, None)
}
