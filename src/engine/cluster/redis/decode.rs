//! What Redis answers, checked before anything is done with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{RedisError, ServerError, Value, from_redis_value};

use super::names::Names;
use crate::{
    engine::{
        Cached, Listed, SharedState,
        cluster::{
            core::{
                Answer, Batch, Call, CallError, Claim, Count, Departed, EntryResult, Epoch, Lease,
                PeerMessage, Query, QueryAnswer, Report, Settled, Told, What, Written,
            },
            envelope,
        },
    },
    presence::Member,
    protocol::Frame,
};

/// Digits of the time before an event of a history.
const STAMP_DIGITS: usize = 15;

/// How errors begin that concern the whole server, and not only the call that met them. No channel has such a name.
pub(super) const ERRORS_OF_ALL: [&str; 10] = [
    "OOM command not allowed",
    "READONLY You can't write",
    "LOADING Redis is loading",
    "LOADING Valkey is loading",
    "MASTERDOWN Link with",
    "CLUSTERDOWN ",
    "NOREPLICAS Not enough",
    "MISCONF ",
    "NOAUTH ",
    "BUSY ",
];

/// Why a reply makes no sense.
type Senseless = String;

/// The error of one command.
#[must_use]
pub fn fault(error: &ServerError) -> CallError {
    let text = match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    };
    // Of an error within a script, the text may stand behind the script's own.
    if ERRORS_OF_ALL.iter().any(|error| text.contains(error)) {
        CallError::LinkLost(text)
    } else {
        CallError::Refused(text)
    }
}

/// The error of a call as a whole.
#[must_use]
pub(super) fn failure(error: &RedisError) -> CallError {
    CallError::LinkLost(error.to_string())
}

/// The answer to a call whose commands were answered with these.
///
/// # Errors
/// [`CallError`] when a command failed, or a reply makes no sense.
pub fn decode(call: &Call, replies: Vec<Value>) -> Result<Answer, CallError> {
    if let Call::Publish(_) = call {
        return published(replies);
    }
    if let Some(Value::ServerError(error)) = replies
        .iter()
        .find(|reply| matches!(reply, Value::ServerError(_)))
    {
        return Err(fault(error));
    }
    let answer = match call {
        Call::Write(batch) => written(batch, one(replies)).map(Answer::Written),
        Call::Lease(_) => lease(one(replies)).map(Answer::Lease),
        Call::Register(..) => {
            // Before the script come the tokens.
            let noted = replies.into_iter().last().unwrap_or(Value::Nil);
            read::<u8>(noted).map(|noted| Answer::Registered(noted == 1))
        }
        Call::Buckets(_) => read::<Vec<String>>(one(replies)).map(|listed| {
            let buckets = listed.iter().filter_map(|text| Names::parse_bucket(text));
            Answer::Buckets(buckets.collect())
        }),
        Call::Resign(..) => read(one(replies)).map(Answer::Resigned),
        Call::Query(query, epoch) => query_answer(query, epoch, replies).map(Answer::Query),
        _ => Ok(Answer::Done),
    };
    answer.map_err(|what| CallError::Refused(format!("Redis' reply makes no sense: {what}")))
}

fn one(replies: Vec<Value>) -> Value {
    replies.into_iter().next().unwrap_or(Value::Nil)
}

fn read<T: redis::FromRedisValue>(value: Value) -> Result<T, Senseless> {
    from_redis_value(value).map_err(|error| error.to_string())
}

/// Lua's `false` arrives as nil or, in RESP3, as a boolean.
fn is_absent(value: &Value) -> bool {
    matches!(value, Value::Nil | Value::Boolean(false))
}

fn list(value: Value) -> Result<std::vec::IntoIter<Value>, Senseless> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values.into_iter()),
        Value::Map(pairs) => {
            let values: Vec<_> = pairs.into_iter().flat_map(<[Value; 2]>::from).collect();
            Ok(values.into_iter())
        }
        Value::Nil | Value::Boolean(false) => Ok(Vec::new().into_iter()),
        other => Err(format!("{} instead of a list", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "text",
        _ => "something else",
    }
}

fn next(values: &mut std::vec::IntoIter<Value>) -> Result<Value, Senseless> {
    values.next().ok_or_else(|| "it is too short".to_owned())
}

fn text(value: Value) -> Result<Arc<str>, Senseless> {
    Ok(read::<String>(value)?.into())
}

fn number(value: Value) -> Result<u64, Senseless> {
    read::<u64>(value)
}

fn texts(value: Value) -> Result<Vec<Arc<str>>, Senseless> {
    list(value)?.map(text).collect()
}

fn published(replies: Vec<Value>) -> Result<Answer, CallError> {
    let mut published = Vec::with_capacity(replies.len());
    for reply in replies {
        published.push(match reply {
            Value::ServerError(error) => match fault(&error) {
                CallError::Refused(text) => Err(text),
                lost => return Err(lost),
            },
            Value::Int(nodes) => Ok(usize::try_from(nodes).unwrap_or(0)),
            _ => Ok(0),
        });
    }
    Ok(Answer::Published(published))
}

// --- Batches ---------------------------------------------------------------------------------------------

fn written(batch: &Batch, reply: Value) -> Result<Written, Senseless> {
    let mut parts = list(reply)?;
    match &*text(next(&mut parts)?)? {
        "ok" => {}
        "unregistered" => return Ok(Written::Unregistered),
        "missing" => return Ok(Written::Fenced("its rows were removed")),
        "behind" => return Ok(Written::Fenced("Redis lost some of its rows")),
        "stale" => return Ok(Written::Fenced("its rows were written again")),
        other => return Err(format!("status {other:?}")),
    }
    let results = list(next(&mut parts)?)?.map(result);
    let results = results.collect::<Result<Vec<_>, _>>()?;
    if results.len() != batch.channels.len() {
        return Err(format!("{} results", results.len()));
    }
    let told = list(next(&mut parts)?)?.map(told);
    let told = told.collect::<Result<Vec<_>, _>>()?;
    let pending = list(next(&mut parts)?)?.map(pending);
    let pending = pending.collect::<Result<Vec<_>, _>>()?;
    let remaining = parts.next().filter(|value| !is_absent(value));
    Ok(Written::Settled(Box::new(Settled {
        results,
        told,
        pending,
        remaining: remaining.map(texts).transpose()?,
    })))
}

fn result(value: Value) -> Result<EntryResult, Senseless> {
    if let Value::Int(_) = value {
        return Ok(EntryResult::Plain);
    }
    let mut parts = list(value)?;
    let first = text(next(&mut parts)?)?;
    if &*first == "failed" {
        let what = read::<Vec<u8>>(next(&mut parts)?)?;
        let what = String::from_utf8_lossy(&what).into_owned();
        return Ok(EntryResult::Failed(what));
    }
    match report(&first, parts) {
        Ok(report) => Ok(EntryResult::Shared(Box::new(report))),
        // A damaged channel does not fail the other channels of the batch.
        Err(what) => Ok(EntryResult::Failed(format!(
            "what Redis has is damaged: {what}"
        ))),
    }
}

fn report(begun: &str, mut parts: std::vec::IntoIter<Value>) -> Result<Report, Senseless> {
    let generation = begun.parse().map_err(|_| format!("generation {begun:?}"))?;
    let sequence = number(next(&mut parts)?)?;
    let refused = texts(next(&mut parts)?)?;
    let (members, newest) = (next(&mut parts)?, next(&mut parts)?);
    let (cached, ttl_ms) = (next(&mut parts)?, next(&mut parts)?);
    let (past, counted) = (next(&mut parts)?, next(&mut parts)?);
    let wants_whole = parts
        .next()
        .is_some_and(|asked| matches!(asked, Value::Int(1)));
    let whole = || -> Result<SharedState, Senseless> {
        Ok(SharedState {
            members: seated(members)?,
            newest: Some(newest)
                .filter(|newest| !is_absent(newest))
                .map(text)
                .transpose()?,
            cached: kept(cached, read(ttl_ms)?)?,
            past: listed(past)?,
        })
    };
    Ok(Report {
        generation,
        sequence,
        refused,
        shared: wants_whole.then(whole).transpose()?,
        count: count(counted)?,
    })
}

/// Members: user, and number of nodes and info in one.
fn seated(value: Value) -> Result<HashMap<Arc<str>, Arc<str>>, Senseless> {
    let mut values = list(value)?;
    let mut members = HashMap::with_capacity(values.len() / 2);
    while let Some(user) = values.next() {
        let (user, seat) = (text(user)?, text(next(&mut values)?)?);
        let (_, info) = seat.split_once('|').ok_or("a member's row")?;
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(info).is_ok();
        if !is_json {
            return Err(format!("the info of {user}"));
        }
        members.insert(user, info.into());
    }
    Ok(members)
}

/// A number of subscriptions and its time, if there is one.
fn count(value: Value) -> Result<Option<Count>, Senseless> {
    if is_absent(&value) {
        return Ok(None);
    }
    let mut parts = list(value)?;
    Ok(Some(Count {
        number: read(next(&mut parts)?)?,
        at_us: number(next(&mut parts)?)?,
    }))
}

/// A cached frame with the time it has left.
fn kept(value: Value, ttl_ms: i64) -> Result<Option<(Frame, Duration)>, Senseless> {
    let Some(ttl) = u64::try_from(ttl_ms).ok().filter(|ttl| *ttl > 0) else {
        return Ok(None);
    };
    if is_absent(&value) {
        return Ok(None);
    }
    let frame = Frame::checked(read::<Vec<u8>>(value)?.into()).ok_or("the cached event")?;
    Ok(Some((frame, Duration::from_millis(ttl))))
}

/// The time, then a history's entries; those that are damaged are left out.
fn listed(value: Value) -> Result<Vec<Listed>, Senseless> {
    let mut parts = list(value)?;
    let Some(now_ms) = parts.next() else {
        return Ok(Vec::new());
    };
    let now_ms = number(now_ms)?;
    let entries = read::<Vec<Vec<u8>>>(next(&mut parts)?)?;
    let entry = |entry: Vec<u8>| {
        let (at_ms, message) = entry.split_at_checked(STAMP_DIGITS)?;
        let at_ms: u64 = str::from_utf8(at_ms).ok()?.parse().ok()?;
        let message = envelope::decode(Bytes::copy_from_slice(message))?;
        let PeerMessage::Event(event, _) = message else {
            return None;
        };
        Some(Listed {
            id: event.id,
            except: event.except,
            frame: event.frame,
            age: Duration::from_millis(now_ms.saturating_sub(at_ms)),
        })
    };
    Ok(entries.into_iter().filter_map(entry).collect())
}

fn told(value: Value) -> Result<Told, Senseless> {
    let mut parts = list(value)?;
    let (event, channel) = (text(next(&mut parts)?)?, text(next(&mut parts)?)?);
    let about = text(next(&mut parts)?)?;
    let what = match &*event {
        "occupied" => What::Occupied,
        "vacated" => What::Vacated,
        "added" => What::Added(about),
        "removed" => What::Removed(about),
        "count" => What::Count(about.parse().map_err(|_| format!("count {about:?}"))?),
        "missed" => What::Missed,
        "session" => {
            let replaced = text(next(&mut parts)?)?;
            let replaced = serde_json::from_str(&replaced).map_err(|error| error.to_string())?;
            What::SessionReplaced(about, replaced)
        }
        other => return Err(format!("event {other:?}")),
    };
    Ok(Told { channel, what })
}

fn pending(value: Value) -> Result<(Claim, Duration), Senseless> {
    let mut parts = list(value)?;
    let kind = match &*text(next(&mut parts)?)? {
        "c" => Departed::Subscribers,
        "u" => Departed::User,
        "n" => Departed::Count,
        other => return Err(format!("departure {other:?}")),
    };
    let (channel, user) = (text(next(&mut parts)?)?, text(next(&mut parts)?)?);
    let mark = text(next(&mut parts)?)?;
    let wait_ms = number(next(&mut parts)?)?;
    Ok(((kind, channel, user, mark), Duration::from_millis(wait_ms)))
}

// --- Leases and questions --------------------------------------------------------------------------------

fn lease(reply: Value) -> Result<Lease, Senseless> {
    let (held, taken, nodes, listening): (u8, Vec<String>, i64, i64) = read(reply)?;
    let count = |count: i64| usize::try_from(count).unwrap_or(0);
    Ok(Lease {
        was_held: held == 1,
        taken: taken.into_iter().map(Epoch::from).collect(),
        nodes: count(nodes),
        listening: count(listening),
    })
}

fn query_answer(
    query: &Query,
    epoch: &Epoch,
    replies: Vec<Value>,
) -> Result<QueryAnswer, Senseless> {
    Ok(match query {
        Query::Channel(..) => {
            let mut replies = replies.into_iter();
            let subscriptions = read::<Option<usize>>(next(&mut replies)?)?.unwrap_or(0);
            let users = read::<Option<usize>>(next(&mut replies)?)?.unwrap_or(0);
            let cached = match (replies.next(), replies.next()) {
                (Some(frame), Some(ttl_ms)) => kept(frame, read(ttl_ms)?)?,
                _ => None,
            };
            let cached = cached.map(|(frame, ttl)| Cached {
                frame,
                ttl_s: ttl.as_secs(),
            });
            QueryAnswer::Channel(subscriptions, users, cached)
        }
        Query::Users(_) => {
            let members = seated(one(replies))?.into_iter();
            let members = members.map(|(user_id, user_info)| Member { user_id, user_info });
            QueryAnswer::Users(members.collect())
        }
        Query::Occupied(_, prefix, wants_users) => {
            QueryAnswer::Occupied(occupied(prefix, *wants_users, replies)?)
        }
        Query::Nodes => {
            let counts: HashMap<String, String> = read(one(replies))?;
            let others = counts.into_iter().filter(|(node, _)| **node != **epoch);
            let others = others.map(|(node, counts)| {
                let counts = serde_json::from_str(&counts).unwrap_or_default();
                (Epoch::from(node), counts)
            });
            let this = (Arc::clone(epoch), HashMap::new());
            QueryAnswer::Nodes(std::iter::once(this).chain(others).collect())
        }
        Query::Hold { .. } | Query::Holder(_) => QueryAnswer::Node(read(one(replies))?),
        Query::Release(_) => QueryAnswer::Flag(true),
        Query::Send(..) => QueryAnswer::Flag(read::<i64>(one(replies))? > 0),
    })
}

/// Channels with their subscriptions and users: per bucket a list of subscriptions and, if wanted, one of users.
fn occupied(
    prefix: &str,
    wants_users: bool,
    replies: Vec<Value>,
) -> Result<Vec<(Arc<str>, usize, usize)>, Senseless> {
    let mut channels = Vec::new();
    let mut replies = replies.into_iter();
    while let Some(totals) = replies.next() {
        let mut users = HashMap::new();
        if wants_users {
            fields(prefix, next(&mut replies)?, |name, count| {
                users.insert(name, count);
            })?;
        }
        fields(prefix, totals, |name, count| {
            let theirs = users.get(&name).copied().unwrap_or(0);
            channels.push((name, count, theirs));
        })?;
    }
    Ok(channels)
}

/// Names and numbers of a hash, in whichever form it was read.
fn fields(
    prefix: &str,
    reply: Value,
    mut take: impl FnMut(Arc<str>, usize),
) -> Result<(), Senseless> {
    let mut each = |name: Value, count: Value| -> Result<(), Senseless> {
        let (Value::BulkString(name), Value::BulkString(count)) = (name, count) else {
            return Err("a count of another type".to_owned());
        };
        let count = str::from_utf8(&count)
            .ok()
            .and_then(|count| count.parse().ok());
        let count = count.ok_or("a count that is no number")?;
        take(
            String::from_utf8(name)
                .map_err(|_| "a damaged name")?
                .into(),
            count,
        );
        Ok(())
    };
    let values = match reply {
        Value::Map(pairs) => {
            return pairs
                .into_iter()
                .try_for_each(|(name, count)| each(name, count));
        }
        scanned if !prefix.is_empty() => {
            let mut parts = list(scanned)?;
            // Complete, or it would have to be asked again.
            if read::<u64>(next(&mut parts)?)? != 0 {
                return Err("the scan is not complete".to_owned());
            }
            next(&mut parts)?
        }
        all => all,
    };
    if let Value::Map(pairs) = values {
        return pairs
            .into_iter()
            .try_for_each(|(name, count)| each(name, count));
    }
    let mut values = list(values)?;
    while let Some(name) = values.next() {
        each(name, next(&mut values)?)?;
    }
    Ok(())
}
