package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// countingKeys counts the checks of signatures.
type countingKeys struct {
	*KeySet
	checks atomic.Int64
}

func (c *countingKeys) VerifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	c.checks.Add(1)
	return c.KeySet.VerifySignature(ctx, jws)
}

// verifierFixture is a verifier with a clock and keys under the control of the test.
type verifierFixture struct {
	*Verifier
	keys    *countingKeys
	clock   atomic.Int64 // added to the time, in nanoseconds
	publish atomic.Pointer[[]jose.JSONWebKey]
	private *ecdsa.PrivateKey
}

func newVerifierFixture(t *testing.T, audience string) *verifierFixture {
	t.Helper()
	f := &verifierFixture{}
	var err error
	if f.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	f.publish.Store(&[]jose.JSONWebKey{{Key: f.private.Public(), KeyID: "one"}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: *f.publish.Load()})
	}))
	t.Cleanup(server.Close)
	source := KeySource{URL: StaticURL(server.URL), Client: NewClient(&http.Transport{DisableKeepAlives: true},
		"")}
	f.keys = &countingKeys{KeySet: NewKeySet(source, KeyPolicy{RefetchInterval: time.Minute},
		slog.New(slog.DiscardHandler))}
	f.refetch(t)
	f.Verifier = NewVerifier(Rules{
		Issuers: []string{"https://issuer.example"}, Audiences: []string{audience},
		Algorithms: []jose.SignatureAlgorithm{jose.ES256}, TokenTypes: []string{"at+jwt"},
		ScopeClaims: []string{"scope"}, ClientClaims: []string{"client_id"},
		Now: func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) },
	}, f.keys)
	return f
}

func (f *verifierFixture) refetch(t *testing.T) {
	t.Helper()
	if err := f.keys.refresh(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

func (f *verifierFixture) token(t *testing.T, life time.Duration) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256,
		Key: jose.JSONWebKey{Key: f.private, KeyID: "one"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(map[string]any{
		"iss": "https://issuer.example", "aud": "https://mcp.example.com/mcp", "sub": "alice", "client_id": "web",
		"scope": "a b",
		"exp":   time.Now().Add(life).Unix(), "custom": "x",
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

func TestVerifyChecksTheSignatureOfAKnownTokenOnce(t *testing.T) {
	r := newVerifierFixture(t, "https://mcp.example.com/mcp")
	token := r.token(t, time.Hour)
	first, err := r.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Verify(t.Context(), token)
	if err != nil || r.keys.checks.Load() != 1 {
		t.Fatalf("%v after %d checks", err, r.keys.checks.Load())
	}
	if string(first.Claims()["custom"]) != `"x"` || string(again.Claims()["custom"]) != `"x"` ||
		first.Subject != again.Subject || first.Client != again.Client || first.Principal() != again.Principal() ||
		fmt.Sprint(first.Scopes, first.Audience) != fmt.Sprint(again.Scopes, again.Audience) ||
		!first.Expiry.Equal(again.Expiry) || !first.ExpiryWithLeeway.Equal(again.ExpiryWithLeeway) {
		t.Errorf("first %+v, then %+v", first, again)
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
func TestVerifyRepeatsTheReasonOfACachedRefusal(t *testing.T) {
	r := newVerifierFixture(t, "https://mcp.example.com/mcp")
	other := newVerifierFixture(t, "https://elsewhere.example/mcp")
	for want, c := range map[providers.Reason]struct {
		at    *verifierFixture
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
			if i > 0 && !strings.Contains(err.Error(), "a moment ago") {
				t.Errorf("%s was looked at again: %v", want, err)
			}
		}
	}
}

// Nothing that ends a token may be overlooked because the token was seen before.
func TestCachedTokenEndsLikeAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*testing.T, *verifierFixture)
		want providers.Reason
		is   error
	}{
		"it expires": {func(_ *testing.T, r *verifierFixture) { r.clock.Store(int64(time.Hour + DefaultLeeway)) },
			ReasonExpired, providers.ErrInvalidToken},
		"its key is withdrawn": {func(t *testing.T, r *verifierFixture) {
			other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			r.publish.Store(&[]jose.JSONWebKey{{Key: other.Public(), KeyID: "two"}})
			r.refetch(t)
		}, ReasonKeyUnknown, providers.ErrInvalidToken},
		"its key is replaced under the same id": {func(t *testing.T, r *verifierFixture) {
			other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			r.publish.Store(&[]jose.JSONWebKey{{Key: other.Public(), KeyID: "one"}})
			r.refetch(t)
		}, ReasonSignatureInvalid, providers.ErrInvalidToken},
		"the keys grow too old": {func(_ *testing.T, r *verifierFixture) {
			r.keys.policy.MaxStale = 0
			r.keys.nextTry = time.Now().Add(time.Hour)
		}, providers.ReasonKeysUnavailable, providers.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newVerifierFixture(t, "https://mcp.example.com/mcp")
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

func TestCachedTokenIsVerifiedAgainAfterFiveMinutesAndForNewKeys(t *testing.T) {
	r := newVerifierFixture(t, "https://mcp.example.com/mcp")
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
	r.clock.Store(int64(acceptedTTL))
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

func TestVerifyCachesABadSignature(t *testing.T) {
	r := newVerifierFixture(t, "https://mcp.example.com/mcp")
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
	r.clock.Store(int64(refusalTTL))
	_, _ = r.Verify(t.Context(), forged)
	if got := r.keys.checks.Load(); got != 2 {
		t.Errorf("after a while it was checked %d times in all", got)
	}
	if _, err := r.Verify(t.Context(), token); err != nil {
		t.Errorf("the true token: %v", err)
	}
}

func TestTokenCacheBelongsToOneAudience(t *testing.T) {
	one, other := newVerifierFixture(t, "https://mcp.example.com/mcp"),
		newVerifierFixture(t, "https://other.example.com/mcp")
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

// What one key did not sign, the next may have.
func TestCachedRefusalEndsWithTheKeysItWasMadeWith(t *testing.T) {
	r, other := newVerifierFixture(t, "https://mcp.example.com/mcp"),
		newVerifierFixture(t, "https://mcp.example.com/mcp")
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
