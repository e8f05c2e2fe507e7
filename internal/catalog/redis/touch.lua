-- Notes that a sandbox was in use.
-- KEYS: sandbox
-- ARGV: last active
local old = redis.call('HMGET', KEYS[1], 'a', 'x')
if not old[1] then return 'missing' end
if old[2] then return 'deleted' end
if tonumber(ARGV[1]) > tonumber(old[1]) then redis.call('HSET', KEYS[1], 'a', ARGV[1]) end
return 'ok'
