//! Channels that wait for their turn: those that clients wait for first, each client's in turn.

use std::{collections::VecDeque, sync::Arc};

use super::turns::Turns;
use crate::protocol::SocketId;

/// Names of channels. One client that asks for very many waits longer, not the others.
#[derive(Default)]
pub(super) struct Queue {
    joins: Turns<SocketId, Arc<str>>,
    rest: VecDeque<Arc<str>>,
}

impl Queue {
    /// Adds a channel that the client waits for.
    pub(super) fn push_join(&mut self, socket: SocketId, name: Arc<str>) {
        self.joins.push(socket, name);
    }

    /// Adds a channel that no client waits for.
    pub(super) fn push_rest(&mut self, name: Arc<str>) {
        self.rest.push_back(name);
    }

    /// The next channel: of the next client in turn, else one that no client waits for.
    pub(super) fn pop(&mut self) -> Option<Arc<str>> {
        let next = self.joins.pop();
        if next.is_some() {
            return next;
        }
        let next = self.rest.pop_front();
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        next
    }

    /// Whether a client waits.
    pub(super) fn has_joins(&self) -> bool {
        !self.joins.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.rest.is_empty()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asks_for_many_lets_others_go_between() {
        let mut queue = Queue::default();
        let (greedy, modest) = (SocketId::random(), SocketId::random());
        queue.push_rest("left".into());
        for name in ["a", "b", "c"] {
            queue.push_join(greedy, name.into());
        }
        queue.push_join(modest, "m".into());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let order: Vec<&str> = order.iter().map(|name| &**name).collect();
        assert_eq!(order, ["a", "m", "b", "c", "left"]);
        assert!(queue.is_empty() && !queue.has_joins());
    }
}
