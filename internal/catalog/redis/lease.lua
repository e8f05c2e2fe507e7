-- Takes a lease.
-- KEYS: lease, fence
-- ARGV: owner, ttl in ms, largest number seen
-- Returns {verdict, fence, ms left}.
local held = redis.call('HMGET', KEYS[1], 'o', 'f')
if held[1] and held[1] ~= ARGV[1] then return {'held', held[2], redis.call('PTTL', KEYS[1])} end
if held[1] then -- the same call again: its first answer was lost
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {'ok', held[2], 0}
end
local drawn = redis.call('HMGET', KEYS[2], 'f', 'n')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local fence = string.format('%.0f',
  math.max(tonumber(drawn[1] or '0') + 1, tonumber(drawn[2] or '0') + 1, now, tonumber(ARGV[3]) + 1))
redis.call('HSET', KEYS[2], 'f', fence, 'n', fence)
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'f', fence)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'ok', fence, 0}
