-- Renews the lease of a node, and tells it what is new.
--
-- ARGV[3]: the node; ARGV[4]: the number of the last write that it has seen; ARGV[5]: the lease in milliseconds, 0 to give it back
-- ARGV[6]: the version of the table that it has, 0 for none; ARGV[7]: the number of the last message that it has taken up
-- ARGV[8] and ARGV[9]: `lost` and `found` of what it has announced again, or empty
-- ARGV[10] to ARGV[13]: advertise, label, version, draining

local CHANGES = 's2m:nodes:changes'
-- How many changes of the table are kept. A node that has missed more gets the whole table.
local CHANGES_KEPT = 1000
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

-- Removes the nodes whose leases have lapsed, and returns their ids.
local function remove_dead(time)
  local dead = redis.call('ZRANGEBYSCORE', NODES, '-inf', whole(time))
  if #dead > 0 then redis.call('ZREMRANGEBYSCORE', NODES, '-inf', whole(time)) end
  return dead
end

-- Gives the table a new version if nodes of it have changed, and keeps which have. Returns its version before and now, and the lowest
-- one after which all changes are known.
local function turn(changed, has)
  local fields = redis.call('HMGET', STATE, 'version', 'floor')
  local stored, floor = tonumber(fields[1] or '0'), tonumber(fields[2] or '0')
  if fields[1] and #changed == 0 and has <= stored then return stored, stored, floor end
  -- A version that a node has is not given again, although the store may have lost it.
  local version = math.max(stored + 1, has + 1, microseconds())
  for _, node in ipairs(changed) do redis.call('ZADD', CHANGES, whole(version), node) end
  local over = redis.call('ZCARD', CHANGES) - CHANGES_KEPT
  if over > 0 then
    floor = math.max(floor, tonumber(redis.call('ZRANGE', CHANGES, over - 1, over - 1, 'WITHSCORES')[2]))
    redis.call('ZREMRANGEBYRANK', CHANGES, 0, over - 1)
  end
  if not fields[1] then floor = version end
  redis.call('HSET', STATE, 'version', whole(version), 'floor', whole(floor))
  return stored, version, floor
end

-- Adds a list of nodes to an answer, and one of ids of nodes that are gone.
local function add_nodes(answer, nodes)
  local peers, gone = {}, {}
  for _, node in ipairs(nodes) do
    local ending = redis.call('ZSCORE', NODES, node)
    if not (ending and add_peer(peers, node, ending)) then gone[#gone + 1] = node end
  end
  append(append(answer, {whole(#peers / 6)}), peers)
  append(append(answer, {whole(#gone)}), gone)
end

-- Adds what is new of the table to an answer: its version, and whether it is the same, the whole, or what has changed.
local function add_table(answer, version, has, is_known)
  answer[#answer + 1] = whole(version)
  if not is_known then
    answer[#answer + 1] = 'whole'
    add_nodes(answer, redis.call('ZRANGE', NODES, 0, -1))
  elseif version == has then
    answer[#answer + 1] = 'same'
  else
    answer[#answer + 1] = 'changes'
    add_nodes(answer, redis.call('ZRANGEBYSCORE', CHANGES, '(' .. whole(has), '+inf'))
  end
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
local changed = remove_dead(time)
local said = redis.call('HMGET', key, 'advertise', 'label', 'version', 'draining', 'table', 'had')
local was_away = not said[1]
local has_changed = was_dead or length == 0
for at = 1, 4 do has_changed = has_changed or said[at] ~= ARGV[9 + at] end
if has_changed then changed[#changed + 1] = node end

local has = tonumber(ARGV[6])
local stored, version, floor = turn(changed, has)
-- A version that was not told by this store, or was lost with others, may be that of another table.
local was_told = ARGV[6] == said[5] or ARGV[6] == said[6]
local is_known = has > 0 and has >= floor and has <= stored and was_told
redis.call('HSET', key, 'advertise', ARGV[10], 'label', ARGV[11], 'version', ARGV[12], 'draining', ARGV[13],
  'table', whole(version), 'had', is_known and ARGV[6] or '')
redis.call('HSET', STATE, 'renewed', whole(time))
redis.call('PEXPIRE', key, whole(length + KEPT))
for _, shared in ipairs({STATE, NODES, CHANGES}) do redis.call('PEXPIRE', shared, whole(length + KEPT)) end

local inbox_left, posted, has_missed = messages(key, inbox, ARGV[7])
was_away = was_away or has_missed
if length == 0 then redis.call('DEL', key, inbox) end

local answer = append({'renewed', whole(time)}, written)
answer[#answer + 1] = was_away and '1' or '0'
add_table(answer, version, has, is_known)
append(answer, {posted, whole(#inbox_left / 2)})
return append(answer, inbox_left)
