-- What every script begins with. All keys share a hash tag, so they lie in one slot of a Cluster:
--   live     sorted set: id -> when it expires, in ms of this server's clock
--   events   stream: who came and went; its last id is the revision
--   holder   hash of one instance: service, epoch, document; it expires by itself
local live, events, holder = KEYS[1], KEYS[2], KEYS[3]

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A key lives through the millisecond of its expiry; an id in `live` is gone in it, so its holder must be, too.
local function expire(holder, ends)
  redis.call('PEXPIREAT', holder, ends - 1)
end

-- The names are ours: what is of another type gives way, or nobody could register any more.
local function claim(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end

local function announce(what, id)
  local words = {'XADD', events, 'MAXLEN', '~', 1000, '*', what, id}
  claim(events, 'stream')
  local told = redis.pcall(unpack(words))
  if type(told) == 'table' and told.err then -- somebody has used up the last id that there is
    redis.call('DEL', events)
    redis.call(unpack(words))
  end
end

local function sweep()
  if redis.call('ZREMRANGEBYSCORE', live, '-inf', now()) > 0 then announce('expired', '') end
end
