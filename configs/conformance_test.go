package configs_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/broker"
	"gatehouse/providers/local"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/scalekit"
	"gatehouse/providers/token"
)

// harness runs the suite of all providers for one kind with one configuration.
type harness struct {
	kind string
	as   string
	open providertest.Harness
}

// harnesses is the table of all harnesses. Each kind has at least one.
func harnesses() []harness {
	return []harness{
		{"local", "with a key that the suite knows", localHarness},
		{"oidc", "strict, found by its metadata", strictOIDC},
		{"oidc", "as many providers are, its keys configured", looseOIDC},
		{"scalekit", "as its tokens were captured", scalekitHarness},
		{"broker", "with a key that the suite knows", brokerHarness},
	}
}

func TestEveryKindConforms(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	var wg sync.WaitGroup // not t.Parallel: the rules wait for clocks, not for processors
	for _, h := range harnesses() {
		if _, ok := configs.KindNamed(h.kind); !ok {
			t.Errorf("there is no kind %s to have a harness", h.kind)
		}
		shown[h.kind] = true
		wg.Go(func() {
			t.Run(h.kind+", "+h.as, func(t *testing.T) { providertest.Run(t, h.open) })
		})
	}
	wg.Wait()
	for _, kind := range configs.Kinds() {
		if !shown[kind.Name] {
			t.Errorf("kind %s has no harness: the suite does not run on it",
				kind.Name)
		}
	}
}

// key returns a header that names a key.
func key(kid string) m { return m{"kid": kid} }

// resilience are the rules about faults of an issuer.
func resilience() []string {
	return []string{
		"unknown-key-limit", "down-at-start", "concurrent-start", "outage", "hung-endpoint", "slow-endpoint",
		"bad-responses", "bad-key-sets", "redirects",
		"retry-after", "canceled-caller", "shutdown",
	}
}

func except(why string, rules []string) map[string]string {
	out := map[string]string{}
	for _, rule := range rules {
		out[rule] = why
	}
	return out
}

func localHarness(t testing.TB) *providertest.Subject {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	settings := local.Defaults()
	settings.SigningAlgorithm, settings.SigningKey = "ES256", private
	return embedded(t, private, settings.Open)
}

func brokerHarness(t testing.TB) *providertest.Subject {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	settings := broker.Defaults()
	settings.Issuer, settings.ClientID, settings.ClientSecret = providertest.NewIssuer(t).URL(), "gatehouse", "secret"
	settings.Secrets, settings.SigningKey = providers.Secret(seal.NewSecret()), private
	return embedded(t, private, settings.Open)
}

// embedded is for a kind whose issuer is in its own process and signs with a key that the suite knows.
func embedded(t testing.TB, private *ecdsa.PrivateKey,
	open func(context.Context, providers.ServerInfo) (providers.Provider, error),
) *providertest.Subject {
	issuer := providertest.NewIssuer(t, providertest.WithKeys())
	public := jose.JSONWebKey{Key: private.Public()}
	issuer.ImportKey(private, jose.ES256,
		key(encode(must(public.Thumbprint(crypto.SHA256))))) // the key id of the issuer
	issuer.KeyPolicy.RefetchInterval = 100 * time.Millisecond // as for the embedded issuer
	r := must(providers.ParseResource(resource))

	const why = "its keys come from its own process: no fetch can fail, and there are none to count"
	return &providertest.Subject{
		Issuer: issuer, Open: open, Resource: r,
		Except: except(why, append(resilience(), "key-purpose", "unusable-keys", "rotation", "repeated-rotation",
			"certificates", "withdrawn-key")),
		Good: []providertest.Variety{
			{Name: "an access token of the issuer", Claims: m{"iss": r.Origin()}},
			{Name: "without a scope", Claims: m{"iss": r.Origin(), "scope": nil}},
		},
		Refused: []providertest.NearMiss{
			{Name: "scopes in scp, where the issuer never writes them, and no client",
				Claims: m{"scope": nil, "scp": "mcp:use", "client_id": nil}, Want: token.ReasonIDToken},
		},
	}
}

// oidcSubject has a key for each of the algorithms, and one for ES256 as the last.
func oidcSubject(t testing.TB, algorithms ...jose.SignatureAlgorithm) (s *providertest.Subject,
	settings *oidc.Settings, keys map[jose.SignatureAlgorithm]m) {
	issuer := providertest.NewIssuer(t, providertest.WithKeys())
	settings = oidc.Defaults()
	settings.Issuer = issuer.URL()
	settings.KeyRefetchInterval, settings.KeyMaxAge = issuer.KeyPolicy.RefetchInterval, issuer.KeyPolicy.MaxAge
	keys = map[jose.SignatureAlgorithm]m{}
	for _, alg := range append(algorithms, jose.ES256) {
		keys[alg] = key(issuer.AddKey(alg))
	}
	return &providertest.Subject{Issuer: issuer, Open: settings.Open,
		Resource: must(providers.ParseResource(resource))}, settings, keys
}

func strictOIDC(t testing.TB) *providertest.Subject {
	s, _, keys := oidcSubject(t, jose.RS256, jose.EdDSA, jose.ES384)
	// One RSA key is used for both algorithms: generating one is slow.
	rsa := s.Issuer.PrivateKey(keys[jose.RS256]["kid"].(string)).(crypto.Signer)
	keys[jose.PS256] = key(s.Issuer.ImportKey(rsa, jose.PS256, nil))
	s.Issuer.SignWith(keys[jose.ES256]["kid"].(string))
	now := time.Now()
	ahead := now.Add(30 * time.Second).Unix()
	scopes := func(scopes ...string) func(*providers.Identity) {
		return func(id *providers.Identity) { id.Scopes = scopes }
	}
	client := func(name string) func(*providers.Identity) {
		return func(id *providers.Identity) { id.Client = name }
	}
	s.Good = []providertest.Variety{
		{Name: "ES256", Header: keys[jose.ES256]},
		{Name: "RS256", Header: keys[jose.RS256]},
		{Name: "PS256", Header: keys[jose.PS256]},
		{Name: "EdDSA", Header: keys[jose.EdDSA]},
		{Name: "typ in another case", Header: m{"typ": "AT+JWT"}},
		{Name: "typ as media type", Header: m{"typ": "application/at+jwt"}},
		{Name: "typ as media type in another case", Header: m{"typ": "Application/AT+JWT"}},
		{Name: "x5t and jku, which are ignored", Header: m{"x5t": "abc",
			"jku": "https://elsewhere.example/jwks", "cty": "x", "x": m{"y": 1}}},
		{Name: "aud in a list", Claims: m{"aud": []string{resource}}},
		{Name: "aud among others", Claims: m{"aud": []string{"https://elsewhere.example", resource}}},
		{Name: "aud with upper-case scheme and host", Claims: m{"aud": "HTTP://LOCALHOST:3002/mcp"}},
		{Name: "two scopes", Claims: m{"scope": "mcp:use files:read"}},
		{Name: "scopes with more blanks", Claims: m{"scope": "  mcp:use   files:read "}},
		{Name: "scopes in a list", Claims: m{"scope": []string{"mcp:use", "files:read"}}},
		{Name: "scopes in scp", Claims: m{"scope": nil, "scp": "mcp:use"}, Want: scopes("mcp:use")},
		{Name: "scopes in a list in scp", Claims: m{"scope": nil, "scp": []string{"mcp:use"}},
			Want: scopes("mcp:use")},
		{Name: "scope before scp", Claims: m{"scp": "admin"}},
		{Name: "no scopes", Claims: m{"scope": nil}},
		{Name: "scope empty", Claims: m{"scope": ""}},
		{Name: "client in azp", Claims: m{"client_id": nil, "azp": "test-client"}, Want: client("test-client")},
		{Name: "no client", Claims: m{"client_id": nil}},
		{Name: "another subject", Claims: m{"sub": "b\u00f6b|x"}},
		{Name: "exp with a fraction", Claims: m{"exp": float64(ahead) + 0.5}},
		{Name: "exp with an exponent", Claims: m{"exp": json.RawMessage("25e8")}},
		{Name: "exp past within the leeway", Claims: m{"exp": now.Add(-5 * time.Second).Unix()}},
		{Name: "exp in the year 9999", Claims: m{"exp": int64(253402300799)}},
		{Name: "nbf ahead within the leeway", Claims: m{"nbf": ahead}},
		{Name: "iat ahead within the leeway", Claims: m{"iat": ahead}},
		{Name: "no iat", Claims: m{"iat": nil}},
		{Name: "an access token by every claim with a type",
			Claims: m{"typ": "Bearer", "type": "access", "token_use": "access_token", "token_type": "at+jwt",
				"tokenType": "access-token"}},
		{Name: "unknown claims", Claims: m{"https://example.com/x": m{"Aud": "x",
			"sub": []any{1, nil}}, "Roles": []string{"a"}, "": 1}},
	}
	s.Refused = []providertest.NearMiss{
		{Name: "an algorithm that is not configured, by a published key",
			Header: merged(keys[jose.ES384], m{"alg": "ES384"}), Want: token.ReasonAlgorithmRefused},
		{Name: "the audience of another server", Claims: m{"aud": "api://gatehouse"},
			Want: token.ReasonAudienceMismatch},
		{Name: "scopes that are an object", Claims: m{"scope": m{"mcp:use": true}},
			Want: token.ReasonClaimsMalformed},
	}
	return s
}

// looseOIDC has the settings that many providers need: typ JWT or none, an audience that is not a URL, other
// algorithms.
func looseOIDC(t testing.TB) *providertest.Subject {
	s, settings, keys := oidcSubject(t, jose.EdDSA, jose.ES384)
	settings.JWKSURL = s.Issuer.KeysURL()
	settings.TokenTypes, settings.Audiences, settings.Algorithms = []string{"JWT", "absent"},
		[]string{"api://gatehouse"}, []string{"ES256", "ES384"}
	for _, path := range []string{"/.well-known/oauth-authorization-server",
		"/.well-known/openid-configuration"} {
		s.Issuer.Serve(path, nil)
	}
	s.Except = except("the strict harness covers it with the same code", resilience())
	claims := m{"aud": "api://gatehouse"}
	s.Good = []providertest.Variety{
		{Name: "typ JWT", Header: m{"typ": "JWT"}, Claims: claims},
		{Name: "no typ", Header: m{"typ": nil}, Claims: claims},
		{Name: "ES384", Header: merged(keys[jose.ES384], m{"typ": "JWT"}), Claims: claims},
	}
	s.Refused = []providertest.NearMiss{
		{Name: "the resource, if another audience is configured", Claims: m{"aud": resource},
			Want: token.ReasonAudienceMismatch},
		{Name: "typ at+jwt, which is not configured", Header: m{"typ": "at+jwt"}, Want: token.ReasonTypeRefused},
		{Name: "EdDSA, which is not configured, by a published key",
			Header: merged(keys[jose.EdDSA], m{"alg": "EdDSA"}), Want: token.ReasonAlgorithmRefused},
	}
	return s
}

// scalekitHarness has what the suite needs; scalekit_test.go compares the adapter with captured tokens.
func scalekitHarness(t testing.TB) *providertest.Subject {
	issuer := providertest.NewIssuer(t, providertest.WithKeyIDs("snk_103100112351265282"))
	settings := scalekit.Defaults()
	settings.EnvironmentURL, settings.ResourceID = issuer.URL(), scalekitID
	settings.KeyRefetchInterval, settings.KeyMaxAge = issuer.KeyPolicy.RefetchInterval, issuer.KeyPolicy.MaxAge
	claims := m{"aud": []string{resource, scalekitID}, "scopes": []string{"mcp:use"}, "oid": "org_1",
		"resid": scalekitID, "nbf": time.Now().Unix()}
	typ := m{"typ": "JWT"}
	return &providertest.Subject{
		Issuer: issuer, Open: settings.Open, Resource: must(providers.ParseResource(resource)),
		Good: []providertest.Variety{
			{Name: "as captured", Header: typ, Claims: claims},
			{Name: "after the migration of the issuer", Header: typ,
				Claims: merged(claims, m{"iss": issuer.URL() + "/resources/" + scalekitID})},
			{Name: "typ at+jwt", Claims: claims},
		},
		Refused: []providertest.NearMiss{
			{Name: "for the Server URL alone, which a client may choose", Claims: m{"aud": []string{resource}},
				Want: token.ReasonAudienceMismatch},
		},
	}
}

func merged(maps ...m) m {
	out := m{}
	for _, each := range maps {
		for name, value := range each {
			out[name] = value
		}
	}
	return out
}

type m = map[string]any

const (
	resource   = "http://localhost:3002/mcp"
	scalekitID = "res_103100112351265282"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
