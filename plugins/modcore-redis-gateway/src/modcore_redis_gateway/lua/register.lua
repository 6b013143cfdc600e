-- ARGV: id, ttl (ms), service, epoch, document
local id, ttl = ARGV[1], tonumber(ARGV[2])
claim(live, 'zset')
sweep()
redis.call('DEL', holder)
redis.call('HSET', holder, 'service', ARGV[3], 'epoch', ARGV[4], 'document', ARGV[5])
redis.call('PEXPIRE', holder, ttl)
redis.call('ZADD', live, now() + ttl, id)
announce('up', id)
return 1
