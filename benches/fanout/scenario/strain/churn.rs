//! Crowds that come and go: what is left of them in the nodes and in Redis.

use std::time::{Duration, Instant};

use super::Figure;
use super::world::World;
use crate::Failure;
use crate::arguments::Arguments;
use crate::proc::settled_rss_bytes;
use crate::report::float;
use crate::scenario::swarm::Swarm;

const CLIENTS: usize = 10_000;
const TIMES: usize = 5;
/// After this nothing of an empty channel is left.
const KEYS_GONE_AFTER: Duration = Duration::from_secs(70);

/// Each crowd has a source address of its own: the ports of the one before stay taken for a minute.
fn source(time: usize) -> Result<u8, Failure> {
    Ok(2 + u8::try_from(time)?)
}

/// Clients with a channel of their own each come to all three nodes and go, several times.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let world = World::start(arguments)?;
    let clients = arguments.sockets.unwrap_or(CLIENTS);
    let empty = settled_rss_bytes(&world.pids())?;
    let keys = world.keys()?;
    for time in 0..TIMES {
        let mut swarms = Vec::new();
        for (at, node) in world.nodes.iter().enumerate() {
            let theirs = clients / world.nodes.len();
            let mut swarm = Swarm::connect(node, theirs, source(time)?)?;
            for socket in 0..theirs {
                swarm.subscribe(socket, &format!("own-{time}-{at}-{socket}"));
            }
            swarm.pump(|answers| answers.succeeded >= theirs)?;
            swarms.push(swarm);
        }
        drop(swarms);
        std::thread::sleep(Duration::from_secs(2));
    }
    let gone = Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    let after = settled_rss_bytes(&world.pids())?;
    while gone.elapsed() < KEYS_GONE_AFTER && world.keys()? > keys {
        std::thread::sleep(Duration::from_secs(1));
    }
    let left = world.keys()?.saturating_sub(keys);
    Ok(vec![
        Figure::new("three empty nodes, MB", float(empty) / 1e6),
        Figure::new("when everyone has gone, MB", float(after) / 1e6),
        Figure::at_most("memory, × empty", float(after) / float(empty), 2.0),
        Figure::at_most("keys left in Redis", float(left), 0.0),
    ])
}
