package providertest

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/token"
)

// Issuer is a token issuer under the test's control: keys, a key set endpoint that can fail, and tokens of
// any form. Its methods may be called from several goroutines.
type Issuer struct {
	// KeyPolicy is the policy of Keys and Provider, and the one that the adapter of a [Harness] must use.
	// NewIssuer sets a refetch interval of 50 ms (for that long after a fetch, a token with a new key is
	// reported as an outage) and a maximum age of 500 ms, so that tests can wait until a withdrawn key is
	// refused.
	KeyPolicy token.KeyPolicy
	// Logger receives the log of Keys and Provider. NewIssuer sets one that discards everything.
	Logger *slog.Logger

	t        testing.TB
	server   *httptest.Server
	keysPath string

	mu        sync.Mutex
	requests  map[string]int    // by path
	keys      []key             // including the withdrawn; the last one signs
	published []json.RawMessage // the JWKS
	documents map[string][]byte // by path
	answer    http.HandlerFunc  // replaces the key set response
	outage    http.HandlerFunc  // replaces every response
}

const (
	defaultKeysPath = "/keys"

	oauthPath  = "/.well-known/oauth-authorization-server"
	openIDPath = "/.well-known/openid-configuration"
)

// IssuerOption changes what [NewIssuer] makes.
type IssuerOption func(*issuerOptions)

type issuerOptions struct {
	keysPath   string
	kids       []string
	algorithms []jose.SignatureAlgorithm
}

// WithKeysPath publishes the keys at path, which starts with a slash, instead of /keys. It is for adapters
// that derive the address of the keys from the issuer instead of reading jwks_uri from its metadata.
func WithKeysPath(path string) IssuerOption { return func(o *issuerOptions) { o.keysPath = path } }

// WithKeyIDs publishes one RS256 key for each of kids, for providers whose key ids have a documented form.
func WithKeyIDs(kids ...string) IssuerOption { return func(o *issuerOptions) { o.kids = kids } }

// WithKeys publishes one key for each of algorithms, and none without algorithms; see [Issuer.AddKey].
// Generating an RSA key takes a noticeable time.
func WithKeys(algorithms ...jose.SignatureAlgorithm) IssuerOption {
	return func(o *issuerOptions) { o.algorithms = algorithms }
}

// NewIssuer starts an issuer on loopback that is closed when t ends. By default it publishes one RS256 key at
// /keys. Its metadata is at both well-known paths (see [Issuer.Metadata]).
func NewIssuer(t testing.TB, options ...IssuerOption) *Issuer {
	t.Helper()
	o := issuerOptions{keysPath: defaultKeysPath, algorithms: []jose.SignatureAlgorithm{jose.RS256}}
	for _, option := range options {
		option(&o)
	}
	if !strings.HasPrefix(o.keysPath, "/") {
		t.Fatalf("providertest: keys path %q does not start with a slash", o.keysPath)
	}
	i := &Issuer{
		keysPath:  o.keysPath,
		KeyPolicy: token.KeyPolicy{RefetchInterval: 50 * time.Millisecond, MaxAge: 500 * time.Millisecond},
		Logger:    slog.New(slog.DiscardHandler),
		t:         t,
		requests:  map[string]int{},
		documents: map[string][]byte{},
	}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	i.Serve(oauthPath, i.Metadata())
	i.Serve(openIDPath, i.Metadata())
	t.Cleanup(func() {
		i.server.CloseClientConnections() // a handler may still be waiting
		i.server.Close()
	})
	if len(o.kids) > 0 {
		for _, kid := range o.kids {
			i.AddKeyWithID(kid, jose.RS256)
		}
		return i
	}
	for _, alg := range o.algorithms {
		i.AddKey(alg)
	}
	return i
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.requests[r.URL.Path]++
	answer, document := i.outage, i.documents[r.URL.Path]
	if r.URL.Path == i.keysPath && answer == nil {
		answer = i.answer
	}
	i.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
		return
	case r.URL.Path == i.keysPath:
		document = i.KeySet()
	case document == nil:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document)
}

// URL returns the issuer identifier.
func (i *Issuer) URL() string { return i.server.URL }

// KeysURL returns the URL of the key set.
func (i *Issuer) KeysURL() string { return i.server.URL + i.keysPath }

// Metadata returns the metadata that NewIssuer serves at the two well-known paths (RFC 8414, section 3;
// OpenID Connect Discovery 1.0, section 4). Of the endpoints in it only jwks_uri exists.
func (i *Issuer) Metadata() map[string]any {
	return map[string]any{
		"issuer": i.URL(), "jwks_uri": i.KeysURL(),
		"authorization_endpoint": i.URL() + "/authorize", "token_endpoint": i.URL() + "/token",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
	}
}

// Serve serves a JSON document at path, such as a changed [Issuer.Metadata]. Nil removes what is served
// there.
func (i *Issuer) Serve(path string, document any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if document == nil {
		delete(i.documents, path)
		return
	}
	i.documents[path] = mustJSON(document)
}

// Client returns an HTTP client like that of an adapter: it follows no redirects, has a timeout of five
// seconds and keeps no connections.
func (i *Issuer) Client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Fetches returns the number of requests for the keys so far.
func (i *Issuer) Fetches() int { return i.Requests(i.keysPath) }

// Requests returns the number of requests for path so far, whatever the response.
func (i *Issuer) Requests(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests[path]
}

// traffic describes which paths were requested and which are served, for a test whose adapter uses a wrong
// address.
func (i *Issuer) traffic() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "requests to the issuer %s:", i.server.URL)
	if len(i.requests) == 0 {
		b.WriteString(" none")
	}
	for _, path := range slices.Sorted(maps.Keys(i.requests)) {
		served := ""
		if path != i.keysPath && i.documents[path] == nil {
			served = ", 404 Not Found"
		}
		fmt.Fprintf(&b, "\n\t%s: %d%s", path, i.requests[path], served)
	}
	fmt.Fprintf(&b, "\nthe issuer serves:\n\t%s: the keys (Issuer.KeysURL; WithKeysPath changes the path)",
		i.keysPath)
	for _, path := range slices.Sorted(maps.Keys(i.documents)) {
		fmt.Fprintf(&b, "\n\t%s: JSON", path)
	}
	return b.String()
}

// AnswerKeys replaces the response to requests for the keys, such as by an outage, a slow response or HTML.
// Nil restores it. A handler that waits must return when the context of the request ends.
func (i *Issuer) AnswerKeys(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

// AnswerAll is like [Issuer.AnswerKeys] for all responses, including metadata. Nil restores them.
func (i *Issuer) AnswerAll(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outage = h
}
