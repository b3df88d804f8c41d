-- Adds an event to its channel's history, behind the time in 15 digits of ms, and publishes it. What exceeds the limits is
-- removed from the front. A repetition is only published, as in keep.lua.
--
-- KEYS     the history, the last numbers of the senders
-- ARGV[1]  the request as JSON: publish; topic; sender; number; events and age_s: how much is kept; bytes_max; senders_s
-- ARGV[2]  the envelope
local request, envelope = cjson.decode(ARGV[1]), ARGV[2]

local function record()
  if tonumber(redis.call('HGET', KEYS[2], request.sender) or '0') >= request.number then return end
  local now = redis.call('TIME')
  local entry = string.format('%015d', now[1] * 1000 + math.floor(now[2] / 1000)) .. envelope
  local length = redis.call('LLEN', KEYS[1])
  local bytes = length > 0 and tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0') or 0
  redis.call('RPUSH', KEYS[1], entry)
  length, bytes = length + 1, bytes + #entry
  while length > request.events or (length > 0 and bytes > request.bytes_max) do
    bytes = bytes - #redis.call('LPOP', KEYS[1])
    length = length - 1
  end
  redis.call('EXPIRE', KEYS[1], request.age_s)
  redis.call('HSET', KEYS[2], request.sender, request.number, 'bytes', bytes)
  redis.call('EXPIRE', KEYS[2], math.max(request.senders_s, request.age_s))
end

local recorded, failure = pcall(record)
redis.call(request.publish, request.topic, envelope)
if not recorded then return redis.error_reply(type(failure) == 'table' and failure.err or tostring(failure)) end
return 1
