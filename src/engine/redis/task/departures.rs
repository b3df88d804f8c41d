//! What the app's backend is told: arrivals at once, departures after a while, if their marks are still there. A mark stands in
//! Redis, so that a return on any node takes it away, and so that another node can take it over.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{RedisResult, Value, from_redis_value};

use super::{
    super::{lease::Reaped, record::Record},
    Done, Task,
};
use crate::{
    engine::{ChannelEdge, channels::Key},
    hub::Channel,
    protocol::{Access, ChannelKind},
};

/// Marks that wait. Over it they are claimed at once.
const WAITING_MAX: usize = 100_000;

/// What a mark stands for, as the scripts say it, and the mark.
type Mark = (String, String);

/// The marks that this node is to claim, and when.
#[derive(Default)]
pub(super) struct Departures {
    channels: HashMap<Key, Waiting>,
    timers: BTreeMap<(Instant, u64), Key>,
    count: usize,
    next_number: u64,
}

/// Those of one channel. One claim at a time, so that they are told in order.
#[derive(Default)]
struct Waiting {
    marks: Vec<(Instant, Mark)>,
    claiming: bool,
}

impl Departures {
    fn add(&mut self, key: &Key, mark: Mark, due: Instant) {
        self.next_number += 1;
        self.timers.insert((due, self.next_number), key.clone());
        let waiting = self.channels.entry(key.clone()).or_default();
        waiting.marks.push((due, mark));
        self.count += 1;
    }

    /// When the next mark may be due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// A channel with marks that are due, and is not being asked about.
    fn take_due(&mut self, now: Instant) -> Option<(Key, Vec<Mark>)> {
        while self.next_due().is_some_and(|due| due <= now) {
            let (_, key) = self.timers.pop_first()?;
            if let Some(marks) = self.take_due_of(&key, now) {
                return Some((key, marks));
            }
        }
        None
    }

    fn take_due_of(&mut self, key: &Key, now: Instant) -> Option<Vec<Mark>> {
        let waiting = self.channels.get_mut(key)?;
        if waiting.claiming {
            return None;
        }
        let due = waiting.marks.extract_if(.., |(due, _)| *due <= now);
        let due: Vec<Mark> = due.map(|(_, mark)| mark).collect();
        waiting.claiming = !due.is_empty();
        waiting.claiming.then_some(due)
    }

    /// So many of a channel were settled.
    fn settle(&mut self, key: &Key, settled: usize) {
        self.count = self.count.saturating_sub(settled);
        if let Some(waiting) = self.channels.get_mut(key) {
            waiting.claiming = false;
            if waiting.marks.is_empty() {
                self.channels.remove(key);
            }
        }
    }

    /// Has everything claimed now.
    pub(super) fn hurry(&mut self, now: Instant) {
        let keys: Vec<Key> = self.channels.keys().cloned().collect();
        for key in keys {
            if let Some(waiting) = self.channels.get_mut(&key) {
                waiting.marks.iter_mut().for_each(|(due, _)| *due = now);
            }
            self.next_number += 1;
            self.timers.insert((now, self.next_number), key);
        }
    }
}

impl Task {
    /// Tells what is true now.
    pub(super) fn tell_backend(&self, (app_id, name): &Key, told: &[String]) {
        for field in told {
            let edge = match field.split_at_checked(1) {
                Some(("c", _)) => ChannelEdge::Occupied,
                Some(("u", user_id)) => ChannelEdge::MemberAdded(user_id),
                Some(("n", count)) => ChannelEdge::Count(count.parse().unwrap_or_default()),
                Some(("s", sessions)) => {
                    let Ok((session, replaced)) =
                        serde_json::from_str::<(String, Vec<String>)>(sessions)
                    else {
                        continue;
                    };
                    let edge = ChannelEdge::SessionReplaced {
                        session: &session,
                        replaced: &replaced,
                    };
                    self.edges.tell(app_id, name, edge);
                    continue;
                }
                _ => continue,
            };
            self.edges.tell(app_id, name, edge);
        }
    }

    /// Tells which sessions were not let in.
    pub(super) fn tell_refused(&self, (app_id, name): &Key, refused: &HashSet<String>) {
        if ChannelKind::of(name).access == Access::Session {
            for session in refused {
                let edge = ChannelEdge::SessionRefused(session);
                self.edges.tell(app_id, name, edge);
            }
        }
    }

    /// Keeps marks until they are due.
    pub(super) fn await_departures(&mut self, key: &Key, pending: Vec<(String, String, u64)>) {
        if pending.is_empty() {
            return;
        }
        if let Some(record) = self.records.get_mut(key) {
            record.marks += pending.len();
        }
        let now = Instant::now();
        for (field, mark, wait_ms) in pending {
            let is_full = self.departures.count >= WAITING_MAX;
            let wait = Duration::from_millis(if is_full { 0 } else { wait_ms });
            self.departures.add(key, (field, mark), now + wait);
        }
    }

    /// Asks Redis about what is due.
    pub(super) fn claim_due(&mut self) {
        let now = Instant::now();
        while let Some((key, marks)) = self.departures.take_due(now) {
            self.claim(key, marks);
        }
    }

    fn claim(&self, key: Key, marks: Vec<Mark>) {
        let Some(mut link) = self.link.clone() else {
            return;
        };
        let (keys, scripts, epoch) = (
            self.keys.of_channel(&key),
            Arc::clone(&self.scripts),
            self.epoch.clone(),
        );
        self.begin(async move {
            let mut script = scripts.claim.prepare_invoke();
            for name in keys {
                script.key(name);
            }
            script.arg(link.publish_command()).arg(&epoch);
            for (field, mark) in &marks {
                script.arg(field).arg(mark);
            }
            let result = script.invoke_async(&mut link).await;
            Done::Claimed {
                key,
                epoch,
                marks,
                result,
            }
        });
    }

    pub(super) fn on_claimed(
        &mut self,
        key: &Key,
        epoch: &str,
        marks: &[Mark],
        result: RedisResult<Vec<i64>>,
    ) {
        let still = match result {
            Ok(still) => still,
            Err(error) => return self.lose_link(&error),
        };
        for ((field, _), subscriptions) in marks.iter().zip(still) {
            let Ok(subscriptions) = usize::try_from(subscriptions) else {
                continue;
            };
            let edge = match field.split_at_checked(1) {
                Some(("c", _)) => ChannelEdge::Vacated,
                Some(("u", user_id)) => ChannelEdge::MemberRemoved(user_id),
                _ => ChannelEdge::Count(subscriptions),
            };
            self.edges.tell(&key.0, &key.1, edge);
        }
        if epoch != self.epoch {
            // The rest has passed to the new name.
            return;
        }
        self.departures.settle(key, marks.len());
        if let Some(record) = self.records.get_mut(key) {
            record.marks = record.marks.saturating_sub(marks.len());
        }
        self.enqueue(key.clone());
        if let Some(marks) = self.departures.take_due_of(key, Instant::now()) {
            self.claim(key.clone(), marks);
        }
    }

    /// What a dead node had yet to tell is this node's now.
    pub(super) fn inherit(&mut self, evicted: Vec<Reaped>) {
        for Reaped { key, told, pending } in evicted {
            self.tell_backend(&key, &told);
            if pending.is_empty() {
                continue;
            }
            let record = self
                .records
                .entry(key.clone())
                .or_insert_with(|| Record::new(ChannelKind::of(&key.1)));
            record.registered = true;
            record.bears_name = true;
            record.idle_since = None;
            self.await_departures(&key, pending);
        }
    }

    /// A subscriber was told that nothing is cached.
    pub(super) fn miss(&self, channel: &Channel) {
        let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
        let Some(mut link) = self.link.clone() else {
            return;
        };
        if !self.edges.heard(&key.0, &key.1).misses {
            return;
        }
        let [cache, _, missed] = self.keys.cache(&key);
        let scripts = Arc::clone(&self.scripts);
        self.begin(async move {
            let mut script = scripts.miss.key(cache);
            let result: RedisResult<Value> = script.key(missed).invoke_async(&mut link).await;
            let result = result.and_then(|first| Ok(from_redis_value(first)?));
            Done::Missed { key, result }
        });
    }
}
