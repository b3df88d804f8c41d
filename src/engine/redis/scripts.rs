//! The Lua scripts. Each touches the keys of one channel only (one hash tag), decides and announces an edge in one step, and may
//! be repeated without harm. `docs/adr/0004-redis-engine.md` describes the keys.

use redis::Script;

/// Shared by the scripts that change members: numbers and publishes an edge. `gen` begins with Redis' clock, so that it
/// differs after a loss of all data.
const EDGES: &str = r"
local publish = ARGV[1]
local node = ARGV[2]
local function begin()
  local gen = redis.call('HGET', KEYS[1], 'gen')
  if gen then return gen end
  local now = redis.call('TIME')
  gen = string.format('%d', now[1] * 1000000 + now[2])
  redis.call('HSET', KEYS[1], 'gen', gen, 'seq', 0)
  return gen
end
local gen = begin()
local function seats_of(owner)
  local prefix, users = owner .. '|', {}
  for _, seat in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.sub(seat, 1, #prefix) == prefix then users[#users + 1] = string.sub(seat, #prefix + 1) end
  end
  return users
end
local function edge(user, info, again)
  local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
  local text = '1E[' .. gen .. ',' .. seq .. ',' .. cjson.encode(user) .. ',' .. (info and cjson.encode(info) or 'null') ..
    ',' .. (again and 'true' or 'false') .. ']'
  redis.call(publish, KEYS[6], text)
end
local function arrive(user, info, max, again)
  local seat = node .. '|' .. user
  if redis.call('HEXISTS', KEYS[3], seat) == 1 then return true end
  local nodes = tonumber(redis.call('HGET', KEYS[4], user) or '0')
  if nodes == 0 and max >= 0 and redis.call('HLEN', KEYS[4]) >= max then return false end
  redis.call('HSET', KEYS[3], seat, 1)
  redis.call('HSET', KEYS[4], user, nodes + 1)
  if nodes == 0 then
    redis.call('HSET', KEYS[5], user, info)
    if not again then redis.call('HSET', KEYS[1], 'newest', user) end
    edge(user, info, again)
  end
  return true
end
local function depart(owner, user)
  if redis.call('HDEL', KEYS[3], owner .. '|' .. user) == 0 then return end
  if redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
    redis.call('HDEL', KEYS[4], user)
    redis.call('HDEL', KEYS[5], user)
    edge(user, nil, false)
  end
end
local function subscriptions()
  local total = 0
  for _, count in ipairs(redis.call('HVALS', KEYS[2])) do total = total + tonumber(count) end
  return total
end
local function tell(total)
  redis.call(publish, KEYS[6], '1N' .. total)
end
local function evict(owner)
  redis.call('SADD', KEYS[8], owner)
  redis.call('EXPIRE', KEYS[8], 3600)
  for _, user in ipairs(seats_of(owner)) do depart(owner, user) end
  redis.call('HDEL', KEYS[2], owner)
end
local function rest()
  local total = subscriptions()
  if total == 0 and redis.call('HLEN', KEYS[4]) == 0 then redis.call('EXPIRE', KEYS[1], 3600)
  else redis.call('PERSIST', KEYS[1]) end
  return total
end
";

/// Brings a node's rows of a channel to what they should be. KEYS: meta, subs, seats, users, infos, the pub/sub channel, cache,
/// evicted. ARGV: publish command, node, subscriptions, member limit (-1: none), whether seats that are not named go (1/0), whether
/// to return a snapshot (1/0), whether to tell a new number of subscriptions (1/0), how many arrive, how many of those were seated
/// before, so that the limit is not for them, how many depart, the generation that the node knows (0: none, or it names all its
/// seats), user and info of each who arrives, users who depart, former names of the node. Rows under former names go when the new
/// ones are there, so that nobody hears of it; and nothing that was said under them counts any more, should it still arrive from an
/// old connection.
/// Returns {0, generation, sequence, total, refused users, snapshot (user, info, …) or nil, cached frame or nil, its ttl in ms, the
/// user who came last or nil}; {1} when the node's rows were evicted; {2} when Redis lost the generation, and so the node's lease.
const ASSERT: &str = r"
if redis.call('SISMEMBER', KEYS[8], node) == 1 then return {1} end
if ARGV[11] ~= '0' and ARGV[11] ~= gen then
  rest()
  return {2}
end
local count, max = tonumber(ARGV[3]), tonumber(ARGV[4])
local before = subscriptions()
local arriving, seated, departing = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local refused, named = {}, {}
for i = 1, arriving do
  local user, info = ARGV[10 + 2 * i], ARGV[11 + 2 * i]
  named[user] = true
  if not arrive(user, info, i > seated and max or -1, i <= seated) then refused[#refused + 1] = user end
end
local departs = 11 + 2 * arriving
for i = departs + 1, departs + departing do depart(node, ARGV[i]) end
if ARGV[5] == '1' then
  for _, user in ipairs(seats_of(node)) do
    if not named[user] then depart(node, user) end
  end
end
for i = departs + departing + 1, #ARGV do evict(ARGV[i]) end
if count > 0 then redis.call('HSET', KEYS[2], node, count) else redis.call('HDEL', KEYS[2], node) end
local total = rest()
if ARGV[7] == '1' and total ~= before then tell(total) end
local members, cached, ttl = false, false, -1
if ARGV[6] == '1' then
  members = redis.call('HGETALL', KEYS[5])
  cached = redis.call('GET', KEYS[7])
  ttl = redis.call('PTTL', KEYS[7])
end
return {0, gen, redis.call('HGET', KEYS[1], 'seq'), total, refused, members, cached, ttl, redis.call('HGET', KEYS[1], 'newest')}
";

/// Removes all rows of a node that is no more, and keeps it from writing there again. KEYS and the first two ARGV as [`ASSERT`].
/// Returns the subscriptions that are left.
const EVICT: &str = r"
local before = subscriptions()
evict(node)
local total = rest()
if total ~= before then tell(total) end
return total
";

/// Answers a query. KEYS: subs, users, cache. Returns {subscriptions, users, cached frame or nil, its ttl in ms}.
const SHOW: &str = r"
local total = 0
for _, count in ipairs(redis.call('HVALS', KEYS[1])) do total = total + tonumber(count) end
return {total, redis.call('HLEN', KEYS[2]), redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3])}
";

/// Keeps a node's lease and says whose has run out. KEYS: leases, connection counts. ARGV: node, lease in ms, its counts as JSON,
/// its former names, under which it counts no more; what may be left under them is cleared up in time.
/// Returns {whether the lease was still held, expired nodes}.
const LEASE: &str = r"
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
redis.call('ZADD', KEYS[1], ms + tonumber(ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
for i = 4, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
  redis.call('ZADD', KEYS[1], 'NX', ms + tonumber(ARGV[2]), ARGV[i])
end
return {held, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ms)}
";

/// All scripts, loaded once.
pub(super) struct Scripts {
    pub(super) assert: Script,
    pub(super) evict: Script,
    pub(super) show: Script,
    pub(super) lease: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            assert: Script::new(&format!("{EDGES}{ASSERT}")),
            evict: Script::new(&format!("{EDGES}{EVICT}")),
            show: Script::new(SHOW),
            lease: Script::new(LEASE),
        }
    }
}
