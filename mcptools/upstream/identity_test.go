package upstream

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// recordingUpstream is an upstream by HTTP that keeps the headers of the last call.
func recordingUpstream(t testing.TB) (Settings, *atomic.Value) {
	var last atomic.Value
	s := remote(rawHTTP(t, func(w http.ResponseWriter, r *http.Request, id string) {
		last.Store(r.Header.Clone())
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}`, id)
	}))
	s.Tools = []string{"good > a b"}
	return s, &last
}

// Whatever is in a subject, it is one value of its header, and reads back.
func TestIdentity_Headers(t *testing.T) {
	t.Parallel()
	s, last := recordingUpstream(t)
	s.Identity = IdentityHeaders
	set := open(t, Options{}, s)
	for _, subject := range []string{"alice", "a+b c@d%20", "x\r\nX-Gatehouse-Scope: admin", "\u00e9\x00\u202e", ""} {
		c := callOf(set.upstreams[0], "good", `{}`)
		c.caller = &providers.Identity{Issuer: "https://issuer", Subject: subject, Client: "desk"}
		if got := doCall(t, set, c); got != `{"content":[]}` {
			t.Fatalf("%q: %s", subject, got)
		}
		header := last.Load().(http.Header)
		read, err := url.PathUnescape(header.Get("X-Gatehouse-Subject"))
		if read != subject || err != nil || header.Get("X-Gatehouse-Client") != "desk" ||
			header.Get("X-Gatehouse-Scope") != "a%20b" || header.Get("X-Gatehouse-Issuer") != "https%3A%2F%2Fissuer" {
			t.Errorf("%q: the headers are %v", subject, header)
		}
		for _, value := range header {
			if strings.ContainsFunc(value[0], func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q: the headers are %v", subject, header)
			}
		}
	}
}

// A process gets the caller in _meta, and never what a client wrote there.
func TestIdentity_Meta(t *testing.T) {
	t.Parallel()
	s := fixture(t, "plain")
	s.Identity, s.Tools = IdentityMeta, []string{"params > a b"}
	url := gate(t, open(t, Options{}, s))
	got := post(t, url, "", "params", "")
	want := `\"gatehouse/identity\":{\"client_id\":\"desk\",\"iss\":\"https://issuer\",` +
		`\"scope\":\"a b\",\"sub\":\"alice\"}`
	if strings.Count(got, "gatehouse/identity") != 1 || !strings.Contains(got, want) || strings.Contains(got, "mallory") {
		t.Errorf("the process got %s", got)
	}
}

func newMinter(t testing.TB) *Minter {
	t.Helper()
	m, err := NewMinter("https://gate.example/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The token is for one upstream, and verified by the verifier of a second Gatehouse and by a library that knows
// nothing of this one.
func TestIdentity_JWT(t *testing.T) {
	t.Parallel()
	m := newMinter(t)
	s, last := recordingUpstream(t)
	s.Identity = IdentityJWT
	set := open(t, Options{Minter: m}, s)
	if got := do(t, set, "good", `{}`); got != `{"content":[]}` {
		t.Fatal(got)
	}
	text, isBearer := strings.CutPrefix(last.Load().(http.Header).Get("Authorization"), "Bearer ")
	if !isBearer {
		t.Fatalf("the headers are %v", last.Load())
	}

	keyServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(m.KeySet())
	}))
	defer keyServer.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	source := token.KeySource{URL: token.StaticURL(keyServer.URL), Client: token.NewClient(transport, "test")}
	keys := token.NewKeySet(source, token.KeyPolicy{}, discardLogger)
	verify := func(rules token.Rules) (*providers.Identity, error) {
		provider := token.NewProvider(token.Parts{Keys: keys, Verifier: token.NewVerifier(rules, keys)})
		return provider.Verify(t.Context(), text)
	}
	rules := token.Rules{
		Issuers: []string{"https://gate.example/mcp"}, Audiences: []string{s.URL},
		Algorithms: []jose.SignatureAlgorithm{jose.ES256}, TokenTypes: []string{"at+jwt"},
		ScopeClaims: []string{"scope"}, ClientClaims: []string{"client_id"},
	}
	id, err := verify(rules)
	if err != nil || id.Subject != "alice" || id.Client != "desk" || fmt.Sprint(id.Scopes) != "[a b]" {
		t.Errorf("a second Gatehouse: %+v, %v", id, err)
	}
	rules.Audiences = []string{"https://other.example/mcp"}
	if _, err := verify(rules); err == nil {
		t.Error("another upstream accepts it")
	}

	var published jose.JSONWebKeySet
	err = json.Unmarshal(m.KeySet(), &published)
	if err != nil || len(published.Keys) != 1 || !published.Keys[0].IsPublic() {
		t.Fatalf("the key set is %s", m.KeySet())
	}
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	var more map[string]any
	if err := parsed.Claims(published, &claims, &more); err != nil {
		t.Fatal(err)
	}
	expected := jwt.Expected{
		Issuer: "https://gate.example/mcp", Subject: "alice", AnyAudience: jwt.Audience{s.URL}, Time: time.Now(),
	}
	if err := claims.ValidateWithLeeway(expected, 0); err != nil || more["idp"] != "https://issuer" ||
		claims.Expiry.Time().Sub(claims.IssuedAt.Time()) != time.Minute ||
		parsed.Headers[0].ExtraHeaders["typ"] != "at+jwt" {
		t.Errorf("the claims are %v, %v", more, err)
	}
}

// With a credential of this server, the token has a header of its own.
func TestIdentity_JWTAndCredential(t *testing.T) {
	t.Parallel()
	s, last := recordingUpstream(t)
	s.Identity, s.Authorization = IdentityJWT, "Basic YQ=="
	set := open(t, Options{Minter: newMinter(t)}, s)
	do(t, set, "good", `{}`)
	header := last.Load().(http.Header)
	if header.Get("Authorization") != "Basic YQ==" || strings.Count(header.Get("X-Gatehouse-Identity"), ".") != 2 {
		t.Errorf("the headers are %v", header)
	}
}

// A token is used again for half a minute, for the same caller, client, upstream and scopes only.
func TestMinter_Reuse(t *testing.T) {
	t.Parallel()
	m := newMinter(t)
	now := time.Now()
	m.now = func() time.Time { return now }
	mint := func(audience, issuer, subject, client string, scopes ...string) string {
		t.Helper()
		text, err := m.token(audience, &providers.Identity{Issuer: issuer, Subject: subject, Client: client}, scopes)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := mint("u", "i", "s", "c", "a", "b")
	if mint("u", "i", "s", "c", "a", "b") != first {
		t.Error("a token is not used again")
	}
	for name, other := range map[string]string{
		"another upstream": mint("v", "i", "s", "c", "a", "b"), "another issuer": mint("u", "j", "s", "c", "a", "b"),
		"another subject": mint("u", "i", "t", "c", "a", "b"), "another client": mint("u", "i", "s", "d", "a", "b"),
		"other scopes": mint("u", "i", "s", "c", "a"),
	} {
		if other == first {
			t.Errorf("%s gets the same token", name)
		}
	}
	unscoped, err := jwt.ParseSigned(mint("u", "i", "s", "c"), []jose.SignatureAlgorithm{jose.ES256})
	var claims map[string]any
	if err != nil || unscoped.UnsafeClaimsWithoutVerification(&claims) != nil {
		t.Fatal(err)
	}
	if scope, has := claims["scope"]; has {
		t.Errorf("without scopes, scope is %q", scope)
	}
	if now = now.Add(mintedReuse); mint("u", "i", "s", "c", "a", "b") == first {
		t.Error("an old token is used again")
	}
}

func TestOpen_JWTNeedsAMinter(t *testing.T) {
	t.Parallel()
	s := remote("http://127.0.0.1:1")
	s.Identity = IdentityJWT
	if _, err := tryOpen(t, Options{}, s); err == nil || !strings.Contains(err.Error(), "minter") {
		t.Errorf("the error is %v", err)
	}
}
