//! The Lua scripts. Each touches the keys of one channel only (one hash tag), decides and announces an edge in one step, and may
//! be repeated without harm. `docs/adr/0004-redis-engine.md` describes the keys.

use redis::Script;

/// Shared by the scripts that change members: numbers and publishes an edge. `gen` begins with Redis' clock, so that it
/// differs after a loss of all data.
///
/// What an app's backend is to hear (if `hooks` is not '0') is given back to the caller: in `told` what is true at once, in
/// `pending` what is to be claimed later, each with a mark and the time to wait in ms. The fields are `c` for the channel, `u` and an id
/// for a member, `n` for the number of subscriptions; `s`, a session and those it replaces, is only told. Whoever comes back takes the mark away, and nobody hears of either.
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
local hooks, teller, told, pending, unsure = '0', node, {}, {}, {}
local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
local function leave_mark(field, wait)
  local mark = teller .. '|' .. gen .. '|' .. redis.call('HINCRBY', KEYS[1], 'mark', 1)
  redis.call('HSET', KEYS[9], field, mark)
  for _, part in ipairs({field, mark, wait or 3000}) do pending[#pending + 1] = part end
end
local function heeds()
  return hooks == '1' or hooks == '2'
end
local function came(field)
  if heeds() and redis.call('HDEL', KEYS[9], field) == 0 then told[#told + 1] = field end
end
local function came_again(field)
  if heeds() then redis.call('HDEL', KEYS[9], field) end
end
local function went(field)
  if heeds() and not unsure[field] then leave_mark(field) end
end
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
local function arrive(user, info, max, again, silently)
  local seat = node .. '|' .. user
  if redis.call('HEXISTS', KEYS[3], seat) == 1 then return true end
  local nodes = tonumber(redis.call('HGET', KEYS[4], user) or '0')
  if nodes == 0 and max >= 0 and redis.call('HLEN', KEYS[4]) >= max then return false end
  local others = hooks == 's' and nodes == 0 and not again and redis.call('HKEYS', KEYS[4]) or {}
  if #others > 0 then told[#told + 1] = 's' .. cjson.encode({user, others}) end
  redis.call('HSET', KEYS[3], seat, 1)
  redis.call('HSET', KEYS[4], user, nodes + 1)
  if nodes == 0 then
    redis.call('HSET', KEYS[5], user, info)
    if not again then redis.call('HSET', KEYS[1], 'newest', user) end
    edge(user, info, again)
    if silently then came_again('u' .. user) else came('u' .. user) end
  end
  return true
end
local function depart(owner, user)
  if redis.call('HDEL', KEYS[3], owner .. '|' .. user) == 0 then return end
  if redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
    redis.call('HDEL', KEYS[4], user)
    redis.call('HDEL', KEYS[5], user)
    edge(user, nil, false)
    went('u' .. user)
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
local function tell_backend(total)
  if hooks ~= '2' then return end
  local now, last = milliseconds(), tonumber(redis.call('HGET', KEYS[1], 'counted') or '0')
  if total <= 100 or now - last >= 5000 then
    if total > 100 then redis.call('HSET', KEYS[1], 'counted', now) end
    redis.call('HDEL', KEYS[9], 'n')
    told[#told + 1] = 'n' .. total
  elseif redis.call('HEXISTS', KEYS[9], 'n') == 0 then
    leave_mark('n', last + 5000 - now)
  end
end
local function take_marks(owner)
  local marks, prefix, vacated = redis.call('HGETALL', KEYS[9]), owner .. '|', false
  for i = 1, #marks, 2 do
    if string.sub(marks[i + 1], 1, #prefix) == prefix then
      if marks[i] == 'c' then vacated = true else leave_mark(marks[i]) end
    end
  end
  if vacated then leave_mark('c') end
end
local function evict(owner)
  redis.call('SADD', KEYS[8], owner)
  redis.call('EXPIRE', KEYS[8], 3600)
  if heeds() then take_marks(owner) end
  for _, user in ipairs(seats_of(owner)) do depart(owner, user) end
  redis.call('HDEL', KEYS[2], owner)
end
local function rest()
  local total = subscriptions()
  local keep = total > 0 or redis.call('HLEN', KEYS[4]) > 0
  for _, key in ipairs({KEYS[1], KEYS[9]}) do
    if keep then redis.call('PERSIST', key) else redis.call('EXPIRE', key, 3600) end
  end
  if total == 0 then redis.call('DEL', KEYS[10]) end
  return total
end
";

/// Brings a node's rows of a channel to what they should be. KEYS: meta, subs, seats, users, infos, the pub/sub channel, cache,
/// evicted, gone, missed. ARGV: publish command, node, subscriptions, member limit (-1: none), whether seats that are not named go
/// (1/0), whether to return a snapshot (1/0), whether to tell a new number of subscriptions (1/0), how many arrive, how many of those
/// were seated before, so that the limit is not for them, how many depart, the generation that the node knows (0: none), what the
/// backend hears (0: nothing, 1: edges, 2: numbers too, s: of sessions), whether Redis knew the node as a subscriber (1/0), how many are unsure, user
/// and info of each who arrives, users who depart, fields whose arrival was written before without an answer, former names of the
/// node. Rows under former names go when the new ones are there, so that nobody hears of it; and nothing that was said under them
/// counts any more, should it still arrive from an old connection.
/// Returns {0, generation, sequence, total, refused users, snapshot (user, info, …) or nil, cached frame or nil, its ttl in ms, the
/// user who came last or nil, what to tell the backend now, and later}; {1} when the node's rows were evicted; {2} when Redis lost the
/// generation, and so the node's lease, and the node does not name all its seats.
const ASSERT: &str = r"
if redis.call('SISMEMBER', KEYS[8], node) == 1 then return {1} end
local lost = ARGV[11] ~= '0' and ARGV[11] ~= gen
if lost and ARGV[5] ~= '1' then
  rest()
  return {2}
end
hooks = ARGV[12]
local count, max = tonumber(ARGV[3]), tonumber(ARGV[4])
local before = subscriptions()
local arriving, seated, departing = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local departs = 14 + 2 * arriving
local unsures = departs + departing
local formers = unsures + tonumber(ARGV[14])
for i = unsures + 1, formers do unsure[ARGV[i]] = true end
-- Who was removed because the node seemed dead comes back for everyone; who is put back after a loss had never gone.
local reaped = false
for i = formers + 1, #ARGV do
  if redis.call('SISMEMBER', KEYS[8], ARGV[i]) == 1 then reaped = true end
end
local was_there = ARGV[13] == '1' and not reaped
if before == 0 and count > 0 then
  if was_there then came_again('c') else came('c') end
end
local refused, named = {}, {}
for i = 1, arriving do
  local user, info = ARGV[13 + 2 * i], ARGV[14 + 2 * i]
  named[user] = true
  local again = i <= seated
  if not arrive(user, info, again and -1 or max, again, again and not reaped) then refused[#refused + 1] = user end
end
for i = departs + 1, unsures do depart(node, ARGV[i]) end
if ARGV[5] == '1' then
  for _, user in ipairs(seats_of(node)) do
    if not named[user] then depart(node, user) end
  end
end
for i = formers + 1, #ARGV do evict(ARGV[i]) end
if count > 0 then redis.call('HSET', KEYS[2], node, count) else redis.call('HDEL', KEYS[2], node) end
local total = subscriptions()
local hears = {}
for _, field in ipairs(told) do hears[field] = true end
for i = unsures + 1, formers do
  local field, user = ARGV[i], string.sub(ARGV[i], 2)
  local alone = field == 'c' and count > 0 and total == count or named[user] and redis.call('HGET', KEYS[4], user) == '1'
  if alone and not hears[field] then came(field) end
end
local function lost_too(field)
  if heeds() and redis.call('HEXISTS', KEYS[9], field) == 0 then leave_mark(field) end
end
if lost then
  for i = departs + 1, unsures do
    if redis.call('HEXISTS', KEYS[4], ARGV[i]) == 0 then lost_too('u' .. ARGV[i]) end
  end
end
if before > 0 and total == 0 then went('c') elseif lost and was_there and total == 0 then lost_too('c') end
rest()
if ARGV[7] == '1' and total ~= before then
  tell(total)
  if not lost then tell_backend(total) end
end
local members, cached, ttl = false, false, -1
if ARGV[6] == '1' then
  members = redis.call('HGETALL', KEYS[5])
  cached = redis.call('GET', KEYS[7])
  ttl = redis.call('PTTL', KEYS[7])
end
local seq, newest = redis.call('HGET', KEYS[1], 'seq'), redis.call('HGET', KEYS[1], 'newest')
return {0, gen, seq, total, refused, members, cached, ttl, newest, told, pending}
";

/// Removes all rows of a node that is no more, and keeps it from writing there again; what it had yet to tell the backend passes to
/// the caller. KEYS and the first two ARGV as [`ASSERT`], then what the backend hears, and the caller.
/// Returns {the subscriptions that are left, what to tell the backend now, and later}.
const EVICT: &str = r"
hooks, teller = ARGV[3], ARGV[4]
local before = subscriptions()
evict(node)
local total = subscriptions()
if total == 0 and before > 0 then went('c') end
rest()
if total ~= before then
  tell(total)
  tell_backend(total)
end
return {total, told, pending}
";

/// Settles what was to be told later: whoever comes back from now on is told. KEYS as [`ASSERT`]. ARGV: publish command, node, fields
/// and their marks. Returns for each field the subscriptions if the mark is still there, else -1.
const CLAIM: &str = r"
local total, still = rest(), {}
for i = 3, #ARGV, 2 do
  local holds = redis.call('HGET', KEYS[9], ARGV[i]) == ARGV[i + 1]
  if holds then
    redis.call('HDEL', KEYS[9], ARGV[i])
    if ARGV[i] == 'n' then redis.call('HSET', KEYS[1], 'counted', milliseconds()) end
  end
  still[#still + 1] = holds and total or -1
end
return still
";

/// Notes that a subscriber found a cache channel empty. KEYS: cache, missed. Returns whether it was the first since the channel was
/// filled or vacated.
const MISS: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('SETNX', KEYS[2], 1)
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

/// Gives a lease back. KEYS as [`LEASE`]. ARGV: node, lease that it still needs (1/0): then it has just run out, so that another node
/// takes over what is left, provided that there is one. Returns how many others there are.
const RESIGN: &str = r"
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
local others = redis.call('ZCOUNT', KEYS[1], ms, '+inf')
if ARGV[2] == '1' then redis.call('ZADD', KEYS[1], others > 0 and 0 or ms + 6000, ARGV[1]) end
return others
";

/// A channel's history. KEYS: the history. Returns {the time in ms, entries}.
const PAST: &str = r"
local now = redis.call('TIME')
return {now[1] * 1000 + math.floor(now[2] / 1000), redis.call('LRANGE', KEYS[1], 0, -1)}
";

/// All scripts, loaded once.
pub(super) struct Scripts {
    pub(super) assert: Script,
    pub(super) evict: Script,
    pub(super) claim: Script,
    pub(super) miss: Script,
    pub(super) show: Script,
    pub(super) past: Script,
    pub(super) lease: Script,
    pub(super) resign: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            assert: Script::new(&format!("{EDGES}{ASSERT}")),
            evict: Script::new(&format!("{EDGES}{EVICT}")),
            claim: Script::new(&format!("{EDGES}{CLAIM}")),
            miss: Script::new(MISS),
            show: Script::new(SHOW),
            past: Script::new(PAST),
            lease: Script::new(LEASE),
            resign: Script::new(RESIGN),
        }
    }
}
