//! One client of the fallback transports: a connection whose frames wait until a request comes to fetch them.

use std::{
    future::poll_fn,
    mem,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::web::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    lines::{HEARTBEAT, Lines, NOTHING, OPEN},
    patience,
};
use crate::{
    connection::{Connection, Destination, Opening, Refusal, Worker},
    hub::{ClientAddress, End, Outbox, Subscriber, Transport},
    protocol::SocketId,
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
    /// Take these messages; none is a sign of life. Those that another node carried here took a longer way.
    Messages {
        number: u64,
        messages: Vec<String>,
        carried: bool,
    },
    /// Something may not have reached the client.
    Lost,
}

/// What the first request said.
pub(super) struct Opened {
    pub(super) key: String,
    pub(super) protocol: Option<String>,
    pub(super) client: Option<String>,
    pub(super) version: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) address: Option<ClientAddress>,
    pub(super) secure: bool,
    pub(super) transport: Transport,
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
    connection: Option<Connection>,
    inbox: mpsc::Receiver<ToSession>,
    receiver: Option<Receiver>,
    /// Lines that no response has taken yet.
    unsent: Lines,
    sends: Vec<(u64, Vec<String>)>,
    reorder_window: Duration,
    /// When the sends are taken.
    sends_due: Option<Instant>,
    /// When the receiver gets a heartbeat or, without one, the session ends.
    due: Instant,
    streaming: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        let end = self.subscriber.outbox.end();
        if let Some(mut connection) = self.connection.take() {
            let end = end.unwrap_or(End {
                code: None,
                reason: "the client went away",
            });
            connection.close(end, std::time::Instant::now());
        }
        self.worker.shard.dismiss(&self.subscriber);
    }
}

impl Session {
    pub(super) fn open(
        worker: Rc<Worker>,
        opened: Opened,
        inbox: mpsc::Receiver<ToSession>,
        max_outbox_bytes: usize,
    ) -> Self {
        let outbox = Outbox::fetched(max_outbox_bytes);
        let subscriber = Rc::new(Subscriber::new(SocketId::random(), outbox));
        worker.shard.admit(&subscriber);
        let opening = Opening {
            destination: Destination::App(&opened.key),
            protocol: opened.protocol.as_deref(),
            origin: opened.origin.as_deref(),
            secure: opened.secure,
            client: opened.client.as_deref(),
            version: opened.version.as_deref(),
            address: opened.address,
            transport: opened.transport,
        };
        let connection = match Connection::open(&worker, &subscriber, &opening) {
            Ok(connection) => {
                subscriber.outbox.send(&connection.greeting());
                Some(connection)
            }
            Err(Refusal { code, reason, .. }) => {
                subscriber.outbox.close(code, reason);
                None
            }
        };
        Self {
            worker,
            subscriber,
            connection,
            inbox,
            receiver: None,
            unsent: Lines {
                text: OPEN.to_owned(),
                closes: false,
            },
            sends: Vec::new(),
            reorder_window: REORDER_WINDOW,
            sends_due: None,
            due: Instant::now() + patience(true),
            streaming: true,
        }
    }

    /// Serves the client until it is gone.
    pub(super) async fn run(mut self) {
        while !self.subscriber.outbox.is_broken() {
            let (sends_due, due) = (self.sends_due, self.due);
            let response = self
                .receiver
                .as_ref()
                .map(|receiver| receiver.response.clone());
            let (fetches, delivers) = (self.fetches(), self.delivers());
            tokio::select! {
                request = self.inbox.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => return,
                },
                () = sleep_until(sends_due.unwrap_or(due)), if sends_due.is_some() => self.take_sends(),
                () = sleep_until(due) => self.on_due(),
                () = gone(response.as_ref()) => self.detach(),
                () = room(response.as_ref()), if delivers => {}
                () = poll_fn(|cx| poll_news(&self.subscriber, self.connection.as_mut(), fetches, cx)) => {}
            }
            // Whoever asked before an event came gets it, not the response before.
            while let Ok(request) = self.inbox.try_recv() {
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
                // A new request takes over; the old one's end may be noticed late.
                self.receiver = Some(Receiver {
                    response,
                    streaming,
                    units: 0,
                });
                self.streaming = streaming;
                self.due = Instant::now() + HEARTBEAT_EVERY;
            }
            ToSession::Messages { messages, .. } if messages.is_empty() => {
                // The answer to a heartbeat, or the client's own: it wants any frame, but none that it answers again.
                if self.unsent.text.is_empty() {
                    self.unsent.text.push_str(NOTHING);
                }
            }
            ToSession::Messages {
                number,
                messages,
                carried,
            } => {
                if carried {
                    self.reorder_window = CARRIED_WINDOW;
                }
                self.sends.push((number, messages));
                let window = self.reorder_window;
                self.sends_due
                    .get_or_insert_with(|| Instant::now() + window);
            }
            ToSession::Lost => self.subscriber.outbox.break_off("the client went away"),
        }
    }

    fn take_sends(&mut self) {
        self.sends_due = None;
        let mut sends = mem::take(&mut self.sends);
        sends.sort_by_key(|(number, _)| *number);
        let Some(connection) = &mut self.connection else {
            return;
        };
        for message in sends.iter().flat_map(|(_, messages)| messages) {
            if self.subscriber.outbox.is_closing() {
                return;
            }
            connection.on_message(message, std::time::Instant::now());
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
            self.due = Instant::now() + patience(self.streaming);
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
            self.due = Instant::now() + patience(receiver.streaming);
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
    connection: Option<&mut Connection>,
    fetches: bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if let Some(connection) = connection {
        connection.poll_entrances(cx);
    }
    let outbox = &subscriber.outbox;
    outbox.poll_flush(cx);
    if (fetches && outbox.is_waiting()) || outbox.is_broken() {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}
