package token

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
	"weak"

	"gatehouse/providers"
)

func numberedKey(n int) (key tokenKey) {
	binary.LittleEndian.PutUint64(key.hash[:], uint64(n))
	return key
}

// withDetails returns id with details of its token.
func withDetails(id providers.Identity, details providers.TokenDetails) *providers.Identity {
	id.SetTokenDetails(details)
	return &id
}

func TestCacheReturnsNothingThatHasEnded(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := newCache[string](10, 0)
	c.put(numberedKey(1), "one", 0, now, now.Add(time.Second))
	c.put(numberedKey(2), "two", 0, now, now)
	if _, ok := c.get(numberedKey(2), now); ok {
		t.Error("what had ended is stored")
	}
	if value, ok := c.get(numberedKey(1), now.Add(time.Second-1)); !ok || value != "one" {
		t.Errorf("before the end: %q, %v", value, ok)
	}
	if _, ok := c.get(numberedKey(1), now.Add(time.Second)); ok || c.len() != 0 {
		t.Errorf("at the end: found %v, %d entries", ok, c.len())
	}
}

func TestCacheEvictsTheLeastRecentlyUsed(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	end := now.Add(time.Minute)
	for name, c := range map[string]struct {
		maxEntries, maxBytes, bytes int
	}{
		"by number": {3, 1_000, 1},
		"by bytes":  {10, 35, 10},
	} {
		t.Run(name, func(t *testing.T) {
			cache := newCache[int](c.maxEntries, c.maxBytes)
			for n := range 3 {
				cache.put(numberedKey(n), n, c.bytes, now, end)
			}
			cache.put(numberedKey(2), 2, c.bytes, now, end) // in its own place
			cache.get(numberedKey(0), now)
			cache.put(numberedKey(3), 3, c.bytes, now, end)
			for n, want := range []bool{true, false, true, true} {
				if _, ok := cache.get(numberedKey(n), now); ok != want {
					t.Errorf("entry %d is there: %v, want %v", n, ok, want)
				}
			}
			if cache.bytes != 3*c.bytes {
				t.Errorf("%d bytes are counted", cache.bytes)
			}
		})
	}
}

func TestCacheEvictsWhatHasEndedAndRefusesWhatIsTooLarge(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := newCache[int](10, 100)
	for n := range 3 {
		c.put(numberedKey(n), n, 10, now, now.Add(time.Second))
	}
	later := now.Add(time.Second)
	c.put(numberedKey(3), 3, 10, later, later.Add(time.Second))
	if c.len() != 1 || c.bytes != 10 {
		t.Errorf("%d entries of %d bytes after the others ended", c.len(), c.bytes)
	}
	c.put(numberedKey(4), 4, 101, later, later.Add(time.Second))
	if _, ok := c.get(numberedKey(4), later); ok || c.len() != 1 {
		t.Errorf("a value larger than the cache: stored %v, %d entries", ok, c.len())
	}
	c.remove(numberedKey(3))
	if c.len() != 0 || c.bytes != 0 {
		t.Errorf("%d entries of %d bytes after the last was removed", c.len(), c.bytes)
	}
}

// Run with -race.
func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := newTokenCache(50, 1<<20)
	var users sync.WaitGroup
	for user := range 8 {
		users.Go(func() {
			for n := range 2_000 {
				key := numberedKey(n % 100)
				if n%3 == user%3 {
					c.refuse(key, ReasonExpired, now, time.Second)
				}
				c.accept(key, &providers.Identity{Subject: fmt.Sprint(n % 100)}, now, now.Add(time.Second))
				if r, ok := c.get(key, now); ok && r.err == nil && r.id.Subject != fmt.Sprint(n%100) {
					t.Errorf("token %d belongs to %s", n%100, r.id.Subject)
				}
			}
		})
	}
	users.Wait()
	if n := c.accepted.len(); n > 50 {
		t.Errorf("%d tokens are cached", n)
	}
}

// Refused tokens cost their sender nothing, so they must not push out accepted ones or fill the memory.
func TestTokenCacheKeepsAcceptedTokensInAFloodOfRefusedOnes(t *testing.T) {
	now := time.Now()
	c := newTokenCache(maxCachedTokens, maxCachedBytes)
	good := keyOf("good", 1)
	c.accept(good, &providers.Identity{Subject: "alice"}, now, now.Add(time.Minute))
	for n := range 10 * maxCachedRefusals {
		key := numberedKey(n)
		c.refuse(key, ReasonExpired, now, time.Hour)
		if r, ok := c.get(key, now); !ok || providers.ReasonOf(r.err) != ReasonExpired {
			t.Fatalf("what was just refused is known as %v, %v", r.err, ok)
		}
	}
	if n := c.refused.len(); n != maxCachedRefusals {
		t.Errorf("%d refusals are cached", n)
	}
	if r, ok := c.get(good, now); !ok || r.err != nil || r.id.Subject != "alice" {
		t.Errorf("the accepted token: %+v, %v", r, ok)
	}
	if _, ok := c.get(keyOf("good", 2), now); ok {
		t.Error("the accepted token is known under other keys")
	}
	c.refuse(good, ReasonSignatureInvalid, now, time.Hour)
	if r, ok := c.get(good, now); !ok || r.err == nil {
		t.Errorf("after it was refused: %+v, %v", r, ok)
	}
	if r, ok := c.get(good, now.Add(refusalTTL)); ok {
		t.Errorf("after refusalTTL: %+v", r)
	}
}

func TestCachedIdentityIsTheOneThatWasVerified(t *testing.T) {
	now := time.Now()
	scopes := []string{"a", "b"}
	for _, id := range []*providers.Identity{
		{Issuer: "https://issuer.example", Subject: "alice", Client: "web", Audience: []string{"one", "two"},
			Scopes: scopes},
		{Subject: "alice", Scopes: scopes, ScopesDefaulted: true},
		{Subject: "alice", Audience: []string{"one"}},
		{Subject: "alice", Scopes: strings.Fields("a b c d e f g h i j")},
		withDetails(providers.Identity{Subject: "alice", Scopes: scopes},
			providers.TokenDetails{Scopes: &[]string{"c", "b"}}),
		{Subject: "alice", Expiry: time.Unix(maxTime, 0)},
	} {
		if id.Expiry.IsZero() {
			id.Expiry = now.Add(time.Hour)
		}
		id.ExpiryWithLeeway = id.Expiry.Add(DefaultLeeway)
		cached := cachedIdentity(id, rawObject{{[]byte("x"), json.RawMessage("1")}})
		for range 2 {
			got := &copyIdentity(cached).Identity
			if got.Issuer != id.Issuer || got.Subject != id.Subject || got.Client != id.Client ||
				got.Principal() != id.Principal() ||
				!slices.Equal(got.Audience, id.Audience) || !slices.Equal(got.Scopes, id.Scopes) ||
				got.ScopesDefaulted != id.ScopesDefaulted || !slices.Equal(got.TokenScopes(), id.TokenScopes()) ||
				!got.Expiry.Equal(id.Expiry) || !got.ExpiryWithLeeway.Equal(id.ExpiryWithLeeway) ||
				string(got.Claims()["x"]) != "1" {
				t.Errorf("%+v is cached as %+v", id, got)
			}
			// What one caller changes must not reach the next.
			for _, list := range [][]string{got.Audience, got.Scopes} {
				for i := range list {
					list[i] = "changed"
				}
				_ = append(list, "appended")
			}
		}
	}
}

// 40,000 tokens must fit into the memory of a small container.
func TestTokenCacheIsBoundedInMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // the first only queues what has finalizers
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c, now := newTokenCache(maxCachedTokens, maxCachedBytes), time.Now()
	for n := range 2 * maxCachedTokens {
		id := &providers.Identity{
			Issuer: strings.Clone("https://login.example.com"), Subject: fmt.Sprintf("00000000-0000-0000-0000-%012d",
				n),
			Client: fmt.Sprintf("client-%d", n%50), Audience: []string{strings.Clone("https://mcp.example.com/mcp")},
			Scopes: strings.Fields(strings.Clone("mcp:use greet:read")), Expiry: now.Add(time.Hour),
			ExpiryWithLeeway: now.Add(time.Hour),
		}
		c.accept(numberedKey(n), cachedIdentity(id, nil), now, now.Add(acceptedTTL))
	}
	after := heap()
	if n := c.accepted.len(); n > maxCachedTokens || n < maxCachedTokens*9/10 {
		t.Errorf("%d tokens are cached, at most %d should be", n, maxCachedTokens)
	}
	used := int64(after) - int64(before)
	if used > 32<<20 || c.accepted.bytes > maxCachedBytes {
		t.Errorf("%d tokens take %d bytes of memory, %d are counted", c.accepted.len(), used, c.accepted.bytes)
	}
	t.Logf("%d tokens, %.1f MB, %d bytes counted", c.accepted.len(), float64(used)/(1<<20), c.accepted.bytes)
	runtime.KeepAlive(c)
}

// A token in the memory of the server can be read in a core dump long after the call that brought it.
func TestVerifyKeepsNoTokenInMemory(t *testing.T) {
	f := newVerifierFixture(t, "https://mcp.example.com/mcp")
	verify := func() weak.Pointer[byte] {
		token := strings.Clone(f.token(t, time.Hour))
		for range 2 {
			if _, err := f.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		return weak.Make(unsafe.StringData(token))
	}
	token := verify()
	runtime.GC()
	runtime.GC()
	if token.Value() != nil {
		t.Error("the token is still in memory after the call")
	}
	if f.cache.accepted.len() != 1 {
		t.Error("the token is not cached")
	}
}
