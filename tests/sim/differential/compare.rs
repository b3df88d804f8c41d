//! When two replies are equal.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::pair::TOLERANCE_MS;
use crate::redis::Reply;

/// Compares what a command answers.
pub(super) fn replies(words: &[Bytes], simulated: &Reply, real: &Reply) -> Result<(), String> {
    let name = name(words);
    let is_equal = match (&name[..], simulated, real) {
        // Scripts' errors name the place, and unknown commands are quoted in parts.
        (_, Reply::Error(simulated), Reply::Error(real)) if is_script(&name) => {
            simulated.code == real.code
        }
        (_, Reply::Error(simulated), Reply::Error(real))
            if real.text.starts_with("unknown command") =>
        {
            simulated.text.starts_with("unknown command")
        }
        ("pttl", Reply::Int(simulated), Reply::Int(real)) => is_near(
            i128::from(*simulated),
            i128::from(*real),
            TOLERANCE_MS.into(),
        ),
        ("ttl", Reply::Int(simulated), Reply::Int(real)) => {
            is_near(i128::from(*simulated), i128::from(*real), 1)
        }
        ("time", Reply::Array(simulated), Reply::Array(real)) => {
            is_near(number(&simulated[0]), number(&real[0]), 1)
        }
        ("hgetall" | "smembers" | "spop" | "hkeys" | "hvals" | "keys", _, _) => {
            sorted(simulated) == sorted(real)
        }
        // None is so large that it takes more than one step.
        ("scan" | "hscan" | "sscan", _, _) => sorted(simulated) == sorted(real),
        ("unsubscribe" | "sunsubscribe", Reply::Array(simulated), Reply::Array(real))
            if words.len() == 1 =>
        {
            columns(simulated) == columns(real)
        }
        _ => simulated == real,
    };
    if is_equal {
        return Ok(());
    }
    Err(format!("answers {simulated:?}, really {real:?}"))
}

fn name(words: &[Bytes]) -> String {
    String::from_utf8_lossy(&words[0]).to_lowercase()
}

fn is_script(name: &str) -> bool {
    ["eval", "evalsha", "script"].contains(&name)
}

/// Whether others may be sent messages because of this command.
pub(super) fn may_publish(words: &[Bytes]) -> bool {
    let name = name(words);
    name.ends_with("publish") || is_script(&name)
}

/// The members that both took from a set.
pub(super) struct Popped {
    pub(super) simulated: Vec<Bytes>,
    pub(super) real: Vec<Bytes>,
}

/// What a `SPOP` took, if it took as many members on both sides and they are not the same.
pub(super) fn popped(words: &[Bytes], real: &Reply, simulated: &Reply) -> Option<Popped> {
    if name(words) != "spop" || sorted(simulated) == sorted(real) {
        return None;
    }
    let popped = Popped {
        simulated: bulks(simulated),
        real: bulks(real),
    };
    let is_by_chance = !popped.real.is_empty() && popped.real.len() == popped.simulated.len();
    is_by_chance.then_some(popped)
}

/// Whether a command answers members of a set by chance.
pub(super) fn draws(words: &[Bytes]) -> bool {
    name(words) == "srandmember" && words.len() > 1
}

/// Whether both answer as many of these members, and as many different ones where a count forbids repetitions.
pub(super) fn are_drawn(
    words: &[Bytes],
    real: &Reply,
    simulated: &Reply,
    members: &[Bytes],
) -> bool {
    let repeats = words.get(2).is_some_and(|count| count.starts_with(b"-"));
    let different = |drawn: &[Bytes]| drawn.iter().collect::<BTreeSet<_>>().len();
    match (real, simulated) {
        (Reply::Bulk(_), Reply::Bulk(_)) | (Reply::Array(_), Reply::Array(_)) => {
            let (real, simulated) = (bulks(real), bulks(simulated));
            let mut both = real.iter().chain(&simulated);
            both.all(|member| members.contains(member))
                && real.len() == simulated.len()
                && (repeats || different(&real) == different(&simulated))
        }
        _ => false,
    }
}

/// The strings in a reply.
pub(super) fn bulks(reply: &Reply) -> Vec<Bytes> {
    match reply {
        Reply::Bulk(bytes) => vec![bytes.clone()],
        Reply::Array(items) | Reply::Set(items) => items.iter().map(bulk).collect(),
        _ => Vec::new(),
    }
}

fn bulk(reply: &Reply) -> Bytes {
    match reply {
        Reply::Bulk(bytes) => bytes.clone(),
        other => panic!("not a string: {other:?}"),
    }
}

/// Within a distance, unless one is a sign that there is no such time.
fn is_near(one: i128, other: i128, distance: i128) -> bool {
    one == other || (one >= 0 && other >= 0 && (one - other).abs() <= distance)
}

/// Rows without their order, but with that of their last elements: topics in any order, and what is left after each.
fn columns(rows: &[Reply]) -> (Vec<Reply>, Reply) {
    let split = rows.iter().map(|row| match row {
        Reply::Array(row) => {
            let (last, others) = row.split_last().expect("a row has elements");
            (last.clone(), Reply::Array(others.to_vec()))
        }
        other => panic!("not a row: {other:?}"),
    });
    let (last, others): (Vec<_>, Vec<_>) = split.unzip();
    (last, sorted(&Reply::Array(others)))
}

/// Without the order of elements, at every level.
pub(super) fn sorted(reply: &Reply) -> Reply {
    let in_order = |items: &[Reply]| {
        let mut items: Vec<_> = items.iter().map(sorted).collect();
        items.sort_by_cached_key(|item| format!("{item:?}"));
        items
    };
    match reply {
        Reply::Array(items) => Reply::Array(in_order(items)),
        Reply::Set(items) => Reply::Set(in_order(items)),
        Reply::Map(pairs) => {
            let mut pairs = pairs.clone();
            pairs.sort_by_cached_key(|pair| format!("{pair:?}"));
            Reply::Map(pairs)
        }
        other => other.clone(),
    }
}

/// An integer that is sent as a string.
pub(super) fn number(reply: &Reply) -> i128 {
    let text = bulk(reply);
    let text = std::str::from_utf8(&text).expect("digits");
    text.parse().expect("digits")
}
