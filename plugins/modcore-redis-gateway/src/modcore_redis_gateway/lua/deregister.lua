-- ARGV: id, epoch
claim(live, 'zset')
claim(holder, 'hash')
if redis.call('HGET', holder, 'epoch') ~= ARGV[2] then return 0 end
redis.call('DEL', holder)
redis.call('ZREM', live, ARGV[1])
announce('down', ARGV[1])
return 1
