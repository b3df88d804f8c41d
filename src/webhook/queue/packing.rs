//! Which events share a request.

use std::{sync::Arc, time::Instant};

use super::{AGE_MAX, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Queue, What};
use crate::webhook::{
    class::Class,
    parcel::{Event, Parcel},
};

/// Events that are to share a request.
struct Batch {
    events: Vec<Event>,
    events_max: usize,
    /// Bytes left.
    room: usize,
}

impl Batch {
    fn of(events_max: usize, room: usize) -> Self {
        Self {
            events: Vec::new(),
            events_max,
            room,
        }
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.events_max
    }

    /// A first event always fits.
    fn fits(&self, event: &Event) -> bool {
        self.events.is_empty() || !self.is_full() && event.json.len() <= self.room
    }
}

impl Queue {
    /// Makes a parcel of this channel's events and, with batching, of others whose turn would come next.
    pub(super) fn pack(&mut self, first: Arc<str>, class: Class, now: Instant) -> Option<Parcel> {
        let mut batch = match self.batching {
            true => Batch::of(BATCH_EVENTS_MAX, BATCH_BYTES_MAX),
            false => Batch::of(1, usize::MAX),
        };
        let (mut place, mut channel) = (self.next_class, Some(first));
        while let Some(next) = channel {
            self.expire_lane(&next, now);
            if !self.move_events(&next, &mut batch, now) || batch.is_full() {
                break;
            }
            channel = self.next_lane(&mut place);
        }
        if batch.events.is_empty() {
            return None;
        }
        self.next_number += 1;
        let sent = self.health.sent(now);
        Some(Parcel::new(self.next_number, batch.events, class, sent))
    }

    /// Moves events of a lane into a batch; what does not fit waits for the end of the parcel. `false` if nothing fits.
    fn move_events(&mut self, channel: &Arc<str>, batch: &mut Batch, now: Instant) -> bool {
        let Some(lane) = self.lanes.get_mut(channel) else {
            // All of it was too old.
            return true;
        };
        let (first, before) = (batch.events.len(), lane.ready());
        while let Some(event) = lane.front()
            && batch.fits(event)
        {
            batch.room -= event.json.len().min(batch.room);
            batch.events.extend(lane.pop());
        }
        let took_any = batch.events.len() > first;
        if took_any {
            lane.lock(&batch.events[first..]);
            let ticket = lane.ticket.take();
            self.leave_line(ticket);
            self.settle(channel, before, now);
        }
        took_any
    }

    /// The channel that waits first in the next line that begins with one.
    fn next_lane(&self, place: &mut usize) -> Option<Arc<str>> {
        for _ in 0..Class::ALL.len() {
            let class = Class::ALL[*place % Class::ALL.len()];
            *place += 1;
            let first = self.turns[class as usize].first_key_value();
            if let Some((_, turn)) = first
                && let What::Lane(channel) = &turn.what
            {
                return Some(Arc::clone(channel));
            }
        }
        None
    }

    /// A parcel that is sent once more; nothing if it has become too old.
    pub(super) fn take_again(
        &mut self,
        mut parcel: Parcel,
        class: Class,
        now: Instant,
    ) -> Option<Parcel> {
        if !parcel.is_young(AGE_MAX, now) {
            self.give_up(&parcel, now);
            return None;
        }
        parcel.class = class;
        parcel.sent = self.health.sent(now);
        Some(parcel)
    }
}
