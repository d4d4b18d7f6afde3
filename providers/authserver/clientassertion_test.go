package authserver_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/store"
)

const assertionMethod = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// noAssertions accepts no identity assertion: these tests are about the authentication of clients.
type noAssertions struct{}

func (noAssertions) Verify(context.Context, string) (authserver.Assertion, error) {
	return authserver.Assertion{}, &authserver.SignInError{Reason: "refused", Err: errors.New("refused")}
}

// keyedClient is a client with private_key_jwt: a host with its document and its keys.
type keyedClient struct {
	*documentHost
	key *ecdsa.PrivateKey
	mu  sync.Mutex
	// keys is what jwks_uri serves.
	keys any
	// keyFetches counts the requests for it.
	keyFetches int
}

func publicSet(keys ...crypto.Signer) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for n, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: fmt.Sprint("k", n+1), Use: "sig"})
	}
	return set
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newKeyedClient returns a client whose document lists private_key_jwt alone, with changes.
func newKeyedClient(t *testing.T, changes ...any) *keyedClient {
	t.Helper()
	c := &keyedClient{documentHost: newDocumentHost(t), key: newECKey(t)}
	c.keys = publicSet(c.key)
	document := c.document(append([]any{"token_endpoint_auth_method", "private_key_jwt", "jwks_uri", c.URL + "/keys.json"},
		changes...)...)
	c.serveFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/keys.json" {
			_ = json.NewEncoder(w).Encode(document)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keyFetches++
		if text, ok := c.keys.(string); ok {
			_, _ = w.Write([]byte(text))
			return
		}
		_ = json.NewEncoder(w).Encode(c.keys)
	})
	return c
}

// enterprise lets the client use identity assertions.
func (c *keyedClient) enterprise(config *authserver.Config) {
	c.trusted(config)
	config.Assertions, config.ClientPolicy.EnterpriseClients = noAssertions{}, []string{c.id()}
}

// assert returns a client assertion with changes: alternating names and values; nil removes the claim.
func (c *keyedClient) assert(t *testing.T, issuer *testIssuer, changes ...any) string {
	t.Helper()
	now := issuer.clock.Now().Unix()
	claims := map[string]any{"iss": c.id(), "sub": c.id(), "aud": issuer.url, "exp": now + 60, "iat": now,
		"jti": rand.Text()}
	for n := 0; n < len(changes); n += 2 {
		if changes[n+1] == nil {
			delete(claims, changes[n].(string))
		} else {
			claims[changes[n].(string)] = changes[n+1]
		}
	}
	return signJWT(t, jose.ES256, c.key, "k1", "JWT", claims)
}

func signJWT(t *testing.T, alg jose.SignatureAlgorithm, key any, kid, typ string, claims any) string {
	t.Helper()
	options := new(jose.SignerOptions).WithHeader("kid", kid)
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, isText := claims.(string)
	if !isText {
		raw, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		payload = string(raw)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// present sends a client assertion to the token endpoint, with a code that does not exist: invalid_grant means that
// the client is authenticated.
func (issuer *testIssuer) present(assertion string, changes ...string) answer {
	issuer.t.Helper()
	form := issuer.exchange("x", append([]string{"client_id", ""}, changes...)...)
	form.Set("client_assertion_type", assertionMethod)
	form.Set("client_assertion", assertion)
	return issuer.post("/token", form)
}

func TestClientAssertions(t *testing.T) {
	c := newKeyedClient(t)
	issuer := open(t, signInElsewhere, c.enterprise)
	accepted := func(t *testing.T, a answer) {
		t.Helper()
		wantError(t, a, http.StatusBadRequest, "invalid_grant")
	}
	refused := func(t *testing.T, a answer) {
		t.Helper()
		wantError(t, a, http.StatusUnauthorized, "invalid_client")
	}
	now := issuer.clock.Now().Unix()
	for name, assertion := range map[string]string{
		"as usual":                 c.assert(t, issuer),
		"aud in a list":            c.assert(t, issuer, "aud", []string{issuer.url}),
		"without iat":              c.assert(t, issuer, "iat", nil),
		"valid for 10 minutes":     c.assert(t, issuer, "exp", now+600),
		"expired within leeway":    c.assert(t, issuer, "exp", now-30),
		"with nbf and more claims": c.assert(t, issuer, "nbf", now, "x", []int{1}),
		"a type of its own": signJWT(t, jose.ES256, c.key, "k1", "client-authentication+jwt",
			map[string]any{"iss": c.id(), "sub": c.id(), "aud": issuer.url, "exp": now + 60, "jti": "t1"}),
		"no type": signJWT(t, jose.ES256, c.key, "k1", "",
			map[string]any{"iss": c.id(), "sub": c.id(), "aud": issuer.url, "exp": now + 60, "jti": "t2"}),
	} {
		t.Run("accepted: "+name, func(t *testing.T) { accepted(t, issuer.present(assertion)) })
	}
	t.Run("accepted: with its client_id", func(t *testing.T) {
		accepted(t, issuer.present(c.assert(t, issuer), "client_id", c.id()))
	})
	t.Run("accepted: to revoke", func(t *testing.T) {
		a := issuer.post("/revoke", url.Values{"token": {"x"}, "client_assertion_type": {assertionMethod},
			"client_assertion": {c.assert(t, issuer)}})
		if a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	claims := func(changes ...any) map[string]any {
		m := map[string]any{"iss": c.id(), "sub": c.id(), "aud": issuer.url, "exp": now + 60, "jti": rand.Text()}
		for n := 0; n < len(changes); n += 2 {
			m[changes[n].(string)] = changes[n+1]
		}
		return m
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := c.assert(t, issuer)
	parts := strings.Split(good, ".")
	bad := map[string]string{
		"signed with another key":       signJWT(t, jose.ES256, newECKey(t), "k1", "JWT", claims()),
		"signed with an unknown key":    signJWT(t, jose.ES256, newECKey(t), "k7", "JWT", claims()),
		"an RSA key that is unknown":    signJWT(t, jose.RS256, rsaKey, "k1", "JWT", claims()),
		"signed with a secret":          signJWT(t, jose.HS256, []byte(strings.Repeat("s", 32)), "k1", "JWT", claims()),
		"another payload":               parts[0] + "." + strings.Split(c.assert(t, issuer), ".")[1] + "." + parts[2],
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"two parts":                     parts[0] + "." + parts[1],
		"a line break":                  good + "\n",
		"text":                          "x",
		"the type of an assertion":      signJWT(t, jose.ES256, c.key, "k1", "oauth-id-jag+jwt", claims()),
		"the type of an access token":   signJWT(t, jose.ES256, c.key, "k1", "at+jwt", claims()),
		"aud is another issuer":         c.assert(t, issuer, "aud", "https://other.example"),
		"aud is the token endpoint":     c.assert(t, issuer, "aud", issuer.url+"/token"),
		"aud has a slash":               c.assert(t, issuer, "aud", issuer.url+"/"),
		"aud is a list of two":          c.assert(t, issuer, "aud", []string{issuer.url, "https://other.example"}),
		"iss is another client":         c.assert(t, issuer, "iss", "https://other.example/c.json"),
		"sub is another client":         c.assert(t, issuer, "sub", "https://other.example/c.json"),
		"iss and sub are unknown":       c.assert(t, issuer, "iss", "unknown", "sub", "unknown"),
		"expired":                       c.assert(t, issuer, "exp", now-60),
		"valid for too long":            c.assert(t, issuer, "exp", now+661),
		"issued in the future":          c.assert(t, issuer, "iat", now+61),
		"not valid yet":                 c.assert(t, issuer, "nbf", now+61),
		"exp is text":                   c.assert(t, issuer, "exp", "1"),
		"iat is text":                   c.assert(t, issuer, "iat", "1"),
		"jti is a number":               c.assert(t, issuer, "jti", 1),
		"jti is empty":                  c.assert(t, issuer, "jti", ""),
		"a claim twice":                 signJWT(t, jose.ES256, c.key, "k1", "JWT", `{"iss":"x",`+jsonOf(claims())[1:]),
		"a claim in two cases":          c.assert(t, issuer, "ISS", "x"),
		"a payload that is no object":   signJWT(t, jose.ES256, c.key, "k1", "JWT", `[]`),
		"a payload that is not JSON":    signJWT(t, jose.ES256, c.key, "k1", "JWT", `x`),
		"an access token of the issuer": open(t).tokens()["access_token"].(string),
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "jti"} {
		bad[name+" is missing"] = c.assert(t, issuer, name, nil)
		bad[name+" is null"] = c.assert(t, issuer, name, json.RawMessage("null"))
		bad[name+" is an object"] = c.assert(t, issuer, name, json.RawMessage("{}"))
	}
	for name, assertion := range bad {
		t.Run("row 63 refused: "+name, func(t *testing.T) { refused(t, issuer.present(assertion)) })
	}
	t.Run("row 63 refused: with another client_id", func(t *testing.T) {
		refused(t, issuer.present(c.assert(t, issuer), "client_id", "other"))
	})
	t.Run("row 63 refused: no assertion, an empty one, or one of another type", func(t *testing.T) {
		refused(t, issuer.post("/token", issuer.exchange("x", "client_id", c.id())))
		refused(t, issuer.post("/token", issuer.exchange("x", "client_id", ""), basic(c.id(), "x")))
		refused(t, issuer.present("", "client_id", c.id()))
		form := issuer.exchange("x", "client_id", "")
		form.Set("client_assertion", c.assert(t, issuer))
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
		refused(t, issuer.post("/token", form))
	})
	t.Run("row 63 refused: a secret in addition", func(t *testing.T) {
		wantError(t, issuer.present(c.assert(t, issuer), "client_secret", "x"), http.StatusBadRequest, "invalid_request")
	})
	t.Run("row 63 used twice, at the other replica as well", func(t *testing.T) {
		kept := store.NewMemory(100, time.Now)
		shared := func(config *authserver.Config) { config.Store = kept }
		one := open(t, signInElsewhere, c.enterprise, shared)
		two := open(t, signInElsewhere, c.enterprise, shared, replicaOf(one))
		assertion := c.assert(t, one)
		accepted(t, one.present(assertion))
		refused(t, one.present(assertion))
		refused(t, two.present(assertion))
	})
	t.Run("row 63 used twice, if the clock of the store is ahead", func(t *testing.T) {
		var clock *clock
		kept := store.NewMemory(100, func() time.Time { return clock.Now().Add(4 * time.Minute) })
		issuer := open(t, signInElsewhere, c.enterprise, func(config *authserver.Config) { config.Store = kept })
		clock = issuer.clock
		if err := issuer.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		assertion := c.assert(t, issuer)
		accepted(t, issuer.present(assertion))
		clock.forward(100 * time.Second) // 40 s after exp
		refused(t, issuer.present(assertion))
	})
	t.Run("row 54 the store is down", func(t *testing.T) {
		kept := newSharedStore()
		down := open(t, signInElsewhere, c.enterprise, func(config *authserver.Config) { config.Store = kept })
		if err := down.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept.down.Store(true)
		a := down.present(c.assert(t, down))
		wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
		if a.Header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	})
	t.Run("the metadata announces it", func(t *testing.T) {
		m := issuer.get("/.well-known/oauth-authorization-server").json(t)
		if fmt.Sprint(m["token_endpoint_auth_methods_supported"]) !=
			"[none client_secret_basic client_secret_post private_key_jwt]" ||
			fmt.Sprint(m["token_endpoint_auth_signing_alg_values_supported"]) != "[RS256 ES256]" {
			t.Errorf("metadata %v", m)
		}
	})
	t.Run("a client that may do without is public, whatever it presents", func(t *testing.T) {
		public := newKeyedClient(t, "token_endpoint_auth_methods_supported", []string{"private_key_jwt", "none"})
		kept := store.NewMemory(100, time.Now)
		issuer := open(t, signInElsewhere, c.enterprise, func(config *authserver.Config) {
			config.ClientDocumentRootCAs = c.roots.Clone()
			config.ClientDocumentRootCAs.AddCert(public.Certificate())
			config.Store = kept
		})
		if err := issuer.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		issuer.wantKnown(t, public.id())
		for range 3 {
			accepted(t, issuer.present(public.assert(t, issuer)))
		}
		all, err := kept.All(t.Context(), "jti:", 100)
		if err != nil || slices.ContainsFunc(all, func(r store.Record) bool { return strings.HasPrefix(r.ID, "jti:") }) {
			t.Errorf("a stranger can fill the store: %v, %v", all, err)
		}
		refused(t, issuer.present(signJWT(t, jose.ES256, newECKey(t), "k1", "JWT", claims("iss", public.id(), "sub",
			public.id()))))
		for _, extra := range []url.Values{{"client_id": {public.id()}},
			{"client_assertion": {public.assert(t, issuer)}, "client_assertion_type": {assertionMethod}}} {
			extra.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
			extra.Set("assertion", "x")
			a := issuer.post("/token", extra)
			if got := a.json(t)["error"]; got != "invalid_client" && got != "unauthorized_client" {
				t.Errorf("row 12 status %d: %s", a.StatusCode, a.body)
			}
		}
	})
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestKeysOfClients(t *testing.T) {
	t.Run("a client that is not listed may not have private_key_jwt alone", func(t *testing.T) {
		c := newKeyedClient(t)
		issuer := open(t, signInElsewhere, c.trusted)
		a := issuer.authorize("client_id", c.id())
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "not none") {
			t.Errorf("the page is %s", a.body)
		}
	})
	t.Run("a client that is listed can sign people in, too", func(t *testing.T) {
		c := newKeyedClient(t)
		wantConsent(t, open(t, signInElsewhere, c.enterprise).authorize("client_id", c.id()))
	})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	huge := rsa.PublicKey{N: new(big.Int).Lsh(rsaKey.N, 4096), E: rsaKey.E}
	t.Run("keys in the document, RS256, and no redirect URI", func(t *testing.T) {
		c := newKeyedClient(t, "jwks_uri", nil, "jwks", publicSet(rsaKey), "redirect_uris", nil, "grant_types",
			[]string{"urn:ietf:params:oauth:grant-type:jwt-bearer"})
		issuer := open(t, signInElsewhere, c.enterprise)
		assertion := signJWT(t, jose.RS256, rsaKey, "k1", "JWT", map[string]any{"iss": c.id(), "sub": c.id(),
			"aud": issuer.url, "exp": issuer.clock.Now().Unix() + 60, "jti": "1"})
		wantError(t, issuer.present(assertion), http.StatusBadRequest, "unauthorized_client") // for a code
		wantError(t, issuer.present(assertion), http.StatusUnauthorized, "invalid_client")    // used before
	})
	for name, changes := range map[string][]any{
		"neither": {"jwks_uri", nil},
		"both":    {"jwks", publicSet(rsaKey)},
		"a weak key": {"jwks_uri", nil, "jwks",
			jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: weak.Public()}}}},
		"a huge key":               {"jwks_uri", nil, "jwks", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &huge}}}},
		"a private key":            {"jwks_uri", nil, "jwks", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: rsaKey}}}},
		"a secret":                 {"jwks_uri", nil, "jwks", json.RawMessage(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)},
		"no list":                  {"jwks_uri", nil, "jwks", json.RawMessage(`{"keys":1}`)},
		"keys over http":           {"jwks_uri", "http://127.0.0.1/keys.json"},
		"keys at a file":           {"jwks_uri", "file:///etc/passwd"},
		"keys at a user's address": {"jwks_uri", "https://me@127.0.0.1/keys.json"},
	} {
		t.Run("a document that has "+name, func(t *testing.T) {
			c := newKeyedClient(t, changes...)
			a := open(t, signInElsewhere, c.enterprise).authorize("client_id", c.id())
			wantPage(t, a, http.StatusBadRequest)
			if !strings.Contains(a.body, "has no keys") {
				t.Errorf("the page is %s", a.body)
			}
		})
	}
	t.Run("keys are fetched once, and again for a new key after a minute", func(t *testing.T) {
		c := newKeyedClient(t)
		issuer := open(t, signInElsewhere, c.enterprise)
		count := func(want int) {
			t.Helper()
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.keyFetches != want {
				t.Errorf("%d fetches, want %d", c.keyFetches, want)
			}
		}
		for range 3 {
			wantError(t, issuer.present(c.assert(t, issuer)), http.StatusBadRequest, "invalid_grant")
		}
		count(1)
		next := newECKey(t)
		c.mu.Lock()
		c.keys = publicSet(c.key, next)
		c.mu.Unlock()
		rotated := func() answer {
			return issuer.present(signJWT(t, jose.ES256, next, "k2", "JWT", map[string]any{"iss": c.id(), "sub": c.id(),
				"aud": issuer.url, "exp": issuer.clock.Now().Unix() + 60, "jti": rand.Text()}))
		}
		wantError(t, rotated(), http.StatusUnauthorized, "invalid_client")
		count(1)
		issuer.clock.forward(61 * time.Second)
		wantError(t, rotated(), http.StatusBadRequest, "invalid_grant")
		count(2)
	})
	for name, keys := range map[string]any{"a page": "<html>", "a long set": strings.Repeat(" ", 40_000),
		"no keys": jose.JSONWebKeySet{}} {
		t.Run("keys that are "+name, func(t *testing.T) {
			c := newKeyedClient(t)
			c.keys = keys
			if text, ok := keys.(string); ok && len(text) > 10_000 {
				c.keys = jsonOf(publicSet(c.key)) + text // too long, otherwise good
			}
			issuer := open(t, signInElsewhere, c.enterprise)
			wantError(t, issuer.present(c.assert(t, issuer)), http.StatusUnauthorized, "invalid_client")
		})
	}
	t.Run("row 08 keys at a private address are not fetched", func(t *testing.T) {
		c := newKeyedClient(t)
		issuer := open(t, signInElsewhere, c.enterprise, func(config *authserver.Config) {
			config.AllowLoopbackClientDocuments = false
		})
		wantError(t, issuer.present(c.assert(t, issuer)), http.StatusUnauthorized, "invalid_client")
		if c.fetches.Load() != 0 {
			t.Error("a request was made")
		}
	})
}

func TestEnterpriseClientsAreChecked(t *testing.T) {
	base := authserver.Config{Issuer: "http://localhost:1", Resources: []string{"http://localhost:1/mcp"},
		Scopes: []string{"notes:read"}, SigningAlgorithm: "ES256", SignIn: elsewhere{}, Assertions: noAssertions{},
		Clients: []authserver.Client{{ID: "agent", Secret: "a-secret"}, {ID: "public", RedirectURIs: []string{callback}}}}
	base.ClientPolicy = authserver.ClientPolicy{EnterpriseClients: []string{"agent"},
		EnterpriseScopes: []string{"notes:read"}}
	if _, err := authserver.New(base); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*authserver.Config){
		"nothing verifies them": func(c *authserver.Config) { c.Assertions = nil },
		`client "unknown"`: func(c *authserver.Config) {
			c.ClientPolicy.EnterpriseClients = []string{"agent",
				"unknown"}
		},
		`client "public"`: func(c *authserver.Config) {
			c.ClientPolicy.EnterpriseClients = []string{"agent",
				"public"}
		},
		`client "https://app.example/c.json"`: func(c *authserver.Config) {
			c.ClientPolicy.EnterpriseClients = []string{"agent", "https://app.example/c.json"}
		},
		`scope "admin"`: func(c *authserver.Config) { c.ClientPolicy.EnterpriseScopes = []string{"admin"} },
	} {
		config := base
		change(&config)
		if _, err := authserver.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
