-- Returns a tunnel.

local tunnel = keyed()
if tunnel then return shown(tunnel) end
if is_original() then return shown_original() end
return absent()
