package authserver_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/authserver"
)

const (
	callback = "http://127.0.0.1:7777/callback"
	verifier = "a-code-verifier-that-is-long-enough-for-rfc-7636-0123456789"
)

func challengeOf(verifier string) string {
	digest := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// testIssuer is an issuer on a real listener with a settable clock, and a browser with cookies that does not
// follow redirects.
type testIssuer struct {
	*authserver.Issuer
	t        *testing.T
	url      string
	resource string
	clock    *clock
	browser  *http.Client
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// open starts an issuer that approves automatically, with changes to its configuration.
func open(t *testing.T, change ...func(*authserver.Config)) *testIssuer {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = listener
	origin := "http://" + listener.Addr().String()
	issuer := &testIssuer{t: t, url: origin, resource: origin + "/mcp", clock: &clock{now: time.Now()}}
	config := authserver.Config{
		Issuer:           origin,
		Resources:        []string{issuer.resource, origin + "/other"},
		Scopes:           []string{"notes:read", "notes:write", "admin"},
		DefaultScopes:    []string{"notes:read"},
		SigningAlgorithm: "ES256",
		AutoApprove:      true,
		RefreshGrace:     time.Minute,
		ClientDocuments:  true,
		Clients: []authserver.Client{
			{ID: "public", Name: "Public <b>client</b>",
				RedirectURIs: []string{callback, "https://app.example/cb?keep=1", "com.example.app:/cb"}},
			{ID: "other", RedirectURIs: []string{callback}},
			{ID: "secretive", Secret: "s3cret+&=%", RedirectURIs: []string{callback}},
			{ID: "service", Secret: "service-secret", GrantTypes: []string{"client_credentials"}},
			{ID: "no-refresh", RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code"}},
		},
		Now: issuer.clock.Now,
	}
	for _, c := range change {
		c(&config)
	}
	issuer.Issuer, err = authserver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = issuer.Handler()
	server.Start()
	t.Cleanup(server.Close)
	issuer.newBrowser(t)
	return issuer
}

// serve serves handler on a listener of its own, like a proxy with another host name.
func serve(t *testing.T, handler http.Handler) *testIssuer {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	issuer := &testIssuer{t: t, url: server.URL}
	issuer.newBrowser(t)
	return issuer
}

func (issuer *testIssuer) newBrowser(t *testing.T) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	issuer.browser = newBrowser(jar)
	t.Cleanup(issuer.browser.CloseIdleConnections)
}

func newBrowser(jar http.CookieJar) *http.Client {
	return &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func withConsent(c *authserver.Config) { c.AutoApprove = false }

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%s: status %d, body is not JSON: %q", a.Request.URL, a.StatusCode, a.body)
	}
	return m
}

// location returns the target of a redirect without its query, and the query.
func (a answer) location(t *testing.T) (string, url.Values) {
	t.Helper()
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.Header.Get("Location") == "" {
		t.Fatalf("status %d without a location: %.300s", a.StatusCode, a.body)
	}
	q := u.Query()
	u.RawQuery = ""
	return u.String(), q
}

func (issuer *testIssuer) do(r *http.Request) answer {
	issuer.t.Helper()
	response, err := issuer.browser.Do(r)
	if err != nil {
		issuer.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		issuer.t.Fatal(err)
	}
	return answer{response, string(body)}
}

func (issuer *testIssuer) request(method, path string, body io.Reader) *http.Request {
	issuer.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = issuer.url + path
	}
	r, err := http.NewRequestWithContext(issuer.t.Context(), method, path, body)
	if err != nil {
		issuer.t.Fatal(err)
	}
	return r
}

func (issuer *testIssuer) get(path string) answer {
	issuer.t.Helper()
	return issuer.do(issuer.request(http.MethodGet, path, nil))
}

func (issuer *testIssuer) post(path string, form url.Values, change ...func(*http.Request)) answer {
	issuer.t.Helper()
	r := issuer.request(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(r)
	}
	return issuer.do(r)
}

func (issuer *testIssuer) postJSON(path string, body any) answer {
	issuer.t.Helper()
	raw, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			issuer.t.Fatal(err)
		}
		raw = string(b)
	}
	r := issuer.request(http.MethodPost, path, bytes.NewReader([]byte(raw)))
	r.Header.Set("Content-Type", "application/json")
	return issuer.do(r)
}

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// with returns base with changes: alternating names and values. An empty value removes the parameter.
func with(base url.Values, changes ...string) url.Values {
	changed := maps.Clone(base)
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			changed.Del(changes[i])
		} else {
			changed.Set(changes[i], changes[i+1])
		}
	}
	return changed
}

// authorization returns the parameters of a valid authorization request.
func (issuer *testIssuer) authorization(changes ...string) url.Values {
	return with(url.Values{
		"client_id": {"public"}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"st/ate&1"},
		"scope": {"notes:read offline_access"}, "code_challenge": {challengeOf(verifier)},
		"code_challenge_method": {"S256"},
		"resource":              {issuer.resource},
	}, changes...)
}

func (issuer *testIssuer) authorize(changes ...string) answer {
	issuer.t.Helper()
	return issuer.get("/authorize?" + issuer.authorization(changes...).Encode())
}

func (issuer *testIssuer) code(changes ...string) string {
	issuer.t.Helper()
	_, q := issuer.authorize(changes...).location(issuer.t)
	if q.Get("code") == "" {
		issuer.t.Fatalf("no code but %v", q)
	}
	return q.Get("code")
}

// exchange returns the parameters of a valid token request for code.
func (issuer *testIssuer) exchange(code string, changes ...string) url.Values {
	return with(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"public"}, "code": {code}, "redirect_uri": {callback},
		"code_verifier": {verifier}, "resource": {issuer.resource},
	}, changes...)
}

// tokens signs in and returns the token response.
func (issuer *testIssuer) tokens(changes ...string) map[string]any {
	issuer.t.Helper()
	a := issuer.post("/token", issuer.exchange(issuer.code(changes...)))
	if a.StatusCode != http.StatusOK {
		issuer.t.Fatalf("token: %d %s", a.StatusCode, a.body)
	}
	return a.json(issuer.t)
}

// verify verifies a JWT with the published keys and returns header and claims.
func (issuer *testIssuer) verify(token string) (jose.Header, map[string]any) {
	issuer.t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(issuer.get("/keys").body), &keys); err != nil {
		issuer.t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		issuer.t.Fatal(err)
	}
	header := signed.Signatures[0].Header
	found := keys.Key(header.KeyID)
	if len(found) != 1 {
		issuer.t.Fatalf("key %q is published %d times", header.KeyID, len(found))
	}
	payload, err := signed.Verify(found[0])
	if err != nil {
		issuer.t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		issuer.t.Fatal(err)
	}
	return header, claims
}

// wantError checks the status, code and Cache-Control of an OAuth error response.
func wantError(t *testing.T, a answer, status int, code string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	if got := a.json(t)["error"]; got != code {
		t.Errorf("error %q, want %q: %s", got, code, a.body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
}

// wantRedirectedError checks that an error is redirected to the client, with state and iss.
func wantRedirectedError(t *testing.T, issuer *testIssuer, a answer, code string) {
	t.Helper()
	if a.StatusCode != http.StatusFound {
		t.Fatalf("status %d, want 302: %s", a.StatusCode, a.body)
	}
	target, q := a.location(t)
	if target != callback {
		t.Errorf("the target is %q, want %q", target, callback)
	}
	if q.Get("error") != code {
		t.Errorf("error %q, want %q (%s)", q.Get("error"), code, q.Get("error_description"))
	}
	if q.Get("state") != "st/ate&1" || q.Get("iss") != issuer.url || q.Has("code") {
		t.Errorf("want state and iss and no code, got %v", q)
	}
}

// wantPage checks that the response is a page and not a redirect.
func wantPage(t *testing.T, a answer, status int) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != "" {
		t.Errorf("status %d, location %q; want %d and none", a.StatusCode, a.Header.Get("Location"), status)
	}
	if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("content type %q, want a page", got)
	}
}
