//! One worker's part of the hub: its clients, its channels' subscribers, and the one task that delivers to them.
//!
//! Everything here belongs to one thread, so there is nothing to lock: an event that was published before a client's
//! `subscription_succeeded` can't be delivered in between.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    mem,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use slab::Slab;
use smallvec::SmallVec;
use tokio::task::yield_now;

use super::{
    Change, Channel, ChannelId, Delivery, Hub, Inbox, Message, ShardId, Subscriber, Subscription,
};
use crate::{
    presence::Member,
    protocol::{CloseCode, Frame, message},
};

/// Socket writes between two yields, so that accepts, pings and API calls breathe during a large fan-out: at the floor's
/// 8.5 µs a send (docs/adr/0002) the thread is back within 1.1 ms. What is published meanwhile is merged into the next round: with
/// 1,000 sockets at full speed 200 cost a third of 1,000's CPU per delivery, 64 a fifth (docs/benchmarks.md).
const WRITES_BEFORE_YIELD: usize = 128;
/// Frame bytes that are merged into one write. Larger than any event, small beside a socket's kernel buffer.
const MERGED_BYTES_MAX: usize = 128 << 10;
/// Events that are merged into one write per socket.
const MERGED_EVENTS_MAX: usize = 256;
/// Silence beyond the activity timeout before the server pings: the client's own ping may be under way.
const PING_GRACE_TICKS: u32 = 2;
/// How long a closing client may take to answer.
const CLOSE_TICKS: u32 = 2;
/// Steps into which the window of a drain is divided.
const DRAIN_STEP: Duration = Duration::from_millis(10);

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
    seats: RefCell<Rc<Vec<Seat>>>,
}

#[derive(Clone)]
struct Seat {
    subscriber: Rc<Subscriber>,
    /// The last change of the members that the subscriber was shown in a snapshot.
    members_since: u64,
    /// The same for the cached event.
    cache_since: u64,
}

impl Seat {
    fn wants(&self, delivery: &Delivery) -> bool {
        let is_news = match delivery.change {
            Change::Nothing => true,
            Change::Members(number) => number > self.members_since,
            Change::Cache(number) => number > self.cache_since,
        };
        is_news && delivery.except != Some(self.subscriber.id)
    }
}

/// App and user id.
type UserKey = (Arc<str>, Arc<str>);

/// One worker's clients and channels.
pub struct Shard {
    id: ShardId,
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    settings: ShardSettings,
    channels: RefCell<HashMap<ChannelId, Rc<LocalChannel>, ahash::RandomState>>,
    subscribers: RefCell<Slab<Rc<Subscriber>>>,
    users: RefCell<HashMap<UserKey, Vec<Rc<Subscriber>>>>,
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

    /// Lets a client go. Its subscriptions must have ended.
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
        let mut subscriptions = subscriber.subscriptions.borrow_mut();
        if subscriptions.is_empty() {
            // Most clients listen to one channel or two.
            subscriptions.reserve_exact(1);
        }
        subscriptions.push(Subscription {
            local: Rc::clone(&local),
            seat,
            member,
        });
    }

    /// Notes that a subscriber was shown the members once more. It was not given the cached event again.
    pub fn refresh(&self, subscription: &Subscription, since: u64) {
        let mut seats = subscription.local.seats.borrow_mut();
        Rc::make_mut(&mut seats)[subscription.seat].members_since = since;
    }

    /// Takes the client out of the channel. The caller tells the hub and the engine.
    pub fn unsubscribe(&self, subscriber: &Subscriber, channel: &str) -> Option<Subscription> {
        let mut subscriptions = subscriber.subscriptions.borrow_mut();
        let at = subscriptions
            .iter()
            .position(|s| &*s.local.channel.name == channel)?;
        let subscription = subscriptions.swap_remove(at);
        drop(subscriptions);
        self.vacate(&subscription);
        Some(subscription)
    }

    /// Takes the client out of all its channels.
    pub fn unsubscribe_all(&self, subscriber: &Subscriber) -> Vec<Subscription> {
        let mut left = Vec::new();
        // One at a time: removing a seat may move another seat of this very client's channels.
        while let Some(subscription) = { subscriber.subscriptions.borrow_mut().pop() } {
            self.vacate(&subscription);
            left.push(subscription);
        }
        left
    }

    fn vacate(&self, subscription: &Subscription) {
        let local = &subscription.local;
        let mut shared = local.seats.borrow_mut();
        let seats = Rc::make_mut(&mut shared);
        seats.swap_remove(subscription.seat);
        if let Some(moved) = seats.get(subscription.seat) {
            let mut theirs = moved.subscriber.subscriptions.borrow_mut();
            let same = |s: &&mut Subscription| Rc::ptr_eq(&s.local, local);
            theirs
                .iter_mut()
                .find(same)
                .expect("every seat belongs to a subscription")
                .seat = subscription.seat;
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

    /// Works off the inbox for as long as the worker lives.
    pub async fn run(self: Rc<Self>) {
        let mut batch = Vec::new();
        loop {
            poll_fn(|cx| self.inbox.poll_take(cx, &mut batch)).await;
            let messages = batch.len();
            let mut bytes = 0;
            let mut run: Vec<Delivery> = Vec::new();
            for message in batch.drain(..) {
                match message {
                    Message::Deliver(delivery) => {
                        bytes += delivery.frame.bytes().len();
                        run.push(delivery);
                    }
                    Message::Terminate { app_id, user_id } => {
                        self.fan_out(mem::take(&mut run)).await;
                        self.terminate(app_id, user_id);
                    }
                    Message::Replace {
                        channel,
                        session,
                        number,
                    } => {
                        self.fan_out(mem::take(&mut run)).await;
                        self.replace(channel, &session, number);
                    }
                    Message::Drain { window } => {
                        tokio::task::spawn_local(Rc::clone(&self).drain(window));
                    }
                }
            }
            self.fan_out(run).await;
            self.inbox.done(messages, bytes);
            yield_now().await;
        }
    }

    async fn fan_out(&self, deliveries: Vec<Delivery>) {
        let mut rest = &deliveries[..];
        while let Some(first) = rest.first() {
            let mut bytes = 0;
            let fits = |d: &&Delivery| {
                bytes += d.frame.bytes().len();
                bytes <= MERGED_BYTES_MAX
            };
            let count = rest
                .iter()
                .take(MERGED_EVENTS_MAX)
                .take_while(fits)
                .count()
                .max(1);
            let (run, after) = rest.split_at(count);
            if run.iter().all(|delivery| delivery.channel == first.channel) {
                self.fan_out_one_channel(run).await;
            } else {
                self.fan_out_many_channels(run).await;
            }
            rest = after;
        }
    }

    /// All events that wait for one channel leave in one write per socket.
    async fn fan_out_one_channel(&self, run: &[Delivery]) {
        let Some(seats) = self.seats(run[0].channel) else {
            return;
        };
        let merged = merge(run);
        let selective = run.iter().any(Delivery::is_selective);
        let mut delivered: SmallVec<[usize; 8]> = SmallVec::from_elem(0, run.len());
        for (at, seats) in seats.chunks(WRITES_BEFORE_YIELD).enumerate() {
            if at > 0 {
                yield_now().await;
            }
            for seat in seats {
                if at > 0 && selective && !self.is_current(run[0].channel, seat) {
                    continue;
                }
                let outbox = &seat.subscriber.outbox;
                if !selective || run.iter().all(|delivery| seat.wants(delivery)) {
                    if outbox.write(&merged) {
                        delivered.iter_mut().for_each(|count| *count += 1);
                    }
                    continue;
                }
                for (delivery, count) in run.iter().zip(&mut delivered) {
                    *count += usize::from(seat.wants(delivery) && outbox.send(&delivery.frame));
                }
            }
        }
        for (delivery, sockets) in run.iter().zip(delivered) {
            if let Some(receipt) = &delivery.receipt {
                receipt.add(sockets);
            }
        }
    }

    /// A socket that listens to several of the channels gets one write for all of them, in the order of publishing.
    async fn fan_out_many_channels(&self, run: &[Delivery]) {
        let mut touched: Vec<Rc<Subscriber>> = Vec::new();
        for delivery in run {
            let Some(seats) = self.seats(delivery.channel) else {
                continue;
            };
            let mut sockets = 0;
            for seat in seats.iter().filter(|seat| seat.wants(delivery)) {
                let outbox = &seat.subscriber.outbox;
                let was_waiting = outbox.is_waiting();
                if outbox.queue(delivery.frame.bytes()) {
                    sockets += 1;
                    if !was_waiting {
                        touched.push(Rc::clone(&seat.subscriber));
                    }
                }
            }
            if let Some(receipt) = &delivery.receipt {
                receipt.add(sockets);
            }
        }
        for (at, subscribers) in touched.chunks(WRITES_BEFORE_YIELD).enumerate() {
            if at > 0 {
                yield_now().await;
            }
            for subscriber in subscribers {
                subscriber.outbox.flush();
            }
        }
    }

    fn seats(&self, channel: ChannelId) -> Option<Rc<Vec<Seat>>> {
        let channels = self.channels.borrow();
        let local = channels.get(&channel)?;
        Some(Rc::clone(&local.seats.borrow()))
    }

    /// Whether the seat is still taken as it was: a client that left and came back during a yield has a newer snapshot.
    fn is_current(&self, channel: ChannelId, seat: &Seat) -> bool {
        let subscriptions = seat.subscriber.subscriptions.borrow();
        let mut theirs = subscriptions.iter();
        theirs
            .find(|subscription| subscription.local.channel.id == channel)
            .is_some_and(|subscription| {
                let seats = subscription.local.seats.borrow();
                seats[subscription.seat].members_since == seat.members_since
            })
    }

    fn terminate(&self, app_id: Arc<str>, user_id: Arc<str>) {
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

    /// Tells those of other sessions that their place is taken, and closes them after their grace.
    fn replace(&self, channel: ChannelId, session: &str, number: u64) {
        let Some(seats) = self.seats(channel) else {
            return;
        };
        for seat in seats.iter().filter(|seat| seat.members_since < number) {
            let subscriber = &seat.subscriber;
            let theirs = subscriber.subscriptions.borrow();
            let is_other = theirs.iter().any(|subscription| {
                let member = subscription.member.as_ref();
                subscription.local.channel.id == channel
                    && member.is_some_and(|member| *member.user_id != *session)
            });
            drop(theirs);
            if is_other {
                self.let_go(subscriber);
            }
        }
    }

    /// Tells a client that another session took its place, and closes it after its grace.
    pub fn let_go(&self, subscriber: &Rc<Subscriber>) {
        let Some(farewell) = subscriber.take_farewell() else {
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
    async fn drain(self: Rc<Self>, window: Duration) {
        let everyone: Vec<_> = self
            .subscribers
            .borrow()
            .iter()
            .map(|(_, subscriber)| Rc::clone(subscriber))
            .collect();
        let steps = usize::try_from(window.as_millis() / DRAIN_STEP.as_millis())
            .unwrap_or(0)
            .max(1);
        for subscribers in everyone.chunks(everyone.len().div_ceil(steps).max(1)) {
            for subscriber in subscribers {
                subscriber
                    .outbox
                    .close(CloseCode::Reconnect, "The server is restarting; reconnect.");
            }
            tokio::time::sleep(DRAIN_STEP).await;
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

/// The frames of all deliveries, one behind the other.
fn merge(run: &[Delivery]) -> Bytes {
    if let [delivery] = run {
        return delivery.frame.bytes().clone();
    }
    let length = run
        .iter()
        .map(|delivery| delivery.frame.bytes().len())
        .sum();
    let mut merged = BytesMut::with_capacity(length);
    for delivery in run {
        merged.extend_from_slice(delivery.frame.bytes());
    }
    merged.freeze()
}
