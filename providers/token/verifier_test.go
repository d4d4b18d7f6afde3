package token_test

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

const (
	resource = "http://localhost:3002/mcp"
	// canary is in every token, in claims that are not read. It must not be in any error or log.
	canary = "canary-7d1f0c"
)

type m = map[string]any

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// An adapter may list symmetric algorithms by mistake.
func TestVerifierRefusesSymmetricAlgorithms(t *testing.T) {
	i := providertest.NewIssuer(t)
	secret := []byte(strings.Repeat("s", 32))
	i.Publish(fmt.Sprintf(`{"kty":"oct","kid":"shared","alg":"HS256","use":"sig","k":%q}`, encode(secret)))
	rules := i.Rules(resource)
	rules.Algorithms = []jose.SignatureAlgorithm{"none", jose.HS256, jose.RS256}
	verifier := token.NewVerifier(rules, i.Keys(t))
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); err != nil {
		t.Fatalf("RS256: %v", err)
	}
	payload := must(json.Marshal(i.Claims(resource)))
	for _, text := range []string{
		providertest.SignBytes(jose.HS256, secret, []byte(`{"alg":"HS256","kid":"shared","typ":"at+jwt"}`),
			payload),
		providertest.Assemble([]byte(`{"alg":"none","typ":"at+jwt"}`), payload, nil),
	} {
		if _, err := verifier.Verify(t.Context(), text); providers.ReasonOf(err) != token.ReasonAlgorithmRefused {
			t.Errorf("Verify = %v", err)
		}
	}
}

// A rule that an adapter leaves out must not accept tokens.
func TestVerifierWithEmptyRulesAcceptsNothing(t *testing.T) {
	i := providertest.NewIssuer(t)
	keys := i.Keys(t)
	for name, c := range map[string]struct {
		change func(*token.Rules)
		claims m
	}{
		"no issuers":      {func(r *token.Rules) { r.Issuers = nil }, nil},
		"an empty issuer": {func(r *token.Rules) { r.Issuers = []string{""} }, m{"iss": nil}},
		"no audiences":    {func(r *token.Rules) { r.Audiences = nil }, m{"aud": nil}},
		"an odd audience": {func(r *token.Rules) { r.Audiences = []string{""} }, m{"aud": nil}},
		"no algorithms":   {func(r *token.Rules) { r.Algorithms = nil }, nil},
		"no token types":  {func(r *token.Rules) { r.TokenTypes = nil }, nil},
		"no rules at all": {func(r *token.Rules) { *r = token.Rules{} }, m{"iss": nil, "aud": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			rules := i.Rules(resource)
			c.change(&rules)
			if id, err := token.NewVerifier(rules, keys).Verify(t.Context(),
				i.Token(resource, c.claims)); !errors.Is(err, providers.ErrInvalidToken) {
				t.Errorf("Verify = %+v, %v", id, err)
			}
		})
	}
}

// What issuers really send is in the harnesses (conformance_test.go). Here are two forms that not every
// adapter has to know.
func TestVerifierAcceptsUnusualTokens(t *testing.T) {
	i := providertest.NewIssuer(t)
	ed, es := i.AddKey(jose.EdDSA), i.AddKey(jose.ES256)
	verifier := token.NewVerifier(i.Rules(resource), i.Keys(t))
	payload := must(json.Marshal(i.Claims(resource)))
	for name, text := range map[string]string{
		"the other of the two valid ECDSA signatures, which issuers may send too": otherHalf(i.Sign(key(es),
			i.Claims(resource))),
		"no key id and a single key of that algorithm": providertest.SignBytes(jose.EdDSA, i.PrivateKey(ed),
			[]byte(`{"alg":"EdDSA","typ":"at+jwt"}`), payload),
	} {
		if _, err := verifier.Verify(t.Context(), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Malformed claims are refused even where a default would apply if they were absent.
func TestVerifierRefusesMalformedScopesAndClients(t *testing.T) {
	i := providertest.NewIssuer(t)
	verifier := token.NewVerifier(i.Rules(resource), i.Keys(t))
	for _, claim := range []string{"scope", "client_id"} {
		for name, value := range map[string]any{"a number": 1, "a list of numbers": []any{1},
			"an object": m{"x": 1}, "true": true} {
			if _, err := verifier.Verify(t.Context(), i.Token(resource,
				m{claim: value})); providers.ReasonOf(err) != token.ReasonClaimsMalformed {
				t.Errorf("%s is %s: %v", claim, name, err)
			}
		}
	}
}

func TestVerifierLimitsTokenLength(t *testing.T) {
	i := providertest.NewIssuer(t)
	keys := i.Keys(t)
	text := i.Token(resource, m{"x": strings.Repeat("x", 10<<10)})
	for name, c := range map[string]struct {
		most int
		want providers.Reason
	}{
		"as long as allowed":       {len(text), ""},
		"a byte longer":            {len(text) - 1, token.ReasonTooLong},
		"below 16 KiB, by default": {0, ""},
	} {
		rules := i.Rules(resource)
		rules.MaxTokenBytes = c.most
		if _, err := token.NewVerifier(rules, keys).Verify(t.Context(), text); providers.ReasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := i.Token(resource, m{"x": strings.Repeat("x", 12<<10)})
	if _, err := token.NewVerifier(i.Rules(resource), keys).Verify(t.Context(),
		long); providers.ReasonOf(err) != token.ReasonTooLong {
		t.Errorf("above 16 KiB, by default: %v", err)
	}
}

// otherHalf returns the token with (r, n-s) for (r, s), which verifies as well: a token has no single
// spelling that a list of revoked tokens could go by.
func otherHalf(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	signature := must(base64.RawURLEncoding.DecodeString(token[at:]))
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:at] + encode(signature)
}

// A resource on a default port without a path has many spellings, and issuers choose among them.
func TestVerifierAcceptsEquivalentAudiences(t *testing.T) {
	const info = "https://mcp.example.com/"
	i := providertest.NewIssuer(t)
	p := i.Provider(t, must(providers.ParseResource(info)))
	for aud, good := range map[string]bool{
		"https://mcp.example.com/":      true,
		"https://mcp.example.com":       true,
		"https://mcp.example.com:443":   true,
		"https://mcp.example.com:443/":  true,
		"HTTPS://MCP.Example.COM":       true,
		"https://mcp.example.com:80/":   false,
		"https://mcp.example.com:/":     false,
		"https://mcp.example.com//":     false,
		"https://mcp.example.com/mcp":   false,
		"https://mcp.example.com?":      false,
		"https://mcp.example.com/#":     false,
		"http://mcp.example.com/":       false,
		"https://mcp.example.com./":     false,
		"https://mcp.example.com.evil/": false,
	} {
		if _, err := p.Verify(t.Context(), i.Token(aud, nil)); (err == nil) != good {
			t.Errorf("aud %s: %v", aud, err)
		}
	}
}

// The times are compared with the clock of the rules, to the second.
func TestVerifierLeeway(t *testing.T) {
	i := providertest.NewIssuer(t)
	now := time.Unix(2_000_000_000, 0)
	rules := i.Rules(resource)
	rules.Leeway, rules.Now = 10*time.Second, func() time.Time { return now }
	verifier := token.NewVerifier(rules, i.Keys(t))
	at := func(seconds int64) int64 { return now.Unix() + seconds }
	for _, c := range []struct {
		name  string
		times m
		want  providers.Reason
	}{
		{"expires now", m{"exp": at(0)}, ""},
		{"expired 9 s ago", m{"exp": at(-9)}, ""},
		{"expired 10 s ago", m{"exp": at(-10)}, token.ReasonExpired},
		{"begins in 10 s", m{"exp": at(60), "nbf": at(10)}, ""},
		{"begins in 11 s", m{"exp": at(60), "nbf": at(11)}, token.ReasonNotYetValid},
		{"issued in 10 s", m{"exp": at(60), "iat": at(10)}, ""},
		{"issued in 11 s", m{"exp": at(60), "iat": at(11)}, token.ReasonNotYetValid},
	} {
		claims := i.Claims(resource)
		delete(claims, "iat")
		maps.Copy(claims, c.times)
		if _, err := verifier.Verify(t.Context(), i.Sign(nil, claims)); providers.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// FuzzVerify signs its input, so that the fuzzer gets past the signature. Accepted tokens must mean the same
// to a second implementation.
func FuzzVerify(f *testing.F) {
	i := providertest.NewIssuer(f)
	i.KeyPolicy.RefetchInterval = time.Hour
	kid := i.AddKey(jose.EdDSA)
	private, public := i.PrivateKey(kid), i.PublicKey(kid)
	const issuer = "https://issuer.example"
	rules := i.Rules(resource)
	rules.Issuers = []string{issuer}
	rules.Now = func() time.Time { return time.Unix(2_000_000_000, 0) }
	verifier := token.NewVerifier(rules, i.Keys(f))

	const header = `{"alg":"EdDSA","typ":"at+jwt"}`
	const claims = `{"iss":"https://issuer.example","sub":"alice","aud":"http://localhost:3002/mcp",` +
		`"exp":2000000060,"client_id":"c","scope":"a b"}`
	for _, seed := range []struct {
		header, payload, tail string
	}{
		{header, claims, ""},
		{header, claims, "."},
		{header, claims, "A"},
		{header, strings.Replace(claims, `"http://localhost:3002/mcp"`, `["x","HTTP://localhost:3002/mcp"]`, 1),
			""},
		{header, strings.Replace(claims, "2000000060", "2.00000006e9", 1), ""},
		{header, strings.Replace(claims, "2000000060", "2000000059.999999999999", 1), ""},
		{header, strings.Replace(claims, `"alice"`, `"\ud800"`, 1), ""},
		{header, strings.Replace(claims, `"sub"`, `"s\u0075b"`, 1), ""},
		{header, strings.Replace(claims, `"sub"`, `"Sub"`, 1), ""},
		{header, claims + " ", ""},
		{header, "null", ""},
		{`{"alg":"none"}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","crit":["b64"],"b64":false}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","kid":"x"}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","alg":"none"}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","jwk":{"kty":"oct","k":"AA"}}`, claims, ""},
	} {
		f.Add([]byte(seed.header), []byte(seed.payload), seed.tail)
	}
	f.Fuzz(func(t *testing.T, header, payload []byte, tail string) {
		text := providertest.SignBytes(jose.EdDSA, private, header, payload) + tail
		id, err := verifier.Verify(context.Background(), text)
		if err != nil {
			if id != nil || errors.Is(err, providers.ErrInvalidToken) == errors.Is(err, providers.ErrUnavailable) ||
				len(err.Error()) > 1000 {
				t.Fatalf("Verify = %v, %v", id, err)
			}
			return
		}
		parsed, err := jwt.ParseSigned(text, rules.Algorithms)
		if err != nil {
			t.Fatalf("go-jose cannot read what was accepted: %v", err)
		}
		var other struct {
			jwt.Claims
			Client string `json:"client_id"`
		}
		if err := parsed.Claims(public, &other); err != nil {
			t.Fatalf("go-jose refuses what was accepted: %v", err)
		}
		if err := other.ValidateWithLeeway(jwt.Expected{Issuer: issuer, Time: rules.Now()},
			token.DefaultLeeway+time.Second); err != nil {
			t.Fatalf("go-jose finds it invalid: %v", err)
		}
		if other.Subject != id.Subject || other.Issuer != id.Issuer || !slices.Equal(other.Audience, id.Audience) ||
			other.Expiry.Time().Unix() != id.Expiry.Unix() || other.Client != "" && other.Client != id.Client {
			t.Fatalf("go-jose reads %+v where we read %+v", other, id)
		}
	})
}
