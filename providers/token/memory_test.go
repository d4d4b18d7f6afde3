package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// counting counts how often a signature was really checked.
type counting struct {
	*KeySet
	checks atomic.Int64
}

func (c *counting) VerifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	c.checks.Add(1)
	return c.KeySet.VerifySignature(ctx, jws)
}

// remembering is a verifier with a clock and keys under the test's control.
type remembering struct {
	*Verifier
	keys    *counting
	clock   atomic.Int64 // added to the time, in nanoseconds
	publish atomic.Pointer[[]jose.JSONWebKey]
	private *ecdsa.PrivateKey
}

func newRemembering(t *testing.T, audience string) *remembering {
	t.Helper()
	r := &remembering{}
	var err error
	if r.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.publish.Store(&[]jose.JSONWebKey{{Key: r.private.Public(), KeyID: "one"}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: *r.publish.Load()})
	}))
	t.Cleanup(server.Close)
	source := KeySource{URL: StaticURL(server.URL), Client: NewClient(&http.Transport{DisableKeepAlives: true}, "")}
	r.keys = &counting{KeySet: NewKeySet(source, KeyPolicy{RefetchInterval: time.Minute}, slog.New(slog.DiscardHandler))}
	r.refetch(t)
	r.Verifier = NewVerifier(Rules{
		Issuers: []string{"https://issuer.example"}, Audiences: []string{audience}, Algorithms: []jose.SignatureAlgorithm{jose.ES256}, TokenTypes: []string{"at+jwt"},
		ScopeClaims: []string{"scope"}, ClientClaims: []string{"client_id"},
		Now: func() time.Time { return time.Now().Add(time.Duration(r.clock.Load())) },
	}, r.keys)
	return r
}

func (r *remembering) refetch(t *testing.T) {
	t.Helper()
	if err := r.keys.refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

func (r *remembering) token(t *testing.T, life time.Duration) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: r.private, KeyID: "one"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(map[string]any{
		"iss": "https://issuer.example", "aud": "https://mcp.example.com/mcp", "sub": "alice", "client_id": "web", "scope": "a b",
		"exp": time.Now().Add(life).Unix(), "custom": "x",
	})
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenThatComesAgainIsNotVerifiedAgain(t *testing.T) {
	r := newRemembering(t, "https://mcp.example.com/mcp")
	token := r.token(t, time.Hour)
	first, err := r.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Verify(t.Context(), token)
	if err != nil || r.keys.checks.Load() != 1 {
		t.Fatalf("%v after %d checks", err, r.keys.checks.Load())
	}
	a, b := string(first.Claims()["custom"]), string(again.Claims()["custom"])
	if a != `"x"` || b != a || first.Subject != again.Subject || first.Client != again.Client ||
		fmt.Sprint(first.Scopes, first.Audience) != fmt.Sprint(again.Scopes, again.Audience) ||
		!first.Expiry.Equal(again.Expiry) {
		t.Errorf("first %+v with %s, then %+v with %s", first, a, again, b)
	}
	// The last letter carries bits of the signature, and the one before it too.
	for i := range 3 {
		spoilt := token[:len(token)-4+i] + string('A'+(token[len(token)-4+i]-'A'+1)%26) + token[len(token)-3+i:]
		if _, err := r.Verify(t.Context(), spoilt); err == nil {
			t.Errorf("a token that differs in a letter passed for the one that was verified")
		}
	}
}

// What was refused for good is refused again without another look, for the same reason.
func TestARefusalIsRememberedAsWhatItWas(t *testing.T) {
	r := newRemembering(t, "https://mcp.example.com/mcp")
	other := newRemembering(t, "https://elsewhere.example/mcp")
	for want, c := range map[providers.Reason]struct {
		at    *remembering
		token string
	}{
		ReasonExpired:          {r, r.token(t, -time.Hour)},
		ReasonAudienceMismatch: {other, other.token(t, time.Hour)},
		ReasonSignatureInvalid: {r, other.token(t, time.Hour)},
	} {
		for i := range 3 {
			_, err := c.at.Verify(t.Context(), c.token)
			if providers.ReasonOf(err) != want || !errors.Is(err, providers.ErrInvalidToken) {
				t.Errorf("time %d: %v, want %s", i+1, err, want)
			}
			if i > 0 && !strings.Contains(err.Error(), "as a moment ago") {
				t.Errorf("%s was looked at again: %v", want, err)
			}
		}
	}
}

// Nothing that ends a token may be overlooked because the token was seen before.
func TestARememberedTokenEndsLikeAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*testing.T, *remembering)
		want providers.Reason
		is   error
	}{
		"it expires": {func(_ *testing.T, r *remembering) { r.clock.Store(int64(time.Hour + DefaultLeeway)) }, ReasonExpired, providers.ErrInvalidToken},
		"its key is withdrawn": {func(t *testing.T, r *remembering) {
			other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			r.publish.Store(&[]jose.JSONWebKey{{Key: other.Public(), KeyID: "two"}})
			r.refetch(t)
		}, ReasonKeyUnknown, providers.ErrInvalidToken},
		"its key is replaced under the same id": {func(t *testing.T, r *remembering) {
			other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			r.publish.Store(&[]jose.JSONWebKey{{Key: other.Public(), KeyID: "one"}})
			r.refetch(t)
		}, ReasonSignatureInvalid, providers.ErrInvalidToken},
		"the keys grow too old": {func(_ *testing.T, r *remembering) {
			r.keys.policy.MaxStale = 0
			r.keys.nextTry = time.Now().Add(time.Hour)
		}, providers.ReasonKeysUnavailable, providers.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemembering(t, "https://mcp.example.com/mcp")
			token := r.token(t, time.Hour)
			for range 2 {
				if _, err := r.Verify(t.Context(), token); err != nil {
					t.Fatal(err)
				}
			}
			c.end(t, r)
			if _, err := r.Verify(t.Context(), token); providers.ReasonOf(err) != c.want || !errors.Is(err, c.is) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestATokenIsVerifiedAnewEveryFiveMinutesAndWhenKeysAreAdded(t *testing.T) {
	r := newRemembering(t, "https://mcp.example.com/mcp")
	token := r.token(t, time.Hour)
	verify := func(want int64) {
		t.Helper()
		if _, err := r.Verify(t.Context(), token); err != nil || r.keys.checks.Load() != want {
			t.Errorf("%v after %d checks, want %d", err, r.keys.checks.Load(), want)
		}
	}
	verify(1)
	r.refetch(t) // the same keys
	verify(1)
	r.clock.Store(int64(rememberedFor))
	verify(2)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	both := append([]jose.JSONWebKey{{Key: other.Public(), KeyID: "two"}}, *r.publish.Load()...)
	r.publish.Store(&both)
	r.refetch(t)
	verify(3)
	verify(3)
}

func TestABadSignatureIsRememberedForAMoment(t *testing.T) {
	r := newRemembering(t, "https://mcp.example.com/mcp")
	token := r.token(t, time.Hour)
	forged := token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
	for i := range 3 {
		if _, err := r.Verify(t.Context(), forged); providers.ReasonOf(err) != ReasonSignatureInvalid {
			t.Errorf("try %d: %v", i, err)
		}
	}
	if got := r.keys.checks.Load(); got != 1 {
		t.Errorf("the same forgery was checked %d times", got)
	}
	r.clock.Store(int64(refusedFor))
	_, _ = r.Verify(t.Context(), forged)
	if got := r.keys.checks.Load(); got != 2 {
		t.Errorf("after a while it was checked %d times in all", got)
	}
	if _, err := r.Verify(t.Context(), token); err != nil {
		t.Errorf("the true token: %v", err)
	}
}

func TestWhatIsGoodForOneAudienceIsNotGoodForAnother(t *testing.T) {
	one, other := newRemembering(t, "https://mcp.example.com/mcp"), newRemembering(t, "https://other.example.com/mcp")
	other.Verifier.keys = one.Verifier.keys
	token := one.token(t, time.Hour)
	for range 2 {
		if _, err := one.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Verify(t.Context(), token); providers.ReasonOf(err) != ReasonAudienceMismatch {
			t.Errorf("got %v", err)
		}
	}
}

// What two tokens have in common is kept once; what only looks alike is not.
func TestTokensThatLookAlikeAreKeptApart(t *testing.T) {
	m, now := newMemory(DefaultLeeway), time.Now()
	for i, id := range []*providers.Identity{
		{Scopes: []string{"a", "b"}}, {Scopes: []string{"a b"}}, {Scopes: []string{"a\x00b"}}, {Scopes: []string{"a\" \"b"}},
		{Audience: []string{"a", "b"}}, {Audience: []string{"a"}, Scopes: []string{"b"}}, {Audience: []string{"a"}},
		{Scopes: []string{"a", "b"}, ScopesDefaulted: true}, withDetails(providers.Identity{Scopes: []string{"a", "b"}}, providers.TokenDetails{Scopes: &[]string{"b"}}),
		withDetails(providers.Identity{Scopes: []string{"a", "b"}}, providers.TokenDetails{Scopes: &[]string{"c", "b"}}), withDetails(providers.Identity{Scopes: []string{"a", "b"}}, providers.TokenDetails{Scopes: &[]string{"c b"}}),
		{Client: "a"}, {Issuer: "a"}, {Client: "a", Scopes: []string{"a"}}, {Issuer: "a", Client: "a"},
		{Expiry: time.Unix(253402300799, 0)}, {Expiry: time.Unix(9223372036, 9e8)}, // which cannot be kept
	} {
		id.Subject = "alice"
		if id.Expiry.IsZero() {
			id.Expiry = now.Add(time.Hour)
		}
		id.ExpiryWithLeeway = id.Expiry.Add(DefaultLeeway)
		f := fingerprint{byte(i)}
		m.remember(f, id, 1, now)
		r, ok := m.good.get(f, 1, now)
		if id.Expiry.Year() >= 2262 {
			if ok {
				t.Errorf("%+v: it is remembered", id)
			}
			continue
		}
		got := m.identity(r, "")
		if !ok || got.Issuer != id.Issuer || got.Client != id.Client || !slices.Equal(got.Audience, id.Audience) || !slices.Equal(got.Scopes, id.Scopes) || got.ScopesDefaulted != id.ScopesDefaulted ||
			!slices.Equal(got.TokenScopes(), id.TokenScopes()) || !got.Expiry.Equal(id.Expiry) {
			t.Errorf("%+v is remembered as %+v", id, got)
		}
	}
}

// A hundred thousand people's tokens must fit into what a small container has.
func TestTheMemoryIsBounded(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // the first only queues what has finalizers
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	m, now := newMemory(DefaultLeeway), time.Now()
	for i := range 2 * rememberedTokens {
		var f fingerprint
		binary.LittleEndian.PutUint64(f[:], uint64(i)*0x9E3779B97F4A7C15) // spread over the shards
		id := withDetails(providers.Identity{
			Issuer: "https://login.example.com", Subject: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Client: fmt.Sprintf("client-%d", i%50),
			Audience: []string{"https://mcp.example.com/mcp"}, Scopes: []string{"mcp:use", "greet:read"}, Expiry: now.Add(time.Hour), ExpiryWithLeeway: now.Add(time.Hour),
		}, providers.TokenDetails{Claims: rawObject{{[]byte("x"), json.RawMessage("1")}}})
		m.remember(f, id, 1, now)
	}
	after := heap()
	kept := 0
	for i := range m.good.shard {
		kept += len(m.good.shard[i].entries)
	}
	if kept > rememberedTokens || kept < rememberedTokens*9/10 {
		t.Errorf("%d tokens are remembered, at most %d should be", kept, rememberedTokens)
	}
	if used := after - before; after > before && used > 32<<20 {
		t.Errorf("%d tokens take %d MB", kept, used>>20)
	}
	t.Logf("%d tokens, %.1f MB", kept, float64(int64(after-before))/(1<<20))
	runtime.KeepAlive(m)
}

func TestRoomIsMadeByWhatIsOver(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	fresh := recollection{keys: 1, until: now.Add(time.Minute).UnixNano()}
	over, others := fresh, fresh
	over.until, others.keys = now.UnixNano(), 2
	filled := func(r recollection, n int) map[fingerprint]recollection {
		entries := map[fingerprint]recollection{{255}: fresh}
		for i := range n {
			entries[fingerprint{byte(i)}] = r
		}
		return entries
	}
	for name, c := range map[string]struct {
		entries map[fingerprint]recollection
		least   int
		most    int
	}{
		"what is over":              {filled(over, 3), 1, 1},
		"what other keys verified":  {filled(others, 3), 1, 1},
		"one, where nothing is":     {filled(fresh, 63), 63, 63},
		"no more than a few looks":  {filled(over, 63), 60, 61}, // one may have gone to what is not over
		"the only one there may be": {filled(fresh, 0), 0, 0},
	} {
		makeRoom(c.entries, 1, now.UnixNano())
		if n := len(c.entries); n < c.least || n > c.most || n == 1 && c.entries[fingerprint{255}] != fresh {
			t.Errorf("%s: %d are left, want %d to %d", name, n, c.least, c.most)
		}
	}
}

func TestATokenThatIsKnownTakesNobodysPlace(t *testing.T) {
	s := shards{perShard: 2}
	for i := range s.shard {
		s.shard[i].entries = map[fingerprint]recollection{}
	}
	now := time.Unix(1_000_000, 0)
	r := recollection{keys: 1, until: now.Add(time.Minute).UnixNano()}
	one, two := fingerprint{0, 1}, fingerprint{0, 2}
	s.put(one, r, now)
	s.put(two, r, now)
	s.put(one, r, now)
	for _, f := range []fingerprint{one, two} {
		if _, ok := s.get(f, 1, now); !ok {
			t.Errorf("%v is forgotten", f[:2])
		}
	}
}

// What one key did not sign, the next may have.
func TestARefusalEndsWithTheKeysThatItWasMadeWith(t *testing.T) {
	r, other := newRemembering(t, "https://mcp.example.com/mcp"), newRemembering(t, "https://mcp.example.com/mcp")
	token := other.token(t, time.Hour)
	for range 2 {
		if _, err := r.Verify(t.Context(), token); providers.ReasonOf(err) != ReasonSignatureInvalid {
			t.Fatal(err)
		}
	}
	r.publish.Store(other.publish.Load()) // another key under the same id
	r.refetch(t)
	if _, err := r.Verify(t.Context(), token); err != nil {
		t.Errorf("by its own key: %v", err)
	}
}

func TestManyRefusalsAreForgottenInsteadOfKept(t *testing.T) {
	var r refusals
	for i := range r {
		r[i].entries = map[fingerprint]refused{}
	}
	now := time.Now()
	number := func(i int) (f fingerprint) {
		binary.LittleEndian.PutUint64(f[:], uint64(i)*0x9E3779B97F4A7C15) // spread over the shards
		return f
	}
	for i := range 10 * rememberedRefusals {
		r.put(number(i), ReasonExpired, 1, now, refusedFor)
		if reason, ok := r.get(number(i), 1, now); !ok || reason != ReasonExpired {
			t.Fatalf("what was just refused is known as %q, %v", reason, ok)
		}
	}
	n := 0
	for i := range r {
		n += len(r[i].entries)
	}
	if n > rememberedRefusals {
		t.Errorf("%d refusals are kept", n)
	}
}

func TestARefusalThatComesAgainTakesNobodysPlace(t *testing.T) {
	var r refusals
	r[0].entries = map[fingerprint]refused{}
	now := time.Now()
	const full = rememberedRefusals / memoryShards
	for _, n := range []int{full, 1} { // fill it, and then the first once more
		for i := range n {
			r.put(fingerprint{0, byte(i), byte(i >> 8)}, ReasonExpired, 1, now, refusedFor)
		}
	}
	if n := len(r[0].entries); n != full {
		t.Errorf("%d of %d are left", n, full)
	}
}

// Whoever makes up headers must not fill the memory with them, and none may pass because another did.
func TestAHeaderPassesOnlyIfItWouldOnItsOwn(t *testing.T) {
	v := newRemembering(t, "https://mcp.example.com/mcp").Verifier
	const good = `{"alg":"ES256","typ":"at+jwt","kid":"one"}`
	for name, c := range map[string]struct {
		header string
		want   providers.Reason
	}{
		"good":               {good, ""},
		"another key":        {`{"alg":"ES256","typ":"at+jwt","kid":"two"}`, ""},
		"crit":               {`{"alg":"ES256","typ":"at+jwt","crit":["x"]}`, ReasonHeaderRefused},
		"another algorithm":  {`{"alg":"HS256","typ":"at+jwt","kid":"one"}`, ReasonAlgorithmRefused},
		"another type":       {`{"alg":"ES256","typ":"jwt","kid":"one"}`, ReasonTypeRefused},
		"a member twice":     {`{"alg":"ES256","typ":"at+jwt","typ":"at+jwt"}`, ReasonMalformed},
		"something after it": {good + "x", ReasonMalformed},
	} {
		for range 2 {
			if got := providers.ReasonOf(v.checkHeader(encoded(good))); got != "" {
				t.Fatalf("the good one: %s", got)
			}
			if got := providers.ReasonOf(v.checkHeader(encoded(c.header))); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
	}
	for i := range 10 * rememberedHeaders {
		if err := v.checkHeader(encoded(fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":"%d"}`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(v.headers.known); n == 0 || n > rememberedHeaders {
		t.Errorf("%d headers are remembered", n)
	}
	token := encoded(good) + strings.Repeat("x", DefaultMaxTokenBytes)
	v.headers = headers{}
	if err := v.checkHeader(token[:len(encoded(good))]); err != nil {
		t.Fatal(err)
	}
	for kept := range v.headers.known {
		if unsafe.StringData(kept) == unsafe.StringData(token) {
			t.Error("the whole token is kept with its header")
		}
	}
	long := encoded(fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":"%s"}`, strings.Repeat("x", rememberedHeaderBytes)))
	if err := v.checkHeader(long); err != nil || v.headers.has(long) {
		t.Errorf("a long header is remembered: %v, %v", err, v.headers.has(long))
	}
}

func encoded(part string) string { return base64.RawURLEncoding.EncodeToString([]byte(part)) }

// A refusal may be made of texts as long as a token. What is kept of it must not be.
func TestARefusalIsKeptShort(t *testing.T) {
	const canary = "canary"
	err := providers.Invalidf(ReasonIssuerMismatch, "iss is %s", quoted(strings.Repeat(canary, 10_000)))
	kept := detached(fmt.Errorf("asked: %w", err))
	r, ok := kept.(*providers.Error)
	if !ok || r.Reason != ReasonIssuerMismatch || !errors.Is(kept, providers.ErrInvalidToken) || kept.Error() != err.Error() || !strings.Contains(kept.Error(), canary) {
		t.Fatalf("kept %v of %v", kept, err)
	}
	args := reflect.ValueOf(r).Elem().FieldByName("args")
	if text := args.Index(0).Elem(); args.Len() != 1 || text.Type() != reflect.TypeFor[string]() || text.Len() > 400 {
		t.Errorf("kept %d of %s, %d bytes", args.Len(), text.Type(), text.Len())
	}
	if other := errors.New("x"); detached(other) != other {
		t.Error("another error is not kept as it is")
	}
}
