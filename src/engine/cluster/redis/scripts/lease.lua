-- Renews a node's lease, and takes on the nodes whose leases have run out.
--
-- KEYS     leases, connection counts, condemned nodes
-- ARGV[1]  the request as JSON: node; begins: whether it is the first lease under this epoch; lasts_ms; formers: earlier epochs
--          of the node that still have rows; connections: counts by app, as JSON; take_max: how many dead nodes to take on;
--          reaping: dead nodes that it is removing; reaper_ms: how long it alone may do so; control: the topic of all nodes;
--          listeners: the PUBSUB subcommand that counts its listeners
--
-- Returns {whether the lease was still held, dead nodes taken on, nodes with a lease, nodes that listen}.
local request = cjson.decode(ARGV[1])
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local ends = ms + request.lasts_ms

local held = redis.call('ZSCORE', KEYS[1], request.node) and 1 or 0
-- A node that was condemned must not look alive again, should it not hear of that now.
if held == 1 or request.begins then
  redis.call('ZADD', KEYS[1], ends, request.node)
  redis.call('HSET', KEYS[2], request.node, request.connections)
end
local formers = 0
for _, former in ipairs(request.formers) do
  -- Also one of which Redis has lost the lease: should this node end, others must find its rows.
  if not redis.call('ZSCORE', KEYS[3], former) then redis.call('ZADD', KEYS[1], ends, former) end
  redis.call('HDEL', KEYS[2], former)
  if redis.call('ZSCORE', KEYS[1], former) then formers = formers + 1 end
end

for _, dead in ipairs(request.reaping) do
  redis.call('ZADD', KEYS[3], 'XX', ms + request.reaper_ms, dead)
end
local taken = {}
local function take_on(dead)
  redis.call('ZREM', KEYS[1], dead)
  redis.call('ZADD', KEYS[3], ms + request.reaper_ms, dead)
  taken[#taken + 1] = dead
end
for _, set in ipairs({KEYS[1], KEYS[3]}) do
  local room = request.take_max - #taken
  if room > 0 then
    for _, dead in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', '(' .. ms, 'LIMIT', 0, room)) do take_on(dead) end
  end
end

-- Without permission for PUBSUB, no node counts as listening.
local listeners = redis.pcall('PUBSUB', request.listeners, request.control)
local listening = listeners[2] or 0
return {held, taken, redis.call('ZCOUNT', KEYS[1], ms, '+inf') - formers, tonumber(listening)}
