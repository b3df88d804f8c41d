//! The post between nodes: who holds what is called so, and letters to one node. For what lives on one node only, but may be asked
//! of any.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use redis::{AsyncCommands, RedisResult, Script};
use tokio::sync::{mpsc, oneshot};

use super::{intent::Intent, link::Link, query::Parts};
use crate::engine::Unavailable;

/// Letters that wait for their reader. Over it the newest is lost, and its sender waits in vain.
const LETTERS_MAX: usize = 4096;
/// How long a name is held that nobody holds again.
const HELD_S: u64 = 60;

/// Has the node hold a name, unless another does. KEYS: the name. ARGV: node, for how many seconds, a node that is gone.
/// Returns who holds it.
const HOLD: &str = r"
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
";

/// Gives a name back. KEYS and first ARGV as [`HOLD`].
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
";

/// One process of the cluster.
pub type NodeId = u64;

/// What is asked of the post; each is answered.
pub(super) enum Errand {
    Hold {
        name: String,
        instead_of: Option<NodeId>,
        reply: oneshot::Sender<Result<NodeId, Unavailable>>,
    },
    Holder {
        name: String,
        reply: oneshot::Sender<Result<Option<NodeId>, Unavailable>>,
    },
    Release {
        name: String,
        reply: oneshot::Sender<Result<(), Unavailable>>,
    },
    Letter {
        to: NodeId,
        text: Bytes,
        reply: oneshot::Sender<Result<bool, Unavailable>>,
    },
}

/// The post, as the rest of the server uses it. Clones are the same.
#[derive(Clone)]
pub struct Post {
    node: NodeId,
    intents: mpsc::UnboundedSender<Intent>,
    letters: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
}

impl Post {
    /// The post of this node, and where its letters are put.
    pub(super) fn new(
        node: NodeId,
        intents: mpsc::UnboundedSender<Intent>,
    ) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, letters) = mpsc::channel(LETTERS_MAX);
        let letters = Arc::new(Mutex::new(Some(letters)));
        let post = Self {
            node,
            intents,
            letters,
        };
        (post, sender)
    }

    /// What other nodes call this one.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The letters to this node; there is one reader.
    #[must_use]
    pub fn take_letters(&self) -> Option<mpsc::Receiver<Bytes>> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.take()
    }

    /// Holds a name for a minute, unless another node does that is not `instead_of`, which is gone. Gives who holds it.
    ///
    /// # Errors
    /// [`Unavailable`] while Redis is out of reach.
    pub async fn hold(
        &self,
        name: &str,
        instead_of: Option<NodeId>,
    ) -> Result<NodeId, Unavailable> {
        let name = name.to_owned();
        self.ask(|reply| Errand::Hold {
            name,
            instead_of,
            reply,
        })
        .await
    }

    /// Who holds a name.
    ///
    /// # Errors
    /// [`Unavailable`] while Redis is out of reach.
    pub async fn holder(&self, name: &str) -> Result<Option<NodeId>, Unavailable> {
        let name = name.to_owned();
        self.ask(|reply| Errand::Holder { name, reply }).await
    }

    /// Gives a name back.
    pub async fn release(&self, name: &str) {
        let name = name.to_owned();
        // If that fails, it is held no longer than a minute.
        let _ = self.ask(|reply| Errand::Release { name, reply }).await;
    }

    /// Sends a letter; whether its node was there.
    pub async fn send(&self, to: NodeId, text: Bytes) -> bool {
        let sent = self.ask(|reply| Errand::Letter { to, text, reply }).await;
        sent.unwrap_or(false)
    }

    async fn ask<T>(
        &self,
        errand: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Errand,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let intent = Intent::Post(errand(reply));
        self.intents.send(intent).map_err(|_| Unavailable)?;
        answer.await.unwrap_or(Err(Unavailable))
    }
}

pub(super) async fn hold(
    mut link: Link,
    parts: Parts,
    name: String,
    node: NodeId,
    instead_of: Option<NodeId>,
) -> RedisResult<NodeId> {
    let gone = instead_of.map_or_else(String::new, |gone| gone.to_string());
    let script = Script::new(HOLD);
    let mut script = script.key(parts.keys.held(&name));
    script.arg(node).arg(HELD_S).arg(gone);
    script.invoke_async(&mut link).await
}

pub(super) async fn holder(
    mut link: Link,
    parts: Parts,
    name: String,
) -> RedisResult<Option<NodeId>> {
    link.get(parts.keys.held(&name)).await
}

pub(super) async fn release(
    mut link: Link,
    parts: Parts,
    name: String,
    node: NodeId,
) -> RedisResult<()> {
    let script = Script::new(RELEASE);
    let mut script = script.key(parts.keys.held(&name));
    script.arg(node).invoke_async(&mut link).await
}

pub(super) async fn letter(
    mut link: Link,
    parts: Parts,
    to: NodeId,
    text: Bytes,
) -> RedisResult<bool> {
    let listeners: usize = redis::cmd(link.publish_command())
        .arg(parts.keys.letters(to))
        .arg(&text[..])
        .query_async(&mut link)
        .await?;
    Ok(listeners > 0)
}
