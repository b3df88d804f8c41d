//! The figures behind the plots: latency at rising rates, memory at rising numbers of sockets.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Floor, Server};
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape, measure, measure_on};
use crate::report::{Section, say_run, say_title};
use crate::scenario::{seconds, section};
use crate::schedule::Pace;

const RATES: [f64; 8] = [10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0];
const SOCKETS: [usize; 6] = [0, 1000, 2500, 5000, 10_000, 15_000];

/// Two sections, of which `benches/plot.py` makes a plot each.
pub(super) fn run(arguments: &Arguments, sections: &mut Vec<Section>) -> Result<(), Failure> {
    sections.push(latency(arguments)?);
    sections.push(memory(arguments)?);
    Ok(())
}

fn latency(arguments: &Arguments) -> Result<Section, Failure> {
    let sockets = arguments.sockets.unwrap_or(1000);
    say_title(&format!("latency: {sockets} sockets on one channel"))?;
    let mut runs = Vec::new();
    for rate in RATES {
        let shape = Shape {
            sockets,
            channels: 1,
            first_channel: 0,
            pace: Pace::Every(Duration::from_secs_f64(1.0 / rate)),
            duration: seconds(arguments, 5.0),
            publishers: arguments.publishers.unwrap_or(4),
            batch: 1,
        };
        runs.extend(measure(&[(Floor, shape), (Server, shape)], 1, arguments)?);
    }
    section("latency", runs, Vec::new(), arguments)
}

fn memory(arguments: &Arguments) -> Result<Section, Failure> {
    say_title("memory: idle sockets, then one event")?;
    let mut runs = Vec::new();
    for sockets in SOCKETS {
        let shape = Shape::one_event(sockets);
        let subscriptions = Subscriptions::spread(sockets, 1)?;
        let mut bench = Bench::start_at_rest(Server, subscriptions, arguments)?;
        let run = measure_on(&mut bench, shape, u64::MAX, arguments)?;
        say_run(&run)?;
        runs.push(run);
    }
    section("memory", runs, Vec::new(), arguments)
}
