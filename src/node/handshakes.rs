//! TLS sessions that did not begin: counted, and told in the log and the feed a few times a minute.

use std::time::Instant;

use tracing::info;

use super::Node;
use crate::{
    address::Peer,
    feed::{Line, Trouble},
    tls::{Failure, ListenerName},
};

impl Node {
    /// Notes that no session began with this client.
    pub fn no_tls_session(&self, listener: ListenerName, peer: Peer, failure: &Failure) {
        self.incidents.tls_failures.increment(failure.kind());
        // A flood at one listener keeps nothing from being told of the other.
        let storms = match listener {
            ListenerName::Public => &self.storms,
            ListenerName::Admin => &self.operator_storms,
        };
        let Some(suppressed) = storms.tell(failure.kind(), Instant::now()) else {
            return;
        };
        let (listener, reason) = (listener.name(), failure.to_string());
        info!(listener, %peer, reason, suppressed, "no TLS session began");
        let message = format!("no TLS session began: {reason} (from {peer}, {listener} listener)");
        self.feed.emit(|| {
            Line::Error(Trouble {
                message: &message,
                ..Trouble::default()
            })
        });
    }
}
