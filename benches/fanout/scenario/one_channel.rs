//! All sockets on one channel: at a fixed rate, and as fast as it goes.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{self, Floor, Floors, Other, Server};
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
    let rounds = rounds(&[Server, Floor, Floors], shape, arguments)?;
    let p99 = |base: usize| {
        per_round(&rounds, |runs| {
            Some(runs[0].latency.p99_us / runs[base].latency.p99_us)
        })
    };
    // The targets are for equals; what one thread costs is shown beside (docs/adr/0005).
    let findings = vec![
        cpu_ratio(
            &rounds,
            2,
            "CPU per delivery, × floor on as many threads",
            Some(1.12),
        ),
        Finding::new("p99, × floor on as many threads", p99(2), Some(1.3)),
        cpu_ratio(&rounds, 1, "CPU per delivery, × floor on one thread", None),
        Finding::new("p99, × floor on one thread", p99(1), None),
        cpu_ratio(&rounds, 3, "CPU per delivery, × the other build", None),
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
    let rounds = rounds(&[Server, Floor], shape, arguments)?;
    let findings = vec![
        cpu_ratio(&rounds, 1, "CPU per delivery, × floor", Some(0.2)),
        cpu_ratio(&rounds, 2, "CPU per delivery, × the other build", None),
    ];
    section("full", rounds.concat(), findings, arguments)
}

/// The candidates in turn, and another build of the server if one is named.
fn rounds(
    candidates: &[Candidate],
    shape: Shape,
    arguments: &Arguments,
) -> Result<Vec<Vec<Run>>, Failure> {
    let other = arguments.against.as_ref().map(|_| Other);
    let candidates: Vec<_> = candidates
        .iter()
        .copied()
        .chain(other)
        .map(|candidate| (candidate, shape))
        .collect();
    (1..=arguments.pairs)
        .map(|round| measure(&candidates, round, arguments))
        .collect()
}

/// The server's CPU time by that of the candidate in this place; no rounds if there is none.
fn cpu_ratio(rounds: &[Vec<Run>], base: usize, what: &str, target: Option<f64>) -> Finding {
    let ratios = per_round(rounds, |runs| {
        Some(runs[0].cpu_us_each()? / runs.get(base)?.cpu_us_each()?)
    });
    Finding::new(what, ratios, target)
}
