//! Commands of lists.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Call, ErrorReply, Reply,
    reply::Outcome,
    store::List,
    table::{GROW, Keys, READ, Spec, WRITE},
};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("lpush", -3, Keys::First, GROW, lpush),
    Spec::new("rpush", -3, Keys::First, GROW, rpush),
    Spec::new("lpop", -2, Keys::First, WRITE, lpop),
    Spec::new("rpop", -2, Keys::First, WRITE, rpop),
    Spec::new("lrange", 4, Keys::First, READ, lrange),
    Spec::new("llen", 2, Keys::First, READ, llen),
    Spec::new("ltrim", 4, Keys::First, WRITE, ltrim),
    Spec::new("lindex", 3, Keys::First, READ, lindex),
];

fn lpush(call: &mut Call<'_>) -> Outcome {
    push(call, List::push_front)
}

fn rpush(call: &mut Call<'_>) -> Outcome {
    push(call, List::push_back)
}

fn push(call: &mut Call<'_>, push: fn(&mut List, Bytes)) -> Outcome {
    let items = &call.args[2..];
    let list = call.create::<List>()?;
    for item in items {
        push(list, item.clone());
    }
    Ok(Reply::count(list.len()))
}

fn lpop(call: &mut Call<'_>) -> Outcome {
    pop(call, "lpop", List::pop_front)
}

fn rpop(call: &mut Call<'_>) -> Outcome {
    pop(call, "rpop", List::pop_back)
}

fn pop(call: &mut Call<'_>, name: &str, pop: fn(&mut List) -> Option<Bytes>) -> Outcome {
    let count = match call.args.len() {
        2 => None,
        3 => Some(call.count(2)?),
        _ => return Err(ErrorReply::arity(name)),
    };
    let Some(list) = call.change::<List>()? else {
        return Ok(Reply::Nil);
    };
    let mut popped = (0..count.unwrap_or(1))
        .map_while(|_| pop(list))
        .map(Reply::Bulk);
    let reply = match count {
        None => popped.next().expect("a list has items"),
        Some(_) => Reply::Array(popped.collect()),
    };
    call.prune();
    Ok(reply)
}

fn lrange(call: &mut Call<'_>) -> Outcome {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let items = call
        .read::<List>()?
        .into_iter()
        .flat_map(|list| list.range(span(start, stop, list.len())));
    Ok(Reply::bulks(items))
}

fn llen(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::count(call.read::<List>()?.map_or(0, List::len)))
}

fn ltrim(call: &mut Call<'_>) -> Outcome {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    if let Some(list) = call.change::<List>()? {
        let kept = span(start, stop, list.len());
        list.truncate(kept.end);
        list.drain(..kept.start);
        call.prune();
    }
    Ok(Reply::ok())
}

fn lindex(call: &mut Call<'_>) -> Outcome {
    let index = call.integer(2);
    let Some(list) = call.read::<List>()? else {
        return Ok(Reply::Nil);
    };
    let place = usize::try_from(from_start(index?, list.len()));
    Ok(Reply::optional(
        place.ok().and_then(|place| list.get(place)),
    ))
}

/// The places from start to stop, both included and counted from the end where they are negative.
pub(super) fn span(start: i64, stop: i64, length: usize) -> Range<usize> {
    let start = usize::try_from(from_start(start, length).max(0)).expect("not negative");
    let end = usize::try_from(from_start(stop, length).saturating_add(1).max(0))
        .expect("not negative")
        .min(length);
    if start < end { start..end } else { 0..0 }
}

fn from_start(index: i64, length: usize) -> i64 {
    let length = i64::try_from(length).expect("memory holds less than 2^63 things");
    if index < 0 { index + length } else { index }
}
