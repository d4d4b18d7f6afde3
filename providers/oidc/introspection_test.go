package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

func withoutExp(s *oidc.Settings) { s.IntrospectionNoExp = true }

// endpoint is an introspection endpoint on loopback with responses that the test chooses.
type endpoint struct {
	*httptest.Server
	requests atomic.Int64

	mu       sync.Mutex
	last     *http.Request
	response http.HandlerFunc
}

func newEndpoint(t *testing.T, response http.HandlerFunc) *endpoint {
	t.Helper()
	r := &endpoint{response: response}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/keys" {
			http.NotFound(w, req)
			return
		}
		r.requests.Add(1)
		_ = req.ParseForm()
		r.mu.Lock()
		r.last = req
		response := r.response
		r.mu.Unlock()
		response(w, req)
	}))
	t.Cleanup(func() {
		r.CloseClientConnections() // a response may hang on purpose
		r.Close()
	})
	return r
}

func (r *endpoint) respondWith(response http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.response = response
}

func (r *endpoint) lastRequest() *http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// claims responds with the claims of an active token of alice, changed; a nil value removes one.
func claims(changes map[string]any) http.HandlerFunc {
	claims := map[string]any{
		"active": true, "iss": introspectedIssuer, "sub": "alice", "aud": testResource, "client_id": "web",
		"scope": "mcp:use greet:read",
		"exp":   time.Now().Add(10 * time.Minute).Unix(), "token_type": "Bearer",
	}
	withChanges(claims, changes)
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(claims) }
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

const (
	introspectedIssuer = "https://login.example.com"
	opaque             = "opaque-token-of-alice"
)

// openIntrospecting opens a provider that introspects opaque tokens at r.
func openIntrospecting(t *testing.T, r *endpoint, change func(*oidc.Settings)) providers.Provider {
	t.Helper()
	return open(t, newSettings(t, introspectedIssuer, func(s *oidc.Settings) {
		s.JWKSURL = r.URL + "/keys"
		s.Introspection, s.IntrospectionURL, s.ClientID, s.ClientSecret = "opaque", r.URL+"/introspect",
			"gate:house", "s3cret/+&"
		if change != nil {
			change(s)
		}
	}), testResource)
}

func TestIntrospectionResponseMeetsTheSameRules(t *testing.T) {
	google := func(s *oidc.Settings) {
		s.IntrospectionStyle, s.ClientClaims, s.AudienceMode, s.AllowedClients = "google_tokeninfo",
			[]string{"azp"}, "client_allow_list", []string{"web"}
	}
	googleClaims := func(changes map[string]any) http.HandlerFunc {
		all := map[string]any{"active": nil, "iss": nil, "token_type": nil, "client_id": nil, "aud": "web",
			"azp": "web", "exp": fmt.Sprint(time.Now().Add(time.Minute).Unix())}
		for k, v := range changes {
			all[k] = v
		}
		return claims(all)
	}
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		answer http.HandlerFunc
		want   providers.Reason // "" means accepted
		is     error
	}{
		"active":                       {nil, claims(nil), "", nil},
		"active, without an issuer":    {nil, claims(map[string]any{"iss": nil}), "", nil},
		"active, without a token type": {nil, claims(map[string]any{"token_type": nil}), "", nil},
		"not active": {nil, claims(map[string]any{"active": false}), token.ReasonInactive,
			providers.ErrInvalidToken},
		"active as a string": {nil, claims(map[string]any{"active": "true"}), token.ReasonInactive,
			providers.ErrInvalidToken},
		"active in another case": {nil, claims(map[string]any{"active": nil, "Active": true}),
			providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"without active": {nil, claims(map[string]any{"active": nil}), token.ReasonInactive,
			providers.ErrInvalidToken},
		"another issuer": {nil, claims(map[string]any{"iss": "https://evil.example"}),
			token.ReasonIssuerMismatch, providers.ErrInvalidToken},
		"another audience": {nil, claims(map[string]any{"aud": "https://other.example"}),
			token.ReasonAudienceMismatch, providers.ErrInvalidToken},
		"no audience": {nil, claims(map[string]any{"aud": nil}), token.ReasonAudienceMismatch,
			providers.ErrInvalidToken},
		"expired": {nil, claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
			token.ReasonExpired, providers.ErrInvalidToken},
		"without expiry": {nil, claims(map[string]any{"exp": nil}), token.ReasonExpiryMissing,
			providers.ErrInvalidToken},
		"without exp, as RFC 7662 allows":  {withoutExp, claims(map[string]any{"exp": nil}), "", nil},
		"with exp where it may be missing": {withoutExp, claims(nil), "", nil},
		"expired where exp may be missing": {withoutExp, claims(map[string]any{"exp": 1000}),
			token.ReasonExpired,
			providers.ErrInvalidToken},
		"exp is null where it may miss": {withoutExp, claims(map[string]any{"exp": json.RawMessage("null")}),
			token.ReasonClaimsMalformed, providers.ErrInvalidToken},
		"without subject": {nil, claims(map[string]any{"sub": nil}), token.ReasonSubjectMissing,
			providers.ErrInvalidToken},
		"a refresh token": {nil, claims(map[string]any{"token_type": "refresh_token"}),
			token.ReasonTypeRefused, providers.ErrInvalidToken},
		"a refresh token of Hydra": {nil, claims(map[string]any{"token_use": "refresh_token"}),
			token.ReasonTypeRefused, providers.ErrInvalidToken},
		"a refresh token of Keycloak": {nil, claims(map[string]any{"typ": "Refresh"}), token.ReasonTypeRefused,
			providers.ErrInvalidToken},
		"a refresh token of Casdoor": {nil, claims(map[string]any{"tokenType": "refresh-token"}),
			token.ReasonTypeRefused, providers.ErrInvalidToken},
		"an ID token": {func(s *oidc.Settings) { s.IDTokenGuard = false },
			claims(map[string]any{"type": "id-token"}), token.ReasonTypeRefused, providers.ErrInvalidToken},
		"an unknown token type": {nil, claims(map[string]any{"token_use": "device"}),
			token.ReasonTypeRefused, providers.ErrInvalidToken},
		"a token type that is no string": {nil, claims(map[string]any{"token_use": 1}), token.ReasonTypeRefused,
			providers.ErrInvalidToken},
		"access token, with a hyphen": {nil, claims(map[string]any{"token_use": "access-token",
			"token_type": "Access-Token"}), "", nil},
		"a type that is null": {nil, claims(map[string]any{"token_use": json.RawMessage("null"),
			"token_type": json.RawMessage("null")}), "", nil},
		"optional claims that are null": {nil, claims(map[string]any{"cnf": json.RawMessage("null"),
			"nonce": json.RawMessage("null"), "nbf": json.RawMessage("null")}), "", nil},
		"an expiry that is null": {nil, claims(map[string]any{"exp": json.RawMessage("null")}),
			token.ReasonClaimsMalformed, providers.ErrInvalidToken},
		"token_use in another case": {nil, claims(map[string]any{"Token_Use": "refresh_token"}),
			providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"token_type in another case": {nil, claims(map[string]any{"token_type": nil,
			"Token_Type": "refresh_token"}), providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"bound to a key": {nil, claims(map[string]any{"token_type": "DPoP"}),
			token.ReasonTypeRefused, providers.ErrInvalidToken},
		"bound to a key, by cnf": {nil, claims(map[string]any{"cnf": map[string]string{"jkt": "x"}}),
			token.ReasonSenderConstrained, providers.ErrInvalidToken},
		"of another client than is allowed": {func(s *oidc.Settings) {
			s.AudienceMode, s.AllowedClients = "client_allow_list", []string{"app"}
		}, claims(nil), token.ReasonClientRefused,
			providers.ErrInvalidToken},
		"of a form that the issuer does not introspect": {nil, status(400, `{"error":"unsupported_token_type"}`),
			token.ReasonInactive, providers.ErrInvalidToken},
		"a malformed request": {nil, status(400, `{"error":"invalid_request"}`),
			providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"401 without a cause": {nil, status(401, "canary-upstream"),
			providers.ReasonIntrospectionUnavailable, token.ErrUnauthorizedWithoutCause},
		"rejected credentials": {nil, status(401,
			`{"error":"invalid_client","error_description":"canary-upstream"}`), providers.ReasonIntrospectionUnavailable,
			providers.ErrUnavailable},
		"an internal error of the issuer": {nil, status(500, "canary-upstream"),
			providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"an HTML page": {nil, status(200, "<html>canary-upstream</html>"),
			providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"null": {nil, status(200, "null"), providers.ReasonIntrospectionUnavailable,
			providers.ErrUnavailable},
		"endless": {nil, status(200,
			`{"active":true,"x":"`+strings.Repeat("x", 1<<20)+`"}`), providers.ReasonIntrospectionUnavailable,
			providers.ErrUnavailable},
		"a redirect": {nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"Google: good": {google, googleClaims(nil), "", nil},
		"Google: another client": {google, googleClaims(map[string]any{"azp": "evil", "aud": "evil"}),
			token.ReasonAudienceMismatch, providers.ErrInvalidToken},
		"Google: expired": {google, googleClaims(map[string]any{"exp": "1000"}),
			token.ReasonExpired, providers.ErrInvalidToken},
		"Google: an expiry that is no number": {google, googleClaims(map[string]any{"exp": "1e99"}),
			token.ReasonClaimsMalformed, providers.ErrInvalidToken},
		"Google: not active": {google, status(400, `{"error":"invalid_token"}`),
			token.ReasonInactive, providers.ErrInvalidToken},
		"Google: down": {google, status(502, "canary-upstream"),
			providers.ReasonIntrospectionUnavailable, providers.ErrUnavailable},
		"the subject in another claim": {func(s *oidc.Settings) { s.SubjectClaim = "uid" },
			claims(map[string]any{"uid": "alice", "sub": "a@example.com"}), "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEndpoint(t, c.answer)
			id, err := openIntrospecting(t, r, c.change).Verify(context.Background(), opaque)
			if got := providers.ReasonOf(err); got != c.want || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if err == nil && (id.Subject != "alice" || id.Issuer != introspectedIssuer || id.Client != "web" ||
				len(id.Missing([]string{"mcp:use", "greet:read"})) > 0) {
				t.Errorf("the identity is %+v", id)
			}
			if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), opaque)) {
				t.Errorf("the error quotes the token or the response: %v", err)
			}
		})
	}
}

func TestIntrospectionAuthentication(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := providers.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		check  func(*http.Request) error
	}{
		"basic, form-encoded first": {nil, func(r *http.Request) error {
			if id, secret, ok := r.BasicAuth(); !ok || id != "gate%3Ahouse" || secret != "s3cret%2F%2B%26" {
				return fmt.Errorf("%q %q", id, secret)
			}
			return nil
		}},
		"post": {func(s *oidc.Settings) { s.IntrospectionAuth = "post" }, func(r *http.Request) error {
			if r.Form.Get("client_id") != "gate:house" || r.Form.Get("client_secret") != "s3cret/+&" ||
				r.Header.Get("Authorization") != "" {
				return fmt.Errorf("%v %v", r.Form, r.Header)
			}
			return nil
		}},
		"private_key_jwt": {func(s *oidc.Settings) {
			s.IntrospectionAuth, s.ClientSecret, s.ClientKey, s.ClientKeyID = "private_key_jwt", "", asPEM, "key-1"
		}, func(r *http.Request) error {
			assertion, err := jwt.ParseSigned(r.Form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				return err
			}
			var claims jwt.Claims
			if err := assertion.Claims(private.Public(), &claims); err != nil {
				return err
			}
			if assertion.Headers[0].KeyID != "key-1" || claims.Issuer != "gate:house" ||
				claims.Subject != "gate:house" || !claims.Audience.Contains(introspectedIssuer) || claims.ID == "" {
				return fmt.Errorf("%+v", claims)
			}
			if r.Form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				return errors.New("no assertion type")
			}
			return claims.ValidateWithLeeway(jwt.Expected{Time: time.Now()}, time.Second)
		}},
		"none": {func(s *oidc.Settings) { s.IntrospectionAuth, s.ClientID, s.ClientSecret = "none", "", "" },
			func(r *http.Request) error {
				if r.Header.Get("Authorization") != "" || r.Form.Has("client_id") {
					return fmt.Errorf("%v", r.Form)
				}
				return nil
			}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEndpoint(t, claims(nil))
			if _, err := openIntrospecting(t, r, c.change).Verify(context.Background(), opaque); err != nil {
				t.Fatal(err)
			}
			got := r.lastRequest()
			if got.Method != http.MethodPost || got.Form.Get("token") != opaque || got.URL.RawQuery != "" {
				t.Errorf("the request is %s %s %v", got.Method, got.URL, got.Form)
			}
			if err := c.check(got); err != nil {
				t.Errorf("authentication: %v", err)
			}
		})
	}
}

func TestIntrospectionCacheEndsWithTheToken(t *testing.T) {
	for name, c := range map[string]struct {
		keep     time.Duration
		changes  map[string]any
		wait     time.Duration
		requests int64
	}{
		"within the cache time":      {keep: time.Minute, requests: 1},
		"without a cache":            {keep: 0, requests: 2},
		"a refusal":                  {keep: time.Minute, changes: map[string]any{"active": false}, requests: 1},
		"a refusal, without a cache": {keep: 0, changes: map[string]any{"active": false}, requests: 2},
		"a token within its leeway": {keep: time.Minute,
			changes: map[string]any{"exp": time.Now().Add(-time.Second).Unix()}, requests: 2},
		"a token that expires soon": {keep: time.Minute,
			changes: map[string]any{"exp": float64(time.Now().Add(300*time.Millisecond).UnixMilli()) / 1000},
			wait:    400 * time.Millisecond, requests: 2},
		"after the cache time": {keep: 100 * time.Millisecond, wait: 200 * time.Millisecond, requests: 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEndpoint(t, claims(c.changes))
			p := openIntrospecting(t, r, func(s *oidc.Settings) { s.IntrospectionCache = c.keep })
			_, _ = p.Verify(context.Background(), opaque)
			time.Sleep(c.wait)
			_, _ = p.Verify(context.Background(), opaque)
			if got := r.requests.Load(); got != c.requests {
				t.Errorf("%d introspection requests, want %d", got, c.requests)
			}
			want := providers.TokenStatus{Checked: c.requests, FromCache: 2 - c.requests}
			if c.changes["active"] == false { // refused tokens are not counted
				want = providers.TokenStatus{}
			}
			got := p.(providers.TokenReporter).Tokens()
			if got.Checked != want.Checked || got.FromCache != want.FromCache || got.Limit == 0 {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// Concurrent calls with one token share one request, and a caller that hangs up does not cancel it for the
// others.
func TestConcurrentCallsShareOneIntrospection(t *testing.T) {
	hold, good := make(chan struct{}), claims(nil)
	r := newEndpoint(t, func(w http.ResponseWriter, req *http.Request) {
		<-hold
		good(w, req)
	})
	p := openIntrospecting(t, r, nil)
	leaving, leave := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for n := range 20 {
		calls.Go(func() {
			ctx := context.Background()
			if n%2 == 0 {
				ctx = leaving
			}
			if _, err := p.Verify(ctx, opaque); n%2 == 1 && err != nil {
				t.Errorf("a call that stayed: %v", err)
			} else if n%2 == 0 && err != nil && !errors.Is(err, providers.ErrUnavailable) {
				t.Errorf("a call that left: %v", err)
			}
		})
	}
	for r.requests.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	leave()
	close(hold)
	calls.Wait()
	if got := r.requests.Load(); got != 1 {
		t.Errorf("%d introspection requests", got)
	}
}

// Gitea answers without exp (RFC 7662, section 2.2: OPTIONAL). Such an answer is good for
// introspection_cache.
func TestIntrospectionWithoutExpIsGoodForTheCacheTime(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		longest time.Duration // until the token counts as expired
	}{
		"without exp": {map[string]any{"exp": nil}, 20 * time.Second},
		"with exp":    {nil, 11 * time.Minute}, // its own, and the leeway
	} {
		t.Run(name, func(t *testing.T) {
			r := newEndpoint(t, claims(c.changes))
			p := openIntrospecting(t, r, func(s *oidc.Settings) {
				s.IntrospectionNoExp, s.IntrospectionCache = true,
					20*time.Second
			})
			for range 2 {
				id, err := p.Verify(context.Background(), opaque)
				if err != nil {
					t.Fatal(err)
				}
				if left := time.Until(id.ExpiryWithLeeway); left <= c.longest-5*time.Second || left > c.longest {
					t.Errorf("it is good for another %s", left)
				}
				if _, ok := id.Claims()["exp"]; ok != (c.changes == nil) {
					t.Errorf("claims have exp: %v", ok)
				}
			}
			if got := r.requests.Load(); got != 1 {
				t.Errorf("%d introspection requests", got)
			}
		})
	}
	t.Run("a JWT without exp stays refused", func(t *testing.T) {
		authority := providertest.NewIssuer(t)
		r := newEndpoint(t, claims(nil))
		p := openIntrospecting(t, r, func(s *oidc.Settings) {
			s.IntrospectionNoExp, s.JWKSURL = true,
				authority.KeysURL()
		})
		text := authority.Token(testResource, map[string]any{"iss": introspectedIssuer, "exp": nil})
		if _, err := p.Verify(context.Background(), text); providers.ReasonOf(err) != token.ReasonExpiryMissing {
			t.Errorf("got %v", err)
		}
	})
}

// Gitea responds with 401 to a token that is not active, other issuers to rejected credentials.
func TestIntrospection401IsAttributedByItsResponse(t *testing.T) {
	plain := status(401, "Unauthorized\n")
	challenge := func(values ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["WWW-Authenticate"] = values
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	inactive, rejected := token.ReasonInactive, providers.ReasonIntrospectionUnavailable
	for name, c := range map[string]struct {
		before http.HandlerFunc // response for another token before
		answer http.HandlerFunc
		want   providers.Reason
	}{
		"no cause, no response before":    {nil, plain, rejected},
		"no cause, after an active token": {claims(nil), plain, inactive},
		"no cause, after an inactive token": {claims(map[string]any{"active": false}), plain,
			inactive},
		"no cause, after a response without active":   {status(200, `{"error":"x"}`), plain, rejected},
		"no cause, after a response that is not JSON": {status(200, "<html>"), plain, rejected},
		"no cause, after another 401":                 {plain, plain, rejected},
		"no cause, after an outage":                   {status(500, ""), plain, rejected},
		"a Bearer challenge": {claims(nil),
			challenge(`Bearer realm="x", error="invalid_token"`), inactive},
		"a challenge that mentions basic": {claims(nil),
			challenge(`Bearer error_description="no, basic is gone"`), inactive},
		"a Basic challenge": {claims(nil), challenge(`Basic realm="x"`), rejected},
		"a Basic challenge in lower case, without realm": {claims(nil), challenge(`basic`), rejected},
		"a Basic challenge after another": {claims(nil),
			challenge(`Bearer realm="x", Basic realm="y"`), rejected},
		"a Basic challenge in a field of its own": {claims(nil),
			challenge(`Bearer realm="x"`, `Basic realm="y"`), rejected},
		"invalid_client": {claims(nil), status(401, `{"error":"invalid_client"}`),
			rejected},
		"403": {claims(nil), status(403, ""), rejected},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEndpoint(t, c.before)
			p := openIntrospecting(t, r, nil)
			if c.before != nil {
				_, _ = p.Verify(context.Background(), "another")
			}
			r.respondWith(c.answer)
			_, err := p.Verify(context.Background(), opaque)
			if got := providers.ReasonOf(err); got != c.want || errors.Is(err,
				providers.ErrInvalidToken) != (c.want == inactive) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// With rejected credentials every token, also an invented one, would cause a line of the log.
func TestRejectedIntrospectionIsLoggedOnceAMinute(t *testing.T) {
	r := newEndpoint(t, status(401, ""))
	var log lockedLog
	settings := newSettings(t, introspectedIssuer, func(s *oidc.Settings) {
		s.Introspection, s.IntrospectionURL, s.IntrospectionAuth = "always", r.URL, "none"
	})
	resource, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	p, err := settings.Open(t.Context(), providers.ServerInfo{Resource: resource,
		Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		_, _ = p.Verify(context.Background(), fmt.Sprint("invented-", n))
	}
	if got := strings.Count(log.String(), "the issuer rejects introspection requests"); got != 1 {
		t.Errorf("%d lines", got)
	}
}

// django-oauth-toolkit publishes a key set without keys. Calls work, so the server must be ready.
func TestReadinessWithoutPublishedKeys(t *testing.T) {
	const keys, metadata = "/keys", "/.well-known/oauth-authorization-server"
	for name, c := range map[string]struct {
		mode   string
		fixed  bool // introspection_url is set
		keys   string
		status int // of the key set; 0: the metadata has no jwks_uri
		ready  bool
		fix    bool // the log suggests provider.introspection=always
	}{
		"opaque, an empty key set":                    {"opaque", false, `{"keys":[]}`, 200, true, true},
		"opaque, an empty key set, introspection_url": {"opaque", true, `{"keys":[]}`, 200, true, true},
		"opaque, no key that can be used": {"opaque", true, `{"keys":[{"kty":"oct","k":"AA"}]}`, 200,
			true, true},
		"opaque, metadata without keys":       {"opaque", true, "", 0, true, true},
		"opaque, keys that cannot be fetched": {"opaque", true, "", 500, false, false},
		"opaque, keys that cannot be read":    {"opaque", true, "<html>", 200, false, false},
		"off, an empty key set":               {"off", false, `{"keys":[]}`, 200, false, false},
		"always, whatever the keys are":       {"always", false, "", 500, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var fetched atomic.Int64
			var issuer *httptest.Server
			issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case metadata:
					members := map[string]string{"issuer": issuer.URL, "introspection_endpoint": issuer.URL + "/introspect",
						"jwks_uri": issuer.URL + keys}
					if c.status == 0 {
						delete(members, "jwks_uri")
					}
					_ = json.NewEncoder(w).Encode(members)
				case keys:
					fetched.Add(1)
					status(c.status, c.keys)(w, r)
				case "/introspect":
					claims(map[string]any{"iss": nil})(w, r)
				default:
					http.NotFound(w, r)
				}
			}))
			t.Cleanup(issuer.Close)
			settings := newSettings(t, issuer.URL, func(s *oidc.Settings) {
				s.Introspection, s.IntrospectionAuth = c.mode, "none"
				if c.fixed {
					s.IntrospectionURL = issuer.URL + "/introspect"
				}
			})
			var log lockedLog
			resource, err := providers.ParseResource(testResource)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			p, err := settings.Open(ctx, providers.ServerInfo{Resource: resource,
				Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			ready := func() bool { return p.(providers.KeyReporter).Keys().Usable }
			for begin := time.Now(); ready() != c.ready || c.mode != "always" &&
				!strings.Contains(log.String(), "could not be fetched"); time.Sleep(time.Millisecond) {
				if time.Since(begin) > 5*time.Second {
					t.Fatalf("ready: %v, want %v; %+v", ready(), c.ready, p.(providers.KeyReporter).Keys())
				}
			}
			if ready() != c.ready {
				t.Errorf("ready: %v, want %v", ready(), c.ready)
			}
			if got := strings.Contains(log.String(), "provider.introspection=always"); got != c.fix {
				t.Errorf("the log suggests the setting: %v, want %v", got, c.fix)
			}
			if c.mode == "off" {
				return
			}
			if _, err := p.Verify(context.Background(), opaque); err != nil {
				t.Errorf("an opaque token: %v", err)
			}
		})
	}
}

func TestIntrospectionOutageIsUnavailableAndEnds(t *testing.T) {
	r := newEndpoint(t, status(503, ""))
	p := openIntrospecting(t, r, nil)
	for range 3 {
		if _, err := p.Verify(context.Background(), opaque); !errors.Is(err, providers.ErrUnavailable) {
			t.Fatalf("during the outage: %v", err)
		}
	}
	r.respondWith(claims(nil))
	if _, err := p.Verify(context.Background(), opaque); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

func TestIntrospectionRespectsRetryAfter(t *testing.T) {
	r := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	p := openIntrospecting(t, r, nil)
	for n := range 10 {
		if _, err := p.Verify(context.Background(), fmt.Sprint(opaque, n)); !errors.Is(err,
			providers.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
	if got := r.requests.Load(); got != 1 {
		t.Errorf("%d requests in spite of Retry-After", got)
	}
}

func TestHangingIntrospectionDelaysNoOtherToken(t *testing.T) {
	hung, good := make(chan struct{}), claims(nil)
	t.Cleanup(func() { close(hung) })
	r := newEndpoint(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Form.Get("token") == "hangs" {
			select {
			case <-hung:
			case <-req.Context().Done():
			}
			return
		}
		good(w, req)
	})
	p := openIntrospecting(t, r, nil)
	begin := time.Now()
	done := make(chan error, 1)
	go func() { _, err := p.Verify(context.Background(), "hangs"); done <- err }()
	for r.requests.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Verify(context.Background(), opaque); err != nil || time.Since(begin) > 2*time.Second {
		t.Errorf("another token: %v after %v", err, time.Since(begin))
	}
	if err := <-done; !errors.Is(err, providers.ErrUnavailable) || time.Since(begin) > 5*time.Second {
		t.Errorf("the hanging token: %v after %v", err, time.Since(begin))
	}
}

func TestIntrospectionModes(t *testing.T) {
	authority := providertest.NewIssuer(t)
	signed := authority.Token(testResource, map[string]any{"iss": introspectedIssuer})
	for name, c := range map[string]struct {
		mode     string
		token    string
		requests int64
		want     providers.Reason
	}{
		"off: an opaque token is refused":   {"off", opaque, 0, token.ReasonOpaque},
		"opaque: a JWT is verified locally": {"opaque", signed, 0, ""},
		"opaque: a damaged JWT is refused": {"opaque", signed[:len(signed)-8] + "AAAAAAAA", 0,
			token.ReasonSignatureInvalid},
		"opaque: any other token is introspected":     {"opaque", opaque, 1, ""},
		"opaque: a token with dots in it, as Hydra's": {"opaque", "ory_at_abc.def", 1, ""},
		"always: a JWT is introspected too":           {"always", signed, 1, ""},
		"opaque: a token that is too long is not introspected": {"opaque", strings.Repeat("x", 17<<10), 0,
			token.ReasonTooLong},
		"always: a JWT that is too long is not introspected": {"always", "eyJ." + strings.Repeat("x", 17<<10), 0,
			token.ReasonTooLong},
		"opaque: a token that only begins like a JWT is verified": {"opaque", "eyJ4IjoxfQ.x", 0,
			token.ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEndpoint(t, claims(nil))
			p := openIntrospecting(t, r, func(s *oidc.Settings) {
				s.JWKSURL, s.Introspection = authority.KeysURL(), c.mode
				if c.mode == "off" {
					s.IntrospectionURL, s.ClientID, s.ClientSecret = "", "", ""
				}
			})
			_, err := p.Verify(context.Background(), c.token)
			if got := providers.ReasonOf(err); got != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := r.requests.Load(); got != c.requests {
				t.Errorf("%d introspection requests, want %d", got, c.requests)
			}
		})
	}
}

// Without a key set, the server is ready once it knows the introspection endpoint.
func TestIntrospectionEndpointFromMetadata(t *testing.T) {
	r := newEndpoint(t, claims(map[string]any{"iss": nil}))
	up := make(chan struct{})
	var metadata *httptest.Server
	metadata = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-up:
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": metadata.URL, "introspection_endpoint": r.URL})
		default:
			http.Error(w, "canary-upstream", http.StatusBadGateway)
		}
	}))
	t.Cleanup(metadata.Close)
	p := open(t, newSettings(t, metadata.URL, func(s *oidc.Settings) {
		s.Introspection, s.IntrospectionAuth = "always", "none"
	}), testResource)
	if _, err := p.Verify(context.Background(), opaque); !errors.Is(err, providers.ErrUnavailable) {
		t.Fatalf("before the metadata is available: %v", err)
	}
	if p.(providers.KeyReporter).Keys().Usable {
		t.Error("the provider is ready")
	}
	close(up)
	for range 100 {
		if id, err := p.Verify(context.Background(), opaque); err == nil {
			if id.Issuer != metadata.URL || !p.(providers.KeyReporter).Keys().Usable {
				t.Errorf("got %+v", id)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("it never recovered")
}

// Invented tokens of callers that hang up at once must not delay the issuer or the callers with good tokens.
func TestIntrospectionFloodIsBounded(t *testing.T) {
	good := claims(nil)
	r := newEndpoint(t, func(w http.ResponseWriter, req *http.Request) {
		time.Sleep(50 * time.Millisecond)
		good(w, req)
	})
	p := openIntrospecting(t, r, nil)
	before := runtime.NumGoroutine()
	var flood sync.WaitGroup
	for n := range 2_000 {
		flood.Go(func() {
			ctx, hangUp := context.WithTimeout(context.Background(), time.Millisecond)
			defer hangUp()
			_, _ = p.Verify(ctx, fmt.Sprintf("invented-%d", n))
		})
	}
	flood.Wait()
	time.Sleep(50 * time.Millisecond) // calls that are refused at once have ended by now
	if left := runtime.NumGoroutine() - before; left > 600 {
		t.Errorf("%d goroutines are left of callers that hung up", left)
	}
	for begin := time.Now(); ; {
		_, err := p.Verify(context.Background(), opaque)
		if err == nil {
			return
		}
		if time.Since(begin) > 3*time.Second {
			t.Fatalf("a good token is still refused: %v", err)
		}
	}
}

func TestThrottledAddressCausesNoIntrospection(t *testing.T) {
	r := newEndpoint(t, claims(nil))
	p := openIntrospecting(t, r, nil)
	if _, err := p.Verify(context.Background(), opaque); err != nil {
		t.Fatal(err)
	}
	throttled := providers.WithoutIntrospection(context.Background())
	if _, err := p.Verify(throttled, opaque); err != nil {
		t.Errorf("a token known to be active: %v", err)
	}
	if _, err := p.Verify(throttled, "invented"); providers.ReasonOf(err) != providers.ReasonThrottled ||
		!errors.Is(err, providers.ErrInvalidToken) || r.requests.Load() != 1 {
		t.Errorf("another: %v after %d requests", err, r.requests.Load())
	}
}

// A tool may sort or filter the scopes of its caller in place.
func TestIdentityChangesDoNotReachOtherCalls(t *testing.T) {
	authority := providertest.NewIssuer(t)
	jwt := authority.Token(testResource, map[string]any{"iss": introspectedIssuer, "client_id": "web",
		"scope": "mcp:use greet:read"})
	other := authority.Token(testResource, map[string]any{"iss": introspectedIssuer, "client_id": "web",
		"scope": "mcp:use greet:read", "sub": "bob"})
	bare := authority.Token(testResource, map[string]any{"iss": introspectedIssuer, "scope": nil})
	r := newEndpoint(t, claims(nil))
	p := openIntrospecting(t, r, func(s *oidc.Settings) {
		s.JWKSURL, s.DefaultScopes = authority.KeysURL(), []string{"mcp:use"}
	})
	for range 3 {
		for _, token := range []string{opaque, jwt, other, bare} {
			id, err := p.Verify(context.Background(), token)
			if err != nil {
				t.Fatal(err)
			}
			if id.Scopes[0] != "mcp:use" || id.Audience[0] != testResource {
				t.Fatalf("changes of another call are in %+v", id)
			}
			id.Scopes[0], id.Audience[0] = "mcp:admin", "https://evil.example"
		}
	}
}
