//! Commands of sets.

use super::{
    Call, ErrorReply, Reply, number,
    reply::Outcome,
    scan::{self, Options},
    store::Set,
    table::{GROW, Keys, READ, Spec, WRITE},
};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("sadd", -3, Keys::First, GROW, sadd),
    Spec::new("srem", -3, Keys::First, WRITE, srem),
    Spec::new("smembers", 2, Keys::First, READ, smembers),
    Spec::new("scard", 2, Keys::First, READ, scard),
    Spec::new("sismember", 3, Keys::First, READ, sismember),
    Spec::new("smismember", -3, Keys::First, READ, smismember),
    Spec::new("sscan", -3, Keys::First, READ, sscan),
    Spec::new("spop", -2, Keys::First, WRITE, spop),
    Spec::new("srandmember", -2, Keys::First, READ, srandmember),
];

fn sadd(call: &mut Call<'_>) -> Outcome {
    let members = &call.args[2..];
    let set = call.create::<Set>()?;
    let new = members
        .iter()
        .filter(|member| set.insert((*member).clone(), ()).is_none());
    Ok(Reply::count(new.count()))
}

fn srem(call: &mut Call<'_>) -> Outcome {
    let members = &call.args[2..];
    let Some(set) = call.change::<Set>()? else {
        return Ok(Reply::Int(0));
    };
    let removed = members
        .iter()
        .filter(|member| set.remove(member).is_some())
        .count();
    call.prune();
    Ok(Reply::count(removed))
}

fn smembers(call: &mut Call<'_>) -> Outcome {
    let set = call.read::<Set>()?;
    let members = set.into_iter().flat_map(Set::names);
    Ok(Reply::Set(members.map(Reply::bulk).collect()))
}

fn scard(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::count(call.read::<Set>()?.map_or(0, Set::len)))
}

fn sismember(call: &mut Call<'_>) -> Outcome {
    let member = &call.args[2];
    let set = call.read::<Set>()?;
    Ok(Reply::flag(set.is_some_and(|set| set.contains(member))))
}

fn smismember(call: &mut Call<'_>) -> Outcome {
    let members = &call.args[2..];
    let set = call.read::<Set>()?;
    let flags = members
        .iter()
        .map(|member| Reply::flag(set.is_some_and(|set| set.contains(member))));
    Ok(Reply::Array(flags.collect()))
}

fn sscan(call: &mut Call<'_>) -> Outcome {
    let cursor = scan::cursor(&call.args[2])?;
    let words = &call.args[3..];
    let Some(set) = call.read::<Set>()? else {
        return Ok(scan::reply(0, Vec::new()));
    };
    let options = Options::parse(words, scan::Of::Value)?;
    let (next, found) = set.scan(cursor, options.count);
    let members = found
        .into_iter()
        .filter(|(member, ())| options.matches(member))
        .map(|(member, ())| Reply::bulk(member));
    Ok(scan::reply(next, members.collect()))
}

/// Members that come first in the seed's order: different ones, or of a negative count the same ones again.
fn srandmember(call: &mut Call<'_>) -> Outcome {
    let count = match call.args.len() {
        2 => None,
        3 => Some(drawn(&call.args[2])?),
        _ => return Err(ErrorReply::syntax()),
    };
    let set = call.read::<Set>()?;
    let members = set.into_iter().flat_map(Set::names).map(Reply::bulk);
    let Some(count) = count else {
        return Ok(members.into_iter().next().unwrap_or(Reply::Nil));
    };
    let members: Vec<_> = members.collect();
    let many = usize::try_from(count.unsigned_abs()).expect("64 bits");
    let drawn = if count < 0 {
        members.into_iter().cycle().take(many).collect()
    } else {
        members.into_iter().take(many).collect()
    };
    Ok(Reply::Array(drawn))
}

/// How many members are asked for.
fn drawn(text: &[u8]) -> Result<i64, ErrorReply> {
    let count = number::integer(text).ok_or_else(ErrorReply::not_an_integer)?;
    if count == i64::MIN {
        let range = "value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        return Err(ErrorReply::plain(range));
    }
    Ok(count)
}

fn spop(call: &mut Call<'_>) -> Outcome {
    match call.args.len() {
        2 => spop_one(call),
        3 => spop_many(call),
        _ => Err(ErrorReply::syntax()),
    }
}

fn spop_one(call: &mut Call<'_>) -> Outcome {
    let popped = call.change::<Set>()?.and_then(Set::pop);
    call.prune();
    Ok(popped.map_or(Reply::Nil, |(member, ())| Reply::Bulk(member)))
}

fn spop_many(call: &mut Call<'_>) -> Outcome {
    let count = call.count(2)?;
    let mut popped = Vec::new();
    if let Some(set) = call.change::<Set>()? {
        for _ in 0..count.min(set.len()) {
            popped.extend(set.pop());
        }
    }
    call.prune();
    let members = popped.into_iter().map(|(member, ())| Reply::Bulk(member));
    Ok(Reply::Set(members.collect()))
}
