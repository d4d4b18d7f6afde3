package providertest_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const resource = "http://localhost:3002/mcp"

func TestIssuerSignsWithEveryAlgorithm(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			issuer := providertest.NewIssuer(t)
			first := issuer.AddKey(alg)
			p := issuer.Provider(t, mustResource(t), "mcp:use")
			id, err := p.Verify(t.Context(), issuer.Token(resource, nil))
			if err != nil || id.Subject != "alice" || id.Client != "test-client" ||
				len(id.Missing([]string{"mcp:use"})) > 0 {
				t.Fatalf("Verify = %+v, %v", id, err)
			}
			issuer.AddKey(alg)
			if _, err := p.Verify(t.Context(), issuer.Sign(map[string]any{"kid": first},
				issuer.Claims(resource))); err != nil {
				t.Errorf("a token by the older key: %v", err)
			}
		})
	}
}

func TestIssuerChangesHeaderAndClaims(t *testing.T) {
	issuer := providertest.NewIssuer(t)
	issuer.KeyPolicy.RefetchInterval = time.Nanosecond // so that every unknown key is looked up
	p := issuer.Provider(t, mustResource(t))
	for name, c := range map[string]struct {
		token string
		want  providers.Reason
	}{
		"another audience": {issuer.Token("https://elsewhere.example/", nil),
			token.ReasonAudienceMismatch},
		"a claim removed": {issuer.Token(resource, map[string]any{"sub": nil}),
			token.ReasonSubjectMissing},
		"a claim replaced": {issuer.Token(resource, map[string]any{"exp": 1}), token.ReasonExpired},
		"a header replaced": {issuer.Sign(map[string]any{"typ": "JWT"}, issuer.Claims(resource)),
			token.ReasonTypeRefused},
		"a header removed": {issuer.Sign(map[string]any{"alg": nil}, issuer.Claims(resource)),
			token.ReasonAlgorithmRefused},
		"an alg that the key cannot do": {issuer.Sign(map[string]any{"alg": "ES256"}, issuer.Claims(resource)),
			token.ReasonKeyUnknown},
		"an unpublished kid": {issuer.Sign(map[string]any{"kid": "unpublished"},
			issuer.Claims(resource)), token.ReasonKeyUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.Verify(t.Context(), c.token); providers.ReasonOf(err) != c.want {
				t.Errorf("Verify = %v, want %s", err, c.want)
			}
		})
	}
}

func TestIssuerAnswerKeys(t *testing.T) {
	issuer := providertest.NewIssuer(t)
	issuer.AnswerKeys(func(w http.ResponseWriter,
		_ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	})
	p := issuer.Provider(t, mustResource(t))
	if _, err := p.Verify(t.Context(), issuer.Token(resource, nil)); !errors.Is(err, providers.ErrUnavailable) {
		t.Fatalf("during the outage: %v", err)
	}
	if issuer.Fetches() == 0 || p.(providers.KeyReporter).Keys().Usable {
		t.Error("the outage was not noticed")
	}
	issuer.AnswerKeys(nil)
	for start := time.Now(); !p.(providers.KeyReporter).Keys().Usable; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("the keys did not come back")
		}
	}
	if _, err := p.Verify(t.Context(), issuer.Token(resource, nil)); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

func TestIssuerWithdraw(t *testing.T) {
	issuer := providertest.NewIssuer(t)
	kid := issuer.AddKey(jose.ES256)
	issuer.Withdraw(kid)
	p := issuer.Provider(t, mustResource(t))
	_, err := p.Verify(t.Context(), issuer.Token(resource, nil))
	if providers.ReasonOf(err) != token.ReasonKeyUnknown {
		t.Errorf("Verify = %v", err)
	}
}

func TestIssuerWithKeyIDs(t *testing.T) {
	issuer := providertest.NewIssuer(t, providertest.WithKeyIDs("first", "second"))
	issuer.AddKeyWithID("third", jose.ES256)
	var published jose.JSONWebKeySet
	if err := json.Unmarshal(issuer.KeySet(), &published); err != nil || len(published.Keys) != 3 {
		t.Fatalf("published: %d keys, %v", len(published.Keys), err)
	}
	p := issuer.Provider(t, mustResource(t))
	for _, kid := range []string{"first", "second", "third"} {
		if len(published.Key(kid)) != 1 {
			t.Errorf("%s is not published once", kid)
		}
		if _, err := p.Verify(t.Context(), issuer.Sign(map[string]any{"kid": kid},
			issuer.Claims(resource))); err != nil {
			t.Errorf("a token by %s: %v", kid, err)
		}
	}
}

func TestIssuerSignWith(t *testing.T) {
	issuer := providertest.NewIssuer(t, providertest.WithKeyIDs("first", "second"))
	issuer.AddKeyWithID("third", jose.ES256)
	p := issuer.Provider(t, mustResource(t))
	for _, kid := range []string{"third", "first", "second", "first"} {
		issuer.SignWith(kid)
		if issuer.SigningKeyID() != kid {
			t.Errorf("%s signs, not %s", issuer.SigningKeyID(), kid)
		}
		for name, token := range map[string]string{
			"a token":              issuer.Token(resource, nil),
			"a token with its kid": issuer.Sign(map[string]any{"kid": kid}, issuer.Claims(resource)),
		} {
			if _, err := p.Verify(t.Context(), token); err != nil {
				t.Errorf("%s by %s: %v", name, kid, err)
			}
		}
	}
	issuer.SignWith("first")
	// A kid in the header selects the key.
	if _, err := p.Verify(t.Context(), issuer.Sign(map[string]any{"kid": "second"},
		issuer.Claims(resource))); err != nil {
		t.Errorf("a token by a key that the header names: %v", err)
	}
	jws, err := jose.ParseSignedCompact(issuer.Sign(map[string]any{"kid": "unpublished"},
		issuer.Claims(resource)), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(issuer.PublicKey("first")); err != nil {
		t.Errorf("a token by an unknown kid is not signed by the key that signs: %v", err)
	}
}

func TestIssuerImportKeyWithTakenID(t *testing.T) {
	issuer, other := providertest.NewIssuer(t), providertest.NewIssuer(t)
	kid := other.AddKey(jose.ES256)
	if got := issuer.ImportKey(other.PrivateKey(kid).(crypto.Signer), jose.ES256,
		map[string]any{"kid": kid}); got != kid {
		t.Fatalf("the key is called %s, want %s", got, kid)
	}
	_, err := issuer.Provider(t, mustResource(t)).Verify(t.Context(), issuer.Token(resource, nil))
	if err != nil {
		t.Error(err)
	}
}

func TestIssuerServe(t *testing.T) {
	issuer := providertest.NewIssuer(t)
	const path = "/.well-known/openid-configuration"
	get := func() (status int, keys string) {
		resp, err := issuer.Client().Get(issuer.URL() + path)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		var document struct {
			Keys string `json:"jwks_uri"`
		}
		_ = json.NewDecoder(resp.Body).Decode(&document)
		return resp.StatusCode, document.Keys
	}
	changed := issuer.Metadata()
	changed["jwks_uri"] = "https://elsewhere.example/keys"
	for _, c := range []struct {
		name   string
		change func()
		status int
		keys   string
	}{
		{"at first", func() {}, http.StatusOK, issuer.KeysURL()},
		{"changed", func() { issuer.Serve(path, changed) }, http.StatusOK, "https://elsewhere.example/keys"},
		{"while only the keys fail", func() { issuer.AnswerKeys(http.NotFound) }, http.StatusOK,
			"https://elsewhere.example/keys"},
		{"while everything fails", func() { issuer.AnswerAll(http.NotFound) }, http.StatusNotFound, ""},
		{"afterwards", func() { issuer.AnswerAll(nil) }, http.StatusOK, "https://elsewhere.example/keys"},
		{"withheld", func() { issuer.Serve(path, nil) }, http.StatusNotFound, ""},
	} {
		c.change()
		if status, keys := get(); status != c.status || keys != c.keys {
			t.Errorf("%s: %d, keys at %q; want %d, %q", c.name, status, keys, c.status, c.keys)
		}
	}
	if got := issuer.Requests(path); got != 6 {
		t.Errorf("%d requests, want 6", got)
	}
}

func mustResource(t testing.TB) providers.Resource {
	t.Helper()
	r, err := providers.ParseResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
