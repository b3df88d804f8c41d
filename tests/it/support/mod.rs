//! What every test needs: the real binary in a child process, and clients that speak to it over real sockets.
//!
//! Nothing here knows the server's insides. Reads have a deadline ([`stream::PATIENCE`]); nothing sleeps.

pub(crate) mod acme;
pub(crate) mod api;
pub(crate) mod app;
pub(crate) mod authority;
pub(crate) mod balancer;
pub(crate) mod bridge;
pub(crate) mod client;
#[cfg(feature = "sql")]
pub(crate) mod database;
pub(crate) mod fallback;
pub(crate) mod feed;
pub(crate) mod guide;
pub(crate) mod http;
pub(crate) mod pairs;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod signing;
pub(crate) mod stream;
pub(crate) mod tunnel;
pub(crate) mod websocket;

use std::{
    thread,
    time::{Duration, Instant},
};

use stream::PATIENCE;

/// Asks again and again until there is an answer. For what has no event to wait for; every ask goes through the server.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::yield_now();
    }
}

/// Asks every few milliseconds until there is an answer, at most so long. For what several processes have to agree on: asking
/// without a pause would take the time that they need.
#[track_caller]
pub(crate) fn within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if Instant::now() >= deadline => {
                panic!("waited {patience:?} in vain: {what}; the last answer: {last}");
            }
            Err(_) => thread::park_timeout(Duration::from_millis(10)),
        }
    }
}
