//! How a client's subscription begins and ends, in hub, shard and engine at once.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures_util::future::LocalBoxFuture;
use smallvec::{SmallVec, smallvec};

use super::Node;
use crate::{
    app::{App, Replay},
    engine::{Answer, ChannelKey, Client as Entering, EnterError},
    hub::{AppChannels, Channel, ChannelSettings, Shard, Subscriber, Subscription},
    presence::Member,
    protocol::{ChannelKind, ChannelName, Frame, message},
};

/// One client of an app, on its own thread.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The thread's part of the hub.
    pub shard: &'a Shard,
    /// The client.
    pub subscriber: &'a Rc<Subscriber>,
    /// Its app.
    pub app: &'a App,
    /// The app's channels.
    pub channels: &'a Arc<AppChannels>,
}

/// What to tell a client that has its seat, in order. Nothing about a channel that the server uses for itself.
#[derive(Default)]
pub struct Welcome {
    /// That it is subscribed, a cached event, and how many subscribers there are.
    pub frames: SmallVec<[Frame; 2]>,
    /// Events from before, the oldest first.
    pub replayed: Vec<Frame>,
}

impl Welcome {
    fn of(succeeded: Frame) -> Self {
        Self {
            frames: smallvec![succeeded],
            replayed: Vec::new(),
        }
    }
}

/// Which of the channel's past events a new subscriber receives. Cache channels have their own way, the server's channels no past.
pub(super) fn replay_of(app: &App, kind: ChannelKind, name: &str) -> Option<Replay> {
    if kind.cache || kind.is_internal() {
        return None;
    }
    app.replay(name)
}

/// What the app's settings say of a channel.
pub(super) fn settings_of(app: &App, kind: ChannelKind, name: &str) -> ChannelSettings {
    ChannelSettings {
        tells_count: app.subscription_counts && !kind.has_members(),
        replay: replay_of(app, kind, name),
    }
}

/// A subscription that has begun.
pub enum Subscribing {
    /// The client has its seat.
    Seated(Welcome),
    /// The engine has yet to answer.
    Waiting(Entrance),
}

/// A client on its way into a channel. Ends in [`Node::seat`] or [`Node::turn_away`].
pub struct Entrance {
    channel: Arc<Channel>,
    member: Option<Member>,
    answer: LocalBoxFuture<'static, Result<(), EnterError>>,
}

impl Entrance {
    /// The channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel.name
    }

    /// What the channel's name says.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        self.channel.kind
    }

    /// Who the client will be on a presence channel.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.member.as_ref().map(|member| &*member.user_id)
    }

    /// Asks for the engine's answer.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EnterError>> {
        Poll::Ready(ready!(self.answer.as_mut().poll(cx)))
    }
}

#[cfg(test)]
impl Entrance {
    /// A client's without an identity.
    pub(crate) fn waiting(
        channel: Arc<Channel>,
        answer: LocalBoxFuture<'static, Result<(), EnterError>>,
    ) -> Self {
        Self {
            channel,
            member: None,
            answer,
        }
    }
}

impl Node {
    /// Subscribes a client that is not subscribed to the channel and does not wait for it.
    ///
    /// # Errors
    /// [`EnterError`] when the engine refuses at once; nothing was changed.
    pub fn subscribe(
        &self,
        client: Client<'_>,
        name: ChannelName<'_>,
        member: Option<Member>,
        max_members: usize,
        now: Instant,
    ) -> Result<Subscribing, EnterError> {
        let Client {
            subscriber, app, ..
        } = client;
        debug_assert!(
            subscriber.subscription(name.as_str()).is_none(),
            "the caller refuses a second subscription"
        );
        let channel = self.attach(client, name, || {
            settings_of(app, name.kind(), name.as_str())
        });
        let entering = Entering {
            socket: subscriber.id,
            member: member.as_ref(),
        };
        match self.engine.enter(&channel, entering, max_members, now) {
            Answer::Now(Ok(())) => Ok(Subscribing::Seated(self.take_seat(
                client,
                channel,
                member.map(Arc::new),
                now,
            ))),
            Answer::Now(Err(error)) => {
                self.detach(client, &channel);
                Err(error)
            }
            Answer::Later(answer) => Ok(Subscribing::Waiting(Entrance {
                channel,
                member,
                answer,
            })),
        }
    }

    /// How many users this node knows to be on a presence channel of the app.
    #[must_use]
    pub fn members_here(&self, app_id: &Arc<str>, channel: &str) -> usize {
        self.engine.members_here(&ChannelKey::new(app_id, channel))
    }

    /// Seats a client whose answer was good.
    pub fn seat(&self, client: Client<'_>, entrance: Entrance, now: Instant) -> Welcome {
        self.take_seat(client, entrance.channel, entrance.member.map(Arc::new), now)
    }

    /// Undoes an entrance that was refused.
    pub fn turn_away(&self, client: Client<'_>, entrance: &Entrance) {
        self.detach(client, &entrance.channel);
        let leaving = Entering {
            socket: client.subscriber.id,
            member: entrance.member.as_ref(),
        };
        self.engine.turn_away(&entrance.channel, leaving);
    }

    /// Undoes an entrance whose answer the client did not wait for.
    pub fn give_up(&self, client: Client<'_>, entrance: &Entrance, now: Instant) {
        self.detach(client, &entrance.channel);
        let leaving = Entering {
            socket: client.subscriber.id,
            member: entrance.member.as_ref(),
        };
        self.engine.leave(&entrance.channel, leaving, now);
    }

    fn take_seat(
        &self,
        client: Client<'_>,
        channel: Arc<Channel>,
        member: Option<Arc<Member>>,
        now: Instant,
    ) -> Welcome {
        let subscriber = client.subscriber;
        if channel.kind.is_internal() {
            let since = self.engine.since(&channel);
            client.shard.subscribe(subscriber, channel, member, since);
            return Welcome::default();
        }
        let snapshot = self.engine.snapshot(&channel, subscriber.id, now);
        let mut welcome = Welcome::of(snapshot.succeeded);
        welcome.replayed = snapshot.replayed;
        if channel.kind.cache {
            welcome.frames.push(snapshot.cached.unwrap_or_else(|| {
                self.engine.missed(&channel);
                message::cache_miss(&channel.name)
            }));
        }
        welcome.frames.extend(snapshot.count);
        client
            .shard
            .subscribe(subscriber, channel, member, snapshot.since);
        welcome
    }

    /// Seats a client that gave its seat up, but has not left.
    pub fn seat_again(&self, client: Client<'_>, left: &Subscription, now: Instant) -> Welcome {
        self.take_seat(client, Arc::clone(left.channel()), left.member.clone(), now)
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&self, client: Client<'_>, channel: &str, now: Instant) {
        if let Some(left) = client.shard.unsubscribe(client.subscriber, channel) {
            self.leave(client, &left, now);
        }
    }

    /// Ends so many of a client's subscriptions. Says whether there may be more.
    pub fn unsubscribe_some(&self, client: Client<'_>, max: usize, now: Instant) -> bool {
        (0..max).all(|_| {
            let subscription = client.shard.unsubscribe_one(client.subscriber);
            if let Some(subscription) = &subscription {
                self.leave(client, subscription, now);
            }
            subscription.is_some()
        })
    }

    /// Counts one more subscription of the client's thread.
    pub(super) fn attach(
        &self,
        client: Client<'_>,
        name: ChannelName<'_>,
        settings: impl FnOnce() -> ChannelSettings,
    ) -> Arc<Channel> {
        client
            .channels
            .attach(name, client.shard.id(), settings, |channel| {
                self.engine.first_came(channel);
            })
    }

    /// Counts one less.
    pub(super) fn detach(&self, client: Client<'_>, channel: &Channel) {
        client
            .channels
            .detach(channel, client.shard.id(), |channel| {
                self.engine.last_left(channel);
            });
    }

    /// Takes a client that gave its seat up out of the channel.
    pub fn leave(&self, client: Client<'_>, subscription: &Subscription, now: Instant) {
        self.detach(client, subscription.channel());
        let leaving = Entering {
            socket: client.subscriber.id,
            member: subscription.member.as_deref(),
        };
        self.engine.leave(subscription.channel(), leaving, now);
    }
}
