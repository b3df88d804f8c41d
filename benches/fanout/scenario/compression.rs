//! What compression saves on the wire and costs in CPU time: events of 2 KB of JSON, a compressed frame shared by all sockets.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Compressing, Server};
use crate::measure::{Shape, measure};
use crate::report::{Finding, Section, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

const DATA_BYTES: usize = 2048;

/// The server with compression against the same without.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let arguments = Arguments {
        data_bytes: DATA_BYTES,
        rows: true,
        ..arguments.clone()
    };
    let rate = arguments.rate.unwrap_or(30.0);
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / rate)),
        duration: seconds(&arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "compression: {} sockets on one channel, {rate} events/s of {DATA_BYTES} bytes of JSON",
        shape.sockets
    ))?;
    let candidates = [(Server, shape), (Compressing, shape)];
    let rounds = (1..=arguments.pairs).map(|round| measure(&candidates, round, &arguments));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    let bytes = per_round(&rounds, |pair| {
        Some(pair[1].bytes_per_delivery / pair[0].bytes_per_delivery)
    });
    let cpu = per_round(&rounds, |pair| {
        Some(pair[1].cpu_us_each()? / pair[0].cpu_us_each()?)
    });
    let findings = vec![
        Finding::new("bytes per delivery, × uncompressed", bytes, Some(0.45)),
        Finding::new("CPU per delivery, × uncompressed", cpu, Some(1.1)),
    ];
    section("compression", rounds.concat(), findings, &arguments)
}
