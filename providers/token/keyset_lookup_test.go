package token_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// keyFixture is a verifier with the keys of an issuer, without network and with the clock of a synctest
// bubble.
type keyFixture struct {
	*providertest.Issuer
	verifier *token.Verifier
	fetches  atomic.Int64
	down     atomic.Bool
	log      bytes.Buffer
	stop     context.CancelFunc
}

// newKeyFixture must be called in a synctest bubble. The refetch interval is 30 s; keys are renewed every
// hour.
func newKeyFixture(t *testing.T, i *providertest.Issuer) *keyFixture {
	t.Helper()
	p := &keyFixture{Issuer: i}
	source := token.KeySource{URL: token.StaticURL(i.KeysURL()),
		Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			p.fetches.Add(1)
			if p.down.Load() {
				return nil, errors.New(canary)
			}
			return answer(http.StatusOK, i.KeySet(), nil)
		})}}
	policy := token.KeyPolicy{MaxAge: 2 * time.Hour, MaxStale: 24 * time.Hour}
	keys := token.NewKeySet(source, policy, slog.New(slog.NewTextHandler(&p.log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go keys.Run(ctx)
	synctest.Wait()
	p.verifier = token.NewVerifier(i.Rules(resource), keys)
	return p
}

// result returns "ok", or the status and reason of a refusal.
func (p *keyFixture) result(t *testing.T, token string) string {
	t.Helper()
	return resultOf(p.verifier.Verify(t.Context(), token))
}

func resultOf(_ *providers.Identity, err error) string {
	var refusal *providers.Error
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &refusal):
		return err.Error()
	case errors.Is(err, providers.ErrUnavailable):
		return fmt.Sprintf("503 %s in %s", refusal.Reason, refusal.RetryAfter)
	}
	return "401 " + string(refusal.Reason)
}

func (p *keyFixture) expect(t *testing.T, what, token, want string, fetches int64) {
	t.Helper()
	if got := p.result(t, token); got != want || p.fetches.Load() != fetches {
		t.Errorf("%s: %s after %d fetches, want %s after %d", what, got, p.fetches.Load(), want, fetches)
	}
}

func encoded(v any) []byte { return must(json.Marshal(v)) }

func tokenWithKey(i *providertest.Issuer, kid string) string {
	return i.Sign(map[string]any{"kid": kid}, i.Claims(resource))
}

func TestUnknownKeyIsAnOutageUntilTheIntervalIsOver(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		p := newKeyFixture(t, i)
		defer p.stop()
		p.expect(t, "a known key", i.Token(resource, nil), "ok", 1)
		p.expect(t, "an invented key", tokenWithKey(i, "one"), "401 key_unknown", 2)
		p.expect(t, "the same, in the interval", tokenWithKey(i, "one"), "401 key_unknown", 2)

		time.Sleep(10 * time.Second)
		p.expect(t, "another, in the interval", tokenWithKey(i, "two"), "503 keys_unavailable in 20s", 2)
		fresh := i.AddKey(jose.RS256)
		for range 3 { // after a rotation all clients name the new key
			p.expect(t, "a new key, in the interval", i.Token(resource, nil), "503 keys_unavailable in 20s", 2)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := p.fetches.Load(); n != 3 {
			t.Fatalf("at the end of the interval there were %d fetches, want 3", n)
		}
		p.expect(t, "the new key afterwards", tokenWithKey(i, fresh), "ok", 3)
		p.expect(t, "the other invented key, which is settled", tokenWithKey(i, "two"), "401 key_unknown", 3)
		p.expect(t, "the first, which is still settled", tokenWithKey(i, "one"), "401 key_unknown", 3)
		p.expect(t, "a third, which is new", tokenWithKey(i, "three"), "503 keys_unavailable in 30s", 3)

		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := p.fetches.Load(); n != 4 {
			t.Fatalf("there were %d fetches, want 4", n)
		}
		time.Sleep(10 * time.Minute)
		if n := p.fetches.Load(); n != 4 {
			t.Fatalf("without tokens there were %d fetches, want 4", n)
		}
		p.expect(t, "a settled key, outside the interval", tokenWithKey(i, "two"), "401 key_unknown", 5)
	})
}

func TestOutageSettlesNoUnknownKey(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		p := newKeyFixture(t, i)
		defer p.stop()
		p.expect(t, "an invented key", tokenWithKey(i, "one"), "401 key_unknown", 2)
		p.down.Store(true)
		p.expect(t, "a new key", tokenWithKey(i, "two"), "503 keys_unavailable in 30s", 2)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		p.expect(t, "the new key, after a fetch that failed", tokenWithKey(i, "two"), "503 keys_unavailable in 1s",
			3)
		p.expect(t, "a settled key", tokenWithKey(i, "one"), "503 keys_unavailable in 1s", 3)
		p.down.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		p.expect(t, "the new key, when the issuer is back", tokenWithKey(i, "two"), "401 key_unknown", 4)
	})
}

func TestBadSignatureCausesOneFetch(t *testing.T) {
	i := providertest.NewIssuer(t, providertest.WithKeys())
	keys := []crypto.Signer{newP256(t), newP256(t), newP256(t)}
	replace := func(n int) { // like an issuer that uses one key id and makes a new key at each start
		if n > 0 {
			i.Withdraw("default")
		}
		i.ImportKey(keys[n], jose.ES256, map[string]any{"kid": "default"})
	}
	replace(0)
	synctest.Test(t, func(t *testing.T) {
		p := newKeyFixture(t, i)
		defer p.stop()
		first := i.Token(resource, nil)
		p.expect(t, "the first key", first, "ok", 1)
		replace(1)
		p.expect(t, "the second key under the same id", i.Token(resource, nil), "ok", 2)
		for n := range 30 {
			forged := providertest.SignBytes(jose.ES256, keys[2],
				encoded(map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": "default"}),
				encoded(changed(i.Claims(resource), map[string]any{"jti": fmt.Sprint(n)})))
			p.expect(t, "a forgery", forged, "401 signature_invalid", 2)
		}
		p.expect(t, "a token by the first key", first, "401 signature_invalid", 2)
		replace(2)
		token := i.Token(resource, nil)
		p.expect(t, "the third key, in the interval", token, "401 signature_invalid", 2)
		time.Sleep(28 * time.Second)
		p.expect(t, "the third key, still in the interval", token, "401 signature_invalid", 2)
		time.Sleep(2 * time.Second)
		p.expect(t, "the third key, after the interval", token, "ok", 3)
		time.Sleep(30 * time.Second)
		p.down.Store(true)
		p.expect(t, "a token that fails while the keys cannot be fetched", first, "503 keys_unavailable in 1s", 4)
		p.expect(t, "the same, while none is tried", first, "401 signature_invalid", 4)
	})
}

func TestKeySetTriesEveryCandidate(t *testing.T) {
	for name, c := range map[string]struct {
		ids  []any // of the published keys, the last of which signs
		kid  any   // of the token
		want string
	}{
		"without kid, by the second of two": {[]any{"a", "b"}, nil, "ok"},
		"without kid, by the last of four":  {[]any{"a", "b", "c", "d"}, nil, "ok"},
		"without kid, by the fifth": {[]any{"a", "b", "c", "d", "e"}, nil,
			"401 signature_invalid"},
		"without kid, keys without ids":                {[]any{nil, nil}, nil, "ok"},
		"with the kid of two":                          {[]any{"a", "a"}, "a", "ok"},
		"with the kid of the fifth":                    {[]any{"a", "b", "c", "d", "e"}, "e", "ok"},
		"with a kid, by the second of two without":     {[]any{nil, nil}, "a", "ok"},
		"with the kid of another key":                  {[]any{"a", "b"}, "a", "401 signature_invalid"},
		"with an unknown kid, where all keys have ids": {[]any{"a", "b"}, "c", "401 key_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			i := providertest.NewIssuer(t, providertest.WithKeys())
			var signs crypto.Signer
			for _, id := range slices.Backward(c.ids) { // each is published in front of the one before
				key := newP256(t)
				if signs == nil {
					signs = key
				}
				jwk := jose.JSONWebKey{Key: key.Public(), Algorithm: "ES256", Use: "sig"}
				if id != nil {
					jwk.KeyID = id.(string)
				}
				raw := must(jwk.MarshalJSON())
				i.Publish(string(raw))
			}
			header := map[string]any{"alg": "ES256", "typ": "at+jwt"}
			if c.kid != nil {
				header["kid"] = c.kid
			}
			synctest.Test(t, func(t *testing.T) {
				token := providertest.SignBytes(jose.ES256, signs, encoded(header), encoded(i.Claims(resource)))
				p := newKeyFixture(t, i)
				defer p.stop()
				if got := p.result(t, token); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			})
		})
	}
}

// A key that is published but cannot be used is an outage only if the provider published it malformed.
func TestUnusableKeyIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		want    string
		detail  string
		warns   bool
	}{
		"that cannot be read": {map[string]any{"x": "?"}, "503 keys_unavailable in 30s",
			"it cannot be read", true},
		"private": {map[string]any{"d": strings.Repeat("AAAA", 10) + "AAE"},
			"503 keys_unavailable in 30s", "it is not a public key", true},
		"with an alg of another type": {map[string]any{"alg": "RS256"}, "503 keys_unavailable in 30s",
			"its alg does not fit its type", true},
		"with odd key_ops": {map[string]any{"key_ops": 1}, "503 keys_unavailable in 30s",
			"its key_ops or its issuer cannot be read", true},
		"for encryption": {map[string]any{"use": "enc"}, "401 key_unknown", "it is not for signatures",
			false},
		"that cannot verify": {map[string]any{"key_ops": []string{"sign"}}, "401 key_unknown",
			"its key_ops do not include verify", false},
		"of another curve": {map[string]any{"crv": "secp256k1", "alg": nil}, "401 key_unknown",
			"its curve is not supported", true},
		"of another type": {map[string]any{"kty": "AKP"}, "401 key_unknown",
			"its type is not supported", true},
		"of another issuer": {map[string]any{"issuer": "https://other.example"}, "401 key_unknown",
			"bound to another issuer", false},
	} {
		t.Run(name, func(t *testing.T) {
			i := providertest.NewIssuer(t)
			kid := i.ImportKey(newP256(t), jose.ES256, c.changes)
			synctest.Test(t, func(t *testing.T) {
				token := tokenWithKey(i, kid)
				p := newKeyFixture(t, i)
				defer p.stop()
				for range 2 { // outside the interval and inside
					_, err := p.verifier.Verify(t.Context(), token)
					if got := resultOf(nil, err); got != c.want || !strings.Contains(err.Error(), c.detail) ||
						!strings.Contains(err.Error(), kid) {
						t.Errorf("%s: %v, want %s: %s", got, err, c.want, c.detail)
					}
					if providers.CountsAsFailure(err) != errors.Is(err, providers.ErrUnavailable) {
						t.Errorf("counts as a failure: %t", providers.CountsAsFailure(err))
					}
				}
				time.Sleep(3 * time.Hour)
				if n := strings.Count(p.log.String(), "level=WARN"); n > 1 || (n == 1) != c.warns {
					t.Errorf("%d warnings: %s", n, &p.log)
				}
				if strings.Contains(p.log.String(), kid) {
					t.Errorf("the log quotes the provider: %s", &p.log)
				}
			})
		})
	}
}

func TestTokenWithoutKidAndAnUnusableKey(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.ImportKey(newP256(t), jose.ES256, map[string]any{"kid": nil, "x": "?"})
	synctest.Test(t, func(t *testing.T) {
		token := i.Sign(map[string]any{"kid": nil}, i.Claims(resource))
		p := newKeyFixture(t, i)
		defer p.stop()
		p.expect(t, "a token without kid", token, "503 keys_unavailable in 30s", 2)
	})
}

// One address must not evict the unknown keys that others named.
func TestUnknownKeysOfAnOverLimitAddressAreNotRemembered(t *testing.T) {
	i := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	synctest.Test(t, func(t *testing.T) {
		p := newKeyFixture(t, i)
		defer p.stop()
		over := func(kid string) string {
			return resultOf(p.verifier.Verify(providers.OverLimit(t.Context()), tokenWithKey(i, kid)))
		}
		p.expect(t, "an invented key", tokenWithKey(i, "one"), "401 key_unknown", 2)
		for n := range 1_100 {
			if got := over(fmt.Sprint("flood ", n)); got != "503 keys_unavailable in 30s" {
				t.Fatalf("in the flood: %s", got)
			}
		}
		p.expect(t, "the key that was named before the flood", tokenWithKey(i, "one"), "401 key_unknown", 2)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := p.fetches.Load(); n != 3 {
			t.Errorf("the flood caused %d fetches, want 1", n-2)
		}
		if got := over("flood 1099"); got != "503 keys_unavailable in 30s" {
			t.Errorf("a key of the flood afterwards: %s", got)
		}
		time.Sleep(time.Minute)
		if got := over("flood 1099"); got != "401 key_unknown" {
			t.Errorf("outside the interval: %s", got)
		}
	})
}

func TestUnknownKeysAreBounded(t *testing.T) {
	i := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	synctest.Test(t, func(t *testing.T) {
		tokens := make([]string, 1_001)
		for n := range tokens {
			tokens[n] = tokenWithKey(i, fmt.Sprint("invented ", n))
		}
		p := newKeyFixture(t, i)
		defer p.stop()
		p.result(t, tokenWithKey(i, "first"))
		for _, token := range tokens {
			p.result(t, token)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		p.expect(t, "the last", tokens[1_000], "401 key_unknown", 3)
		p.expect(t, "the first of them", tokens[0], "503 keys_unavailable in 30s", 3)
	})
}

// Explain waits for as long as it takes to try every metadata URL.
func TestExplainWaitsForTheFirstKeys(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context) (string, error) {
			time.Sleep(10 * time.Second)
			return i.KeysURL(), nil
		}
		client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return answer(http.StatusOK, i.KeySet(), nil)
		})}
		keys := token.NewKeySet(token.KeySource{URL: slow, Timeout: 15 * time.Second, Client: client},
			token.KeyPolicy{}, i.Logger)
		e := token.NewVerifier(i.Rules(resource), keys).Explain(t.Context(), i.Token(resource, nil), true)
		if unchecked, open := e.Unchecked(); open || !e.OK() {
			t.Errorf("%+v", unchecked)
		}
	})
}
