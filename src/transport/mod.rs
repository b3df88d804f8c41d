//! How bytes get to a [`Connection`](crate::connection::Connection) and back.

pub mod fallback;
pub mod http;
mod input;
mod opening;
mod pace;
mod redirect;
mod subprotocol;
pub mod websocket;

use std::time::Instant;

use tokio::task::{spawn_local, yield_now};

pub use self::{opening::Port, redirect::redirect};
use crate::connection::Departure;

/// Has a client that has gone leave the rest of its channels, a few in each turn.
fn depart(departure: Option<Departure>) {
    if let Some(departure) = departure {
        spawn_local(async move {
            while departure.go_on(Instant::now()) {
                yield_now().await;
            }
        });
    }
}
