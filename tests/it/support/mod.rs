//! What every test needs: the real binary in a child process, and clients that speak to it over real sockets.
//!
//! Nothing here knows the server's insides. Reads have a deadline ([`stream::PATIENCE`]); nothing sleeps.

pub(crate) mod api;
pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod feed;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod signing;
pub(crate) mod stream;
pub(crate) mod websocket;

use std::time::Instant;

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
