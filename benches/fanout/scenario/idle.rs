//! What a subscribed socket holds while it hears nothing.

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Floor, Server};
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape, measure_on};
use crate::report::{Finding, Section, megabytes, say_run, say_title};
use crate::scenario::{seconds, section};

/// Memory per socket and of the empty process. One event at the end shows that all sockets are there.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let subscriptions = Subscriptions::spread(arguments.sockets.unwrap_or(15_000), 1)?;
    let one_event = Shape::one_event(subscriptions.sockets);
    say_title(&format!(
        "idle: {} subscribed sockets, then one event",
        subscriptions.sockets
    ))?;
    let quiet = seconds(arguments, 5.0);
    let (mut runs, mut quiet_cpu) = (Vec::new(), None);
    for candidate in [Floor, Server] {
        let mut bench = Bench::start_at_rest(candidate, subscriptions, arguments)?;
        quiet_cpu = bench.cpu_ms_per_second(quiet)?;
        let run = measure_on(&mut bench, one_event, u64::MAX, arguments)?;
        say_run(&run)?;
        runs.push(run);
    }
    let each = runs[1].kb_per_socket().into_iter().collect();
    let empty = runs[1].rss_empty_bytes.map(megabytes).into_iter().collect();
    let findings = vec![
        Finding::new(
            "CPU ms per second with all these sockets idle",
            quiet_cpu.into_iter().collect(),
            None,
        ),
        Finding::new("KB per subscribed socket", each, Some(1.8)),
        Finding::new("MB of the empty process", empty, Some(15.0)),
    ];
    section("idle", runs, findings, arguments)
}
