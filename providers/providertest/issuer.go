package providertest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
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

type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
	public    json.RawMessage
}

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

// AnswerAll replaces every response, including metadata, like [Issuer.AnswerKeys] those with the keys. Nil
// restores them.
func (i *Issuer) AnswerAll(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outage = h
}

// KeySet returns the key set as it is published now.
func (i *Issuer) KeySet() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return mustJSON(map[string]any{"keys": i.published})
}

// AddKey generates and publishes a key for alg. It signs all tokens from now on.
func (i *Issuer) AddKey(alg jose.SignatureAlgorithm) (kid string) {
	i.t.Helper()
	return i.ImportKey(newKey(i.t, alg), alg, nil)
}

// AddKeyWithID is [Issuer.AddKey] with a given key id, which must be new to this issuer.
func (i *Issuer) AddKeyWithID(kid string, alg jose.SignatureAlgorithm) {
	i.t.Helper()
	if i.knows(kid) {
		i.t.Fatalf("providertest: there is a key %q already", kid)
	}
	i.publishKey(kid, newKey(i.t, alg), alg, nil)
}

// ImportKey publishes the public half of private for alg, and signs with it from now on. Changes replace
// members of the published JWK; a nil value removes one. Tokens carry the returned kid in any case; it is
// unique unless changes contain one.
func (i *Issuer) ImportKey(private crypto.Signer, alg jose.SignatureAlgorithm,
	changes map[string]any) (kid string) {
	i.t.Helper()
	kid, chosen := changes["kid"].(string)
	if !chosen {
		kid = "key-" + strconv.FormatInt(lastKey.Add(1), 10)
	}
	i.publishKey(kid, private, alg, changes)
	return kid
}

func (i *Issuer) publishKey(kid string, private crypto.Signer, alg jose.SignatureAlgorithm,
	changes map[string]any) {
	i.t.Helper()
	var members map[string]any
	jwk := jose.JSONWebKey{Key: private.Public(), KeyID: kid, Algorithm: string(alg), Use: "sig"}
	if err := json.Unmarshal(mustJSON(jwk), &members); err != nil {
		i.t.Fatal(err)
	}
	public := mustJSON(merged(members, changes))
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, key{kid, alg, private, public})
	i.published = append(i.published, public)
}

// Publish inserts any JSON value into the key set, before the present keys.
func (i *Issuer) Publish(jwk string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = append([]json.RawMessage{json.RawMessage(jwk)}, i.published...)
}

// Withdraw removes a key from the key set. Sign can still use it.
func (i *Issuer) Withdraw(kid string) {
	k := i.key(kid)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = slices.DeleteFunc(i.published,
		func(jwk json.RawMessage) bool { return string(jwk) == string(k.public) })
}

// SignWith signs with an existing key from now on.
func (i *Issuer) SignWith(kid string) {
	i.t.Helper()
	k := i.key(kid)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(slices.DeleteFunc(i.keys, func(other key) bool { return other.id == k.id }), k)
}

// SigningKeyID returns the id of the key that signs.
func (i *Issuer) SigningKeyID() string { return i.key("").id }

// PublicKey returns the public half of a key.
func (i *Issuer) PublicKey(kid string) any { return i.key(kid).private.Public() }

// PrivateKey returns the private half of a key, for tokens that Sign cannot make.
func (i *Issuer) PrivateKey(kid string) any { return i.key(kid).private }

// key returns the key with that id, or the signing key if kid is empty.
func (i *Issuer) key(kid string) key {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range slices.Backward(i.keys) {
		if kid == "" || k.id == kid {
			return k
		}
	}
	i.t.Fatalf("providertest: there is no key %q", kid)
	panic("unreachable")
}

func (i *Issuer) knows(kid string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.keys, func(k key) bool { return k.id == kid })
}

// Sign returns a compact JWS over claims by the newest key, or by that of [Issuer.SignWith]. Entries of
// header replace or extend the default header (alg and kid of the key, typ at+jwt); a nil value removes a
// member. The kid of a known key selects that key. An alg that fits the key determines the signature; any
// other alg is written to the header only.
func (i *Issuer) Sign(header, claims map[string]any) string {
	i.t.Helper()
	private, full := i.headerFor(header)
	return signAs(private, full, claims)
}

// headerFor returns the key that Sign uses for header, and the complete header.
func (i *Issuer) headerFor(header map[string]any) (key, map[string]any) {
	var k key
	if kid, _ := header["kid"].(string); kid != "" && i.knows(kid) {
		k = i.key(kid)
	} else {
		k = i.key("")
	}
	return k, merged(map[string]any{"alg": string(k.algorithm), "kid": k.id, "typ": "at+jwt"}, header)
}

// signAs signs with the alg in header if k can, and otherwise with the algorithm of k.
func signAs(k key, header, claims map[string]any) string {
	alg := k.algorithm
	if name, ok := header["alg"].(string); ok && canSign(k.private, jose.SignatureAlgorithm(name)) {
		alg = jose.SignatureAlgorithm(name)
	}
	return SignBytes(alg, k.private, mustJSON(header), mustJSON(claims))
}

// Claims returns the claims of a valid access token of the user alice for resource.
func (i *Issuer) Claims(resource string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": i.URL(), "sub": "alice", "aud": resource,
		"exp": now.Add(10 * time.Minute).Unix(), "iat": now.Unix(), "jti": rand.Text(),
		"client_id": "test-client", "scope": "mcp:use",
	}
}

// Token returns a signed token with [Issuer.Claims], changed; a nil value removes a claim.
func (i *Issuer) Token(resource string, changes map[string]any) string {
	i.t.Helper()
	return i.Sign(nil, merged(i.Claims(resource), changes))
}

// Rules returns the rules of [Issuer.Provider].
func (i *Issuer) Rules(resource string) token.Rules {
	return token.Rules{
		Issuers:      []string{i.URL()},
		Audiences:    []string{resource},
		Algorithms:   []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA},
		TokenTypes:   []string{"at+jwt"},
		ScopeClaims:  []string{"scope", "scp"},
		ClientClaims: []string{"client_id", "azp"},
	}
}

// Keys returns a key set that is fetched from this issuer, and refreshed in the background until t ends.
func (i *Issuer) Keys(t testing.TB) *token.KeySet {
	t.Helper()
	keys := token.NewKeySet(token.KeySource{
		URL:    func(context.Context) (string, error) { return i.KeysURL(), nil },
		Client: i.Client(),
	}, i.KeyPolicy, i.Logger)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keys.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return keys
}

// Provider returns the strict verifier over this issuer's keys. It also implements [providers.KeyReporter].
func (i *Issuer) Provider(t testing.TB, resource providers.Resource,
	initialScopes ...string) providers.Provider {
	t.Helper()
	keys := i.Keys(t)
	return &provider{
		Verifier: token.NewVerifier(i.Rules(resource.String()), keys),
		keys:     keys,
		metadata: providers.Metadata{
			Resource:               resource.String(),
			AuthorizationServers:   []string{i.URL()},
			ScopesSupported:        initialScopes,
			BearerMethodsSupported: []string{"header"},
		},
	}
}

type provider struct {
	*token.Verifier
	keys     *token.KeySet
	metadata providers.Metadata
}

func (p *provider) Metadata() providers.Metadata { return p.metadata }
func (p *provider) Keys() providers.KeyStatus    { return p.keys.Status() }

var (
	lastKey atomic.Int64 // generated ids are unique in the process

	rsaMu   sync.Mutex
	rsaIdle []*rsa.PrivateKey
)

// newKey returns a key that nothing else uses while t runs. RSA keys are slow to generate, so they are reused
// afterwards.
func newKey(t testing.TB, alg jose.SignatureAlgorithm) crypto.Signer {
	t.Helper()
	var (
		private crypto.Signer
		err     error
	)
	switch alg {
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
		private, err = borrowRSA(t)
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("providertest: no keys for %q", alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func borrowRSA(t testing.TB) (*rsa.PrivateKey, error) {
	private := idleRSA()
	if private == nil {
		var err error
		if private, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, err
		}
	}
	t.Cleanup(func() {
		rsaMu.Lock()
		defer rsaMu.Unlock()
		rsaIdle = append(rsaIdle, private)
	})
	return private, nil
}

func idleRSA() *rsa.PrivateKey {
	rsaMu.Lock()
	defer rsaMu.Unlock()
	n := len(rsaIdle)
	if n == 0 {
		return nil
	}
	private := rsaIdle[n-1]
	rsaIdle = rsaIdle[:n-1]
	return private
}

// merged returns base with changes; a nil value removes a member.
func merged(base, changes map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return b
}
