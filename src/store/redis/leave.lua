-- Says that a node has no ends of a tunnel any more. Of one whose newest end gets the requests it stays the last owner.
--
-- ARGV[3]: the node; ARGV[4]: the number of the last write that it has seen; ARGV[5]: the epoch of its last claim

if is_late() then return {'late'} end
local field = 'at:' .. ARGV[3]
local at = redis.call('HGET', KEYS[1], field)
-- Only the claims of this node are in its field: a newer one has a higher epoch.
if at and tonumber(string.match(at, '^%d+')) <= tonumber(ARGV[5]) then redis.call('HDEL', KEYS[1], field) end
return append({'left'}, (wrote(ARGV[3], tonumber(ARGV[4]))))
