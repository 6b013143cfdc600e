-- ARGV: what a holder's key begins with, service ('' for all), most instances, most bytes of a document
-- Returns id, service, epoch and document of each, one behind the other. What is too long comes empty, and
-- so does what is no hash: its reader counts it as refused.
local limit, longest = tonumber(ARGV[3]), tonumber(ARGV[4])

local function bounded(key, field, most)
  local length = redis.pcall('HSTRLEN', key, field)
  if type(length) ~= 'number' or length > most then return '' end
  return redis.call('HGET', key, field) or ''
end

local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', live, '(' .. now(), '+inf', 'LIMIT', 0, limit)) do
  local key = ARGV[1] .. id
  if redis.call('EXISTS', key) == 1 then
    local service = bounded(key, 'service', 512)
    if ARGV[2] == '' or service == ARGV[2] then
      found[#found + 1] = id
      found[#found + 1] = service
      found[#found + 1] = bounded(key, 'epoch', 512)
      found[#found + 1] = bounded(key, 'document', longest)
    end
  end
end
return found
