-- Adds a tunnel, or writes one again that is connected here.
--
-- ARGV[3]: its life, in milliseconds
-- ARGV[4]: when it was made; ARGV[5]: the address that made it
-- ARGV[6]: the hash of its key, empty for an original one; ARGV[7]: ttl; ARGV[8]: timeout; ARGV[9]: whether an end has joined
-- ARGV[10]: the marker that must be there, else a name may be somebody's whose server has not written it again; empty for any
-- ARGV[11]: hold; ARGV[12]: ends; ARGV[13]: repeat; ARGV[14]: rules; absent for an original one

if is_late() then return {'late'} end
if ARGV[10] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[10] then return absent() end
local there = keyed()
if there then return {there.key == ARGV[6] and 'same' or 'taken'} end
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
  return {ARGV[6] == '' and is_original() and 'same' or 'taken'}
end
if ARGV[6] == '' then
  redis.call('HSET', KEYS[3], 'ip', ARGV[5], 'created', ARGV[4], 'socketId', '')
  redis.call('EXPIRE', KEYS[3], whole(math.ceil(tonumber(ARGV[3]) / 1000)))
else
  -- A key that expires in this millisecond may still be there, with fields of the tunnel before.
  redis.call('DEL', KEYS[1])
  write({
    made = ARGV[4], by = ARGV[5], key = ARGV[6], ttl = tonumber(ARGV[7]), timeout = tonumber(ARGV[8]), joined = ARGV[9],
    hold = tonumber(ARGV[11]), ends = ARGV[12], ['repeat'] = ARGV[13], rules = ARGV[14],
    left = tonumber(ARGV[3]),
  })
end
return {'made'}
