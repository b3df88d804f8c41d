//! One client of the fallback transports: a connection whose frames wait until a request comes to fetch them.

use std::{
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::web::Bytes;
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::lines::{HEARTBEAT, Lines, NOTHING};
use crate::{
    address::Held,
    connection::{Connection, Opening, Taken, Worker},
    hub::{End, Outbox, Subscriber},
    protocol::{CloseCode, SocketId},
    transport::{
        depart,
        pace::{Allowance, Pace, TooFast, Turn, units, yield_turn},
    },
};

/// A streaming client that has read this much, in UTF-16 units, drops the response and asks for a new one.
const STREAM_UNITS_MAX: usize = 262_144;
/// How often a response shows a sign of life, before proxies close it.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(25);
/// Lines beyond which no more are made before the response has taken them.
const UNSENT_BYTES: usize = 16 << 10;
/// Sends are separate requests and may overtake each other; those within this time are put in order.
const REORDER_WINDOW: Duration = Duration::from_millis(5);
/// The same, once a send has come by way of another node.
const CARRIED_WINDOW: Duration = Duration::from_millis(50);

/// What requests ask of a session.
pub(super) enum ToSession {
    /// Fetch by this response.
    Attach {
        response: mpsc::Sender<Bytes>,
        streaming: bool,
    },
    /// Take these messages; none is a sign of life.
    Messages(Messages),
    /// Something may not have reached the client.
    Lost,
}

/// What one request sends.
pub(super) struct Messages {
    number: u64,
    texts: VecDeque<String>,
    way: Way,
    /// Of all texts.
    pub(super) bytes: usize,
}

/// How a request came to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    /// By way of another node, which takes longer.
    Carried,
}

impl Messages {
    pub(super) fn new(number: u64, texts: Vec<String>, way: Way) -> Self {
        Self {
            number,
            bytes: texts.iter().map(String::len).sum(),
            texts: texts.into(),
            way,
        }
    }
}

/// What waits for the session.
pub(super) struct Waiting {
    pub(super) requests: mpsc::Receiver<ToSession>,
    /// Bytes of messages that were not taken yet.
    pub(super) bytes: Arc<AtomicUsize>,
}

/// A response that waits for frames.
struct Receiver {
    response: mpsc::Sender<Bytes>,
    streaming: bool,
    units: usize,
}

pub(super) struct Session {
    worker: Rc<Worker>,
    subscriber: Rc<Subscriber>,
    connection: Connection,
    waiting: Waiting,
    receiver: Option<Receiver>,
    /// Lines that no response has taken yet.
    unsent: Lines,
    /// Sends that may still be overtaken.
    arriving: Vec<Messages>,
    /// When they are put in order.
    ordered_at: Option<Instant>,
    reorder_window: Duration,
    /// Sends in their order, of which not all messages were taken.
    ordered: VecDeque<Messages>,
    pace: Pace,
    /// When the receiver gets a heartbeat or, without one, the session ends.
    due: Instant,
    patience: Patience,
    /// It counts among those of its place.
    _held: Held,
}

/// How long a session without a receiving request lives on. One request alone is cheap to send, so it does not hold a session for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Nothing was asked of the session yet.
    New,
    /// One receiving request.
    Once { streaming: bool },
    /// More than that: there is a client.
    Client { streaming: bool },
}

impl Patience {
    fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::New | Self::Once { .. } => 5,
            Self::Client { streaming: true } => 10,
            Self::Client { streaming: false } => 30,
        })
    }

    fn on_receive(&mut self, streaming: bool) {
        *self = match self {
            Self::New => Self::Once { streaming },
            Self::Once { .. } | Self::Client { .. } => Self::Client { streaming },
        };
    }

    /// Says whether the session may live longer for it.
    fn on_send(&mut self) -> bool {
        let Self::Once { streaming } = *self else {
            return false;
        };
        *self = Self::Client { streaming };
        true
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let end = self.subscriber.outbox.end().unwrap_or(End {
            code: None,
            reason: "the client went away",
        });
        depart(self.connection.close(end, std::time::Instant::now()));
        self.worker.shard.dismiss(&self.subscriber);
    }
}

impl Session {
    /// A session for a client that is let in; the lines for one that is not.
    pub(super) fn open(
        worker: Rc<Worker>,
        opening: &Opening<'_>,
        waiting: Waiting,
        max_outbox_bytes: usize,
    ) -> Result<Self, Lines> {
        let outbox = Outbox::fetched(max_outbox_bytes);
        let Ok(held) = worker.node.gate.take_session(opening.place) else {
            outbox.set_close_notice(opening.close_notice());
            let reason = "Too many connections from this address.";
            return Err(goodbye(&outbox, CloseCode::OverCapacity, reason));
        };
        let subscriber = Rc::new(Subscriber::new(SocketId::random(), outbox));
        worker.shard.admit(&subscriber);
        let connection = Connection::open(&worker, &subscriber, opening).map_err(|refusal| {
            worker.shard.dismiss(&subscriber);
            goodbye(&subscriber.outbox, refusal.code, refusal.reason)
        })?;
        subscriber.outbox.send(&connection.greeting());
        Ok(Self {
            worker,
            subscriber,
            connection,
            waiting,
            receiver: None,
            unsent: Lines::beginning(),
            arriving: Vec::new(),
            ordered_at: None,
            reorder_window: REORDER_WINDOW,
            ordered: VecDeque::new(),
            pace: Pace::new(std::time::Instant::now()),
            due: Instant::now() + Patience::New.time(),
            patience: Patience::New,
            _held: held,
        })
    }

    /// Serves the client until it is gone.
    pub(super) async fn run(mut self) {
        while !self.subscriber.outbox.is_broken() {
            let (ordered_at, due) = (self.ordered_at, self.due);
            let response = self
                .receiver
                .as_ref()
                .map(|receiver| receiver.response.clone());
            let (fetches, delivers) = (self.fetches(), self.delivers());
            tokio::select! {
                request = self.waiting.requests.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => return,
                },
                () = sleep_until(ordered_at.unwrap_or(due)), if ordered_at.is_some() => self.put_in_order(),
                () = next_turn(&mut self.pace), if !self.ordered.is_empty() => self.take_messages(),
                () = sleep_until(due) => self.on_due(),
                () = gone(response.as_ref()) => self.detach(),
                () = room(response.as_ref()), if delivers => {}
                () = poll_fn(|cx| poll_news(&self.subscriber, &mut self.connection, fetches, cx)) => {}
            }
            // Whoever asked before an event came gets it, not the response before.
            while let Ok(request) = self.waiting.requests.try_recv() {
                self.on_request(request);
            }
            self.fetch();
            self.deliver();
        }
    }

    fn on_request(&mut self, request: ToSession) {
        self.subscriber.heard(self.worker.shard.tick());
        match request {
            ToSession::Attach {
                response,
                streaming,
            } => {
                self.patience.on_receive(streaming);
                // A new request takes over; the old one's end may be noticed late.
                self.receiver = Some(Receiver {
                    response,
                    streaming,
                    units: 0,
                });
                self.due = Instant::now() + HEARTBEAT_EVERY;
            }
            ToSession::Messages(messages) if messages.texts.is_empty() => {
                self.on_send();
                // The answer to a heartbeat, or the client's own: it wants any frame, but none that it answers again.
                if self.unsent.text.is_empty() {
                    self.unsent.text.push_str(NOTHING);
                }
            }
            ToSession::Messages(messages) => {
                self.on_send();
                if messages.way == Way::Carried {
                    self.reorder_window = CARRIED_WINDOW;
                }
                self.arriving.push(messages);
                let window = self.reorder_window;
                self.ordered_at
                    .get_or_insert_with(|| Instant::now() + window);
            }
            ToSession::Lost => self.subscriber.outbox.break_off("the client went away"),
        }
    }

    fn on_send(&mut self) {
        if self.patience.on_send() && self.receiver.is_none() {
            self.due = Instant::now() + self.patience.time();
        }
    }

    fn put_in_order(&mut self) {
        self.ordered_at = None;
        self.arriving.sort_by_key(|messages| messages.number);
        self.ordered.extend(self.arriving.drain(..));
        self.take_messages();
    }

    /// Takes messages until there is none, or it is others' turn.
    fn take_messages(&mut self) {
        let allowance = Allowance::of(self.connection.limits());
        let mut turn = Turn::begin();
        while let Some(messages) = self.ordered.front_mut() {
            let Some(text) = messages.texts.pop_front() else {
                let bytes = messages.bytes;
                self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.ordered.pop_front();
                continue;
            };
            if self.subscriber.outbox.is_closing() {
                self.ordered.clear();
                return;
            }
            let taken = self
                .connection
                .on_message(&text, self.pace.may(), turn.now());
            if taken == Taken::NotYet {
                messages.texts.push_front(text);
                self.pace.queue(&self.worker.turnstile);
                break;
            }
            turn.step();
            if !self.pace.take(units(text.len()), allowance, turn.now()) || turn.is_over() {
                break;
            }
        }
        // Others have their turn before the next of this session.
        self.pace.pass_on();
        // A message that waits belongs to this turn: it may be the return to a channel that the one before it left.
        if !self.pace.is_queued() {
            let rest = self.connection.end_turn(turn.now());
            self.pace.rest(rest, turn.now());
        }
        match self.pace.pause(allowance, turn.now()) {
            Some(TooFast::Slowed) => self.connection.slowed(turn.now()),
            Some(TooFast::ForTooLong) => self
                .subscriber
                .outbox
                .close(CloseCode::TooFast, TooFast::FAREWELL),
            Some(TooFast::StillSlowed) | None => {}
        }
    }

    fn on_due(&mut self) {
        if !self.has_reader() {
            self.subscriber.outbox.break_off("the client went away");
            return;
        }
        self.due = Instant::now() + HEARTBEAT_EVERY;
        if self.unsent.text.is_empty() {
            self.unsent.text.push_str(HEARTBEAT);
        }
    }

    fn detach(&mut self) {
        if self.receiver.take().is_some() {
            self.due = Instant::now() + self.patience.time();
        }
    }

    /// Whether a response is there that the client still reads.
    fn has_reader(&self) -> bool {
        self.receiver
            .as_ref()
            .is_some_and(|receiver| receiver.units <= STREAM_UNITS_MAX)
    }

    /// Whether what waits in the outbox is to be fetched; else it stays there, within the outbox' bound.
    fn fetches(&self) -> bool {
        self.has_reader() && !self.unsent.closes && self.unsent.text.len() < UNSENT_BYTES
    }

    fn delivers(&self) -> bool {
        self.has_reader() && !self.unsent.text.is_empty()
    }

    fn fetch(&mut self) {
        if self.fetches() {
            for frames in self.subscriber.outbox.take_waiting() {
                self.unsent.add(frames);
            }
        }
    }

    /// Hands lines to the response, if it has room.
    fn deliver(&mut self) {
        if !self.delivers() {
            return;
        }
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let Ok(place) = receiver.response.try_reserve() else {
            return;
        };
        let (text, units) = self.unsent.take(STREAM_UNITS_MAX - receiver.units);
        receiver.units += units;
        if receiver.units > STREAM_UNITS_MAX {
            // Nothing more is written here; the client has this long to ask anew.
            self.due = Instant::now() + self.patience.time();
        }
        place.send(text.into());
        if self.unsent.closes && self.unsent.text.is_empty() {
            self.receiver = None;
            self.subscriber.outbox.break_off("closed");
        } else if !receiver.streaming {
            self.detach();
        }
    }
}

/// What a client that is not let in gets instead of a session.
fn goodbye(outbox: &Outbox, code: CloseCode, reason: &'static str) -> Lines {
    outbox.close(code, reason);
    let mut lines = Lines::beginning();
    outbox.take_waiting().for_each(|frames| lines.add(frames));
    lines
}

/// Ends when the session's messages may be taken again.
async fn next_turn(pace: &mut Pace) {
    poll_fn(|cx| pace.poll_pause(cx)).await;
    yield_now().await;
}

/// Ends when the client has dropped the response.
async fn gone(response: Option<&mpsc::Sender<Bytes>>) {
    match response {
        Some(response) => response.closed().await,
        None => std::future::pending().await,
    }
}

/// Ends when the response has room, or nobody reads it any more.
async fn room(response: Option<&mpsc::Sender<Bytes>>) {
    match response {
        Some(response) => drop(response.reserve().await),
        None => std::future::pending().await,
    }
}

/// Ready when something waits to be fetched or the outbox has ended.
fn poll_news(
    subscriber: &Subscriber,
    connection: &mut Connection,
    fetches: bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if connection.poll_entrances(cx) {
        yield_turn(cx);
    }
    let outbox = &subscriber.outbox;
    outbox.poll_flush(cx);
    if (fetches && outbox.is_waiting()) || outbox.is_broken() {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}
