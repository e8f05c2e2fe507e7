-- Ends a lease.
-- KEYS: lease
-- ARGV: owner, channel, key
local held = redis.call('HMGET', KEYS[1], 'o', 'f')
if held[1] ~= ARGV[1] then return 'expired' end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], 'r 0 0 ' .. held[2] .. ' ' .. ARGV[3])
return 'ok'
