//! Calls to Redis that are under way, and which are made first: the lease, publishes, joins, then leaves and repairs.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::{
    ANSWER_PATIENCE, Core, Effect, Effects,
    bucket::{BucketId, Ready, Registration},
    call::{Answer, Call, CallError, CallId},
    turns::Turns,
};

/// Commands under way at most; a batch counts as many as it has channels. The rest waits here, where it can be ordered,
/// and not at Redis: at about 5 µs each, what is published now is held up by less than 3 ms.
const IN_FLIGHT_MAX: u32 = 512;
/// The largest weight of one call.
const WEIGHT_MAX: u32 = 128;
/// What the lease and the removal of dead nodes take besides.
const HOUSE_MAX: u32 = 16;
/// Commands under way above which nothing is begun that a client waits for.
const JOINS_MAX: u32 = IN_FLIGHT_MAX - HOUSE_MAX - WEIGHT_MAX;
/// Commands under way above which nothing is begun that no client waits for.
const REST_MAX: u32 = IN_FLIGHT_MAX / 2 - WEIGHT_MAX;

/// Calls under way and buckets that wait for their turn.
#[derive(Default)]
pub(super) struct Calls {
    under_way: BTreeMap<CallId, UnderWay>,
    weight: u32,
    next: u64,
    joins: Turns<Arc<str>, BucketId>,
    rest: Turns<Arc<str>, BucketId>,
}

struct UnderWay {
    call: Call,
    weight: u32,
    sent: Instant,
}

impl Calls {
    /// Commands under way.
    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    /// When the oldest call was sent that is not answered.
    fn oldest(&self) -> Option<Instant> {
        self.under_way
            .first_key_value()
            .map(|(_, oldest)| oldest.sent)
    }

    fn begin(&mut self, call: Call, weight: u32, sent: Instant) -> CallId {
        self.next += 1;
        self.weight += weight;
        let id = CallId(self.next);
        self.under_way.insert(id, UnderWay { call, weight, sent });
        id
    }

    fn end(&mut self, id: CallId) -> Option<Call> {
        let UnderWay { call, weight, .. } = self.under_way.remove(&id)?;
        self.weight -= weight;
        Some(call)
    }

    /// Everything that was under way, in the order of sending: the link is lost.
    pub(super) fn take_all(&mut self) -> Vec<Call> {
        self.weight = 0;
        let lost = std::mem::take(&mut self.under_way).into_values();
        lost.map(|lost| lost.call).collect()
    }

    /// Forgets whose turn it is.
    pub(super) fn clear_turns(&mut self) {
        self.joins = Turns::default();
        self.rest = Turns::default();
    }

    /// Whether there is room for calls that no client waits for.
    pub(super) fn has_room_for_rest(&self) -> bool {
        self.room(Ready::Rest)
    }

    /// Whether there is room for one more call that clients or backends wait for.
    pub(super) fn has_room_for_joins(&self) -> bool {
        self.room(Ready::Joins)
    }

    fn room(&self, lane: Ready) -> bool {
        match lane {
            Ready::Joins => self.weight < JOINS_MAX,
            Ready::Rest => self.weight < REST_MAX,
            Ready::No => false,
        }
    }

    fn lane(&mut self, lane: Ready) -> Option<&mut Turns<Arc<str>, BucketId>> {
        match lane {
            Ready::Joins => Some(&mut self.joins),
            Ready::Rest => Some(&mut self.rest),
            Ready::No => None,
        }
    }
}

impl<T> Core<T> {
    /// Makes a call.
    pub(super) fn call(
        &mut self,
        call: Call,
        weight: u32,
        now: Instant,
        out: &mut Effects<T>,
    ) -> CallId {
        let id = self.calls.begin(call.clone(), weight, now);
        out.push(Effect::Call(id, call));
        id
    }

    pub(super) fn on_answer(
        &mut self,
        id: CallId,
        result: Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        // An answer of an earlier link is void.
        let Some(call) = self.calls.end(id) else {
            return;
        };
        let result = match result {
            Err(CallError::LinkLost(reason)) => {
                self.on_lost_call(call);
                return self.lose_link(&reason, now, out);
            }
            result => result,
        };
        match (call, result) {
            (Call::ListenAsNode, result) => self.on_listening_as_node(&result, now, out),
            (Call::Listen(bucket, names), result) => {
                self.on_listening(&bucket, &names, &result, now, out);
            }
            (Call::Write(batch), result) => {
                let result = result.and_then(|answer| match answer {
                    Answer::Written(written) => Ok(written),
                    _ => Err(senseless()),
                });
                let bucket = &batch.bucket;
                if let Some(id) = self.buckets.find(&bucket.app_id, bucket.number) {
                    self.on_written(id, result, now, out);
                }
            }
            (Call::Publish(_), result) => self.on_published(result, now, out),
            (Call::Lease(request), result) => self.on_lease(&request, result, now, out),
            (Call::Register(epoch, buckets), result) => {
                self.on_registered(&epoch, &buckets, &result, now, out);
            }
            (Call::Buckets(dead), result) => self.on_buckets(&dead, result, now, out),
            (Call::Forget(epoch, buckets), _) => self.on_forgotten(&epoch, &buckets, now, out),
            (Call::Resign(..), result) => self.on_resigned(&result, now),
            (Call::Query(query, _), result) => self.on_query_answer(id, &query, result, out),
            (Call::Unlisten(..) | Call::Bury(_), _) => {}
        }
    }

    /// Gives the link up when Redis has owed an answer for too long.
    pub(super) fn check_silence(&mut self, now: Instant, out: &mut Effects<T>) {
        if self.silence_ends().is_some_and(|end| end <= now) {
            self.lose_link("no answer in time", now, out);
        }
    }

    /// When Redis has owed an answer for too long.
    pub(super) fn silence_ends(&self) -> Option<Instant> {
        self.calls.oldest().map(|sent| sent + ANSWER_PATIENCE)
    }

    /// Puts the bucket where it gets its turn, if anything can be done for it.
    pub(super) fn make_ready(&mut self, id: BucketId) {
        let may_write = self.may_write(id);
        let Some(bucket) = self.buckets.get_mut(id) else {
            return;
        };
        let has_rows = bucket.stored.acked > 0;
        let registration = bucket.stored.registration;
        let may_ask = matches!(registration, Registration::No | Registration::Doubted);
        if may_ask && (has_rows || bucket.has_batch()) {
            bucket.stored.registration = Registration::Asked;
            self.membership.to_register.push(id);
        }
        let lane = bucket.lane(may_write);
        let app_id = Arc::clone(&bucket.name.app_id);
        let goes_up = bucket.ready == Ready::No || lane == Ready::Joins;
        if bucket.ready != lane && goes_up {
            bucket.ready = lane;
            if let Some(turns) = self.calls.lane(lane) {
                turns.push(app_id, id);
            }
        }
    }

    /// Gives apps their turns, and each app's buckets, as long as there is room for more calls.
    pub(super) fn take_turns(&mut self, now: Instant, out: &mut Effects<T>) {
        for lane in [Ready::Joins, Ready::Rest] {
            while self.calls.room(lane) {
                let Some(id) = self.calls.lane(lane).and_then(Turns::pop) else {
                    break;
                };
                let Some(bucket) = self.buckets.get_mut(id) else {
                    continue;
                };
                if bucket.ready != lane {
                    // It has moved up since.
                    continue;
                }
                bucket.ready = Ready::No;
                self.send_listens(id, now, out);
                if self.may_write(id) && self.calls.room(lane) {
                    self.send_batch(id, now, out);
                }
                self.make_ready(id);
            }
        }
    }
}

/// The reply does not fit the call.
pub(super) fn senseless() -> CallError {
    CallError::Refused("Redis gave another kind of answer than expected".to_owned())
}
