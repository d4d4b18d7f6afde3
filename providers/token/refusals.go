package token

import (
	"sync"
	"time"

	"gatehouse/providers"
)

const (
	// rememberedRefusals bounds how many tokens are remembered that were refused for good, at about 100 bytes each, so that they stay in
	// the processor's cache in a flood of others, and refusedFor for how long.
	rememberedRefusals = 1_024
	refusedFor         = 5 * time.Second
)

// refusals remember which tokens were refused a moment ago: there are clients that send them again and again. A shard that is full is
// forgotten whole. In a flood of tokens of which each is another, looking for those that are over would cost more than it saves.
type refusals [memoryShards]struct {
	mu      sync.Mutex
	entries map[fingerprint]refused
}

// refused is why a token was.
type refused struct {
	reason providers.Reason
	keys   uint64 // the generation of the keys, which another might be signed by
	until  int64  // Unix nanoseconds
}

func (r *refusals) get(f fingerprint, keys uint64, now time.Time) (providers.Reason, bool) {
	shard := &r[f[0]%memoryShards]
	shard.mu.Lock()
	one, ok := shard.entries[f]
	shard.mu.Unlock()
	return one.reason, ok && one.keys == keys && now.UnixNano() < one.until
}

func (r *refusals) put(f fingerprint, reason providers.Reason, keys uint64, now time.Time, keep time.Duration) {
	shard := &r[f[0]%memoryShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, known := shard.entries[f]; !known && len(shard.entries) >= rememberedRefusals/memoryShards {
		clear(shard.entries)
	}
	shard.entries[f] = refused{reason, keys, now.Add(keep).UnixNano()}
}
