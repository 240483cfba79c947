-- Changes a tunnel, and returns it as it is then: src/store/record.rs, `admits` and `apply`.
--
-- ARGV[3]: the hash of the key that was shown, or empty
-- ARGV[4]: the change; ARGV[5]: the node that asks, which needs no message, or empty
-- ARGV[6] and those after it: what the change sets, empty if it does not
-- For `set`, ARGV[11]: the rules from which the change was made, and ARGV[12]: the rules after; absent if it does not set them
-- For `revive`, ARGV[11]: the rules, and ARGV[12]: its life

-- Tells the other nodes with ends of the tunnel.
local function tell()
  for _, node in ipairs(claimants(KEYS[1], ARGV[5])) do post(node, 'changed ' .. token()) end
end

local function set(tunnel, ttl)
  tunnel.ttl, tunnel.timeout = ttl or tunnel.ttl, tonumber(ARGV[7]) or tunnel.timeout
  tunnel.hold = tonumber(ARGV[8]) or tunnel.hold
  if ARGV[9] ~= '' then tunnel.ends = ARGV[9] end
  if ARGV[10] ~= '' then tunnel['repeat'] = ARGV[10] end
end

if is_late() then return {'late'} end
local shown_key, change = ARGV[3], ARGV[4]
local tunnel = keyed()

if not tunnel then
  if not is_original() then return absent() end
  if shown_key ~= '' then return {'refused'} end
  if change == 'refresh' then
    redis.call('EXPIRE', KEYS[3], whole(math.ceil(tonumber(ARGV[6]) / 1000)))
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

local is_alive = tunnel.left > 0
if is_alive == (change == 'revive') then return {'refused'} end

if change == 'renew' then
  tunnel.joined, tunnel.left = '1', tunnel.ttl
elseif change == 'set' then
  if ARGV[12] then
    if ARGV[11] ~= tunnel.rules then return {'refused'} end
    tunnel.rules = ARGV[12]
  end
  local ttl = tonumber(ARGV[6])
  if ttl and (tunnel.joined == '1' or ttl < tunnel.left) then tunnel.left = ttl end
  set(tunnel, ttl)
elseif change == 'rekey' then
  tunnel.key = ARGV[6]
elseif change == 'delete' then
  tunnel.left = 0
elseif change == 'revive' then
  set(tunnel, tonumber(ARGV[6]))
  tunnel.rules, tunnel.left = ARGV[11], tonumber(ARGV[12])
else
  return {'refused'}
end
if change ~= 'renew' then tell() end
if change == 'delete' or change == 'revive' then disown() end
write(tunnel)
return shown(tunnel)
