//! Three nodes on one redis-server, against a node alone that has as many sockets as each of the three.
//!
//! What is published goes to the first node; the others hear of it through Redis. A second app has channels that nobody on the third
//! node listens to: their events must cost that node nothing.

pub(super) mod nodes;
mod phase;

use std::time::Duration;

use self::nodes::{Redis, second_app, start};
use self::phase::{Outcome, Part, Stream, idle};
use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Host;
use crate::load::{Load, Subscriptions};
use crate::publisher::Style;
use crate::report::{Finding, Run, Section, float, say_run, say_title};
use crate::scenario::{seconds, section};

const NAMES: [&str; 3] = ["node1", "node2", "node3"];
const SOCKETS: usize = 5_000;
const CHANNELS: u32 = 200;
/// 20 % of them.
const PRESENCE_CHANNELS: u32 = 40;
/// Channels of the second app, one socket each on the first node and on the second.
const ELSEWHERE: u32 = 20;
const EVENTS_PER_SECOND: f64 = 500.0;
const PUBLISHERS: usize = 4;

/// Whether there is a Redis to start.
pub(super) fn is_possible() -> bool {
    Redis::is_installed()
}

/// The events and sockets of both apps.
struct Sizes {
    sockets_per_node: usize,
    main: Style,
    elsewhere: Style,
    interval: Duration,
    duration: Duration,
}

/// A node alone or several together, under both streams.
struct Measured {
    idle_ms_per_s: Vec<f64>,
    main: Outcome,
    elsewhere: Outcome,
}

/// The cost of being one of many.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    if arguments.url.is_some() {
        return Err("the cluster scenario starts its own nodes; --url does not go with it".into());
    }
    let sockets = arguments.sockets.unwrap_or(SOCKETS);
    let rate = arguments.rate.unwrap_or(EVENTS_PER_SECOND);
    let style = Style {
        connections: arguments.publishers.unwrap_or(PUBLISHERS),
        channels: usize::try_from(CHANNELS)?,
        presence: usize::try_from(PRESENCE_CHANNELS)?,
        first_channel: 0,
        data_bytes: arguments.data_bytes,
        rows: false,
        batch: 1,
    };
    let sizes = Sizes {
        sockets_per_node: sockets / NAMES.len(),
        main: style,
        elsewhere: Style {
            channels: usize::try_from(ELSEWHERE)?,
            presence: 0,
            ..style
        },
        interval: Duration::from_secs_f64(1.0 / rate),
        duration: seconds(arguments, 5.0),
    };
    say_title(&format!(
        "cluster: {sockets} sockets over {} nodes, {CHANNELS} channels, {PRESENCE_CHANNELS} of them presence channels, \
         {rate} events/s to node1;\nthen {ELSEWHERE} channels of one socket each on node1 and node2",
        NAMES.len()
    ))?;
    let (mut runs, mut rounds) = (Vec::new(), Vec::new());
    for round in 1..=arguments.pairs {
        let alone = measure(&["alone"], &sizes, arguments)?;
        let together = measure(&NAMES, &sizes, arguments)?;
        for (style, outcome) in [
            (sizes.main, &alone.main),
            (sizes.main, &together.main),
            (sizes.elsewhere, &alone.elsewhere),
            (sizes.elsewhere, &together.elsewhere),
        ] {
            runs.extend(outcome.runs(style, round, arguments));
        }
        say_runs(&runs, round)?;
        rounds.push((alone, together));
    }
    section("cluster", runs, findings(&rounds)?, arguments)
}

fn say_runs(runs: &[Run], round: usize) -> Result<(), Failure> {
    for run in runs.iter().filter(|run| run.round == round) {
        say_run(run)?;
    }
    Ok(())
}

/// Starts the nodes, subscribes their sockets, and publishes to both apps.
fn measure(
    names: &[&'static str],
    sizes: &Sizes,
    arguments: &Arguments,
) -> Result<Measured, Failure> {
    let redis = (names.len() > 1).then(Redis::start).transpose()?;
    // Every socket of a presence channel is a member of its own.
    let members = sizes.sockets_per_node * names.len() / sizes.main.channels + 100;
    let hosts = names
        .iter()
        .map(|name| start(name, redis.as_ref(), members, arguments))
        .collect::<Result<Vec<_>, _>>()?;
    let seconds = hosts
        .iter()
        .map(|host| second_app(host, arguments))
        .collect::<Result<Vec<_>, _>>()?;
    let mut main = hosts
        .iter()
        .map(|host| connect(host, sizes.sockets_per_node, sizes.main))
        .collect::<Result<Vec<_>, _>>()?;
    let mut elsewhere = seconds
        .iter()
        .take(2)
        .map(|host| connect(host, sizes.elsewhere.channels, sizes.elsewhere))
        .collect::<Result<Vec<_>, _>>()?;
    let idle_ms_per_s = idle(&hosts, sizes.duration)?;
    let redis = redis.as_ref().map(Redis::pid);
    let stream = |to, style| Stream {
        to,
        style,
        interval: sizes.interval,
        duration: sizes.duration,
        redis,
    };
    Ok(Measured {
        idle_ms_per_s,
        main: phase::run(&mut parts(&hosts, &mut main), stream(&hosts[0], sizes.main))?,
        elsewhere: phase::run(
            &mut parts(&hosts, &mut elsewhere),
            stream(&seconds[0], sizes.elsewhere),
        )?,
    })
}

fn connect(host: &Host, sockets: usize, style: Style) -> Result<Load, Failure> {
    let subscriptions = Subscriptions {
        presence: u32::try_from(style.presence)?,
        ..Subscriptions::spread(sockets, style.channels)?
    };
    Load::connect(host, subscriptions)
}

/// Each node with its load, as far as there are loads.
fn parts<'a>(hosts: &'a [Host], loads: &'a mut [Load]) -> Vec<Part<'a>> {
    let mut loads = loads.iter_mut();
    let parts = hosts.iter().map(|host| Part {
        host,
        load: loads.next(),
    });
    parts.collect()
}

fn findings(rounds: &[(Measured, Measured)]) -> Result<Vec<Finding>, Failure> {
    let each = |figure: &dyn Fn(&Measured, &Measured) -> f64| {
        let figures = rounds
            .iter()
            .map(|(alone, together)| figure(alone, together));
        figures.collect::<Vec<_>>()
    };
    let extra = rounds
        .iter()
        .map(|(_, together)| extra_p50_ms(&together.main));
    let redis = rounds
        .iter()
        .filter_map(|(_, together)| together.main.redis_us_per_event());
    let others =
        |outcome: &Outcome| f64::midpoint(outcome.cpu_us_per_event(1), outcome.cpu_us_per_event(2));
    Ok(vec![
        Finding::new(
            "extra p50 on the other nodes, ms",
            extra.collect::<Result<Vec<_>, _>>()?,
            Some(2.0),
        ),
        Finding::new(
            "CPU per delivery on another node, × alone",
            each(&|alone, together| others(&together.main) / alone.main.cpu_us_per_event(0)),
            Some(1.3),
        ),
        Finding::new(
            "CPU per publish with one subscriber there, on another node, × alone",
            each(&|alone, together| {
                together.elsewhere.cpu_us_per_event(1) / alone.elsewhere.cpu_us_per_event(0)
            }),
            Some(1.3),
        ),
        Finding::new(
            "CPU per delivery on the node that publishes, × alone",
            each(&|alone, together| {
                together.main.cpu_us_per_event(0) / alone.main.cpu_us_per_event(0)
            }),
            None,
        ),
        Finding::new(
            "CPU per publish with one subscriber there, on the node that publishes, × alone",
            each(&|alone, together| {
                together.elsewhere.cpu_us_per_event(0) / alone.elsewhere.cpu_us_per_event(0)
            }),
            None,
        ),
        Finding::new("CPU µs of Redis per publish", redis.collect(), None),
        Finding::new(
            "CPU ms per second of node3 while nothing is published",
            each(&|_, together| together.idle_ms_per_s[2]),
            None,
        ),
        Finding::new(
            "CPU ms per second of node3 while only others have subscribers",
            each(&|_, together| together.elsewhere.cpu_ms_per_second(2)),
            None,
        ),
    ])
}

/// By how much the median delivery on the other nodes is later than on the node that publishes.
fn extra_p50_ms(outcome: &Outcome) -> Result<f64, Failure> {
    let latency = |node: usize| {
        let received = outcome.nodes[node].received.as_ref();
        received
            .map(|received| &received.latency)
            .ok_or("a node without sockets")
    };
    let mut others = latency(1)?.clone();
    others.add(latency(2)?)?;
    let median_ms = |ns: u64| float(ns) / 1e6;
    Ok(median_ms(others.value_at_quantile(0.5)) - median_ms(latency(0)?.value_at_quantile(0.5)))
}
