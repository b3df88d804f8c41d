//! TLS in the process beside what users do without it: nginx that ends TLS before the server, and before another host.

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{self, BehindNginx, OtherBehindNginx, Sealed};
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape, measure, measure_on};
use crate::report::{Finding, Section, say_run, say_title};
use crate::scenario::{per_round, section};

/// Sockets whose memory is looked at. nginx has two descriptors for each.
const IDLE: usize = 6000;

/// CPU per delivery and memory per socket; with `--url`, of that host behind nginx as well.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Section>, Failure> {
    let shape = super::thirty_a_second(arguments);
    let mut candidates = vec![Sealed, BehindNginx];
    candidates.extend(arguments.url.as_ref().map(|_| OtherBehindNginx));
    Ok(vec![
        deliveries(&candidates, shape, arguments)?,
        memory(&candidates, arguments)?,
    ])
}

fn name(candidate: Candidate) -> &'static str {
    match candidate {
        OtherBehindNginx => "nginx and the other host",
        _ => "nginx and the server",
    }
}

fn deliveries(
    candidates: &[Candidate],
    shape: Shape,
    arguments: &Arguments,
) -> Result<Section, Failure> {
    say_title(&format!(
        "tls-proxied: {} sockets on one channel",
        shape.sockets
    ))?;
    let shapes: Vec<_> = candidates.iter().map(|it| (*it, shape)).collect();
    let rounds = (1..=arguments.pairs).map(|round| measure(&shapes, round, arguments));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    let findings = candidates.iter().enumerate().skip(1).map(|(at, it)| {
        let ratio = per_round(&rounds, |runs| {
            Some(runs[0].cpu_us_each()? / runs[at].cpu_us_each()?)
        });
        let what = format!("CPU per delivery with TLS, × {}", name(*it));
        Finding::new(&what, ratio, Some(0.5))
    });
    section(
        "tls-proxied",
        rounds.concat(),
        findings.collect(),
        arguments,
    )
}

fn memory(candidates: &[Candidate], arguments: &Arguments) -> Result<Section, Failure> {
    let subscriptions = Subscriptions::spread(arguments.sockets.unwrap_or(IDLE), 1)?;
    say_title(&format!(
        "tls-proxied-idle: {} sockets",
        subscriptions.sockets
    ))?;
    let one_event = Shape::one_event(subscriptions.sockets);
    let mut runs = Vec::new();
    for candidate in candidates {
        let mut bench = Bench::start_at_rest(*candidate, subscriptions, arguments)?;
        let run = measure_on(&mut bench, one_event, u64::MAX, arguments)?;
        say_run(&run)?;
        runs.push(run);
    }
    let findings = candidates.iter().zip(&runs).skip(1).map(|(it, run)| {
        let ratio = runs[0].kb_per_socket().zip(run.kb_per_socket());
        let ratio = ratio.map(|(one, other)| one / other).into_iter().collect();
        let what = format!("KB per subscribed socket with TLS, × {}", name(*it));
        Finding::new(&what, ratio, Some(0.5))
    });
    let findings = findings.collect();
    section("tls-proxied-idle", runs, findings, arguments)
}
