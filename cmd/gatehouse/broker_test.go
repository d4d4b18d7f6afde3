package main

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/configs"
)

// brokerClient is a client of the authorization server at an origin. It has registered dynamically.
type brokerClient struct{ origin, resource, id string }

func register(t testing.TB, origin, resource string) brokerClient {
	t.Helper()
	r := send(t, http.MethodPost, origin+"/register", "", `{"client_name":"Test client","redirect_uris":["`+redirectURI+
		`"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`, nil)
	var registered struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal([]byte(r.body), &registered); err != nil || r.status != http.StatusCreated {
		t.Fatalf("/register: %d %s", r.status, r.body)
	}
	return brokerClient{origin, resource, registered.ID}
}

// register registers a client of the server.
func (srv *testServer) register(t testing.TB) brokerClient { return register(t, srv.origin(), srv.url) }

// tokenPair is the response of the token endpoint.
type tokenPair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

const testVerifier = "a-code-verifier-that-is-long-enough-for-rfc-7636-0123456789"

// authorizeURL returns the URL of an authorization request.
func (c brokerClient) authorizeURL(scopes ...string) string {
	query := url.Values{"client_id": {c.id}, "redirect_uri": {redirectURI}, "response_type": {"code"},
		"scope": {strings.Join(scopes, " ")}, "resource": {c.resource}, "state": {"state-of-the-client"},
		"code_challenge_method": {"S256"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(testVerifier)}}
	return c.origin + "/authorize?" + query.Encode()
}

// authorize lets u sign in, and returns the parameters of the response to the client.
func (c brokerClient) authorize(t testing.TB, u *user, scopes ...string) (url.Values, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	q, err := u.open(ctx, c.authorizeURL(scopes...))
	if err == nil && (q.Get("iss") != c.origin || q.Get("state") != "state-of-the-client") {
		t.Errorf("the response to the client is %v", q)
	}
	return q, err
}

// send sends a request to the token endpoint.
func (c brokerClient) send(t testing.TB, form url.Values, header map[string]string) response {
	t.Helper()
	form.Set("client_id", c.id)
	all := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	maps.Copy(all, header)
	return send(t, http.MethodPost, c.origin+"/token", "", form.Encode(), all)
}

// post is send with the members of the response.
func (c brokerClient) post(t testing.TB, header map[string]string, form url.Values) (response, tokenPair) {
	t.Helper()
	r := c.send(t, form, header)
	var pair tokenPair
	if err := json.Unmarshal([]byte(r.body), &pair); err != nil {
		t.Errorf("/token: %d %s", r.status, r.body)
	}
	return r, pair
}

func (c brokerClient) exchange(t testing.TB, code string) (response, tokenPair) {
	t.Helper()
	return c.post(t, nil, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI},
		"code_verifier": {testVerifier}})
}

func (c brokerClient) refresh(t testing.TB, token string) (response, tokenPair) {
	t.Helper()
	return c.post(t, nil, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// signIn signs name in, and returns the tokens.
func (c brokerClient) signIn(t testing.TB, name string, scopes ...string) tokenPair {
	t.Helper()
	q, err := c.authorize(t, &user{name: name, decision: "approve"}, scopes...)
	if err != nil || q.Get("code") == "" {
		t.Fatalf("%v, %v", q, err)
	}
	r, pair := c.exchange(t, q.Get("code"))
	if r.status != http.StatusOK || pair.Access == "" {
		t.Fatalf("/token: %d %s", r.status, r.body)
	}
	return pair
}

// all are the scopes of alice, with a refresh token.
func allScopes() []string {
	return []string{"mcp:use", "greet:read", "greet:write", "gatehouse:admin", "offline_access"}
}

// whoami calls the tool with a token.
func whoami(t testing.TB, resource, token string) response {
	t.Helper()
	body, header := callModern("whoami", `{}`)
	return send(t, http.MethodPost, resource, token, body, header)
}

// wantRefused expects the error of a token request.
func wantRefused(t testing.TB, what string, r response, status int, code string) {
	t.Helper()
	var answer struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal([]byte(r.body), &answer)
	if r.status != status || answer.Error != code {
		t.Errorf("%s: %d %s, want %d %s", what, r.status, r.body, status, code)
	}
	if status == http.StatusServiceUnavailable && r.header.Get("Retry-After") == "" {
		t.Errorf("%s: no Retry-After", what)
	}
}

// 401, metadata, registration, consent, the sign-in at the company, token, tools: the SDK's client needs the URL alone.
func TestBroker_ClientKnowsOnlyTheURL(t *testing.T) {
	t.Parallel()
	documentURL, trustDocuments := clientDocument(t)
	document := func(c *auth.AuthorizationCodeHandlerConfig) {
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: documentURL}
	}
	srv, company := startBroker(t, map[string]string{"provider.allow_loopback_client_documents": "true"}, trustDocuments)
	for _, protocol := range []string{modern, legacy} {
		for name, registration := range map[string]clientOption{
			"dynamic registration":        dynamicClient,
			"client ID metadata document": document,
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				alice := &user{name: "alice", decision: "approve"}
				session, err := connect(t, srv.url, protocol, alice, registration)
				if err != nil {
					t.Fatal(err)
				}
				greeting, err := call(t, session, "greet", map[string]any{"name": "Ada"})
				if err != nil || textOf(greeting) != "Hello, Ada!" {
					t.Fatalf("greet returned %+v, %v", greeting, err)
				}
				me := whoamiOf(t, session)
				slices.Sort(me.Scopes)
				if me.Subject != "alice" || me.Issuer != srv.origin() || strings.Join(me.Audience, " ") != srv.url ||
					strings.Join(me.Scopes, " ") != "greet:read mcp:use offline_access" ||
					me.Client != alice.requests[0].Get("client_id") {
					t.Errorf("the caller is %+v", me)
				}
				if len(alice.pages) != 2 || !strings.Contains(alice.pages[0], strings.TrimPrefix(company.url, "http://")) {
					t.Errorf("alice has seen %d pages:\n%s", len(alice.pages), strings.Join(alice.pages, "\n"))
				}
			})
		}
	}
	for _, q := range company.authorizations() {
		if q.Has("resource") || q.Get("scope") != "openid offline_access" || q.Get("client_id") != companyClient ||
			q.Get("redirect_uri") != srv.origin()+"/callback" || q.Get("code_challenge") == "" {
			t.Errorf("the request to the company is %v", q)
		}
	}
	company.wantNoSecrets(t, "the log", srv.log.String())
}

// Each step-up asks for consent again, keeps what the client had, and gives no person more than the rules do.
func TestBroker_ClientStepsUp(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			srv, _ := startBroker(t, nil)
			alice := &user{name: "alice", decision: "approve"}
			session, err := connect(t, srv.url, protocol, alice, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			result, err := call(t, session, "stats", nil)
			if err != nil || result.IsError {
				t.Fatalf("stats returned %+v, %v", result, err)
			}
			if len(alice.requests) != 2 || len(alice.pages) != 4 {
				t.Fatalf("%d sign-ins, %d pages", len(alice.requests), len(alice.pages))
			}
			if !strings.Contains(alice.pages[2], "gatehouse:admin") || strings.Contains(alice.pages[0], "gatehouse:admin") {
				t.Errorf("the pages are\n%s\n%s", alice.pages[0], alice.pages[2])
			}
			if me := whoamiOf(t, session); !slices.Contains(me.Scopes, "greet:read") {
				t.Errorf("the step-up lost a scope of the first sign-in: %v", me.Scopes)
			}

			bob := &user{name: "bob", decision: "approve"}
			if session, err = connect(t, srv.url, protocol, bob, dynamicClient); err != nil {
				t.Fatal(err)
			}
			if me := whoamiOf(t, session); me.Subject != "bob" || slices.Contains(me.Scopes, "gatehouse:admin") {
				t.Errorf("the caller is %+v", me)
			}
			// The SDK's client gives up after one more sign-in.
			if result, err := call(t, session, "stats", nil); err == nil && !result.IsError || len(bob.requests) != 2 {
				t.Errorf("bob calls stats after %d sign-ins: %+v", len(bob.requests), result)
			}
		})
	}
}

// A token says who calls, with which client and scopes, for which resource, and nothing else about the person.
func TestBroker_TokenContents(t *testing.T) {
	t.Parallel()
	srv, company := startBroker(t, nil)
	client := srv.register(t)
	tokens := client.signIn(t, "alice", "mcp:use", "greet:read", "offline_access")
	_, refreshed := client.refresh(t, tokens.Refresh)
	for name, token := range map[string]string{"exchange": tokens.Access, "refresh": refreshed.Access} {
		parts := strings.Split(token, ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got,
			[]string{"aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"}) {
			t.Errorf("%s: the claims are %v", name, got)
		}
		for claim, want := range map[string]string{"iss": srv.origin(), "sub": "alice", "aud": srv.url,
			"client_id": client.id, "scope": "mcp:use greet:read offline_access"} {
			if claims[claim] != want {
				t.Errorf("%s: %s is %v, want %s", name, claim, claims[claim], want)
			}
		}
		if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 600 {
			t.Errorf("%s: it lasts %v s", name, lifetime)
		}
		if r := whoami(t, srv.url, token); r.status != http.StatusOK {
			t.Errorf("%s: a call returned %d %s", name, r.status, r.body)
		}
	}
	if n := company.questions(); n != 0 {
		t.Errorf("the company was asked %d times within recheck_interval", n)
	}
}

// What the company issues, also with the resource of this server as its audience, is no token of this server.
func TestBroker_TokensOfTheCompanyAreRefused(t *testing.T) {
	t.Parallel()
	srv, company := startBroker(t, map[string]string{"provider.upstream_scopes": "openid,offline_access,mcp:use"})
	client := srv.register(t)
	tokens := client.signIn(t, "alice", "mcp:use", "openid", "offline_access")
	issued := company.lastIssued(t)
	if claimOf(t, issued.Access, "aud") != srv.url || !strings.Contains(claimOf(t, issued.Access, "scope"), "mcp:use") {
		t.Fatalf("the company's token has other claims than this test needs: %s", issued.Access)
	}
	for name, token := range map[string]string{
		"row 42 access token of the company":  issued.Access,
		"row 42 ID token of the company":      issued.ID,
		"row 42 refresh token of the company": issued.Refresh,
		"row 41 refresh token of the server":  tokens.Refresh,
	} {
		t.Run(name, func(t *testing.T) {
			r := whoami(t, srv.url, token)
			if r.status != http.StatusUnauthorized ||
				!strings.Contains(r.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%d %q %s", r.status, r.header.Get("WWW-Authenticate"), r.body)
			}
		})
	}
	if r := whoami(t, srv.url, tokens.Access); r.status != http.StatusOK {
		t.Errorf("the server's own token: %d %s", r.status, r.body)
	}
}

// The person may deny at both pages, and the company may refuse: the client gets an error each time.
func TestBroker_Denied(t *testing.T) {
	t.Parallel()
	srv, company := startBroker(t, map[string]string{"provider.scope_rules": "sub=alice > mcp:use greet:read"})
	client := srv.register(t)
	for name, c := range map[string]struct {
		name, decision, atProvider string
		entries                    int // requests at the company
	}{
		"on the consent page": {"alice", "deny", "", 0},
		"at the company":      {"alice", "approve", "deny", 1},
		"by the rules":        {"bob", "approve", "", 1},
	} {
		before := len(company.authorizations())
		q, err := client.authorize(t, &user{name: c.name, decision: c.decision, atProvider: c.atProvider}, "mcp:use")
		if err != nil || q.Get("error") != "access_denied" || q.Get("code") != "" {
			t.Errorf("%s: %v, %v", name, q, err)
		}
		if n := len(company.authorizations()) - before; n != c.entries {
			t.Errorf("%s: %d requests at the company, want %d", name, n, c.entries)
		}
	}
}

// A client of the company's provider gets tokens without a browser at this server, for the people who sign in here.
func TestBroker_EnterpriseClient(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	secret := writeFile(t, "agent", companySecret+"\n")
	srv := startServer(t, company.settings(t, map[string]string{
		"provider.enterprise_issuers": company.url, "provider.enterprise_clients": agentClient + "=" + secret,
		"provider.enterprise_scopes": "mcp:use,greet:read",
	}), company.use(t))
	credentials := &oauthex.ClientCredentials{ClientID: agentClient,
		ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: companySecret}}
	handler, err := extauth.NewEnterpriseHandler(&extauth.EnterpriseHandlerConfig{
		IdPIssuerURL: company.url, IdPCredentials: credentials, MCPAuthServerURL: srv.origin(), MCPResourceURI: srv.url,
		MCPScopes: []string{"mcp:use", "greet:read", "gatehouse:admin"}, MCPCredentials: credentials,
		IDTokenFetcher: func(ctx context.Context) (*oauth2.Token, error) { return idTokenAt(ctx, company.url) },
	})
	if err != nil {
		t.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: srv.url, OAuthHandler: handler,
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	me := whoamiOf(t, session)
	slices.Sort(me.Scopes)
	if me.Subject != "alice" || me.Client != agentClient || me.Issuer != srv.origin() ||
		strings.Join(me.Scopes, " ") != "greet:read mcp:use" {
		t.Errorf("the caller is %+v", me)
	}
}

// idTokenAt signs alice in at the company, as the client of the agent.
func idTokenAt(ctx context.Context, issuer string) (*oauth2.Token, error) {
	config := &oauth2.Config{ClientID: agentClient, ClientSecret: companySecret, RedirectURL: redirectURI,
		Scopes: []string{"openid"}, Endpoint: oauth2.Endpoint{AuthURL: issuer + "/authorize", TokenURL: issuer + "/token"}}
	alice := &user{name: "alice", decision: "approve"}
	result, err := alice.signIn(ctx, &auth.AuthorizationArgs{
		URL: config.AuthCodeURL("state", oauth2.S256ChallengeOption(testVerifier)),
	})
	if err != nil {
		return nil, err
	}
	return config.Exchange(ctx, result.Code, oauth2.VerifierOption(testVerifier))
}

// The command explains tokens of this server and of the company by the configuration of the server.
func TestBroker_TokenInspect(t *testing.T) {
	t.Parallel()
	srv, company := startBroker(t, nil)
	environ, flags := asCommand(srv.flags)
	own := srv.register(t).signIn(t, "alice", "mcp:use", "greet:read").Access
	for name, c := range map[string]struct {
		token, want string
		code        int
	}{
		"its own":       {own, "This token is accepted at " + srv.url, exitOK},
		"the company's": {company.lastIssued(t).Access, "This token is refused at " + srv.url, exitFailure},
	} {
		got := runCommandIn(t, console{stdin: strings.NewReader(c.token), environ: environ},
			append([]string{"token", "inspect"}, flags...)...)
		if got.code != c.code || !strings.HasPrefix(got.stdout, c.want) || got.stderr != "" {
			t.Errorf("%s: %+v", name, got)
		}
		company.wantNoSecrets(t, name, got.stdout, own)
	}
}

// The same client signs in at each kind of provider: nothing but the configuration differs.
func TestProvider_KindIsSwitchedByConfiguration(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	for _, c := range []struct {
		kind     string
		settings map[string]string
		issuer   string // empty: the server itself
		pages    int
	}{
		{"local", nil, "", 1},
		{"oidc", map[string]string{"provider.kind": "oidc", "provider.issuer": company.url}, company.url, 1},
		{"broker", company.settings(t, nil), "", 2},
	} {
		t.Run(c.kind, func(t *testing.T) {
			srv := startServer(t, c.settings, func(cfg *configs.Config) {
				company.use(t)(cfg)
			})
			waitUntilReady(t, srv.origin())
			alice := &user{name: "alice", decision: "approve"}
			session, err := connect(t, srv.url, modern, alice, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			want := c.issuer
			if want == "" {
				want = srv.origin()
			}
			if me := whoamiOf(t, session); me.Subject != "alice" || me.Issuer != want {
				t.Errorf("the caller is %+v", me)
			}
			if len(alice.pages) != c.pages {
				t.Errorf("%d pages", len(alice.pages))
			}
		})
	}
}
