//! Candidates under load: start them, subscribe, and let them take turns.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::host::{Candidate, Host};
use crate::load::{Load, Subscriptions};
use crate::proc::{Cpu, rss_bytes, settled_rss_bytes};
use crate::publisher::Style;
use crate::report::{Run, float, say, say_run};
use crate::schedule::{Pace, Plan};

/// Events that the floor may have on the way to its slowest socket: it has no queue of its own.
const FLOOR_WINDOW: u64 = 64;
/// The candidates take turns this often, so that a slow moment of the machine meets them all.
const SLICE: Duration = Duration::from_secs(1);
/// Files that this process needs besides the subscribed sockets.
const OTHER_FILES: usize = 256;

/// A load that can be put on any candidate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Sockets; 0 when nobody listens.
    pub(crate) sockets: usize,
    pub(crate) channels: usize,
    /// The number of the first channel.
    pub(crate) first_channel: u32,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    pub(crate) publishers: usize,
    pub(crate) batch: usize,
}

impl Shape {
    /// One event to all, which shows that all are there.
    pub(crate) fn one_event(sockets: usize) -> Self {
        Self {
            sockets,
            channels: 1,
            first_channel: 0,
            pace: Pace::Every(Duration::from_secs(1)),
            duration: Duration::from_millis(200),
            publishers: 1,
            batch: 1,
        }
    }

    /// How to publish it.
    pub(crate) fn style(&self, arguments: &Arguments) -> Style {
        Style {
            connections: self.publishers,
            channels: self.channels,
            presence: 0,
            first_channel: self.first_channel,
            data_bytes: arguments.data_bytes,
            rows: arguments.rows,
            batch: self.batch,
        }
    }

    /// What to publish in a phase of this length.
    pub(crate) fn plan(&self, duration: Duration, load: &Load, window: u64) -> Plan {
        Plan {
            pace: self.pace,
            duration,
            listeners: load.listeners(self.channels),
            window,
        }
    }
}

/// A host with its load, connected and subscribed.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) load: Load,
    pub(crate) rss_empty: Option<u64>,
    pub(crate) rss_subscribed: Option<u64>,
}

impl Bench {
    /// Starts the candidate and subscribes all sockets.
    pub(crate) fn start(
        candidate: Candidate,
        subscriptions: Subscriptions,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        Self::start_and_read(candidate, subscriptions, arguments, rss_bytes)
    }

    /// The same, but waits before and after until the memory has come to rest.
    pub(crate) fn start_at_rest(
        candidate: Candidate,
        subscriptions: Subscriptions,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        Self::start_and_read(candidate, subscriptions, arguments, settled_rss_bytes)
    }

    fn start_and_read(
        candidate: Candidate,
        subscriptions: Subscriptions,
        arguments: &Arguments,
        read_rss: fn(&[u32]) -> Result<u64, Failure>,
    ) -> Result<Self, Failure> {
        let host = candidate.start(arguments)?;
        let rss_empty = of_known(&host, read_rss)?;
        let load = Load::connect(&host, subscriptions)?;
        let rss_subscribed = of_known(&host, read_rss)?;
        Ok(Self {
            host,
            load,
            rss_empty,
            rss_subscribed,
        })
    }

    /// CPU time while nothing happens, for `quiet`.
    pub(crate) fn cpu_ms_per_second(&self, quiet: Duration) -> Result<Option<f64>, Failure> {
        let start = of_known(&self.host, Cpu::of)?;
        std::thread::sleep(quiet);
        let spent = of_known(&self.host, Cpu::of)?
            .zip(start)
            .map(|(end, start)| end.since(start));
        Ok(spent.map(|cpu| float(cpu.total_ns) / 1e6 / quiet.as_secs_f64()))
    }
}

/// Measures the candidates in turn, slice by slice, and prints and returns a run for each, in this order.
pub(crate) fn measure(
    candidates: &[(Candidate, Shape)],
    round: usize,
    arguments: &Arguments,
) -> Result<Vec<Run>, Failure> {
    let sockets: usize = candidates.iter().map(|(_, shape)| shape.sockets).sum();
    let (files_max, _) = rlimit::getrlimit(rlimit::Resource::NOFILE)?;
    if u64::try_from(sockets + OTHER_FILES)? <= files_max {
        return side_by_side(candidates, round, arguments);
    }
    let alone = candidates
        .iter()
        .map(|one| side_by_side(&[*one], round, arguments));
    Ok(alone.collect::<Result<Vec<_>, _>>()?.concat())
}

fn side_by_side(
    candidates: &[(Candidate, Shape)],
    round: usize,
    arguments: &Arguments,
) -> Result<Vec<Run>, Failure> {
    let benches = candidates.iter().map(|(candidate, shape)| {
        let subscriptions = Subscriptions::spread(shape.sockets, shape.channels)?;
        Bench::start(*candidate, subscriptions, arguments)
    });
    let mut benches = benches.collect::<Result<Vec<_>, _>>()?;
    let contenders = benches
        .iter_mut()
        .zip(candidates)
        .map(|(bench, (candidate, shape))| {
            let window = window(*candidate, *shape, arguments);
            Contender::warm_up(bench, *shape, window, arguments)
        });
    let mut contenders = contenders.collect::<Result<Vec<_>, _>>()?;
    let duration = candidates.iter().map(|(_, shape)| shape.duration).max();
    for slice in slices(duration.unwrap_or_default()) {
        for contender in &mut contenders {
            let measured = contender.measure(slice);
            measured.map_err(|failure| format!("{failure}{}", contender.bench.host.log_tail()))?;
        }
    }
    let runs = contenders.into_iter().map(|contender| {
        let log_tail = contender.bench.host.log_tail();
        let run = contender.run(round, arguments)?;
        say_run(&run)?;
        if !run.is_whole() {
            say(&format!("   not whole{log_tail}"))?;
        }
        Ok(run)
    });
    runs.collect()
}

/// The time cut into slices, all of one length.
fn slices(duration: Duration) -> impl Iterator<Item = Duration> {
    let count = (duration.as_secs() / SLICE.as_secs()).max(1);
    let length = duration.div_f64(float(count));
    (0..count).map(move |_| length)
}

fn window(candidate: Candidate, shape: Shape, arguments: &Arguments) -> u64 {
    match (shape.pace, candidate) {
        // A paced event leaves when it is due, however late the earlier ones are.
        (Pace::Every(_) | Pace::LockStep(_), _) => u64::MAX,
        (Pace::Unpaced, Candidate::Floor | Candidate::Floors) => FLOOR_WINDOW,
        (Pace::Unpaced, _) => arguments.window,
    }
}

/// Warms up and measures in one slice on a bench that stands.
pub(crate) fn measure_on(
    bench: &mut Bench,
    shape: Shape,
    window: u64,
    arguments: &Arguments,
) -> Result<Run, Failure> {
    let mut contender = Contender::warm_up(bench, shape, window, arguments)?;
    contender.measure(shape.duration)?;
    contender.run(1, arguments)
}

/// A figure of the host's processes, if they are known.
pub(crate) fn of_known<T>(
    host: &Host,
    read: impl Fn(&[u32]) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if host.pids.is_empty() {
        Ok(None)
    } else {
        read(&host.pids).map(Some)
    }
}
