//! All sockets connect and subscribe as fast as they can, then all are gone; three times over.

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{self, Handshake, Server};
use crate::load::{Load, Subscriptions};
use crate::measure::of_known;
use crate::proc::{Cpu, rss_bytes, settled_rss_bytes};
use crate::report::{Finding, Section, float, megabytes, say};
use crate::scenario::section;

const STORMS: u8 = 3;
/// Connects under way at a time: far more than the server answers at once, so that it is never idle.
const AT_ONCE: usize = 500;

/// What one storm cost, and what it left.
struct Storm {
    cpu_us: Option<f64>,
    seconds: f64,
    subscribed_bytes: Option<u64>,
    after_bytes: Option<u64>,
}

/// The server against a bare handshake in the same runtime.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let sockets = arguments.sockets.unwrap_or(10_000);
    say(&format!(
        "\nstorms: {sockets} sockets connect and subscribe at once, then all are gone; {STORMS} times"
    ))?;
    let bare = storms(Handshake, sockets, arguments)?;
    let ours = storms(Server, sockets, arguments)?;
    let ratios = ours.iter().zip(&bare);
    let ratios = ratios.filter_map(|(ours, bare)| Some(ours.cpu_us? / bare.cpu_us?));
    let first = ours[0].after_bytes;
    let left = ours[1..].iter().filter_map(|storm| {
        let (after, first) = (storm.after_bytes?, first?);
        Some(float(after) / float(first))
    });
    let findings = vec![
        Finding::new(
            "CPU per connect and subscribe, × bare handshake",
            ratios.collect(),
            Some(2.0),
        ),
        Finding::new(
            "memory after a storm, × after the first",
            left.collect(),
            Some(1.1),
        ),
    ];
    section("storms", Vec::new(), findings, arguments)
}

/// A socket that can't connect or subscribe ends the run with its reason.
fn storms(
    candidate: Candidate,
    sockets: usize,
    arguments: &Arguments,
) -> Result<Vec<Storm>, Failure> {
    let host = candidate.start(arguments)?;
    let storms = (0..STORMS).map(|number| {
        let subscriptions = Subscriptions {
            at_once: AT_ONCE,
            ..Subscriptions::spread(sockets, 1)?
        };
        let (cpu, started) = (of_known(&host, Cpu::of)?, std::time::Instant::now());
        let load = Load::connect(&host, subscriptions)
            .map_err(|failure| format!("{failure}{}", host.log_tail()))?;
        let seconds = started.elapsed().as_secs_f64();
        let spent = of_known(&host, Cpu::of)?.zip(cpu);
        let spent = spent.map(|(end, start)| end.since(start).total_ns);
        let subscribed_bytes = of_known(&host, rss_bytes)?;
        drop(load);
        let storm = Storm {
            cpu_us: spent.map(|ns| float(ns) / 1e3 / float(u64::try_from(sockets).unwrap_or(1))),
            seconds,
            subscribed_bytes,
            after_bytes: of_known(&host, settled_rss_bytes)?,
        };
        storm.say(host.name, number + 1)?;
        Ok(storm)
    });
    storms.collect()
}

impl Storm {
    fn say(&self, name: &str, number: u8) -> Result<(), Failure> {
        let figure = |figure: Option<f64>| figure.map_or("–".to_owned(), |f| format!("{f:.1}"));
        Ok(say(&format!(
            "{number:>2} {name:<16} {:.2} s, {} µs of CPU each; {} MB subscribed, {} MB when all have gone",
            self.seconds,
            figure(self.cpu_us),
            figure(self.subscribed_bytes.map(megabytes)),
            figure(self.after_bytes.map(megabytes)),
        ))?)
    }
}
