//! A channel's last events, for those who subscribe later; and how much memory all histories may take.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{
    app::Replay,
    engine::EventId,
    protocol::{Frame, SocketId},
};

/// Bytes of one channel's history. Well below the limit of an outbox, since a client gets all of it at once.
pub(crate) const CHANNEL_BYTES_MAX: usize = 256 << 10;
/// Bytes of all histories.
const BYTES_MAX: usize = 64 << 20;
/// Channels that have one.
const CHANNELS_MAX: usize = 65_536;
/// What an event takes besides its frame.
const EVENT_BYTES: usize = 128;

/// How an event came into a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Heard from another node; or there are no others.
    Settled,
    /// Fetched from Redis, not heard yet. Its node may send it again.
    Listed,
    /// Published here, and Redis has not said yet that it has it.
    UnderWay,
    /// Published here, and Redis has it.
    Sent,
}

/// One past event.
#[derive(Clone)]
pub(super) struct Past {
    pub(super) frame: Frame,
    /// The connection that was left out, and is again.
    pub(super) except: Option<SocketId>,
    pub(super) at: Instant,
    /// `None` on a node alone.
    pub(super) id: Option<EventId>,
    pub(super) standing: Standing,
    /// Its number among the changes of this node's channels: clients seated later got it in their snapshot.
    pub(super) number: u64,
}

impl Past {
    fn bytes(&self) -> usize {
        self.frame.bytes().len() + EVENT_BYTES
    }
}

/// The memory of all histories.
pub(super) struct Budget {
    channels: AtomicUsize,
    bytes: AtomicUsize,
    channels_max: usize,
    bytes_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(CHANNELS_MAX, BYTES_MAX)
    }
}

impl Budget {
    pub(super) fn of(channels_max: usize, bytes_max: usize) -> Self {
        Self {
            channels: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            channels_max,
            bytes_max,
        }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeds(self.channels_max, self.bytes_max)
    }

    /// Whether so much is taken that room is to be made: some more than needed, so that it lasts.
    pub(super) fn is_nearly_exceeded(&self) -> bool {
        self.exceeds(self.channels_max / 10 * 9, self.bytes_max / 10 * 9)
    }

    fn exceeds(&self, channels: usize, bytes: usize) -> bool {
        self.channels.load(Ordering::Relaxed) > channels
            || self.bytes.load(Ordering::Relaxed) > bytes
    }
}

/// One channel's last events, the oldest first.
pub(super) struct History {
    events: VecDeque<Past>,
    rule: Replay,
    bytes: usize,
    /// How many of the first events were known when something may have been missed.
    doubtful: usize,
    /// Events removed before they were heard, with their numbers: at most twice as many as the rule keeps.
    unheard: VecDeque<(EventId, u64)>,
    budget: Arc<Budget>,
}

impl Drop for History {
    fn drop(&mut self) {
        self.budget.channels.fetch_sub(1, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl History {
    pub(super) fn new(rule: Replay, budget: &Arc<Budget>) -> Self {
        budget.channels.fetch_add(1, Ordering::Relaxed);
        Self {
            events: VecDeque::new(),
            rule,
            bytes: 0,
            doubtful: 0,
            unheard: VecDeque::new(),
            budget: Arc::clone(budget),
        }
    }

    /// Adds an event; the oldest go that are too many, too large or too old.
    pub(super) fn add(&mut self, event: Past, rule: Replay) {
        self.rule = rule;
        let now = event.at;
        self.count_in(&event);
        self.events.push_back(event);
        while self.events.len() > rule.events || self.bytes > CHANNEL_BYTES_MAX {
            self.drop_oldest();
        }
        self.expire(now);
    }

    /// Forgets what is too old; whether nothing is left.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_old = |past: &Past| now.saturating_duration_since(past.at) > self.rule.age;
        let count = self.events.iter().take_while(|past| is_old(past)).count();
        for _ in 0..count {
            self.drop_oldest();
        }
        self.events.is_empty()
    }

    fn count_in(&mut self, event: &Past) {
        self.bytes += event.bytes();
        self.budget
            .bytes
            .fetch_add(event.bytes(), Ordering::Relaxed);
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.bytes();
            self.budget
                .bytes
                .fetch_sub(event.bytes(), Ordering::Relaxed);
            self.doubtful = self.doubtful.saturating_sub(1);
            if let (Standing::Listed, Some(id)) = (event.standing, event.id) {
                self.unheard.push_back((id, event.number));
            }
        }
    }

    fn replace(&mut self, events: Vec<Past>) {
        while !self.events.is_empty() {
            self.drop_oldest();
        }
        for event in events {
            let rule = self.rule;
            self.add(event, rule);
        }
        let events = &self.events;
        self.unheard
            .retain(|(id, _)| !events.iter().any(|past| past.id == Some(*id)));
        while self.unheard.len() > self.rule.events {
            self.unheard.pop_front();
        }
    }

    /// When the last event was.
    pub(super) fn last(&self) -> Option<Instant> {
        self.events.back().map(|past| past.at)
    }

    /// What a subscriber is shown, in order.
    pub(super) fn shown_to(&self, socket: SocketId, now: Instant) -> Vec<Frame> {
        let age = self.rule.age;
        let is_young = |past: &&Past| now.saturating_duration_since(past.at) <= age;
        let is_theirs = |past: &&Past| past.except != Some(socket);
        let shown = self.events.iter().filter(is_young).filter(is_theirs);
        shown.map(|past| past.frame.clone()).collect()
    }

    /// The place of an event that is here already, or was. It is heard now.
    pub(super) fn hear_again(&mut self, id: EventId) -> Option<u64> {
        if let Some(known) = self.events.iter_mut().find(|past| past.id == Some(id)) {
            known.standing = Standing::Settled;
            return Some(known.number);
        }
        let at = self.unheard.iter().position(|(its, _)| *its == id)?;
        self.unheard.remove(at).map(|(_, number)| number)
    }

    /// Redis has this node's events up to this one.
    pub(super) fn settle(&mut self, (sender, number): EventId) {
        for past in &mut self.events {
            let settled = |(its, at): EventId| its == sender && at <= number;
            if past.standing == Standing::UnderWay && past.id.is_some_and(settled) {
                past.standing = Standing::Sent;
            }
        }
    }

    /// Something may be missed from here on, until [`History::merge`].
    pub(super) fn doubt(&mut self) {
        self.doubtful = self.events.len();
    }

    /// Forgets all but what is under way to Redis; whether nothing is left.
    pub(super) fn keep_under_way(&mut self) -> bool {
        let kept = self.events.iter();
        let kept = kept.filter(|past| past.standing == Standing::UnderWay);
        let kept = kept.cloned().collect();
        self.replace(kept);
        self.events.is_empty()
    }

    /// Takes Redis' history for the truth. After it comes what this node has heard since, and its own events that are under way. An
    /// own event that Redis had before it was asked, and has no more, is too old.
    pub(super) fn merge(&mut self, mut listed: Vec<Past>) {
        let ids: HashSet<Option<EventId>> = listed.iter().map(|past| past.id).collect();
        let is_listed = |past: &Past| past.id.is_some() && ids.contains(&past.id);
        let after = self
            .events
            .iter()
            .rposition(is_listed)
            .map_or(0, |at| at + 1);
        let from = after.max(self.doubtful);
        for past in &mut listed {
            // Keeps the place that it has here, so that one that is late is heard by those who were here before it.
            let known = self.events.iter().find(|known| known.id == past.id);
            if let Some(known) = known {
                past.number = known.number;
                past.standing = match known.standing {
                    Standing::Settled => Standing::Settled,
                    _ => Standing::Listed,
                };
            }
        }
        let rest = self.events.iter().enumerate();
        let rest = rest.filter(|(at, past)| match past.standing {
            _ if is_listed(past) => false,
            Standing::UnderWay => true,
            Standing::Settled | Standing::Listed => *at >= from,
            Standing::Sent => false,
        });
        listed.extend(rest.map(|(_, past)| past.clone()));
        self.replace(listed);
        self.doubtful = 0;
    }
}

#[cfg(test)]
mod tests;
