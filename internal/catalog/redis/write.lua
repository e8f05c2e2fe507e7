-- Writes a record, if its fence is the latest.
-- KEYS: sandbox, fence
-- ARGV: operation, fence, generation or 0, largest number seen, last active,
--       instance, record, deleted or 0, retention in ms, channel, slug
-- Returns {verdict, version, generation, last active, fence, record}.
local op, fence, generation, seen = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local active, instance, record, deleted = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]

local function text(n) return string.format('%.0f', n) end

local drawn = redis.call('HMGET', KEYS[2], 'f', 'n')
if fence < tonumber(drawn[1] or '0') then return {'fenced'} end

local old = redis.call('HMGET', KEYS[1], 'v', 'g', 'a', 'f', 'w', 'd', 'x')
local there, tombstone = old[1], old[7]
local same = {'ok', old[1], old[2], old[3], old[4], old[6]}
if op == 'create' and there then
  if not tombstone then
    -- The same call again: its first answer was lost.
    if old[4] == ARGV[2] and old[6] == record then return same end
    return {'conflict'}
  end
  if instance ~= '' and old[5] == instance then return {'deleted'} end
elseif op == 'put' and tombstone then
  return {'deleted'}
elseif op == 'delete' and tombstone then
  return same
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local version = math.max(tonumber(drawn[2] or '0') + 1, now, seen + 1, fence + 1, generation + 1)
if generation == 0 then generation = version end
if there then
  version = math.max(version, tonumber(old[1]) + 1)
  generation = math.max(generation, tonumber(old[2]))
  if not tombstone then active = math.max(active, tonumber(old[3])) end
end
redis.call('HSET', KEYS[2], 'f', ARGV[2], 'n', text(version))
if tombstone then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'v', text(version), 'g', text(generation), 'f', ARGV[2], 'a', text(active),
  'w', instance, 'd', record)
if op == 'delete' then
  redis.call('HSET', KEYS[1], 'x', deleted)
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
end
redis.call('PUBLISH', ARGV[10],
  table.concat({op == 'delete' and 'd' or 'w', text(version), text(generation), ARGV[2], ARGV[11]}, ' '))
return {'ok', text(version), text(generation), text(active), ARGV[2], record}
