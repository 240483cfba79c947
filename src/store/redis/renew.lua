-- Renews the lease of a node, and tells it what is new.
--
-- ARGV[3]: the node; ARGV[4]: the number of the last write that it has seen; ARGV[5]: the lease in milliseconds, 0 to give it back
-- ARGV[6]: the version of the table that it has; ARGV[7]: the number of the last message that it has taken up
-- ARGV[8] and ARGV[9]: `lost` and `found` of what it has announced again, or empty
-- ARGV[10] to ARGV[13]: advertise, label, version, draining

-- The most messages of one answer.
local BATCH = 1000

-- Returns whether others may have taken the node for dead, and sets its lease.
local function lease(node, time, length)
  local last = redis.call('ZSCORE', NODES, node)
  if all_are_silent() then
    -- The others may be about to renew theirs.
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', NODES, '-inf', whole(time + SILENCE))) do
      redis.call('ZADD', NODES, whole(time + SILENCE), other)
    end
  elseif last and tonumber(last) <= time then
    last = false
  end
  -- The clock was set back.
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', NODES, whole(time + length + 10000), '+inf')) do
    redis.call('ZADD', NODES, whole(time + length), other)
  end
  if length > 0 then redis.call('ZADD', NODES, whole(time + length), node) else redis.call('ZREM', NODES, node) end
  return not last
end

-- Removes the messages up to the one that was taken up last, if that is still there. Returns the next of those that are left, the
-- number of the last one, and whether some are gone unread. A number alone says nothing of messages before it: the store may
-- have lost its last ones, and its clock may have been set back.
local function messages(key, inbox, taken)
  local left = redis.call('LRANGE', inbox, 0, -1)
  local first = 1
  for at, message in ipairs(left) do
    if string.match(message, '^%d+') == taken then first = at + 1 end
  end
  if first > 1 then
    redis.call('LTRIM', inbox, first - 1, -1)
    redis.call('HDEL', key, 'missed')
  end
  redis.call('HSET', key, 'read', taken)
  local fields = redis.call('HMGET', key, 'posted', 'missed')
  local posted = fields[1] or '0'
  local has_missed = fields[2] or #left == 0 and posted ~= taken
  local found = {}
  for at = first, math.min(first + BATCH - 1, #left) do
    local number, text = string.match(left[at], '^(%d+) (.*)$')
    found[#found + 1], found[#found + 2] = number, text
  end
  return found, posted, has_missed
end

if is_late() then return {'late'} end
local node, time, length = ARGV[3], now(), tonumber(ARGV[5])
local key, inbox = about(node), 's2m:inbox:' .. node
local written, is_lost = wrote(node, tonumber(ARGV[4]))
if not is_lost and ARGV[9] ~= '' and written[2] == ARGV[8] and written[3] == ARGV[9] then
  redis.call('HDEL', key, 'lost', 'found')
  written[2], written[3] = '', ''
end

local was_dead = lease(node, time, length)
local has_changed = redis.call('ZREMRANGEBYSCORE', NODES, '-inf', whole(time)) > 0 or was_dead or length == 0
local said = redis.call('HMGET', key, 'advertise', 'label', 'version', 'draining')
local was_away = not said[1]
for at = 1, 4 do has_changed = has_changed or said[at] ~= ARGV[9 + at] end
redis.call('HSET', key, 'advertise', ARGV[10], 'label', ARGV[11], 'version', ARGV[12], 'draining', ARGV[13])
redis.call('PEXPIRE', key, whole(length + KEPT))

local version = redis.call('HGET', STATE, 'version')
-- A version that a node has is not given again, although the store may have lost it.
local has, stored = tonumber(ARGV[6]), tonumber(version or '0')
if has_changed or not version or has > stored then version = whole(math.max(stored + 1, has + 1, microseconds())) end
redis.call('HSET', STATE, 'version', version, 'renewed', whole(time))
redis.call('PEXPIRE', STATE, whole(length + KEPT))
redis.call('PEXPIRE', NODES, whole(length + KEPT))

local inbox_left, posted, has_missed = messages(key, inbox, ARGV[7])
was_away = was_away or has_missed
if length == 0 then redis.call('DEL', key, inbox) end

local peers = {}
if version ~= ARGV[6] then
  for _, other in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do add_peer(peers, other) end
end
local answer = append({'renewed', whole(time)}, written)
append(answer, {was_away and '1' or '0', version, version ~= ARGV[6] and '1' or '0', whole(#peers / 6)})
append(answer, peers)
append(answer, {posted, whole(#inbox_left / 2)})
return append(answer, inbox_left)
