//! One client's protocol state: messages in, replies into its outbox. Knows nothing of how bytes travel.

mod admission;
mod client_event;
mod comings;
mod departure;
mod entrances;
mod session;
mod signin;
mod subscribe;
mod turnstile;

use std::{
    borrow::Cow,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    comings::Comings,
    entrances::Entrances,
    session::Sessions,
    signin::{FirstLook, SigningIn, User},
};
use admission::Admission;
pub use admission::{Destination, Encryption, Opening, PROTOCOLS, Refusal};
pub use departure::Departure;
use departure::{LEFT_AT_A_STOP, LEFT_AT_ONCE};
use governor::DefaultDirectRateLimiter;
use tracing::{debug, info};
pub use turnstile::{Passage, Turnstile};

use crate::{
    address::ClientAddress,
    app::{App, Limits, Moment, Secret},
    feed::{Line, Trouble},
    hub::{AppChannels, ConnectionSlot, End, Shard, Subscriber, Subscription},
    node::{Client, Node},
    protocol::{
        ChannelKind, CloseCode, ErrorCode, Frame, SocketId,
        message::{self, ClientMessage},
        signature,
    },
};

/// Members from whom on a list of them takes longer than most messages.
const MANY_MEMBERS: usize = 100;
/// Characters of a client's text that an error repeats.
const SHOWN_LENGTH_MAX: usize = 200;

/// Characters of a text to be signed that the log and the feed show.
const TO_SIGN_LENGTH_MAX: usize = 2_000;

/// What all connections of one worker share.
pub struct Worker {
    /// The process.
    pub node: Arc<Node>,
    /// This thread's part of the hub.
    pub shard: Rc<Shard>,
    /// Told to clients in `connection_established`.
    pub activity_timeout_s: u64,
    /// Whether a missing protocol version is refused.
    pub require_protocol: bool,
    /// Before what takes long.
    pub turnstile: Turnstile,
    /// Before the engine's answers are taken, and before clients that have gone leave many channels.
    pub seating: Turnstile,
}

/// What a client's next message may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Only what takes microseconds.
    Ask,
    /// Anything: it has passed the [`Turnstile`].
    AskMuch,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken.
    Whole,
    /// It asks for what takes long, and nothing was done; it is to come again behind the [`Turnstile`].
    NotYet,
}

/// One client that was let in.
pub struct Connection {
    worker: Rc<Worker>,
    /// As it was at the last message.
    app: Arc<App>,
    apps_version: u64,
    channels: Arc<AppChannels>,
    subscriber: Rc<Subscriber>,
    user: Option<Box<User>>,
    client_events: Option<Box<DefaultDirectRateLimiter>>,
    /// Subscriptions that wait for the engine; none on a single node.
    entrances: Entrances,
    /// Presence channels that it has left lately.
    comings: Comings,
    /// On channels that only one session may listen to; most clients have none.
    sessions: Option<Box<Sessions>>,
    first_look: Option<Box<FirstLook>>,
    signing_in: Option<Box<SigningIn>>,
    _slot: ConnectionSlot,
}

impl Connection {
    /// Lets a client in, or says why not.
    ///
    /// # Errors
    /// [`Refusal`]; the transport tells the client.
    pub fn open(
        worker: &Rc<Worker>,
        subscriber: &Rc<Subscriber>,
        opening: &Opening<'_>,
    ) -> Result<Self, Refusal> {
        let socket_id = subscriber.id;
        subscriber.outbox.set_close_notice(opening.close_notice());
        let admission = Admission::decide(worker, opening)
            .inspect_err(|refusal| report_refusal(&worker.node, socket_id, opening, refusal))?;
        let Admission {
            app,
            apps_version,
            channels,
            protocol,
            slot,
        } = admission;
        debug!(app = &*app.id, %socket_id, "connected");
        worker.node.feed.emit(|| Line::Connected {
            app: &app.id,
            socket_id: socket_id.to_string(),
            transport: opening.transport.name(),
            origin: opening.origin,
            address: opening.address.map(|address| address.to_string()),
            client: opening.client,
            version: opening.version,
            protocol,
        });
        let profile = opening.profile(channels.app_id(), protocol);
        // A socket tells its address whenever it is asked.
        let by_socket = subscriber.outbox.peer_addr().map(ClientAddress::from);
        let address = opening.address.filter(|told| by_socket != Some(*told));
        worker.shard.describe(subscriber, profile, address);
        channels.traffic().connections.increment();
        if let Some(timeout) = app.limits.authorization_timeout_s {
            worker.shard.await_authorization(subscriber, timeout.get());
        }
        Ok(Self {
            worker: Rc::clone(worker),
            app,
            apps_version,
            channels,
            subscriber: Rc::clone(subscriber),
            user: None,
            client_events: None,
            entrances: Entrances::default(),
            comings: Comings::default(),
            sessions: None,
            first_look: None,
            signing_in: None,
            _slot: slot,
        })
    }

    /// The first message to the client.
    #[must_use]
    pub fn greeting(&self) -> Frame {
        let timeout_s = self.worker.activity_timeout_s;
        let greeting = message::connection_established(self.subscriber.id, timeout_s);
        self.count_sent(&greeting);
        greeting
    }

    /// Settings of the app that have changed since the last message count from now on.
    fn look_up_app(&mut self) {
        let apps = &self.worker.node.apps;
        let version = apps.version();
        if self.apps_version == version {
            return;
        }
        self.apps_version = version;
        // Without the app the connection is about to be closed.
        if let Some(app) = apps.by_id(&self.app.id) {
            let rate = |app: &App| app.limits.max_client_events_per_second;
            if rate(&app) != rate(&self.app) {
                self.client_events = None;
            }
            self.app = app;
        }
    }

    /// The secret of a key that is valid now.
    fn secret_of(&self, key: &str) -> Option<&signature::Key> {
        let secret = self.app.secret_of_any_case(key, Moment::now());
        secret.map(Secret::key)
    }

    /// The client negotiated compression: from now on its app's longer messages have a compressed form.
    pub fn compress(&self) {
        if let Some(bytes) = self.app.compression_from_bytes() {
            self.channels.compress_from(bytes);
        }
    }

    /// Takes one text message. A mistake of the client's becomes an answer; the connection stays open.
    pub fn on_message(&mut self, text: &str, may: May, now: Instant) -> Taken {
        self.look_up_app();
        let message = ClientMessage::parse(text);
        if may == May::Ask
            && message
                .as_ref()
                .is_ok_and(|message| self.asks_much(message))
        {
            return Taken::NotYet;
        }
        let traffic = self.channels.traffic();
        traffic.messages_received.increment();
        traffic.bytes_received.add(text.len());
        match message {
            Ok(ClientMessage::Ping) => self.send(&message::pong()),
            Ok(ClientMessage::Pong | ClientMessage::Unknown) => {}
            Ok(ClientMessage::Subscribe(request)) => self.subscribe(&request, now),
            Ok(ClientMessage::Unsubscribe { channel }) => self.unsubscribe(&channel, now),
            Ok(ClientMessage::Signin(request)) => self.sign_in(&request, now),
            Ok(ClientMessage::Event(event)) => self.relay(&event, now),
            Ok(ClientMessage::Foreign { event }) => {
                let event = shown(&event);
                let text = format!(
                    "Clients may only trigger events that begin with \"client-\", not {event:?}."
                );
                let about = About {
                    event: Some(&event),
                    ..About::default()
                };
                self.error_about(Some(ErrorCode::ClientEventRejected), &text, about);
            }
            Err(malformed) => self.error(None, &format!("Invalid message: {malformed}.")),
        }
        Taken::Whole
    }

    /// Whether the message asks for a long list of members, or for a look at many users.
    fn asks_much(&self, message: &ClientMessage<'_>) -> bool {
        match message {
            ClientMessage::Subscribe(request) => {
                ChannelKind::of(&request.channel).is_presence()
                    && self
                        .worker
                        .node
                        .members_here(self.channels.app_id(), &request.channel)
                        >= MANY_MEMBERS
            }
            ClientMessage::Signin(_) => self.app.watchlists,
            _ => false,
        }
    }

    /// Ends a turn of messages. Says how long nothing is to be read of this client then.
    pub fn end_turn(&mut self, now: Instant) -> Duration {
        if let Some(left) = self.comings.take() {
            self.depart_from(&left, now);
        }
        self.comings.rest()
    }

    /// Tells the others on a presence channel that the client has left it.
    fn depart_from(&mut self, left: &Subscription, now: Instant) {
        self.comings.count(&left.channel().name, now);
        self.worker.node.leave(self.client(), left, now);
    }

    /// What the client's app allows now.
    #[must_use]
    pub fn limits(&mut self) -> &Limits {
        self.look_up_app();
        &self.app.limits
    }

    /// Tells the operator that the client sends faster than its app allows, and is read more slowly for it.
    pub fn slowed(&self, now: Instant) {
        let node = &self.worker.node;
        node.incidents.rate_limited.increment("messages");
        let (app, socket_id) = (&*self.app.id, self.subscriber.id);
        if let Some(suppressed) = node.storms.tell("messages too fast", now) {
            info!(app, %socket_id, suppressed, "a client sends too fast; it is read more slowly");
        }
        let text = "The client sends faster than its app allows; it is read more slowly.";
        self.tell(None, text, About::default());
    }

    /// Undoes everything when the client has gone. Of many subscriptions some are left for later turns.
    #[must_use]
    pub fn close(&mut self, end: End, now: Instant) -> Option<Departure> {
        self.end_turn(now);
        let Worker { node, shard, .. } = &*self.worker;
        for entrance in self.entrances.take_all() {
            node.give_up(self.client(), &entrance, now);
        }
        let left_now = match node.is_draining() {
            true => LEFT_AT_A_STOP,
            false => LEFT_AT_ONCE,
        };
        let has_more = node.unsubscribe_some(self.client(), left_now, now);
        if let Some(user) = self.user.take() {
            shard.sign_out(self.channels.app_id(), &user.id, &self.subscriber);
            if let Some(online) = &user.online {
                node.go_offline(self.client(), online, now);
            }
        }
        self.channels.traffic().disconnections.increment();
        let incidents = &node.incidents;
        if end.code == Some(CloseCode::TooSlow) {
            incidents.slow_consumers.increment();
        }
        let code = end.code.map(|code| code.number());
        incidents.disconnections.increment(&match end.code {
            None => "none".into(),
            // Clients choose their codes, and there are more of them than labels.
            Some(CloseCode::Peer(_)) => "client".into(),
            Some(code) => Cow::from(code.number().to_string()),
        });
        debug!(app = &*self.app.id, socket_id = %self.subscriber.id, code, reason = end.reason, "disconnected");
        node.feed.emit(|| Line::Disconnected {
            app: &self.app.id,
            socket_id: self.subscriber.id.to_string(),
            code,
            reason: end.reason,
        });
        has_more.then(|| Departure {
            worker: Rc::clone(&self.worker),
            app: Arc::clone(&self.app),
            channels: Arc::clone(&self.channels),
            subscriber: Rc::clone(&self.subscriber),
        })
    }

    fn unsubscribe(&mut self, channel: &str, now: Instant) {
        // Clients know no internal channel.
        if ChannelKind::of(channel).is_internal() || !self.leave(channel, now) {
            let text = format!(
                "No current subscription to channel {}, or subscription in progress",
                shown(channel)
            );
            let about = About {
                channel: Some(channel),
                ..About::default()
            };
            self.error_about(None, &text, about);
        }
    }

    /// Ends the subscription, or gives it up if it still waits for an answer; `false` when there is neither. Most clients forget the channel
    /// as they unsubscribe, so one that left early must not end up subscribed.
    fn leave(&mut self, channel: &str, now: Instant) -> bool {
        if self.leave_session(channel, now) || self.give_up(channel, now) {
            return true;
        }
        let Some(left) = self.worker.shard.unsubscribe(&self.subscriber, channel) else {
            return false;
        };
        if left.channel().kind.is_presence() {
            // Who returns within this turn has never been away.
            if let Some(left_before) = self.comings.leave(left) {
                self.depart_from(&left_before, now);
            }
        } else {
            self.worker.node.leave(self.client(), &left, now);
        }
        debug!(app = &*self.app.id, socket_id = %self.subscriber.id, channel, "unsubscribed");
        self.worker.node.feed.emit(|| Line::Unsubscribed {
            app: &self.app.id,
            socket_id: self.subscriber.id.to_string(),
            channel,
        });
        true
    }

    /// Stops waiting for an answer about the channel; `false` when none was awaited.
    fn give_up(&mut self, channel: &str, now: Instant) -> bool {
        let entrance = self.entrances.remove(channel);
        if let Some(entrance) = &entrance {
            self.worker.node.give_up(self.client(), entrance, now);
        }
        entrance.is_some()
    }

    fn client(&self) -> Client<'_> {
        Client {
            shard: &self.worker.shard,
            subscriber: &self.subscriber,
            app: &self.app,
            channels: &self.channels,
        }
    }

    fn error(&self, code: Option<ErrorCode>, text: &str) {
        self.error_about(code, text, About::default());
    }

    fn error_about(&self, code: Option<ErrorCode>, text: &str, about: About<'_>) {
        self.send(&message::error(code, text));
        self.report(code.map(ErrorCode::number), text, about);
    }

    /// Shows a client's mistake to whoever watches.
    fn report(&self, code: Option<u16>, text: &str, about: About<'_>) {
        let (app, socket_id) = (&*self.app.id, self.subscriber.id);
        let to_sign = about.to_sign;
        debug!(app, %socket_id, code, error = text, to_sign, "refused");
        self.tell(code, text, about);
    }

    fn tell(&self, code: Option<u16>, text: &str, about: About<'_>) {
        self.worker.node.feed.emit(|| {
            let profile = self.subscriber.profile();
            let name = |name: &str| Cow::from(shown(name));
            Line::Error(Trouble {
                app: Some(&self.app.id),
                socket_id: Some(self.subscriber.id.to_string()),
                code,
                message: text,
                key: profile.map(|profile| &*profile.key),
                address: self.subscriber.client_address().map(|it| it.to_string()),
                origin: profile.and_then(|profile| profile.origin.as_deref()),
                channel: about.channel.map(name),
                event: about.event.map(name),
                to_sign: about.to_sign,
                ..Trouble::default()
            })
        });
    }

    fn send(&self, frame: &Frame) {
        if self.subscriber.outbox.send(frame) {
            self.count_sent(frame);
        }
    }

    pub(super) fn count_sent(&self, frame: &Frame) {
        let traffic = self.channels.traffic();
        traffic.messages_sent.increment();
        traffic.bytes_sent.add(frame.bytes().len());
    }
}

/// What a client's mistake was about, as far as the client said.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    channel: Option<&'a str>,
    event: Option<&'a str>,
    /// What a right signature would have signed.
    to_sign: Option<&'a str>,
}

/// The text that was to be signed, short enough for a line.
fn to_sign(text: &str) -> String {
    match text.char_indices().nth(TO_SIGN_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Counts a client that was not let in, and tells operators of it.
fn report_refusal(node: &Node, socket_id: SocketId, opening: &Opening<'_>, refusal: &Refusal) {
    let code = refusal.code.number();
    let app = refusal.app.as_ref().map(|app| &*app.id);
    let (reason, origin) = (refusal.reason, opening.origin);
    let key = opening.key().map(shown);
    let key = key.as_deref();
    let address = opening.address.map(|address| address.to_string());
    let shown_address = address.as_deref();
    let path = opening.unknown_path();
    let path = path.as_deref();
    match node.storms.tell(reason, Instant::now()) {
        Some(suppressed) => {
            info!(
                code,
                app,
                key,
                address = shown_address,
                origin,
                path,
                reason,
                suppressed,
                "connection refused"
            );
        }
        None => debug!(
            code,
            app,
            key,
            address = shown_address,
            origin,
            path,
            reason,
            "connection refused"
        ),
    }
    node.incidents.refusals.increment(&code.to_string());
    let message = match path {
        Some(path) => Cow::Owned(format!("{reason} The path was {path}")),
        None => Cow::Borrowed(reason),
    };
    node.feed.emit(|| {
        Line::Error(Trouble {
            app,
            socket_id: Some(socket_id.to_string()),
            code: Some(code),
            message: &message,
            key,
            address,
            origin,
            ..Trouble::default()
        })
    });
}

/// A name from a client, short enough for a message.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN_LENGTH_MAX).collect()
}
