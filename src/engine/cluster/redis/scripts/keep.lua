-- Keeps an event as its channel's last and publishes it. A sender repeats what it is not sure to have sent, and an old connection
-- may deliver it late: neither replaces a newer event, so a repetition is published, for those who missed it, as one that is not kept.
--
-- KEYS     the event, the last numbers of the senders, whether a subscriber found none
-- ARGV[1]  the request as JSON: publish; topic; sender; number; ttl_s; header: bytes before the frame; senders_s: how long numbers are kept
-- ARGV[2]  the envelope
local request, envelope = cjson.decode(ARGV[1]), ARGV[2]

local function keep()
  if tonumber(redis.call('HGET', KEYS[2], request.sender) or '0') >= request.number then
    envelope = string.sub(envelope, 1, 1) .. 'P' .. string.sub(envelope, 3)
    return
  end
  redis.call('SET', KEYS[1], string.sub(envelope, request.header + 1), 'EX', request.ttl_s)
  redis.call('HSET', KEYS[2], request.sender, request.number)
  redis.call('EXPIRE', KEYS[2], request.senders_s)
  redis.call('DEL', KEYS[3])
end

-- What can't be kept reaches the subscribers all the same.
local kept, failure = pcall(keep)
redis.call(request.publish, request.topic, envelope)
if not kept then return redis.error_reply(type(failure) == 'table' and failure.err or tostring(failure)) end
return 1
