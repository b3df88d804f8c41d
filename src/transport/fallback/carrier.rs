//! Between nodes: a request that reached another node than the one that holds its session is carried there, and what it receives is
//! carried back.

use std::{sync::Arc, time::Duration};

use actix_web::web::Bytes;
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::debug;

use super::{
    RESPONSE_BACKLOG, Sessions,
    lines::Lines,
    max_body_bytes,
    session::{Messages, ToSession, Way},
};
use crate::{
    engine::{NodeId, Unavailable},
    node::Peers,
    protocol::{CloseCode, Frame},
};

/// How long another node may take to answer a request.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client may take to read a piece.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// How often the other node is asked whether it is still there, while it sends nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often this node holds the names of its sessions anew.
const HOLD_AGAIN: Duration = Duration::from_secs(20);
/// Pieces of one response that may be on their way.
const PIECES_MAX: usize = 16;
/// Replies about one request that may wait; there are never more.
const REPLIES_MAX: usize = 2 * PIECES_MAX;

/// Close reason for clients whose session is elsewhere when this node stops.
const REASON: &str = "The server is restarting; reconnect.";

/// What nodes send each other about fallback sessions.
#[derive(Debug, Serialize, Deserialize)]
enum PeerMessage {
    /// To the session's node: the client sends.
    Send {
        session: String,
        number: u64,
        messages: Vec<String>,
    },
    /// To the session's node: the client receives, by this request.
    Receive {
        session: String,
        from: NodeId,
        request: u64,
        streaming: bool,
    },
    /// About a request, in either direction.
    About { request: u64, reply: Reply },
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// The session has the request.
    Accepted,
    /// There is no such session.
    Unknown,
    /// Lines for the client.
    Piece(String),
    /// The client's connection has taken the piece.
    Taken,
    /// The response is complete.
    End,
    /// The client is still there, and so should the session's node be.
    Here,
    /// The client has gone.
    Gone,
    /// The client's node stops, and has told it to connect anew.
    Told,
}

/// What became of a request that was carried.
pub(super) enum Carried {
    /// The session's node answers it.
    Yes,
    /// That node or the session is gone.
    Gone,
}

/// This node's part in carrying.
pub struct Carrier {
    peers: Peers,
    sessions: Sessions,
    /// Bytes of messages that one request may bring.
    max_body_bytes: usize,
    /// Who reads the replies about a request.
    pending: DashMap<u64, mpsc::Sender<Reply>, ahash::RandomState>,
    stopping: watch::Sender<bool>,
}

impl Carrier {
    /// Carries for these sessions.
    #[must_use]
    pub fn new(peers: Peers, sessions: Sessions, max_message_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            peers,
            sessions,
            max_body_bytes: max_body_bytes(max_message_bytes),
            pending: DashMap::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Reads this node's messages, as long as it lives. Must run within a `LocalSet`.
    pub async fn run(self: Arc<Self>) {
        let Some(mut inbound) = self.peers.take_inbound() else {
            return;
        };
        let mut hold_again = interval(HOLD_AGAIN);
        hold_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                message = inbound.recv() => match message {
                    Some(message) => self.read(&message),
                    None => return,
                },
                _ = hold_again.tick() => {
                    tokio::task::spawn_local(Arc::clone(&self).hold_all());
                }
            }
        }
    }

    /// Tells the clients whose sessions are elsewhere to connect anew: this node stops.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    async fn hold_all(self: Arc<Self>) {
        let names: Vec<String> = self.sessions.0.iter().map(|s| s.key().clone()).collect();
        for name in names {
            if self.peers.hold(&name, None).await.is_err() {
                return;
            }
        }
    }

    fn read(self: &Arc<Self>, message: &[u8]) {
        match serde_json::from_slice(message) {
            Ok(PeerMessage::Send {
                session,
                number,
                messages,
            }) => {
                if let Some(session) = self.sessions.find(&session) {
                    let messages = Messages::new(number, messages, Way::Carried);
                    // Too many wait, or it has just ended: then they are lost, as a client's requests may be.
                    let _ = session.send(messages, self.max_body_bytes);
                }
            }
            Ok(PeerMessage::Receive {
                session,
                from,
                request,
                streaming,
            }) => {
                let carrier = Arc::clone(self);
                tokio::task::spawn_local(async move {
                    carrier.serve(&session, from, request, streaming).await;
                });
            }
            Ok(PeerMessage::About { request, reply }) => {
                if let Some(sender) = self.pending.get(&request) {
                    let _ = sender.try_send(reply);
                }
            }
            Err(error) => {
                let error = error.to_string();
                debug!(
                    error,
                    "a message that this version does not know was ignored"
                );
            }
        }
    }

    async fn say(&self, to: NodeId, request: u64, reply: Reply) -> bool {
        self.write(to, &PeerMessage::About { request, reply }).await
    }

    async fn write(&self, to: NodeId, message: &PeerMessage) -> bool {
        let text = serde_json::to_vec(message).expect("strings and numbers always serialise");
        self.peers.send(to, text.into()).await
    }

    /// Has a session fetch for a request at another node, until either ends.
    async fn serve(&self, session: &str, from: NodeId, request: u64, streaming: bool) {
        let Some(session) = self.sessions.find(session) else {
            self.say(from, request, Reply::Unknown).await;
            return;
        };
        let (sender, replies) = mpsc::channel(REPLIES_MAX);
        self.pending.insert(request, sender);
        let (response, pieces) = mpsc::channel(RESPONSE_BACKLOG);
        let attach = ToSession::Attach {
            response,
            streaming,
        };
        let session = session.requests;
        if session.send(attach).await.is_err() {
            self.say(from, request, Reply::Unknown).await;
        } else if self.say(from, request, Reply::Accepted).await
            && !self.carry_back(from, request, pieces, replies).await
        {
            // A piece may not have arrived, so the client must begin anew.
            let _ = session.send(ToSession::Lost).await;
        }
        self.pending.remove(&request);
    }

    /// Whether everything arrived, as far as the client was there.
    async fn carry_back(
        &self,
        from: NodeId,
        request: u64,
        mut pieces: mpsc::Receiver<Bytes>,
        mut replies: mpsc::Receiver<Reply>,
    ) -> bool {
        let (mut on_their_way, mut has_ended) = (0, false);
        let mut deadline = Instant::now();
        while on_their_way > 0 || !has_ended {
            select! {
                piece = pieces.recv(), if !has_ended && on_their_way < PIECES_MAX => {
                    if on_their_way == 0 {
                        deadline = Instant::now() + READ_PATIENCE;
                    }
                    has_ended = piece.is_none();
                    on_their_way += usize::from(piece.is_some());
                    let reply = piece.map_or(Reply::End, |piece| {
                        Reply::Piece(String::from_utf8_lossy(&piece).into_owned())
                    });
                    if !self.say(from, request, reply).await {
                        return false;
                    }
                }
                reply = replies.recv() => match reply {
                    Some(Reply::Taken) => {
                        on_their_way = on_their_way.saturating_sub(1);
                        deadline = Instant::now() + READ_PATIENCE;
                    }
                    Some(Reply::Here) => {}
                    Some(Reply::Told) => return false,
                    _ => return true,
                },
                () = sleep_until(deadline), if on_their_way > 0 => return false,
            }
        }
        true
    }

    /// A session of this node has ended.
    pub(super) async fn release(&self, session: &str) {
        self.peers.release(session).await;
    }

    /// Carries a sending request to the session's node; whether there is one.
    pub(super) async fn send(
        &self,
        session: &str,
        number: u64,
        messages: Vec<String>,
    ) -> Result<bool, Unavailable> {
        let Some(holder) = self.other_holder(session).await? else {
            return Ok(false);
        };
        let session = session.to_owned();
        let message = PeerMessage::Send {
            session,
            number,
            messages,
        };
        Ok(self.write(holder, &message).await)
    }

    async fn other_holder(&self, session: &str) -> Result<Option<NodeId>, Unavailable> {
        let holder = self.peers.holder(session).await?;
        Ok(holder.filter(|holder| *holder != self.peers.own_id()))
    }

    /// Has the session's node answer a receiving request; `None` when the session is this node's to open. While Redis is away
    /// that is the best that can be done: a client that had a session elsewhere notices, and connects anew.
    pub(super) async fn receive(
        self: &Arc<Self>,
        session: &str,
        response: &mpsc::Sender<Bytes>,
        streaming: bool,
    ) -> Option<()> {
        let mut gone = None;
        loop {
            let holder = match self.peers.hold(session, gone).await {
                Ok(holder) if holder == self.peers.own_id() => return None,
                Ok(holder) => Some(holder),
                Err(Unavailable) => None,
            };
            if *self.stopping.borrow() {
                say_goodbye(response).await;
                return Some(());
            }
            match self.fetch(holder?, session, response, streaming).await {
                Carried::Yes => return Some(()),
                Carried::Gone => gone = holder,
            }
        }
    }

    async fn fetch(
        self: &Arc<Self>,
        holder: NodeId,
        session: &str,
        response: &mpsc::Sender<Bytes>,
        streaming: bool,
    ) -> Carried {
        let request = rand::random();
        let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
        self.pending.insert(request, sender);
        let message = PeerMessage::Receive {
            session: session.to_owned(),
            from: self.peers.own_id(),
            request,
            streaming,
        };
        if self.write(holder, &message).await
            && let Ok(Some(Reply::Accepted)) = timeout(ANSWER_PATIENCE, replies.recv()).await
        {
            let (carrier, response) = (Arc::clone(self), response.clone());
            tokio::task::spawn_local(async move {
                carrier.hand_over(holder, request, replies, response).await;
                carrier.pending.remove(&request);
            });
            return Carried::Yes;
        }
        self.pending.remove(&request);
        Carried::Gone
    }

    /// Hands pieces from another node to the client.
    async fn hand_over(
        &self,
        holder: NodeId,
        request: u64,
        mut replies: mpsc::Receiver<Reply>,
        response: mpsc::Sender<Bytes>,
    ) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let reply = select! {
                _ = stopping.wait_for(|stops| *stops) => {
                    say_goodbye(&response).await;
                    Some(Reply::Told)
                }
                reply = timeout(LOOK_AGAIN, replies.recv()) => reply.unwrap_or(Some(Reply::Here)),
                () = response.closed() => Some(Reply::Gone),
            };
            let answer = match reply {
                Some(Reply::Piece(text)) => match response.send(text.into()).await {
                    Ok(()) => Reply::Taken,
                    Err(_) => Reply::Gone,
                },
                Some(reply @ (Reply::Gone | Reply::Here | Reply::Told)) => reply,
                _ => return,
            };
            let is_gone = matches!(answer, Reply::Gone | Reply::Told);
            if !self.say(holder, request, answer).await || is_gone {
                return;
            }
        }
    }
}

/// Tells a client to connect anew.
async fn say_goodbye(response: &mpsc::Sender<Bytes>) {
    let mut goodbye = Lines::default();
    goodbye.add(Frame::close(CloseCode::Reconnect, REASON).bytes().clone());
    // It may have gone.
    let _ = response.send(goodbye.text.into()).await;
}
