//! One worker's part of the hub: its clients and its channels' subscribers. How events get to them is in `fan_out`.
//!
//! Everything here belongs to one thread, so there is nothing to lock: an event that was published before a client's
//! `subscription_succeeded` can't be delivered in between.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use slab::Slab;
use tokio::time::Instant;

use super::{
    Channel, ChannelId, Hub, Inbox, ShardId, Subscriber, Subscription, congestion::Congestion,
    profile::Profiles,
};
use crate::{
    presence::Member,
    protocol::{CloseCode, Frame, message},
};

/// Silence beyond the activity timeout before the server pings: the client's own ping may be under way.
const PING_GRACE_TICKS: u32 = 2;
/// How long a closing client may take to answer.
const CLOSE_TICKS: u32 = 2;
/// How often it is looked whose close is due, where closes are spread over time.
pub(super) const STEP: Duration = Duration::from_millis(10);

/// What a shard must know of the configuration. Times are in ticks of one second.
#[derive(Clone, Copy, Debug)]
pub struct ShardSettings {
    /// Silence after which a client is pinged.
    pub activity_timeout_ticks: u32,
    /// Silence after a ping that ends the connection.
    pub pong_timeout_ticks: u32,
}

/// A channel's subscribers on one shard.
pub(super) struct LocalChannel {
    pub(super) channel: Arc<Channel>,
    /// Copied on write while a fan-out walks it.
    pub(super) seats: RefCell<Rc<Vec<Seat>>>,
    /// Its place among the groups that a fan-out is putting together, counted from 1.
    pub(super) group: Cell<usize>,
}

#[derive(Clone)]
pub(super) struct Seat {
    pub(super) subscriber: Rc<Subscriber>,
    /// The last change of the members that the subscriber was shown in a snapshot.
    pub(super) members_since: u64,
    /// The same for the cached event.
    pub(super) cache_since: u64,
}

/// App and user id.
type UserKey = (Arc<str>, Arc<str>);

/// One worker's clients and channels.
pub struct Shard {
    id: ShardId,
    pub(super) hub: Arc<Hub>,
    pub(super) inbox: Arc<Inbox>,
    settings: ShardSettings,
    pub(super) channels: RefCell<HashMap<ChannelId, Rc<LocalChannel>, ahash::RandomState>>,
    pub(super) subscribers: RefCell<Slab<Rc<Subscriber>>>,
    pub(super) users: RefCell<HashMap<UserKey, Vec<Rc<Subscriber>>>>,
    pub(super) profiles: RefCell<Profiles>,
    pub(super) congestion: Congestion,
    tick: Cell<u32>,
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.hub.release(self.id);
    }
}

impl Shard {
    /// A shard in a free place of the hub; `None` when every place is taken.
    #[must_use]
    pub fn claim(hub: &Arc<Hub>, settings: ShardSettings) -> Option<Rc<Self>> {
        let (id, inbox) = hub.claim()?;
        Some(Rc::new(Self {
            id,
            hub: Arc::clone(hub),
            inbox,
            settings,
            channels: RefCell::default(),
            subscribers: RefCell::default(),
            users: RefCell::default(),
            profiles: RefCell::default(),
            congestion: Congestion::default(),
            tick: Cell::new(0),
        }))
    }

    /// Its place in the hub.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Seconds since the shard began; advanced by [`Shard::sweep`].
    #[must_use]
    pub fn tick(&self) -> u32 {
        self.tick.get()
    }

    /// Takes a new client in.
    pub fn admit(&self, subscriber: &Rc<Subscriber>) {
        subscriber.heard(self.tick());
        subscriber
            .place
            .set(self.subscribers.borrow_mut().insert(Rc::clone(subscriber)));
    }

    /// From now on the client has so long to show who it is.
    pub fn await_authorization(&self, subscriber: &Subscriber, timeout: Duration) {
        let ticks = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        subscriber
            .authorize_by
            .set(Some(self.tick().saturating_add(ticks)));
    }

    /// Lets a client go. Its subscriptions have ended, or are about to.
    pub fn dismiss(&self, subscriber: &Subscriber) {
        self.subscribers
            .borrow_mut()
            .try_remove(subscriber.place.get());
    }

    /// Seats the client in the channel; it gets every change above `since`.
    pub fn subscribe(
        &self,
        subscriber: &Rc<Subscriber>,
        channel: Arc<Channel>,
        member: Option<Arc<Member>>,
        since: u64,
    ) {
        let mut channels = self.channels.borrow_mut();
        let local = Rc::clone(channels.entry(channel.id).or_insert_with(|| {
            Rc::new(LocalChannel {
                channel,
                seats: RefCell::default(),
                group: Cell::new(0),
            })
        }));
        let mut seats = local.seats.borrow_mut();
        let seats = Rc::make_mut(&mut seats);
        let seat = seats.len();
        seats.push(Seat {
            subscriber: Rc::clone(subscriber),
            members_since: since,
            cache_since: since,
        });
        subscriber.subscriptions.borrow_mut().insert(Subscription {
            local: Rc::clone(&local),
            seat: Cell::new(seat),
            member,
        });
    }

    /// Takes the client out of the channel. The caller tells the hub and the engine.
    pub fn unsubscribe(&self, subscriber: &Subscriber, channel: &str) -> Option<Subscription> {
        let subscription = subscriber.subscriptions.borrow_mut().remove(channel)?;
        self.vacate(&subscription);
        Some(subscription)
    }

    /// Takes the client out of any one of its channels.
    pub fn unsubscribe_one(&self, subscriber: &Subscriber) -> Option<Subscription> {
        let subscription = subscriber.subscriptions.borrow_mut().pop()?;
        self.vacate(&subscription);
        Some(subscription)
    }

    fn vacate(&self, subscription: &Subscription) {
        let (local, seat) = (&subscription.local, subscription.seat.get());
        let mut shared = local.seats.borrow_mut();
        let seats = Rc::make_mut(&mut shared);
        seats.swap_remove(seat);
        if let Some(moved) = seats.get(seat) {
            let theirs = moved.subscriber.subscriptions.borrow();
            theirs
                .get(&local.channel.name)
                .expect("every seat belongs to a subscription")
                .seat
                .set(seat);
        }
        if seats.is_empty() {
            self.channels.borrow_mut().remove(&local.channel.id);
        } else if seats.capacity() > 64 && seats.len() * 4 < seats.capacity() {
            seats.shrink_to(seats.len() * 2);
        }
    }

    /// Notes that the client is signed in as a user of the app.
    pub fn sign_in(&self, app_id: &Arc<str>, user_id: &Arc<str>, subscriber: &Rc<Subscriber>) {
        let key = (Arc::clone(app_id), Arc::clone(user_id));
        self.users
            .borrow_mut()
            .entry(key)
            .or_default()
            .push(Rc::clone(subscriber));
    }

    /// Notes that a signed-in client has gone.
    pub fn sign_out(&self, app_id: &Arc<str>, user_id: &Arc<str>, subscriber: &Subscriber) {
        let key = (Arc::clone(app_id), Arc::clone(user_id));
        let mut users = self.users.borrow_mut();
        if let Some(theirs) = users.get_mut(&key) {
            theirs.retain(|other| other.id != subscriber.id);
            if theirs.is_empty() {
                users.remove(&key);
            }
        }
    }

    pub(super) fn seats(&self, channel: ChannelId) -> Option<Rc<Vec<Seat>>> {
        let channels = self.channels.borrow();
        let local = channels.get(&channel)?;
        Some(Rc::clone(&local.seats.borrow()))
    }

    pub(super) fn terminate(&self, app_id: Arc<str>, user_id: Arc<str>) {
        let theirs = self
            .users
            .borrow()
            .get(&(app_id, user_id))
            .cloned()
            .unwrap_or_default();
        for subscriber in theirs {
            subscriber
                .outbox
                .close(CloseCode::Unauthorized, "You got disconnected by the app.");
        }
    }

    /// Tells the clients of other sessions that a newer one took their place, and closes them after their grace.
    pub(super) fn replace(&self, channel: ChannelId, session: &str, number: u64) {
        let Some(local) = self.channels.borrow().get(&channel).map(Rc::clone) else {
            return;
        };
        let sessions = &local.channel.name;
        let seats = Rc::clone(&local.seats.borrow());
        for seat in seats.iter().filter(|seat| seat.members_since < number) {
            let subscriber = &seat.subscriber;
            let theirs = subscriber.subscription(sessions);
            let member = theirs.and_then(|theirs| theirs.member);
            if member.is_some_and(|member| *member.user_id != *session) {
                self.let_go(subscriber, sessions);
            }
        }
    }

    /// Tells a client that another session took its place among these, and closes it after its grace.
    pub fn let_go(&self, subscriber: &Rc<Subscriber>, sessions: &str) {
        let Some(farewell) = subscriber.take_farewell(sessions) else {
            return;
        };
        subscriber.outbox.send(&farewell.frame);
        let subscriber = Rc::clone(subscriber);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(farewell.grace).await;
            subscriber
                .outbox
                .close(CloseCode::Unauthorized, "Signed in elsewhere.");
        });
    }

    /// Tells every client to come back elsewhere, evenly over the window.
    pub(super) async fn drain(self: Rc<Self>, window: Duration) {
        let everyone: Vec<_> = self
            .subscribers
            .borrow()
            .iter()
            .map(|(_, subscriber)| Rc::clone(subscriber))
            .collect();
        let (begun, mut told) = (Instant::now(), 0);
        while told < everyone.len() {
            let due = due_by(begun.elapsed(), window, everyone.len());
            for subscriber in &everyone[told..due] {
                subscriber
                    .outbox
                    .close(CloseCode::Reconnect, "The server is restarting; reconnect.");
            }
            told = due;
            tokio::time::sleep(STEP).await;
        }
    }

    /// Once a second: pings the silent, ends those who stay silent, cuts those who never finish closing.
    pub fn sweep(&self) {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        for (_, subscriber) in self.subscribers.borrow().iter() {
            self.check(subscriber, tick);
        }
    }

    fn check(&self, subscriber: &Subscriber, tick: u32) {
        let outbox = &subscriber.outbox;
        let waited = subscriber
            .waiting_since
            .get()
            .map(|since| tick.saturating_sub(since));
        if outbox.is_closing() {
            match waited {
                Some(ticks) if ticks > CLOSE_TICKS => {
                    outbox.break_off("the client did not finish closing");
                }
                Some(_) => {}
                None => subscriber.waiting_since.set(Some(tick)),
            }
        } else if subscriber.authorize_by.get().is_some_and(|by| tick > by) {
            let reason = "Connection not authorized within timeout.";
            outbox.close(CloseCode::Unauthorized, reason);
        } else if let Some(ticks) = waited {
            if ticks >= self.settings.pong_timeout_ticks {
                subscriber.waiting_since.set(Some(tick));
                outbox.close(
                    CloseCode::PongNotReceived,
                    "Pong reply not received in time.",
                );
            }
        } else if subscriber.silent_for(tick)
            > self.settings.activity_timeout_ticks + PING_GRACE_TICKS
        {
            subscriber.waiting_since.set(Some(tick));
            outbox.send(&Frame::ping());
            if !subscriber.answers_pings.get() {
                // Some clients can't answer control frames.
                outbox.send(&message::ping());
            }
        }
    }
}

/// How many of so many are due when this part of the window is over.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share between 0 and 1 of a usize"
)]
pub(super) fn due_by(elapsed: Duration, window: Duration, all: usize) -> usize {
    if elapsed >= window {
        return all;
    }
    let share = elapsed.as_secs_f64() / window.as_secs_f64();
    (share * all as f64).ceil() as usize
}
