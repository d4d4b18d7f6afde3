package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/token"
)

const (
	agentID     = "agent"
	agentSecret = "a-secret-of-a-decent-length"
	bearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// company is a provider that signs what the test wants.
type company struct {
	*httptest.Server
	key *ecdsa.PrivateKey
	mu  sync.Mutex
	up  bool
}

func newCompany(t *testing.T) *company {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{key: key, up: true}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		up := c.up
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !up:
			w.WriteHeader(http.StatusInternalServerError)
		case r.URL.Path == "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1",
				Algorithm: "ES256", Use: "sig"}}})
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": c.URL, "jwks_uri": c.URL + "/keys"})
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// sign signs a payload that need not be valid JSON, under a header that need not be either.
func (c *company) sign(t *testing.T, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	digest := sha256.Sum256([]byte(input)) // the library would make a header of its own
	r, v, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	return input + "." + encode(signature)
}

// enterprise is an authorization server that accepts assertions of a company, at two replicas with one store.
type enterprise struct {
	t        *testing.T
	company  *company
	replicas []*httptest.Server
	issuer   string // identifier
	resource string
	now      time.Time

	mu     sync.Mutex
	events []providers.SignInEvent
	denied providers.Reason
	down   bool
}

// away is a provider for an issuer at which no one signs in.
type away struct{ authserver.Authenticator }

func (away) Choices() []authserver.Person { return nil }

// brokenStore is a store that can be down.
type brokenStore struct {
	store.Store
	e *enterprise
}

func (b brokenStore) Create(ctx context.Context, r store.Record) error {
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	if b.e.down {
		return errors.New("no connection")
	}
	return b.Store.Create(ctx, r)
}

func newEnterprise(t *testing.T, company *company, change ...func(*authserver.Config, *AssertionConfig)) *enterprise {
	t.Helper()
	e := &enterprise{t: t, company: company, now: time.Now().Truncate(time.Second)}
	now := func() time.Time { return e.now }
	kept, seals := brokenStore{store.NewMemory(1000, now), e}, seal.Random()
	for range 2 {
		server := httptest.NewUnstartedServer(nil)
		if e.issuer == "" {
			e.issuer = "http://" + server.Listener.Addr().String()
			e.resource = e.issuer + "/mcp"
		}
		assertions := AssertionConfig{Audience: e.issuer, Issuers: []string{company.URL, "https://127.0.0.1:1"},
			SignInIssuer: company.URL, Client: token.NewClient(nil, ""), Logger: slog.New(slog.DiscardHandler), Now: now}
		config := authserver.Config{
			Issuer: e.issuer, Resources: []string{e.resource, e.issuer + "/other"}, SigningAlgorithm: "ES256",
			Scopes: []string{"notes:read", "notes:write", "admin"}, DefaultScopes: []string{"notes:read"},
			SignIn: away{}, Store: kept, Keys: seals, Now: now, Logger: slog.New(slog.DiscardHandler),
			Clients: []authserver.Client{{ID: agentID, Secret: agentSecret},
				{ID: "other", Secret: "another-secret-of-decent-length"},
				{ID: "ordinary", Secret: agentSecret, RedirectURIs: []string{"https://app.example/cb"}}},
			ClientPolicy: authserver.ClientPolicy{EnterpriseClients: []string{agentID, "other"},
				EnterpriseScopes: []string{"notes:read", "notes:write"}},
			Record: func(_ context.Context, event providers.SignInEvent) {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.events = append(e.events, event)
			},
			Denied: func(id *providers.Identity) (providers.Reason, bool) {
				if id.Issuer != e.issuer || id.Subject == "" || id.Client != agentID || id.IssuedAt.IsZero() {
					t.Errorf("asked about %+v", id)
				}
				return e.denied, e.denied != ""
			},
		}
		for _, c := range change {
			c(&config, &assertions)
		}
		verifier := NewAssertions(assertions)
		ctx, cancel := context.WithCancel(context.Background())
		stopped := make(chan struct{})
		go func() { verifier.Run(ctx); close(stopped) }()
		config.Assertions = verifier
		issuer, err := authserver.New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := issuer.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		server.Config.Handler = issuer.Handler()
		server.Start()
		e.replicas = append(e.replicas, server)
		t.Cleanup(func() { server.Close(); cancel(); <-stopped })
	}
	return e
}

// claims returns those of a valid assertion with changes: alternating names and values. nil removes the claim.
func (e *enterprise) claims(changes ...any) map[string]any {
	m := map[string]any{"iss": e.company.URL, "sub": "u1", "aud": e.issuer, "client_id": agentID, "jti": rand.Text(),
		"exp": e.now.Add(5 * time.Minute).Unix(), "iat": e.now.Unix(), "resource": e.resource,
		"scope": "notes:read admin notes:write"}
	for n := 0; n < len(changes); n += 2 {
		if changes[n+1] == nil {
			delete(m, changes[n].(string))
		} else {
			m[changes[n].(string)] = changes[n+1]
		}
	}
	return m
}

const goodHeader = `{"alg":"ES256","kid":"1","typ":"oauth-id-jag+jwt"}`

func (e *enterprise) assertion(changes ...any) string {
	return e.company.sign(e.t, e.company.key, goodHeader, jsonOf(e.claims(changes...)))
}

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// exchanged is a response of the token endpoint.
type exchanged struct {
	status int
	header http.Header
	body   map[string]any
}

func (e *enterprise) post(replica int, form url.Values) exchanged {
	e.t.Helper()
	response, err := http.PostForm(e.replicas[replica].URL+"/token", form)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	x := exchanged{status: response.StatusCode, header: response.Header}
	if err != nil || json.Unmarshal(text, &x.body) != nil {
		e.t.Fatalf("status %d: %s", response.StatusCode, text)
	}
	return x
}

func (e *enterprise) exchange(assertion string, changes ...string) exchanged {
	e.t.Helper()
	form := url.Values{"grant_type": {bearerGrant}, "client_id": {agentID}, "client_secret": {agentSecret},
		"assertion": {assertion}}
	for n := 0; n < len(changes); n += 2 {
		form.Set(changes[n], changes[n+1])
	}
	return e.post(0, form)
}

// reason returns the reason of the last event.
func (e *enterprise) reason() providers.Reason {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.events) == 0 || e.events[len(e.events)-1].Kind != "signin.assert" {
		return "no event"
	}
	return e.events[len(e.events)-1].Reason
}

func (e *enterprise) wantRefused(t *testing.T, x exchanged, code string, reason providers.Reason) {
	t.Helper()
	if got := e.reason(); x.status != http.StatusBadRequest || x.body["error"] != code || got != reason {
		t.Errorf("status %d, %v, reason %s; want %s and %s", x.status, x.body, got, code, reason)
	}
	if code == "invalid_grant" && x.body["error_description"] != "the assertion is not accepted" {
		t.Errorf("the description is %v", x.body["error_description"])
	}
}

func (e *enterprise) wantToken(t *testing.T, x exchanged) map[string]any {
	t.Helper()
	if x.status != http.StatusOK {
		t.Fatalf("status %d: %v, reason %s", x.status, x.body, e.reason())
	}
	if x.body["refresh_token"] != nil || x.body["id_token"] != nil || x.header.Get("Cache-Control") != "no-store" {
		t.Errorf("response %v", x.body)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(x.body["access_token"].(string), ".")[1])
	var claims map[string]any
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		t.Fatalf("token %v", x.body)
	}
	return claims
}

func TestIdentityAssertions(t *testing.T) {
	e := newEnterprise(t, newCompany(t))
	t.Run("the token has what assertion, client and operator have in common", func(t *testing.T) {
		x := e.exchange(e.assertion())
		claims := e.wantToken(t, x)
		names := slices.Sorted(maps.Keys(claims))
		if fmt.Sprint(names) != "[aud client_id exp iat iss jti scope sub]" || claims["sub"] != "u1" ||
			claims["iss"] != e.issuer ||
			claims["aud"] != e.resource || claims["client_id"] != agentID || claims["scope"] != "notes:read notes:write" {
			t.Errorf("claims %v", claims)
		}
		if x.body["token_type"] != "Bearer" || x.body["scope"] != "notes:read notes:write" ||
			x.body["expires_in"] != 600.0 {
			t.Errorf("response %v", x.body)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		want := providers.SignInEvent{Kind: "signin.assert", Subject: "u1", ClientID: agentID, Resource: e.resource,
			Scopes: []string{"notes:read", "notes:write"}}
		if got := e.events[len(e.events)-1]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("event %+v", got)
		}
	})
	accepted := map[string]string{
		"aud in a list":      e.assertion("aud", []string{e.issuer}),
		"resource in a list": e.assertion("resource", []string{e.resource}),
		"another resource":   e.assertion("resource", e.issuer+"/other"),
		"unknown claims":     e.assertion("amr", []string{"mfa"}, "email", "u1@x.example", "nbf", e.now.Unix()),
		"typ in another case, with a prefix": e.company.sign(t, e.company.key,
			`{"alg":"ES256","kid":"1","typ":"application/OAuth-ID-JAG+jwt"}`, jsonOf(e.claims())),
		"no kid": e.company.sign(t, e.company.key, `{"alg":"ES256","typ":"oauth-id-jag+jwt"}`,
			jsonOf(e.claims())),
		"expired within the leeway": e.assertion("iat", e.now.Unix()-330, "exp", e.now.Unix()-30),
	}
	for name, assertion := range accepted {
		t.Run("accepted: "+name, func(t *testing.T) { e.wantToken(t, e.exchange(assertion)) })
	}
	t.Run("the scope parameter narrows", func(t *testing.T) {
		claims := e.wantToken(t, e.exchange(e.assertion(), "scope", "notes:read admin openid"))
		if claims["scope"] != "notes:read" {
			t.Errorf("scope %v", claims["scope"])
		}
	})
	t.Run("there is no ID token and no refresh token to ask for", func(t *testing.T) {
		lenient := newEnterprise(t, e.company, func(c *authserver.Config, _ *AssertionConfig) {
			c.Scopes = append(c.Scopes, "openid", "offline_access")
			c.ClientPolicy.EnterpriseScopes = c.Scopes
		})
		claims := lenient.wantToken(t, lenient.exchange(lenient.assertion("scope", "openid offline_access admin")))
		if claims["scope"] != "admin" {
			t.Errorf("scope %v", claims["scope"])
		}
	})
	t.Run("the subject of another provider than that of sign-ins has its issuer", func(t *testing.T) {
		other := newEnterprise(t, e.company, func(_ *authserver.Config, c *AssertionConfig) { c.SignInIssuer = "" })
		claims := other.wantToken(t, other.exchange(other.assertion()))
		if claims["sub"] != e.company.URL+"#u1" {
			t.Errorf("sub %v", claims["sub"])
		}
	})
}

// twice returns the JSON of an object in which the member occurs twice.
func twice(object map[string]any, name string) string {
	return fmt.Sprintf(`{%s:%s,%s`, jsonOf(name), jsonOf(object[name]), jsonOf(object)[1:])
}

func TestRefusedIdentityAssertions(t *testing.T) {
	e := newEnterprise(t, newCompany(t))
	type refused struct {
		name, assertion string
		reason          providers.Reason
	}
	sign := func(header, payload string) string { return e.company.sign(t, e.company.key, header, payload) }
	var all []refused
	add := func(name string, reason providers.Reason, assertion string) {
		all = append(all, refused{name, assertion, reason})
	}
	// Every member: missing, of another type, doubled, in another case.
	for _, name := range []string{"iss", "sub", "aud", "client_id", "jti", "exp", "iat", "resource"} {
		add(name+" missing", ReasonAssertionIncomplete, e.assertion(name, nil))
		wrong := []string{`null`, `true`, `{}`, `""`, `[]`, `[1]`, `[["x"]]`}
		if name == "exp" || name == "iat" {
			wrong = append(wrong, `"1"`, `-1`, `1e300`)
		} else {
			wrong = append(wrong, `17`, `"\ud800"`, `"a\u0000b"`, `" x"`, `"`+strings.Repeat("x", 600)+`"`)
		}
		for _, value := range wrong {
			reason := ReasonAssertionClaim
			switch {
			case name == "resource" && value == `[]`:
				reason = "assertion_resource_mismatch"
			case name == "aud" && value == `[]`:
				reason = ReasonAssertionAudience
			}
			add(name+" is "+value[:min(len(value), 20)], reason, e.assertion(name, json.RawMessage(value)))
		}
		add(name+" twice", ReasonAssertionMalformed, sign(goodHeader, twice(e.claims(), name)))
		add(name+" in another case", ReasonAssertionMalformed, e.assertion(strings.ToUpper(name[:1])+name[1:], "x"))
	}
	for _, value := range []string{`17`, `["notes:read"]`, `{}`, `null`, `true`} {
		add("scope is "+value, ReasonAssertionClaim, e.assertion("scope", json.RawMessage(value)))
	}
	add("scope twice", ReasonAssertionMalformed, sign(goodHeader, twice(e.claims(), "scope")))
	add("nbf is text", ReasonAssertionClaim, e.assertion("nbf", "x"))
	add("bound to a key", ReasonAssertionBound, e.assertion("cnf", map[string]string{"jkt": "x"}))
	for name, header := range map[string]string{
		"no typ": `{"alg":"ES256","kid":"1"}`, "no alg": `{"typ":"oauth-id-jag+jwt","kid":"1"}`,
	} {
		add(name, ReasonAssertionIncomplete, sign(header, jsonOf(e.claims())))
	}
	for name, header := range map[string]string{
		"typ is a number": `{"alg":"ES256","kid":"1","typ":1}`, "typ is null": `{"alg":"ES256","kid":"1","typ":null}`,
		"alg is a list":   `{"alg":["ES256"],"kid":"1","typ":"oauth-id-jag+jwt"}`,
		"kid is a number": `{"alg":"ES256","kid":1,"typ":"oauth-id-jag+jwt"}`,
	} {
		add(name, ReasonAssertionClaim, sign(header, jsonOf(e.claims())))
	}
	for name, header := range map[string]string{
		"typ twice": `{"alg":"ES256","kid":"1","typ":"oauth-id-jag+jwt","typ":"oauth-id-jag+jwt"}`,
		"alg twice": `{"alg":"none","kid":"1","typ":"oauth-id-jag+jwt","alg":"ES256"}`,
		"crit":      `{"alg":"ES256","kid":"1","typ":"oauth-id-jag+jwt","crit":["x"],"x":1}`,
		"b64":       `{"alg":"ES256","kid":"1","typ":"oauth-id-jag+jwt","b64":true}`,
		"a list":    `[]`, "no JSON": `x`,
	} {
		add("header: "+name, ReasonAssertionMalformed, sign(header, jsonOf(e.claims())))
	}
	for _, typ := range []string{"JWT", "at+jwt", "", "oauth-id-jag", "id-jag+jwt", "application/jwt"} {
		reason := ReasonAssertionType
		if typ == "" {
			reason = ReasonAssertionClaim
		}
		add("typ is "+typ, reason, sign(`{"alg":"ES256","kid":"1","typ":"`+typ+`"}`, jsonOf(e.claims())))
	}
	for _, alg := range []string{"none", "HS256", "HS512", "es256", "ES256K", "RSA1_5"} {
		add("alg is "+alg, ReasonAssertionAlgorithm,
			sign(`{"alg":"`+alg+`","kid":"1","typ":"oauth-id-jag+jwt"}`, jsonOf(e.claims())))
	}
	good := e.assertion()
	parts := strings.Split(good, ".")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	add("alg of another type of key", ReasonAssertionSignature,
		sign(`{"alg":"RS256","kid":"1","typ":"oauth-id-jag+jwt"}`, jsonOf(e.claims())))
	add("signed with another key", ReasonAssertionSignature, e.company.sign(t, other, goodHeader, jsonOf(e.claims())))
	add("another payload under the signature", ReasonAssertionSignature,
		parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(jsonOf(e.claims("sub", "u2"))))+"."+parts[2])
	add("no signature", ReasonAssertionSignature, parts[0]+"."+parts[1]+".")
	for name, text := range map[string]string{
		"two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "padding": good + "=",
		"a line break": good + "\n",
		"JSON form":    `{"payload":"` + parts[1] + `"}`, "text": "assertion",
		"too long": e.assertion("x", strings.Repeat("x", 17<<10)),
	} {
		add(name, ReasonAssertionMalformed, text)
	}
	add("payload is a list", ReasonAssertionMalformed, sign(goodHeader, `[]`))
	add("payload is not UTF-8", ReasonAssertionMalformed, sign(goodHeader, "{\"iss\":\"\xff\"}"))
	add("payload nested 100 times", ReasonAssertionMalformed, sign(goodHeader,
		jsonOf(e.claims("x", json.RawMessage(strings.Repeat("[", 100)+strings.Repeat("]", 100))))))

	// Foreign.
	for _, issuer := range []string{"https://evil.example", e.company.URL + "/", strings.ToUpper(e.company.URL),
		e.issuer} {
		add("iss is "+issuer, ReasonAssertionIssuer, e.assertion("iss", issuer))
	}
	for _, audience := range []any{"https://evil.example", e.issuer + "/", e.issuer + "/token", e.resource,
		[]string{e.issuer, "https://evil.example"}, []string{e.issuer, e.issuer}} {
		add(fmt.Sprint("aud is ", audience), ReasonAssertionAudience, e.assertion("aud", audience))
	}
	add("client_id of another client", "assertion_client_mismatch", e.assertion("client_id", "other"))
	for _, resource := range []any{"https://evil.example/mcp", e.resource + "/", e.issuer, e.resource + "#x",
		strings.ToUpper(e.resource), []string{e.resource, e.issuer + "/other"}, []string{e.resource, e.resource}} {
		add(fmt.Sprint("resource is ", resource), "assertion_resource_mismatch", e.assertion("resource", resource))
	}
	// Times.
	now := e.now.Unix()
	add("expired", ReasonAssertionExpired, e.assertion("iat", now-360, "exp", now-60))
	add("expired long ago", ReasonAssertionExpired, e.assertion("iat", now-7200, "exp", now-7000))
	add("valid for 301 s", ReasonAssertionLifetime, e.assertion("exp", now+301))
	add("valid for a day", ReasonAssertionLifetime, e.assertion("exp", now+86400))
	add("exp before iat", ReasonAssertionLifetime, e.assertion("iat", now+30, "exp", now+20))
	add("issued in the future", ReasonAssertionFuture, e.assertion("iat", now+61, "exp", now+120))
	add("not valid yet", ReasonAssertionFuture, e.assertion("nbf", now+61))

	for _, r := range all {
		t.Run("row 63 "+r.name, func(t *testing.T) {
			e.wantRefused(t, e.exchange(r.assertion), "invalid_grant", r.reason)
		})
	}
	t.Run("row 63 used twice, at the other replica and after its end within the leeway", func(t *testing.T) {
		assertion := e.assertion()
		e.wantToken(t, e.exchange(assertion))
		for replica := range 2 {
			e.wantRefused(t, e.post(replica, url.Values{"grant_type": {bearerGrant}, "client_id": {agentID},
				"client_secret": {agentSecret}, "assertion": {assertion}}), "invalid_grant", "assertion_replayed")
		}
		before := e.now
		e.now = e.now.Add(5*time.Minute + 59*time.Second)
		e.wantRefused(t, e.exchange(assertion), "invalid_grant", "assertion_replayed")
		e.now = e.now.Add(time.Second)
		e.wantRefused(t, e.exchange(assertion), "invalid_grant", ReasonAssertionExpired)
		e.now = before
	})
	t.Run("row 63 the jti of another assertion", func(t *testing.T) {
		e.wantToken(t, e.exchange(e.assertion("jti", "same")))
		e.wantRefused(t, e.exchange(e.assertion("jti", "same", "sub", "u2")), "invalid_grant", "assertion_replayed")
	})
	t.Run("row 63 at two replicas at once", func(t *testing.T) {
		assertion := e.assertion()
		var group sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		for n := range 20 {
			group.Go(func() {
				x := e.post(n%2, url.Values{"grant_type": {bearerGrant}, "client_id": {agentID},
					"client_secret": {agentSecret}, "assertion": {assertion}})
				mu.Lock()
				defer mu.Unlock()
				statuses[x.status]++
			})
		}
		group.Wait()
		if statuses[200] != 1 || statuses[400] != 19 {
			t.Errorf("statuses %v", statuses)
		}
	})
	for name, changes := range map[string][]any{
		"no scope": {"scope", nil}, "an empty scope": {"scope", ""}, "a scope that clients may not get": {"scope", "admin"},
		"scopes of another server": {"scope", "chat.read chat.write"}, "openid alone": {"scope", "openid offline_access"},
	} {
		t.Run("row 63 "+name, func(t *testing.T) {
			e.wantRefused(t, e.exchange(e.assertion(changes...)), "invalid_scope", "assertion_scope_missing")
		})
	}
	t.Run("row 63 a resource parameter that differs", func(t *testing.T) {
		e.wantRefused(t, e.exchange(e.assertion(), "resource", e.issuer+"/other"), "invalid_target",
			"assertion_resource_mismatch")
	})
	t.Run("row 63 no assertion", func(t *testing.T) {
		if x := e.exchange(""); x.status != http.StatusBadRequest || x.body["error"] != "invalid_request" {
			t.Errorf("status %d: %v", x.status, x.body)
		}
	})
	t.Run("a refused assertion is not used up", func(t *testing.T) {
		assertion := e.assertion()
		e.denied = "caller_denied"
		e.wantRefused(t, e.exchange(assertion), "invalid_grant", "caller_denied")
		e.denied = ""
		e.wantToken(t, e.exchange(assertion))
	})
}

func TestClientsOfIdentityAssertions(t *testing.T) {
	e := newEnterprise(t, newCompany(t))
	for name, changes := range map[string][]string{
		"no secret": {"client_secret", ""}, "a wrong secret": {"client_secret", "x"}, "no client": {"client_id", ""},
		"an unknown client": {"client_id", "unheard-of"}, "the secret of another client": {"client_id", "other"},
		"an assertion as the client": {"client_assertion", e.assertion(), "client_assertion_type",
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_secret", ""},
	} {
		t.Run("row 63 "+name, func(t *testing.T) {
			x := e.exchange(e.assertion(), changes...)
			if x.status != http.StatusUnauthorized || x.body["error"] != "invalid_client" {
				t.Errorf("status %d: %v", x.status, x.body)
			}
		})
	}
	t.Run("row 63 a client that the operator does not list", func(t *testing.T) {
		e.wantRefused(t, e.exchange(e.assertion("client_id", "ordinary"), "client_id", "ordinary"), "unauthorized_client",
			"assertion_client_not_allowed")
	})
	t.Run("row 63 a client that has registered itself", func(t *testing.T) {
		response, err := http.Post(e.replicas[0].URL+"/register", "application/json",
			strings.NewReader(`{"redirect_uris":["https://app.example/cb"]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var client struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		if err := json.NewDecoder(response.Body).Decode(&client); err != nil {
			t.Fatal(err)
		}
		e.wantRefused(t, e.exchange(e.assertion("client_id", client.ID[:20]), "client_id", client.ID, "client_secret",
			client.Secret), "unauthorized_client", "assertion_client_not_allowed")
	})
	t.Run("a client for assertions cannot sign people in", func(t *testing.T) {
		x := e.post(0, url.Values{"grant_type": {"authorization_code"}, "client_id": {agentID},
			"client_secret": {agentSecret}, "code": {"x"}, "code_verifier": {strings.Repeat("x", 43)}})
		if x.status != http.StatusBadRequest || x.body["error"] != "unauthorized_client" {
			t.Errorf("status %d: %v", x.status, x.body)
		}
	})
	t.Run("without an issuer of assertions the grant does not exist", func(t *testing.T) {
		issuer, err := authserver.New(authserver.Config{Issuer: e.issuer, Resources: []string{e.resource}, SignIn: away{},
			Scopes: []string{"notes:read"}, SigningAlgorithm: "ES256",
			Clients: []authserver.Client{{ID: agentID, Secret: agentSecret,
				RedirectURIs: []string{"https://app.example/cb"}}}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, e.issuer+"/token", strings.NewReader(url.Values{
			"grant_type": {bearerGrant}, "client_id": {agentID}, "client_secret": {agentSecret},
			"assertion": {e.assertion()}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		issuer.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "unsupported_grant_type") {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

func TestIdentityAssertionsDuringOutages(t *testing.T) {
	unavailable := func(t *testing.T, e *enterprise, x exchanged, reason providers.Reason) {
		t.Helper()
		if x.status != http.StatusServiceUnavailable || x.body["error"] != "temporarily_unavailable" ||
			x.header.Get("Retry-After") == "" || e.reason() != reason {
			t.Errorf("status %d, Retry-After %q, %v, reason %s", x.status, x.header.Get("Retry-After"), x.body, e.reason())
		}
	}
	t.Run("row 54 the store is down, and the assertion can be used afterwards", func(t *testing.T) {
		e := newEnterprise(t, newCompany(t))
		assertion := e.assertion()
		e.down = true
		unavailable(t, e, e.exchange(assertion), "store_unavailable")
		e.down = false
		e.wantToken(t, e.exchange(assertion))
	})
	t.Run("the keys of the company cannot be fetched", func(t *testing.T) {
		c := newCompany(t)
		c.up = false
		e := newEnterprise(t, c, func(_ *authserver.Config, a *AssertionConfig) {
			a.Keys = token.KeyPolicy{RefetchInterval: 10 * time.Millisecond}
		})
		assertion := e.assertion()
		unavailable(t, e, e.exchange(assertion), providers.ReasonKeysUnavailable)
		c.mu.Lock()
		c.up = true
		c.mu.Unlock()
		for n := range 200 {
			if x := e.exchange(assertion); x.status == http.StatusOK {
				return
			} else if n == 199 {
				t.Errorf("status %d: %v", x.status, x.body)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	t.Run("row 48 an assertion of before provider.revoke_before", func(t *testing.T) {
		e := newEnterprise(t, newCompany(t), func(c *authserver.Config, _ *AssertionConfig) {
			c.Sessions.RevokeBefore = c.Now().Add(-time.Minute)
		})
		e.wantRefused(t, e.exchange(e.assertion("iat", e.now.Unix()-61, "exp", e.now.Unix()+60)), "invalid_grant",
			"assertion_revoked")
		e.wantToken(t, e.exchange(e.assertion("iat", e.now.Unix()-60, "exp", e.now.Unix()+60)))
	})
}

func TestEnterpriseMetadata(t *testing.T) {
	e := newEnterprise(t, newCompany(t))
	response, err := http.Get(e.replicas[0].URL + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var m map[string]any
	if err := json.NewDecoder(response.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(m["authorization_grant_profiles_supported"]) != "[urn:ietf:params:oauth:grant-profile:id-jag]" ||
		fmt.Sprint(m["grant_types_supported"]) != "[authorization_code refresh_token "+bearerGrant+"]" ||
		fmt.Sprint(m["token_endpoint_auth_methods_supported"]) != "[none client_secret_basic client_secret_post]" ||
		m["identity_chaining_requested_token_types_supported"] != nil {
		t.Errorf("metadata %v", m)
	}
}

func TestAssertionReasonsAreDocumented(t *testing.T) {
	seen := map[providers.Reason]bool{}
	for _, doc := range assertionReasons() {
		if seen[doc.Code] || doc.Meaning == "" {
			t.Errorf("%s", doc.Code)
		}
		seen[doc.Code] = true
	}
	if len(seen) != 12 {
		t.Errorf("%d reasons", len(seen))
	}
}

// The go-sdk's client for MCP's Enterprise-Managed Authorization gets a token without a browser: the demo is the
// company's provider, and its ID token is what the client has.
func TestGoSDKClientWithIdentityAssertion(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	const redirect = "http://127.0.0.1:7777/callback"
	idp, err := authserver.New(authserver.Config{Issuer: origin, Resources: []string{origin + "/mcp"}, AutoApprove: true,
		SigningAlgorithm: "ES256", Logger: slog.New(slog.DiscardHandler),
		Clients: []authserver.Client{{ID: agentID, Secret: "secret-at-the-company", RedirectURIs: []string{redirect},
			GrantTypes: []string{"authorization_code", authserver.GrantTokenExchange}}}})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = idp.Handler()
	server.Start()
	t.Cleanup(server.Close)
	e := newEnterprise(t, &company{Server: server})

	handler, err := extauth.NewEnterpriseHandler(&extauth.EnterpriseHandlerConfig{
		IdPIssuerURL: origin,
		IdPCredentials: &oauthex.ClientCredentials{ClientID: agentID,
			ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "secret-at-the-company"}},
		MCPAuthServerURL: e.issuer, MCPResourceURI: e.resource, MCPScopes: []string{"notes:read"},
		MCPCredentials: &oauthex.ClientCredentials{ClientID: agentID,
			ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: agentSecret}},
		IDTokenFetcher: func(ctx context.Context) (*oauth2.Token, error) {
			return signInAtDemo(ctx, origin, redirect)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, e.resource, nil)
	challenge := &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}
	if err := handler.Authorize(t.Context(), request, challenge); err != nil {
		t.Fatal(err)
	}
	source, err := handler.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	claims := e.wantToken(t, exchanged{http.StatusOK, http.Header{"Cache-Control": {"no-store"}},
		map[string]any{"access_token": got.AccessToken}})
	if claims["sub"] != "alice" || claims["aud"] != e.resource || claims["scope"] != "notes:read" ||
		claims["client_id"] != agentID {
		t.Errorf("claims %v", claims)
	}
}

// signInAtDemo signs in as alice: the demo approves without a page.
func signInAtDemo(ctx context.Context, origin, redirect string) (*oauth2.Token, error) {
	config := oauth2.Config{ClientID: agentID, ClientSecret: "secret-at-the-company", RedirectURL: redirect,
		Scopes:   []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: origin + "/authorize", TokenURL: origin + "/token"}}
	verifier := oauth2.GenerateVerifier()
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := browser.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	location, err := response.Location()
	if err != nil {
		return nil, err
	}
	return config.Exchange(ctx, location.Query().Get("code"), oauth2.VerifierOption(verifier))
}
