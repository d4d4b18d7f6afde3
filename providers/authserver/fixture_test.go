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

// house is an issuer on a real listener, a clock that can be moved, and a browser that keeps cookies and shows
// redirects instead of following them.
type house struct {
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

// open starts an issuer that approves everything by itself; change says what is different.
func open(t *testing.T, change ...func(*authserver.Config)) *house {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = listener
	origin := "http://" + listener.Addr().String()
	h := &house{t: t, url: origin, resource: origin + "/mcp", clock: &clock{now: time.Now()}}
	config := authserver.Config{
		Issuer:           origin,
		Resources:        []string{h.resource, origin + "/other"},
		Scopes:           []string{"notes:read", "notes:write", "admin"},
		DefaultScopes:    []string{"notes:read"},
		SigningAlgorithm: "ES256",
		AutoApprove:      true,
		RefreshGrace:     time.Minute,
		ClientDocuments:  true,
		Clients: []authserver.Client{
			{ID: "public", Name: "Public <b>client</b>", RedirectURIs: []string{callback, "https://app.example/cb?keep=1", "com.example.app:/cb"}},
			{ID: "other", RedirectURIs: []string{callback}},
			{ID: "secretive", Secret: "s3cret+&=%", RedirectURIs: []string{callback}},
			{ID: "service", Secret: "service-secret", GrantTypes: []string{"client_credentials"}},
			{ID: "no-refresh", RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code"}},
		},
		Now: h.clock.Now,
	}
	for _, c := range change {
		c(&config)
	}
	h.Issuer, err = authserver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = h.Handler()
	server.Start()
	t.Cleanup(server.Close)
	h.newBrowser(t)
	return h
}

// serve puts handler on a listener of its own, as a proxy in front of an issuer with another name would.
func serve(t *testing.T, handler http.Handler) *house {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	h := &house{t: t, url: server.URL}
	h.newBrowser(t)
	return h
}

func (h *house) newBrowser(t *testing.T) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.browser = newBrowser(jar)
	t.Cleanup(h.browser.CloseIdleConnections)
}

func newBrowser(jar http.CookieJar) *http.Client {
	return &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func withConsent(c *authserver.Config) { c.AutoApprove = false }

// answer is a response that has been read.
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

// location returns where a redirect goes, with the query apart.
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

func (h *house) do(r *http.Request) answer {
	h.t.Helper()
	response, err := h.browser.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{response, string(body)}
}

func (h *house) request(method, path string, body io.Reader) *http.Request {
	h.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = h.url + path
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) get(path string) answer {
	h.t.Helper()
	return h.do(h.request(http.MethodGet, path, nil))
}

func (h *house) post(path string, form url.Values, change ...func(*http.Request)) answer {
	h.t.Helper()
	r := h.request(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(r)
	}
	return h.do(r)
}

func (h *house) postJSON(path string, body any) answer {
	h.t.Helper()
	raw, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		raw = string(b)
	}
	r := h.request(http.MethodPost, path, bytes.NewReader([]byte(raw)))
	r.Header.Set("Content-Type", "application/json")
	return h.do(r)
}

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// with returns base with changes: name and value in turn. An empty value removes the parameter.
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

// authorization returns the parameters of an authorization request that is in order.
func (h *house) authorization(changes ...string) url.Values {
	return with(url.Values{
		"client_id": {"public"}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"st/ate&1"},
		"scope": {"notes:read offline_access"}, "code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"},
		"resource": {h.resource},
	}, changes...)
}

func (h *house) authorize(changes ...string) answer {
	h.t.Helper()
	return h.get("/authorize?" + h.authorization(changes...).Encode())
}

func (h *house) code(changes ...string) string {
	h.t.Helper()
	_, q := h.authorize(changes...).location(h.t)
	if q.Get("code") == "" {
		h.t.Fatalf("no code but %v", q)
	}
	return q.Get("code")
}

// exchange returns the parameters of a token request for code that is in order.
func (h *house) exchange(code string, changes ...string) url.Values {
	return with(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"public"}, "code": {code}, "redirect_uri": {callback},
		"code_verifier": {verifier}, "resource": {h.resource},
	}, changes...)
}

// tokens signs in and returns the token answer.
func (h *house) tokens(changes ...string) map[string]any {
	h.t.Helper()
	a := h.post("/token", h.exchange(h.code(changes...)))
	if a.StatusCode != http.StatusOK {
		h.t.Fatalf("token: %d %s", a.StatusCode, a.body)
	}
	return a.json(h.t)
}

// verify checks the signature of a JWT with the published keys and returns header and claims.
func (h *house) verify(token string) (jose.Header, map[string]any) {
	h.t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(h.get("/keys").body), &keys); err != nil {
		h.t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		h.t.Fatal(err)
	}
	header := signed.Signatures[0].Header
	found := keys.Key(header.KeyID)
	if len(found) != 1 {
		h.t.Fatalf("key %q is published %d times", header.KeyID, len(found))
	}
	payload, err := signed.Verify(found[0])
	if err != nil {
		h.t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		h.t.Fatal(err)
	}
	return header, claims
}

// wantError checks an OAuth error answer: status, code, JSON, no-store and a description that can go into a log.
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

// wantRedirectedError checks that an error goes to the client, with state and iss.
func wantRedirectedError(t *testing.T, h *house, a answer, code string) {
	t.Helper()
	if a.StatusCode != http.StatusFound {
		t.Fatalf("status %d, want 302: %s", a.StatusCode, a.body)
	}
	target, q := a.location(t)
	if target != callback {
		t.Errorf("it goes to %q, want %q", target, callback)
	}
	if q.Get("error") != code {
		t.Errorf("error %q, want %q (%s)", q.Get("error"), code, q.Get("error_description"))
	}
	if q.Get("state") != "st/ate&1" || q.Get("iss") != h.url || q.Has("code") {
		t.Errorf("want state and iss and no code, got %v", q)
	}
}

// wantPage checks that a person sees a page and the browser stays.
func wantPage(t *testing.T, a answer, status int) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != "" {
		t.Errorf("status %d, location %q; want %d and none", a.StatusCode, a.Header.Get("Location"), status)
	}
	if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("content type %q, want a page", got)
	}
}
