//! All sockets on one channel: at a fixed rate, and as fast as it goes.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Floor, Server};
use crate::measure::{Shape, measure};
use crate::report::{Finding, Run, Section, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

/// Events at a fixed rate.
pub(super) fn steady(arguments: &Arguments) -> Result<Section, Failure> {
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / arguments.rate)),
        duration: seconds(arguments, 10.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "steady: {} sockets on one channel, {} events/s",
        shape.sockets, arguments.rate
    ))?;
    let rounds = pairs(shape, arguments)?;
    let p99 = per_round(&rounds, |pair| {
        Some(pair[1].latency.p99_us / pair[0].latency.p99_us)
    });
    let findings = vec![
        cpu_ratio(&rounds, 1.2),
        Finding::new("p99, × floor", p99, None),
    ];
    section("steady", rounds.concat(), findings, arguments)
}

/// Each publisher sends its next event as soon as the last one was answered.
pub(super) fn full(arguments: &Arguments) -> Result<Section, Failure> {
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
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
    let findings = vec![cpu_ratio(&rounds, 0.35)];
    section("full", rounds.concat(), findings, arguments)
}

/// Floor and server in turn; every second round the other way round. Each pair is returned floor first.
fn pairs(shape: Shape, arguments: &Arguments) -> Result<Vec<Vec<Run>>, Failure> {
    let mut rounds = Vec::new();
    for round in 1..=arguments.pairs {
        let mut order = [Floor, Server];
        if round % 2 == 0 {
            order.reverse();
        }
        let runs = order.map(|candidate| measure(candidate, shape, round, arguments));
        let mut pair = runs.into_iter().collect::<Result<Vec<_>, _>>()?;
        if round % 2 == 0 {
            pair.reverse();
        }
        rounds.push(pair);
    }
    Ok(rounds)
}

fn cpu_ratio(rounds: &[Vec<Run>], target: f64) -> Finding {
    let ratios = per_round(rounds, |pair| {
        Some(pair[1].cpu_us_each()? / pair[0].cpu_us_each()?)
    });
    Finding::new("CPU per delivery, × floor", ratios, Some(target))
}
