//! Commands that work on keys of any type, and on the server.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Call, ErrorReply, Reply, glob, is_option,
    reply::Outcome,
    scan::{self, Options},
    table::{Flag, Keys, READ, Spec, WRITE},
};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("del", -2, Keys::All, WRITE, del),
    Spec::new("unlink", -2, Keys::All, WRITE, del),
    Spec::new("exists", -2, Keys::All, READ, exists),
    Spec::new("type", 2, Keys::First, READ, type_name),
    Spec::new("expire", -3, Keys::First, WRITE, expire),
    Spec::new("pexpire", -3, Keys::First, WRITE, pexpire),
    Spec::new("pexpireat", -3, Keys::First, WRITE, pexpireat),
    Spec::new("persist", 2, Keys::First, WRITE, persist),
    Spec::new("ttl", 2, Keys::First, READ, ttl),
    Spec::new("pttl", 2, Keys::First, READ, pttl),
    Spec::new("keys", 2, Keys::None, READ, keys),
    Spec::new("scan", -2, Keys::None, READ, scan),
    Spec::new("dbsize", 1, Keys::None, READ, dbsize),
    Spec::new("flushall", -1, Keys::None, WRITE, flushall),
    Spec::new("time", 1, Keys::None, &[Flag::Loading], time),
    Spec::new("ping", -1, Keys::None, READ, ping),
];

fn del(call: &mut Call<'_>) -> Outcome {
    let now = call.server.now();
    let keyspace = &mut call.server.keyspace;
    let removed = call.args[1..]
        .iter()
        .filter(|key| keyspace.remove(key, now));
    Ok(Reply::count(removed.count()))
}

fn exists(call: &mut Call<'_>) -> Outcome {
    let now = call.server.now();
    let keyspace = &mut call.server.keyspace;
    let found = call.args[1..]
        .iter()
        .filter(|key| keyspace.find(key, now).is_some());
    Ok(Reply::count(found.count()))
}

fn type_name(call: &mut Call<'_>) -> Outcome {
    let now = call.server.now();
    let entry = call.server.keyspace.find(call.key(), now);
    let name = entry.map_or("none", |entry| entry.value().type_name());
    Ok(Reply::Status(name.to_owned()))
}

fn expire(call: &mut Call<'_>) -> Outcome {
    let base_ms = call.server.now().ms;
    expire_at(call, base_ms, 1000)
}

fn pexpire(call: &mut Call<'_>) -> Outcome {
    let base_ms = call.server.now().ms;
    expire_at(call, base_ms, 1)
}

fn pexpireat(call: &mut Call<'_>) -> Outcome {
    expire_at(call, 0, 1)
}

fn expire_at(call: &mut Call<'_>, base_ms: i64, unit_ms: i64) -> Outcome {
    let condition = Condition::parse(&call.args[3..])?;
    let when_ms = call
        .integer(2)?
        .checked_mul(unit_ms)
        .and_then(|after_ms| after_ms.checked_add(base_ms))
        .ok_or_else(|| {
            let name = String::from_utf8_lossy(&call.args[0]).to_lowercase();
            ErrorReply::plain(format!("invalid expire time in '{name}' command"))
        })?;
    let (key, now) = (call.key(), call.server.now());
    let Some(entry) = call.server.keyspace.find(key, now) else {
        return Ok(Reply::Int(0));
    };
    if !condition.holds(entry.expires_ms, when_ms) {
        return Ok(Reply::Int(0));
    }
    entry.expires_ms = Some(when_ms);
    if when_ms <= now.ms {
        call.server.keyspace.entries.remove(key);
    }
    Ok(Reply::Int(1))
}

/// When an expiry may be set.
#[derive(Default)]
struct Condition {
    only: Option<Only>,
    compared: Option<Compared>,
}

#[derive(PartialEq)]
enum Only {
    WithoutExpiry,
    WithExpiry,
}

#[derive(PartialEq)]
enum Compared {
    Later,
    Earlier,
}

impl Condition {
    fn parse(options: &[Bytes]) -> Result<Self, ErrorReply> {
        let given = |name| options.iter().any(|option| is_option(option, name));
        let known = ["nx", "xx", "gt", "lt"];
        let is_known = |option: &&Bytes| known.iter().any(|name| is_option(option, name));
        if let Some(unknown) = options.iter().find(|option| !is_known(option)) {
            let unknown = String::from_utf8_lossy(unknown);
            return Err(ErrorReply::plain(format!("Unsupported option {unknown}")));
        }
        if given("nx") && (given("xx") || given("gt") || given("lt")) {
            let text = "NX and XX, GT or LT options at the same time are not compatible";
            return Err(ErrorReply::plain(text));
        }
        if given("gt") && given("lt") {
            let text = "GT and LT options at the same time are not compatible";
            return Err(ErrorReply::plain(text));
        }
        let only = if given("nx") {
            Some(Only::WithoutExpiry)
        } else {
            given("xx").then_some(Only::WithExpiry)
        };
        let compared = if given("gt") {
            Some(Compared::Later)
        } else {
            given("lt").then_some(Compared::Earlier)
        };
        Ok(Self { only, compared })
    }

    /// A key without an expiry lives forever.
    fn holds(&self, current_ms: Option<i64>, when_ms: i64) -> bool {
        let is_allowed = match self.only {
            None => true,
            Some(Only::WithoutExpiry) => current_ms.is_none(),
            Some(Only::WithExpiry) => current_ms.is_some(),
        };
        is_allowed
            && match self.compared {
                None => true,
                Some(Compared::Later) => current_ms.is_some_and(|current| when_ms > current),
                Some(Compared::Earlier) => current_ms.is_none_or(|current| when_ms < current),
            }
    }
}

fn persist(call: &mut Call<'_>) -> Outcome {
    let now = call.server.now();
    let entry = call.server.keyspace.find(call.key(), now);
    let had_expiry = entry.is_some_and(|entry| entry.expires_ms.take().is_some());
    Ok(Reply::flag(had_expiry))
}

fn ttl(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::Int(match remaining_ms(call) {
        remaining if remaining < 0 => remaining,
        remaining => (remaining + 500) / 1000,
    }))
}

fn pttl(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::Int(remaining_ms(call)))
}

/// -2: no such key; -1: it does not expire.
fn remaining_ms(call: &mut Call<'_>) -> i64 {
    let now = call.server.now();
    match call.server.keyspace.find(call.key(), now) {
        None => -2,
        Some(entry) => entry
            .expires_ms
            .map_or(-1, |expires_ms| (expires_ms - now.ms).max(0)),
    }
}

fn keys(call: &mut Call<'_>) -> Outcome {
    let now = call.server.now();
    let living =
        call.server.keyspace.entries.iter().filter(|(key, entry)| {
            !now.is_past(entry.expires_ms) && glob::matches(&call.args[1], key)
        });
    Ok(Reply::bulks(living.map(|(key, _)| key)))
}

fn scan(call: &mut Call<'_>) -> Outcome {
    let cursor = scan::cursor(&call.args[1])?;
    let options = Options::parse(&call.args[2..], scan::Of::Keys)?;
    let now = call.server.now();
    let keyspace = &mut call.server.keyspace;
    let (next, found) = keyspace.entries.scan(cursor, options.count);
    let mut keys: Vec<_> = found.into_iter().map(|(key, _)| key.clone()).collect();
    keys.retain(|key| {
        options.matches(key)
            && keyspace
                .find(key, now)
                .is_some_and(|entry| options.is_type(entry.value().type_name()))
    });
    Ok(scan::reply(
        next,
        keys.into_iter().map(Reply::Bulk).collect(),
    ))
}

fn dbsize(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::count(call.server.keyspace.entries.len()))
}

fn flushall(call: &mut Call<'_>) -> Outcome {
    match &call.args[1..] {
        [] => {}
        [mode] if is_option(mode, "sync") || is_option(mode, "async") => {}
        _ => return Err(ErrorReply::syntax()),
    }
    call.server.keyspace.entries.clear();
    Ok(Reply::ok())
}

fn time(call: &mut Call<'_>) -> Outcome {
    let now = u64::try_from(call.server.now_us).expect("the clock is past the Unix epoch");
    let now = Duration::from_micros(now);
    Ok(Reply::Array(vec![
        Reply::text(now.as_secs().to_string()),
        Reply::text(now.subsec_micros().to_string()),
    ]))
}

fn ping(call: &mut Call<'_>) -> Outcome {
    match &call.args[1..] {
        [] => Ok(Reply::Status("PONG".to_owned())),
        [message] => Ok(Reply::bulk(message)),
        _ => Err(ErrorReply::arity("ping")),
    }
}
