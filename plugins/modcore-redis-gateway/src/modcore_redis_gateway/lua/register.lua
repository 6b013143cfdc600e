-- ARGV: id, ttl (ms), service, epoch, document
local id, ends = ARGV[1], now() + tonumber(ARGV[2])
claim(live, 'zset')
sweep()
redis.call('DEL', holder)
redis.call('HSET', holder, 'service', ARGV[3], 'epoch', ARGV[4], 'document', ARGV[5])
expire(holder, ends)
redis.call('ZADD', live, ends, id)
announce('up', id)
return 1
