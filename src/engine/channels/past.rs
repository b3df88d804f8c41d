//! Histories of channels: kept in one step with the delivery of each event, so that whoever subscribes is told every event once.

use std::{
    sync::TryLockError,
    time::{Duration, Instant},
};

use super::{ChannelStates, Key, State};
use crate::{
    app::Replay,
    engine::{
        CacheableEvent,
        history::{EventId, History, Past, Standing},
    },
    hub::Change,
    protocol::{Frame, SocketId},
};

/// An event that another node sent, as Redis has it.
pub(in crate::engine) struct Listed {
    pub(in crate::engine) id: EventId,
    pub(in crate::engine) except: Option<SocketId>,
    pub(in crate::engine) frame: Frame,
    /// Since it was published.
    pub(in crate::engine) age: Duration,
}

impl ChannelStates {
    /// Adds the event to the channel's history and delivers it to this node's subscribers.
    pub fn record(&self, event: CacheableEvent<'_>, replay: Replay) {
        self.record_as(Standing::Settled, event, replay, || {});
    }

    /// As [`ChannelStates::record`], for an event of this node that `send` brings on its way to the others: in the same step, so
    /// that it goes out in the order in which this node's subscribers see it.
    pub fn record_own(&self, event: CacheableEvent<'_>, replay: Replay, send: impl FnOnce()) {
        self.record_as(Standing::UnderWay, event, replay, send);
    }

    fn record_as(
        &self,
        standing: Standing,
        event: CacheableEvent<'_>,
        replay: Replay,
        send: impl FnOnce(),
    ) {
        let mut state = self.channels.entry(event.key()).or_default();
        let past = past(&event, standing, None, self.next_sequence());
        let number = past.number;
        self.history(&mut state, replay).add(past, replay);
        event.deliver(&self.hub, Change::Cache(number));
        send();
        drop(state);
        self.keep_within_budget();
    }

    /// As [`ChannelStates::record`], for an event of another node. One that is known already goes to those who were here before it.
    pub(in crate::engine) fn record_others(
        &self,
        event: CacheableEvent<'_>,
        id: EventId,
        replay: Replay,
    ) {
        let mut state = self.channels.entry(event.key()).or_default();
        let history = self.history(&mut state, replay);
        let number = history.number_of(id).unwrap_or_else(|| {
            let number = self.next_sequence();
            history.add(past(&event, Standing::Settled, Some(id), number), replay);
            number
        });
        event.deliver(&self.hub, Change::Cache(number));
        drop(state);
        self.keep_within_budget();
    }

    fn history<'a>(&self, state: &'a mut State, replay: Replay) -> &'a mut History {
        state
            .history
            .get_or_insert_with(|| Box::new(History::new(replay, &self.budget)))
    }

    fn change_history(&self, key: &Key, change: impl FnOnce(&mut History)) {
        if let Some(mut state) = self.channels.get_mut(key)
            && let Some(history) = &mut state.history
        {
            change(history);
        }
    }

    /// Notes the number of this node's next event of the channel in the order of sending.
    pub(in crate::engine) fn name_own(&self, key: &Key, id: EventId) {
        self.change_history(key, |history| history.name_next(id));
    }

    /// Redis has this node's events up to this one. If the node does not listen to the channel, it needs them no more.
    pub(in crate::engine) fn settle_own(&self, key: &Key, id: EventId, listens: bool) {
        self.change_history(key, |history| history.settle(id));
        if !listens {
            self.forget(key);
        }
    }

    /// Something of the channel may be missed from here on, until [`ChannelStates::merge_history`].
    pub(in crate::engine) fn doubt_history(&self, key: &Key) {
        self.change_history(key, History::doubt);
    }

    /// Takes what Redis has of the channel's past.
    pub(in crate::engine) fn merge_history(
        &self,
        key: &Key,
        listed: Vec<Listed>,
        replay: Replay,
        now: Instant,
    ) {
        let mut state = self.channels.entry(key.clone()).or_default();
        let listed = listed.into_iter().map(|event| Past {
            frame: event.frame,
            except: event.except,
            at: now.checked_sub(event.age).unwrap_or(now),
            id: Some(event.id),
            standing: Standing::Settled,
            number: self.next_sequence(),
        });
        self.history(&mut state, replay).merge(listed.collect());
        drop(state);
        self.forget_needless(key);
        self.keep_within_budget();
    }

    /// Forgets the histories of the channels that were silent for longest, if all together take more than they may.
    fn keep_within_budget(&self) {
        if !self.budget.is_exceeded() {
            return;
        }
        let _turn = match self.making_room.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another thread is at it.
            Err(TryLockError::WouldBlock) => return,
        };
        let silent = self.channels.iter().filter_map(|state| {
            let last = state.history.as_ref()?.last();
            Some((last, state.key().clone()))
        });
        let mut silent: Vec<(Option<Instant>, Key)> = silent.collect();
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
