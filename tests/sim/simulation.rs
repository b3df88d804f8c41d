//! Many seeds, each a world of its own. A seed that fails is made as small as possible, and can be repeated:
//!
//! ```sh
//! LOUDHAILER_SIM_SEED=17 cargo test --test sim simulation
//! ```
//!
//! `LOUDHAILER_SIM_SEEDS` and `LOUDHAILER_SIM_FROM` choose how many seeds are played, and from which on.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use crate::{
    plan::Plan,
    world::{Failure, World},
};

/// Seeds of one run of the tests.
const SEEDS: u64 = 2000;
/// Seeds beyond [`SEEDS`] that have found a mistake, as long as plans are drawn as they were then. `docs/testing.md` says which.
const FOUND: [u64; 18] = [
    3121, 3416, 3600, 4580, 10778, 12053, 12058, 12213, 22536, 32493, 38661, 48014, 52273, 57173,
    59997, 88950, 99855, 105748,
];
/// Attempts to make a failing plan smaller.
const SHRINKS_MAX: usize = 400;

fn from_environment(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

fn play(plan: &Plan, traces: bool) -> Result<usize, Failure> {
    World::new(plan.clone(), None, traces).run()
}

/// The same failure with as few steps as possible.
fn shrink(plan: &Plan) -> Plan {
    let mut smallest = plan.clone();
    let mut attempts = 0;
    let mut part = smallest.steps.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < smallest.steps.len() && attempts < SHRINKS_MAX {
            attempts += 1;
            let mut candidate = smallest.clone();
            candidate
                .steps
                .drain(at..(at + part).min(candidate.steps.len()));
            if play(&candidate, false).is_err() {
                smallest = candidate;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    smallest
}

/// Everything that is known of a failing seed.
fn report(seed: u64) -> String {
    let plan = Plan::of(seed);
    let smallest = shrink(&plan);
    let outcome = play(&smallest, true);
    let Err(Failure { at, what, trace }) = outcome else {
        return format!("seed {seed} fails, but not again: is something in it left to chance?");
    };
    let shown = from_environment("LOUDHAILER_SIM_TRACE").unwrap_or(60);
    let shown = usize::try_from(shown).unwrap_or(usize::MAX);
    let tail = trace.len().saturating_sub(shown);
    format!(
        "seed {seed}: after {:.3} s: {what}\n{smallest:#?}\n{}\nrepeat: LOUDHAILER_SIM_SEED={seed} cargo test --test sim simulation",
        at as f64 / 1e6,
        trace[tail..].join("\n")
    )
}

#[test]
fn whatever_goes_wrong_everything_is_right_afterwards() {
    if let Some(seed) = from_environment("LOUDHAILER_SIM_SEED") {
        if play(&Plan::of(seed), false).is_err() {
            panic!("{}", report(seed));
        }
        return;
    }
    let from = from_environment("LOUDHAILER_SIM_FROM").unwrap_or(0);
    let seeds = from_environment("LOUDHAILER_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let (begun, events) = (Instant::now(), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    match play(&Plan::of(seed), false) {
                        Ok(handled) => drop(events.fetch_add(handled as u64, Ordering::Relaxed)),
                        Err(_) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "{}", report(failed));
    eprintln!(
        "{seeds} seeds, {} events, {:.1} s",
        events.into_inner(),
        begun.elapsed().as_secs_f64()
    );
}

#[test]
fn seeds_that_found_a_mistake_find_none() {
    for seed in FOUND {
        assert!(play(&Plan::of(seed), false).is_ok(), "{}", report(seed));
    }
}
