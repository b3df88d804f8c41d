-- Has a node hold a name, unless another does.
--
-- KEYS     the name
-- ARGV     the node, for how many seconds, a node that is gone
--
-- Returns who holds it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
