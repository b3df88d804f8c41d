//! Commands of strings.

use bytes::{Bytes, BytesMut};

use super::{
    Call, ErrorReply, Reply, number,
    reply::Outcome,
    store::Value,
    table::{GROW, Keys, READ, Spec},
};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("get", 2, Keys::First, READ, get),
    Spec::new("set", -3, Keys::First, GROW, set),
    Spec::new("setnx", 3, Keys::First, GROW, setnx),
    Spec::new("mget", -2, Keys::All, READ, mget),
    Spec::new("incr", 2, Keys::First, GROW, incr),
    Spec::new("incrby", 3, Keys::First, GROW, incrby),
    Spec::new("decr", 2, Keys::First, GROW, decr),
    Spec::new("append", 3, Keys::First, GROW, append),
    Spec::new("strlen", 2, Keys::First, READ, strlen),
];

fn get(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::optional(call.read::<Bytes>()?))
}

fn set(call: &mut Call<'_>) -> Outcome {
    let options = SetOptions::parse(&call.args[3..])?;
    let now = call.server.now();
    let expires_ms = match options.expiry {
        Expiry::None | Expiry::Keep => None,
        Expiry::After { value, unit_ms } => Some(expiry_time(value, unit_ms, now.ms)?),
        Expiry::At { value, unit_ms } => Some(expiry_time(value, unit_ms, 0)?),
    };
    let previous = match options.answer {
        Answer::Outcome => None,
        Answer::Previous => Some(Reply::optional(call.read::<Bytes>()?)),
    };
    let current = call.server.keyspace.find(call.key(), now);
    let is_allowed = match options.condition {
        Condition::Always => true,
        Condition::Missing => current.is_none(),
        Condition::Present => current.is_some(),
    };
    if !is_allowed {
        return Ok(previous.unwrap_or(Reply::Nil));
    }
    let expires_ms = match (options.expiry, current) {
        (Expiry::Keep, Some(entry)) => entry.expires_ms,
        _ => expires_ms,
    };
    let value = Value::Text(call.args[2].clone());
    call.server
        .keyspace
        .put(call.key().clone(), value, expires_ms);
    Ok(previous.unwrap_or_else(Reply::ok))
}

struct SetOptions<'a> {
    condition: Condition,
    expiry: Expiry<'a>,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq)]
enum Condition {
    Always,
    Missing,
    Present,
}

#[derive(Clone, Copy)]
enum Expiry<'a> {
    None,
    Keep,
    After { value: &'a Bytes, unit_ms: i64 },
    At { value: &'a Bytes, unit_ms: i64 },
}

enum Answer {
    Outcome,
    Previous,
}

impl<'a> SetOptions<'a> {
    fn parse(words: &'a [Bytes]) -> Result<Self, ErrorReply> {
        let mut options = Self {
            condition: Condition::Always,
            expiry: Expiry::None,
            answer: Answer::Outcome,
        };
        // Which option has set the expiry: it may be repeated, and no other may follow it.
        let mut timing: Option<&[u8]> = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.to_ascii_lowercase();
            match &name[..] {
                b"nx" if options.condition != Condition::Present => {
                    options.condition = Condition::Missing;
                    continue;
                }
                b"xx" if options.condition != Condition::Missing => {
                    options.condition = Condition::Present;
                    continue;
                }
                b"get" => {
                    options.answer = Answer::Previous;
                    continue;
                }
                _ if timing.is_some_and(|timing| !timing.eq_ignore_ascii_case(&name)) => {
                    return Err(ErrorReply::syntax());
                }
                _ => timing = Some(word),
            }
            options.expiry = match &name[..] {
                b"keepttl" => Expiry::Keep,
                _ => Expiry::parse(&name, words.next())?,
            };
        }
        Ok(options)
    }
}

impl<'a> Expiry<'a> {
    fn parse(name: &[u8], value: Option<&'a Bytes>) -> Result<Self, ErrorReply> {
        let value = value.ok_or_else(ErrorReply::syntax)?;
        Ok(match name {
            b"ex" => Self::After {
                value,
                unit_ms: 1000,
            },
            b"px" => Self::After { value, unit_ms: 1 },
            b"exat" => Self::At {
                value,
                unit_ms: 1000,
            },
            b"pxat" => Self::At { value, unit_ms: 1 },
            _ => return Err(ErrorReply::syntax()),
        })
    }
}

/// The time in ms that an option names, from a base.
fn expiry_time(value: &Bytes, unit_ms: i64, base_ms: i64) -> Result<i64, ErrorReply> {
    let invalid = || ErrorReply::plain("invalid expire time in 'set' command");
    let after = number::integer(value).ok_or_else(ErrorReply::not_an_integer)?;
    if after <= 0 {
        return Err(invalid());
    }
    after
        .checked_mul(unit_ms)
        .and_then(|after_ms| after_ms.checked_add(base_ms))
        .ok_or_else(invalid)
}

fn setnx(call: &mut Call<'_>) -> Outcome {
    let (key, now) = (call.key(), call.server.now());
    let is_missing = call.server.keyspace.find(key, now).is_none();
    if is_missing {
        let value = Value::Text(call.args[2].clone());
        call.server.keyspace.put(key.clone(), value, None);
    }
    Ok(Reply::flag(is_missing))
}

fn mget(call: &mut Call<'_>) -> Outcome {
    let now = call.server.now();
    let keyspace = &mut call.server.keyspace;
    let values = call.args[1..].iter().map(|key| {
        let value = keyspace.read::<Bytes>(key, now);
        value.map_or(Reply::Nil, Reply::optional)
    });
    Ok(Reply::Array(values.collect()))
}

fn incr(call: &mut Call<'_>) -> Outcome {
    add(call, 1)
}

fn decr(call: &mut Call<'_>) -> Outcome {
    add(call, -1)
}

fn incrby(call: &mut Call<'_>) -> Outcome {
    let increment = call.integer(2)?;
    add(call, increment)
}

fn add(call: &mut Call<'_>, increment: i64) -> Outcome {
    let current = match call.read::<Bytes>()? {
        None => 0,
        Some(text) => number::integer(text).ok_or_else(ErrorReply::not_an_integer)?,
    };
    let sum = current
        .checked_add(increment)
        .ok_or_else(|| ErrorReply::plain("increment or decrement would overflow"))?;
    *call.create::<Bytes>()? = Bytes::from(sum.to_string());
    Ok(Reply::Int(sum))
}

fn append(call: &mut Call<'_>) -> Outcome {
    let end = &call.args[2];
    let text = call.create::<Bytes>()?;
    let mut longer = BytesMut::with_capacity(text.len() + end.len());
    longer.extend_from_slice(text);
    longer.extend_from_slice(end);
    *text = longer.freeze();
    Ok(Reply::count(text.len()))
}

fn strlen(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::count(call.read::<Bytes>()?.map_or(0, Bytes::len)))
}
