-- Changes a tunnel, and returns it as it is then: src/store/record.rs, `admits` and `apply`.
--
-- ARGV[3]: the hash of the key that was shown, or empty
-- ARGV[4]: the change; ARGV[5] and those after it: what it sets, empty if it does not
-- For `set`, ARGV[10]: the rules from which the change was made, and ARGV[11]: the rules after; absent if it does not set them
-- For `revive`, ARGV[10]: the rules, and ARGV[11]: its life

local function set(tunnel, ttl)
  tunnel.ttl, tunnel.timeout = ttl or tunnel.ttl, tonumber(ARGV[6]) or tunnel.timeout
  tunnel.hold = tonumber(ARGV[7]) or tunnel.hold
  if ARGV[8] ~= '' then tunnel.ends = ARGV[8] end
  if ARGV[9] ~= '' then tunnel['repeat'] = ARGV[9] end
end

if is_late() then return {'late'} end
local shown_key, change = ARGV[3], ARGV[4]
local tunnel = keyed()

if not tunnel then
  if not is_original() then return absent() end
  if shown_key ~= '' then return {'refused'} end
  if change == 'refresh' then
    redis.call('EXPIRE', KEYS[3], whole(math.ceil(tonumber(ARGV[5]) / 1000)))
  elseif change ~= 'renew' then
    return {'refused'}
  end
  return shown_original()
end

if shown_key == '' then
  if change ~= 'renew' then return {'refused'} end
elseif shown_key ~= tunnel.key or change == 'refresh' then
  return {'refused'}
end

local lives = tunnel.left > 0
if lives == (change == 'revive') then return {'refused'} end

if change == 'renew' then
  tunnel.joined, tunnel.left = '1', tunnel.ttl
elseif change == 'set' then
  if ARGV[11] then
    if ARGV[10] ~= tunnel.rules then return {'refused'} end
    tunnel.rules = ARGV[11]
  end
  local ttl = tonumber(ARGV[5])
  if ttl and (tunnel.joined == '1' or ttl < tunnel.left) then tunnel.left = ttl end
  set(tunnel, ttl)
elseif change == 'rekey' then
  tunnel.key = ARGV[5]
elseif change == 'delete' then
  tunnel.left = 0
elseif change == 'revive' then
  set(tunnel, tonumber(ARGV[5]))
  tunnel.rules, tunnel.left = ARGV[10], tonumber(ARGV[11])
else
  return {'refused'}
end
write(tunnel)
return shown(tunnel)
