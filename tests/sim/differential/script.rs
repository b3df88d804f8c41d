//! Random scripts, put together from commands and from what Lua and Redis' libraries do.

use std::fmt::Write;

use bytes::Bytes;

use super::generate::{self, word};
use crate::random::Random;

/// A script and how it is called.
pub(super) struct Script {
    pub(super) text: Bytes,
    pub(super) keys: Vec<Bytes>,
    pub(super) argv: Vec<Bytes>,
}

impl Script {
    /// What one needs to see of it.
    pub(super) fn describe(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        let own = text.strip_prefix(START).unwrap_or(&text);
        format!("{own}\nwith {:?} and {:?}", self.keys, self.argv)
    }
}

/// What scripts start with: `add` collects what they return; `norm` takes away what is left to chance or time.
const START: &str = r"
local out = {}
local function add(...)
  for i = 1, select('#', ...) do
    local value = select(i, ...)
    if value == nil then value = 'nil' end
    out[#out + 1] = value
  end
end
local function sort(list)
  if type(list) == 'table' and not list.err then table.sort(list) end
  return list
end
local norm = setmetatable({
  smembers = sort, hkeys = sort, hvals = sort, keys = sort, spop = sort, srandmember = sort,
  hgetall = function(flat)
    if flat.err then return flat end
    local lines = {}
    for i = 1, #flat, 2 do lines[#lines + 1] = flat[i] .. '=' .. flat[i + 1] end
    return sort(lines)
  end,
  ttl = function(left) return type(left) == 'number' and math.min(left, 1) or left end,
  time = function(now) return #now end,
  scan = function(step) return step.err and step or sort(step[2]) end,
}, {__index = function() return function(...) return ... end end})
norm.pttl, norm.hscan, norm.sscan = norm.ttl, norm.scan, norm.scan
local dump
dump = function(value)
  if value == cjson.null then return 'null' end
  if type(value) ~= 'table' then return type(value) .. ':' .. tostring(value) end
  local lines = {}
  for key, item in pairs(value) do lines[#lines + 1] = dump(key) .. '=' .. dump(item) end
  return '{' .. table.concat(sort(lines), ',') .. '}'
end
";

/// Lines that do not depend on what is stored.
const LINES: &[&str] = &[
    "add(3.99, -3.99, 0.5, -0.5, 2^53, -2^53)",
    "add(1e15, 123456789012)",
    "add(true, false, nil)",
    "add({1, 2, nil, 4}, {}, {{}}, {a = 1})",
    "add({ok = 'fine'}, {err = 'MINE is wrong'}, {err = 'short'})",
    "add({err = 'MINE a\\nb'}, {err = 'MINE a\\r\\n'}, {err = 'MINE'}, {err = ''})",
    "add({ok = 1}, {err = 2}, {ok = 'a\\r\\nb'})",
    "add(redis.status_reply('fine'), redis.error_reply('MINE is wrong'))",
    "add(redis.error_reply('-MINE is wrong'), redis.error_reply('short'), redis.error_reply(5), redis.error_reply(''))",
    "add(redis.error_reply('Two words'), redis.error_reply('MINE line\\r\\n'), redis.error_reply('A  b'))",
    "add(redis.status_reply(5), redis.status_reply())",
    "add(redis.sha1hex('abc'), redis.sha1hex(''), redis.sha1hex(5))",
    "add(#KEYS, #ARGV, KEYS[1], ARGV[1], KEYS[9])",
    "add(tostring(10 / 3), 10 / 3 .. '', tostring(1e100), tostring(-0.1), 5 .. '')",
    "add(string.format('%d %.3f %s %5d|%-5s|', 3, 1.5, 'x', 42, 'y'))",
    "add(tonumber('0x10'), tonumber(' 5 '), tonumber('5x'), tonumber('1e3'), tonumber('z', 36))",
    "add(math.floor(-1.5), math.max(1, 7, 3), math.huge > 1, 7 % 3, -7 % 3)",
    "add(string.sub('abcdef', 2, -2), string.rep('ab', 3), ('x'):upper(), #'four')",
    "add(string.find('key:{tag}', '{(.-)}'))",
    "add(table.concat({1, 2, 3}, ','), unpack({1, 2, 3}))",
    "add(pcall(error), pcall(error, 'text'), pcall(error, 'text', 0))",
    "add(pcall(error, {err = 'MINE is wrong'}), select('#', pcall(error, {err = 'x'})))",
    "add(pcall(function() return 1, 2, 3 end))",
    "add(pcall(function() local x = nil; return x.y end))",
    "add(pcall(redis.call), pcall(redis.pcall), redis.pcall())",
    "add(redis.pcall('nothing'), redis.pcall('get'), redis.pcall('get', 'a', 'b', 'c'))",
    "add(redis.pcall('eval', 'return 1', 0), redis.pcall('subscribe', 't'), redis.pcall('script', 'flush'))",
    "add(redis.pcall('get', {}), redis.pcall('get', true), redis.pcall('get', nil))",
    "add(pcall(function() x = 1 end), pcall(function() return x end))",
    "add(pcall(rawset, _G, 'x', 1), pcall(function() redis.call = 1 end), pcall(function() string.x = 1 end))",
    "add(pcall(setmetatable, _G, {}), type(_G), type(_VERSION))",
    "add(redis.log(redis.LOG_NOTICE, 'text'))",
    "add(cjson.encode({}), cjson.encode({1, 2}), cjson.encode({[1] = 1, [3] = 3}), cjson.encode({{}, {1}}))",
    "add(cjson.encode(1.5), cjson.encode(1e15), cjson.encode(1 / 3), cjson.encode(-0.1), cjson.encode(123456789012345678))",
    "add(cjson.encode('\\0\\1\\8\\9\\10\\12\\13\\31\\127\\200/\\\\\"'), cjson.encode(nil), cjson.encode(cjson.null))",
    "add(cjson.encode({a = {b = {}}}), cjson.encode({[1.5] = true}), cjson.encode({[-1] = 1}), cjson.encode({[0] = 1}))",
    "add(cjson.encode({x = cjson.null, y = false}))",
    "add(pcall(cjson.encode, {[1] = 1, [40] = 2}), pcall(cjson.encode, {[true] = 1}), pcall(cjson.encode, print == nil))",
    "add(pcall(cjson.encode, function() end), pcall(cjson.encode, 1 / 0), pcall(cjson.encode, 0 / 0), (pcall(cjson.encode)))",
    "add((pcall(cjson.encode, 1, 2)), (pcall(cjson.decode)), (pcall(cjson.decode, {})), pcall(cjson.decode, 5))",
    "local deep = {}; for i = 1, 1001 do deep = {deep} end; add(pcall(cjson.encode, deep))",
    "add(pcall(cjson.decode, string.rep('[', 1001)), pcall(cjson.decode, string.rep('[', 1000)))",
    "add(cjson.decode('[1,{\"a\":null}]')[2].a == cjson.null, type(cjson.null), cjson.null)",
    "for i = 1, 3 do redis.call('rpush', KEYS[1], i, i / 2, i * 1e16) end",
    "redis.call('set', KEYS[1], 0.1); add(redis.call('get', KEYS[1]))",
    "redis.call('set', KEYS[1], 1e20); add(redis.call('get', KEYS[1]))",
    "redis.call('hset', KEYS[2], 'f', 10 / 3, 'g', -0.5, 'h', 2^53); add(redis.call('hget', KEYS[2], 'f'))",
    "redis.call('del', KEYS[2]); redis.call('zadd', KEYS[2], 0.1, 'f', 1e17, 'g', 1.5, 'h'); add(redis.call('zrange', KEYS[2], 0, -1, 'withscores'))",
    "add(redis.call('publish', 't', 'from a script'), redis.call('spublish', 'u', 'from a script'))",
    "add(type(redis.call('get', 'missing')), type(redis.call('hgetall', 'missing')), redis.call('ping').ok)",
    "if redis.call('exists', KEYS[1]) == 0 then redis.call('set', KEYS[1], 'x', 'px', 45) end",
];

/// How scripts end. An error without a text is left out: Redis 7.0.15 crashes from it.
const ENDS: &[&str] = &[
    "return out",
    "return out",
    "return out",
    "return out",
    "return out",
    "return out",
    "return #out",
    "return",
    "return 1.9",
    "return true",
    "return {err = 'MINE is wrong'}",
    "return {ok = 'fine'}",
    "return redis.error_reply('MINE is wrong')",
    "return cjson.null",
    "return 2^63",
    "return -2^63",
    "return 0 / 0",
    "return function() end",
    "return 'text', 5",
    "error('stop')",
    "error({err = 'MINE stop'})",
    "error()",
    "undefined()",
    "return undefined",
    "x = 1",
    "redis.call('nothing')",
    "redis.call('get')",
    "return redis.call('hmget', KEYS[1], 'f', 'g')",
    "return redis.call('hget', KEYS[1], 'f')",
    "return redis.call('set', KEYS[1], 'x')",
    "return redis.pcall('lpush', KEYS[1], 'x')",
    "syntax error",
    "return (",
    "return ...",
];

/// What is decoded, whole or damaged.
const JSON: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "[1,2.5,-3e2,0.1]",
    "{\"a\":1,\"b\":[{\"c\":null}]}",
    "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
    "[[],{},\"\"]",
    " { \"a\" : \"b\" , \"c\" : false } ",
    "{\"a\":1,\"a\":2}",
    "{\"1\":1,\"x\":[1,null,3]}",
    "-0",
    "1e400",
    "nan",
    "Infinity",
    "-inf",
    "+5",
    "01",
    "1.",
    ".5",
    "\"\\ud83d\"",
    "\"\\ude00\\ud83d\"",
    "\"\\u12\"",
    "[1,]",
    "{\"a\"}",
    "{a:1}",
    "[1 2]",
    "tru",
    "\"open",
    "",
    "1 2",
    "\u{e9}",
    "{\"user\":\"4\",\"info\":{\"name\":\"Zo\u{eb}\"}}",
    "123456789012345678",
    "[0.1,1e15,1e14,123456789.125]",
];

/// A script that reads and changes keys.
pub(super) fn any(random: &mut Random) -> Script {
    let keys: Vec<_> = ["a", "b"].map(word).into();
    let argv: Vec<_> = ["f", "7"].map(word).into();
    let mut text = START.to_owned();
    for _ in 0..1 + random.below(6) {
        let line = match random.below(4) {
            0 => generate::any(LINES, random).to_owned(),
            _ => command(&keys, &argv, random),
        };
        writeln!(text, "{line}").expect("a string grows");
    }
    text.push_str(generate::any(ENDS, random));
    Script {
        text: text.into(),
        keys,
        argv,
    }
}

/// A script that decodes JSON, damaged now and then, and encodes what came out.
pub(super) fn json(random: &mut Random) -> Script {
    let mut json = generate::any(JSON, random).as_bytes().to_vec();
    if random.below(2) == 0 && !json.is_empty() {
        let at = random.below(json.len());
        match random.below(3) {
            0 => json.truncate(at),
            1 => json[at] = *random.pick(b"\"\\{}[],:0e.-tn\0 /"),
            _ => json.insert(at, *random.pick(b"\"\\{}[],:0e.-tn\0 /")),
        }
    }
    let end = r"
local ok, value = pcall(cjson.decode, ARGV[1])
if not ok then return value end
return {dump(value), (select(2, pcall(cjson.encode, value)))}";
    Script {
        text: format!("{START}{end}").into(),
        keys: Vec::new(),
        argv: vec![json.into()],
    }
}

/// A script that works on its keys, which may be of several hash slots, and on one that it did not declare together with others.
pub(super) fn clustered(random: &mut Random) -> Script {
    let text = generate::any(
        &[
            "return redis.call('mget', unpack(KEYS))",
            "return redis.call('set', KEYS[1], ARGV[1])",
            "return redis.call('spublish', KEYS[1], ARGV[1])",
            "return redis.pcall('mget', KEYS[1], 'undeclared')",
            "return redis.call('publish', 'anywhere', ARGV[1])",
            "return redis.call('del', KEYS[1], '{x}b')",
        ],
        random,
    );
    let keys =
        (0..1 + random.below(3)).map(|_| word(generate::any(&["{x}a", "{x}b", "x", "a"], random)));
    Script {
        text: word(text),
        keys: keys.collect(),
        argv: vec![word("7")],
    }
}

/// A command as a line of a script.
fn command(keys: &[Bytes], argv: &[Bytes], random: &mut Random) -> String {
    let mut words = generate::data_command(random);
    let name = String::from_utf8_lossy(&words[0]).to_lowercase();
    if name == "spop" || name == "srandmember" {
        // All, so that it does not matter which come first.
        words.truncate(2);
        words.push(word("1000"));
    }
    let literals: Vec<_> = words
        .iter()
        .map(|word| literal(word, keys, argv, random))
        .collect();
    let list = literals.join(", ");
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase());
    let norm = if is_plain { &name } else { "none" };
    match random.below(8) {
        0 => format!("redis.call({list})"),
        1 => format!("add(pcall(function() return norm.{norm}(redis.call({list})) end))"),
        2 | 3 => format!("add(norm.{norm}(redis.call({list})))"),
        _ => format!("add(norm.{norm}(redis.pcall({list})))"),
    }
}

/// A word in Lua: by its place among the arguments, as a number, or as a string.
fn literal(word: &Bytes, keys: &[Bytes], argv: &[Bytes], random: &mut Random) -> String {
    let place = |words: &[Bytes]| words.iter().position(|other| other == word);
    let is_number =
        word.len() < 17 && word.iter().all(u8::is_ascii_digit) && !word.starts_with(b"0");
    match (place(keys), place(argv), random.below(2)) {
        (Some(at), _, 0) => format!("KEYS[{}]", at + 1),
        (_, Some(at), 0) => format!("ARGV[{}]", at + 1),
        (_, _, 0) if is_number && !word.is_empty() => String::from_utf8_lossy(word).into_owned(),
        _ => quoted(word),
    }
}

fn quoted(word: &Bytes) -> String {
    let escaped = word.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b' ' => char::from(*byte).to_string(),
        byte => format!("\\{byte:03}"),
    });
    format!("'{}'", escaped.collect::<String>())
}
