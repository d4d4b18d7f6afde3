package token

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"gatehouse/providers"
)

const (
	// maxCachedRefusals bounds how many refused tokens are remembered.
	maxCachedRefusals = 1_000
	// refusalTTL is how long a refused token is refused again without another check. Clients send refused tokens
	// again and again.
	refusalTTL = 5 * time.Second
)

// tokenKey identifies a token in a cache. It is a hash, so that a cache holds no token.
type tokenKey struct {
	hash [sha256.Size]byte
	// keys is the version of the key set that verified the token, so that nothing is found once the issuer
	// publishes other keys. It is zero for introspected tokens.
	keys uint64
}

func keyOf(token string, keys uint64) tokenKey {
	// Sum256 only reads. A conversion to []byte would copy the token for every call.
	return tokenKey{sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token))), keys}
}

// tokenCache holds the latest results of verifying tokens. Refused tokens have a cache of their own: anyone
// can make them up, and they must not evict accepted ones. A tokenCache belongs to one [Verifier] or
// [Introspector], because a token that is good for one issuer or audience need not be good for another.
type tokenCache struct {
	accepted *cache[*providers.Identity]
	refused  *cache[providers.Reason]
	counts   *tokenCounts
}

// tokenCounts count accepted tokens: those that were remembered, and those that were checked.
type tokenCounts struct{ remembered, checked atomic.Int64 }

func newTokenCache(maxTokens, maxBytes int) tokenCache {
	return tokenCache{
		accepted: newCache[*providers.Identity](maxTokens, maxBytes),
		refused:  newCache[providers.Reason](maxCachedRefusals, 0),
		counts:   &tokenCounts{},
	}
}

// result is the result of verifying a token: an identity or an error.
type result struct {
	id  *providers.Identity // shared; see [copyIdentity]
	err error
}

// get returns the cached result for a token; ok is false if there is none.
func (c tokenCache) get(key tokenKey, now time.Time) (r result, ok bool) {
	if id, ok := c.accepted.get(key, now); ok {
		return result{id: id}, true
	}
	if reason, ok := c.refused.get(key, now); ok {
		return result{err: providers.Invalidf(reason, "the same token was refused a moment ago")}, true
	}
	return result{}, false
}

// status returns the state of the accepted tokens.
func (c tokenCache) status() providers.TokenStatus {
	return providers.TokenStatus{
		Cached: c.accepted.len(), Limit: c.accepted.maxEntries,
		FromCache: c.counts.remembered.Load(), Checked: c.counts.checked.Load(),
	}
}

// accept remembers that the token is good until end. id must not be changed afterwards.
func (c tokenCache) accept(key tokenKey, id *providers.Identity, now, end time.Time) {
	c.accepted.put(key, id, identityBytes(id), now, end)
}

// refuse remembers why the token is refused, for at most refusalTTL.
func (c tokenCache) refuse(key tokenKey, reason providers.Reason, now time.Time, ttl time.Duration) {
	c.accepted.remove(key)
	c.refused.put(key, reason, 0, now, now.Add(min(ttl, refusalTTL)))
}

// cache is a least-recently-used cache of values for tokens, bounded by their number and their bytes. It is
// safe for concurrent use.
type cache[V any] struct {
	maxEntries, maxBytes int

	mu      sync.Mutex
	entries *simplelru.LRU[tokenKey, cacheEntry[V]]
	bytes   int
}

type cacheEntry[V any] struct {
	value V
	bytes int
	end   time.Time // the entry is not returned from then on
}

func newCache[V any](maxEntries, maxBytes int) *cache[V] {
	c := &cache[V]{maxEntries: maxEntries, maxBytes: maxBytes}
	// NewLRU fails only for sizes below 1.
	c.entries, _ = simplelru.NewLRU(maxEntries, func(_ tokenKey, removed cacheEntry[V]) { c.bytes -= removed.bytes })
	return c
}

func (c *cache[V]) get(key tokenKey, now time.Time) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.entries.Get(key)
	if !ok {
		return value, false
	}
	if !now.Before(entry.end) {
		c.entries.Remove(key)
		return value, false
	}
	return entry.value, true
}

// put stores value until end, in place of what is stored for key. It evicts the least recently used entries
// until value fits, and those after them that have ended. A value larger than the whole cache is not stored.
func (c *cache[V]) put(key tokenKey, value V, bytes int, now, end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(key)
	if !now.Before(end) || bytes > c.maxBytes {
		return
	}
	for {
		_, oldest, ok := c.entries.GetOldest()
		if !ok || now.Before(oldest.end) && c.bytes+bytes <= c.maxBytes {
			break
		}
		c.entries.RemoveOldest()
	}
	c.bytes += bytes
	c.entries.Add(key, cacheEntry[V]{value, bytes, end})
}

// len returns the number of entries, ended ones included.
func (c *cache[V]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries.Len()
}

func (c *cache[V]) remove(key tokenKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(key)
}
