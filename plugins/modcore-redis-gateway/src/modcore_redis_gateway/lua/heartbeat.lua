-- ARGV: id, ttl (ms), epoch. 0: unknown, or another process bears the id.
local id, ends = ARGV[1], now() + tonumber(ARGV[2])
claim(live, 'zset')
claim(holder, 'hash')
if redis.call('HGET', holder, 'epoch') ~= ARGV[3] then return 0 end
expire(holder, ends)
if redis.call('ZADD', live, ends, id) == 1 then announce('up', id) end
sweep()
return 1
