-- What all scripts share. It stands before each of them.
--
-- KEYS[1]: a keyed tunnel
-- KEYS[2]: the marker, by which a Redis that has lost its data is told
-- KEYS[3]: an original tunnel; absent for a name
-- ARGV[1]: for how long a name stays claimed, in milliseconds; 0 for a token that has no claim
-- ARGV[2]: the time until which the caller waits, or 0: a change that runs later was told to have failed, and must not happen
--
-- Numbers are written by `whole`: `..` and `tostring` keep 14 digits, and a time has 13 today.

local clock

-- Returns the time at which the script began, in milliseconds.
local function now()
  clock = clock or redis.call('TIME')
  return tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function is_late()
  return ARGV[2] ~= '0' and now() > tonumber(ARGV[2])
end

local function claim(tunnel)
  return tunnel.joined == '1' and tonumber(ARGV[1]) or 0
end

-- Returns the keyed tunnel, or nil if there is none and no claim of its name.
local function keyed()
  local fields = redis.call('HMGET', KEYS[1], 'made', 'by', 'key', 'ttl', 'timeout', 'joined', 'expires',
    'hold', 'ends', 'repeat', 'rules')
  if not fields[7] then return nil end
  local tunnel = {
    made = fields[1], by = fields[2], key = fields[3], ttl = tonumber(fields[4]), timeout = tonumber(fields[5]),
    joined = fields[6], left = tonumber(fields[7]) - now(),
    -- A server that knows none of these four has written none.
    hold = tonumber(fields[8] or ''), ends = fields[9] or '', ['repeat'] = fields[10] or '', rules = fields[11] or '',
  }
  if tunnel.left + claim(tunnel) <= 0 then return nil end
  return tunnel
end

-- Writes the keyed tunnel, which lives for `left` milliseconds. What else its hash has is kept.
local function write(tunnel)
  local expires = now() + tunnel.left
  if tunnel.left + claim(tunnel) <= 0 then return redis.call('DEL', KEYS[1]) end
  redis.call('HSET', KEYS[1], 'made', tunnel.made, 'by', tunnel.by, 'key', tunnel.key, 'ttl', whole(tunnel.ttl),
    'timeout', whole(tunnel.timeout), 'joined', tunnel.joined, 'expires', whole(expires),
    'hold', tunnel.hold and whole(tunnel.hold) or '', 'ends', tunnel.ends, 'repeat', tunnel['repeat'],
    'rules', tunnel.rules)
  redis.call('PEXPIREAT', KEYS[1], whole(expires + claim(tunnel)))
end

local function shown(tunnel)
  return {'keyed', whole(tunnel.left), whole(tunnel.left + claim(tunnel)), tunnel.made, tunnel.by, tunnel.key,
    whole(tunnel.ttl), whole(tunnel.timeout), tunnel.joined, tunnel.hold and whole(tunnel.hold) or '', tunnel.ends,
    tunnel['repeat'], tunnel.rules}
end

-- Tells whether there is an original tunnel: a hash under the token's own name, as the original server made it.
local function is_original()
  return KEYS[3] and redis.call('TYPE', KEYS[3]).ok == 'hash'
end

local function shown_original()
  local fields = redis.call('HMGET', KEYS[3], 'created', 'ip')
  return {'original', whole(redis.call('PTTL', KEYS[3])), fields[1] or '', fields[2] or ''}
end

-- There is no such tunnel, as long as this Redis has not lost its data.
local function absent()
  return {'absent', redis.call('GET', KEYS[2]) or ''}
end
