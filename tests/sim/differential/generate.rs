//! Random commands: from a small alphabet, so that keys meet values of other types, and now and then wrong.

use bytes::Bytes;

use crate::random::Random;

/// Commands with placeholders for their arguments: `K` a key, `F` a field or member, `V` a value, `N` an integer, `Z` a score, `B` a bound of scores,
/// `I` an index, `E` a time to live in s, `M` one in ms, `A` a time in ms, `G` a pattern, `U` a cursor, `T` a topic.
const TEMPLATES: &[&str] = &[
    "get K",
    "set K V",
    "set K V",
    "set K V ex E",
    "set K V px M",
    "set K V nx",
    "set K V xx",
    "set K V keepttl",
    "set K V get",
    "set K V nx get",
    "set K V xx get keepttl",
    "set K V ex E get",
    "set K V nx ex E",
    "set K V pxat A",
    "set K V ex E px M",
    "set K V nx xx",
    "setnx K V",
    "del K",
    "del K K K",
    "unlink K K",
    "exists K",
    "exists K K K",
    "type K",
    "expire K E",
    "pexpire K M",
    "pexpireat K A",
    "pexpireat K A nx",
    "pexpireat K A xx",
    "pexpireat K A gt",
    "pexpireat K A lt",
    "pexpireat K A xx lt",
    "pexpireat K A nx gt",
    "pexpireat K A gt lt",
    "expire K E nx",
    "persist K",
    "ttl K",
    "pttl K",
    "time",
    "incr K",
    "incrby K N",
    "decr K",
    "append K V",
    "strlen K",
    "mget K",
    "mget K K K",
    "hget K F",
    "hset K F V",
    "hset K F V",
    "hset K F V F V F V",
    "hsetnx K F V",
    "hmget K F F",
    "hdel K F",
    "hdel K F F F F F",
    "hincrby K F N",
    "hincrby K F N",
    "hgetall K",
    "hkeys K",
    "hvals K",
    "hlen K",
    "hexists K F",
    "hscan K U count 1000",
    "hscan K U match G count 1000",
    "sadd K F",
    "sadd K F F F",
    "srem K F",
    "srem K F F F F F",
    "smembers K",
    "scard K",
    "sismember K F",
    "smismember K F F",
    "sscan K U count 1000",
    "sscan K U match G count 1000",
    "spop K",
    "spop K N",
    "srandmember K",
    "srandmember K N",
    "srandmember K N V",
    "zadd K Z F",
    "zadd K Z F Z F Z F",
    "zadd K nx Z F",
    "zadd K xx Z F",
    "zadd K gt Z F",
    "zadd K lt Z F Z F",
    "zadd K ch Z F Z F",
    "zadd K xx ch gt Z F",
    "zadd K incr Z F",
    "zadd K nx incr Z F",
    "zadd K gt incr Z F",
    "zadd K xx lt incr Z F",
    "zadd K gt lt Z F",
    "zscore K F",
    "zmscore K F F",
    "zrem K F",
    "zrem K F F F F",
    "zcard K",
    "zcount K B B",
    "zrange K I I",
    "zrange K I I withscores",
    "zrange K I I rev withscores",
    "zrange K B B byscore",
    "zrange K B B byscore rev limit I I",
    "zrange K I I limit I I",
    "zrangebyscore K B B",
    "zrangebyscore K B B withscores",
    "zrangebyscore K B B limit I I",
    "zrangebyscore K B B withscores limit I I",
    "zremrangebyscore K B B",
    "lpush K V",
    "lpush K V V",
    "rpush K V",
    "rpush K V V V",
    "lpop K",
    "rpop K",
    "lpop K N",
    "rpop K I",
    "lrange K I I",
    "llen K",
    "ltrim K I I",
    "lindex K I",
    "ping",
    "ping V",
    "scan U count 1000",
    "scan U count 0",
    "hscan K U count -1",
    "scan U match G count 1000",
    "scan U type V count 1000",
    "keys G",
    "dbsize",
    "flushall",
    "flushall V",
];

/// Commands of pub/sub, which scripts may not all use.
const PUBSUB: &[&str] = &[
    "publish T V",
    "spublish T V",
    "publish T V",
    "spublish T V",
    "subscribe T",
    "subscribe T T",
    "ssubscribe T",
    "ssubscribe T T",
    "unsubscribe T",
    "unsubscribe",
    "sunsubscribe T",
    "sunsubscribe",
    "pubsub numsub",
    "pubsub numsub T",
    "pubsub numsub T T T",
    "pubsub shardnumsub",
    "pubsub shardnumsub T",
    "PUBSUB ShardNumSub T T T",
    "pubsub nothing",
    "pubsub",
];

const KEYS: &[&str] = &["a", "b", "c", "d", "e", "f"];
const FIELDS: &[&str] = &["f", "g", "h", "i", "", "\u{e9}\0\r\n"];
const VALUES: &[&str] = &[
    "0",
    "1",
    "7",
    "-3",
    "42",
    "007",
    "9223372036854775807",
    "-9223372036854775808",
    "3.5",
    "",
    "text",
    "hash",
    "string",
    "\u{e9}\0\r\n",
    " 1",
];
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "-1",
    "-2",
    "10",
    "9223372036854775807",
    "-9223372036854775808",
    "x",
    "1.5",
];
const SCORES: &[&str] = &[
    "0",
    "1",
    "2",
    "2.5",
    "-1",
    "-0.5",
    "1e3",
    "+inf",
    "-inf",
    "nan",
    "x",
    "",
    "1700000000123",
    "17",
    "-0",
];
const BOUNDS: &[&str] = &[
    "0",
    "1",
    "(1",
    "2.5",
    "(2.5",
    "-inf",
    "+inf",
    "inf",
    "(inf",
    "-1",
    "(1700000000123",
    "1e999",
    "",
    "(",
    " 1",
    "x",
    "nan",
];
const INDEXES: &[&str] = &["0", "1", "2", "-1", "-2", "-3", "100", "-100", "x"];
const SECONDS: &[&str] = &["100", "200", "1000", "0", "-1", "x", "9223372036854775807"];
const MILLISECONDS: &[&str] = &["100000", "200000", "30", "45", "0", "-5", "x"];
const TIMES: &[&str] = &[
    "3000000000000",
    "3100000000000",
    "3200000000000",
    "1000",
    "0",
    "-1",
    "x",
];
const PATTERNS: &[&str] = &[
    "*", "a", "?", "[a-c]", "[^a]", "*f*", "\\a", "", "[", "[a", "[^", "[c-a]", "[\\]a]", "a*",
    "**", "f\\", "h?", "[a-",
];
const CURSORS: &[&str] = &["0", "0", "0", "", "x", "-", "+0"];
const TOPICS: &[&str] = &["t", "u", "v"];
const TAGGED: &[&str] = &[
    "{x}a", "{x}b", "x", "a{x}", "{}x", "x{}", "{x", "}x{", "a{x}{y}", "{{x}}", "",
];
const OPTIONS: &[&str] = &[
    "nx",
    "xx",
    "GET",
    "ex",
    "withscores",
    "LIMIT",
    "count",
    "match",
    "ch",
    "rev",
    "0",
    "a",
];

/// Whether some command of this name is made; a subcommand's is `script|load`.
pub(super) fn makes(name: &str) -> bool {
    let start = name.replace('|', " ");
    let is_made = |template: &&str| {
        let rest = template.strip_prefix(&*start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    TEMPLATES.iter().chain(PUBSUB).any(is_made)
}

/// A command of any kind.
pub(super) fn command(random: &mut Random) -> Vec<Bytes> {
    if random.below(10) == 0 {
        return one_of(PUBSUB, random);
    }
    data_command(random)
}

/// A command that works on keys, sometimes a wrong one.
pub(super) fn data_command(random: &mut Random) -> Vec<Bytes> {
    let mut words = one_of(TEMPLATES, random);
    match random.below(40) {
        0 => {
            words.pop();
        }
        1 => words.push(word(any(OPTIONS, random))),
        2 => {
            let at = random.below(words.len());
            words[at] = word(any(OPTIONS, random));
        }
        _ => {}
    }
    if words.is_empty() {
        words.push(word("nothing"));
    }
    if random.below(4) == 0 {
        words[0] = words[0].to_ascii_uppercase().into();
    }
    words
}

/// A command of several keys, some of them in one hash slot.
pub(super) fn tagged_command(random: &mut Random) -> Vec<Bytes> {
    let name = any(
        &[
            "exists",
            "del",
            "mget",
            "unlink",
            "ssubscribe",
            "sunsubscribe",
        ],
        random,
    );
    let mut words = vec![word(name)];
    words.extend((0..1 + random.below(3)).map(|_| word(any(TAGGED, random))));
    words
}

/// A command from these templates.
fn one_of(templates: &[&str], random: &mut Random) -> Vec<Bytes> {
    fill(any(templates, random), random)
}

fn fill(template: &str, random: &mut Random) -> Vec<Bytes> {
    let words = template.split(' ').map(|part| {
        let texts = match part {
            "K" => KEYS,
            "F" => FIELDS,
            "V" => VALUES,
            "N" => INTEGERS,
            "Z" => SCORES,
            "B" => BOUNDS,
            "I" => INDEXES,
            "E" => SECONDS,
            "M" => MILLISECONDS,
            "A" => TIMES,
            "G" => PATTERNS,
            "U" => CURSORS,
            "T" => TOPICS,
            literal => return word(literal),
        };
        word(any(texts, random))
    });
    words.collect()
}

pub(super) fn any<'a>(texts: &[&'a str], random: &mut Random) -> &'a str {
    let text: &&str = random.pick(texts);
    text
}

pub(super) fn word(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
