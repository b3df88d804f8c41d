//! Signed publishes that reach nobody: what the HTTP side costs by itself.

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Bare, Other, Server};
use crate::measure::{Shape, measure};
use crate::report::{Finding, Section, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

/// Single publishes and batches, against a bare HTTP handler.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let single = Shape {
        sockets: 0,
        channels: 1,
        first_channel: 0,
        pace: Pace::Unpaced,
        duration: seconds(arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(16),
        batch: 1,
    };
    let batch = Shape {
        batch: arguments.batch.unwrap_or(10),
        ..single
    };
    say_title(&format!(
        "ingest: nobody listens, {} publishers, CPU per event",
        single.publishers
    ))?;
    let mut candidates = vec![(Bare, single), (Server, single), (Server, batch)];
    candidates.extend(arguments.against.as_ref().map(|_| (Other, single)));
    let rounds = (1..=arguments.pairs).map(|round| measure(&candidates, round, arguments));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    let single = per_round(&rounds, |runs| {
        Some(runs[1].cpu_us_each()? / runs[0].cpu_us_each()?)
    });
    let batch = per_round(&rounds, |runs| {
        Some(runs[2].cpu_us_each()? / runs[1].cpu_us_each()?)
    });
    let other = per_round(&rounds, |runs| {
        Some(runs[1].cpu_us_each()? / runs.get(3)?.cpu_us_each()?)
    });
    let findings = vec![
        Finding::new("CPU per request, × bare handler", single, Some(1.3)),
        Finding::new("CPU per event in a batch, × single", batch, Some(0.35)),
        Finding::new("CPU per request, × the other build", other, None),
    ];
    section("ingest", rounds.concat(), findings, arguments)
}
