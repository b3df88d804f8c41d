-- Gives a node's lease back.
--
-- KEYS     leases, connection counts, the node's buckets
-- ARGV     the node; 'handover' when departures wait that another node is to claim, else 'done'; how long a lease lasts, in ms
--
-- With a handover the lease has just run out, so that another node takes on what is left; without another node it goes on.
-- Returns how many other nodes there are.
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
local others = redis.call('ZCOUNT', KEYS[1], ms, '+inf')
if ARGV[2] == 'handover' then
  redis.call('ZADD', KEYS[1], others > 0 and 0 or ms + tonumber(ARGV[3]), ARGV[1])
else
  redis.call('DEL', KEYS[3])
end
return others
