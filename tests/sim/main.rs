//! The cluster's simulator, and what it stands on.

mod differential;
mod mutants;
mod plan;
#[path = "../it/support/random.rs"]
mod random;
mod redis;
mod simulated;
mod simulation;
mod world;
