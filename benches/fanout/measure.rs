//! One candidate under one load: connect, warm up, measure.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::{Candidate, Host};
use crate::load::{Load, Received, Subscriptions};
use crate::proc::{Cpu, rss_bytes, settled_rss_bytes};
use crate::progress::Progress;
use crate::publisher::{Published, Publisher, Style};
use crate::report::{Latency, Run, float, say, say_run};
use crate::schedule::{Pace, Plan};

/// Events that the floor may have on the way to its slowest socket: it has no queue of its own.
const FLOOR_WINDOW: u64 = 64;
const WARM_UP_MAX: Duration = Duration::from_millis(500);

/// A load that can be put on any candidate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Sockets; 0 when nobody listens.
    pub(crate) sockets: usize,
    pub(crate) channels: usize,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    pub(crate) publishers: usize,
    pub(crate) batch: usize,
}

impl Shape {
    fn style(&self, arguments: &Arguments) -> Style {
        Style {
            connections: self.publishers,
            channels: self.channels,
            data_bytes: arguments.data_bytes,
            batch: self.batch,
        }
    }

    fn plan(&self, duration: Duration, load: &Load, window: u64) -> Plan {
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

/// Starts the candidate, puts the load on it and prints what came of it.
pub(crate) fn measure(
    candidate: Candidate,
    shape: Shape,
    round: usize,
    arguments: &Arguments,
) -> Result<Run, Failure> {
    let subscriptions = Subscriptions {
        sockets: shape.sockets,
        channels: u32::try_from(shape.channels)?,
        first_receive_bytes: None,
    };
    let mut bench = Bench::start(candidate, subscriptions, arguments)?;
    let window = match (shape.pace, candidate) {
        // A paced event leaves when it is due, however late the earlier ones are.
        (Pace::Every(_), _) => u64::MAX,
        (Pace::Unpaced, Candidate::Floor) => FLOOR_WINDOW,
        (Pace::Unpaced, _) => arguments.window,
    };
    let mut run = measure_on(&mut bench, shape, window, arguments)
        .map_err(|failure| format!("{failure}{}", bench.host.log_tail()))?;
    run.round = round;
    say_run(&run)?;
    if !run.is_whole() {
        say(&format!("   not whole{}", bench.host.log_tail()))?;
    }
    Ok(run)
}

/// Warms up and measures on a bench that stands.
pub(crate) fn measure_on(
    bench: &mut Bench,
    shape: Shape,
    window: u64,
    arguments: &Arguments,
) -> Result<Run, Failure> {
    let mut stage = Stage::open(bench, shape, arguments)?;
    stage.phase(shape.plan(
        WARM_UP_MAX.min(shape.duration / 2),
        &stage.bench.load,
        window,
    ))?;
    let plan = shape.plan(shape.duration, &stage.bench.load, window);
    let (cpu, generator) = (
        of_known(&stage.bench.host, Cpu::of)?,
        Cpu::of_this_process()?,
    );
    let started = Instant::now();
    let (published, received) = stage.phase(plan)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu_end = of_known(&stage.bench.host, Cpu::of)?;
    let generator_cpu_ns = Cpu::of_this_process()?.since(generator).total_ns;
    let tail = stage
        .bench
        .load
        .missing_at_the_end(stage.publisher()?.sequences());
    let host = &stage.bench.host;
    Ok(Run {
        candidate: named(host.name, shape.batch),
        round: 1,
        sockets: shape.sockets,
        channels: shape.channels,
        data_bytes: arguments.data_bytes,
        batch: shape.batch,
        events: published.events,
        expected: published.expected,
        deliveries: received.deliveries,
        seconds,
        cpu: cpu_end.zip(cpu).map(|(end, start)| end.since(start)),
        generator_cpu_ns,
        latency: Latency::of(&received.latency),
        frames_per_read: float(received.deliveries) / float(received.reads.max(1)),
        bytes_per_delivery: float(received.bytes) / float(received.deliveries.max(1)),
        lost: received.gaps + tail,
        out_of_order: received.out_of_order,
        closed: stage
            .bench
            .load
            .closed()
            .into_iter()
            .map(|code| code.unwrap_or(0))
            .collect(),
        refused: published.refused,
        held: published.held,
        rss_empty_bytes: stage.bench.rss_empty,
        rss_subscribed_bytes: stage.bench.rss_subscribed,
        rss_end_bytes: of_known(host, rss_bytes)?,
    })
}

/// A bench and the publishers that go on from phase to phase.
struct Stage<'a> {
    bench: &'a mut Bench,
    /// Absent while it publishes on its own thread.
    publisher: Option<Publisher>,
    progress: Progress,
}

impl<'a> Stage<'a> {
    fn open(bench: &'a mut Bench, shape: Shape, arguments: &Arguments) -> Result<Self, Failure> {
        let (publisher, waker) = Publisher::open(&bench.host, shape.style(arguments))?;
        Ok(Self {
            bench,
            publisher: Some(publisher),
            progress: Progress::new(waker),
        })
    }

    fn publisher(&self) -> Result<&Publisher, Failure> {
        self.publisher
            .as_ref()
            .ok_or_else(|| "the publisher's thread ended badly".into())
    }

    /// Publishes on a second thread and receives on this one until all is there.
    fn phase(&mut self, plan: Plan) -> Result<(Published, Received), Failure> {
        let Self {
            bench,
            publisher,
            progress,
        } = self;
        progress.reset();
        let mut taken = publisher
            .take()
            .ok_or("the publisher's thread ended badly")?;
        let progress = &*progress;
        let (published, received) = std::thread::scope(|scope| {
            let publishing = scope.spawn(move || {
                let published = taken.publish(plan, progress);
                // Whatever happened: the receiver must not wait for ever.
                progress.give_up();
                published.map(|published| (taken, published))
            });
            let received = bench.load.receive(progress);
            (publishing.join(), received)
        });
        let (returned, published) = published.map_err(|_| "the publisher's thread panicked")??;
        *publisher = Some(returned);
        Ok((published, received?))
    }
}

fn of_known<T>(
    host: &Host,
    read: impl Fn(&[u32]) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if host.pids.is_empty() {
        Ok(None)
    } else {
        read(&host.pids).map(Some)
    }
}

fn named(name: &str, batch: usize) -> String {
    if batch > 1 {
        format!("{name} ×{batch}")
    } else {
        name.to_owned()
    }
}
