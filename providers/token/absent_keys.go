package token

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxAbsentKeys bounds how many unknown keys are remembered. The one that was named longest ago is forgotten first.
const maxAbsentKeys = 1_000

// absentKeys remembers the keys that tokens named and that the issuer did not publish so far. A key is settled once a fetch
// that tokens caused, and that began after a token named it, has succeeded without it. It is looked at only where a
// keyring has no such key.
type absentKeys struct {
	seen    *lru.Cache[absentKey, uint64] // how many fetches had begun when a token named the key
	settled atomic.Uint64                 // the latest fetch that tokens caused and that succeeded
}

// absentKey is a digest: what tokens name may be as long as a token.
type absentKey [sha256.Size]byte

func absentKeyOf(kid, alg string) absentKey {
	text := binary.AppendUvarint(make([]byte, 0, 64), uint64(len(alg)))
	return sha256.Sum256(append(append(text, alg...), kid...))
}

func newAbsentKeys() *absentKeys {
	seen, _ := lru.New[absentKey, uint64](maxAbsentKeys) // fails only for sizes below 1
	return &absentKeys{seen: seen}
}

// add remembers that a token named the key. Only a fetch that begins later can settle it.
func (a *absentKeys) add(key absentKey, begun uint64) {
	if _, known := a.seen.Get(key); !known {
		a.seen.Add(key, begun)
	}
}

func (a *absentKeys) isSettled(key absentKey) bool {
	begun, known := a.seen.Get(key)
	return known && begun < a.settled.Load()
}

// settle notes that a fetch which tokens caused has succeeded.
func (a *absentKeys) settle(fetch uint64) { a.settled.Store(fetch) }
