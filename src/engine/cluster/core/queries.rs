//! Questions from outside the core: a bounded number at a time, each with a deadline.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BUCKETS, Core, Effect, Effects,
    call::{Answer, Call, CallError, CallId, Query},
    turns::Turns,
};
use crate::engine::Unavailable;

/// Questions under way that are a few commands each.
const QUICK_MAX: usize = 64;
/// Listings under way: one of 100,000 channels is 27 ms of Redis.
const LISTINGS_MAX: usize = 2;
/// Questions of each kind that wait; more are refused, except the first of an app.
const WAITING_MAX: usize = 4096;
/// So many of an app may wait even when other apps have used up the rest.
const OF_APP_MIN: usize = 16;
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked.
pub(super) struct Queries<T> {
    quick: Kind<T>,
    listings: Kind<T>,
    /// Whose answers are still waited for; some have waited too long.
    under_way: BTreeMap<CallId, Asked<T>>,
}

/// Questions of one kind; apps take turns.
struct Kind<T> {
    waiting: Turns<Arc<str>, (Query, Asked<T>)>,
    under_way: usize,
    under_way_max: usize,
}

/// Who asked, and when.
struct Asked<T> {
    reply: T,
    since: Instant,
}

impl<T> Default for Queries<T> {
    fn default() -> Self {
        Self {
            quick: Kind::new(QUICK_MAX),
            listings: Kind::new(LISTINGS_MAX),
            under_way: BTreeMap::new(),
        }
    }
}

impl<T> Kind<T> {
    fn new(under_way_max: usize) -> Self {
        Self {
            waiting: Turns::default(),
            under_way: 0,
            under_way_max,
        }
    }

    fn has_room(&self, app_id: &Arc<str>) -> bool {
        self.waiting.len() < WAITING_MAX || self.waiting.len_of(app_id) < OF_APP_MIN
    }
}

impl<T> Queries<T> {
    fn kind(&mut self, query: &Query) -> &mut Kind<T> {
        match query {
            Query::Occupied(..) => &mut self.listings,
            _ => &mut self.quick,
        }
    }

    /// The next question that may be asked.
    fn next(&mut self) -> Option<(Query, Asked<T>)> {
        [&mut self.quick, &mut self.listings]
            .into_iter()
            .filter(|kind| kind.under_way < kind.under_way_max)
            .find_map(|kind| {
                let next = kind.waiting.pop();
                kind.under_way += usize::from(next.is_some());
                next
            })
    }

    /// The link is lost.
    pub(super) fn refuse_all(&mut self, out: &mut Effects<T>) {
        let all = std::mem::take(self);
        for mut kind in [all.quick, all.listings] {
            let waiting = std::iter::from_fn(|| kind.waiting.pop());
            out.extend(waiting.map(|(_, asked)| refusal(asked.reply)));
        }
        out.extend(
            all.under_way
                .into_values()
                .map(|asked| refusal(asked.reply)),
        );
    }

    /// Refuses those who have waited too long.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Effects<T>) {
        let is_late = |asked: &Asked<T>| now.duration_since(asked.since) >= PATIENCE;
        for kind in [&mut self.quick, &mut self.listings] {
            let late = kind.waiting.take_first(|(_, asked)| is_late(asked));
            out.extend(late.into_iter().map(|(_, asked)| refusal(asked.reply)));
        }
        let late = self.under_way.iter().filter(|(_, asked)| is_late(asked));
        let late: Vec<CallId> = late.map(|(id, _)| *id).collect();
        for id in late {
            let asked = self.under_way.remove(&id);
            out.extend(asked.map(|asked| refusal(asked.reply)));
        }
    }
}

fn refusal<T>(reply: T) -> Effect<T> {
    Effect::Answer(reply, Err(Unavailable))
}

/// How many commands it is.
fn weight(query: &Query) -> u32 {
    match query {
        Query::Occupied(_, _, wants_users) => u32::from(BUCKETS) * (1 + u32::from(*wants_users)),
        Query::Channel(_, wants_cached) => 2 * (1 + u32::from(*wants_cached)),
        _ => 1,
    }
}

/// Whose turn it takes. What concerns no app is the node's own.
fn app_of(query: &Query) -> Arc<str> {
    match query {
        Query::Channel(key, _) | Query::Users(key) => Arc::clone(&key.app_id),
        Query::Occupied(app_id, ..) => Arc::clone(app_id),
        _ => "".into(),
    }
}

impl<T> Core<T> {
    pub(super) fn on_query(&mut self, query: Query, reply: T, now: Instant, out: &mut Effects<T>) {
        let (app_id, is_down) = (app_of(&query), self.link.is_down());
        let kind = self.queries.kind(&query);
        if is_down || !kind.has_room(&app_id) {
            out.push(refusal(reply));
        } else {
            let asked = Asked { reply, since: now };
            kind.waiting.push(app_id, (query, asked));
        }
    }

    /// Asks as much as there is room for.
    pub(super) fn send_queries(&mut self, now: Instant, out: &mut Effects<T>) {
        while self.calls.has_room_for_joins()
            && let Some((query, asked)) = self.queries.next()
        {
            let weight = weight(&query);
            let call = Call::Query(query, Arc::clone(&self.membership.epoch));
            let id = self.call(call, weight, now, out);
            self.queries.under_way.insert(id, asked);
        }
    }

    pub(super) fn on_query_answer(
        &mut self,
        id: CallId,
        query: &Query,
        result: Result<Answer, CallError>,
        out: &mut Effects<T>,
    ) {
        self.queries.kind(query).under_way -= 1;
        let Some(asked) = self.queries.under_way.remove(&id) else {
            return;
        };
        let answer = match result {
            Ok(Answer::Query(answer)) => Ok(answer),
            _ => Err(Unavailable),
        };
        out.push(Effect::Answer(asked.reply, answer));
    }
}
