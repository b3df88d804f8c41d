//! Parcels that an endpoint did not take: sent again while they are young.

use std::{mem, time::Instant};

use super::{AGE_MAX, Fate, Queue, health::refusal_pause};
use crate::webhook::parcel::Parcel;

impl Queue {
    /// Sends a parcel again as soon as the endpoint is back.
    pub(super) fn retry(&mut self, mut parcel: Parcel, now: Instant) -> Fate {
        parcel.failures += 1;
        if !parcel.is_young(AGE_MAX, now) {
            return self.give_up(&parcel, now);
        }
        self.wait_again(parcel, now);
        Fate::Retried
    }

    /// Sends a parcel again after a pause of its own.
    pub(super) fn retry_later(&mut self, mut parcel: Parcel, now: Instant) -> Fate {
        parcel.failures += 1;
        let due = now + refusal_pause(parcel.failures, &mut self.rng);
        if !parcel.is_young(AGE_MAX, due) {
            return self.give_up(&parcel, now);
        }
        self.patient += usize::from(!parcel.is_hurried);
        self.retries.insert((due, parcel.number), parcel);
        Fate::Retried
    }

    pub(super) fn bring_back_due(&mut self, now: Instant) {
        while let Some(first) = self.retries.first_entry()
            && first.key().0 <= now
        {
            let parcel = first.remove();
            self.patient -= usize::from(!parcel.is_hurried);
            self.wait_again(parcel, now);
        }
    }

    /// After the endpoint took what it had refused: the rest that it refused need not wait either. Once for each parcel, because
    /// some may be refused whatever happens.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.patient == 0 {
            return;
        }
        self.patient = 0;
        for (due, mut parcel) in mem::take(&mut self.retries) {
            if mem::replace(&mut parcel.is_hurried, true) {
                self.retries.insert(due, parcel);
            } else {
                self.wait_again(parcel, now);
            }
        }
    }

    pub(super) fn give_up(&mut self, parcel: &Parcel, now: Instant) -> Fate {
        for event in parcel.events() {
            self.lost.expired.add(event.kind, 1);
        }
        self.finish(parcel, now);
        Fate::GivenUp
    }

    /// Forgets a parcel; its channels' later events may go.
    pub(super) fn finish(&mut self, parcel: &Parcel, now: Instant) {
        for events in parcel.by_channel() {
            let channel = &events[0].channel;
            let Some(lane) = self.lanes.get_mut(channel) else {
                continue;
            };
            let before = lane.ready();
            lane.unlock(events);
            events.iter().for_each(|event| self.release(event));
            self.settle(channel, before, now);
        }
    }
}
