//! Questions from outside the core: a bounded number at a time, each with a deadline.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Core, Effect, Effects,
    call::{Answer, Call, CallError, CallId, Query},
};
use crate::engine::Unavailable;

/// Questions under way.
const UNDER_WAY_MAX: usize = 64;
/// Questions that wait; more are refused.
const WAITING_MAX: usize = 4096;
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked.
pub(super) struct Queries<T> {
    waiting: VecDeque<(Query, T, Instant)>,
    under_way: BTreeMap<CallId, (T, Instant)>,
}

impl<T> Default for Queries<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: BTreeMap::new(),
        }
    }
}

impl<T> Queries<T> {
    /// The link is lost.
    pub(super) fn refuse_all(&mut self, out: &mut Effects<T>) {
        let waiting = self.waiting.drain(..).map(|(_, reply, _)| reply);
        let under_way = std::mem::take(&mut self.under_way).into_values();
        let under_way = under_way.map(|(reply, _)| reply);
        out.extend(waiting.chain(under_way).map(refusal));
    }

    /// Refuses those who have waited too long.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Effects<T>) {
        let is_late = |since: Instant| now.duration_since(since) >= PATIENCE;
        while self
            .waiting
            .front()
            .is_some_and(|(.., since)| is_late(*since))
        {
            out.extend(self.waiting.pop_front().map(|(_, reply, _)| refusal(reply)));
        }
        // Asked in the order of their ids.
        while self
            .under_way
            .first_key_value()
            .is_some_and(|(_, (_, since))| is_late(*since))
        {
            out.extend(
                self.under_way
                    .pop_first()
                    .map(|(_, (reply, _))| refusal(reply)),
            );
        }
    }
}

fn refusal<T>(reply: T) -> Effect<T> {
    Effect::Answer(reply, Err(Unavailable))
}

impl<T> Core<T> {
    pub(super) fn on_query(&mut self, query: Query, reply: T, now: Instant, out: &mut Effects<T>) {
        if self.link.is_down() || self.queries.waiting.len() >= WAITING_MAX {
            out.push(refusal(reply));
        } else {
            self.queries.waiting.push_back((query, reply, now));
        }
    }

    pub(super) fn send_queries(&mut self, now: Instant, out: &mut Effects<T>) {
        while self.queries.under_way.len() < UNDER_WAY_MAX {
            let Some((query, reply, since)) = self.queries.waiting.pop_front() else {
                return;
            };
            let call = Call::Query(query, Arc::clone(&self.membership.epoch));
            let id = self.call(call, 1, now, out);
            self.queries.under_way.insert(id, (reply, since));
        }
    }

    pub(super) fn on_query_answer(
        &mut self,
        id: CallId,
        result: Result<Answer, CallError>,
        out: &mut Effects<T>,
    ) {
        let Some((reply, _)) = self.queries.under_way.remove(&id) else {
            return;
        };
        let answer = match result {
            Ok(Answer::Query(answer)) => Ok(answer),
            _ => Err(Unavailable),
        };
        out.push(Effect::Answer(reply, answer));
    }
}
