//! One channel's rows on their way to Redis, and the snapshot on its way back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join;
use redis::{AsyncCommands, ErrorKind, RedisError, RedisResult, Value, from_redis_value};

use super::{
    envelope::Envelope,
    keys::Keys,
    link::Link,
    record::{Record, Sent, Stage},
    scripts::Scripts,
};
use crate::{
    engine::{
        Heard,
        channels::{Key, Listed},
    },
    protocol::{Frame, SocketId},
};

/// Digits of the time before an event of a history.
const STAMP_DIGITS: usize = 15;

/// What every write needs.
pub(super) struct Parts {
    pub(super) keys: Keys,
    pub(super) scripts: Arc<Scripts>,
    pub(super) epoch: String,
    pub(super) heard: Heard,
}

/// What Redis is to be told of one channel.
pub(super) struct Request {
    subscriptions: usize,
    /// `None`: no limit, because there are no members.
    max_members: Option<usize>,
    /// Whether seats of this node that are not named are to go.
    whole: bool,
    wants_snapshot: bool,
    wants_past: bool,
    tells_count: bool,
    registers: bool,
    arriving: Vec<(Arc<str>, Arc<str>)>,
    /// How many of those, from the first, are seated already: the limit was kept when they entered.
    seated: usize,
    departing: Vec<Arc<str>>,
    /// Names under which the node may still have rows.
    former: Vec<String>,
    /// The generation that was known last; 0: none.
    generation: u64,
    /// Whether Redis knew of subscribers here.
    was_occupied: bool,
    /// Whether departures wait for which the node must stay on its list of rows.
    keeps_row: bool,
    unsure: Vec<String>,
    users: HashSet<Arc<str>>,
}

/// What came of it.
pub(super) enum Written {
    Rows(Box<Rows>),
    /// The node's rows were removed, or its lease is gone: it counts as dead under this name.
    Fenced,
}

pub(super) struct Rows {
    pub(super) generation: u64,
    pub(super) sequence: u64,
    pub(super) refused: HashSet<String>,
    pub(super) snapshot: Option<Whole>,
    /// Whether the node's list of rows does not name the channel any more.
    pub(super) is_off_list: bool,
    pub(super) told: Vec<String>,
    pub(super) pending: Vec<(String, String, u64)>,
}

/// The channel's state as Redis has it.
pub(super) struct Whole {
    pub(super) members: HashMap<Arc<str>, Arc<str>>,
    /// The user who came last.
    pub(super) newest: Option<Arc<str>>,
    pub(super) cached: Option<(Frame, Duration)>,
    /// Of a channel that shows its past.
    pub(super) past: Vec<Listed>,
}

impl Request {
    /// What differs between what the record wants and what was written. Its queued waiters count as sent from here on.
    pub(super) fn of(record: &mut Record, subscriptions: usize) -> Self {
        let whole = record.doubtful;
        let waiting: HashSet<SocketId> = if record.kind.has_members() {
            record.waiting.iter().map(|waiter| waiter.socket).collect()
        } else {
            HashSet::new()
        };
        let (mut arriving, newcomers): (Vec<_>, Vec<_>) = record
            .users
            .iter()
            .filter(|(user_id, _)| whole || !record.written.users.contains(*user_id))
            .partition(|(_, row)| row.sockets.iter().any(|socket| !waiting.contains(socket)));
        let seated = arriving.len();
        arriving.extend(newcomers);
        let arriving = arriving
            .into_iter()
            .map(|(user_id, row)| (Arc::clone(user_id), Arc::clone(&row.info)))
            .collect();
        let departing: Vec<Arc<str>> = record
            .written
            .users
            .iter()
            .filter(|user_id| !record.users.contains_key(*user_id))
            .cloned()
            .collect();
        record.leaving.clone_from(&departing);
        record.bears_name = true;
        record.note_sent(subscriptions);
        for waiter in &mut record.waiting {
            if waiter.stage == Stage::Queued {
                waiter.stage = Stage::Sent;
            }
        }
        Self {
            subscriptions,
            max_members: record.kind.has_members().then_some(record.max_members),
            whole,
            wants_snapshot: !record.synced,
            wants_past: !record.synced && record.replay.is_some(),
            tells_count: record.tells_count,
            registers: !record.registered && (subscriptions > 0 || !record.users.is_empty()),
            arriving,
            seated,
            departing,
            former: record.former.clone(),
            generation: record.generation,
            was_occupied: record.written.subscriptions > 0,
            keeps_row: record.marks > 0,
            unsure: record.unsure.iter().cloned().collect(),
            users: record.users.keys().cloned().collect(),
        }
    }

    pub(super) fn sent(&self) -> Sent {
        Sent {
            subscriptions: self.subscriptions,
            users: self.users.clone(),
            whole: self.whole,
        }
    }

    fn is_last(&self) -> bool {
        self.subscriptions == 0 && self.users.is_empty()
    }
}

/// How a channel stands in a node's list of rows.
pub(super) fn row_name(key: &Key) -> String {
    format!("{}:{}", key.0, key.1)
}

/// Writes the rows. The node's list that leads to them is written first and removed last, so that no row is ever without. The
/// index is written after them: whoever takes the channel off sees the rows, or this comes later ([`take_off_index`]).
pub(super) async fn write(
    mut link: Link,
    parts: Parts,
    key: &Key,
    request: Request,
) -> RedisResult<Written> {
    let Parts {
        keys,
        scripts,
        epoch,
        heard,
    } = parts;
    if request.registers && !register(&link, &keys, &epoch, key).await? {
        return Ok(Written::Fenced);
    }
    let mut script = scripts.assert.prepare_invoke();
    for name in keys.of_channel(key) {
        script.key(name);
    }
    let flag = |set: bool| if set { "1" } else { "0" };
    script
        .arg(link.publish_command())
        .arg(&epoch)
        .arg(request.subscriptions)
        .arg(
            request
                .max_members
                .map_or(-1, |max| i64::try_from(max).unwrap_or(-1)),
        )
        .arg(flag(request.whole))
        .arg(flag(request.wants_snapshot))
        .arg(flag(request.tells_count))
        .arg(request.arriving.len())
        .arg(request.seated)
        .arg(request.departing.len())
        .arg(request.generation)
        .arg(hooks(heard))
        .arg(flag(request.was_occupied))
        .arg(request.unsure.len());
    for (user_id, info) in &request.arriving {
        script.arg(&**user_id).arg(&**info);
    }
    for user_id in &request.departing {
        script.arg(&**user_id);
    }
    for field in &request.unsure {
        script.arg(field);
    }
    for epoch in &request.former {
        script.arg(epoch);
    }
    let reply: Vec<Value> = script.invoke_async(&mut link).await?;
    let mut written = read(reply)?;
    if let Written::Rows(rows) = &mut written {
        if let Some(snapshot) = rows.snapshot.as_mut().filter(|_| request.wants_past) {
            snapshot.past = past(&mut link, &keys, &scripts, key).await?;
        }
        if request.is_last() {
            if !request.keeps_row && rows.pending.is_empty() {
                let () = link.srem(keys.rows(&epoch), row_name(key)).await?;
                rows.is_off_list = true;
            }
            take_off_index(&mut link, &keys, &scripts, key).await?;
        } else if request.registers {
            let () = link.sadd(keys.index(&key.0), &*key.1).await?;
        }
    }
    Ok(written)
}

/// What the scripts are told of what the backend hears.
pub(super) fn hooks(heard: Heard) -> &'static str {
    match heard {
        Heard { sessions: true, .. } => "s",
        Heard { counts: true, .. } => "2",
        Heard { edges: true, .. } => "1",
        _ => "0",
    }
}

/// Notes the channel in the node's list of rows; `false` when the node has no lease, so that nobody would ever read the list.
async fn register(link: &Link, keys: &Keys, epoch: &str, key: &Key) -> RedisResult<bool> {
    let (mut first, mut second) = (link.clone(), link.clone());
    let (leases, rows) = (keys.leases(), keys.rows(epoch));
    let (lease, ()): (Option<f64>, ()) = try_join(
        first.zscore(leases, epoch),
        second.sadd(rows, row_name(key)),
    )
    .await?;
    Ok(lease.is_some())
}

/// Takes a channel without subscribers off the index; should one come at this moment, it is put back.
pub(super) async fn take_off_index(
    link: &mut Link,
    keys: &Keys,
    scripts: &Scripts,
    key: &Key,
) -> RedisResult<()> {
    if subscriptions(link, keys, scripts, key).await? > 0 {
        return Ok(());
    }
    let () = link.srem(keys.index(&key.0), &*key.1).await?;
    if subscriptions(link, keys, scripts, key).await? > 0 {
        let () = link.sadd(keys.index(&key.0), &*key.1).await?;
    }
    Ok(())
}

async fn subscriptions(
    link: &mut Link,
    keys: &Keys,
    scripts: &Scripts,
    key: &Key,
) -> RedisResult<usize> {
    let [_, subs, _, users, _, _, cache, ..] = keys.of_channel(key);
    let shown: (usize, usize, Value, i64) = scripts
        .show
        .key(subs)
        .key(users)
        .key(cache)
        .invoke_async(link)
        .await?;
    Ok(shown.0)
}

fn read(reply: Vec<Value>) -> RedisResult<Written> {
    let mut values = reply.into_iter();
    let mut next = || {
        values.next().ok_or_else(|| {
            RedisError::from((
                ErrorKind::UnexpectedReturnType,
                "a script's reply is too short",
            ))
        })
    };
    if from_redis_value::<u8>(next()?)? != 0 {
        return Ok(Written::Fenced);
    }
    let generation = from_redis_value(next()?)?;
    let sequence = from_redis_value(next()?)?;
    let _total: usize = from_redis_value(next()?)?;
    let refused = from_redis_value(next()?)?;
    let members = next()?;
    let cached: Option<Vec<u8>> = from_redis_value(absent_if_false(next()?))?;
    let ttl_ms: i64 = from_redis_value(next()?)?;
    let newest: Option<String> = from_redis_value(absent_if_false(next()?))?;
    let told = from_redis_value(next()?)?;
    let pending = from_redis_value(next()?)?;
    let snapshot = match absent_if_false(members) {
        Value::Nil => None,
        members => Some(Whole {
            members: from_redis_value::<Vec<(String, String)>>(members)?
                .into_iter()
                .map(|(user_id, info)| (user_id.into(), info.into()))
                .collect(),
            newest: newest.map(Arc::from),
            cached: kept(cached, ttl_ms),
            past: Vec::new(),
        }),
    };
    Ok(Written::Rows(Box::new(Rows {
        generation,
        sequence,
        refused,
        snapshot,
        is_off_list: false,
        told,
        pending,
    })))
}

/// Lua's `false` arrives as nil or, in RESP3, as a boolean.
fn absent_if_false(value: Value) -> Value {
    if value == Value::Boolean(false) {
        Value::Nil
    } else {
        value
    }
}

/// A cached frame with the time it has left.
pub(super) fn kept(frame: Option<Vec<u8>>, ttl_ms: i64) -> Option<(Frame, Duration)> {
    let ttl = u64::try_from(ttl_ms).ok().filter(|ttl| *ttl > 0)?;
    let frame = frame.filter(|frame| frame.len() >= 2)?;
    Some((
        Frame::received(Bytes::from(frame)),
        Duration::from_millis(ttl),
    ))
}

/// The channel's events that Redis has. The node listens by now: what is published later, it hears.
async fn past(
    link: &mut Link,
    keys: &Keys,
    scripts: &Scripts,
    key: &Key,
) -> RedisResult<Vec<Listed>> {
    let [history, _] = keys.history(key);
    let mut script = scripts.past.prepare_invoke();
    script.key(history);
    let (now_ms, entries): (u64, Vec<Vec<u8>>) = script.invoke_async(link).await?;
    let listed = |entry: Vec<u8>| {
        let (at_ms, envelope) = entry.split_at_checked(STAMP_DIGITS)?;
        let at_ms: u64 = std::str::from_utf8(at_ms).ok()?.parse().ok()?;
        let Envelope::Event(event, _) = Envelope::decode(Bytes::copy_from_slice(envelope))? else {
            return None;
        };
        Some(Listed {
            id: (event.sender, event.number),
            except: event.except,
            frame: event.frame(),
            age: Duration::from_millis(now_ms.saturating_sub(at_ms)),
        })
    };
    Ok(entries.into_iter().filter_map(listed).collect())
}
