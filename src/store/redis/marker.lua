-- Returns the marker, which is set if there is none, and the time. It is a write even then, so a replica refuses it. A Redis
-- that is full still has its data, and its marker is returned.
--
-- KEYS[1]: the marker; ARGV[1]: a new one

local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local set = redis.pcall('SET', KEYS[1], ARGV[1], 'NX')
if not set then return {redis.call('GET', KEYS[1]), now} end
if not set.err then return {ARGV[1], now} end
local marker = not string.find(set.err, 'READONLY', 1, true) and redis.call('GET', KEYS[1])
return marker and {marker, now} or set
