//! Everything at once, seeded: clients come, go and publish on three nodes while nodes are killed, stopped and started again,
//! and Redis hangs, dies, or loses its data. In the end every list is the truth, every client's messages add up, and no event
//! was lost, doubled or out of order where nothing stood in its way.
//!
//! `LOUDHAILER_CHAOS_SEED` and `LOUDHAILER_CHAOS_ROUNDS` choose another run.

mod check;
mod player;
mod world;

use std::{
    env,
    time::{Duration, Instant},
};

use self::world::World;

const NODES: usize = 3;
const PLAYERS: usize = 18;
const USERS: usize = 7;
const ROOMS: [&str; 2] = ["presence-a", "presence-b"];
const TOPICS: [&str; 2] = ["news", "private-talk"];
const CHANNELS: [&str; 4] = [ROOMS[0], ROOMS[1], TOPICS[0], TOPICS[1]];
const CACHE: &str = "cache-last";

const ROUNDS: usize = 200;
const STEPS_PER_ROUND: usize = 8;
/// Rounds before each fault; a checkpoint follows it.
const ROUNDS_PER_FAULT: usize = 8;
const LEASE: Duration = Duration::from_secs(6);
/// What agreement may take: a lease, its notice, and the time after a loss in which nobody is removed; and a noisy machine.
const AGREEMENT: Duration = Duration::from_secs(40);
/// How long after a fault's end events may still be lost: links are made anew.
const SETTLING: Duration = Duration::from_millis(2500);
const FOREVER: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillNode,
    FreezeNode,
    FreezeNodeBriefly,
    KillRedis,
    FreezeRedis,
    FreezeRedisLong,
    Flush,
    FlushAndKillNode,
}

const FAULTS: [Fault; 8] = [
    Fault::KillNode,
    Fault::FreezeNode,
    Fault::FreezeNodeBriefly,
    Fault::KillRedis,
    Fault::FreezeRedis,
    Fault::FreezeRedisLong,
    Fault::Flush,
    Fault::FlushAndKillNode,
];
fn from_environment(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn any_order_of_faults_ends_in_the_truth() {
    let seed = from_environment("LOUDHAILER_CHAOS_SEED", 1);
    let rounds = from_environment("LOUDHAILER_CHAOS_ROUNDS", ROUNDS as u64);
    let rounds = usize::try_from(rounds).expect("a count");
    let mut world = World::new(seed);
    let mut bag: Vec<Fault> = Vec::new();
    while world.round < rounds {
        for _ in 0..ROUNDS_PER_FAULT {
            world.steps(STEPS_PER_ROUND);
            world.round += 1;
        }
        if bag.is_empty() {
            bag = FAULTS.to_vec();
        }
        let at = world.random.below(bag.len());
        let fault = bag.swap_remove(at);
        eprintln!("round {}: {fault:?}", world.round);
        world.fault(fault);
        let begun = Instant::now();
        world.checkpoint();
        eprintln!(
            "round {}: all agree after {:?}",
            world.round,
            begun.elapsed()
        );
    }
    eprintln!("{} deliveries had to come, and came", world.owed);
    assert!(world.owed > 0, "faults left no time to check deliveries");
}
