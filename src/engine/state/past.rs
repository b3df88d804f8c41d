//! Histories of channels: kept in one step with the delivery of each event, so that a new subscriber gets every event once.

use std::{sync::TryLockError, time::Instant};

use super::{
    ChannelState, State,
    history::{History, Past, Standing},
};
use crate::{
    app::Replay,
    engine::{CacheableEvent, ChannelKey, EventId, Listed, SharedState},
    hub::Change,
};

/// Whether this node's events of a channel are still needed once Redis has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The node listens to the channel.
    Stay,
    /// It does not.
    Go,
}

impl State {
    /// Adds the event to the channel's history and delivers it to this node's subscribers.
    pub fn record(&self, event: CacheableEvent<'_>, replay: Replay) {
        self.record_as(Standing::Settled, event, replay, || None);
    }

    /// As [`State::record`], for an event of this node that `send` brings on its way to the others: in the same step, so that it goes
    /// out in the order in which this node's subscribers see it. `send` returns which event it is.
    pub fn record_own(
        &self,
        event: CacheableEvent<'_>,
        replay: Replay,
        send: impl FnOnce() -> EventId,
    ) {
        self.record_as(Standing::UnderWay, event, replay, || Some(send()));
    }

    fn record_as(
        &self,
        standing: Standing,
        event: CacheableEvent<'_>,
        replay: Replay,
        send: impl FnOnce() -> Option<EventId>,
    ) {
        let mut state = self.channels.entry(event.key()).or_default();
        let past = past(&event, standing, send(), self.next_sequence());
        let number = past.number;
        self.history(&mut state, replay).add(past, replay);
        event.deliver(&self.hub, Change::Cache(number));
        drop(state);
        self.keep_within_budget();
    }

    /// As [`State::record`], for an event of another node. One that is known already goes to those who were here before it.
    pub fn record_others(&self, event: CacheableEvent<'_>, id: EventId, replay: Replay) {
        let mut state = self.channels.entry(event.key()).or_default();
        let history = self.history(&mut state, replay);
        let number = history.hear_again(id).unwrap_or_else(|| {
            let number = self.next_sequence();
            history.add(past(&event, Standing::Settled, Some(id), number), replay);
            number
        });
        event.deliver(&self.hub, Change::Cache(number));
        drop(state);
        self.keep_within_budget();
    }

    fn history<'a>(&self, state: &'a mut ChannelState, replay: Replay) -> &'a mut History {
        state
            .history
            .get_or_insert_with(|| Box::new(History::new(replay, &self.budget)))
    }

    fn change_history(&self, key: &ChannelKey, change: impl FnOnce(&mut History)) {
        if let Some(mut state) = self.channels.get_mut(key)
            && let Some(history) = &mut state.history
        {
            change(history);
        }
    }

    /// Redis has this node's events up to this one.
    pub fn settle_own(&self, key: &ChannelKey, id: EventId, own: Own) {
        self.change_history(key, |history| history.settle(id));
        if own == Own::Go {
            self.forget(key);
        }
    }

    /// Something of the channel may be missed from here on, until the next whole.
    pub fn doubt_history(&self, key: &ChannelKey) {
        self.change_history(key, History::doubt);
    }

    /// Takes the whole of a channel's shared state, as Redis has it, and announces every difference. `keeps_missing`: members who
    /// are missing in it stay. `knows_cached`: a newer cached event was heard since. `replay`: what of the past is kept.
    pub fn apply(
        &self,
        key: &ChannelKey,
        shared: SharedState,
        (keeps_missing, knows_cached): (bool, bool),
        replay: Option<Replay>,
        now: Instant,
    ) {
        let mut state = self.channels.entry(key.clone()).or_default();
        if key.kind.has_members() {
            self.apply_members(key, &mut state, &shared, keeps_missing, now);
        }
        if key.kind.cache && !knows_cached {
            self.keep(key, &mut state, shared.cached, now);
        }
        if let Some(replay) = replay {
            let listed = shared.past.into_iter();
            let listed = listed.map(|event| self.past_of(event, now)).collect();
            self.history(&mut state, replay).merge(listed);
        }
        drop(state);
        self.forget_needless(key);
        self.keep_within_budget();
    }

    fn past_of(&self, event: Listed, now: Instant) -> Past {
        Past {
            frame: event.frame,
            except: event.except,
            at: now.checked_sub(event.age).unwrap_or(now),
            id: Some(event.id),
            standing: Standing::Listed,
            number: self.next_sequence(),
        }
    }

    /// Forgets the histories of the channels silent for longest, while all together exceed the budget.
    fn keep_within_budget(&self) {
        if !self.budget.is_exceeded() {
            return;
        }
        let _turn = match self.making_room.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another thread is making room.
            Err(TryLockError::WouldBlock) => return,
        };
        let silent = self.channels.iter().filter_map(|state| {
            let last = state.history.as_ref()?.last();
            Some((last, state.key().clone()))
        });
        let mut silent: Vec<(Option<Instant>, ChannelKey)> = silent.collect();
        silent.sort_unstable_by_key(|(last, _)| *last);
        for (_, key) in silent {
            if !self.budget.is_nearly_exceeded() {
                return;
            }
            if let Some(mut state) = self.channels.get_mut(&key) {
                state.history = None;
            }
            self.forget_needless(&key);
        }
    }
}

/// The event as a history keeps it.
fn past(event: &CacheableEvent<'_>, standing: Standing, id: Option<EventId>, number: u64) -> Past {
    Past {
        frame: event.frame.clone(),
        except: event.except,
        at: event.at,
        id,
        standing,
        number,
    }
}
