-- Renews a lease.
-- KEYS: lease
-- ARGV: owner, ttl in ms
if redis.call('HMGET', KEYS[1], 'o')[1] ~= ARGV[1] then return 'expired' end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'ok'
