package authserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"html"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

// company is the sign-in of a company, as [authserver.Authenticator]. It issues codes that fit the attempt they were
// issued for, like a provider that checks PKCE and the nonce.
type company struct {
	mu        sync.Mutex
	attempts  map[string]authserver.Attempt // by code
	finished  int
	dismissed []string
	person    authserver.Person
	down      error // of Begin
	refuses   error // of Finish
}

const companyLogin = "https://login.example.com/authorize"

func newCompany() *company {
	return &company{attempts: make(map[string]authserver.Attempt),
		person: authserver.Person{Subject: "00u1", Scopes: []string{"notes:read", "notes:write"}, Credential: "upstream-rt"}}
}

func (c *company) Choices() []authserver.Person { return nil }

func (c *company) Host() string { return "login.example.com" }

func (c *company) Begin(_ context.Context, a authserver.Attempt) (*authserver.Person, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		return nil, "", c.down
	}
	c.attempts["code-"+a.State] = a
	query := url.Values{"state": {a.State}, "nonce": {a.Nonce}, "code_challenge": {challengeOf(a.Verifier)}}
	return nil, companyLogin + "?" + query.Encode(), nil
}

func (c *company) Finish(_ context.Context, a authserver.Attempt, response url.Values) (authserver.Person, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished++
	issued, ok := c.attempts[response.Get("code")]
	switch {
	case c.refuses != nil:
		return authserver.Person{}, c.refuses
	case !ok || issued.Verifier != a.Verifier || issued.Nonce != a.Nonce:
		return authserver.Person{}, &authserver.SignInError{Reason: "code_refused", Code: "server_error",
			Text: "The sign-in failed.", Err: errors.New("the code is not for this attempt")}
	}
	return c.person, nil
}

func (c *company) Renew(context.Context, authserver.Person) (authserver.Renewal, error) {
	return authserver.Renewal{}, errors.New("not part of these tests")
}

func (c *company) Dismiss(_ context.Context, p authserver.Person) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dismissed = append(c.dismissed, p.Credential)
}

func (c *company) begun() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.attempts)
}

func (c *company) finishes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finished
}

// set changes what the company does.
func (c *company) set(change func(*company)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// refusal is an error of the company.
func refusal(code string) error {
	return &authserver.SignInError{Reason: "refused", Code: code, Text: "A sentence for the person.",
		Err: errors.New("details for the log")}
}

// records is a store that can fail.
type records struct {
	store.Store
	mu   sync.Mutex
	down error
}

func (r *records) Create(ctx context.Context, record store.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return r.down
	}
	return r.Store.Create(ctx, record)
}

func (r *records) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

func (r *records) count(t *testing.T) int {
	t.Helper()
	all, err := r.All(t.Context(), "", 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// broker is an issuer whose people sign in at a company. Its replicas share issuer, keys, store and company.
type broker struct {
	*testIssuer
	company *company
	records *records
	config  authserver.Config
	log     *bytes.Buffer
	events  *events
	roots   *x509.CertPool
}

// events collects what happens.
type events struct {
	mu  sync.Mutex
	all []providers.SignInEvent
}

func (e *events) record(_ context.Context, event providers.SignInEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// last returns the last event of a kind.
func (e *events) last(kind string) providers.SignInEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range slices.Backward(e.all) {
		if event.Kind == kind {
			return event
		}
	}
	return providers.SignInEvent{}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu     *sync.Mutex
	buffer *bytes.Buffer
}

func (b lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// openBroker starts a broker on https, with changes to its configuration.
func openBroker(t *testing.T, change ...func(*authserver.Config)) *broker {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = discardLogger()
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return newBroker(t, server, roots, change...)
}

// openPlainBroker is openBroker on http.
func openPlainBroker(t *testing.T, change ...func(*authserver.Config)) *broker {
	t.Helper()
	server := httptest.NewServer(nil)
	t.Cleanup(server.Close)
	return newBroker(t, server, nil, change...)
}

func newBroker(
	t *testing.T, server *httptest.Server, roots *x509.CertPool, change ...func(*authserver.Config),
) *broker {
	t.Helper()
	clock := &clock{now: time.Now()}
	b := &broker{
		company: newCompany(), records: &records{Store: store.NewMemory(1000, clock.Now)}, log: new(bytes.Buffer),
		events: new(events), roots: roots,
	}
	b.config = authserver.Config{
		Issuer:            server.URL,
		Resources:         []string{"https://mcp.example.com/mcp"},
		Scopes:            []string{"notes:read", "notes:write", "admin"},
		ScopeDescriptions: map[string]string{"notes:read": "Read your notes"},
		DefaultScopes:     []string{"notes:read"},
		SigningAlgorithm:  "ES256",
		SignIn:            b.company,
		Store:             b.records,
		Keys:              seal.Random(),
		Clients: []authserver.Client{
			{ID: "web", Name: "Web client", RedirectURIs: []string{webCallback}},
			{ID: "local", Name: "Local client", RedirectURIs: []string{callback}},
			{ID: "app", Name: "App", RedirectURIs: []string{"com.example.app:/cb"}},
		},
		Record: b.events.record,
		Logger: slog.New(slog.NewTextHandler(lockedBuffer{new(sync.Mutex), b.log}, nil)),
		Now:    clock.Now,
	}
	for _, c := range change {
		c(&b.config)
	}
	b.testIssuer = b.serve(t, server)
	b.clock = clock
	return b
}

const webCallback = "https://app.example/cb?keep=1"

// serve starts an issuer of the configuration on a server, with a browser.
func (b *broker) serve(t *testing.T, server *httptest.Server) *testIssuer {
	t.Helper()
	issuer, err := authserver.New(b.config)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = issuer.Handler()
	served := &testIssuer{Issuer: issuer, t: t, url: server.URL, resource: b.config.Resources[0]}
	served.browser = b.newBrowser(t)
	return served
}

// newBrowser returns a browser without cookies.
func (b *broker) newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := newBrowser(jar)
	if b.roots != nil {
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots}}
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// replica starts another process with the same configuration. Its browser is that of b: all are at one host.
func (b *broker) replica(t *testing.T) *broker {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = discardLogger()
	server.StartTLS() // with the certificate of every httptest server
	t.Cleanup(server.Close)
	other := *b
	other.testIssuer = other.serve(t, server)
	other.browser, other.clock = b.browser, b.clock
	return &other
}

// other returns the same broker as another browser sees it.
func (b *broker) other(t *testing.T) *broker {
	t.Helper()
	seen, issuer := *b, *b.testIssuer
	issuer.browser = b.newBrowser(t)
	seen.testIssuer = &issuer
	return &seen
}

// navigating sets the headers that browsers send when they open a page.
func navigating(r *http.Request) {
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
}

// ask sends an authorization request of the web client.
func (b *broker) ask(changes ...string) answer {
	b.t.Helper()
	return b.authorize(append([]string{"client_id", "web", "redirect_uri", webCallback}, changes...)...)
}

// page sends an authorization request and returns the consent page and the fields of its form. The Location is
// absolute, as of the issuer; the request goes to this replica.
func (b *broker) page(changes ...string) (answer, url.Values) {
	b.t.Helper()
	a := b.ask(changes...)
	path, ok := strings.CutPrefix(a.Header.Get("Location"), b.config.Issuer)
	if a.StatusCode != http.StatusFound || !ok {
		b.t.Fatalf("status %d to %q: %s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
	page := b.get(path)
	fields := fieldsOf(page)
	if fields.Get("request") == "" || fields.Get("token") == "" {
		b.t.Fatalf("the page has no form: %d %s", page.StatusCode, page.body)
	}
	return page, fields
}

func fieldsOf(page answer) url.Values {
	fields := url.Values{}
	for _, field := range regexp.MustCompile(
		`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(page.body, -1) {
		fields.Set(field[1], html.UnescapeString(field[2]))
	}
	return fields
}

// answer sends the form, like a browser.
func (b *broker) answer(fields url.Values, decision string, change ...func(*http.Request)) answer {
	b.t.Helper()
	return b.decide(fields, decision, append([]func(*http.Request){navigating}, change...)...)
}

// approved approves a request and returns the URL at the company where the browser continues.
func (b *broker) approved(changes ...string) *url.URL {
	b.t.Helper()
	_, fields := b.page(changes...)
	return continues(b.t, b.answer(fields, "approve"), http.StatusOK)
}

var (
	refresh = regexp.MustCompile(`<meta http-equiv="refresh" content="(\d+); url=([^"]+)">`)
	link    = regexp.MustCompile(`<a class="button" href="([^"]+)">`)
)

// continues returns where a page leads to by itself. Its link leads there as well.
func continues(t *testing.T, a answer, status int) *url.URL {
	t.Helper()
	wantPage(t, a, status)
	meta, linked := refresh.FindStringSubmatch(a.body), link.FindStringSubmatch(a.body)
	if meta == nil || linked == nil || html.UnescapeString(meta[2]) != html.UnescapeString(linked[1]) {
		t.Fatalf("the page does not continue: %d %s", a.StatusCode, a.body)
	}
	target, err := url.Parse(html.UnescapeString(meta[2]))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// response is the path to which the company sends the browser back.
func response(login *url.URL) string {
	state := login.Query().Get("state")
	return "/callback?" + url.Values{"state": {state}, "code": {"code-" + state}}.Encode()
}

// navigate opens a path, like a browser.
func (b *broker) navigate(path string, change ...func(*http.Request)) answer {
	b.t.Helper()
	r := b.request(http.MethodGet, path, nil)
	navigating(r)
	for _, c := range change {
		c(r)
	}
	return b.do(r)
}

// leadsToWeb reports whether a URL is the redirect URI of the web client, with its own query.
func leadsToWeb(target *url.URL) bool {
	return target.Scheme+"://"+target.Host+target.Path == "https://app.example/cb" && target.Query().Get("keep") == "1"
}

// wantCode checks that a page leads to the client with a code, state and iss, and returns the code.
func wantCode(t *testing.T, b *broker, a answer) string {
	t.Helper()
	target := continues(t, a, http.StatusOK)
	q := target.Query()
	if !leadsToWeb(target) || q.Get("code") == "" || q.Get("state") != "st/ate&1" ||
		q.Get("iss") != b.config.Issuer || q.Has("error") {
		t.Fatalf("the page leads to %s", target)
	}
	return q.Get("code")
}

// wantClientError checks that a page shows the text and leads to the client with the error, state and iss.
func wantClientError(t *testing.T, b *broker, a answer, status int, code, text string) {
	t.Helper()
	target := continues(t, a, status)
	q := target.Query()
	if !leadsToWeb(target) || q.Get("error") != code || q.Get("state") != "st/ate&1" ||
		q.Get("iss") != b.config.Issuer || q.Has("code") {
		t.Errorf("the page leads to %s, want %s", target, code)
	}
	if !strings.Contains(a.body, text) {
		t.Errorf("the page does not say %q: %s", text, a.body)
	}
	if delay := refresh.FindStringSubmatch(a.body)[1]; delay == "0" {
		t.Error("the page of an error does not stay")
	}
}

// keysOf returns the keys of secrets that each repeat one byte.
func keysOf(secrets ...byte) *seal.Keys {
	var all [][]byte
	for _, b := range secrets {
		all = append(all, bytes.Repeat([]byte{b}, 32))
	}
	return seal.FromSecrets(all)
}
