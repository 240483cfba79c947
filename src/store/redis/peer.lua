-- Returns a node, if its lease lasts, or leaves a message for it.
--
-- ARGV[2]: the time until which the caller waits, or 0; ARGV[3]: the node; ARGV[4]: the message, or empty

if is_late() then return {'late'} end
if ARGV[4] ~= '' then
  post(ARGV[3], ARGV[4])
  return {'posted'}
end
local answer = {'peer'}
if lives(ARGV[3]) then add_peer(answer, ARGV[3]) end
return answer
