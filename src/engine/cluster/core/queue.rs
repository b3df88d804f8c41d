//! Channels that wait for their turn: those that clients wait for first, each client's in turn.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::protocol::SocketId;

/// Names of channels. One client that asks for very many waits longer, not the others.
#[derive(Default)]
pub(super) struct Queue {
    turns: VecDeque<SocketId>,
    joins: BTreeMap<SocketId, VecDeque<Arc<str>>>,
    rest: VecDeque<Arc<str>>,
}

impl Queue {
    /// Adds a channel that the client waits for.
    pub(super) fn push_join(&mut self, socket: SocketId, name: Arc<str>) {
        let theirs = self.joins.entry(socket).or_default();
        if theirs.is_empty() {
            self.turns.push_back(socket);
        }
        theirs.push_back(name);
    }

    /// Adds a channel that no client waits for.
    pub(super) fn push_rest(&mut self, name: Arc<str>) {
        self.rest.push_back(name);
    }

    /// The next channel: of the next client in turn, else one that no client waits for.
    pub(super) fn pop(&mut self) -> Option<Arc<str>> {
        let Some(socket) = self.turns.pop_front() else {
            let next = self.rest.pop_front();
            if self.rest.is_empty() {
                self.rest = VecDeque::new();
            }
            return next;
        };
        let theirs = self.joins.get_mut(&socket)?;
        let next = theirs.pop_front();
        if theirs.is_empty() {
            self.joins.remove(&socket);
        } else {
            self.turns.push_back(socket);
        }
        next
    }

    /// Whether a client waits.
    pub(super) fn has_joins(&self) -> bool {
        !self.turns.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.rest.is_empty()
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
