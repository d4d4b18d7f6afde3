package providertest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// TestBrokenAdaptersFail checks adapters with one defect each against the rules that must notice it. Every
// rule needs such a defect, or it might not check anything.
func TestBrokenAdaptersFail(t *testing.T) {
	t.Parallel()
	rules := map[string]providertest.Rule{}
	for _, rule := range providertest.Rules() {
		rules[rule.Name] = rule
	}
	failed := map[string]bool{}
	var wg sync.WaitGroup
	wg.Go(func() { t.Run("fetches the keys from a wrong path/harness", checkWrongKeysPath) })
	slots := make(chan struct{}, 12) // most checks mostly wait
	for _, d := range defects() {
		for _, name := range d.fails {
			rule, ok := rules[name]
			if !ok {
				t.Fatalf("%s: %q is not a rule", d.name, name)
			}
			failed[name] = true
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				t.Run(d.name+"/"+name, func(t *testing.T) {
					subject := soundAdapter(t)
					subject.Timeout = 700 * time.Millisecond
					d.apply(t, subject)
					err := rule.Check(subject)
					if err == nil {
						t.Fatalf("the adapter %s, and rule %s passes", d.name, name)
					}
					t.Log(err)
				})
			})
		}
	}
	wg.Wait()
	for name := range rules {
		if !failed[name] {
			t.Errorf("no defect fails the rule %s", name)
		}
	}
}

// defect is a defect of an adapter and the rules that must notice it.
type defect struct {
	name  string
	apply func(testing.TB, *providertest.Subject)
	fails []string
}

func defects() []defect {
	return []defect{
		{"checks no signature", replacingKeys(func(oidc.KeySet) oidc.KeySet { return anySignature{} }),
			[]string{"signatures", "key-confusion", "untrusted-keys"}},
		{"accepts alg none", verifying(acceptNone), []string{"algorithms"}},
		{"accepts a public key as an HMAC secret", verifying(acceptHMAC), []string{"key-confusion"}},
		{"trusts the key in the header", verifying(acceptEmbeddedKeys), []string{"untrusted-keys"}},
		{"follows jku", verifying(fetchNamedURL("jku", 0)), []string{"untrusted-keys"}},
		{"requests the issuer that a token names", verifying(fetchNamedURL("iss", 1)), []string{"issuers"}},
		{"accepts any issuer", ignoring(token.ReasonIssuerMismatch), []string{"issuers"}},
		{"accepts any audience", ignoring(token.ReasonAudienceMismatch), []string{"audiences", "near-misses"}},
		{"checks no expiry", ignoring(token.ReasonExpired, token.ReasonExpiryMissing), []string{"lifetimes"}},
		{"accepts tokens that are not valid yet", ignoring(token.ReasonNotYetValid), []string{"lifetimes"}},
		{"accepts ID tokens", ignoring(token.ReasonIDToken), []string{"token-types"}},
		{"accepts any typ", ignoring(token.ReasonTypeRefused), []string{"token-types"}},
		{"accepts refresh tokens", verifying(acceptTypeClaims("typ", "type", "token_use", "token_type",
			"tokenType")), []string{"type-claims"}},
		{"reads the type of a token in token_use only",
			verifying(acceptTypeClaims("typ", "type", "token_type", "tokenType")), []string{"type-claims"}},
		{"refuses null in an optional claim", verifying(refuseNull), []string{"null-claims"}},
		{"ignores crit", ignoring(token.ReasonHeaderRefused), []string{"critical-headers"}},
		{"matches claim names in any case, and takes the last duplicate", ignoring(token.ReasonClaimsMalformed),
			[]string{"ambiguous-claims"}},
		{"accepts tokens without a subject", ignoring(token.ReasonSubjectMissing), []string{"subjects"}},
		{"accepts sender-constrained tokens as bearer tokens", ignoring(token.ReasonSenderConstrained),
			[]string{"sender-constrained"}},
		{"ignores what a key is published for", ignoring(token.ReasonKeyUnknown), []string{"key-purpose"}},
		{"panics on a null payload", verifying(panicOnNull), []string{"malformed-tokens"}},
		{"trims tokens", verifying(trimToken), []string{"malformed-tokens", "signatures"}},
		{"reads the JSON serialisation too", verifying(acceptJSON), []string{"malformed-tokens"}},
		{"prints the token in its error",
			refusing(func(token string, err error) error { return fmt.Errorf("%w: %s", err, token) }),
			[]string{"no-leaks"}},
		{"prints a claim in its error",
			refusing(func(token string, err error) error {
				return fmt.Errorf("%w: %s", err,
					member(token, 1, "jti"))
			}), []string{"no-leaks"}},
		{"logs the token", wrapping(func(p *parts) providers.Provider {
			return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
				p.info.Logger.Debug("verifying", "token", token)
				return p.Verify(ctx, token)
			}}
		}), []string{"no-leaks"}},
		{"gives no reasons", refusing(func(_ string, err error) error { return outcome(err) }),
			[]string{"reasons"}},
		{"gives the same reason for everything", refusing(func(_ string, err error) error {
			return fmt.Errorf("%w: %w", outcome(err), &providers.Error{Reason: token.ReasonMalformed})
		}), []string{"reasons"}},
		{"returns errors without a sentinel", refusing(func(string, error) error { return errors.New("no") }),
			[]string{"algorithms", "outage"}},
		{"returns an identity with the error",
			verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
				id, err := p.Verify(ctx, token)
				if err != nil {
					id = &providers.Identity{}
				}
				return id, err
			}), []string{"audiences"}},
		{"drops the scopes", identifying(func(id *providers.Identity) { id.Scopes = nil }),
			[]string{"good-tokens"}},
		{"drops the expiry", identifying(func(id *providers.Identity) {
			id.Expiry, id.ExpiryWithLeeway = time.Time{},
				time.Time{}
		}), []string{"good-tokens"}},
		{"never lets a token expire",
			identifying(func(id *providers.Identity) { id.ExpiryWithLeeway = id.Expiry.AddDate(100, 0, 0) }),
			[]string{"good-tokens"}},
		{"refuses an algorithm that it should accept",
			verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
				if member(token, 0, "alg") == "EdDSA" {
					return nil, fmt.Errorf("%w: not this one", providers.ErrInvalidToken)
				}
				return p.Verify(ctx, token)
			}), []string{"good-tokens"}},
		{"returns the identity of the previous caller", wrapping(returnPreviousCaller), []string{"concurrency"}},
		{"caches tokens without expiry", caching(func(token string) string { return token }),
			[]string{"cached-tokens", "withdrawn-key"}},
		{"caches tokens by header and payload",
			caching(func(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }),
			[]string{"cached-tokens"}},
		{"caches tokens by signature",
			caching(func(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }),
			[]string{"cached-tokens"}},
		{"describes another resource", describing(func(m *providers.Metadata) { m.Resource += "/" }),
			[]string{"metadata"}},
		{"names no authorization server", describing(func(m *providers.Metadata) { m.AuthorizationServers = nil }),
			[]string{"metadata"}},
		{"names an authorization server with http",
			describing(func(m *providers.Metadata) { m.AuthorizationServers = []string{"http://login.example"} }),
			[]string{"metadata"}},
		{"lists offline_access as a scope",
			describing(func(m *providers.Metadata) { m.ScopesSupported = []string{"offline_access"} }),
			[]string{"metadata"}},
		{"announces tokens in the query", describing(func(m *providers.Metadata) {
			m.BearerMethodsSupported = append(m.BearerMethodsSupported, "query")
		}), []string{"metadata"}},
		{"fetches for each unknown kid", func(t testing.TB, s *providertest.Subject) {
			s.Issuer.KeyPolicy.RefetchInterval = time.Second // long enough for several fetches on a slow machine
			policy(func(p *token.KeyPolicy) { p.RefetchInterval = 1 })(t, s)
		}, []string{"unknown-key-limit"}},
		{"calls a key unknown before looking it up", refusing(func(_ string, err error) error {
			if providers.ReasonOf(err) == providers.ReasonKeysUnavailable {
				return fmt.Errorf("%w: no such key", providers.ErrInvalidToken)
			}
			return err
		}), []string{"repeated-rotation"}},
		{"always reports an outage for an unknown key", refusing(func(_ string, err error) error {
			if providers.ReasonOf(err) == token.ReasonKeyUnknown {
				return fmt.Errorf("%w: no such key", providers.ErrUnavailable)
			}
			return err
		}), []string{"unknown-key-limit"}},
		{"drops keys with unreadable certificates", fetching(withCertificates), []string{"certificates"}},
		{"keeps withdrawn keys", policy(func(p *token.KeyPolicy) { p.MaxAge = time.Hour }),
			[]string{"withdrawn-key"}},
		{"never looks for new keys", fetchOnce,
			[]string{"rotation", "withdrawn-key", "unusable-keys", "key-purpose"}},
		{"refuses a key set with one unusable key", fetching(failOnAnyBadKey), []string{"unusable-keys"}},
		{"follows redirects", followRedirects, []string{"redirects"}},
		{"ignores the status of responses", fetching(anyStatus), []string{"bad-responses"}},
		{"reads responses of any length", fetching(anyLength), []string{"bad-responses"}},
		{"ignores Retry-After", func(t testing.TB, s *providertest.Subject) {
			s.Issuer.KeyPolicy.MaxAge = 2 * time.Second // long enough for several fetches on a slow machine
			fetching(ignoreRetryAfter)(t, s)
		}, []string{"retry-after"}},
		{"waits for the issuer when it opens", openAfterFetch, []string{"open"}},
		{"does not open without the issuer", openOnlyWithKeys, []string{"down-at-start"}},
		{"reports keys before it has any", wrapping(func(p *parts) providers.Provider { return alwaysUsable{p} }),
			[]string{"down-at-start"}},
		{"never recovers from a bad start", wrapping(keepFirstError), []string{"down-at-start"}},
		{"fetches for each of the first callers", wrapping(fetchForEach), []string{"concurrent-start"}},
		{"calls an outage an invalid token", refusing(func(_ string, err error) error {
			return fmt.Errorf("%w: %s", providers.ErrInvalidToken, providers.ReasonOf(err))
		}), []string{"outage", "down-at-start", "bad-responses", "bad-key-sets", "redirects", "retry-after",
			"canceled-caller"}},
		{"accepts every token during an outage", wrapping(failOpen),
			[]string{"outage", "down-at-start", "bad-responses"}},
		{"drops its keys when they cannot be refreshed", wrapping(dropKeysOnProblem),
			[]string{"outage", "bad-responses", "bad-key-sets", "redirects", "retry-after"}},
		{"quotes what the issuer sent", wrapping(quoteUpstream), []string{"bad-responses", "bad-key-sets"}},
		{"verifies one token at a time", wrapping(serializeCalls), []string{"hung-endpoint", "slow-endpoint"}},
		{"shares the first caller's context", wrapping(shareCalls), []string{"canceled-caller"}},
		{"keeps running after its context ended", neverStop, []string{"shutdown"}},
	}
}

// parts is a sound adapter that a defect changes.
type parts struct {
	*adapter
	issuer *providertest.Issuer
}

// verifier is an adapter with another Verify.
type verifier struct {
	*parts
	verify func(context.Context, string) (*providers.Identity, error)
}

func (v verifier) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	return v.verify(ctx, token)
}

func wrapping(wrap func(*parts) providers.Provider) func(testing.TB, *providertest.Subject) {
	return func(_ testing.TB, s *providertest.Subject) {
		open := s.Open
		s.Open = func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
			p, err := open(ctx, info)
			if err != nil {
				return nil, err
			}
			return wrap(&parts{p.(*adapter), s.Issuer}), nil
		}
	}
}

func verifying(verify func(p *parts, ctx context.Context, token string) (*providers.Identity,
	error)) func(testing.TB, *providertest.Subject) {
	return wrapping(func(p *parts) providers.Provider {
		return verifier{p, func(ctx context.Context, token string) (*providers.Identity,
			error) {
			return verify(p, ctx, token)
		}}
	})
}

// refusing changes the errors of Verify.
func refusing(change func(token string, err error) error) func(testing.TB, *providertest.Subject) {
	return verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if err != nil {
			return nil, change(token, err)
		}
		return id, nil
	})
}

func outcome(err error) error {
	if errors.Is(err, providers.ErrUnavailable) {
		return providers.ErrUnavailable
	}
	return providers.ErrInvalidToken
}

// identifying changes the identities.
func identifying(change func(*providers.Identity)) func(testing.TB, *providertest.Subject) {
	return verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if err == nil {
			change(id)
		}
		return id, err
	})
}

// caching accepts a token whose cache key is that of a token accepted before.
func caching(key func(token string) string) func(testing.TB, *providertest.Subject) {
	return wrapping(func(p *parts) providers.Provider {
		var known sync.Map
		return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
			if id, ok := known.Load(key(token)); ok {
				return id.(*providers.Identity), nil
			}
			id, err := p.Verify(ctx, token)
			if err == nil {
				known.Store(key(token), id)
			}
			return id, err
		}}
	})
}

type described struct {
	*parts
	metadata providers.Metadata
}

func (d described) Metadata() providers.Metadata { return d.metadata }

func describing(change func(*providers.Metadata)) func(testing.TB, *providertest.Subject) {
	return wrapping(func(p *parts) providers.Provider {
		d := described{p, p.Metadata()}
		change(&d.metadata)
		return d
	})
}

// ignoring leaves out one check of the strict verifier: it accepts a token that is refused for one of these
// reasons if the signature is valid.
func ignoring(reasons ...providers.Reason) func(testing.TB, *providertest.Subject) {
	return verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if slices.Contains(reasons, providers.ReasonOf(err)) && validSignature(p.issuer, token) {
			return laxIdentity(token), nil
		}
		return id, err
	})
}

// validSignature reports whether an ES256 signature is by a key that is published under the token's kid,
// whatever the key is for.
func validSignature(issuer *providertest.Issuer, token string) bool {
	var set struct {
		Keys []struct{ Kid, X, Y string } `json:"keys"`
	}
	_ = json.Unmarshal(issuer.KeySet(), &set)
	at := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil || len(signature) != 64 {
		return false
	}
	for _, k := range set.Keys {
		if kid := member(token, 0, "kid"); k.Kid != kid || kid == "" || k.Y == "" {
			continue
		}
		// A key with its private half, or for another use, has the same public members.
		var public jose.JSONWebKey
		if public.UnmarshalJSON(fmt.Appendf(nil, `{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, k.X, k.Y)) != nil {
			continue
		}
		digest := sha256.Sum256([]byte(token[:at]))
		if ecdsa.Verify(public.Key.(*ecdsa.PublicKey), digest[:], new(big.Int).SetBytes(signature[:32]),
			new(big.Int).SetBytes(signature[32:])) {
			return true
		}
	}
	return false
}

// laxIdentity reads claims as encoding/json does: names in any case, and the last duplicate.
func laxIdentity(token string) *providers.Identity {
	var claims struct{ Iss, Sub string }
	_ = json.Unmarshal(segment(token, 1), &claims)
	return &providers.Identity{Issuer: claims.Iss, Subject: claims.Sub}
}

// segment returns the decoded part of a token, or nil.
func segment(token string, n int) []byte {
	parts := strings.Split(token, ".")
	if n >= len(parts) {
		return nil
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[n])
	return raw
}

// member returns a string in the header (0) or the claims (1) of a token, or "".
func member(token string, n int, name string) string {
	var object map[string]any
	_ = json.Unmarshal(segment(token, n), &object)
	text, _ := object[name].(string)
	return text
}
