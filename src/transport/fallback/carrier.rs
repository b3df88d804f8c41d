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
    engine::{NodeId, Post, Unavailable},
    protocol::{CloseCode, Frame},
};

/// How long another node may take to answer a request.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client may take to read a piece.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether the other node is still there, while it has nothing to say.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often this node says which sessions are its own.
const HOLD_AGAIN: Duration = Duration::from_secs(20);
/// Pieces of one response that may be on their way.
const PIECES_MAX: usize = 16;
/// Letters about one request that may wait; there are never more.
const DESK_SIZE: usize = 2 * PIECES_MAX;

/// What a client is told whose session is elsewhere when its node stops.
const REASON: &str = "The server is restarting; reconnect.";

/// What nodes write to each other.
#[derive(Debug, Serialize, Deserialize)]
enum Letter {
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
    About { request: u64, word: Word },
}

#[derive(Debug, Serialize, Deserialize)]
enum Word {
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
    /// It is answered by the session's node.
    Yes,
    /// That node or the session is gone.
    Gone,
}

/// This node's side of it.
pub struct Carrier {
    post: Post,
    sessions: Sessions,
    /// Bytes of messages that one request may bring.
    max_body_bytes: usize,
    /// Where letters about a request are read.
    desks: DashMap<u64, mpsc::Sender<Word>, ahash::RandomState>,
    stopping: watch::Sender<bool>,
}

impl Carrier {
    /// Carries for these sessions.
    #[must_use]
    pub fn new(post: Post, sessions: Sessions, max_message_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            post,
            sessions,
            max_body_bytes: max_body_bytes(max_message_bytes),
            desks: DashMap::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Reads this node's letters, as long as it lives. Must run within a `LocalSet`.
    pub async fn run(self: Arc<Self>) {
        let Some(mut letters) = self.post.take_letters() else {
            return;
        };
        let mut hold_again = interval(HOLD_AGAIN);
        hold_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                letter = letters.recv() => match letter {
                    Some(letter) => self.read(&letter),
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
            if self.post.hold(&name, None).await.is_err() {
                return;
            }
        }
    }

    fn read(self: &Arc<Self>, letter: &[u8]) {
        match serde_json::from_slice(letter) {
            Ok(Letter::Send {
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
            Ok(Letter::Receive {
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
            Ok(Letter::About { request, word }) => {
                if let Some(desk) = self.desks.get(&request) {
                    let _ = desk.try_send(word);
                }
            }
            Err(error) => {
                let error = error.to_string();
                debug!(
                    error,
                    "a peer request that this version does not know was ignored"
                );
            }
        }
    }

    async fn say(&self, to: NodeId, request: u64, word: Word) -> bool {
        self.write(to, &Letter::About { request, word }).await
    }

    async fn write(&self, to: NodeId, letter: &Letter) -> bool {
        let text = serde_json::to_vec(letter).expect("strings and numbers always serialise");
        self.post.send(to, text.into()).await
    }

    /// Has a session fetch for a request at another node, until either ends.
    async fn serve(&self, session: &str, from: NodeId, request: u64, streaming: bool) {
        let Some(session) = self.sessions.find(session) else {
            self.say(from, request, Word::Unknown).await;
            return;
        };
        let (desk, words) = mpsc::channel(DESK_SIZE);
        self.desks.insert(request, desk);
        let (response, pieces) = mpsc::channel(RESPONSE_BACKLOG);
        let attach = ToSession::Attach {
            response,
            streaming,
        };
        let session = session.requests;
        if session.send(attach).await.is_err() {
            self.say(from, request, Word::Unknown).await;
        } else if self.say(from, request, Word::Accepted).await
            && !self.carry_back(from, request, pieces, words).await
        {
            // A piece may not have arrived, so the client must begin anew.
            let _ = session.send(ToSession::Lost).await;
        }
        self.desks.remove(&request);
    }

    /// Whether everything arrived, as far as the client was there.
    async fn carry_back(
        &self,
        from: NodeId,
        request: u64,
        mut pieces: mpsc::Receiver<Bytes>,
        mut words: mpsc::Receiver<Word>,
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
                    let word = piece.map_or(Word::End, |piece| {
                        Word::Piece(String::from_utf8_lossy(&piece).into_owned())
                    });
                    if !self.say(from, request, word).await {
                        return false;
                    }
                }
                word = words.recv() => match word {
                    Some(Word::Taken) => {
                        on_their_way = on_their_way.saturating_sub(1);
                        deadline = Instant::now() + READ_PATIENCE;
                    }
                    Some(Word::Here) => {}
                    Some(Word::Told) => return false,
                    _ => return true,
                },
                () = sleep_until(deadline), if on_their_way > 0 => return false,
            }
        }
        true
    }

    /// A session of this node has ended.
    pub(super) async fn release(&self, session: &str) {
        self.post.release(session).await;
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
        let letter = Letter::Send {
            session,
            number,
            messages,
        };
        Ok(self.write(holder, &letter).await)
    }

    async fn other_holder(&self, session: &str) -> Result<Option<NodeId>, Unavailable> {
        let holder = self.post.holder(session).await?;
        Ok(holder.filter(|holder| *holder != self.post.node()))
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
            let holder = match self.post.hold(session, gone).await {
                Ok(holder) if holder == self.post.node() => return None,
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
        let (desk, mut words) = mpsc::channel(DESK_SIZE);
        self.desks.insert(request, desk);
        let letter = Letter::Receive {
            session: session.to_owned(),
            from: self.post.node(),
            request,
            streaming,
        };
        if self.write(holder, &letter).await
            && let Ok(Some(Word::Accepted)) = timeout(ANSWER_PATIENCE, words.recv()).await
        {
            let (carrier, response) = (Arc::clone(self), response.clone());
            tokio::task::spawn_local(async move {
                carrier.hand_over(holder, request, words, response).await;
                carrier.desks.remove(&request);
            });
            return Carried::Yes;
        }
        self.desks.remove(&request);
        Carried::Gone
    }

    /// Hands pieces from another node to the client.
    async fn hand_over(
        &self,
        holder: NodeId,
        request: u64,
        mut words: mpsc::Receiver<Word>,
        response: mpsc::Sender<Bytes>,
    ) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let word = select! {
                _ = stopping.wait_for(|stops| *stops) => {
                    say_goodbye(&response).await;
                    Some(Word::Told)
                }
                word = timeout(LOOK_AGAIN, words.recv()) => word.unwrap_or(Some(Word::Here)),
                () = response.closed() => Some(Word::Gone),
            };
            let answer = match word {
                Some(Word::Piece(text)) => match response.send(text.into()).await {
                    Ok(()) => Word::Taken,
                    Err(_) => Word::Gone,
                },
                Some(word @ (Word::Gone | Word::Here | Word::Told)) => word,
                _ => return,
            };
            let is_gone = matches!(answer, Word::Gone | Word::Told);
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
