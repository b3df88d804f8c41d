//! A day in small: fan-out, per-user events, members that come and go, and client events, all at once. Memory must come to rest.

pub(super) mod clients;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::clients::{Churn, Whispers};
use crate::Failure;
use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::host::{Candidate::Server, Host};
use crate::load::{Load, Subscriptions};
use crate::measure::{Bench, Shape};
use crate::proc::rss_bytes;
use crate::report::{Finding, Section, float, median, megabytes, say, say_run, say_title};
use crate::scenario::{seconds, section};
use crate::schedule::Pace;

const APP_CONFIG: &str = "client_events = true\nmax_presence_members = 1000\n";
const FAN_OUT_PER_SECOND: f64 = 20.0;
const PER_USER_CHANNELS: usize = 500;
const PER_USER_PER_SECOND: f64 = 200.0;
/// How often the memory is read.
const READING: Duration = Duration::from_secs(1);
/// Until then the memory may grow: caches fill, tables reach their size.
const FIRST_PART: Duration = Duration::from_secs(60);

/// Ten minutes, or what `--seconds` says.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    mixed(seconds(arguments, 600.0), arguments)
}

/// The same as a part of `all`.
pub(super) fn for_a_minute(arguments: &Arguments) -> Result<Section, Failure> {
    mixed(seconds(arguments, 60.0), arguments)
}

fn mixed(duration: Duration, arguments: &Arguments) -> Result<Section, Failure> {
    let arguments = Arguments {
        app_config: APP_CONFIG,
        ..arguments.clone()
    };
    let fan_out = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / FAN_OUT_PER_SECOND)),
        duration,
        publishers: 1,
        batch: 1,
    };
    let per_user = Shape {
        sockets: PER_USER_CHANNELS,
        channels: PER_USER_CHANNELS,
        first_channel: 1,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / PER_USER_PER_SECOND)),
        ..fan_out
    };
    say_title(&format!(
        "mixed, for {} s: {} sockets at {FAN_OUT_PER_SECOND} events/s, {PER_USER_CHANNELS} channels of one socket at {PER_USER_PER_SECOND} events/s, \
         members that come and go, client events",
        duration.as_secs(),
        fan_out.sockets
    ))?;
    let subscriptions = Subscriptions::spread(fan_out.sockets, 1)?;
    let mut crowd = Bench::start(Server, subscriptions, &arguments)?;
    let mut users = users_bench(&crowd.host, per_user)?;
    let clients_host = crowd.host.again();
    let over = AtomicBool::new(false);
    let mut crowd_load = Contender::warm_up(&mut crowd, fan_out, u64::MAX, &arguments)?;
    let mut users_load = Contender::warm_up(&mut users, per_user, u64::MAX, &arguments)?;
    let (memory, churn, whispers) = std::thread::scope(|scope| {
        let memory = scope.spawn(|| read_memory(&clients_host, &over));
        let churn = scope.spawn(|| Churn::run(&clients_host, &over));
        let whispers = scope.spawn(|| Whispers::run(&clients_host, &over));
        let users = scope.spawn(|| users_load.measure(duration));
        let crowd = crowd_load.measure(duration);
        let users = users.join();
        over.store(true, Ordering::Relaxed);
        let ended = (memory.join(), churn.join(), whispers.join());
        crowd?;
        users.map_err(panicked)??;
        Ok::<_, Failure>((
            ended.0.map_err(panicked)??,
            ended.1.map_err(panicked)??,
            ended.2.map_err(panicked)??,
        ))
    })?;
    let mut runs = Vec::new();
    for contender in [crowd_load, users_load] {
        let run = contender.run(1, &arguments)?;
        say_run(&run)?;
        runs.push(run);
    }
    say(&format!(
        "   {} members came and went, {} client events were relayed",
        churn.visits, whispers.relayed
    ))?;
    let errors = crowd.host.logged_errors();
    let finding = Finding::new(
        "memory in the last quarter, × at the end of the first minute",
        growth(&memory).into_iter().collect(),
        Some(1.02),
    );
    let mut section = section("mixed", runs, vec![finding], &arguments)?;
    if errors > 0 {
        let failure = format!("{errors} errors in the log{}", crowd.host.log_tail());
        say(&format!("   FAILED: {failure}"))?;
        section.failures.push(failure);
    }
    Ok(section)
}

fn users_bench(host: &Host, shape: Shape) -> Result<Bench, Failure> {
    let subscriptions = Subscriptions {
        first_channel: shape.first_channel,
        ..Subscriptions::spread(shape.sockets, shape.channels)?
    };
    let mut host = host.again();
    host.name = "per-user";
    Ok(Bench {
        load: Load::connect(&host, subscriptions)?,
        host,
        rss_empty: None,
        rss_subscribed: None,
    })
}

/// The memory of each second.
pub(super) fn read_memory(host: &Host, over: &AtomicBool) -> Result<Vec<u64>, Failure> {
    let (mut readings, mut next) = (Vec::new(), Instant::now());
    while !over.load(Ordering::Relaxed) {
        if !host.pids.is_empty() {
            readings.push(rss_bytes(&host.pids)?);
        }
        if readings.len() % 60 == 1 {
            say(&format!(
                "   {:>4} s: {:.1} MB",
                readings.len() - 1,
                megabytes(readings[readings.len() - 1])
            ))?;
        }
        next += READING;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(readings)
}

/// The last quarter against the ten seconds before the first minute's end; in a shorter run, against its second quarter.
pub(super) fn growth(readings: &[u64]) -> Option<f64> {
    let first_part = usize::try_from(FIRST_PART.as_secs()).ok()?;
    let settled = first_part.min(readings.len() / 2);
    let before = readings.get(settled.checked_sub(10)?..settled)?;
    let last = &readings[readings.len() - (readings.len() / 4).max(1)..];
    let middle = |part: &[u64]| median(&part.iter().map(|bytes| float(*bytes)).collect::<Vec<_>>());
    Some(middle(last) / middle(before))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Failure {
    "a thread of the load panicked".into()
}
