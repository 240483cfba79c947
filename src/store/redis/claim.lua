-- Says that a node has ends of a tunnel.
--
-- ARGV[3]: the node; ARGV[4]: the number of the last write that it has seen; ARGV[5]: the highest epoch that it has seen
-- ARGV[6]: its number of ends; ARGV[7]: the epoch of a claim that is announced again, else empty

-- Returns the key of the tunnel's hash, how the tunnel is shown, and whether its ends share the requests. Nothing for a tunnel
-- that does not live.
local function living()
  local tunnel = keyed()
  if tunnel then
    if tunnel.left <= 0 then return end
    if ARGV[7] == '' then
      -- An end joins: the change `renew`.
      tunnel.joined, tunnel.left = '1', tunnel.ttl
      write(tunnel)
    end
    return KEYS[1], shown(tunnel), tunnel.ends == 'spread'
  elseif is_original() then
    return KEYS[3], shown_original(), false
  end
end

-- Makes this the only claim. Those of other nodes are told.
local function take(key, node, epoch, others)
  for _, holder in ipairs(holders(key)) do redis.call('HDEL', key, 'at:' .. holder.node) end
  for _, other in ipairs(others) do post(other, 'evict ' .. token() .. ' ' .. whole(epoch)) end
end

-- Puts this claim beside those of nodes that live.
local function share(key, node, epoch, ends)
  for _, holder in ipairs(holders(key)) do
    if not lives(holder.node) then
      redis.call('HDEL', key, 'at:' .. holder.node)
      -- If it lives after all, it announces its claim again.
      post(holder.node, 'changed ' .. token())
    end
  end
  if ends > 0 then
    redis.call('HSET', key, 'at:' .. node, whole(epoch) .. ' ' .. whole(ends))
  else
    redis.call('HDEL', key, 'at:' .. node)
  end
end

if is_late() then return {'late'} end
local key, tunnel, is_spread = living()
if not key then return keyed() and {'refused'} or absent() end

local node, ends, again = ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local stored = redis.call('HMGET', key, 'node', 'epoch', 'since')
local owner, highest = stored[1], tonumber(stored[2] or '0')
local epoch = again or math.max(highest + 1, microseconds(), tonumber(ARGV[5]) + 1)
if owner == node then epoch = math.max(epoch, highest) end
local is_highest = epoch > highest or owner == node
local counts = is_highest or is_spread and epoch >= tonumber(stored[3] or '0')
local others = {}
if counts then
  others = claimants(key, node)
  if is_spread then share(key, node, epoch, ends) else take(key, node, epoch, others) end
  if is_highest then redis.call('HSET', key, 'node', node, 'epoch', whole(epoch)) end
end

local peers = {}
for _, other in ipairs(others) do
  if lives(other) then add_peer(peers, other) end
end
local answer = append({'claimed'}, (wrote(node, tonumber(ARGV[4]))))
append(answer, {whole(counts and epoch or highest), counts and '1' or '0', whole(#peers / 6)})
append(answer, peers)
return append(answer, tunnel)
