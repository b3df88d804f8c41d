//! How bytes get to a [`Connection`](crate::connection::Connection) and back.

pub mod fallback;
pub mod http;
mod input;
mod opening;
mod pace;
mod redirect;
mod subprotocol;
pub mod websocket;

use std::{future::poll_fn, time::Instant};

use tokio::task::{spawn_local, yield_now};

pub use self::{opening::Port, redirect::redirect};
use crate::connection::{Departure, Passage};

/// Has a client that has gone leave the rest of its channels when it is its turn.
fn depart(departure: Option<Departure>) {
    if let Some(departure) = departure {
        spawn_local(async move {
            let (turnstile, mut passage) = (departure.seating(), Passage::default());
            let mut has_more = true;
            while has_more {
                passage.queue(turnstile);
                poll_fn(|cx| passage.poll(cx)).await;
                has_more = departure.go_on();
                if passage.use_up(turnstile, Instant::now()) {
                    yield_now().await;
                }
            }
        });
    }
}
