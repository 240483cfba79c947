-- Returns a node, if its lease lasts, or leaves a message for it. With the keys of a tunnel, leaves it for all nodes with a claim but
-- this one.
--
-- ARGV[2]: the time until which the caller waits, or 0; ARGV[3]: the node; ARGV[4]: the message, or empty

if is_late() then return {'late'} end
if KEYS[1] then
  local key = keyed() and KEYS[1] or is_original() and KEYS[3]
  for _, node in ipairs(key and claimants(key, ARGV[3]) or {}) do post(node, ARGV[4]) end
  return {'posted'}
elseif ARGV[4] ~= '' then
  post(ARGV[3], ARGV[4])
  return {'posted'}
end
local answer = {'peer'}
if lives(ARGV[3]) then add_peer(answer, ARGV[3]) end
return answer
