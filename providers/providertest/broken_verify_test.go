package providertest_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

func (anySignature) VerifySignature(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	return jws.UnsafePayloadWithoutVerification(), nil
}

func acceptNone(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	if strings.EqualFold(member(token, 0, "alg"), "none") && strings.HasSuffix(token, ".") {
		return laxIdentity(token), nil
	}
	return p.Verify(ctx, token)
}

func acceptHMAC(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	var set jose.JSONWebKeySet
	_ = json.Unmarshal(p.issuer.KeySet(), &set)
	for _, key := range set.Keys {
		mac := hmac.New(sha256.New, providertest.PublicEncodings(key.Key, key.KeyID)["PEM"])
		at := max(strings.LastIndexByte(token, '.'), 0)
		mac.Write([]byte(token[:at]))
		if member(token, 0, "alg") == "HS256" && hmac.Equal(mac.Sum(nil), segment(token, 2)) {
			return laxIdentity(token), nil
		}
	}
	return p.Verify(ctx, token)
}

func acceptEmbeddedKeys(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err == nil && jws.Signatures[0].Header.JSONWebKey != nil {
		if _, err := jws.Verify(jws.Signatures[0].Header.JSONWebKey); err == nil {
			return laxIdentity(token), nil
		}
	}
	return p.Verify(ctx, token)
}

// fetchNamedURL requests the URL in a member of a token and ignores the response.
func fetchNamedURL(name string, part int) func(*parts, context.Context, string) (*providers.Identity, error) {
	return func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		if address := member(token, part, name); strings.HasPrefix(address, p.issuer.URL()+"/") {
			if resp, err := p.issuer.Client().Get(address); err == nil {
				_ = resp.Body.Close()
			}
		}
		return p.Verify(ctx, token)
	}
}

// acceptTypeClaims ignores the refusal of tokens with one of the claims.
func acceptTypeClaims(claims ...string) func(*parts, context.Context, string) (*providers.Identity, error) {
	return func(p *parts, ctx context.Context, raw string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, raw)
		has := func(name string) bool { return member(raw, 1, name) != "" }
		if providers.ReasonOf(err) == token.ReasonTypeRefused && slices.ContainsFunc(claims, has) &&
			validSignature(p.issuer, raw) {
			return laxIdentity(raw), nil
		}
		return id, err
	}
}

func refuseNull(p *parts, ctx context.Context, raw string) (*providers.Identity, error) {
	if bytes.Contains(segment(raw, 1), []byte(":null")) {
		return nil, fmt.Errorf("%w: %w", providers.ErrInvalidToken,
			&providers.Error{Reason: token.ReasonClaimsMalformed})
	}
	return p.Verify(ctx, raw)
}

func panicOnNull(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	claims := new(struct{ Iss string })
	if err := json.Unmarshal(segment(token, 1), &claims); err == nil {
		_ = claims.Iss // null made it nil
	}
	return p.Verify(ctx, token)
}

func trimToken(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	return p.Verify(ctx, strings.TrimRight(strings.TrimSpace(token), "=\x00"))
}

func acceptJSON(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	if strings.HasPrefix(token, "{") {
		if jws, err := jose.ParseSignedJSON(token, []jose.SignatureAlgorithm{jose.ES256}); err == nil {
			if compact, err := jws.CompactSerialize(); err == nil {
				token = compact
			}
		}
	}
	return p.Verify(ctx, token)
}

// returnPreviousCaller keeps the last identity in a field that all callers share.
func returnPreviousCaller(p *parts) providers.Provider {
	var (
		mu   sync.Mutex
		last *providers.Identity
	)
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if last == nil {
			last = id
		}
		id, last = last, id
		return id, nil
	}}
}

func openAfterFetch(_ testing.TB, s *providertest.Subject) {
	open := s.Open
	s.Open = func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
		if resp, err := s.Issuer.Client().Get(s.Issuer.KeysURL()); err == nil {
			_ = resp.Body.Close()
		}
		return open(ctx, info)
	}
}

func openOnlyWithKeys(_ testing.TB, s *providertest.Subject) {
	open := s.Open
	s.Open = func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
		resp, err := s.Issuer.Client().Get(s.Issuer.KeysURL())
		if err != nil {
			return nil, errors.New("no keys")
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, errors.New("no keys")
		}
		return open(ctx, info)
	}
}

type alwaysUsable struct{ *parts }

func (alwaysUsable) Keys() providers.KeyStatus { return providers.KeyStatus{Usable: true} }

func keepFirstError(p *parts) providers.Provider {
	var (
		once  sync.Once
		first error
	)
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		once.Do(func() { first = err })
		if errors.Is(first, providers.ErrUnavailable) {
			return nil, first
		}
		return id, err
	}}
}

func fetchForEach(p *parts) providers.Provider {
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		if !p.Keys().Usable {
			if resp, err := p.issuer.Client().Get(p.issuer.KeysURL()); err == nil {
				_ = resp.Body.Close()
			}
		}
		return p.Verify(ctx, token)
	}}
}

func failOpen(p *parts) providers.Provider {
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if errors.Is(err, providers.ErrUnavailable) {
			return laxIdentity(token), nil
		}
		return id, err
	}}
}

func dropKeysOnProblem(p *parts) providers.Provider {
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if p.Keys().Problem != "" {
			return nil, providers.ErrUnavailable
		}
		return id, err
	}}
}

func quoteUpstream(p *parts) providers.Provider {
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if !errors.Is(err, providers.ErrUnavailable) {
			return id, err
		}
		resp, failure := p.issuer.Client().Get(p.issuer.KeysURL())
		if failure != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 100))
		return nil, fmt.Errorf("%w: %s", err, body)
	}}
}

func serializeCalls(p *parts) providers.Provider {
	var mu sync.Mutex
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		mu.Lock()
		defer mu.Unlock()
		return p.Verify(ctx, token)
	}}
}

// shareCalls verifies a token once for all callers that present it at the same time, with the context of the
// first.
func shareCalls(p *parts) providers.Provider {
	type call struct {
		done chan struct{}
		id   *providers.Identity
		err  error
	}
	var mu sync.Mutex
	calls := map[string]*call{}
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		mu.Lock()
		c, ok := calls[token]
		if !ok {
			c = &call{done: make(chan struct{})}
			calls[token] = c
		}
		mu.Unlock()
		if ok {
			<-c.done
			return c.id, c.err
		}
		c.id, c.err = p.Verify(ctx, token)
		mu.Lock()
		delete(calls, token)
		mu.Unlock()
		close(c.done)
		return c.id, c.err
	}}
}

func neverStop(t testing.TB, s *providertest.Subject) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	open := s.Open
	s.Open = func(_ context.Context, info providers.ServerInfo) (providers.Provider,
		error) {
		return open(ctx, info)
	}
}
