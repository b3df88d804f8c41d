//! A channel's rows: what is written when, what came of it, and when nobody needs them any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::RedisResult;
use tokio::time::sleep;

use super::{
    super::{
        link::Link,
        record::{Sent, Stage},
        write::{self, Written},
    },
    Done, LINGER, LOSS_GRACE, Task,
};
use crate::{engine::channels::Key, protocol::Access};

impl Task {
    pub(super) fn work_on(&mut self, link: &Link, key: Key) {
        let subscriptions = self.states.hub().app(&key.0).subscriptions(&key.1);
        let Some(record) = self.records.get_mut(&key) else {
            return;
        };
        record.queued = false;
        if record.in_flight {
            // Queued again when it is back.
            return;
        }
        if !record.is_out_of_date(subscriptions) {
            if record.is_idle(subscriptions) && record.idle_since.is_none() {
                let now = Instant::now();
                record.idle_since = Some(now);
                self.idle.push_back((now, key));
            }
            return;
        }
        let mut link = link.clone();
        if !record.listening {
            record.in_flight = true;
            let topic = self.keys.topic(&key);
            self.begin(async move {
                let result = link.subscribe(&topic).await;
                Done::Listened { key, result }
            });
            return;
        }
        record.in_flight = true;
        if let Some(id) = record.settled.take() {
            // Redis has it before it is asked.
            self.states.settle_own(&key, id, true);
        }
        let request = write::Request::of(record, subscriptions);
        let sent = request.sent();
        let parts = write::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
            epoch: self.epoch.clone(),
            heard: self.edges.heard(&key.0, &key.1),
        };
        let epoch = self.epoch.clone();
        self.begin(async move {
            let result = write::write(link, parts, &key, request).await;
            Done::Wrote {
                key,
                epoch,
                sent,
                result,
            }
        });
    }

    pub(super) fn on_listened(&mut self, key: Key, result: RedisResult<()>) {
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        self.unheard = self.unheard.saturating_sub(1);
        if let Some(record) = self.records.get_mut(&key) {
            record.in_flight = false;
            record.listening = true;
            record.synced = false;
            record.heard_cached = false;
            self.enqueue(key);
        }
    }

    pub(super) fn on_written(
        &mut self,
        key: Key,
        epoch: &str,
        sent: Sent,
        result: RedisResult<Written>,
    ) {
        if let Some(record) = self.records.get_mut(&key) {
            record.in_flight = false;
            record.leaving.clear();
        }
        let written = match result {
            // Written under a name that the node has no more: everything is written again.
            Ok(_) if epoch != self.epoch => return self.enqueue(key),
            Ok(Written::Rows(rows)) => rows,
            Ok(Written::Fenced) => {
                return self.take_new_epoch("its rows or its lease were removed");
            }
            Err(error) => return self.lose_link(&error),
        };
        let now = Instant::now();
        let Some(record) = self.records.get_mut(&key) else {
            return;
        };
        record.former.clear();
        record.doubtful &= !sent.whole;
        record.registered = !written.is_off_list;
        record.sent.clear();
        record.unsure.clear();
        record.written = sent;
        record
            .written
            .users
            .retain(|user_id| !written.refused.contains(&**user_id));
        record.refuse_full(&written.refused);
        for waiter in &mut record.waiting {
            if waiter.stage == Stage::Sent {
                waiter.stage = Stage::Written(written.sequence);
            }
        }
        if let Some(snapshot) = written.snapshot {
            let is_another = record.generation != 0 && record.generation != written.generation;
            if std::mem::take(&mut record.suspects_loss) || is_another {
                record.keep_missing_until = Some(now + LOSS_GRACE);
            }
            let keep_missing = record.keeps_missing(now);
            record.generation = written.generation;
            record.sequence = written.sequence;
            record.synced = true;
            if record.kind.has_members() {
                self.states
                    .reconcile(&key, &snapshot.members, keep_missing, now);
            }
            if record.kind.access == Access::Session
                && let Some(newest) = &snapshot.newest
            {
                self.states.name_newest(&key, newest);
            }
            if record.kind.cache && !record.heard_cached {
                self.states.keep(&key, snapshot.cached, now);
            }
            if let Some(replay) = record.replay {
                self.states.merge_history(&key, snapshot.past, replay, now);
            }
            let early = std::mem::take(&mut record.early);
            if keep_missing {
                // Once more when the others have had their time.
                self.look_again_after_grace(&key, now);
            } else if let Some(record) = self.records.get_mut(&key) {
                record.keep_missing_until = None;
            }
            for edge in early {
                self.on_edge(&key, edge);
            }
        }
        if let Some(record) = self.records.get_mut(&key) {
            if let Some(id) = record.settled.take() {
                self.states.settle_own(&key, id, true);
            }
            record.answer_written();
        }
        self.tell_count(&key);
        self.tell_backend(&key, &written.told);
        self.tell_refused(&key, &written.refused);
        self.await_departures(&key, written.pending);
        self.enqueue(key);
    }

    pub(super) fn on_grace_over(&mut self, key: Key) {
        let now = Instant::now();
        if let Some(record) = self.records.get_mut(&key)
            && record.keep_missing_until.is_some()
            && !record.keeps_missing(now)
        {
            record.synced = false;
            self.enqueue(key);
        }
    }

    pub(super) fn look_again_after_grace(&mut self, key: &Key, now: Instant) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let Some(until) = record.keep_missing_until else {
            return;
        };
        let key = key.clone();
        let wait = until.saturating_duration_since(now) + Duration::from_millis(50);
        self.begin(async move {
            sleep(wait).await;
            Done::GraceOver(key)
        });
    }

    /// Stops listening to channels that nobody has come back to.
    pub(super) fn forget_idle(&mut self) {
        let now = Instant::now();
        while let Some((since, _)) = self.idle.front() {
            if now.duration_since(*since) < LINGER {
                return;
            }
            let Some((since, key)) = self.idle.pop_front() else {
                return;
            };
            let subscriptions = self.states.hub().app(&key.0).subscriptions(&key.1);
            let Some(record) = self.records.get_mut(&key) else {
                continue;
            };
            if record.idle_since != Some(since) {
                continue;
            }
            if !record.is_idle(subscriptions) {
                // It will be, when it is written.
                record.idle_since = None;
                continue;
            }
            let was_listening = record.listening;
            self.records.remove(&key);
            self.states.forget(&key);
            if let Some(mut link) = self.link.clone().filter(|_| was_listening) {
                let topic = self.keys.topic(&key);
                self.begin(async move {
                    Done::Silenced {
                        result: link.unsubscribe(&topic).await,
                    }
                });
            }
        }
    }
}
