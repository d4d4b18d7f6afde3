package providertest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
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

// TestBrokenAdaptersFail holds adapters against the suite that are sound but for one thing, and demands that each rule
// finds it out. A rule that nothing fails would prove nothing, so there must be a defect for every rule.
func TestBrokenAdaptersFail(t *testing.T) {
	rules := map[string]providertest.Rule{}
	for _, rule := range providertest.Rules() {
		rules[rule.Name] = rule
	}
	failed := map[string]bool{}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8) // most of them wait most of the time
	for _, d := range defects() {
		for _, name := range d.fails {
			rule, ok := rules[name]
			if !ok {
				t.Fatalf("%s: there is no rule %q", d.name, name)
			}
			failed[name] = true
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				t.Run(d.name+"/"+name, func(t *testing.T) {
					subject := sound(t)
					subject.Patience = 700 * time.Millisecond
					d.spoil(t, subject)
					err := rule.Check(subject)
					if err == nil {
						t.Fatalf("the adapter %s, and %s does not notice", d.name, name)
					}
					t.Log(err)
				})
			})
		}
	}
	wg.Wait()
	for name := range rules {
		if !failed[name] {
			t.Errorf("nothing here fails the rule %s", name)
		}
	}
}

// defect is one thing that is wrong with an adapter, and the rules that must find it out.
type defect struct {
	name  string
	spoil func(testing.TB, *providertest.Subject)
	fails []string
}

func defects() []defect {
	return []defect{
		{"checks no signature", keysInstead(func(oidc.KeySet) oidc.KeySet { return anySignature{} }), []string{"signatures", "key-confusion", "self-service"}},
		{"accepts alg none", verifying(acceptNone), []string{"algorithms"}},
		{"takes a public key for a secret", verifying(acceptHMAC), []string{"key-confusion"}},
		{"trusts the key in the header", verifying(acceptEmbeddedKeys), []string{"self-service"}},
		{"follows jku", verifying(lookUp("jku", 0)), []string{"self-service"}},
		{"looks up whatever issuer a token names", verifying(lookUp("iss", 1)), []string{"issuers"}},
		{"accepts any issuer", forgiving(providers.IssuerMismatch), []string{"issuers"}},
		{"accepts any audience", forgiving(providers.AudienceMismatch), []string{"audiences", "near-misses"}},
		{"checks no expiry", forgiving(providers.TokenExpired, providers.ExpiryMissing), []string{"times"}},
		{"accepts tokens from the future", forgiving(providers.TokenNotYetValid), []string{"times"}},
		{"accepts ID tokens", forgiving(providers.IDToken), []string{"other-kinds"}},
		{"accepts any typ", forgiving(providers.TypeRefused), []string{"other-kinds"}},
		{"accepts refresh tokens", verifying(acceptOwnTypes("typ", "type", "token_use", "token_type", "tokenType")), []string{"own-types"}},
		{"looks for the type of a token in token_use only", verifying(acceptOwnTypes("typ", "type", "token_type", "tokenType")), []string{"own-types"}},
		{"takes null for a value", verifying(refuseNull), []string{"null-claims"}},
		{"ignores crit", forgiving(providers.HeaderRefused), []string{"critical-headers"}},
		{"reads claims in any case, and the last of two", forgiving(providers.ClaimsMalformed), []string{"ambiguous-names"}},
		{"accepts tokens of nobody", forgiving(providers.SubjectMissing), []string{"subjects"}},
		{"takes bound tokens for bearer tokens", forgiving(providers.SenderConstrained), []string{"sender-constrained"}},
		{"uses a key for anything", forgiving(providers.KeyUnknown), []string{"key-purpose"}},
		{"panics on a null payload", verifying(panicOnNull), []string{"shapes"}},
		{"repairs what it is sent", verifying(repair), []string{"shapes", "signatures"}},
		{"reads the JSON serialisation too", verifying(acceptJSON), []string{"shapes"}},
		{"prints the token in its error", refusing(func(token string, err error) error { return fmt.Errorf("%w: %s", err, token) }), []string{"discretion"}},
		{"prints a claim in its error", refusing(func(token string, err error) error { return fmt.Errorf("%w: %s", err, member(token, 1, "jti")) }), []string{"discretion"}},
		{"logs the token", wrapping(func(p *parts) providers.Provider {
			return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
				p.info.Logger.Debug("verifying", "token", token)
				return p.Verify(ctx, token)
			}}
		}), []string{"discretion"}},
		{"gives no reasons", refusing(func(_ string, err error) error { return outcome(err) }), []string{"reasons"}},
		{"gives the same reason for everything", refusing(func(_ string, err error) error {
			return fmt.Errorf("%w: %w", outcome(err), &providers.Error{Reason: providers.TokenMalformed})
		}), []string{"reasons"}},
		{"has errors of its own", refusing(func(string, error) error { return errors.New("no") }), []string{"algorithms", "outage"}},
		{"returns an identity with the error", verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
			id, err := p.Verify(ctx, token)
			if err != nil {
				id = &providers.Identity{}
			}
			return id, err
		}), []string{"audiences"}},
		{"forgets the scopes", identifying(func(id *providers.Identity) { id.Scopes = nil }), []string{"good-tokens"}},
		{"forgets when the token ends", identifying(func(id *providers.Identity) { id.Expiry, id.ExpiryWithLeeway = time.Time{}, time.Time{} }), []string{"good-tokens"}},
		{"keeps a token good for ever", identifying(func(id *providers.Identity) { id.ExpiryWithLeeway = id.Expiry.AddDate(100, 0, 0) }), []string{"good-tokens"}},
		{"refuses an algorithm that it should accept", verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
			if member(token, 0, "alg") == "EdDSA" {
				return nil, fmt.Errorf("%w: not this one", providers.ErrInvalidToken)
			}
			return p.Verify(ctx, token)
		}), []string{"good-tokens"}},
		{"answers with the caller before", wrapping(answerLate), []string{"concurrency"}},
		{"remembers tokens for ever", remembering(func(token string) string { return token }), []string{"remembered-tokens", "withdrawn-key"}},
		{"remembers tokens by what they say", remembering(func(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }), []string{"remembered-tokens"}},
		{"remembers tokens by their signature", remembering(func(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }), []string{"remembered-tokens"}},
		{"describes another resource", describing(func(m *providers.Metadata) { m.Resource += "/" }), []string{"metadata"}},
		{"says nobody to sign in at", describing(func(m *providers.Metadata) { m.AuthorizationServers = nil }), []string{"metadata"}},
		{"sends people to sign in in the clear", describing(func(m *providers.Metadata) { m.AuthorizationServers = []string{"http://login.example"} }), []string{"metadata"}},
		{"asks for refresh tokens", describing(func(m *providers.Metadata) { m.ScopesSupported = []string{"offline_access"} }), []string{"metadata"}},
		{"takes tokens in the query", describing(func(m *providers.Metadata) {
			m.BearerMethodsSupported = append(m.BearerMethodsSupported, "query")
		}), []string{"metadata"}},
		{"refetches at each unknown kid", func(t testing.TB, s *providertest.Subject) {
			s.Issuer.KeyPolicy.RefetchInterval = time.Second // or a slow machine would not get round to more
			policy(func(p *token.KeyPolicy) { p.RefetchInterval = 1 })(t, s)
		}, []string{"unknown-kid-brake"}},
		{"calls a key bad that it did not look up yet", refusing(func(_ string, err error) error {
			if providers.ReasonOf(err) == providers.KeysUnavailable {
				return fmt.Errorf("%w: no such key", providers.ErrInvalidToken)
			}
			return err
		}), []string{"rotation-in-a-row"}},
		{"never decides about an unknown key", refusing(func(_ string, err error) error {
			if providers.ReasonOf(err) == providers.KeyUnknown {
				return fmt.Errorf("%w: no such key", providers.ErrUnavailable)
			}
			return err
		}), []string{"unknown-kid-brake"}},
		{"lets certificates decide", fetching(withCertificates), []string{"certificates"}},
		{"keeps withdrawn keys", policy(func(p *token.KeyPolicy) { p.MaxAge = time.Hour }), []string{"withdrawn-key"}},
		{"never looks for new keys", fetchingOnce, []string{"rotation", "withdrawn-key", "odd-keys", "key-purpose"}},
		{"reads the key set as a whole or not at all", fetching(wholeOrNothing), []string{"odd-keys"}},
		{"follows redirects", following, []string{"redirects"}},
		{"takes any status for an answer", fetching(anyStatus), []string{"bad-answers"}},
		{"reads answers of any length", fetching(anyLength), []string{"bad-answers"}},
		{"does not hear that the issuer is busy", func(t testing.TB, s *providertest.Subject) {
			s.Issuer.KeyPolicy.MaxAge = 2 * time.Second // or a slow machine would be as late as a polite adapter
			fetching(notBusy)(t, s)
		}, []string{"busy-endpoint"}},
		{"waits for the issuer when it opens", openWaiting, []string{"open"}},
		{"does not open without the issuer", openOnlyWithKeys, []string{"down-at-start"}},
		{"reports keys before it has any", wrapping(func(p *parts) providers.Provider { return hopeful{p} }), []string{"down-at-start"}},
		{"never recovers from a bad start", wrapping(stickToTheFirst), []string{"down-at-start"}},
		{"fetches for each of the first callers", wrapping(fetchForEach), []string{"first-requests"}},
		{"calls an outage an invalid token", refusing(func(_ string, err error) error {
			return fmt.Errorf("%w: %s", providers.ErrInvalidToken, providers.ReasonOf(err))
		}), []string{"outage", "down-at-start", "bad-answers", "bad-key-sets", "redirects", "busy-endpoint", "hang-up"}},
		{"lets everybody in during an outage", wrapping(failOpen), []string{"outage", "down-at-start", "bad-answers"}},
		{"forgets its keys when they cannot be renewed", wrapping(forgetful), []string{"outage", "bad-answers", "bad-key-sets", "redirects", "busy-endpoint"}},
		{"repeats what the issuer sent", wrapping(repeatUpstream), []string{"bad-answers", "bad-key-sets"}},
		{"verifies one token at a time", wrapping(oneAtATime), []string{"hung-endpoint", "dripping-endpoint"}},
		{"lets callers share the first one's patience", wrapping(shareCalls), []string{"hang-up"}},
		{"goes on when it should have ended", withoutEnd, []string{"end"}},
	}
}

// parts is a sound adapter that is about to be spoiled.
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

func verifying(verify func(p *parts, ctx context.Context, token string) (*providers.Identity, error)) func(testing.TB, *providertest.Subject) {
	return wrapping(func(p *parts) providers.Provider {
		return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) { return verify(p, ctx, token) }}
	})
}

// refusing changes the errors.
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

// remembering accepts what has the same key as something that was accepted before.
func remembering(key func(token string) string) func(testing.TB, *providertest.Subject) {
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

// forgiving leaves out one check of the strict verifier: a token that it refuses for one of these reasons is accepted, if
// its signature holds.
func forgiving(reasons ...providers.Reason) func(testing.TB, *providertest.Subject) {
	return verifying(func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if slices.Contains(reasons, providers.ReasonOf(err)) && holds(p.issuer, token) {
			return laxIdentity(token), nil
		}
		return id, err
	})
}

// holds reports whether an ES256 signature is by a key that is published under the token's kid, whatever that is for.
func holds(issuer *providertest.Issuer, token string) bool {
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
		// The members of a key that was published with its private half, or for another use, are the same.
		var public jose.JSONWebKey
		if public.UnmarshalJSON(fmt.Appendf(nil, `{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, k.X, k.Y)) != nil {
			continue
		}
		digest := sha256.Sum256([]byte(token[:at]))
		if ecdsa.Verify(public.Key.(*ecdsa.PublicKey), digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			return true
		}
	}
	return false
}

// laxIdentity reads claims as encoding/json does: names in any case, and the last of two.
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

// member returns a text in the header (0) or the claims (1) of a token, or "".
func member(token string, n int, name string) string {
	var object map[string]any
	_ = json.Unmarshal(segment(token, n), &object)
	text, _ := object[name].(string)
	return text
}

// rebuilt is an adapter whose strict verifier has other keys, rules of time or ways to fetch.
func rebuilt(build func(ctx context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet, func(oidc.KeySet) oidc.KeySet)) func(testing.TB, *providertest.Subject) {
	return func(_ testing.TB, s *providertest.Subject) {
		s.Open = func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
			keys, wrap := build(ctx, s, info)
			go keys.Run(ctx)
			var source oidc.KeySet = keys
			if wrap != nil {
				source = wrap(keys)
			}
			return newAdapter(s.Issuer, info, keys, source), nil
		}
	}
}

func keySet(s *providertest.Subject, info providers.ServerInfo, client *http.Client, policy token.KeyPolicy) *token.KeySet {
	return token.NewKeySet(token.KeySource{
		URL: func(context.Context) (string, error) { return s.Issuer.KeysURL(), nil }, Client: client,
	}, policy, info.Logger)
}

func keysInstead(wrap func(oidc.KeySet) oidc.KeySet) func(testing.TB, *providertest.Subject) {
	return rebuilt(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet, func(oidc.KeySet) oidc.KeySet) {
		return keySet(s, info, s.Issuer.Client(), s.Issuer.KeyPolicy), wrap
	})
}

func policy(change func(*token.KeyPolicy)) func(testing.TB, *providertest.Subject) {
	return rebuilt(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet, func(oidc.KeySet) oidc.KeySet) {
		p := s.Issuer.KeyPolicy
		change(&p)
		return keySet(s, info, s.Issuer.Client(), p), nil
	})
}

// fetching changes every answer of the issuer before the adapter sees it.
func fetching(change func(*http.Response) error) func(testing.TB, *providertest.Subject) {
	return rebuilt(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet, func(oidc.KeySet) oidc.KeySet) {
		client := s.Issuer.Client()
		client.Transport = changed{client.Transport, change}
		return keySet(s, info, client, s.Issuer.KeyPolicy), nil
	})
}

type changed struct {
	http.RoundTripper
	change func(*http.Response) error
}

func (c changed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := c.change(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// fetchingOnce reads the same answer for ever.
func fetchingOnce(t testing.TB, s *providertest.Subject) {
	var (
		mu    sync.Mutex
		first []byte
	)
	fetching(func(resp *http.Response) error {
		body, err := io.ReadAll(resp.Body)
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = body
		}
		resp.Body = io.NopCloser(bytes.NewReader(first))
		return err
	})(t, s)
}

func wholeOrNothing(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// withCertificates leaves out the keys whose certificates the library cannot read.
func withCertificates(resp *http.Response) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && json.Unmarshal(body, &set) == nil {
		set.Keys = slices.DeleteFunc(set.Keys, func(raw json.RawMessage) bool { return new(jose.JSONWebKey).UnmarshalJSON(raw) != nil })
		body, err = json.Marshal(set)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

func anyStatus(resp *http.Response) error {
	resp.StatusCode = http.StatusOK
	return nil
}

func anyLength(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(bytes.TrimSpace(body)))
	return err
}

func notBusy(resp *http.Response) error {
	if resp.StatusCode >= 400 {
		resp.StatusCode = http.StatusInternalServerError
	}
	return nil
}

func following(t testing.TB, s *providertest.Subject) {
	rebuilt(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet, func(oidc.KeySet) oidc.KeySet) {
		client := s.Issuer.Client()
		client.CheckRedirect = nil
		return keySet(s, info, client, s.Issuer.KeyPolicy), nil
	})(t, s)
}

type anySignature struct{}

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

// lookUp makes a request to whatever URL a token has in a member. What comes back does not matter.
func lookUp(name string, part int) func(*parts, context.Context, string) (*providers.Identity, error) {
	return func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		if address := member(token, part, name); strings.HasPrefix(address, p.issuer.URL()+"/") {
			if resp, err := p.issuer.Client().Get(address); err == nil {
				_ = resp.Body.Close()
			}
		}
		return p.Verify(ctx, token)
	}
}

// acceptOwnTypes accepts tokens that one of the claims calls something other than an access token.
func acceptOwnTypes(claims ...string) func(*parts, context.Context, string) (*providers.Identity, error) {
	return func(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		said := func(name string) bool { return member(token, 1, name) != "" }
		if providers.ReasonOf(err) == providers.TypeRefused && slices.ContainsFunc(claims, said) && holds(p.issuer, token) {
			return laxIdentity(token), nil
		}
		return id, err
	}
}

func refuseNull(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	if bytes.Contains(segment(token, 1), []byte(":null")) {
		return nil, fmt.Errorf("%w: %w", providers.ErrInvalidToken, &providers.Error{Reason: providers.ClaimsMalformed})
	}
	return p.Verify(ctx, token)
}

func panicOnNull(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
	claims := new(struct{ Iss string })
	if err := json.Unmarshal(segment(token, 1), &claims); err == nil {
		_ = claims.Iss // null has made it nil
	}
	return p.Verify(ctx, token)
}

func repair(p *parts, ctx context.Context, token string) (*providers.Identity, error) {
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

// answerLate keeps the last identity in a field that all callers share.
func answerLate(p *parts) providers.Provider {
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

func openWaiting(_ testing.TB, s *providertest.Subject) {
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

type hopeful struct{ *parts }

func (hopeful) Keys() providers.KeyStatus { return providers.KeyStatus{Usable: true} }

func stickToTheFirst(p *parts) providers.Provider {
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

func forgetful(p *parts) providers.Provider {
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		id, err := p.Verify(ctx, token)
		if p.Keys().Problem != "" {
			return nil, providers.ErrUnavailable
		}
		return id, err
	}}
}

func repeatUpstream(p *parts) providers.Provider {
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

func oneAtATime(p *parts) providers.Provider {
	var mu sync.Mutex
	return verifier{p, func(ctx context.Context, token string) (*providers.Identity, error) {
		mu.Lock()
		defer mu.Unlock()
		return p.Verify(ctx, token)
	}}
}

// shareCalls gives all callers with one token the answer that the first of them gets, on the first one's context.
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

func withoutEnd(t testing.TB, s *providertest.Subject) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	open := s.Open
	s.Open = func(_ context.Context, info providers.ServerInfo) (providers.Provider, error) { return open(ctx, info) }
}
