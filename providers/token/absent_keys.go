package token

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxAbsentKeys bounds how many unknown keys are remembered. The least recently used is evicted first.
const maxAbsentKeys = 1_000

// absentKeys holds the keys that tokens named and that are not in the key set. A key is settled, that is,
// known not to be published, once a fetch that a token caused, and that started after a token named the key,
// has succeeded. absentKeys is consulted only for keys that are not in the current keyring.
type absentKeys struct {
	seen    *lru.Cache[absentKey, uint64] // number of fetches started when a token named the key
	settled atomic.Uint64                 // the latest successful fetch that a token caused
}

// absentKey is a digest of kid and alg, which may be as long as a token.
type absentKey [sha256.Size]byte

func absentKeyOf(kid, alg string) absentKey {
	text := binary.AppendUvarint(make([]byte, 0, 64), uint64(len(alg)))
	return sha256.Sum256(append(append(text, alg...), kid...))
}

func newAbsentKeys() *absentKeys {
	seen, _ := lru.New[absentKey, uint64](maxAbsentKeys) // fails only for sizes below 1
	return &absentKeys{seen: seen}
}

// add records that a token named the key. Only a fetch that starts later can settle it.
func (a *absentKeys) add(key absentKey, started uint64) {
	if _, known := a.seen.Get(key); !known {
		a.seen.Add(key, started)
	}
}

func (a *absentKeys) isSettled(key absentKey) bool {
	started, known := a.seen.Get(key)
	return known && started < a.settled.Load()
}

// settle records that a fetch which tokens caused has succeeded.
func (a *absentKeys) settle(fetch uint64) { a.settled.Store(fetch) }
