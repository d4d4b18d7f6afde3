package authserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

const (
	maxKeySet         = 32 << 10 // bytes
	maxPublishedKeys  = 20
	minRSABits        = 2048 // RFC 7518, section 3.3
	keyRefetchMinimum = time.Minute
)

// clientAssertionAlgorithms are those of private_key_jwt.
func clientAssertionAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
}

func clientAssertionAlgorithmNames() []string {
	return []string{string(jose.RS256), string(jose.ES256)}
}

// publishedKeys are the keys in a client ID metadata document, or where they are (RFC 7591, section 2).
type publishedKeys struct {
	url    string
	inline []jose.JSONWebKey
}

// newPublishedKeys returns nil if there are no usable keys. A client must not have both.
func newPublishedKeys(address string, inline json.RawMessage) *publishedKeys {
	switch {
	case address != "" && inline == nil && checkDocumentURL(address) == nil:
		return &publishedKeys{url: address}
	case address == "" && inline != nil:
		if keys := readKeySet(inline); len(keys) > 0 {
			return &publishedKeys{inline: keys}
		}
	}
	return nil
}

// readKeySet returns the keys that can verify a client assertion. Others are skipped: a set may have keys for other
// uses.
func readKeySet(raw []byte) []jose.JSONWebKey {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil || len(set.Keys) > maxPublishedKeys {
		return nil
	}
	var usable []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		algorithm := algorithmOf(key.Key)
		if algorithm == "" || key.Algorithm != "" && key.Algorithm != string(algorithm) {
			continue
		}
		key.Algorithm = string(algorithm) // one key, one algorithm (RFC 8725, section 3.1)
		usable = append(usable, key)
	}
	return usable
}

// algorithmOf returns the algorithm of a public key that may be used, or "".
func algorithmOf(key any) jose.SignatureAlgorithm {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return jose.RS256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256
		}
	}
	return ""
}

// cachedKeys are the keys at one URL.
type cachedKeys struct {
	keys    []jose.JSONWebKey
	err     error
	fetched time.Time
	until   time.Time
}

// keysOf returns the keys of a client, among them one with that id if it is published. The error is a [documentError].
func (f *documentFetcher) keysOf(
	ctx context.Context, published *publishedKeys, keyID string,
) ([]jose.JSONWebKey, error) {
	if published.url == "" {
		return published.inline, nil
	}
	if known, ok := f.cachedKeys(published.url, keyID); ok {
		return known.keys, known.err
	}
	address := providers.AddressFrom(ctx)
	found, err, _ := f.flight.Do("keys "+published.url, func() (any, error) {
		if !f.begin(address) {
			return []jose.JSONWebKey(nil), documentError{"too many concurrent fetches", true}
		}
		defer f.end(address)
		ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
		defer cancel()
		keys, lifetime, err := f.fetchKeys(ctx, published.url)
		f.storeKeys(published.url, keys, err, lifetime)
		return keys, err
	})
	return found.([]jose.JSONWebKey), err
}

// cachedKeys returns the keys at a URL unless they have to be fetched: because they are old, or because another key is
// wanted. Invented key ids cause one fetch per minute.
func (f *documentFetcher) cachedKeys(address, keyID string) (cachedKeys, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known, ok := f.keySets[address]
	now := f.now()
	if !ok || !now.Before(known.until) {
		return cachedKeys{}, false
	}
	hasKey := slices.ContainsFunc(known.keys, func(k jose.JSONWebKey) bool { return keyID == "" || k.KeyID == keyID })
	return known, known.err != nil || hasKey || now.Sub(known.fetched) < keyRefetchMinimum
}

func (f *documentFetcher) storeKeys(address string, keys []jose.JSONWebKey, err error, lifetime time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if len(f.keySets) >= maxDocuments {
		maps.DeleteFunc(f.keySets, func(_ string, known cachedKeys) bool { return !now.Before(known.until) })
	}
	for victim := range f.keySets { // any: it is fetched again when needed
		if len(f.keySets) < maxDocuments {
			break
		}
		delete(f.keySets, victim)
	}
	f.keySets[address] = cachedKeys{keys, err, now, now.Add(lifetime)}
}

func (f *documentFetcher) fetchKeys(ctx context.Context, address string) ([]jose.JSONWebKey, time.Duration, error) {
	response, body, lifetime, err := f.get(ctx, address, maxKeySet)
	if err != nil {
		return nil, lifetime, err
	}
	if err := checkResponse(response); err != nil {
		return nil, documentErrorLifetime, err
	}
	keys := readKeySet(body)
	if len(body) > maxKeySet || len(keys) == 0 {
		return nil, documentErrorLifetime, documentError{"its jwks_uri has no usable key", false}
	}
	return keys, cacheLifetime(response.Header), nil
}
