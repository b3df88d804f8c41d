//! Commands of hashes.

use bytes::Bytes;

use super::{
    Call, ErrorReply, Reply, number,
    reply::Outcome,
    scan::{self, Options},
    store::Hash,
    table::{GROW, Keys, READ, Spec, WRITE},
};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("hget", 3, Keys::First, READ, hget),
    Spec::new("hset", -4, Keys::First, GROW, hset),
    Spec::new("hsetnx", 4, Keys::First, GROW, hsetnx),
    Spec::new("hmget", -3, Keys::First, READ, hmget),
    Spec::new("hdel", -3, Keys::First, WRITE, hdel),
    Spec::new("hincrby", 4, Keys::First, GROW, hincrby),
    Spec::new("hgetall", 2, Keys::First, READ, hgetall),
    Spec::new("hkeys", 2, Keys::First, READ, hkeys),
    Spec::new("hvals", 2, Keys::First, READ, hvals),
    Spec::new("hlen", 2, Keys::First, READ, hlen),
    Spec::new("hexists", 3, Keys::First, READ, hexists),
    Spec::new("hscan", -3, Keys::First, READ, hscan),
];

fn hget(call: &mut Call<'_>) -> Outcome {
    let field = &call.args[2];
    let value = call.read::<Hash>()?.and_then(|hash| hash.get(field));
    Ok(Reply::optional(value))
}

fn hset(call: &mut Call<'_>) -> Outcome {
    let pairs = call.args[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(ErrorReply::arity("hset"));
    }
    let hash = call.create::<Hash>()?;
    let new = pairs.filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none());
    Ok(Reply::count(new.count()))
}

fn hsetnx(call: &mut Call<'_>) -> Outcome {
    let (field, value) = (&call.args[2], &call.args[3]);
    let hash = call.create::<Hash>()?;
    let is_new = !hash.contains(field);
    if is_new {
        hash.insert(field.clone(), value.clone());
    }
    Ok(Reply::flag(is_new))
}

fn hmget(call: &mut Call<'_>) -> Outcome {
    let fields = &call.args[2..];
    let hash = call.read::<Hash>()?;
    let values = fields
        .iter()
        .map(|field| Reply::optional(hash.and_then(|hash| hash.get(field))));
    Ok(Reply::Array(values.collect()))
}

fn hdel(call: &mut Call<'_>) -> Outcome {
    let fields = &call.args[2..];
    let Some(hash) = call.change::<Hash>()? else {
        return Ok(Reply::Int(0));
    };
    let removed = fields
        .iter()
        .filter(|field| hash.remove(field).is_some())
        .count();
    call.prune();
    Ok(Reply::count(removed))
}

fn hincrby(call: &mut Call<'_>) -> Outcome {
    let (field, increment) = (&call.args[2], call.integer(3)?);
    let current = match call.read::<Hash>()?.and_then(|hash| hash.get(field)) {
        None => 0,
        Some(value) => number::integer(value)
            .ok_or_else(|| ErrorReply::plain("hash value is not an integer"))?,
    };
    let sum = current
        .checked_add(increment)
        .ok_or_else(|| ErrorReply::plain("increment or decrement would overflow"))?;
    let hash = call.create::<Hash>()?;
    hash.insert(field.clone(), Bytes::from(sum.to_string()));
    Ok(Reply::Int(sum))
}

fn hgetall(call: &mut Call<'_>) -> Outcome {
    let hash = call.read::<Hash>()?;
    let pairs = hash
        .into_iter()
        .flat_map(Hash::iter)
        .map(|(field, value)| (Reply::bulk(field), Reply::bulk(value)));
    Ok(Reply::Map(pairs.collect()))
}

fn hkeys(call: &mut Call<'_>) -> Outcome {
    let hash = call.read::<Hash>()?;
    Ok(Reply::bulks(hash.into_iter().flat_map(Hash::names)))
}

fn hvals(call: &mut Call<'_>) -> Outcome {
    let hash = call.read::<Hash>()?;
    let pairs = hash.into_iter().flat_map(Hash::iter);
    Ok(Reply::bulks(pairs.map(|(_, value)| value)))
}

fn hlen(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::count(call.read::<Hash>()?.map_or(0, Hash::len)))
}

fn hexists(call: &mut Call<'_>) -> Outcome {
    let field = &call.args[2];
    let hash = call.read::<Hash>()?;
    Ok(Reply::flag(hash.is_some_and(|hash| hash.contains(field))))
}

fn hscan(call: &mut Call<'_>) -> Outcome {
    let cursor = scan::cursor(&call.args[2])?;
    let words = &call.args[3..];
    let Some(hash) = call.read::<Hash>()? else {
        return Ok(scan::reply(0, Vec::new()));
    };
    let options = Options::parse(words, scan::Of::Value)?;
    let (next, found) = hash.scan(cursor, options.count);
    let pairs = found
        .into_iter()
        .filter(|(field, _)| options.matches(field))
        .flat_map(|(field, value)| [Reply::bulk(field), Reply::bulk(value)]);
    Ok(scan::reply(next, pairs.collect()))
}
