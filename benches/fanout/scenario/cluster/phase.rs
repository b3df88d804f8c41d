//! One stream of events into the first node, and what each node's sockets and the processes made of it.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mio::{Poll, Token, Waker};

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Host;
use crate::load::{Load, Received};
use crate::proc::Cpu;
use crate::progress::Progress;
use crate::publisher::{Published, Publisher, Style};
use crate::report::{Latency, Run, float};
use crate::schedule::{Pace, Plan};

const WARM_UP: Duration = Duration::from_millis(500);

/// A node and its sockets in the app that is published to, if it has any.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) host: &'a Host,
    pub(super) load: Option<&'a mut Load>,
}

/// The events of a phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream<'a> {
    /// Where they are published.
    pub(super) to: &'a Host,
    pub(super) style: Style,
    pub(super) interval: Duration,
    pub(super) duration: Duration,
    pub(super) redis: Option<u32>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) nodes: Vec<NodeOutcome>,
    pub(super) published: Published,
    pub(super) seconds: f64,
    redis: Option<Cpu>,
    generator_cpu_ns: u64,
}

/// What one node did in a phase.
#[derive(Debug)]
pub(super) struct NodeOutcome {
    name: &'static str,
    cpu: Cpu,
    /// Absent where nobody listens.
    pub(super) received: Option<Received>,
    expected: u64,
    lost: u64,
    closed: Vec<u16>,
    sockets: u64,
}

/// CPU time of each of these hosts in ms per second while nothing is published.
pub(super) fn idle(hosts: &[Host], quiet: Duration) -> Result<Vec<f64>, Failure> {
    let before = cpu_of(hosts)?;
    sleep(quiet);
    let spent = cpu_of(hosts)?.into_iter().zip(before);
    Ok(spent
        .map(|(end, start)| float(end.since(start).total_ns) / 1e6 / quiet.as_secs_f64())
        .collect())
}

fn cpu_of(hosts: &[Host]) -> Result<Vec<Cpu>, Failure> {
    hosts.iter().map(|host| Cpu::of(&host.pids)).collect()
}

/// Publishes, first to warm up, and measures.
pub(super) fn run(parts: &mut [Part<'_>], stream: Stream<'_>) -> Result<Outcome, Failure> {
    let (mut publisher, waker) = Publisher::open(stream.to, stream.style)?;
    let progress = Progress::new(waker);
    let warm_up = WARM_UP.min(stream.duration / 2);
    publish(parts, &mut publisher, &progress, stream, warm_up)?;
    let before = parts.iter().map(|part| Cpu::of(&part.host.pids));
    let before = before.collect::<Result<Vec<_>, _>>()?;
    let of_redis = || stream.redis.map(|pid| Cpu::of(&[pid])).transpose();
    let (redis_before, generator) = (of_redis()?, Cpu::of_this_process()?);
    let started = Instant::now();
    let (published, received) = publish(parts, &mut publisher, &progress, stream, stream.duration)?;
    let seconds = started.elapsed().as_secs_f64();
    let redis = of_redis()?
        .zip(redis_before)
        .map(|(end, start)| end.since(start));
    let generator_cpu_ns = Cpu::of_this_process()?.since(generator).total_ns;
    let mut nodes = Vec::new();
    for ((part, before), (received, expected)) in parts.iter().zip(before).zip(received) {
        nodes.push(NodeOutcome::of(
            part, before, received, expected, &publisher,
        )?);
    }
    Ok(Outcome {
        nodes,
        published,
        seconds,
        redis,
        generator_cpu_ns,
    })
}

/// What each part received, and how much that should have been.
type EachReceived = Vec<(Option<Received>, u64)>;

/// Publishes on one thread and receives on one for each part, until all is there.
fn publish(
    parts: &mut [Part<'_>],
    publisher: &mut Publisher,
    progress: &Progress,
    stream: Stream<'_>,
    duration: Duration,
) -> Result<(Published, EachReceived), Failure> {
    let channels = stream.style.channels;
    let listeners: Vec<Vec<u64>> = parts
        .iter()
        .map(|part| {
            let load = part.load.as_ref();
            load.map_or_else(|| vec![0; channels], |load| load.listeners(channels))
        })
        .collect();
    let plan = Plan {
        pace: Pace::Every(stream.interval),
        duration,
        listeners: (0..channels)
            .map(|channel| listeners.iter().map(|part| part[channel]).sum())
            .collect(),
        window: u64::MAX,
    };
    progress.reset();
    let ends = parts
        .iter()
        .map(|_| End::new())
        .collect::<Result<Vec<_>, _>>()?;
    let before = published_to(publisher, channels);
    thread::scope(|scope| {
        let receivers: Vec<_> = parts
            .iter_mut()
            .zip(&ends)
            .map(|(part, end)| {
                let load = part.load.as_deref_mut();
                scope.spawn(move || load.map(|load| load.receive(&end.progress)).transpose())
            })
            .collect();
        let published = publisher.publish(plan, progress);
        let sent = published_to(publisher, channels);
        let expected: Vec<u64> = listeners
            .iter()
            .map(|part| {
                let events = sent.iter().zip(&before).map(|(end, start)| end - start);
                events.zip(part).map(|(events, each)| events * each).sum()
            })
            .collect();
        for (end, expected) in ends.iter().zip(&expected) {
            end.progress.expect(*expected);
        }
        let mut each = Vec::new();
        for (receiver, expected) in receivers.into_iter().zip(expected) {
            let received = receiver
                .join()
                .map_err(|_| "a receiving thread panicked")??;
            each.push((received, expected));
        }
        Ok((published?, each))
    })
}

/// Tells one receiver when it has everything. Paced publishers wait for nobody, so its waker wakes nobody.
struct End {
    progress: Progress,
    /// What the waker belongs to.
    _poll: Poll,
}

impl End {
    fn new() -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let progress = Progress::new(Waker::new(poll.registry(), Token(0))?);
        Ok(Self {
            progress,
            _poll: poll,
        })
    }
}

/// Events so far on each channel.
fn published_to(publisher: &Publisher, channels: usize) -> Vec<u64> {
    let of = |channel: usize| {
        let each = publisher.sequences().iter();
        each.map(|sequences| u64::from(sequences[channel])).sum()
    };
    (0..channels).map(of).collect()
}

impl NodeOutcome {
    fn of(
        part: &Part<'_>,
        before: Cpu,
        received: Option<Received>,
        expected: u64,
        publisher: &Publisher,
    ) -> Result<Self, Failure> {
        let load = part.load.as_ref();
        let tail = load.map_or(0, |load| load.missing_at_the_end(publisher.sequences()));
        Ok(Self {
            name: part.host.name,
            cpu: Cpu::of(&part.host.pids)?.since(before),
            lost: tail + received.as_ref().map_or(0, |received| received.gaps),
            received,
            expected,
            closed: load.map_or_else(Vec::new, |load| {
                let codes = load.closed().into_iter();
                codes.map(|code| code.unwrap_or(0)).collect()
            }),
            sockets: load.map_or(0, |load| {
                let channels = publisher.sequences()[0].len();
                load.listeners(channels).into_iter().sum()
            }),
        })
    }

    pub(super) fn cpu_ns(&self) -> u64 {
        self.cpu.total_ns
    }
}

impl Outcome {
    /// Microseconds of a node's CPU per event that was published anywhere.
    pub(super) fn cpu_us_per_event(&self, node: usize) -> f64 {
        float(self.nodes[node].cpu_ns()) / 1e3 / float(self.published.events.max(1))
    }

    pub(super) fn cpu_ms_per_second(&self, node: usize) -> f64 {
        float(self.nodes[node].cpu_ns()) / 1e6 / self.seconds
    }

    pub(super) fn redis_us_per_event(&self) -> Option<f64> {
        Some(float(self.redis?.total_ns) / 1e3 / float(self.published.events.max(1)))
    }

    /// One run for each node that has sockets, for the report.
    pub(super) fn runs(&self, style: Style, round: usize, arguments: &Arguments) -> Vec<Run> {
        let with_sockets = self.nodes.iter().filter_map(|node| {
            let received = node.received.as_ref()?;
            Some(Run {
                candidate: node.name.to_owned(),
                round,
                sockets: usize::try_from(node.sockets).ok()?,
                channels: style.channels,
                data_bytes: arguments.data_bytes,
                batch: 1,
                events: self.published.events,
                expected: node.expected,
                deliveries: received.deliveries,
                seconds: self.seconds,
                cpu: Some(node.cpu),
                generator_cpu_ns: self.generator_cpu_ns,
                latency: Latency::of(&received.latency),
                frames_per_read: float(received.deliveries) / float(received.reads.max(1)),
                bytes_per_delivery: float(received.bytes) / float(received.deliveries.max(1)),
                lost: node.lost,
                out_of_order: received.out_of_order,
                closed: node.closed.clone(),
                refused: self.published.refused,
                held: self.published.held,
                rss_empty_bytes: None,
                rss_subscribed_bytes: None,
                rss_end_bytes: None,
            })
        });
        with_sockets.collect()
    }
}
