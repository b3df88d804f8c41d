-- Notes buckets in which a node is about to have rows, so that the node that removes a dead node's rows finds them.
--
-- KEYS     leases, the node's buckets
-- ARGV     the node, then the buckets
--
-- Returns 1, or 0 when the node has no lease: then no node would ever look for its rows.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
for i = 2, #ARGV do redis.call('SADD', KEYS[2], ARGV[i]) end
return 1
