//! Commands of sorted sets.

use bytes::Bytes;

use super::{
    Call, ErrorReply, Protocol, Reply, is_option, lists, number,
    reply::Outcome,
    store::Sorted,
    table::{GROW, Keys, READ, Spec, WRITE},
};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("zadd", -4, Keys::First, GROW, zadd),
    Spec::new("zscore", 3, Keys::First, READ, zscore),
    Spec::new("zmscore", -3, Keys::First, READ, zmscore),
    Spec::new("zrem", -3, Keys::First, WRITE, zrem),
    Spec::new("zcard", 2, Keys::First, READ, zcard),
    Spec::new("zcount", 4, Keys::First, READ, zcount),
    Spec::new("zrange", -4, Keys::First, READ, zrange),
    Spec::new("zrangebyscore", -4, Keys::First, READ, zrangebyscore),
    Spec::new("zremrangebyscore", 4, Keys::First, WRITE, zremrangebyscore),
];

fn zadd(call: &mut Call<'_>) -> Outcome {
    let (options, pairs) = AddOptions::parse(&call.args[2..])?;
    let pairs = pairs
        .chunks_exact(2)
        .map(|pair| {
            let score = number::double(&pair[0]);
            let score = score.ok_or_else(|| ErrorReply::plain("value is not a valid float"))?;
            Ok((&pair[1], score))
        })
        .collect::<Result<Vec<_>, ErrorReply>>()?;
    let is_missing = call.read::<Sorted>()?.is_none();
    if is_missing && options.only == Some(Only::Present) {
        return Ok(options.reply(&Added::default()));
    }
    let sorted = call.create::<Sorted>()?;
    let mut added = Added::default();
    for (member, score) in pairs {
        options.add(sorted, member, score, &mut added)?;
    }
    Ok(options.reply(&added))
}

#[derive(Default)]
struct AddOptions {
    only: Option<Only>,
    compared: Option<Compared>,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq)]
enum Only {
    Missing,
    Present,
}

#[derive(Clone, Copy, PartialEq)]
enum Compared {
    Greater,
    Less,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Answer {
    #[default]
    New,
    Changed,
    /// The score is added to the present one, and the sum is the answer.
    Sum,
}

/// What became of the pairs.
#[derive(Default)]
struct Added {
    new: usize,
    updated: usize,
    /// The last score that an option did not forbid.
    score: Option<f64>,
}

impl AddOptions {
    fn parse(words: &[Bytes]) -> Result<(Self, &[Bytes]), ErrorReply> {
        const NAMES: [&str; 6] = ["nx", "xx", "gt", "lt", "ch", "incr"];
        let is_name = |word: &Bytes| NAMES.iter().any(|name| is_option(word, name));
        let count = words.iter().take_while(|word| is_name(word)).count();
        let (options, pairs) = words.split_at(count);
        if pairs.is_empty() || pairs.len() % 2 != 0 {
            return Err(ErrorReply::syntax());
        }
        let given = |name| options.iter().any(|word| is_option(word, name));
        if given("nx") && given("xx") {
            let text = "XX and NX options at the same time are not compatible";
            return Err(ErrorReply::plain(text));
        }
        if given("gt") && given("lt") || given("nx") && (given("gt") || given("lt")) {
            let text = "GT, LT, and/or NX options at the same time are not compatible";
            return Err(ErrorReply::plain(text));
        }
        if given("incr") && pairs.len() > 2 {
            let text = "INCR option supports a single increment-element pair";
            return Err(ErrorReply::plain(text));
        }
        let parsed = Self {
            only: match given("nx") {
                true => Some(Only::Missing),
                false => given("xx").then_some(Only::Present),
            },
            compared: match given("gt") {
                true => Some(Compared::Greater),
                false => given("lt").then_some(Compared::Less),
            },
            answer: match (given("incr"), given("ch")) {
                (true, _) => Answer::Sum,
                (false, true) => Answer::Changed,
                (false, false) => Answer::New,
            },
        };
        Ok((parsed, pairs))
    }

    fn add(
        &self,
        sorted: &mut Sorted,
        member: &Bytes,
        given: f64,
        added: &mut Added,
    ) -> Result<(), ErrorReply> {
        let Some(current) = sorted.score(member) else {
            if self.only != Some(Only::Present) {
                sorted.set(member, given);
                added.new += 1;
                added.score = Some(given);
            }
            return Ok(());
        };
        if self.only == Some(Only::Missing) {
            return Ok(());
        }
        let score = match self.answer {
            Answer::Sum => current + given,
            Answer::New | Answer::Changed => given,
        };
        if score.is_nan() {
            let text = "resulting score is not a number (NaN)";
            return Err(ErrorReply::plain(text));
        }
        let is_allowed = match self.compared {
            None => true,
            Some(Compared::Greater) => score > current,
            Some(Compared::Less) => score < current,
        };
        if !is_allowed {
            return Ok(());
        }
        added.score = Some(score);
        if score != current {
            sorted.set(member, score);
            added.updated += 1;
        }
        Ok(())
    }

    fn reply(&self, added: &Added) -> Reply {
        match self.answer {
            Answer::New => Reply::count(added.new),
            Answer::Changed => Reply::count(added.new + added.updated),
            Answer::Sum => added.score.map_or(Reply::Nil, Reply::Double),
        }
    }
}

fn zscore(call: &mut Call<'_>) -> Outcome {
    let member = &call.args[2];
    let sorted = call.read::<Sorted>()?;
    let score = sorted.and_then(|sorted| sorted.score(member));
    Ok(score.map_or(Reply::Nil, Reply::Double))
}

fn zmscore(call: &mut Call<'_>) -> Outcome {
    let members = &call.args[2..];
    let sorted = call.read::<Sorted>()?;
    let scores = members.iter().map(|member| {
        let score = sorted.and_then(|sorted| sorted.score(member));
        score.map_or(Reply::Nil, Reply::Double)
    });
    Ok(Reply::Array(scores.collect()))
}

fn zrem(call: &mut Call<'_>) -> Outcome {
    let members = &call.args[2..];
    let Some(sorted) = call.change::<Sorted>()? else {
        return Ok(Reply::Int(0));
    };
    let removed = members
        .iter()
        .filter(|member| sorted.remove(member))
        .count();
    call.prune();
    Ok(Reply::count(removed))
}

fn zcard(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::count(call.read::<Sorted>()?.map_or(0, Sorted::len)))
}

fn zcount(call: &mut Call<'_>) -> Outcome {
    let range = ScoreRange::parse(&call.args[2], &call.args[3])?;
    let sorted = call.read::<Sorted>()?;
    let members = sorted.into_iter().flat_map(Sorted::iter);
    Ok(Reply::count(
        members.filter(|(_, score)| range.contains(*score)).count(),
    ))
}

fn zremrangebyscore(call: &mut Call<'_>) -> Outcome {
    let range = ScoreRange::parse(&call.args[2], &call.args[3])?;
    let Some(sorted) = call.change::<Sorted>()? else {
        return Ok(Reply::Int(0));
    };
    let within = sorted
        .iter()
        .filter(|(_, score)| range.contains(*score))
        .map(|(member, _)| member.clone())
        .collect::<Vec<_>>();
    for member in &within {
        sorted.remove(member);
    }
    call.prune();
    Ok(Reply::count(within.len()))
}

/// Scores from one bound to another.
struct ScoreRange {
    min: Bound,
    max: Bound,
}

enum Bound {
    Inclusive(f64),
    Exclusive(f64),
}

impl ScoreRange {
    fn parse(min: &Bytes, max: &Bytes) -> Result<Self, ErrorReply> {
        match (Bound::parse(min), Bound::parse(max)) {
            (Some(min), Some(max)) => Ok(Self { min, max }),
            _ => Err(ErrorReply::plain("min or max is not a float")),
        }
    }

    fn contains(&self, score: f64) -> bool {
        let is_above = match self.min {
            Bound::Inclusive(min) => score >= min,
            Bound::Exclusive(min) => score > min,
        };
        is_above
            && match self.max {
                Bound::Inclusive(max) => score <= max,
                Bound::Exclusive(max) => score < max,
            }
    }
}

impl Bound {
    /// As C's `strtod` takes it: an empty text is 0, and what is too large is infinite.
    fn parse(text: &Bytes) -> Option<Self> {
        let (number, kind): (_, fn(f64) -> Self) = match text.strip_prefix(b"(") {
            Some(number) => (number, Self::Exclusive),
            None => (&text[..], Self::Inclusive),
        };
        let found = number::double_prefix(number);
        let is_whole = found.length == number.len() && !found.value.is_nan();
        is_whole.then(|| kind(found.value))
    }
}

fn zrange(call: &mut Call<'_>) -> Outcome {
    let options = RangeOptions::parse(&call.args[4..], By::Index, &["rev", "byscore"])?;
    range(call, &options)
}

fn zrangebyscore(call: &mut Call<'_>) -> Outcome {
    let options = RangeOptions::parse(&call.args[4..], By::Score, &[])?;
    range(call, &options)
}

struct RangeOptions {
    by: By,
    direction: Direction,
    scores: Scores,
    offset: i64,
    limit: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Index,
    Score,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

#[derive(Clone, Copy, PartialEq)]
enum Scores {
    Without,
    With,
}

impl RangeOptions {
    /// `also` lists what the command takes besides `LIMIT` and `WITHSCORES`.
    fn parse(words: &[Bytes], by: By, also: &[&str]) -> Result<Self, ErrorReply> {
        let mut options = Self {
            by,
            direction: Direction::Up,
            scores: Scores::Without,
            offset: 0,
            limit: -1,
        };
        let integer = |word: &Bytes| number::integer(word).ok_or_else(ErrorReply::not_an_integer);
        let takes = |word: &Bytes, name| also.contains(&name) && is_option(word, name);
        let mut rest = words;
        while let [word, after @ ..] = rest {
            rest = after;
            if is_option(word, "withscores") {
                options.scores = Scores::With;
            } else if is_option(word, "limit") && after.len() >= 2 {
                (options.offset, options.limit) = (integer(&after[0])?, integer(&after[1])?);
                rest = &after[2..];
            } else if takes(word, "rev") && options.direction == Direction::Up {
                options.direction = Direction::Down;
            } else if takes(word, "byscore") && options.by == By::Index {
                options.by = By::Score;
            } else {
                return Err(ErrorReply::syntax());
            }
        }
        if options.limit != -1 && options.by == By::Index {
            let text =
                "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(ErrorReply::plain(text));
        }
        Ok(options)
    }
}

fn range(call: &mut Call<'_>, options: &RangeOptions) -> Outcome {
    let (protocol, args) = (call.protocol, call.args);
    let selected = match options.by {
        By::Index => by_index(call, options)?,
        By::Score => {
            let (min, max) = match options.direction {
                Direction::Up => (&args[2], &args[3]),
                Direction::Down => (&args[3], &args[2]),
            };
            let range = ScoreRange::parse(min, max)?;
            by_score(call, options, &range)?
        }
    };
    let selected = selected.into_iter();
    Ok(Reply::Array(match (options.scores, protocol) {
        (Scores::Without, _) => selected.map(|(member, _)| Reply::Bulk(member)).collect(),
        (Scores::With, Protocol::Resp2) => selected
            .flat_map(|(member, score)| [Reply::Bulk(member), Reply::Double(score)])
            .collect(),
        (Scores::With, Protocol::Resp3) => selected
            .map(|(member, score)| Reply::Array(vec![Reply::Bulk(member), Reply::Double(score)]))
            .collect(),
    }))
}

type Members = Vec<(Bytes, f64)>;

fn by_index(call: &mut Call<'_>, options: &RangeOptions) -> Result<Members, ErrorReply> {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let Some(sorted) = call.read::<Sorted>()? else {
        return Ok(Vec::new());
    };
    let span = lists::span(start, stop, sorted.len());
    let members = ordered(sorted, options.direction);
    Ok(members.skip(span.start).take(span.len()).collect())
}

fn by_score(
    call: &mut Call<'_>,
    options: &RangeOptions,
    range: &ScoreRange,
) -> Result<Members, ErrorReply> {
    let Some(sorted) = call.read::<Sorted>()? else {
        return Ok(Vec::new());
    };
    // A negative offset skips everything, a negative limit is none.
    let offset = usize::try_from(options.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let members = ordered(sorted, options.direction);
    let within = members.filter(|(_, score)| range.contains(*score));
    Ok(within.skip(offset).take(limit).collect())
}

fn ordered(sorted: &Sorted, direction: Direction) -> impl Iterator<Item = (Bytes, f64)> {
    let up = sorted.iter();
    let members: Box<dyn Iterator<Item = (&Bytes, f64)>> = match direction {
        Direction::Up => Box::new(up),
        Direction::Down => Box::new(up.rev()),
    };
    members.map(|(member, score)| (member.clone(), score))
}
