//! Very many public channels that are entered, left, or listened to again at once.

use std::time::{Duration, Instant};

use super::probe::Probe;
use super::world::{Peak, World, until};
use super::{EVENT_P99_MS, Figure, JOIN_P99_MS, RSS_FACTOR_MAX, SECONDS_MAX};
use crate::Failure;
use crate::arguments::Arguments;
use crate::proc::settled_rss_bytes;
use crate::report::float;
use crate::scenario::swarm::Swarm;

const CHANNELS: usize = 100_000;
const JOINING_SOCKETS: usize = 40;
const LEAVING_SOCKETS: usize = 15_000;
const COMMANDS_MAX: f64 = 10.0;
const REDIS_US_MAX: f64 = 15.0;
const PATIENCE: Duration = Duration::from_secs(120);

/// The probes beside a scenario.
struct Beside {
    joins: Probe,
    events: Probe,
    back: Probe,
    peak: Peak,
}

impl Beside {
    fn start(world: &World) -> Result<Self, Failure> {
        let nodes = &world.nodes;
        Ok(Self {
            joins: Probe::joins(&nodes[0])?,
            events: Probe::events(&nodes[0], &nodes[2], "probe-out")?,
            back: Probe::events(&nodes[2], &nodes[0], "probe-in")?,
            peak: Peak::of(world.nodes[0].pids.clone()),
        })
    }

    fn end(self, world: &World) -> Result<Vec<Figure>, Failure> {
        let (joins, events, back) = (self.joins.end()?, self.events.end()?, self.back.end()?);
        let peak = self.peak.end();
        let settled = float(settled_rss_bytes(&world.nodes[0].pids)?);
        Ok(vec![
            Figure::at_most(
                "joins of another channel, p99 ms",
                joins.p99_ms(),
                JOIN_P99_MS,
            ),
            Figure::at_most("joins refused", float(joins.failed), 0.0),
            Figure::at_most(
                "events to another node, p99 ms",
                events.p99_ms(),
                EVENT_P99_MS,
            ),
            Figure::at_most(
                "events from another node, p99 ms",
                back.p99_ms(),
                EVENT_P99_MS,
            ),
            Figure::new(
                "events lost between nodes",
                float(events.failed + back.failed),
            ),
            Figure::new("largest memory, MB", peak / 1e6),
            Figure::at_most("largest memory, × settled", peak / settled, RSS_FACTOR_MAX),
        ])
    }
}

fn channels(arguments: &Arguments) -> usize {
    arguments.channels.unwrap_or(CHANNELS)
}

/// A node whose sockets listen to all channels.
fn occupied(world: &World, sockets: usize, channels: usize) -> Result<Swarm, Failure> {
    let mut swarm = Swarm::connect(&world.nodes[0], sockets, 2)?;
    enter(&mut swarm, channels);
    swarm.pump(|answers| answers.succeeded + answers.refused >= channels)?;
    if swarm.answers.refused > 0 {
        return Err(format!("{} channels were refused", swarm.answers.refused).into());
    }
    Ok(swarm)
}

fn enter(swarm: &mut Swarm, channels: usize) {
    let sockets = swarm.len();
    for channel in 0..channels {
        swarm.subscribe(channel % sockets, &format!("crowd-{channel}"));
    }
}

/// What Redis has done so far.
struct RedisWork {
    commands: u64,
    cpu_ns: u64,
}

impl RedisWork {
    fn of(world: &World) -> Result<Self, Failure> {
        Ok(Self {
            commands: world.redis_commands()?,
            cpu_ns: world.redis_cpu_ns()?,
        })
    }

    /// What it has done since, for each of these changes.
    fn until_now(
        &self,
        world: &World,
        changes: usize,
        change: &str,
    ) -> Result<[Figure; 2], Failure> {
        let now = Self::of(world)?;
        let changes = float(u64::try_from(changes)?);
        let commands = float(now.commands - self.commands) / changes;
        let us = float(now.cpu_ns - self.cpu_ns) / 1e3 / changes;
        Ok([
            Figure::at_most(
                &format!("Redis commands per {change}"),
                commands,
                COMMANDS_MAX,
            ),
            Figure::at_most(&format!("µs of Redis per {change}"), us, REDIS_US_MAX),
        ])
    }
}

/// What was noticed beside a scenario, and whether the nodes kept their links.
fn noticed(beside: Beside, world: &World) -> Result<Vec<Figure>, Failure> {
    let mut figures = beside.end(world)?;
    let lost = float(u64::try_from(world.links_lost())?);
    figures.push(Figure::at_most("links lost", lost, 0.0));
    Ok(figures)
}

/// Some sockets subscribe to all channels at once.
pub(super) fn join(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let (world, channels) = (World::start(arguments)?, channels(arguments));
    let mut swarm = Swarm::connect(&world.nodes[0], JOINING_SOCKETS, 2)?;
    let beside = Beside::start(&world)?;
    std::thread::sleep(Duration::from_secs(1));
    let work = RedisWork::of(&world)?;
    enter(&mut swarm, channels);
    let begun = Instant::now();
    swarm.pump(|answers| answers.succeeded + answers.refused >= channels)?;
    let took = begun.elapsed().as_secs_f64();
    let work = work.until_now(&world, channels, "join")?;
    std::thread::sleep(Duration::from_secs(2));
    let mut figures = vec![
        Figure::at_most("seconds until all are in", took, SECONDS_MAX),
        Figure::at_most("refused", float(u64::try_from(swarm.answers.refused)?), 0.0),
    ];
    figures.extend(work);
    figures.extend(noticed(beside, &world)?);
    Ok(figures)
}

/// All sockets of a node with very many channels are gone at once.
pub(super) fn leave(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let (world, channels) = (World::start(arguments)?, channels(arguments));
    let sockets = arguments.sockets.unwrap_or(LEAVING_SOCKETS);
    let swarm = occupied(&world, sockets, channels)?;
    let beside = Beside::start(&world)?;
    std::thread::sleep(Duration::from_secs(1));
    let work = RedisWork::of(&world)?;
    drop(swarm);
    let took = until(PATIENCE, || Ok(subscribed(&world)? < 10))?;
    let work = work.until_now(&world, channels, "leave")?;
    std::thread::sleep(Duration::from_secs(7));
    let took = took.as_secs_f64();
    let mut figures = vec![Figure::at_most(
        "seconds until all are gone",
        took,
        SECONDS_MAX,
    )];
    figures.extend(work);
    figures.extend(noticed(beside, &world)?);
    Ok(figures)
}

/// The channels of which Redis knows subscribers, by the names that this build gives to its keys.
fn subscribed(world: &World) -> Result<usize, Failure> {
    let mut sum = 0;
    for bucket in 0..64 {
        let key = format!("loudhailer:{{1001:{bucket}}}:total");
        let reply = world.ask_redis(&["HLEN", &key])?;
        sum += reply.trim_start_matches(':').trim().parse::<usize>()?;
    }
    Ok(sum)
}

/// The connection of a node with very many channels to Redis is cut once.
pub(super) fn relink(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let (world, channels) = (World::start(arguments)?, channels(arguments));
    let swarm = occupied(&world, JOINING_SOCKETS, channels)?;
    let settled = float(settled_rss_bytes(&world.nodes[0].pids)?);
    let beside = Beside::start(&world)?;
    std::thread::sleep(Duration::from_secs(1));
    let cpu = world.redis_cpu_ns()?;
    kill_busiest_link(&world)?;
    let begun = Instant::now();
    until(PATIENCE, || Ok(topics(&world)? >= channels))?;
    let took = begun.elapsed().as_secs_f64();
    let cpu = world.redis_cpu_ns()? - cpu;
    std::thread::sleep(Duration::from_secs(3));
    let mut figures = vec![
        Figure::at_most("seconds until all are heard again", took, SECONDS_MAX),
        Figure::new("seconds of Redis", float(cpu) / 1e9),
        Figure::new("memory before, MB", settled / 1e6),
    ];
    figures.extend(beside.end(&world)?);
    drop(swarm);
    Ok(figures)
}

/// Topics that somebody listens to.
fn topics(world: &World) -> Result<usize, Failure> {
    let text = world.ask_redis(&["INFO", "stats"])?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("pubsub_channels:"));
    Ok(line.ok_or("no pubsub_channels")?.trim().parse()?)
}

/// Cuts the connection that listens to most topics.
fn kill_busiest_link(world: &World) -> Result<(), Failure> {
    let clients = world.ask_redis(&["CLIENT", "LIST"])?;
    let field = |line: &str, name: &str| -> Option<u64> {
        let mut words = line.split(' ');
        words.find_map(|word| word.strip_prefix(name)?.parse().ok())
    };
    let busiest = clients.lines().max_by_key(|line| field(line, "sub="));
    let id = busiest.and_then(|line| {
        line.trim_start_matches(|c: char| !c.is_alphabetic())
            .split(' ')
            .next()?
            .strip_prefix("id=")
            .map(str::to_owned)
    });
    let id = id.ok_or("no client listens")?;
    world.ask_redis(&["CLIENT", "KILL", "ID", &id])?;
    Ok(())
}
