//! What an operator asks of this node, and does to its clients. Nothing is gathered before.

use super::Node;
use crate::{
    engine::{ClusterNode, Unavailable},
    hub::{ConnectionView, Search},
    protocol::SocketId,
};

impl Node {
    /// This node's clients that match, sorted over all of them, as many as may be shown; and the number of all.
    pub async fn find_connections(&self, search: Search) -> (Vec<ConnectionView>, usize) {
        let Search {
            direction,
            offset,
            limit,
            ..
        } = search;
        let (mut found, mut total) = (Vec::new(), 0);
        for answer in self.hub.ask(move |shard| shard.find(&search)) {
            // A shard that ends has no clients any more.
            let (theirs, count) = answer.await.unwrap_or_default();
            found.extend(theirs);
            total += count;
        }
        found.sort_unstable_by(|(one, _), (other, _)| direction.compare(one, other));
        let found = found.into_iter().map(|(_, view)| view);
        (found.skip(offset).take(limit).collect(), total)
    }

    /// Ends the connection of this id; whether there is one on this node.
    pub async fn disconnect(&self, id: SocketId) -> bool {
        let mut was_here = false;
        for answer in self.hub.ask(move |shard| shard.disconnect(id)) {
            was_here |= answer.await.unwrap_or_default();
        }
        was_here
    }

    /// The nodes that share the state, this one among them.
    ///
    /// # Errors
    /// As [`Node::channel`].
    pub async fn nodes(&self) -> Result<Vec<ClusterNode>, Unavailable> {
        self.engine.nodes().get().await
    }
}
