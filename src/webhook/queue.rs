//! What one endpoint has yet to get, and when to send it. Pure: time is an argument, nothing is sent here.
//!
//! Events wait in lanes, one per channel, and lanes wait for their turn, in one line per class. Classes take turns, so that the
//! longest line holds up only itself. Events of one channel leave in order: a channel whose parcel is under way or waits for
//! another try holds back only itself.

mod health;
mod lane;
mod packing;
mod retries;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::HashMap;
use rand::{SeedableRng, rngs::SmallRng};

use self::{
    health::{Absence, Health},
    lane::{Lane, Relation},
};
use super::{
    class::Class,
    parcel::{Event, Parcel},
    tally::{Lost, Tally},
};

pub(super) use self::health::Sent;

/// No event is sent that is older. Libraries take a webhook whose `time_ms` is at most 5 minutes from their clock; the minute
/// between leaves room for 10 s without an answer and for clocks that differ.
const AGE_MAX: Duration = Duration::from_secs(240);
/// How often events that became too old make room.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long an event waits for others to share its request, how many they may be, and how many bytes (nginx takes 1 MiB).
const BATCH_WINDOW: Duration = Duration::from_millis(50);
const BATCH_EVENTS_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// How a parcel fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint has it.
    Taken,
    /// The endpoint answered that it does not want it.
    Refused,
    /// No answer, or one that says that the endpoint is not there.
    Absent,
}

/// What becomes of a parcel that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The endpoint has it.
    Delivered,
    /// It is sent again.
    Retried,
    /// It is too old to be sent again.
    GivenUp,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this, and say how it fared.
    Send(Parcel),
    /// Nothing before that time, or before something else happens.
    Wait(Option<Instant>),
}

/// Something that waits for its turn.
struct Turn {
    since: Instant,
    what: What,
}

enum What {
    /// The next events of this channel.
    Lane(Arc<str>),
    /// A parcel that is to be sent again.
    Parcel(Box<Parcel>),
}

/// The events for one endpoint.
pub(super) struct Queue {
    batching: bool,
    lanes: HashMap<Arc<str>, Lane>,
    /// What may go now, by class and in the order of arrival.
    turns: [BTreeMap<u64, Turn>; Class::ALL.len()],
    next_number: u64,
    /// The place among [`Class::ALL`] of the class whose turn is next.
    next_class: usize,
    /// Events of lanes that wait for their turn.
    ready_events: usize,
    /// Refused parcels by the time of their next try.
    retries: BTreeMap<(Instant, u64), Parcel>,
    /// Those of them that were not hurried yet.
    patient: usize,
    /// Parcels under way, by the class whose turn it was.
    under_way: [usize; Class::ALL.len()],
    /// Events here and under way, and their memory by class.
    waiting: Tally,
    held: [usize; Class::ALL.len()],
    health: Health,
    lost: Lost,
    superseded: u64,
    expired_at: Option<Instant>,
    closing: bool,
    rng: SmallRng,
}

impl Queue {
    pub(super) fn new(batching: bool, seed: u64) -> Self {
        Self {
            batching,
            lanes: HashMap::default(),
            turns: Default::default(),
            next_number: 0,
            next_class: 0,
            ready_events: 0,
            retries: BTreeMap::new(),
            patient: 0,
            under_way: Default::default(),
            waiting: Tally::default(),
            held: Default::default(),
            health: Health::default(),
            lost: Lost::default(),
            superseded: 0,
            expired_at: None,
            closing: false,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Whether there is nothing left to send.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.total() == 0
    }

    /// Events that have neither arrived nor been dropped.
    pub(super) fn waiting(&self) -> &Tally {
        &self.waiting
    }

    /// What was dropped since the last call.
    pub(super) fn take_lost(&mut self) -> Lost {
        mem::take(&mut self.lost)
    }

    /// How many events newer ones have superseded since the last call.
    pub(super) fn take_superseded(&mut self) -> u64 {
        mem::take(&mut self.superseded)
    }

    /// Adds an event, or drops it when its class has no room, or its channel has as much as is still free.
    pub(super) fn push(&mut self, event: Event, now: Instant) {
        let channel = Arc::clone(&event.channel);
        let lane = self.lanes.entry(Arc::clone(&channel)).or_default();
        let before = lane.ready();
        let relation = lane.relate(&event);
        match relation {
            Relation::Repeats => self.superseded += 1,
            Relation::Cancels(undone) => {
                self.superseded += 2;
                self.release(&undone);
            }
            Relation::Replaces(outdated) => {
                self.superseded += 1;
                self.release(&outdated);
                self.hold(event);
            }
            Relation::New if self.has_room(&event, now) => self.hold(event),
            Relation::New => self.lost.overflow.add(event.kind, 1),
        }
        self.settle(&channel, before, now);
    }

    /// The next parcel to send, or how long to wait for one.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.expired_at.is_none_or(|at| now >= at + EXPIRY_INTERVAL) {
            self.expire(now);
        }
        if self.under_way.iter().sum::<usize>() >= self.health.window() {
            return Next::Wait(None);
        }
        if let Some(until) = self.health.pause(now) {
            return Next::Wait(Some(until));
        }
        self.bring_back_due(now);
        while let Some(class) = self.take_class(now) {
            if let Some(parcel) = self.take_parcel(class, now) {
                self.under_way[class as usize] += 1;
                return Next::Send(parcel);
            }
        }
        let due = self.retries.first_key_value().map(|((due, _), _)| *due);
        let ready = self.turns.iter().filter_map(|line| self.ready_at(line));
        Next::Wait(ready.filter(|at| *at > now).chain(due).min())
    }

    /// Takes note of how a parcel fared.
    pub(super) fn done(&mut self, parcel: Parcel, outcome: Outcome, now: Instant) -> Fate {
        self.under_way[parcel.class as usize] -= 1;
        match outcome {
            Outcome::Taken => {
                self.health.on_taken(now);
                if parcel.failures > 0 {
                    self.hurry(now);
                }
                self.finish(&parcel, now);
                Fate::Delivered
            }
            Outcome::Refused => {
                self.health.on_refused();
                self.retry_later(parcel, now)
            }
            Outcome::Absent => match self.health.on_absent(parcel.sent, now, &mut self.rng) {
                Absence::OfEndpoint => self.retry(parcel, now),
                Absence::OfRequest => self.retry_later(parcel, now),
            },
        }
    }

    /// Has everything tried now; there will be no more.
    pub(super) fn close(&mut self, now: Instant) {
        self.closing = true;
        self.health.reset();
        self.patient = 0;
        for parcel in mem::take(&mut self.retries).into_values() {
            self.wait_again(parcel, now);
        }
    }

    /// Whether [`Queue::close`] was called.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    // --- Room ---

    fn has_room(&mut self, event: &Event, now: Instant) -> bool {
        let fits = |queue: &Self| {
            let free = event.class.room_bytes() - queue.held[event.class as usize];
            let lane = queue.lanes.get(&event.channel);
            let held = lane.map_or(0, |lane| lane.held(event.class));
            held + event.size() <= free
        };
        if !fits(self) && self.expired_at.is_none_or(|at| now >= at + EXPIRY_INTERVAL) {
            self.expire(now);
        }
        fits(self)
    }

    fn hold(&mut self, event: Event) {
        self.waiting.add(event.kind, 1);
        self.held[event.class as usize] += event.size();
        let lane = self.lanes.entry(Arc::clone(&event.channel)).or_default();
        lane.hold(&event);
        lane.push(event);
    }

    fn release(&mut self, event: &Event) {
        self.waiting.subtract(event.kind, 1);
        self.held[event.class as usize] -= event.size();
        if let Some(lane) = self.lanes.get_mut(&event.channel) {
            lane.release(event);
        }
    }

    /// Drops everything that waits and is too old.
    fn expire(&mut self, now: Instant) {
        self.expired_at = Some(now);
        let channels: Vec<_> = self.lanes.keys().map(Arc::clone).collect();
        for channel in channels {
            self.expire_lane(&channel, now);
        }
        for class in Class::ALL {
            let line = mem::take(&mut self.turns[class as usize]);
            for (number, turn) in line {
                match turn.what {
                    What::Parcel(parcel) if !parcel.is_young(AGE_MAX, now) => {
                        self.give_up(&parcel, now);
                    }
                    _ => {
                        self.turns[class as usize].insert(number, turn);
                    }
                }
            }
        }
    }

    fn expire_lane(&mut self, channel: &Arc<str>, now: Instant) {
        let Some(lane) = self.lanes.get_mut(channel) else {
            return;
        };
        let before = lane.ready();
        for event in lane.take_expired(AGE_MAX, now) {
            self.lost.expired.add(event.kind, 1);
            self.release(&event);
        }
        self.settle(channel, before, now);
    }

    // --- Turns ---

    /// After a change of a lane, of which this many events could go before it: has the lane wait for the right turn.
    fn settle(&mut self, channel: &Arc<str>, before: usize, now: Instant) {
        let Some(lane) = self.lanes.get_mut(channel) else {
            return;
        };
        self.ready_events = self.ready_events + lane.ready() - before;
        let class = lane.front().map(|front| front.class);
        if class != lane.ticket.map(|(class, _)| class) {
            let former = lane.ticket.take();
            self.leave_line(former);
            self.join_line(channel, class, now);
        }
        if self.lanes.get(channel).is_some_and(Lane::is_empty) {
            self.lanes.remove(channel);
        }
    }

    fn join_line(&mut self, channel: &Arc<str>, class: Option<Class>, now: Instant) {
        if let Some(class) = class {
            let number = self.wait_for_turn(class, What::Lane(Arc::clone(channel)), now);
            if let Some(lane) = self.lanes.get_mut(channel) {
                lane.ticket = Some((class, number));
            }
        }
    }

    fn leave_line(&mut self, ticket: Option<(Class, u64)>) {
        if let Some((class, number)) = ticket {
            self.turns[class as usize].remove(&number);
        }
    }

    fn wait_for_turn(&mut self, class: Class, what: What, since: Instant) -> u64 {
        self.next_number += 1;
        self.turns[class as usize].insert(self.next_number, Turn { since, what });
        self.next_number
    }

    fn wait_again(&mut self, parcel: Parcel, since: Instant) {
        self.wait_for_turn(parcel.class, What::Parcel(parcel.into()), since);
    }

    /// From when the first of a line may go.
    fn ready_at(&self, line: &BTreeMap<u64, Turn>) -> Option<Instant> {
        let (_, turn) = line.first_key_value()?;
        let waits = self.batching && !self.closing && self.ready_events < BATCH_EVENTS_MAX;
        match &turn.what {
            What::Lane(channel) if waits => {
                let oldest = self.lanes.get(channel)?.front()?;
                Some((oldest.created + BATCH_WINDOW).max(turn.since))
            }
            _ => Some(turn.since),
        }
    }

    /// The class whose turn it is. None has more than three quarters of the requests, so that the others need not wait for an answer.
    fn take_class(&mut self, now: Instant) -> Option<Class> {
        let window = self.health.window();
        let of_one_max = window - window / 4;
        let places = (0..Class::ALL.len()).map(|step| (self.next_class + step) % Class::ALL.len());
        let place = places.into_iter().find(|place| {
            let class = Class::ALL[*place] as usize;
            let ready = self.ready_at(&self.turns[class]);
            ready.is_some_and(|at| at <= now) && self.under_way[class] < of_one_max
        })?;
        self.next_class = (place + 1) % Class::ALL.len();
        Some(Class::ALL[place])
    }

    /// The first parcel of a class; nothing if what waited first was too old.
    fn take_parcel(&mut self, class: Class, now: Instant) -> Option<Parcel> {
        let (_, turn) = self.turns[class as usize].pop_first()?;
        match turn.what {
            What::Lane(channel) => self.pack(channel, class, now),
            What::Parcel(parcel) => self.take_again(*parcel, class, now),
        }
    }
}
