-- Reads or writes a value, or takes a lease.
--
-- KEYS[1]: the value or the lease
-- ARGV[1]: the time until which the caller waits, or 0: a change that runs later was told to have failed, and must not happen
-- ARGV[2]: what to do
-- ARGV[3]: the text of a value, or the holder of a lease
-- ARGV[4]: the text that a value must have still, absent if there must be none; or the lease's time in milliseconds, 0 to give it back

if ARGV[2] == 'get' then
  local text = redis.call('GET', KEYS[1])
  return text and {'value', text} or {'none'}
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[1] ~= '0' and now > tonumber(ARGV[1]) then return {'late'} end

if ARGV[2] == 'put' then
  redis.call('SET', KEYS[1], ARGV[3])
  return {'done'}
end

if ARGV[2] == 'put if' then
  -- A value that is not there is false in Lua, and an absent argument is nil.
  if (redis.call('GET', KEYS[1]) or nil) ~= ARGV[4] then return {'another'} end
  redis.call('SET', KEYS[1], ARGV[3])
  return {'done'}
end

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[3] then return {'held'} end
if ARGV[4] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return {'done'}
