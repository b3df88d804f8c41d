//! How a shard's deliveries become writes: one per socket for all that waits for it, whatever the number of events and channels.
//!
//! A large fan-out breathes between its writes. What comes for a few sockets meanwhile overtakes it, so that a channel with
//! thousands of subscribers does not hold up the thousands of channels with one. Within a channel nothing overtakes.

use std::{
    cell::{Cell, OnceCell},
    collections::HashSet,
    future::poll_fn,
    iter, mem,
    rc::Rc,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::task::yield_now;

use super::{
    Change, ChannelId, Delivery, Message, Outbox, Shard,
    shard::{LocalChannel, Seat},
};
use crate::{metrics::Traffic, protocol::Frame};

/// Socket writes between two yields, so that accepts, pings and API calls breathe during a large fan-out: at the floor's
/// 8.5 µs a send (docs/adr/0002) the thread is back within 1.1 ms. What is published meanwhile is merged into the next round: with
/// 1,000 sockets at full speed 200 cost a third of 1,000's CPU per delivery, 64 a fifth (docs/benchmarks.md).
const WRITES_BEFORE_YIELD: usize = 128;
/// Sockets whose memory is fetched at once before they are written to, so that they do not wait for it one after the other.
const LOOK_AHEAD: usize = 16;
/// Bytes written between two yields: merged events of a busy channel make writes of 50 KB, which take longer than small ones.
const BYTES_BEFORE_YIELD: usize = 1 << 20;
/// Frame bytes that are merged into one write. Larger than any event, small beside a socket's kernel buffer.
const MERGED_BYTES_MAX: usize = 128 << 10;
/// Events that are merged into one write per socket.
const MERGED_EVENTS_MAX: usize = 256;
/// Subscribers up to which a channel's events may overtake a fan-out that is under way.
const OVERTAKING_SEATS_MAX: usize = 8;
/// Events that may overtake at one pause, so that the fan-out goes on too.
const OVERTAKING_EVENTS_MAX: usize = 64;

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

/// The events of one channel in one run, and who listens.
struct Group<'a> {
    local: Rc<LocalChannel>,
    seats: Rc<Vec<Seat>>,
    events: SmallVec<[Event<'a>; 2]>,
    /// The frames of all events, one behind the other; absent for a lone one.
    merged: Option<Bytes>,
    /// The same with compressed frames, made for the first who reads them.
    compressed: OnceCell<Bytes>,
    is_compressible: bool,
    /// Whether some subscribers might be left out of some events.
    is_selective: bool,
    /// Sockets that were given all events.
    reached: Cell<usize>,
    /// Sockets whose clients have much left to read.
    behind: Cell<usize>,
}

struct Event<'a> {
    /// Its place in the run.
    place: usize,
    delivery: &'a Delivery,
    /// Sockets that were given this one, besides those that were given all.
    reached: Cell<usize>,
}

/// One seat's part in a run over several channels.
struct Visit {
    group: usize,
    seat: usize,
    /// The visit before this one to the same socket, counted from 1.
    earlier: u32,
}

/// What came in while a batch is worked off.
#[derive(Default)]
struct Meanwhile {
    messages: Vec<Message>,
    /// Channels with an event that is under way or waits in `messages`: no later one may overtake it.
    behind: HashSet<ChannelId, ahash::RandomState>,
    /// Whether something else than an event waits; nothing overtakes that.
    barred: bool,
}

impl Shard {
    /// Works off the inbox for as long as the worker lives.
    pub async fn run(self: Rc<Self>) {
        let (mut batch, mut meanwhile) = (Vec::new(), Meanwhile::default());
        loop {
            poll_fn(|cx| self.inbox.poll_take(cx, &mut batch)).await;
            meanwhile.begin(&batch);
            self.work_off(&mut batch, &mut meanwhile).await;
            mem::swap(&mut batch, &mut meanwhile.messages);
            self.inbox.take(&mut batch);
            if !batch.is_empty() {
                yield_now().await;
            }
        }
    }

    async fn work_off(self: &Rc<Self>, batch: &mut Vec<Message>, meanwhile: &mut Meanwhile) {
        let (messages, mut bytes) = (batch.len(), 0);
        let mut events = Vec::with_capacity(messages);
        // Held until all is written.
        let mut tickets = Vec::with_capacity(messages);
        for message in batch.drain(..) {
            match message {
                Message::Deliver(delivery, ticket) => {
                    tickets.push(ticket);
                    bytes += delivery.frame.bytes().len();
                    events.push(delivery);
                    continue;
                }
                // Holds up nothing, and nothing holds it up.
                Message::Ask(question) => question(self),
                order => {
                    self.fan_out(&events, meanwhile).await;
                    events.clear();
                    self.obey(order);
                }
            }
        }
        self.fan_out(&events, meanwhile).await;
        self.inbox.done(messages, bytes);
    }

    fn obey(self: &Rc<Self>, order: Message) {
        match order {
            Message::Deliver(..) | Message::Ask(_) => {}
            Message::Terminate { app_id, user_id } => self.terminate(app_id, user_id),
            Message::Replace {
                channel,
                session,
                number,
            } => self.replace(channel, &session, number),
            Message::Mark(app_id, receipt) => self.report_delivered(&app_id, receipt),
            Message::Drain { window } => {
                tokio::task::spawn_local(Rc::clone(self).drain(window));
            }
        }
    }

    async fn fan_out(&self, events: &[Delivery], meanwhile: &mut Meanwhile) {
        let mut rest = events;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            let groups = self.groups(run);
            match &groups[..] {
                [] => {}
                [group] => self.write_group(group, events, meanwhile).await,
                groups => self.write_groups(groups, events, meanwhile).await,
            }
            self.report(run, &groups);
            rest = after;
        }
    }

    /// The run's events by channel; channels that nobody listens to any more are left out.
    fn groups<'a>(&self, run: &'a [Delivery]) -> SmallVec<[Group<'a>; 1]> {
        let channels = self.channels.borrow();
        let mut groups: SmallVec<[Group<'_>; 1]> = SmallVec::new();
        for (place, delivery) in run.iter().enumerate() {
            let Some(local) = channels.get(&delivery.channel) else {
                continue;
            };
            if local.group.get() == 0 {
                groups.push(Group::of(local));
                local.group.set(groups.len());
            }
            groups[local.group.get() - 1].push(place, delivery);
        }
        for group in &mut groups {
            group.local.group.set(0);
            group.merge();
        }
        // Few sockets first: they are not to wait for thousands.
        groups.sort_by_key(|group| group.seats.len());
        groups
    }

    /// All events that wait for one channel leave in one write per socket.
    async fn write_group(
        &self,
        group: &Group<'_>,
        under_way: &[Delivery],
        meanwhile: &mut Meanwhile,
    ) {
        let at_once = writes_before_yield(group.bytes());
        for (at, seats) in group.seats.chunks(at_once).enumerate() {
            if at > 0 {
                self.pause(under_way, meanwhile).await;
            }
            for few in seats.chunks(LOOK_AHEAD) {
                for seat in few {
                    seat.subscriber.outbox.look_ahead();
                }
                let current = few.iter();
                let current = current.filter(|seat| at == 0 || group.is_current(seat));
                current.for_each(|seat| group.write_to(seat));
            }
        }
    }

    /// A socket that listens to several of the channels gets one write for all of them, in the order of publishing.
    async fn write_groups(
        &self,
        groups: &[Group<'_>],
        under_way: &[Delivery],
        meanwhile: &mut Meanwhile,
    ) {
        let at_once = writes_before_yield(groups.iter().map(Group::bytes).max().unwrap_or(0));
        let visits = visits(groups);
        let firsts = visits.iter().filter(|visit| visit.earlier == 0);
        for (at, first) in firsts.enumerate() {
            if at > 0 && at % at_once == 0 {
                self.pause(under_way, meanwhile).await;
            }
            let earlier = |last: &u32| match visits[*last as usize - 1].earlier {
                0 => None,
                earlier => Some(earlier),
            };
            let last = first.seat_in(groups).subscriber.last_visit.take();
            let theirs = iter::successors(Some(last), earlier)
                .map(|visit| &visits[visit as usize - 1])
                .map(|visit| (&groups[visit.group], visit.seat_in(groups)))
                .filter(|(group, seat)| at < at_once || group.is_current(seat))
                .collect::<SmallVec<[_; 4]>>();
            match theirs[..] {
                [] => {}
                [(group, seat)] => group.write_to(seat),
                _ => write_across(&theirs),
            }
        }
    }

    /// Lets others have the thread, and lets what came for a few sockets overtake.
    async fn pause(&self, under_way: &[Delivery], meanwhile: &mut Meanwhile) {
        yield_now().await;
        let before = meanwhile.messages.len();
        self.inbox.take(&mut meanwhile.messages);
        if meanwhile.barred || meanwhile.messages.len() == before {
            return;
        }
        let behind = &mut meanwhile.behind;
        if behind.is_empty() {
            behind.extend(under_way.iter().map(|delivery| delivery.channel));
        }
        let arrived = meanwhile.messages.split_off(before);
        for (at, message) in arrived.into_iter().enumerate() {
            let message = match message {
                Message::Ask(question) => {
                    question(self);
                    self.inbox.done(1, 0);
                    continue;
                }
                message => message,
            };
            match &message {
                Message::Deliver(delivery, _) => {
                    if at < OVERTAKING_EVENTS_MAX
                        && !meanwhile.barred
                        && !behind.contains(&delivery.channel)
                        && self.deliver_to_few(delivery)
                    {
                        self.inbox.done(1, delivery.frame.bytes().len());
                        continue;
                    }
                    behind.insert(delivery.channel);
                }
                // What comes later may be delivered sooner.
                Message::Mark(..) => {}
                _ => meanwhile.barred = true,
            }
            meanwhile.messages.push(message);
        }
    }

    /// Delivers at once if that is a matter of a few writes. Says whether it was.
    fn deliver_to_few(&self, delivery: &Delivery) -> bool {
        let groups = self.groups(std::slice::from_ref(delivery));
        let are_few = |group: &Group<'_>| group.seats.len() <= OVERTAKING_SEATS_MAX;
        if !groups.iter().all(are_few) {
            return false;
        }
        for group in &groups {
            group.seats.iter().for_each(|seat| group.write_to(seat));
        }
        self.report(std::slice::from_ref(delivery), &groups);
        true
    }

    /// Counts what a run brought, and tells who wants to know.
    fn report(&self, run: &[Delivery], groups: &[Group<'_>]) {
        for same_app in groups.chunk_by(|one, other| Arc::ptr_eq(one.traffic(), other.traffic())) {
            let sent = same_app.iter().map(Group::report);
            let (messages, bytes) = sent.fold((0, 0), |(m, b), (n, c)| (m + n, b + c));
            let traffic = same_app[0].traffic();
            traffic.messages_sent.add(messages);
            traffic.bytes_sent.add(bytes);
        }
        if self.hub.spans_nodes() {
            for group in groups {
                let (events, behind) = (group.events.len(), group.behind.get());
                let deliveries = group.seats.len() * events;
                self.congestion
                    .count(&group.local.channel, deliveries, behind * events);
            }
        }
        // Of those that leave together the first has waited longest.
        if let Some(published) = run[0].published {
            self.hub.latency.observe(published.elapsed());
        }
    }
}

impl<'a> Group<'a> {
    fn of(local: &Rc<LocalChannel>) -> Self {
        Self {
            local: Rc::clone(local),
            seats: Rc::clone(&local.seats.borrow()),
            events: SmallVec::new(),
            merged: None,
            compressed: OnceCell::new(),
            is_compressible: false,
            is_selective: false,
            reached: Cell::new(0),
            behind: Cell::new(0),
        }
    }

    fn push(&mut self, place: usize, delivery: &'a Delivery) {
        self.is_selective |= delivery.is_selective();
        self.is_compressible |= delivery.frame.is_compressible();
        self.events.push(Event {
            place,
            delivery,
            reached: Cell::new(0),
        });
    }

    fn merge(&mut self) {
        if self.events.len() > 1 {
            self.merged = Some(self.joined(Frame::bytes));
        }
    }

    fn joined(&self, bytes_of: impl Fn(&Frame) -> &Bytes) -> Bytes {
        let frames = || {
            self.events
                .iter()
                .map(|event| bytes_of(&event.delivery.frame))
        };
        let mut joined = BytesMut::with_capacity(frames().map(Bytes::len).sum());
        frames().for_each(|frame| joined.extend_from_slice(frame));
        joined.freeze()
    }

    /// Bytes of all frames, uncompressed.
    fn bytes(&self) -> usize {
        let first = || self.events[0].delivery.frame.bytes();
        self.merged.as_ref().unwrap_or_else(first).len()
    }

    /// All frames, as this client reads them.
    fn bytes_for(&self, outbox: &Outbox) -> &Bytes {
        if self.is_compressible && outbox.reads_compressed() {
            return match &self.events[..] {
                [event] => event.delivery.frame.compressed_bytes(),
                _ => self
                    .compressed
                    .get_or_init(|| self.joined(Frame::compressed_bytes)),
            };
        }
        let merged = self.merged.as_ref();
        merged.unwrap_or_else(|| self.events[0].delivery.frame.bytes())
    }

    /// Whether the seat is still taken as it was: a client that left and came back during a yield has a newer snapshot.
    fn is_current(&self, seat: &Seat) -> bool {
        if !self.is_selective {
            return true;
        }
        let subscriptions = seat.subscriber.subscriptions.borrow();
        let theirs = subscriptions.get(&self.local.channel.name);
        theirs
            .filter(|theirs| theirs.local.channel.id == self.local.channel.id)
            .is_some_and(|theirs| {
                let seats = theirs.local.seats.borrow();
                seats[theirs.seat.get()].members_since == seat.members_since
            })
    }

    /// Gives a socket those of the events that it is to have.
    fn write_to(&self, seat: &Seat) {
        let outbox = &seat.subscriber.outbox;
        if self.is_selective && !self.events.iter().all(|event| seat.wants(event.delivery)) {
            let wanted = self.events.iter();
            write_some(outbox, wanted.filter(|event| seat.wants(event.delivery)));
        } else if outbox.write(self.bytes_for(outbox)) {
            self.reached.set(self.reached.get() + 1);
        }
        self.note_whether_behind(outbox);
    }

    fn note_whether_behind(&self, outbox: &Outbox) {
        self.behind
            .set(self.behind.get() + usize::from(outbox.is_far_behind()));
    }

    /// Tells who wants to know how many sockets were reached. Says how many messages left, and of how many bytes.
    fn report(&self) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0);
        for event in &self.events {
            let sockets = self.reached.get() + event.reached.get();
            messages += sockets;
            bytes += sockets * event.delivery.frame.bytes().len();
            if let Some(receipt) = &event.delivery.receipt {
                receipt.add(sockets);
            }
        }
        (messages, bytes)
    }

    fn traffic(&self) -> &Arc<Traffic> {
        &self.local.channel.traffic
    }
}

impl Visit {
    fn seat_in<'a>(&self, groups: &'a [Group<'_>]) -> &'a Seat {
        &groups[self.group].seats[self.seat]
    }
}

impl Meanwhile {
    fn begin(&mut self, batch: &[Message]) {
        self.behind.clear();
        let bars = |message: &Message| {
            !matches!(
                message,
                Message::Deliver(..) | Message::Mark(..) | Message::Ask(_)
            )
        };
        self.barred = batch.iter().any(bars);
    }
}

/// How many writes of so many bytes are done at once.
fn writes_before_yield(bytes: usize) -> usize {
    (BYTES_BEFORE_YIELD / bytes.max(1)).clamp(1, WRITES_BEFORE_YIELD)
}

/// How many of the events are worked off together.
fn run_length(events: &[Delivery]) -> usize {
    let mut bytes = 0;
    let fits = |delivery: &&Delivery| {
        bytes += delivery.frame.bytes().len();
        bytes <= MERGED_BYTES_MAX
    };
    let events = events.iter().take(MERGED_EVENTS_MAX);
    events.take_while(fits).count().max(1)
}

/// Every seat of every group, each linked to the one before that belongs to the same socket.
fn visits(groups: &[Group<'_>]) -> Vec<Visit> {
    let mut visits = Vec::with_capacity(groups.iter().map(|group| group.seats.len()).sum());
    for (group, Group { seats, .. }) in groups.iter().enumerate() {
        for (seat, Seat { subscriber, .. }) in seats.iter().enumerate() {
            visits.push(Visit {
                group,
                seat,
                earlier: subscriber.last_visit.get(),
            });
            let number = u32::try_from(visits.len()).expect("a run has fewer visits than 2^32");
            subscriber.last_visit.set(number);
        }
    }
    visits
}

/// Gives a socket the events of several channels, as they were published.
fn write_across(theirs: &[(&Group<'_>, &Seat)]) {
    let mut wanted: SmallVec<[&Event<'_>; 16]> = SmallVec::new();
    for (group, seat) in theirs {
        let events = group.events.iter();
        wanted.extend(events.filter(|event| seat.wants(event.delivery)));
    }
    wanted.sort_unstable_by_key(|event| event.place);
    let outbox = &theirs[0].1.subscriber.outbox;
    write_some(outbox, wanted.into_iter());
    for (group, _) in theirs {
        group.note_whether_behind(outbox);
    }
}

/// One write for several frames.
fn write_some<'a>(outbox: &Outbox, events: impl Iterator<Item = &'a Event<'a>>) {
    let was_waiting = outbox.is_waiting();
    for event in events {
        let frame = &event.delivery.frame;
        let bytes = if outbox.reads_compressed() {
            frame.compressed_bytes()
        } else {
            frame.bytes()
        };
        if outbox.queue(bytes) {
            event.reached.set(event.reached.get() + 1);
        }
    }
    if !was_waiting {
        outbox.flush();
    }
}
