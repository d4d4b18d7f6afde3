package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers/providertest"
)

// oidcSettings configures kind oidc with authority as the issuer.
func oidcSettings(authority *providertest.Issuer, more map[string]string) map[string]string {
	settings := map[string]string{
		"provider.kind": "oidc", "provider.issuer": authority.URL(), "provider.jwks_url": authority.KeysURL(),
	}
	maps.Copy(settings, more)
	return settings
}

// Readiness does not blame keys where no keys are used.
func TestReadiness_NamesReason(t *testing.T) {
	t.Parallel()
	issuer := "http://" + freeAddress(t)
	for name, c := range map[string]struct {
		introspection string
		want          string
	}{
		"keys":                   {"off", "keys_unavailable"},
		"keys and introspection": {"opaque", "keys_unavailable"},
		"introspection only":     {"always", "introspection_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := map[string]string{
				"provider.kind": "oidc", "provider.issuer": issuer, "provider.introspection": c.introspection,
			}
			if c.introspection != "off" {
				settings["provider.introspection_auth"] = "none"
			}
			srv := startServer(t, settings)
			r := send(t, http.MethodGet, srv.origin()+"/readyz", "", "", nil)
			if r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, `"reason":"`+c.want+`"`) {
				t.Errorf("/readyz returned %d %s without the issuer, want %s", r.status, r.body, c.want)
			}
		})
	}
}

// Two programs, as in production: the issuer on its own, and a server that only knows its identifier.
func TestProvider_IsSwitchedByConfiguration(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	issuer := "http://" + address
	srv := startServer(t, map[string]string{
		"provider.kind": "oidc", "provider.issuer": issuer, "provider.key_refetch_interval": "1s",
	})
	r := send(t, http.MethodGet, srv.origin()+"/readyz", "", "", nil)
	if r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "keys_unavailable") {
		t.Errorf("/readyz returned %d %s without the issuer", r.status, r.body)
	}

	ctx, stop := context.WithCancel(context.Background())
	var stdout, stderr syncBuffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"issuer", "--listen", address, "--issuer", issuer, "--resource", srv.url},
			console{stdout: &stdout, stderr: &stderr, catalog: testCatalog})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != exitOK {
			t.Errorf("the issuer ended with %d: %s", code, &stderr)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	waitUntilReady(t, srv.origin())
	for _, protocol := range []string{modern, legacy} {
		session, err := connect(t, srv.url, protocol, &user{name: "bob", decision: "approve"}, dynamicClient)
		if err != nil {
			t.Fatal(err)
		}
		if me := whoamiOf(t, session); me.Issuer != issuer || me.Subject != "bob" {
			t.Errorf("%s: the caller is %+v", protocol, me)
		}
	}
	if r := send(t, http.MethodGet, srv.origin()+"/authorize", "", "", nil); r.status != http.StatusNotFound {
		t.Errorf("the server has routes of an issuer: /authorize returned %d", r.status)
	}
}

// Clients can only get scopes that the provider knows, so challenges and metadata use the provider's names.
func TestChallenge_UsesScopeNamesOfProvider(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	srv := startServer(t, oidcSettings(authority, map[string]string{
		"provider.scope_map": "api://demo/mcp.use=mcp:use,mcp.use=mcp:use,api://demo/greet.write=greet:write",
	}))
	challenge := send(t, http.MethodPost, srv.url, "", "{}", nil).header.Get("WWW-Authenticate")
	if !strings.Contains(challenge, `scope="api://demo/mcp.use greet:read"`) {
		t.Errorf("the first challenge is %s", challenge)
	}
	metadata := send(t, http.MethodGet, srv.origin()+"/.well-known/oauth-protected-resource/mcp", "", "", nil).body
	if !strings.Contains(metadata, `"scopes_supported":["api://demo/mcp.use","greet:read"]`) {
		t.Errorf("the metadata is %s", metadata)
	}
	token := authority.Token(srv.url, map[string]any{"scope": "mcp.use"})
	body, header := callModern("confirm", `{"name":"Bob"}`)
	r := send(t, http.MethodPost, srv.url, token, body, header)
	const stepUp = `scope="api://demo/mcp.use api://demo/greet.write"`
	challenge = r.header.Get("WWW-Authenticate")
	if r.status != http.StatusForbidden || !strings.Contains(challenge, stepUp) {
		t.Errorf("step-up: %d %s", r.status, challenge)
	}
	body, header = callModern("whoami", `{}`)
	content := structuredContent(t, send(t, http.MethodPost, srv.url, token, body, header))
	if content["subject"] != "alice" {
		t.Errorf("the tool sees %v", content)
	}
}

// A client that requests exactly the scopes of the challenge keeps what its token has, and requests no scope that no
// call needs.
func TestChallenge_KeepsScopesOfToken(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	srv := startServer(t, oidcSettings(authority, map[string]string{
		"provider.scopes_advertised": "openid,mcp:use,greet:read,gatehouse:admin", "provider.default_scopes": "mcp:use",
	}))
	call := func(scope any, tool string) (status int, challenge string) {
		body, header := callModern(tool, `{"name":"Bob"}`)
		r := send(t, http.MethodPost, srv.url, authority.Token(srv.url, map[string]any{"scope": scope}), body, header)
		_, after, _ := strings.Cut(r.header.Get("WWW-Authenticate"), `scope="`)
		challenge, _, _ = strings.Cut(after, `"`)
		return r.status, challenge
	}
	const held = "openid mcp:use greet:read offline_access"
	for tool, want := range map[string]string{
		"confirm": "mcp:use greet:write greet:read openid",
		"stats":   "mcp:use gatehouse:admin greet:read openid",
	} {
		if status, got := call(held, tool); status != http.StatusForbidden || got != want {
			t.Errorf("%s: %d, a challenge for %q, want %q", tool, status, got, want)
		}
	}
	if status, got := call("mcp:use greet:write greet:read openid", "confirm"); status != http.StatusOK {
		t.Errorf("with the scopes of the challenge: %d, %q", status, got)
	}
	if status, got := call(nil, "confirm"); status != http.StatusForbidden || got != "" {
		t.Errorf("with default scopes: %d, a challenge for %q", status, got)
	}
}

// staticTokenHandler is a client's OAuth handler that has a token, and counts sign-ins.
type staticTokenHandler struct {
	token   string
	signIns atomic.Int64
	code    *auth.AuthorizationCodeHandler
}

func (h *staticTokenHandler) TokenSource(context.Context) (oauth2.TokenSource, error) {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: h.token}), nil
}

func (h *staticTokenHandler) Authorize(ctx context.Context, req *http.Request, resp *http.Response) error {
	return h.code.Authorize(ctx, req, resp)
}

// The SDK's client does not open a browser for a 403 without a challenge.
func TestClient_DoesNotSignInWithoutChallenge(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			srv := startServer(t, oidcSettings(authority, map[string]string{
				"provider.default_scopes": "mcp:use,greet:read", "tools.show_all": "true",
			}))
			handler := &staticTokenHandler{token: authority.Token(srv.url, map[string]any{"scope": nil})}
			closeWindow := func(context.Context, *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
				handler.signIns.Add(1)
				return nil, errors.New("the user closed the window")
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			var err error
			handler.code, err = auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
				RedirectURL: redirectURI, PreregisteredClient: &oauthex.ClientCredentials{ClientID: "web"},
				AuthorizationCodeFetcher: closeWindow, Client: client,
			})
			if err != nil {
				t.Fatal(err)
			}
			session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
				&mcp.StreamableClientTransport{Endpoint: srv.url, OAuthHandler: handler, HTTPClient: client},
				&mcp.ClientSessionOptions{ProtocolVersion: protocol})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = session.Close() })
			if result, err := call(t, session, "greet", map[string]any{"name": "Ada"}); err != nil || result.IsError {
				t.Errorf("greet: %+v, %v", result, err)
			}
			if _, err := call(t, session, "stats", nil); err == nil || handler.signIns.Load() != 0 {
				t.Errorf("stats: %v, %d sign-ins", err, handler.signIns.Load())
			}
			if !strings.Contains(srv.log.String(), "reason=scope_unobtainable") {
				t.Error("the log does not name the reason")
			}
		})
	}
}

func waitUntilReady(t *testing.T, origin string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if status, _ := httpGet(t, origin+"/readyz"); status == http.StatusOK {
			return
		}
	}
	t.Fatal("the server did not become ready")
}
