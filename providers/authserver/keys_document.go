package authserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Times of stored signing keys.
const (
	// keyLifetime is how long a key signs.
	keyLifetime = 30 * 24 * time.Hour
	// retirement is how long a key stays published after the tokens that it signed have expired. It covers
	// the leeway of verifiers, replicas that learn of a rotation later, and clocks that are minutes apart.
	retirement = 10 * time.Minute
	// keySettling is how long a key is published before it signs: two polls of each replica, and the time for
	// which caches may keep the key set (see cacheControl).
	keySettling = 2*pollInterval + time.Minute
	// replicaSkew is how far apart the clocks of two replicas may be.
	replicaSkew = 30 * time.Second

	maxRetiredKeys = 16
)

const keyFormat = 1

// keyDocument is the content of the record of signing keys. It is not changed once it is stored or read.
type keyDocument struct {
	Format int `json:"format"`
	// Serial grows with each change of the keys. Unlike the version of the record, it survives the loss of
	// the store.
	Serial uint64 `json:"serial"`
	// Current signs. Next is published long before it signs.
	Current storedKey `json:"current"`
	Next    storedKey `json:"next"`
	// Retired are the public halves of keys that signed before.
	Retired []retiredKey `json:"retired,omitempty"`
}

type storedKey struct {
	Key jose.JSONWebKey `json:"key"`
	// Published is when the key was published first. It is zero for the first key of a store, before which
	// there were no tokens and no key sets.
	Published time.Time `json:"published,omitzero"`
	// Since is when the key became the current one.
	Since time.Time `json:"since,omitzero"`
}

type retiredKey struct {
	Key   jose.JSONWebKey `json:"key"`
	Until time.Time       `json:"until"`
}

// newKeyDocument returns the first keys of a store.
func newKeyDocument(algorithm jose.SignatureAlgorithm, now time.Time) (*keyDocument, error) {
	current, currentErr := generateSigningKey(algorithm)
	next, nextErr := generateSigningKey(algorithm)
	return &keyDocument{
		Format:  keyFormat,
		Serial:  1,
		Current: storedKey{Key: current, Since: now},
		Next:    storedKey{Key: next, Published: now},
	}, errors.Join(currentErr, nextErr)
}

// rotated returns the document after a rotation: Next signs, and the key that signed so far is published
// until the tokens that it signed have expired.
func (d *keyDocument) rotated(now time.Time, tokenLifetime time.Duration) (*keyDocument, error) {
	next, err := generateSigningKey(jose.SignatureAlgorithm(d.Current.Key.Algorithm))
	if err != nil {
		return nil, err
	}
	rotated := &keyDocument{
		Format:  keyFormat,
		Serial:  d.Serial + 1,
		Current: storedKey{d.Next.Key, d.Next.Published, now},
		Next:    storedKey{Key: next, Published: now},
		Retired: []retiredKey{{d.Current.Key.Public(), now.Add(tokenLifetime + retirement)}},
	}
	for _, k := range d.Retired {
		if now.Before(k.Until) {
			rotated.Retired = append(rotated.Retired, k)
		}
	}
	if len(rotated.Retired) > maxRetiredKeys {
		return nil, fmt.Errorf("tokens of %d earlier keys are still valid; wait until some have expired",
			maxRetiredKeys)
	}
	return rotated, nil
}

// replaced returns the document after the keys have leaked: none of them is left.
func (d *keyDocument) replaced(now time.Time) (*keyDocument, error) {
	replaced, err := newKeyDocument(jose.SignatureAlgorithm(d.Current.Key.Algorithm), now)
	if err != nil {
		return nil, err
	}
	replaced.Serial, replaced.Current.Published = d.Serial+1, now
	return replaced, nil
}

// isDue reports whether the current key has signed for long enough.
func (d *keyDocument) isDue(now time.Time) bool { return now.Sub(d.Current.Since) >= keyLifetime }

// published returns the public keys that may have signed a valid token, or are about to sign.
func (d *keyDocument) published(now time.Time) []jose.JSONWebKey {
	public := []jose.JSONWebKey{d.Current.Key.Public(), d.Next.Key.Public()}
	for _, k := range d.Retired {
		if now.Before(k.Until) {
			public = append(public, k.Key)
		}
	}
	return public
}

// isSettled reports whether other replicas, and caches of the key set, have the key. seen is when this
// process read it first. Only a process that has found the key at its first read asks the clock of the
// replica that made the key.
func (k storedKey) isSettled(seen time.Time, atFirstRead bool, now time.Time) bool {
	return k.Published.IsZero() || now.Sub(seen) >= keySettling ||
		atFirstRead && now.Sub(k.Published) >= keySettling+replicaSkew
}

// parseKeyDocument parses and checks a document.
func parseKeyDocument(plain []byte, algorithm jose.SignatureAlgorithm) (*keyDocument, error) {
	var d keyDocument
	if err := json.Unmarshal(plain, &d); err != nil {
		return nil, errors.New("the signing keys cannot be parsed") // the error may quote a key
	}
	if d.Format != keyFormat {
		return nil, fmt.Errorf("the signing keys have format %d, and this program knows format %d only",
			d.Format, keyFormat)
	}
	for _, k := range []storedKey{d.Current, d.Next} {
		if !k.Key.Valid() || k.Key.IsPublic() || k.Key.KeyID == "" {
			return nil, errors.New("a signing key is not a private key with an id")
		}
		if k.Key.Algorithm != string(algorithm) {
			return nil, fmt.Errorf("the signing keys are for %s, and the signing algorithm is %s",
				k.Key.Algorithm, algorithm)
		}
	}
	for _, k := range d.Retired {
		if !k.Key.Valid() || !k.Key.IsPublic() {
			return nil, errors.New("a retired key is not a public key")
		}
	}
	return &d, nil
}
