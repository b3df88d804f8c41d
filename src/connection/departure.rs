//! The end of a client that listened to very many channels: it leaves them a few at a time, so that others get their turn.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::Worker;
use crate::{
    app::App,
    hub::{AppChannels, Subscriber},
    node::Client,
};

/// Channels that are left in one turn: some 0.3 ms.
pub(super) const LEFT_AT_ONCE: usize = 100;

/// A client that has gone, and some of its subscriptions.
pub struct Departure {
    pub(super) worker: Rc<Worker>,
    pub(super) app: Arc<App>,
    pub(super) channels: Arc<AppChannels>,
    pub(super) subscriber: Rc<Subscriber>,
}

impl Departure {
    /// Leaves some more channels. Says whether there may be others.
    pub fn go_on(&self, now: Instant) -> bool {
        let client = Client {
            shard: &self.worker.shard,
            subscriber: &self.subscriber,
            app: &self.app,
            channels: &self.channels,
        };
        let node = &self.worker.node;
        node.unsubscribe_some(client, LEFT_AT_ONCE, now)
    }
}
