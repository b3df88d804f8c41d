//! The end of a client that listened to many channels: it leaves them when it is its turn, because very many clients may go at once.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::{Turnstile, Worker};
use crate::{
    app::App,
    hub::{AppChannels, Subscriber},
    node::Client,
};

/// Channels that a client leaves as it goes, before others get their turn. Most listen to fewer.
pub(super) const LEFT_AT_ONCE: usize = 8;
/// The same while the node stops: its worker may not wait for what is left for later. Some 0.3 ms.
pub(super) const LEFT_AT_A_STOP: usize = 100;

/// A client that has gone, and some of its subscriptions.
pub struct Departure {
    pub(super) worker: Rc<Worker>,
    pub(super) app: Arc<App>,
    pub(super) channels: Arc<AppChannels>,
    pub(super) subscriber: Rc<Subscriber>,
}

impl Departure {
    /// Where the client waits for its turn.
    #[must_use]
    pub fn seating(&self) -> &Turnstile {
        &self.worker.seating
    }

    /// Leaves more channels until the round is over. Says whether there may be others.
    #[must_use]
    pub fn go_on(&self) -> bool {
        let client = Client {
            shard: &self.worker.shard,
            subscriber: &self.subscriber,
            app: &self.app,
            channels: &self.channels,
        };
        let mut now = Instant::now();
        while self.worker.node.unsubscribe_some(client, LEFT_AT_ONCE, now) {
            now = Instant::now();
            if self.seating().round_is_over(now) {
                return true;
            }
        }
        false
    }
}
