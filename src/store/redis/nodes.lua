-- What scripts about nodes share. It stands between shared.lua and each of them.
--
-- s2m:nodes        a sorted set: the ids of nodes by the ends of their leases, in milliseconds
-- s2m:nodes:changes  a sorted set: ids of nodes, also of some that are gone, by the version of the table that their last change made
-- s2m:nodes:state  a hash: `version` of the table of nodes, `floor`, the lowest one after which all changes are known, and `renewed`,
--                  when a node last renewed its lease
-- s2m:node:ID      a hash: `advertise`, `label`, `version`, `draining`; `table`, the version of the table that it was told last, and
--                  `had`, the one that it had then; `writes`, the number of its last write; `lost` and
--                  `found`, if writes after `lost` may be lost, which the write `found` has noticed; `posted`, the number of the
--                  last message for it, `read`, that of the last one that it has taken up, and `missed`, if some are gone unread
-- s2m:inbox:ID     a list of messages, each a number, a space and a text
--
-- A tunnel's hash has `node` and `epoch` of its newest claim, `since`, the lowest epoch that may be announced again, and for each
-- node with ends of a `spread` tunnel a field `at:ID`, an epoch, a space and a number of ends.

local NODES, STATE = 's2m:nodes', 's2m:nodes:state'
-- How long what is known of a node outlives its lease, and how long messages for a node are kept, in milliseconds.
local KEPT, POSTED = 600000, 60000
local MESSAGES = 10000
-- No node that lives is silent for this long, in milliseconds: if all are, it is Redis that stopped, or its clock that moved on.
local SILENCE = 4000

local function microseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function about(node)
  return 's2m:node:' .. node
end

-- Tells whether no node has renewed its lease for a while. No node counts as dead meanwhile.
local function all_are_silent()
  local renewed = redis.call('HGET', STATE, 'renewed')
  return renewed and now() - tonumber(renewed) > SILENCE
end

local function lives(node)
  local lease = redis.call('ZSCORE', NODES, node)
  return lease and (tonumber(lease) > now() or all_are_silent())
end

-- Adds a node to a list, as six texts. `ending` is the end of its lease, if that was read. Returns whether it is known.
local function add_peer(list, node, ending)
  local fields = redis.call('HMGET', about(node), 'advertise', 'label', 'version', 'draining')
  if not fields[1] then return false end
  local lease = tonumber(ending or redis.call('ZSCORE', NODES, node) or '0') - now()
  for _, text in ipairs({node, fields[1], fields[2], fields[3], fields[4], whole(math.max(lease, 0))}) do
    list[#list + 1] = text
  end
  return true
end

-- Counts a write of a node that has seen those up to `seen`. Returns the write's number with what is lost, as three texts, and
-- whether this write has noticed it. The numbers of lost writes are not given again.
local function wrote(node, seen)
  local key = about(node)
  local fields = redis.call('HMGET', key, 'writes', 'lost', 'found')
  local stored, lost, found = tonumber(fields[1] or '0'), fields[2] or '', fields[3] or ''
  local number = math.max(stored, seen) + 1
  redis.call('HSET', key, 'writes', whole(number))
  if stored < seen then
    if lost == '' or stored < tonumber(lost) then lost = whole(stored) end
    found = whole(number)
    redis.call('HSET', key, 'lost', lost, 'found', found)
  end
  if not fields[1] then redis.call('PEXPIRE', key, KEPT) end
  return {whole(number), lost, found}, stored < seen
end

-- Leaves a message for a node, also for one whose lease has lapsed: it may come back.
local function post(node, text)
  local key, inbox = about(node), 's2m:inbox:' .. node
  if redis.call('EXISTS', key) == 0 then return end
  local fields = redis.call('HMGET', key, 'posted', 'read')
  local last, read = fields[1] or '0', fields[2] or '0'
  local number = whole(math.max(tonumber(last) + 1, microseconds()))
  local is_lost = last ~= read and redis.call('EXISTS', inbox) == 0
  if redis.call('RPUSH', inbox, number .. ' ' .. text) > MESSAGES then
    redis.call('LTRIM', inbox, -MESSAGES, -1)
    is_lost = true
  end
  redis.call('HSET', key, 'posted', number)
  if is_lost then redis.call('HSET', key, 'missed', '1') end
  redis.call('PEXPIRE', inbox, POSTED)
end

-- Returns the nodes that have ends of a `spread` tunnel, with their epochs and numbers of ends, in the order of their ids.
local function holders(key)
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local node = string.match(field, '^at:(.+)$')
    if node then
      local epoch, ends = string.match(redis.call('HGET', key, field), '^(%d+) (%d+)')
      found[#found + 1] = {node = node, epoch = tonumber(epoch or '0'), ends = tonumber(ends or '0')}
    end
  end
  table.sort(found, function(one, other) return one.node < other.node end)
  return found
end

-- Returns all nodes with a claim of a tunnel, but one.
local function claimants(key, except)
  local owner = redis.call('HGET', key, 'node')
  local found = {}
  if owner and owner ~= except then found[1] = owner end
  for _, holder in ipairs(holders(key)) do
    if holder.node ~= except and holder.node ~= owner then found[#found + 1] = holder.node end
  end
  return found
end

-- Removes all claims of a keyed tunnel whose life ends or begins. None of them can be announced again.
local function disown()
  local epoch = redis.call('HGET', KEYS[1], 'epoch')
  if not epoch then return end
  for _, holder in ipairs(holders(KEYS[1])) do redis.call('HDEL', KEYS[1], 'at:' .. holder.node) end
  redis.call('HDEL', KEYS[1], 'node')
  local raised = whole(math.max(tonumber(epoch) + 1, microseconds()))
  redis.call('HSET', KEYS[1], 'epoch', raised, 'since', raised)
end

local function token()
  return string.sub(KEYS[1], #'s2m:t:' + 1)
end

-- Appends a list to another.
local function append(list, more)
  for _, text in ipairs(more) do list[#list + 1] = text end
  return list
end
