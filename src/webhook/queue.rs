//! What one endpoint has yet to hear, and when to say it. Pure: time is an argument, nothing is sent here.
//!
//! Events of one channel leave in order, those of different channels beside each other: a channel whose parcel is under way or
//! waits for another try holds back only itself. An endpoint that does not answer at all is asked by one parcel at a time.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};

use super::{
    backoff,
    parcel::{Event, Parcel},
};

/// Requests to one endpoint at the same time.
const UNDER_WAY_MAX: usize = 16;
/// Events that wait for one endpoint. Over it the newest is dropped.
const EVENTS_MAX: usize = 50_000;
/// Memory that they may take.
const BYTES_MAX: usize = 16 << 20;
/// How old an event may become before it is dropped: Pusher's five minutes.
const AGE_MAX: Duration = Duration::from_secs(300);
/// How long an event waits for others to share its request, how many they may be, and how many bytes (nginx takes 1 MiB).
const BATCH_WINDOW: Duration = Duration::from_millis(50);
const BATCH_EVENTS_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// How a parcel fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A status of 2xx.
    Taken,
    /// Another status.
    Refused,
    /// No answer: no connection, or none in time.
    Silence,
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

/// Events that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// There was no room.
    pub(super) overflow: u64,
    /// They became too old.
    pub(super) expired: u64,
}

#[derive(Default)]
struct Lane {
    events: VecDeque<Event>,
    /// Whether the channel's earlier events are in a parcel.
    busy: bool,
}

#[derive(Clone, Copy, Default)]
struct Held {
    events: usize,
    bytes: usize,
}

/// The events for one endpoint.
pub(super) struct Queue {
    batching: bool,
    lanes: HashMap<Arc<str>, Lane>,
    /// Channels that have events and are not busy, and since when.
    ready: VecDeque<(Instant, Arc<str>)>,
    ready_events: usize,
    /// Parcels by the time of their next try.
    retries: BTreeMap<(Instant, u64), Parcel>,
    parcels: u64,
    under_way: usize,
    held: Held,
    /// Those of them that clients triggered; they may take half of the room, so that they can't displace all else.
    held_of_clients: Held,
    /// How often in a row the endpoint was silent, and until when it is left alone.
    silences: u32,
    silent_until: Option<Instant>,
    lost: Lost,
    closing: bool,
    rng: SmallRng,
}

impl Queue {
    pub(super) fn new(batching: bool, seed: u64) -> Self {
        Self {
            batching,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            ready_events: 0,
            retries: BTreeMap::new(),
            parcels: 0,
            under_way: 0,
            held: Held::default(),
            held_of_clients: Held::default(),
            silences: 0,
            silent_until: None,
            lost: Lost::default(),
            closing: false,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Whether there is nothing left to say.
    pub(super) fn is_empty(&self) -> bool {
        self.held.events == 0
    }

    /// How many events have neither arrived nor been dropped.
    pub(super) fn len(&self) -> usize {
        self.held.events
    }

    /// What was dropped since the last call.
    pub(super) fn take_lost(&mut self) -> Lost {
        mem::take(&mut self.lost)
    }

    /// Adds an event, or drops it when there is no room.
    pub(super) fn push(&mut self, event: Event) {
        let is_full = |held: Held, parts: usize| {
            held.events >= EVENTS_MAX / parts || held.bytes + event.size() > BYTES_MAX / parts
        };
        if is_full(self.held, 1) || event.is_of_client && is_full(self.held_of_clients, 2) {
            self.lost.overflow += 1;
            return;
        }
        self.hold(&event);
        let lane = self.lanes.entry(Arc::clone(&event.channel)).or_default();
        if !lane.busy {
            self.ready_events += 1;
            if lane.events.is_empty() {
                self.ready
                    .push_back((event.created, Arc::clone(&event.channel)));
            }
        }
        lane.events.push_back(event);
    }

    /// The next parcel to send, or how long to wait for one.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let under_way_max = if self.silences == 0 { UNDER_WAY_MAX } else { 1 };
        if self.under_way >= under_way_max {
            return Next::Wait(None);
        }
        if let Some(until) = self.silent_until.filter(|until| *until > now) {
            return Next::Wait(Some(until));
        }
        loop {
            let retry = self.retries.first_key_value().map(|((due, _), _)| *due);
            let fresh = self.fresh_from();
            // Whichever could go first, so that a parcel that is refused again and again can't keep new ones waiting.
            let Some(from) = retry.into_iter().chain(fresh).min() else {
                return Next::Wait(None);
            };
            if from > now {
                return Next::Wait(Some(from));
            }
            let parcel = if retry == Some(from) {
                self.retries.pop_first().map(|(_, parcel)| parcel)
            } else {
                self.pack(now)
            };
            if let Some(mut parcel) = parcel {
                parcel.silences = self.silences;
                self.under_way += 1;
                return Next::Send(parcel);
            }
        }
    }

    /// Takes note of how a parcel fared.
    pub(super) fn done(&mut self, parcel: Parcel, outcome: Outcome, now: Instant) -> Fate {
        self.under_way -= 1;
        match outcome {
            // Of parcels that were sent together, only the first tells something new.
            Outcome::Silence if parcel.silences == self.silences => {
                self.silences += 1;
                self.silent_until = Some(now + backoff::delay(self.silences, &mut self.rng));
            }
            Outcome::Silence => {}
            Outcome::Taken | Outcome::Refused => {
                self.silences = 0;
                self.silent_until = None;
            }
        }
        if outcome == Outcome::Taken {
            self.finish(&parcel, now);
            Fate::Delivered
        } else {
            self.try_again(parcel, now)
        }
    }

    /// Has everything tried now; there will be no more.
    pub(super) fn close(&mut self, now: Instant) {
        self.closing = true;
        self.silent_until = None;
        let retries = mem::take(&mut self.retries).into_iter();
        self.retries = retries
            .map(|((_, number), parcel)| ((now, number), parcel))
            .collect();
    }

    /// Whether [`Queue::close`] was called.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// From when a new parcel could be made.
    fn fresh_from(&self) -> Option<Instant> {
        let (since, channel) = self.ready.front()?;
        if !self.batching || self.closing || self.ready_events >= BATCH_EVENTS_MAX {
            return Some(*since);
        }
        let oldest = self.lanes.get(channel)?.events.front()?;
        Some((oldest.created + BATCH_WINDOW).max(*since))
    }

    /// Makes a parcel of what is ready; nothing if all of it is too old.
    fn pack(&mut self, now: Instant) -> Option<Parcel> {
        let (events_max, bytes_max) = match self.batching {
            true => (BATCH_EVENTS_MAX, BATCH_BYTES_MAX),
            false => (1, usize::MAX),
        };
        let mut events: Vec<Event> = Vec::new();
        let mut room = bytes_max;
        while events.len() < events_max {
            let Some((since, channel)) = self.ready.pop_front() else {
                break;
            };
            self.drop_expired(&channel, now);
            let Some(lane) = self.lanes.get_mut(&channel) else {
                continue;
            };
            let before = events.len();
            while let Some(event) = lane.events.front()
                && events.len() < events_max
                && (event.json.len() <= room || events.is_empty())
            {
                room = room.saturating_sub(event.json.len());
                events.extend(lane.events.pop_front());
            }
            if events.len() == before {
                self.ready.push_front((since, channel));
                break;
            }
            lane.busy = true;
            self.ready_events -= events.len() - before + lane.events.len();
        }
        if events.is_empty() {
            return None;
        }
        self.parcels += 1;
        Some(Parcel::new(self.parcels, events))
    }

    /// Drops the beginning of a lane that is not busy, and the lane if nothing is left.
    fn drop_expired(&mut self, channel: &Arc<str>, now: Instant) {
        let Some(lane) = self.lanes.get_mut(channel) else {
            return;
        };
        let is_old = |event: &Event| now.saturating_duration_since(event.created) >= AGE_MAX;
        let mut expired = Vec::new();
        while lane.events.front().is_some_and(is_old) {
            expired.extend(lane.events.pop_front());
        }
        if lane.events.is_empty() {
            self.lanes.remove(channel);
        }
        self.ready_events -= expired.len();
        self.lost.expired += expired.len() as u64;
        for event in &expired {
            self.release(event);
        }
    }

    fn try_again(&mut self, mut parcel: Parcel, now: Instant) -> Fate {
        parcel.failures += 1;
        let due = now + backoff::delay(parcel.failures, &mut self.rng);
        if due.saturating_duration_since(parcel.oldest()) < AGE_MAX {
            self.retries.insert((due, parcel.number), parcel);
            Fate::Retried
        } else {
            self.lost.expired += parcel.events().len() as u64;
            self.finish(&parcel, now);
            Fate::GivenUp
        }
    }

    /// Forgets a parcel; its channels' later events may go.
    fn finish(&mut self, parcel: &Parcel, now: Instant) {
        for event in parcel.events() {
            self.release(event);
        }
        for channel in parcel.channels() {
            let Some(lane) = self.lanes.get_mut(channel) else {
                continue;
            };
            lane.busy = false;
            if lane.events.is_empty() {
                self.lanes.remove(channel);
            } else {
                self.ready_events += lane.events.len();
                self.ready.push_back((now, Arc::clone(channel)));
            }
        }
    }

    fn hold(&mut self, event: &Event) {
        let hold = |held: &mut Held| {
            held.events += 1;
            held.bytes += event.size();
        };
        hold(&mut self.held);
        if event.is_of_client {
            hold(&mut self.held_of_clients);
        }
    }

    fn release(&mut self, event: &Event) {
        let release = |held: &mut Held| {
            held.events -= 1;
            held.bytes -= event.size();
        };
        release(&mut self.held);
        if event.is_of_client {
            release(&mut self.held_of_clients);
        }
    }
}
