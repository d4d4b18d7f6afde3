package store

import "github.com/gomodule/redigo/redis"

// redisScripts are called by their digests, each with one key.
type redisScripts struct{ create, replace, remove *redis.Script }

func newRedisScripts() redisScripts {
	return redisScripts{redis.NewScript(1, createScript), redis.NewScript(1, replaceScript),
		redis.NewScript(1, deleteScript)}
}

// The scripts are what makes Create and Replace atomic. Each reads before it writes anything, and its first write is
// the one that a server without memory refuses.
const (
	// index adds the record to the list of its owner. The list ends with its last record.
	indexFunction = `
local function index(key, expires, id)
  local time = redis.call('TIME')
  redis.call('ZREMRANGEBYSCORE', key, '-inf', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
  redis.call('ZADD', key, expires, id)
  redis.call('PEXPIREAT', key, redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
end
`
	// The arguments are the value, the expiry, the owner, the prefix of the lists and the id.
	createScript = indexFunction + `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then index(ARGV[4] .. ARGV[3], ARGV[2], ARGV[5]) end
return 1
`
	// The arguments are the version, the next version, the expiry, the content, the prefix of the lists and the id.
	replaceScript = indexFunction + `
local head = redis.call('GETRANGE', KEYS[1], 0, 255)
if head == '' then return 0 end
local version, owner = string.match(head, '^1 (%d+) %d+ ([^\n]*)\n')
if not version then return redis.error_reply('ERR a record has another format') end
if version ~= ARGV[1] then return 1 end
redis.call('SET', KEYS[1], '1 ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. owner .. '\n' .. ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
if owner ~= '' then index(ARGV[5] .. owner, ARGV[3], ARGV[6]) end
return 2
`
	// The arguments are the prefix of the lists and the id.
	deleteScript = `
local owner = string.match(redis.call('GETRANGE', KEYS[1], 0, 255), '^1 %d+ %d+ ([^\n]*)\n')
redis.call('DEL', KEYS[1])
if owner and owner ~= '' then redis.call('ZREM', ARGV[1] .. owner, ARGV[2]) end
return 1
`
)
