//! Where answers of the core go.

use tokio::sync::oneshot;

use super::core::QueryAnswer;
use crate::engine::{EnterError, Unavailable};

/// Where an answer goes. The receiver may be gone; then the answer is dropped.
pub(super) enum Reply {
    /// A client that enters a channel.
    Enter(oneshot::Sender<Result<(), EnterError>>),
    /// A question.
    Query(oneshot::Sender<Result<QueryAnswer, Unavailable>>),
    /// The end of the node.
    Close(oneshot::Sender<()>),
}

impl Reply {
    pub(super) fn admit(self, result: Result<(), EnterError>) {
        if let Self::Enter(reply) = self {
            let _ = reply.send(result);
        }
    }

    pub(super) fn answer(self, answer: Result<QueryAnswer, Unavailable>) {
        if let Self::Query(reply) = self {
            let _ = reply.send(answer);
        }
    }

    pub(super) fn closed(self) {
        if let Self::Close(reply) = self {
            let _ = reply.send(());
        }
    }
}
