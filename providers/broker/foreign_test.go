package broker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
	testClient   = "gatehouse at the provider"
	testSecret   = "s3cret:with/characters+%"
	testRedirect = "https://mcp.example.com/callback"
)

// object is a JSON object.
type object map[string]any

// foreign is an OpenID provider that misbehaves where a test wants it to. It stands in for the providers of companies.
type foreign struct {
	t testing.TB
	*httptest.Server
	key *ecdsa.PrivateKey

	mu sync.Mutex
	// What a test changes: metadata, key set, claims of ID tokens and their signature, and the answer of an endpoint,
	// where true means that it has been written.
	metadata func(object)
	jwks     func(object)
	claims   func(object)
	sign     func(claims object) string
	token    func(w http.ResponseWriter, form url.Values) bool
	answer   func(object) // of the token endpoint
	userinfo func(w http.ResponseWriter, r *http.Request)
	// ignorePKCE is set at a provider that does not know PKCE, and noIss at one that does not know RFC 9207.
	ignorePKCE, noIss bool

	grants  map[string]url.Values // by code: the authorization request
	refresh string                // the current refresh token
	nonce   string                // of the last sign-in
	issued  int
	// requests are the forms at the token endpoint, in order; secrets all values that no log may have.
	requests []url.Values
	revoked  []string
	secrets  []string
}

func newForeign(t testing.TB) *foreign {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &foreign{t: t, key: key, grants: map[string]url.Values{}, secrets: []string{testSecret}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", f.serveMetadata)
	mux.HandleFunc("/keys", f.serveKeys)
	mux.HandleFunc("/token", f.serveToken)
	mux.HandleFunc("/authorize", f.serveAuthorize)
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		serve := f.userinfo
		f.mu.Unlock()
		if serve == nil {
			http.NotFound(w, r)
			return
		}
		serve(w, r)
	})
	mux.HandleFunc("/revoke", func(_ http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.revoked = append(f.revoked, r.PostFormValue("token"))
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *foreign) set(change func(*foreign)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *foreign) tokenRequests() []url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

func (f *foreign) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := object{"issuer": f.URL,
		"authorization_endpoint": f.URL + "/authorize?tenant=x", "token_endpoint": f.URL + "/token",
		"jwks_uri": f.URL + "/keys", "revocation_endpoint": f.URL + "/revoke",
		"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true}
	if f.metadata != nil {
		f.metadata(m)
	}
	writeJSON(w, http.StatusOK, m)
}

func (f *foreign) serveKeys(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	raw, err := json.Marshal(jose.JSONWebKey{Key: f.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"})
	if err != nil {
		f.t.Error(err)
	}
	var key object
	if err := json.Unmarshal(raw, &key); err != nil {
		f.t.Error(err)
	}
	if f.jwks != nil {
		f.jwks(key)
	}
	writeJSON(w, http.StatusOK, object{"keys": []object{key}})
}

// serveAuthorize signs the person in at once.
func (f *foreign) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("client_id") != testClient || query.Get("redirect_uri") != testRedirect {
		http.Error(w, "<h1>unknown client</h1>", http.StatusBadRequest)
		return
	}
	response := url.Values{"state": {query.Get("state")}}
	if !f.noIss {
		response.Set("iss", f.URL)
	}
	if query.Get("prompt") == "none" {
		response.Set("error", "login_required")
	} else {
		response.Set("code", f.issueCode(query))
	}
	http.Redirect(w, r, testRedirect+"?"+response.Encode(), http.StatusFound)
}

func (f *foreign) issueCode(query url.Values) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.issued++
	code := fmt.Sprint("code-", f.issued)
	f.grants[code] = query
	f.secrets = append(f.secrets, code)
	return code
}

func (f *foreign) serveToken(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		f.t.Error(err)
	}
	f.requests = append(f.requests, r.PostForm)
	if f.token != nil && f.token(w, r.PostForm) {
		return
	}
	refuse := func(status int, code string) {
		writeJSON(w, status, object{"error": code, "error_description": "<script>"})
	}
	id, secret, _ := r.BasicAuth()
	if id != url.QueryEscape(testClient) || secret != url.QueryEscape(testSecret) {
		refuse(http.StatusUnauthorized, "invalid_client")
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		query, ok := f.grants[r.PostForm.Get("code")]
		delete(f.grants, r.PostForm.Get("code"))
		challenge := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		fits := query.Get("code_challenge") == base64.RawURLEncoding.EncodeToString(challenge[:])
		if !ok || r.PostForm.Get("redirect_uri") != testRedirect || !fits && !f.ignorePKCE {
			refuse(http.StatusBadRequest, "invalid_grant")
			return
		}
		f.nonce = query.Get("nonce")
	case "refresh_token":
		if r.PostForm.Get("refresh_token") != f.refresh {
			refuse(http.StatusBadRequest, "invalid_grant")
			return
		}
	default:
		refuse(http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	f.issued++
	f.refresh = fmt.Sprint("refresh-", f.issued)
	access := fmt.Sprint("access-", f.issued)
	now := time.Now().Unix()
	claims := object{"iss": f.URL, "sub": "alice", "aud": testClient, "exp": now + 60, "iat": now, "nonce": f.nonce,
		"groups": []string{"mcp"}, "at_hash": atHash(access)}
	if f.claims != nil {
		f.claims(claims)
	}
	idToken := ""
	if f.sign != nil {
		idToken = f.sign(claims)
	} else {
		idToken = f.signed(jose.ES256, f.key, "k", claims)
	}
	answer := object{"access_token": access, "token_type": "Bearer", "refresh_token": f.refresh, "id_token": idToken}
	if f.answer != nil {
		f.answer(answer)
	}
	f.secrets = append(f.secrets, access, f.refresh, idToken[strings.LastIndexByte(idToken, '.')+1:])
	writeJSON(w, http.StatusOK, answer)
}

func atHash(access string) string {
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func (f *foreign) signed(alg jose.SignatureAlgorithm, key any, kid string, claims object) string {
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		f.t.Error(err)
		return ""
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		f.t.Error(err)
	}
	return f.signedText(signer, payload)
}

func (f *foreign) signedText(signer jose.Signer, payload []byte) string {
	jws, err := signer.Sign(payload)
	if err != nil {
		f.t.Error(err)
		return ""
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		f.t.Error(err)
	}
	return text
}

func jsonText(o object) string {
	text, _ := json.Marshal(o)
	return string(text)
}

// unsigned is a token with alg none.
func unsigned(claims object) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(jsonText(claims))) + "."
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// fixture is an Upstream at a foreign provider, with its log.
type fixture struct {
	*Upstream
	provider *foreign
	log      *lockedBuffer
	clock    *clock
}

// clock is the time of an Upstream.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newFixture returns an Upstream with the rule that the group mcp may use mcp:use. Its log must not have a secret when
// the test ends.
func newFixture(t testing.TB, change func(*upstreamConfig)) *fixture {
	t.Helper()
	f := newForeign(t)
	x := &fixture{provider: f, log: &lockedBuffer{}, clock: &clock{now: time.Now()}}
	config := upstreamConfig{
		Issuer: f.URL, RedirectURI: testRedirect, ClientID: testClient, ClientSecret: testSecret,
		Scopes: []string{"openid", "groups", "offline_access"}, Rules: mustRules(t, "groups=mcp > mcp:use"),
		Logger: slog.New(slog.NewJSONHandler(x.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: x.clock.Now,
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	if change != nil {
		change(&config)
	}
	var err error
	if x.Upstream, err = newUpstream(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.checkSecrets(t, x.log.String()) })
	return x
}

// checkSecrets fails the test if a text contains a secret, or text of the provider.
func (x *fixture) checkSecrets(t testing.TB, text string) {
	t.Helper()
	x.provider.mu.Lock()
	defer x.provider.mu.Unlock()
	for _, secret := range append([]string{"<script>", "verifier-of", "state-of"}, x.provider.secrets...) {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("row 62: %q is in %q", secret, text)
		}
	}
}

func attempt(name string) authserver.Attempt {
	return authserver.Attempt{State: "state-of-" + name, Nonce: "nonce-of-" + name,
		Verifier: strings.Repeat("verifier-of-"+name, 5)}
}

// approve goes to the provider and returns its response.
func (x *fixture) approve(t testing.TB, a authserver.Attempt) url.Values {
	t.Helper()
	who, address, err := x.Begin(t.Context(), a)
	if err != nil || who != nil {
		t.Fatal(who, err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	target, err := resp.Location()
	if err != nil {
		t.Fatal(resp.Status, err)
	}
	return target.Query()
}

func (x *fixture) finish(t testing.TB, a authserver.Attempt) (authserver.Person, error) {
	t.Helper()
	return x.Finish(t.Context(), a, x.approve(t, a))
}

func (x *fixture) signIn(t testing.TB) authserver.Person {
	t.Helper()
	who, err := x.finish(t, attempt("a"))
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// renew renews a person and judges the answer.
func (x *fixture) renew(t testing.TB, p authserver.Person) (authserver.Person, error) {
	t.Helper()
	renewal, err := x.Renew(t.Context(), p)
	if err != nil {
		return authserver.Person{}, err
	}
	return renewal.Judge(t.Context())
}

func with(changes object) func(object) {
	return func(o object) {
		for name, value := range changes {
			if value == nil {
				delete(o, name)
				continue
			}
			o[name] = value
		}
	}
}
