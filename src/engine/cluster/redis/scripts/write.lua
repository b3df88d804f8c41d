-- Settles one batch of a node's changes in one bucket: all channels of an app whose names hash to the same number.
--
-- KEYS[1]  the bucket's base name; every key of the bucket begins with it, so that one call may touch them all in a Redis Cluster
-- ARGV[1]  the request as JSON (docs/adr/0007-cluster-core.md lists its fields)
--
-- A batch carries a number that rises with each batch of the process, and the number of the node's last batch here that was
-- answered. So a batch that is sent again is not executed again: its answer is given again. A batch that an old connection delivers
-- late is refused, and so is one that follows batches which Redis has lost.
--
-- Returns {status, results, told, pending, remaining}. status: ok; missing: the node has no rows here or was evicted; stale: a later
-- batch was here before; behind: earlier batches were lost; unregistered: the node's first batch here lacks the current
-- token, so its registration may be lost. results: per channel 0, {'failed', text}, or what a subscriber of a
-- channel with shared state needs. told: what the app's backend hears now. pending: departures to be claimed later, each with a
-- mark and the time to wait. remaining: channels of the reaped node, nil when it has none left.
local base = KEYS[1]
local request = cjson.decode(ARGV[1])
local node, rules = request.node, request.rules
local told, pending = {}, {}

local function key(part) return base .. ':' .. part end
local function of(part, name) return base .. ':' .. part .. ':' .. name end

local function now_us()
  local now = redis.call('TIME')
  return string.format('%d', now[1] * 1000000 + now[2])
end

local function now_ms() return math.floor(now_us() / 1000) end

-- Marks of departures -------------------------------------------------------------------------------------------------------

local function mark_field(kind, name, user)
  if kind == 'u' then return 'u:' .. #name .. ':' .. name .. ':' .. user end
  return kind .. ':' .. name
end

local function parse_mark_field(field)
  local kind, rest = string.sub(field, 1, 1), string.sub(field, 3)
  if kind ~= 'u' then return kind, rest, '' end
  local length, at = string.match(rest, '^(%d+):()')
  length = tonumber(length)
  return kind, string.sub(rest, at, at + length - 1), string.sub(rest, at + length + 1)
end

local function leave_mark(kind, name, user, wait_ms)
  local mark = node .. '|' .. request.number .. '|' .. #pending
  redis.call('HSET', key('gone'), mark_field(kind, name, user), mark)
  pending[#pending + 1] = {kind, name, user, mark, wait_ms or rules.departure_ms}
end

-- Removes the mark of a departure; returns whether there was one.
local function take_mark(kind, name, user)
  return redis.call('HDEL', key('gone'), mark_field(kind, name, user)) == 1
end

-- One channel ---------------------------------------------------------------------------------------------------------------

local function hears_edges(entry) return entry.hooks == 'edges' or entry.hooks == 'counts' end

local function came(entry, kind, user, silently)
  if hears_edges(entry) and not take_mark(kind, entry.name, user) and not silently then
    told[#told + 1] = {kind == 'u' and 'added' or 'occupied', entry.name, user}
  end
end

local function went(entry, kind, user)
  if hears_edges(entry) then leave_mark(kind, entry.name, user) end
end

local function generation(name)
  local meta = of('meta', name)
  local known = redis.call('HGET', meta, 'generation')
  if known then return known end
  known = now_us()
  redis.call('HSET', meta, 'generation', known, 'sequence', 0)
  return known
end

local function publish(name, text) redis.call(request.publish, base .. ':' .. name, text) end

-- Announces a number of subscriptions with its time, so that a node knows which of two is newer.
local function publish_count(entry, total)
  if entry.tells then publish(entry.name, '2N[' .. total .. ',' .. now_us() .. ']') end
end

-- Numbers and announces a change of members.
local function announce(entry, user, info, again)
  local begun = generation(entry.name)
  local sequence = redis.call('HINCRBY', of('meta', entry.name), 'sequence', 1)
  publish(entry.name, '2E[' .. begun .. ',' .. sequence .. ',' .. cjson.encode(user) .. ','
    .. (info and cjson.encode(info) or 'null') .. ',' .. (again and 'true' or 'false') .. ']')
end

-- On how many nodes the user is, and the user's info.
local function member(name, user)
  local value = redis.call('HGET', of('members', name), user)
  if not value then return 0, nil end
  local nodes, info = string.match(value, '^(%d+)|(.*)$')
  if not nodes then error('a member of ' .. name .. ' is damaged') end
  return tonumber(nodes), info
end

-- Reports a session that replaces others.
local function tell_replaced(entry, user)
  if entry.hooks ~= 'sessions' then return end
  local others = {}
  for _, other in ipairs(redis.call('HKEYS', of('members', entry.name))) do
    if other ~= user then others[#others + 1] = other end
  end
  if #others > 0 then told[#told + 1] = {'session', entry.name, user, cjson.encode(others)} end
end

-- A session that has a seat already has a new connection: it is the newest again.
local function renew(entry, user, info)
  if redis.call('HGET', of('meta', entry.name), 'newest') == user then return end
  tell_replaced(entry, user)
  redis.call('HSET', of('meta', entry.name), 'newest', user)
  announce(entry, user, info, false)
end

-- Seats a user of this node; not when the channel is full. Reads before it writes: a key of the wrong type leaves everything as it was.
-- `how`: new; newest: the same of a session; again: the user had a seat before.
local function arrive(entry, user, info, how, silently)
  local name, seats, again = entry.name, of('seats:' .. node, entry.name), how == 'again'
  local nodes, known = member(name, user)
  if nodes > 0 then
    if redis.call('SISMEMBER', seats, user) == 0 then
      redis.call('SADD', seats, user)
      redis.call('HSET', of('members', name), user, (nodes + 1) .. '|' .. known)
    end
    if how == 'newest' then renew(entry, user, known) end
    return
  end
  if not again and entry.max >= 0 and redis.call('HLEN', of('members', name)) >= entry.max then return end
  generation(name)
  if how == 'newest' then tell_replaced(entry, user) end
  redis.call('SADD', seats, user)
  redis.call('HSET', of('members', name), user, '1|' .. info)
  if how == 'newest' then redis.call('HSET', of('meta', name), 'newest', user) end
  announce(entry, user, info, again)
  came(entry, 'u', user, silently)
end

-- Takes a user's seat on a node away.
local function depart(entry, owner, user)
  local nodes, info = member(entry.name, user)
  if redis.call('SREM', of('seats:' .. owner, entry.name), user) == 0 then return end
  if nodes > 1 then
    redis.call('HSET', of('members', entry.name), user, (nodes - 1) .. '|' .. info)
  elseif nodes == 1 then
    redis.call('HDEL', of('members', entry.name), user)
    announce(entry, user, nil, false)
    went(entry, 'u', user)
  end
end

-- Takes over what the node wrote under former epochs. Returns the subscriptions found, and whether an epoch was evicted.
local function take_over(entry)
  local found, evicted = 0, false
  for _, former in ipairs(request.formers or {}) do
    local count = redis.call('HGET', key('subs:' .. former), entry.name)
    if count then
      redis.call('HDEL', key('subs:' .. former), entry.name)
      found = found + tonumber(count)
    elseif redis.call('EXISTS', key('dead:' .. former)) == 1 then
      evicted = true
    end
  end
  return found, evicted
end

-- Ends the seats of former epochs. Users who arrive have a new seat by now, so no edge results.
local function end_former_seats(entry)
  for _, former in ipairs(request.formers) do
    for _, user in ipairs(redis.call('SMEMBERS', of('seats:' .. former, entry.name))) do depart(entry, former, user) end
  end
end

local function count_subscriptions(entry, owner, formerly)
  local old = tonumber(redis.call('HGET', key('subs:' .. owner), entry.name) or '0')
  if entry.count > 0 then
    if entry.count ~= old then redis.call('HSET', key('subs:' .. owner), entry.name, entry.count) end
  elseif old > 0 then
    redis.call('HDEL', key('subs:' .. owner), entry.name)
  end
  local change = entry.count - old - formerly
  local total
  if change == 0 then
    total = tonumber(redis.call('HGET', key('total'), entry.name) or '0')
  else
    total = redis.call('HINCRBY', key('total'), entry.name, change)
  end
  if total <= 0 then redis.call('HDEL', key('total'), entry.name) end
  return total, total - change
end

-- The app's backend hears of a new number at once while it is small, else at intervals.
local function tell_count(entry, total)
  if entry.hooks ~= 'counts' then return end
  local now, last = now_ms(), tonumber(redis.call('HGET', key('counted'), entry.name) or '0')
  if total <= rules.count_at_once or now - last >= rules.count_interval_ms then
    if total > rules.count_at_once then redis.call('HSET', key('counted'), entry.name, now) end
    take_mark('n', entry.name, '')
    told[#told + 1] = {'count', entry.name, tostring(total)}
  elseif redis.call('HEXISTS', key('gone'), mark_field('n', entry.name, '')) == 0 then
    leave_mark('n', entry.name, '', last + rules.count_interval_ms - now)
  end
end

-- Nothing of an empty channel stays for long.
local function tidy(entry, total, before)
  local has_members = entry.max ~= nil
  if has_members then
    local users = redis.call('HLEN', of('members', entry.name))
    if users > 0 then
      redis.call('HSET', key('users'), entry.name, users)
    else
      redis.call('HDEL', key('users'), entry.name)
    end
    if total > 0 or users > 0 then
      if before == 0 then redis.call('PERSIST', of('meta', entry.name)) end
    else
      redis.call('EXPIRE', of('meta', entry.name), rules.empty_s)
    end
  end
  if total == 0 then
    if entry.cache then redis.call('DEL', of('missed', entry.name)) end
    if entry.hooks == 'counts' then redis.call('HDEL', key('counted'), entry.name) end
  end
end

-- Leaves marks for departing users whom Redis lost together with their seats.
local function note_lost(entry)
  for _, user in ipairs(entry.departing or {}) do
    if redis.call('HEXISTS', of('members', entry.name), user) == 0
      and redis.call('HEXISTS', key('gone'), mark_field('u', entry.name, user)) == 0 then
      went(entry, 'u', user)
    end
  end
end

-- Looks at a channel's keys before the first write: one of the wrong type leaves everything as it was, to be tried again.
local function look_at(entry, owner)
  if entry.max == nil then return end
  redis.call('HLEN', of('members', entry.name))
  redis.call('HLEN', of('meta', entry.name))
  redis.call('SCARD', of('seats:' .. owner, entry.name))
end

local function settle_own(entry)
  look_at(entry, node)
  local formerly, evicted = take_over(entry)
  local lost = entry.was and formerly == 0 and not evicted
  local total, before = count_subscriptions(entry, node, formerly)
  -- A client removed with a node that seemed dead arrives anew for everyone; one that is restored after a loss had never left.
  if before == 0 and total > 0 then came(entry, 'c', '', entry.was and not evicted) end
  for _, arriving in ipairs(entry.arriving or {}) do
    arrive(entry, arriving[1], arriving[2], arriving[3], arriving[3] == 'again' and not evicted)
  end
  if entry.max ~= nil and request.formers then end_former_seats(entry) end
  for _, user in ipairs(entry.departing or {}) do depart(entry, node, user) end
  if lost then note_lost(entry) end
  if total == 0 and (before > 0 or lost) then went(entry, 'c', '') end
  tidy(entry, total, before)
  if total ~= before then
    publish_count(entry, total)
    if not lost then tell_count(entry, total) end
  end
end

-- Removes what a dead node has in a channel: of many seats a part, the rest with the next batch.
local function settle_reaped(entry)
  look_at(entry, entry.owner)
  local theirs = of('seats:' .. entry.owner, entry.name)
  if entry.max ~= nil then
    for _, user in ipairs(redis.call('SRANDMEMBER', theirs, rules.reaped_seats)) do depart(entry, entry.owner, user) end
    if redis.call('SCARD', theirs) > 0 then return end
  end
  local total, before = count_subscriptions(entry, entry.owner, 0)
  if total == 0 and before > 0 then went(entry, 'c', '') end
  tidy(entry, total, before)
  if total ~= before then
    publish_count(entry, total)
    tell_count(entry, total)
  end
end

-- What a subscriber of a channel with shared state needs.
local function report(entry)
  if entry.owner or entry.count == 0 or not (entry.max or entry.snapshot) then return 0 end
  local name, refused = entry.name, {}
  for _, arriving in ipairs(entry.arriving or {}) do
    if redis.call('SISMEMBER', of('seats:' .. node, name), arriving[1]) == 0 then refused[#refused + 1] = arriving[1] end
  end
  local begun, sequence, newest, members = '0', '0', false, false
  if entry.max then
    begun = generation(name)
    sequence = redis.call('HGET', of('meta', name), 'sequence')
    if entry.snapshot then
      newest = redis.call('HGET', of('meta', name), 'newest')
      members = redis.call('HGETALL', of('members', name))
    end
  end
  local cached, ttl_ms, past = false, -1, false
  if entry.snapshot and entry.cache then
    cached, ttl_ms = redis.call('GET', of('cache', name)), redis.call('PTTL', of('cache', name))
  end
  if entry.snapshot and entry.past then past = {now_ms(), redis.call('LRANGE', of('history', name), 0, -1)} end
  local counted = false
  if entry.snapshot and entry.tells then counted = {redis.call('HGET', key('total'), name) or '0', now_us()} end
  return {begun, sequence, refused, members, newest, cached, ttl_ms, past, counted, entry.snapshot and 1 or 0}
end

-- An error of one channel is that channel's. What concerns the whole server ends the batch.
local function is_everyones(text)
  for _, error in ipairs(rules.errors_of_all) do
    if string.find(text, error, 1, true) then return true end
  end
  return false
end

local function guarded(step, entry)
  local ok, result = pcall(step, entry)
  if ok then return result end
  local text = type(result) == 'table' and result.err or tostring(result)
  if is_everyones(text) then error(text, 0) end
  return {'failed', text}
end

-- Claims and misses ---------------------------------------------------------------------------------------------------------

local claimed_names = {c = 'vacated', u = 'removed', n = 'count'}

local function claim(entry)
  local kind, name, user, mark = entry[1], entry[2], entry[3], entry[4]
  local field = mark_field(kind, name, user)
  if redis.call('HGET', key('gone'), field) ~= mark then return end
  redis.call('HDEL', key('gone'), field)
  local total = redis.call('HGET', key('total'), name) or '0'
  if kind == 'n' then redis.call('HSET', key('counted'), name, now_ms()) end
  told[#told + 1] = {claimed_names[kind], name, kind == 'n' and total or user}
end

-- The mark of a miss goes with the channel's last subscriber, who may have gone while this one waited.
local function miss(name)
  if redis.call('HEXISTS', key('total'), name) == 0 then return end
  if redis.call('EXISTS', of('cache', name)) == 0 and redis.call('SETNX', of('missed', name), 1) == 1 then
    told[#told + 1] = {'missed', name, ''}
  end
end

-- Another node's end --------------------------------------------------------------------------------------------------------

-- Fences a dead node off, keeps the answer that it may not have read, and lists some of its channels. Once none is left, its marks pass to this node.
local function reap(owner)
  local dead, last_answer = key('dead:' .. owner), redis.call('HGET', key('nodes'), owner)
  if last_answer or redis.call('EXISTS', dead) == 0 then
    redis.call('SET', dead, last_answer or '', 'EX', rules.dead_s)
    redis.call('HDEL', key('nodes'), owner)
  else
    redis.call('EXPIRE', dead, rules.dead_s)
  end
  local some, names = redis.call('HSCAN', key('subs:' .. owner), 0, 'COUNT', rules.reaped_channels)[2], {}
  for i = 1, math.min(#some, 2 * rules.reaped_channels), 2 do names[#names + 1] = some[i] end
  if #names > 0 then return names end
  local marks, prefix = redis.call('HGETALL', key('gone')), owner .. '|'
  for i = 1, #marks, 2 do
    if string.sub(marks[i + 1], 1, #prefix) == prefix then leave_mark(parse_mark_field(marks[i])) end
  end
  return false
end

-- The batch -----------------------------------------------------------------------------------------------------------------

local stored = redis.call('HGET', key('nodes'), node)
local is_dead = not stored
-- Of a node that was taken for dead, the last answer is left.
if is_dead and request.too_late then stored = redis.call('GET', key('dead:' .. node)) or nil end
local last = 0
if stored and stored ~= '' then
  last = tonumber(string.match(stored, '^(%d+) '))
  if not last then return redis.error_reply('ERR the number of the last batch is damaged') end
elseif request.close then
  return {'ok', {}, {}, {}, false}
elseif request.too_late then
  redis.call('DEL', key('token:' .. node))
  return {'missing'}
elseif request.after > 0 or redis.call('EXISTS', key('dead:' .. node)) == 1 then
  return {'missing'}
elseif redis.call('GET', key('token:' .. node)) ~= tostring(request.token) then
  return {'unregistered'}
end
if last > request.number then return {'stale'} end
if last < request.after then return {'behind'} end
-- An old connection may deliver the batch yet: it is void from now on.
if last < request.number and request.too_late then
  if not is_dead then redis.call('HSET', key('nodes'), node, request.number .. ' void') end
  return {'missing'}
end

local results, remaining = {}, false
if last == request.number then
  local answer = string.match(stored, '^%d+ (.+)$')
  if answer == 'void' then return {'missing'} end
  if answer then
    answer = cjson.decode(answer)
    told, pending = answer[1], answer[2]
  end
  if request.too_late then
    for i = 1, #(request.channels or {}) do results[i] = 0 end
    return {'ok', results, told, pending, false}
  end
else
  -- Before the channels: whoever found one empty was still there.
  for _, name in ipairs(request.misses or {}) do guarded(miss, name) end
  for i, entry in ipairs(request.channels or {}) do
    results[i] = guarded(entry.owner and settle_reaped or settle_own, entry)
  end
  for _, entry in ipairs(request.claims or {}) do guarded(claim, entry) end
end
-- Of a repeated batch too: what it left of a dead node is asked for again.
if request.reap then remaining = reap(request.reap) end
for i, entry in ipairs(request.channels or {}) do results[i] = results[i] or guarded(report, entry) end
if request.close then
  redis.call('HDEL', key('nodes'), node)
else
  local answer = (#told > 0 or #pending > 0) and cjson.encode({told, pending}) or ''
  redis.call('HSET', key('nodes'), node, request.number .. ' ' .. answer)
  if last == 0 then redis.call('DEL', key('token:' .. node)) end
end
return {'ok', results, told, pending, remaining}
