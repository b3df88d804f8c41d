//! Named leases and messages between nodes, for what lives on one node only but may be asked of any.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Node;
pub use crate::engine::cluster::{AppsNews, core::Apps};
use crate::engine::{
    Cluster, NodeId, Unavailable,
    cluster::core::{Query, QueryAnswer},
};

/// The other nodes, as this one reaches them.
#[derive(Clone)]
pub struct Peers {
    node: Arc<Node>,
}

impl Peers {
    /// The other nodes, if there may be any.
    #[must_use]
    pub fn of(node: &Arc<Node>) -> Option<Self> {
        node.engine.cluster()?;
        Some(Self {
            node: Arc::clone(node),
        })
    }

    fn cluster(&self) -> &Cluster {
        let cluster = self.node.engine.cluster();
        cluster.expect("there are peers only in a cluster")
    }

    /// What other nodes call this one.
    #[must_use]
    pub fn own_id(&self) -> NodeId {
        self.cluster().node()
    }

    /// The messages to this node; there is one reader.
    #[must_use]
    pub fn take_inbound(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.cluster().take_inbound()
    }

    /// Holds a name for a minute, unless another node does that is not `instead_of`, which is gone. Returns the holder.
    ///
    /// # Errors
    /// [`Unavailable`] while Redis can't be reached; the same for the others.
    pub async fn hold(
        &self,
        name: &str,
        instead_of: Option<NodeId>,
    ) -> Result<NodeId, Unavailable> {
        let name = name.into();
        let query = Query::Hold { name, instead_of };
        match self.cluster().ask(query).await? {
            QueryAnswer::Node(Some(holder)) => Ok(holder),
            _ => Err(Unavailable),
        }
    }

    /// The node that holds a name.
    ///
    /// # Errors
    /// As [`Peers::hold`].
    pub async fn holder(&self, name: &str) -> Result<Option<NodeId>, Unavailable> {
        match self.cluster().ask(Query::Holder(name.into())).await? {
            QueryAnswer::Node(holder) => Ok(holder),
            _ => Err(Unavailable),
        }
    }

    /// Gives a name back.
    pub async fn release(&self, name: &str) {
        // If that fails, it is held no longer than a minute.
        let _ = self.cluster().ask(Query::Release(name.into())).await;
    }

    /// Has the other nodes look for changed apps.
    pub fn announce_apps(&self) {
        self.cluster().announce_apps();
    }

    /// What is heard of changed apps.
    #[must_use]
    pub fn apps(&self) -> AppsNews {
        self.cluster().apps()
    }

    /// Sends a message to a node; `false` when it does not listen.
    pub async fn send(&self, to: NodeId, message: Bytes) -> bool {
        let sent = self.cluster().ask(Query::Send(to, message)).await;
        matches!(sent, Ok(QueryAnswer::Flag(true)))
    }
}
