//! The events of one channel that wait for one endpoint, and which of them supersede others.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::super::{class::Class, parcel::Event};
use crate::app::WebhookKind;

/// What one channel has yet to send, in two parts that keep their order: edges (who came and went), and the rest. The rest waits for
/// earlier edges. Edges do not wait for the rest, so that neither a flood of client events nor one that the endpoint refuses holds
/// them up.
#[derive(Default)]
pub(super) struct Lane {
    edges: VecDeque<Event>,
    /// Boxed, as `count`, because most lanes have neither.
    miss: Option<Box<Event>>,
    /// Client events and those of sessions.
    others: VecDeque<Event>,
    count: Option<Box<Event>>,
    /// Memory by class, of the events here and of those that are in a parcel.
    held: [u32; Class::ALL.len()],
    /// Which parts have events in a parcel; later ones wait for its end.
    busy: [bool; 2],
    /// Where the lane waits for its turn: in the line of this class, under this number.
    pub(super) ticket: Option<(Class, u64)>,
}

/// A part of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Edges,
    Rest,
}

impl Part {
    fn of(event: &Event) -> Self {
        match event.class {
            Class::PublicChannels | Class::Channels | Class::Members => Self::Edges,
            _ => Self::Rest,
        }
    }
}

/// What an event is to those that wait before it.
pub(super) enum Relation {
    /// It says something new.
    New,
    /// One that waits says the same.
    Repeats,
    /// It takes the place of this one, which says what is no longer true.
    Replaces(Event),
    /// It undoes this one, so that neither is sent.
    Cancels(Event),
}

impl Lane {
    /// How the event relates to those that wait; takes out the one that it makes superfluous.
    pub(super) fn relate(&mut self, event: &Event) -> Relation {
        match event.kind {
            WebhookKind::ChannelOccupied | WebhookKind::ChannelVacated => {
                let last = self.edges.back().map(|last| last.kind);
                if last == Some(event.kind) {
                    Relation::Repeats
                } else if last.is_some() && last == event.kind.opposite() {
                    self.edges
                        .pop_back()
                        .map_or(Relation::New, Relation::Cancels)
                } else {
                    Relation::New
                }
            }
            WebhookKind::CacheMiss if self.miss.is_some() => Relation::Repeats,
            WebhookKind::SubscriptionCount => {
                let outdated = self.count.take();
                outdated.map_or(Relation::New, |event| Relation::Replaces(*event))
            }
            _ => Relation::New,
        }
    }

    /// Adds an event that [`Lane::relate`] found worth sending.
    pub(super) fn push(&mut self, event: Event) {
        match event.kind {
            WebhookKind::ChannelOccupied
            | WebhookKind::ChannelVacated
            | WebhookKind::MemberAdded
            | WebhookKind::MemberRemoved => {
                if self.edges.is_empty() {
                    // Most lanes never have a second one, and there are many lanes.
                    self.edges.reserve_exact(1);
                }
                self.edges.push_back(event);
            }
            WebhookKind::CacheMiss => self.miss = Some(event.into()),
            WebhookKind::SubscriptionCount => self.count = Some(event.into()),
            WebhookKind::ClientEvent
            | WebhookKind::SessionReplaced
            | WebhookKind::SessionRefused => self.others.push_back(event),
        }
    }

    fn is_busy(&self, part: Part) -> bool {
        self.busy[part as usize]
    }

    /// The part that may go now, if it has anything.
    fn open_part(&self) -> Option<Part> {
        if self.is_busy(Part::Edges) {
            None
        } else if !self.edges.is_empty() {
            Some(Part::Edges)
        } else {
            (!self.is_busy(Part::Rest)).then_some(Part::Rest)
        }
    }

    /// The event that may leave now.
    pub(super) fn front(&self) -> Option<&Event> {
        match self.open_part()? {
            Part::Edges => self.edges.front(),
            Part::Rest => {
                let miss = self.miss.as_deref();
                miss.or(self.others.front()).or(self.count.as_deref())
            }
        }
    }

    /// Takes the event that may leave now.
    pub(super) fn pop(&mut self) -> Option<Event> {
        match self.open_part()? {
            Part::Edges => self.edges.pop_front(),
            Part::Rest => {
                let unboxed = |slot: &mut Option<Box<Event>>| slot.take().map(|event| *event);
                let miss = unboxed(&mut self.miss).or_else(|| self.others.pop_front());
                miss.or_else(|| unboxed(&mut self.count))
            }
        }
    }

    /// These events of the channel are in a parcel now.
    pub(super) fn lock(&mut self, events: &[Event]) {
        for event in events {
            self.busy[Part::of(event) as usize] = true;
        }
    }

    /// The parcel of these events is done.
    pub(super) fn unlock(&mut self, events: &[Event]) {
        for event in events {
            self.busy[Part::of(event) as usize] = false;
        }
    }

    /// Takes the events that are older than this, wherever they wait.
    pub(super) fn take_expired(&mut self, age_max: Duration, now: Instant) -> Vec<Event> {
        let is_old = |event: &Event| now.saturating_duration_since(event.created) >= age_max;
        let mut expired = Vec::new();
        for queue in [&mut self.edges, &mut self.others] {
            while queue.front().is_some_and(is_old) {
                expired.extend(queue.pop_front());
            }
        }
        for slot in [&mut self.miss, &mut self.count] {
            expired.extend(slot.take_if(|event| is_old(event)).map(|event| *event));
        }
        expired
    }

    /// Events that may go now, one after the other.
    pub(super) fn ready(&self) -> usize {
        if self.is_busy(Part::Edges) {
            return 0;
        }
        let rest = [&self.miss, &self.count].into_iter().flatten().count() + self.others.len();
        match self.is_busy(Part::Rest) {
            true => self.edges.len(),
            false => self.edges.len() + rest,
        }
    }

    /// Whether the channel has no events, neither here nor in a parcel.
    pub(super) fn is_empty(&self) -> bool {
        self.held.iter().all(|held| *held == 0)
    }

    /// Memory of the channel's events of this class.
    pub(super) fn held(&self, class: Class) -> usize {
        self.held[class as usize] as usize
    }

    pub(super) fn hold(&mut self, event: &Event) {
        self.held[event.class as usize] += size_of(event);
    }

    pub(super) fn release(&mut self, event: &Event) {
        self.held[event.class as usize] -= size_of(event);
    }
}

fn size_of(event: &Event) -> u32 {
    u32::try_from(event.size()).expect("an event is far smaller than its class's room")
}
