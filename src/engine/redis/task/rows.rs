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
use crate::engine::channels::Key;

impl Task {
    pub(super) fn work_on(&mut self, link: &Link, key: Key) {
        let subscriptions = self.states.hub().app(&key.0).subscriptions(&key.1);
        let unsent = !self.outgoing.is_empty();
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
        if record.kind.cache && !record.synced && unsent {
            // An event on its way must not be overtaken by the question for the last event.
            self.enqueue_after(key, Duration::from_millis(1));
            return;
        }
        record.in_flight = true;
        let request = write::Request::of(record, subscriptions);
        let sent = request.sent();
        let parts = write::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
            epoch: self.epoch.clone(),
        };
        self.begin(async move {
            let result = write::write(link, parts, &key, request).await;
            Done::Wrote { key, sent, result }
        });
    }

    pub(super) fn enqueue_after(&mut self, key: Key, delay: Duration) {
        self.begin(async move {
            sleep(delay).await;
            Done::Later(key)
        });
    }

    pub(super) fn on_listened(&mut self, key: Key, result: RedisResult<()>) {
        if let Err(error) = result {
            return self.lose_link(&error);
        }
        if let Some(record) = self.records.get_mut(&key) {
            record.in_flight = false;
            record.listening = true;
            record.synced = false;
            self.enqueue(key);
        }
    }

    pub(super) fn on_written(&mut self, key: Key, sent: Sent, result: RedisResult<Written>) {
        let written = match result {
            Ok(Written::Rows(rows)) => rows,
            Ok(Written::Fenced) => return self.take_new_epoch("its rows were removed"),
            Err(error) => return self.lose_link(&error),
        };
        let now = Instant::now();
        let Some(record) = self.records.get_mut(&key) else {
            return;
        };
        record.in_flight = false;
        record.doubtful = false;
        record.registered = sent.subscriptions > 0 || !sent.users.is_empty();
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
            let lost = record.generation != 0 && record.generation != written.generation;
            if lost {
                record.keep_missing_until = Some(now + LOSS_GRACE);
            }
            let keep_missing = record.keep_missing_until.is_some_and(|until| now < until);
            record.generation = written.generation;
            record.sequence = written.sequence;
            record.synced = true;
            if record.kind.has_members() {
                self.states
                    .reconcile(&key, &snapshot.members, keep_missing, now);
            }
            if record.kind.cache {
                self.states.keep(&key, snapshot.cached, now);
            }
            let early = std::mem::take(&mut record.early);
            if keep_missing {
                // Once more when the others have had their time.
                self.enqueue_after_grace(&key, now);
            } else if let Some(record) = self.records.get_mut(&key) {
                record.keep_missing_until = None;
            }
            for edge in early {
                self.on_edge(&key, edge);
            }
        } else if record.generation != written.generation {
            record.synced = false;
        }
        if let Some(record) = self.records.get_mut(&key) {
            record.answer_written();
        }
        self.tell_count(&key);
        self.enqueue(key);
    }

    pub(super) fn enqueue_after_grace(&mut self, key: &Key, now: Instant) {
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
            Done::Later(key)
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
            let Some(record) = self.records.get(&key) else {
                continue;
            };
            if record.idle_since != Some(since) || !record.is_idle(subscriptions) {
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
