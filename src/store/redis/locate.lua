-- Returns where the ends of tunnels are: the nodes that are named, and four texts for each tunnel.
--
-- KEYS: keyed tunnels; ARGV: for each, 1 if an original tunnel may have this token, else 0

local peers, known = {}, {}

local function is_there(node)
  if known[node] == nil then known[node] = lives(node) and add_peer(peers, node) or false end
  return known[node]
end

-- Returns which ends get requests, the epoch, the owner, and the nodes with ends.
local function located(key, may_be_original)
  local fields = redis.call('HMGET', key, 'expires', 'ends', 'node', 'epoch')
  local lives_on = fields[1] and tonumber(fields[1]) > now()
  if not fields[1] and may_be_original then
    key = string.sub(key, #'s2m:t:' + 1)
    lives_on = redis.call('TYPE', key).ok == 'hash'
    if lives_on then fields = redis.call('HMGET', key, 'expires', 'ends', 'node', 'epoch') end
    fields[2] = ''
  end
  if not lives_on then return 'newest', '0', '', '' end
  local which, held = fields[2] == 'spread' and 'spread' or 'newest', {}
  for _, holder in ipairs(which == 'spread' and holders(key) or {}) do
    if is_there(holder.node) then held[#held + 1] = holder.node .. ':' .. whole(holder.ends) end
  end
  return which, fields[4] or '0', fields[3] and is_there(fields[3]) and fields[3] or '', table.concat(held, ' ')
end

local tunnels = {}
for at, key in ipairs(KEYS) do append(tunnels, {located(key, ARGV[at] == '1')}) end
return append(append({'located', whole(#peers / 6)}, peers), tunnels)
