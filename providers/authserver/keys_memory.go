package authserver

import (
	"context"
	"crypto"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// memoryKeys are keys that end with the process.
type memoryKeys struct {
	algorithm jose.SignatureAlgorithm

	mu      sync.RWMutex
	current jose.JSONWebKey
	public  []jose.JSONWebKey
}

// newMemoryKeys returns keys of which the first is first, or a generated one if first is nil.
func newMemoryKeys(algorithm jose.SignatureAlgorithm, first crypto.Signer) (*memoryKeys, error) {
	k := &memoryKeys{algorithm: algorithm}
	if first == nil {
		return k, k.rotate(context.Background(), false)
	}
	key, err := newSigningKey(first, algorithm)
	if err != nil {
		return nil, err
	}
	k.set(key, false)
	return k, nil
}

func (k *memoryKeys) rotate(_ context.Context, keepOld bool) error {
	key, err := generateSigningKey(k.algorithm)
	if err != nil {
		return err
	}
	k.set(key, keepOld)
	return nil
}

func (k *memoryKeys) set(key jose.JSONWebKey, keepOld bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	public := []jose.JSONWebKey{key.Public()}
	if keepOld {
		public = append(public, k.public...)
	}
	k.current, k.public = key, public
}

func (k *memoryKeys) signing() (jose.JSONWebKey, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.current, nil
}

func (k *memoryKeys) published() ([]jose.JSONWebKey, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.public, nil
}

func (k *memoryKeys) load(context.Context) error { return nil }

func (k *memoryKeys) run(context.Context) {}

// since is unknown: no operator looks after these keys.
func (k *memoryKeys) since() time.Time { return time.Time{} }

func (k *memoryKeys) ready() error { return nil }
