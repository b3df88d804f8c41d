//! One candidate under its load: publishes and receives in slices, and adds up what came of them.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Arguments;
use crate::load::Received;
use crate::measure::{Bench, Shape, of_known};
use crate::proc::{Cpu, rss_bytes};
use crate::progress::Progress;
use crate::publisher::{Published, Publisher};
use crate::report::{Latency, Run, float};
use crate::schedule::Pace;

const WARM_UP_MAX: Duration = Duration::from_millis(500);

/// A bench, its publishers, and the sums over all slices.
#[derive(Debug)]
pub(crate) struct Contender<'a> {
    pub(crate) bench: &'a mut Bench,
    shape: Shape,
    window: u64,
    /// Absent while it publishes on its own thread.
    publisher: Option<Publisher>,
    progress: Progress,
    sums: Vec<Slice>,
}

#[derive(Debug)]
struct Slice {
    published: Published,
    received: Received,
    cpu: Option<Cpu>,
    generator_cpu_ns: u64,
    seconds: f64,
}

impl<'a> Contender<'a> {
    /// Opens the publishing connections and warms up. `window` is how many events may be on their way to the slowest socket.
    pub(crate) fn warm_up(
        bench: &'a mut Bench,
        shape: Shape,
        window: u64,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let (publisher, waker) = Publisher::open(&bench.host, shape.style(arguments))?;
        let mut contender = Self {
            bench,
            shape,
            window,
            publisher: Some(publisher),
            progress: Progress::new(waker),
            sums: Vec::new(),
        };
        // What goes in lock-step is counted as a whole, and is to be just what was asked for.
        if !matches!(shape.pace, Pace::LockStep(_)) {
            contender.phase(WARM_UP_MAX.min(shape.duration / 2))?;
        }
        Ok(contender)
    }

    /// Publishes for a time, waits until all of it has arrived, and keeps the figures.
    pub(crate) fn measure(&mut self, duration: Duration) -> Result<(), Failure> {
        let (cpu, generator) = (
            of_known(&self.bench.host, Cpu::of)?,
            Cpu::of_this_process()?,
        );
        let started = Instant::now();
        let (published, received) = self.phase(duration)?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu_end = of_known(&self.bench.host, Cpu::of)?;
        self.sums.push(Slice {
            published,
            received,
            cpu: cpu_end.zip(cpu).map(|(end, start)| end.since(start)),
            generator_cpu_ns: Cpu::of_this_process()?.since(generator).total_ns,
            seconds,
        });
        Ok(())
    }

    /// The last slice in a few words.
    pub(crate) fn last_slice(&self) -> String {
        let Some(slice) = self.sums.last() else {
            return String::new();
        };
        let latency = Latency::of(&slice.received.latency);
        format!(
            "{:>9.0} deliveries/s  p50 {:>8.2} ms  p99 {:>8.2} ms  max {:>8.2} ms  lost {}",
            float(slice.received.deliveries) / slice.seconds,
            latency.p50_us / 1e3,
            latency.p99_us / 1e3,
            latency.max_us / 1e3,
            slice.received.gaps,
        )
    }

    /// The figures of all slices together.
    pub(crate) fn run(self, round: usize, arguments: &Arguments) -> Result<Run, Failure> {
        let publisher = self
            .publisher
            .as_ref()
            .ok_or("the publisher's thread ended badly")?;
        let tail = self.bench.load.missing_at_the_end(publisher.sequences());
        let slices = self.sums.into_iter();
        let sum = slices.reduce(Slice::with).ok_or("nothing was measured")?;
        let Slice {
            published,
            received,
            ..
        } = sum;
        let (bench, shape) = (self.bench, self.shape);
        let closed = bench
            .load
            .closed()
            .into_iter()
            .map(|code| code.unwrap_or(0));
        Ok(Run {
            candidate: named(bench.host.name, shape.batch),
            round,
            sockets: shape.sockets,
            channels: shape.channels,
            data_bytes: arguments.data_bytes,
            batch: shape.batch,
            events: published.events,
            expected: published.expected,
            deliveries: received.deliveries,
            seconds: sum.seconds,
            cpu: sum.cpu,
            generator_cpu_ns: sum.generator_cpu_ns,
            latency: Latency::of(&received.latency),
            frames_per_read: float(received.deliveries) / float(received.reads.max(1)),
            bytes_per_delivery: float(received.bytes) / float(received.deliveries.max(1)),
            lost: received.gaps + tail,
            out_of_order: received.out_of_order,
            closed: closed.collect(),
            refused: published.refused,
            held: published.held,
            rss_empty_bytes: bench.rss_empty,
            rss_subscribed_bytes: bench.rss_subscribed,
            rss_end_bytes: of_known(&bench.host, rss_bytes)?,
        })
    }

    /// Publishes on a second thread and receives on this one until all is there.
    fn phase(&mut self, duration: Duration) -> Result<(Published, Received), Failure> {
        let Self {
            bench,
            publisher,
            progress,
            ..
        } = self;
        let plan = self.shape.plan(duration, &bench.load, self.window);
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

impl Slice {
    /// Both together.
    fn with(mut self, other: Self) -> Self {
        self.published.events += other.published.events;
        self.published.expected += other.published.expected;
        self.published.refused += other.published.refused;
        self.published.held += other.published.held;
        self.received.deliveries += other.received.deliveries;
        self.received.gaps += other.received.gaps;
        self.received.out_of_order += other.received.out_of_order;
        self.received.reads += other.received.reads;
        self.received.bytes += other.received.bytes;
        self.received.latency += &other.received.latency;
        self.cpu = self.cpu.zip(other.cpu).map(|(one, two)| Cpu {
            total_ns: one.total_ns + two.total_ns,
            user_ticks: one.user_ticks + two.user_ticks,
            system_ticks: one.system_ticks + two.system_ticks,
        });
        self.generator_cpu_ns += other.generator_cpu_ns;
        self.seconds += other.seconds;
        self
    }
}

fn named(name: &str, batch: usize) -> String {
    if batch > 1 {
        format!("{name} ×{batch}")
    } else {
        name.to_owned()
    }
}
