//! The end of a node: its last words are sent, then it gives its lease back.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, error};

use super::{Done, Task};
use crate::engine::redis::lease;

/// How long a closing node tries to have its last words heard.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A node that has been told to stop.
pub(super) struct Closing {
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<()>,
    pub(super) resignation: Resignation,
}

/// How far a closing node has come with giving its lease back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resignation {
    NotYet,
    UnderWay,
    /// There is no other node: this one tells of all departures itself.
    Alone,
    Done,
}

impl Task {
    /// Says that this node is no more. Its rows are gone, but for what another node is to tell.
    fn resign(&mut self) {
        let (Some(link), Some(closing)) = (self.link.clone(), &mut self.closing) else {
            return;
        };
        closing.resignation = Resignation::UnderWay;
        let parts = self.lease_parts();
        let hands_over = !self.departures.is_empty();
        self.begin(async move {
            let alone = lease::resign(link, parts, hands_over).await;
            let alone = alone.unwrap_or_else(|error| {
                debug!(%error, "could not give the lease back; it runs out");
                false
            });
            Done::Resigned { alone }
        });
    }

    pub(super) fn on_resigned(&mut self, alone: bool) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        if alone {
            closing.resignation = Resignation::Alone;
            self.departures.hurry(Instant::now());
        } else {
            closing.resignation = Resignation::Done;
        }
    }

    fn has_said_everything(&self) -> bool {
        let hub = self.states.hub();
        let all_written = self.records.iter().all(|(key, record)| {
            !record.in_flight && !record.is_out_of_date(hub.app(&key.0).subscriptions(&key.1))
        });
        all_written && self.outgoing.is_empty()
    }

    /// Whether a closing node has no more to do.
    pub(super) fn has_closed(&mut self) -> bool {
        let Some(closing) = &self.closing else {
            return false;
        };
        let resignation = closing.resignation;
        let is_patient = closing.since.elapsed() < CLOSE_PATIENCE;
        if self.link.is_some() && resignation != Resignation::Done && is_patient {
            let may_resign = match resignation {
                Resignation::NotYet => true,
                Resignation::Alone => self.departures.is_empty(),
                _ => false,
            };
            if may_resign && self.has_said_everything() {
                self.resign();
            }
            return false;
        }
        if let Some(closing) = self.closing.take() {
            let _ = closing.reply.send(());
        }
        if self.link.is_none() {
            error!(
                "stopped while Redis was out of reach; other nodes notice when the lease has run out"
            );
        }
        true
    }
}
