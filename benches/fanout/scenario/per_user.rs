//! Many channels of one socket each, as when every user has a channel of his own.

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Bare, Floor, Other, Server};
use crate::measure::{Shape, measure};
use crate::report::{Finding, Section, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

/// Publish and delivery, against a bare HTTP handler plus a bare send.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let channels = arguments.channels.unwrap_or(10_000);
    let shape = Shape {
        sockets: channels,
        channels,
        first_channel: 0,
        pace: Pace::Unpaced,
        duration: seconds(arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(16),
        batch: 1,
    };
    let nobody = Shape {
        sockets: 0,
        ..shape
    };
    say_title(&format!(
        "per-user: {} channels of one socket, {} publishers",
        shape.channels, shape.publishers
    ))?;
    let mut candidates = vec![(Bare, nobody), (Floor, shape), (Server, shape)];
    candidates.extend(arguments.against.as_ref().map(|_| (Other, shape)));
    let rounds = (1..=arguments.pairs).map(|round| measure(&candidates, round, arguments));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    let ratios = per_round(&rounds, |runs| {
        Some(runs[2].cpu_us_each()? / (runs[0].cpu_us_each()? + runs[1].cpu_us_each()?))
    });
    let other = per_round(&rounds, |runs| {
        Some(runs[2].cpu_us_each()? / runs.get(3)?.cpu_us_each()?)
    });
    let findings = vec![
        Finding::new(
            "CPU per publish and delivery, × (bare handler + floor send)",
            ratios,
            Some(1.3),
        ),
        Finding::new(
            "CPU per publish and delivery, × the other build",
            other,
            None,
        ),
    ];
    section("per-user", rounds.concat(), findings, arguments)
}
