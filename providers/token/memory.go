package token

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"gatehouse/providers"
)

const (
	// rememberedTokens bounds how many tokens are remembered, at about 200 bytes each.
	rememberedTokens = 100_000
	// rememberedFor bounds how long a token is taken at its word without a look at its signature.
	rememberedFor = 5 * time.Minute

	memoryShards = 16
)

// memory remembers which tokens were verified, by their hash, so that a token that comes with every call is verified once.
// What it says holds for one set of keys: when the issuer's keys change, every token is verified anew. It belongs to one
// [Verifier], so that what is good for one issuer or audience is never good for another.
//
// It is a plain map in shards rather than a library's LRU, whose entries alone would be as large as all that is kept here.
type memory struct {
	good   shards
	bad    refusals
	leeway time.Duration

	mu     sync.Mutex
	alikes map[string]*alike
}

// alike is what the tokens of one client have in common.
type alike struct {
	issuer, client   string
	audience, scopes []string
	scopesDefaulted  bool
	tokenScopes      *[]string
}

// maxAlikes bounds how many of them are known at once; those in use live on.
const maxAlikes = 1_024

type fingerprint [sha256.Size]byte

// fingerprintOf reads the token where it is. A copy for every call would cost as much as the rest of the look into the memory:
// on the heap as garbage, on the stack because it then has to grow.
func fingerprintOf(token string) fingerprint {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token))) // which only reads
}

// shards is a bounded map. When one is full, something makes room: what is over, or else whatever comes first.
type shards struct {
	shard [memoryShards]struct {
		mu      sync.Mutex
		entries map[fingerprint]recollection
	}
	perShard int
}

// recollection is what is known of a token.
type recollection struct {
	principal string // which ends with the subject
	rest      *alike
	expiry    int64  // Unix nanoseconds
	keys      uint64 // the generation of the keys that verified it
	until     int64  // Unix nanoseconds
}

func newMemory(leeway time.Duration) *memory {
	m := &memory{leeway: leeway, alikes: map[string]*alike{}}
	m.good.perShard = rememberedTokens / memoryShards
	for i := range m.good.shard {
		m.good.shard[i].entries = map[fingerprint]recollection{}
		m.bad[i].entries = map[fingerprint]refused{}
	}
	return m
}

func (s *shards) get(f fingerprint, keys uint64, now time.Time) (recollection, bool) {
	shard := &s.shard[f[0]%memoryShards]
	shard.mu.Lock()
	r, ok := shard.entries[f]
	shard.mu.Unlock()
	return r, ok && r.keys == keys && now.UnixNano() < r.until
}

func (s *shards) put(f fingerprint, r recollection, now time.Time) {
	shard := &s.shard[f[0]%memoryShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, known := shard.entries[f]; !known && len(shard.entries) >= s.perShard {
		makeRoom(shard.entries, r.keys, now.UnixNano())
	}
	shard.entries[f] = r
}

// makeRoom looks at a few entries, in the random order of a map, and takes out those that are over, at least one.
func makeRoom(entries map[fingerprint]recollection, keys uint64, now int64) {
	const looks = 4
	looked, removed := 0, false
	var last fingerprint
	for f, r := range entries {
		if looked++; looked > looks {
			break
		}
		last = f
		if r.until <= now || r.keys != keys {
			delete(entries, f)
			removed = true
		}
	}
	if !removed {
		delete(entries, last)
	}
}

// remember keeps id, which a signature by the keys of that generation confirmed, never past its end.
func (m *memory) remember(f fingerprint, id *providers.Identity, keys uint64, now time.Time) {
	if id.Expiry.Unix() >= math.MaxInt64/int64(time.Second) {
		return // further away than nanoseconds can count
	}
	until := now.Add(rememberedFor)
	if id.ExpiryWithLeeway.Before(until) {
		until = id.ExpiryWithLeeway
	}
	m.good.put(f, recollection{
		principal: id.Principal(), // a copy, not the whole payload with it
		rest:      m.alike(id), expiry: id.Expiry.UnixNano(), keys: keys, until: until.UnixNano(),
	}, now)
}

func (m *memory) alike(id *providers.Identity) *alike {
	var room [512]byte
	key := room[:0]
	var inToken []string
	if own := id.TokenDetails().Scopes; own != nil {
		inToken = *own
	}
	if id.ScopesDefaulted {
		key = append(key, 1)
	} else {
		key = append(key, 0)
	}
	for _, list := range [][]string{{id.Issuer, id.Client}, id.Audience, id.Scopes, inToken} {
		key = binary.AppendUvarint(key, uint64(len(list))) // so that no list runs into the next, and no text
		for _, text := range list {
			key = append(binary.AppendUvarint(key, uint64(len(text))), text...)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.alikes[string(key)]; ok {
		return known
	}
	if len(m.alikes) >= maxAlikes {
		clear(m.alikes)
	}
	one := &alike{issuer: id.Issuer, client: strings.Clone(id.Client), audience: cloned(id.Audience), scopes: cloned(id.Scopes),
		scopesDefaulted: id.ScopesDefaulted}
	if id.TokenDetails().Scopes != nil {
		kept := cloned(inToken)
		one.tokenScopes = &kept
	}
	m.alikes[string(key)] = one
	return one
}

func cloned(list []string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		out[i] = strings.Clone(s)
	}
	return out
}

// rememberedIdentity is an identity with what it refers to: one allocation for all.
type rememberedIdentity struct {
	providers.Identity
	payload string    // of the token, encoded
	texts   [6]string // of usual length
}

// Claims returns the claims for [providers.TokenDetails].
func (i *rememberedIdentity) Claims() map[string]json.RawMessage {
	raw, err := decodeSegment(i.payload)
	if err != nil {
		return nil // it was decoded when the token was verified
	}
	claims, _ := parseObject(raw, nil)
	return claims.members()
}

// identity is who presented token, whose claims can still be read from it.
func (m *memory) identity(r recollection, token string) *providers.Identity {
	expiry := time.Unix(0, r.expiry)
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	one := &rememberedIdentity{payload: payload}
	one.Identity = providers.Identity{
		Issuer: r.rest.issuer, Subject: r.principal[len(r.rest.issuer)+1:], Client: r.rest.client,
		Expiry: expiry, ExpiryWithLeeway: expiry.Add(m.leeway), ScopesDefaulted: r.rest.scopesDefaulted,
	}
	one.SetTokenDetails(providers.TokenDetails{Claims: one, Principal: r.principal, Scopes: r.rest.tokenScopes})
	// Copies: a tool that sorted its caller's scopes would sort everybody's.
	texts := append(append(one.texts[:0], r.rest.audience...), r.rest.scopes...)
	n := len(r.rest.audience)
	if n > 0 {
		one.Audience = texts[:n:n]
	}
	if len(texts) > n {
		one.Scopes = texts[n:]
	}
	return &one.Identity
}
